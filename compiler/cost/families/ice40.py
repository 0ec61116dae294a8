"""Lattice iCE40 UltraPlus."""

from ..fabric import Control, Fabric, Logic, Overhead, Silicon, Worth

ICE40 = Fabric(
    Silicon(
        dsp_widths=(2, 16, 11), block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
        byte_bits=1, blocks_instantiated=False, inferred_block=64, table_words=16, ram_luts=None,
        register_luts=1.2, ram_words=1, carry_bits=1, chain_selects=False, chain_slots=40),
    # Fitted: python bench/resources.py --fit --board icebreaker
    Logic(
        adder=1.07, chain=2.03, counter=2.03, mux=1.02, product=1, constant=0.35, count=0.999,
        gear=0.4, clamp=1.5, pad=0.5, accumulate=2, round=3, rom=1, register=0.531),
    Control(
        engine=Overhead(40, 4), window=Overhead(40, 12), queue=Overhead(10, 2), skip=Overhead(15,
        6), gearbox=Overhead(10, 2), upsizer=Overhead(10, 5), stage=Overhead(10, 2),
        register=Overhead(3, 2), admission=Overhead(10, 2), serial=Overhead(20, 6),
        inside=Overhead(20, 0)),
    # Beside each DSP block of a UP5K there are 660 logic cells.
    Worth(dsp=660, block=60, bank_bit=0))
"""The fabric of the family."""
