"""An FPGA family as the planner sees it: silicon, coefficients, and what a cell is worth."""

from __future__ import annotations

from dataclasses import dataclass

from .resources import Resources


@dataclass(frozen=True)
class Fabric:
    """A family's multipliers and memories, and the coefficients of its logic.

    What the silicon and the tools say:

    ``dsp_widths`` are the bits that a DSP block's operands must have: of the narrower at least, of
    the wider at most, of both together at least (narrower ones are left to look-up tables);
    ``block_shapes`` are the (depth, width) that a block RAM can take; ``blocks_instantiated`` says
    that the design names its block RAMs, which costs no logic around them, instead of leaving them
    to synthesis; ``rom_bit`` LUTs of 16 ROM bits; ``ram_bit`` LUTs of 16 bits of distributed RAM,
    None where memories outside block RAM are flip-flops; ``ram_words`` is the granularity of such a
    memory's depth; ``chain_selects`` whether the tables of a carry chain can choose the bits that
    they add; ``count_bit`` LUTs of half a carry cell of an ECP5's where signs are counted.

    What one is willing to pay, in LUTs: ``dsp_worth`` for a DSP block, ``block_worth`` for a block
    RAM.

    What is fitted: ``adder_bit``, ``mux_bit`` and ``product_bit`` are LUTs a bit of an adder, of a
    two-way choice, and of the adders of a soft multiplier; ``control`` LUTs of an engine's or a
    window's counters and flags; ``gear_bit`` of a gearbox's choices.
    """

    dsp_widths: tuple[int, int, int]
    block_shapes: tuple[tuple[int, int], ...]
    blocks_instantiated: bool
    rom_bit: float
    ram_bit: float | None
    ram_words: int
    chain_selects: bool
    count_bit: float
    dsp_worth: int
    block_worth: int
    adder_bit: float
    mux_bit: float
    product_bit: float
    control: float
    gear_bit: float

    def fits_dsp(self, a_bits: int, b_bits: int) -> bool:
        """Whether one DSP block makes the product, as ``hdl.tech`` decides."""
        narrow, wide, both = self.dsp_widths
        return (min(a_bits, b_bits) >= narrow and max(a_bits, b_bits) <= wide
                and a_bits + b_bits >= both)

    def price(self, cells: Resources) -> int:
        """The worth of ``cells`` in LUTs: the one currency in which alternatives compare."""
        return cells.luts + self.dsp_worth * cells.dsps + self.block_worth * cells.brams
