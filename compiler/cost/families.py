"""The fabrics of the FPGA families, with the coefficients that measurements decided.

``adder_bit``, ``mux_bit``, ``product_bit``, ``control`` and ``gear_bit`` are what
``python bench/resources.py --fit --board BOARD`` prints for a board of the family.
"""

from __future__ import annotations

from .fabric import Fabric

ECP5 = Fabric(
    dsp_widths=(1, 18, 2),
    block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    blocks_instantiated=True, rom_bit=1.0, ram_bit=1.5, ram_words=16, chain_selects=True,
    count_bit=1.0, dsp_worth=536, block_worth=150,
    adder_bit=0.967, mux_bit=1.118, product_bit=1.176, control=81, gear_bit=0.224)
"""Lattice ECP5; a DSP block of the LFE5U-85F stands beside 536 LUTs."""

ICE40 = Fabric(
    dsp_widths=(2, 16, 11),
    block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
    blocks_instantiated=False, rom_bit=1.0, ram_bit=None, ram_words=1, chain_selects=False,
    count_bit=1.7, dsp_worth=660, block_worth=60,
    adder_bit=1.0, mux_bit=0.9, product_bit=1.6, control=139, gear_bit=0.048)
"""Lattice iCE40 UltraPlus; a DSP block of the UP5K stands beside 660 logic cells."""
