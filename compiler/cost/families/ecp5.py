"""Lattice ECP5."""

from ..fabric import Control, Fabric, Logic, Overhead, Silicon, Worth

ECP5 = Fabric(
    Silicon(
        dsp_widths=(1, 18, 2),
        block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
        byte_bits=9, blocks_instantiated=True, inferred_block=128, table_words=16, ram_luts=1.5,
        register_luts=1.2, ram_words=16, carry_bits=2, chain_selects=True, chain_slots=40),
    # Fitted: python bench/resources.py --fit --board ulx3s-85f
    Logic(
        adder=1.01, chain=1.91, counter=1.97, mux=0.97, product=0.898, constant=0.35, count=0.971,
        gear=0.426, clamp=1.54, pad=0.503, accumulate=2, round=3.02, rom=0.948, register=0),
    Control(
        engine=Overhead(39, 4), window=Overhead(39, 11), queue=Overhead(10, 1), skip=Overhead(15,
        6), gearbox=Overhead(10, 2), upsizer=Overhead(10, 5), stage=Overhead(12, 2),
        register=Overhead(3, 2), admission=Overhead(10, 2), serial=Overhead(21, 6),
        inside=Overhead(20, 0)),
    # Beside each DSP block of an LFE5U-85F there are 536 LUTs.
    Worth(dsp=536, block=150, bank_bit=3))
"""The fabric of the family."""
