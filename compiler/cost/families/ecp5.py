"""Lattice ECP5."""

from ..fabric import Control, Fabric, Logic, Overhead, Silicon, Worth

ECP5 = Fabric(
    Silicon(
        dsp_widths=(1, 18, 2),
        block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
        blocks_instantiated=True, inferred_block=128, table_words=16, ram_luts=1.5,
        register_luts=1.2, ram_words=16, carry_bits=2, chain_selects=True, chain_slots=40),
    # Fitted: python bench/resources.py --fit --board ulx3s-85f
    Logic(
        adder=0.962, chain=1.97, counter=1.97, mux=1.01, product=0.94, constant=0.35,
        count=0.991, gear=0.415, clamp=1.51, pad=0.501, accumulate=2, round=3, rom=0.976, register=0),
    Control(
        engine=Overhead(40, 4), window=Overhead(40, 11), queue=Overhead(10, 2), skip=Overhead(15,
        6), gearbox=Overhead(10, 2), upsizer=Overhead(10, 5), stage=Overhead(11, 2),
        register=Overhead(3, 2), admission=Overhead(10, 2), serial=Overhead(20, 6),
        inside=Overhead(20, 0)),
    # Beside each DSP block of an LFE5U-85F there are 536 LUTs.
    Worth(dsp=536, block=150, bank_bit=3))
"""The fabric of the family."""
