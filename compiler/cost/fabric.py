"""An FPGA family as the planner sees it: silicon, coefficients, and what a cell is worth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .resources import Resources


@dataclass(frozen=True)
class Silicon:
    """What the chip and its tools can do.

    Parameters
    ----------
    dsp_widths : bits that the operands of a DSP block must have: of the narrower at least, of the
        wider at most, of both together at least (narrower ones are left to look-up tables).
    block_shapes : the (depth, width) that a block RAM can take.
    byte_bits : what a block RAM in its widest shapes writes by itself.
    blocks_instantiated : whether the design names its block RAMs, which costs no logic around them,
        instead of leaving them to synthesis.
    inferred_block : columns of tables, or bits of flip-flops, of which synthesis would rather make
        a block RAM, where a design leaves that to it.
    table_words : words of a column that one look-up table holds.
    ram_luts : LUTs of such a column that can be written, with what writes it; None where none can,
        so that memories outside block RAM are flip-flops.
    register_luts : LUTs of a bit of a memory of flip-flops, which choose and write it.
    ram_words : granularity of the depth of such a memory.
    carry_bits : of a cell of a carry chain.
    chain_selects : whether the tables of a carry chain can choose the bits that they add.
    chain_slots : bits of a carry chain that several sums share.
    """

    dsp_widths: tuple[int, int, int]
    block_shapes: tuple[tuple[int, int], ...]
    byte_bits: int
    blocks_instantiated: bool
    inferred_block: int
    table_words: int
    ram_luts: float | None
    register_luts: float
    ram_words: int
    carry_bits: int
    chain_selects: bool
    chain_slots: int


@dataclass(frozen=True)
class Logic:
    """LUTs of one bit of what blocks are made of.

    Parameters
    ----------
    adder : of a sum or a comparison.
    chain : of its ends, whatever its bits.
    counter : of a counter that begins again.
    mux : of a choice between two.
    product : of the adders of a soft multiplier.
    constant : share of a soft multiplier that is left where an operand never changes, and so half
        of its bits are 0.
    count : of a sum of differing signs.
    gear : of a slot of a gearbox, for each number of slots that may be full.
    clamp : of an integer that is brought within bounds.
    pad : of an element that is another beyond the edges.
    accumulate : of a sum that is shifted as it grows.
    round : of what lies behind a point that a channel places.
    rom : of a table of constants; where words do not fill it, some columns need none.
    register : of a flip-flop, whose logic cell may have no use for its LUT; 0 where the two are
        counted apart.
    """

    adder: float
    chain: float
    counter: float
    mux: float
    product: float
    constant: float
    count: float
    gear: float
    clamp: float
    pad: float
    accumulate: float
    round: float
    rom: float
    register: float


@dataclass(frozen=True)
class Overhead:
    """LUTs and flip-flops of a block beside those that are counted: flags, handshakes, counters."""

    luts: float
    ffs: float

    @property
    def cells(self) -> Resources:
        """The same as cells."""
        return Resources(round(self.luts), round(self.ffs))


@dataclass(frozen=True)
class Control:
    """The overhead of each kind of block.

    Parameters
    ----------
    engine : sequencing and drain.
    window : read order and flow.
    queue : a first-in first-out memory.
    skip : one of any size, the queue behind it left out.
    gearbox, upsizer : what repacks lanes.
    stage : folding beats into one: pools, the index of the largest.
    register : a stage of registers that a beat passes.
    admission : letting beats in while there is room for their results.
    serial : multiplying digit by digit.
    inside : telling windows apart by how much of them lies within the map.
    """

    engine: Overhead
    window: Overhead
    queue: Overhead
    skip: Overhead
    gearbox: Overhead
    upsizer: Overhead
    stage: Overhead
    register: Overhead
    admission: Overhead
    serial: Overhead
    inside: Overhead


@dataclass(frozen=True)
class Worth:
    """What one is willing to pay, in LUTs.

    Parameters
    ----------
    dsp, block : for a DSP block, for a block RAM.
    bank_bit : for a bit that needs no choice from a further bank of block RAMs.
    """

    dsp: int
    block: int
    bank_bit: int


@dataclass(frozen=True)
class Fabric:
    """A family: its ``silicon``, what ``logic`` and ``control`` cost, and what cells are ``worth``.

    Logic and control are fitted, see `families`.
    """

    silicon: Silicon
    logic: Logic
    control: Control
    worth: Worth

    @cached_property
    def _hash(self) -> int:
        return hash((self.silicon, self.logic, self.control, self.worth))

    def __hash__(self) -> int:
        """What is worked out once: a fabric is part of the key of whatever is remembered of it."""
        return self._hash

    def fits_dsp(self, a_bits: int, b_bits: int) -> bool:
        """Whether one DSP block makes the product, as ``hdl.tech`` decides."""
        narrow, wide, both = self.silicon.dsp_widths
        return (min(a_bits, b_bits) >= narrow and max(a_bits, b_bits) <= wide
                and a_bits + b_bits >= both)

    def sums(self, bits: int, times: int = 1) -> float:
        """LUTs of sums, or comparisons, of so many ``bits`` each."""
        return times * (self.whole_chain(bits) * self.logic.adder + self.logic.chain)

    def whole_chain(self, bits: int) -> int:
        """``bits`` of a carry chain and those that its last cell has besides."""
        return bits + -bits % self.silicon.carry_bits

    def any_of(self, bits: int) -> int:
        """LUTs that tell whether any of so many ``bits`` is set."""
        inputs = self.silicon.table_words.bit_length() - 1
        return -(-bits // (inputs - 1))

    def counters(self, bits: int) -> float:
        """LUTs of counters that have so many ``bits`` together."""
        return bits * self.logic.counter

    def placed(self, cells: Resources) -> Resources:
        """``cells`` as the device counts them, where flip-flops take LUTs."""
        return cells + Resources(luts=round(cells.ffs * self.logic.register))

    def price(self, cells: Resources) -> int:
        """The worth of ``cells`` in LUTs: the one currency in which alternatives compare."""
        return (self.placed(cells).luts + self.worth.dsp * cells.dsps
                + self.worth.block * cells.brams)
