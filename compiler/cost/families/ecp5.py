"""Lattice ECP5: ``python bench/resources.py --fit --board ulx3s-85f`` prints logic and control."""

from ..fabric import Control, Fabric, Logic, Overhead, Silicon, Worth

ECP5 = Fabric(
    Silicon(
        dsp_widths=(1, 18, 2),
        block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
        blocks_instantiated=True, table_words=16, distributed=True, ram_words=16,
        chain_selects=True, chain_slots=40),
    Logic(
        adder=0.967, mux=1.118, product=1.176, constant_product=0.5, count=1.0, gear=0.224,
        clamp=1.5, pad=0.5, accumulate=3.6, round=5.2, rom=1.0, ram=1.5, register_ram=1.2),
    Control(
        engine=Overhead(90, 4), window=Overhead(81, 11), queue=Overhead(26, 2),
        skip=Overhead(40, 6), gearbox=Overhead(20, 0), upsizer=Overhead(24, 5),
        stage=Overhead(20, 2), register=Overhead(3, 2), admission=Overhead(15, 2),
        serial=Overhead(15, 10), inside=Overhead(60, 0), counter=Overhead(4, 1)),
    # Beside each DSP block of an LFE5U-85F there are 536 LUTs.
    Worth(dsp=536, block=150, bank_bit=3))
"""The fabric of the family."""
