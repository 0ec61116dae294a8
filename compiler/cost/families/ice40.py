"""Lattice iCE40 UltraPlus: ``python bench/resources.py --fit --board icebreaker`` prints logic and
control."""

from ..fabric import Control, Fabric, Logic, Overhead, Silicon, Worth

ICE40 = Fabric(
    Silicon(
        dsp_widths=(2, 16, 11), block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
        blocks_instantiated=False, table_words=16, distributed=False, ram_words=1,
        chain_selects=False, chain_slots=40),
    Logic(
        adder=1.0, mux=0.9, product=1.6, constant_product=0.5, count=1.7, gear=0.048,
        clamp=1.5, pad=0.5, accumulate=3.6, round=5.2, rom=1.0, ram=1.5, register_ram=1.2),
    Control(
        engine=Overhead(148, 4), window=Overhead(139, 11), queue=Overhead(26, 2),
        skip=Overhead(40, 6), gearbox=Overhead(20, 0), upsizer=Overhead(24, 5),
        stage=Overhead(20, 2), register=Overhead(3, 2), admission=Overhead(15, 2),
        serial=Overhead(15, 10), inside=Overhead(60, 0), counter=Overhead(4, 1)),
    # Beside each DSP block of a UP5K there are 660 logic cells.
    Worth(dsp=660, block=60, bank_bit=0))
"""The fabric of the family."""
