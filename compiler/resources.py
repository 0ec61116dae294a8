"""What a block costs in cells: the model that the schedule plans with.

Structure (how many multipliers, adders, registers and memories a block has) is counted; what
synthesis makes of each is a coefficient a family, fitted by ``bench/resources.py`` on some layers
and judged on others. Carry cells count as the LUTs that they occupy.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection
from dataclasses import dataclass

from .plan import Queue, Resources, Storage

BLOCK_BITS = 2400
"""Thresholds of fewer bits are not put into block RAM, as ``hdl.threshold`` has it."""
PART_BITS = 64
SHARED_WORDS = 4
"""Constants in look-up tables have a counter for each part of so many bits, if there are more words
than these, as ``hdl.sequencer`` has it."""
BANK_BIT_WORTH = 3
"""LUTs that one would spend to have a bit not chosen from a further bank of block RAMs."""
COUNTER_LUTS = 4
"""What a counter takes beside a LUT a bit."""


class Family(enum.Enum):
    """FPGA families; they differ in their primitives and in the tools that place them."""

    ECP5 = "ecp5"
    ICE40 = "ice40"
    GENERIC = "generic"


@dataclass(frozen=True)
class Model:
    """A family's multipliers and memories, and the coefficients of its logic.

    ``dsp_widths`` are the bits that a DSP block's operands must have: of the narrower at least, of
    the wider at most, of both together at least (narrower ones are left to look-up tables);
    ``block_shapes`` are the (depth, width) that a block RAM can take; ``rom_bit`` LUTs of 16 ROM
    bits, ``ram_bit`` of 16 bits of distributed RAM (None where the family has none),
    ``block_worth`` how many LUTs one is willing to spend to save a block RAM; ``chain_selects``
    whether the tables of a carry chain can choose the bits that they add; ``count_bit`` LUTs of
    half a carry cell of an ECP5's where signs are counted. These follow from the silicon and the
    tools; what comes next is fitted: ``adder_bit``, ``mux_bit`` and ``product_bit`` are
    LUTs a bit of an adder, of a two-way choice, and of the adders of a soft multiplier; ``control``
    LUTs of an engine's or a window's counters and flags; ``gear_bit`` of a gearbox's choices.
    """

    dsp_widths: tuple[int, int, int]
    block_shapes: tuple[tuple[int, int], ...]
    rom_bit: float
    ram_bit: float | None
    block_worth: int
    chain_selects: bool
    count_bit: float
    adder_bit: float
    mux_bit: float
    product_bit: float
    control: float
    gear_bit: float


_ECP5 = Model(
    dsp_widths=(1, 18, 2),
    block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    rom_bit=1.0, ram_bit=1.5, block_worth=150, chain_selects=True, count_bit=1.0,
    adder_bit=0.967, mux_bit=1.118, product_bit=1.176, control=81, gear_bit=0.224)
_ICE40 = Model(
    dsp_widths=(2, 16, 11),
    block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
    rom_bit=1.0, ram_bit=None, block_worth=60, chain_selects=False, count_bit=1.7,
    adder_bit=1.0, mux_bit=0.9, product_bit=1.6, control=139, gear_bit=0.048)
MODELS = {Family.ECP5: _ECP5, Family.ICE40: _ICE40, Family.GENERIC: _ECP5}
"""The model of each family; a generic target is counted as an ECP5."""


def fits_dsp(model: Model, a_bits: int, b_bits: int) -> bool:
    """Whether one DSP block makes the product, as ``hdl.tech`` decides, which is not imported."""
    narrow, wide, both = model.dsp_widths
    return (min(a_bits, b_bits) >= narrow and max(a_bits, b_bits) <= wide
            and a_bits + b_bits >= both)


def blocks(model: Model, depth: int, width: int) -> int:
    """Block RAMs of constants, ``depth`` words of ``width`` bits, in the shape with the fewest.

    Of an ECP5, which are instantiated, also the banks count between which to choose.
    """
    return _rom_blocks(model, depth, width)[0]


def _rom_blocks(model: Model, depth: int, width: int) -> tuple[int, int]:
    """(block RAMs of constants, LUTs that choose between their banks), as ``hdl.tech`` decides."""
    choice_worth = BANK_BIT_WORTH if model.ram_bit is not None else 0
    shapes = []
    for block_depth, block_width in model.block_shapes:
        banks = -(-depth // block_depth)
        shapes.append((banks * -(-width // block_width), (banks - 1) * width))
    return min(shapes, key=lambda shape: (
        shape[0] * model.block_worth + shape[1] * choice_worth, shape[1]))


def ram_blocks(model: Model, depth: int, width: int) -> int:
    """Block RAMs of a buffer.

    An ECP5's are instantiated in the widest shape that is deep enough, in banks of the deepest.
    """
    if model.ram_bit is None:
        return blocks(model, depth, width)
    bank = min(depth, max(d for d, _ in model.block_shapes))
    return -(-depth // bank) * -(-width // max(w for d, w in model.block_shapes if d >= bank))


def _tables(depth: int) -> int:
    """Look-up tables of 16 words that one column of a memory takes."""
    return -(-depth // 16)


def rom_luts(model: Model, depth: int, width: int) -> float:
    """LUTs of a memory with constant contents.

    A column is a function of the address: of few words there are few different ones, and of many
    words the multiplexers behind the tables come in powers of two.
    """
    if depth < 2:
        return 0.0
    columns = min(width, 1 << min(depth, 30))
    return model.rom_bit * columns * max(1, (1 << (depth - 1).bit_length()) // 16)


def ram_luts(model: Model, depth: int, width: int) -> float:
    """LUTs of a memory outside block RAM; flip-flops and their choice where there is no better."""
    if model.ram_bit is None:
        return 1.2 * depth * width
    words = _tables(depth)
    # Behind more than one table a column, a choice of two for each further one.
    return width * (model.ram_bit * words + (words - 1)) + words


def rom_storage(model: Model, depth: int, width: int) -> Storage:
    """Where constants go: block RAM unless tables are cheaper than what a block is worth."""
    tables = model.rom_bit * width * _tables(depth) if depth > 1 else 0.0
    if tables > model.block_worth * blocks(model, depth, width):
        return Storage.BLOCK
    return Storage.LOGIC if depth <= 32 else Storage.DISTRIBUTED


def ram_storage(model: Model, depth: int, width: int) -> Storage:
    """Where a buffer goes: block RAM unless tables are cheaper than what a block is worth."""
    if ram_luts(model, depth, width) > model.block_worth * ram_blocks(model, depth, width):
        return Storage.BLOCK
    return Storage.LOGIC if model.ram_bit is None else Storage.DISTRIBUTED


def rom(model: Model, storage: Storage, depth: int, width: int, *, registers: int = 1) -> Resources:
    """Cells of constants; block RAMs have the registers of their word in silicon."""
    if storage is Storage.BLOCK:
        brams, luts = _rom_blocks(model, depth, width)
        return Resources(luts=luts, brams=brams)
    # Registers of columns that are constant, or equal to others, are merged.
    columns = min(width, 1 << min(depth, 30)) if depth > 1 else 0
    return Resources(luts=round(rom_luts(model, depth, width)), ffs=registers * columns)


def sequencer(model: Model, storage: Storage, depth: int, width: int) -> Resources:
    """Cells of constants that are read in order, see `hdl.sequencer`; a counter for each part."""
    if storage is Storage.BLOCK:
        return rom(model, storage, depth, width)
    if depth == 1:
        return Resources()
    count = (depth - 1).bit_length()
    part = width if depth <= SHARED_WORDS else PART_BITS
    cells = Resources()
    for low in range(0, width, part):
        cells += rom(model, storage, depth, min(part, width - low)) + Resources(
            luts=count + COUNTER_LUTS, ffs=count)
    return cells


def ram(model: Model, storage: Storage, depth: int, width: int) -> Resources:
    """Cells of one buffer memory of one cycle.

    An ECP5's block RAM is instantiated. Where it is inferred, Yosys delays the writes and compares
    addresses, so that a read of the word that is just written returns the old one.
    """
    if storage is Storage.BLOCK:
        brams = ram_blocks(model, depth, width)
        if model.ram_bit is not None:
            return Resources(brams=brams)
        address = (depth - 1).bit_length()
        return Resources(luts=width + address, ffs=2 * width + address + 2, brams=brams)
    ffs = width + (depth * width if storage is Storage.LOGIC else 0)
    return Resources(luts=round(ram_luts(model, depth, width)), ffs=ffs)


def multiplier(model: Model, a_bits: int, b_bits: int) -> Resources:
    """Cells of a multiplier built from logic.

    Partial-product rows of the wider operand are added pairwise; the carry chain's own tables form
    the products, so each pair of rows costs one adder. A register lies half-way, another behind.
    """
    wide, rows = max(a_bits, b_bits), min(a_bits, b_bits)
    levels = (rows - 1).bit_length()
    luts, ffs, terms = 0, 0 if levels > 1 else a_bits + b_bits, rows
    for level in range(1, levels + 1):
        pairs, odd = divmod(terms, 2)
        luts += pairs * (wide + (1 << level - 1) + 1)
        if level == levels // 2:
            ffs += pairs * (wide + (1 << level)) + odd * (wide + 1)
        terms = pairs + odd
    return Resources(luts=round(model.product_bit * luts), ffs=ffs + a_bits + b_bits)


def adder_tree(model: Model, terms: int, bits: int) -> Resources:
    """Cells of a sum of ``terms`` integers of ``bits`` bits, a register after each level."""
    luts = ffs = 0
    while terms > 1:
        bits += 1
        luts += terms // 2 * bits
        # An odd term is only delayed, at the width that it has.
        ffs += terms // 2 * bits + terms % 2 * (bits - 1)
        terms = (terms + 1) // 2
    return Resources(luts=round(model.adder_bit * luts), ffs=ffs)


def dot(model: Model, *, pe: int, simd: int, soft: int, dsps: int, a_bits: int, b_bits: int,
        total_bits: int, o_lanes: int, groups: int) -> Resources:
    """Cells of a multiply-accumulate engine without its weights.

    The registers of DSP multipliers are in silicon, those of the inputs' delay are not.
    """
    cells = Resources(dsps=dsps)
    for _ in range(soft):
        cells += multiplier(model, a_bits, b_bits)
    for _ in range(pe):
        cells += adder_tree(model, simd, a_bits + b_bits)
    bias = sequencer(model, Storage.LOGIC, groups, pe * total_bits)
    # Each output: accumulator with the choice of the bias, and the drain's shift register.
    accumulators = pe * total_bits * (model.adder_bit + 2 * model.mux_bit)
    # Each output: accumulator and shift register; each weight and product; each input.
    ffs = (2 * pe * total_bits + dsps * (a_bits + 2 * b_bits) + soft * 2 * b_bits
           + (4 if soft else 3) * simd * a_bits)
    frame = _around(model, depth=5 + (simd - 1).bit_length(), total_bits=total_bits,
                    o_lanes=o_lanes)
    return cells + bias + frame + Resources(luts=round(accumulators), ffs=ffs)


def _around(model: Model, *, depth: int, total_bits: int, o_lanes: int) -> Resources:
    """Cells of what lets groups into an engine of so many cycles, and of its output queue."""
    # The queue holds a few beats; distributed RAM comes in 16 words.
    queue = ram_luts(model, 4 if model.ram_bit is None else 16, o_lanes * total_bits) + 35
    # The flags that go with a group, through all levels, and the counters.
    flags = 6 * depth + 35
    return Resources(luts=round(queue + model.control), ffs=o_lanes * total_bits + flags)


@dataclass(frozen=True)
class _Counter:
    """A counter of differing signs, as an ECP5 has it: halves of the cells of its carry chains,
    flip-flops, and as many more for each operand, whose signs are ``held`` back.

    What starts the carry of one sum takes the carry out of another.
    """

    slots: int
    ffs: int
    held: int

    @classmethod
    def of(cls, terms: int, total_bits: int) -> _Counter:
        """The counter that accumulates the differences of so many ``terms``; see `hdl.tech`."""
        tree, levels = cls._tree(terms - 1)
        return cls(_chained(tree.slots + 1 + total_bits), tree.ffs + total_bits,
                   tree.held + (levels + 1 if terms > 1 else 0))

    @classmethod
    def _tree(cls, terms: int) -> tuple[_Counter, int]:
        """The adders that count ``terms`` differences, and their levels behind the first."""
        bits = terms.bit_length()
        if terms <= 3:
            return cls(min(terms, 2), bits, 0), 0
        # Two counts, the larger first, and a sign that is carried into their sum.
        sizes = terms // 2, (terms - 1) // 2
        (large, levels), (small, fewer) = (cls._tree(size) for size in sizes)
        larger_bits, smaller_bits = (size.bit_length() for size in sizes)
        waits = (levels - fewer) * smaller_bits
        return cls(large.slots + small.slots + 1 + larger_bits,
                   large.ffs + small.ffs + bits + waits, large.held + small.held + levels + 1
                   ), levels + 1


def _chained(slots: int) -> int:
    """``slots`` of sums on chains of 40, with what ends each, in pairs as an ECP5 has them."""
    whole = slots + -(-slots // 40)
    return whole + whole % 2


def counter_luts(model: Model, simd: int, terms: int) -> float:
    """LUTs of a counter that accumulates so many ``terms``, ``simd`` a cycle."""
    return _Counter.of(simd, terms.bit_length()).slots * model.count_bit


def binary(model: Model, *, pe: int, simd: int, depth: int, words: int, terms: int,
           total_bits: int, o_lanes: int, offsets: int) -> Resources:
    """Cells of an engine that counts signs, without its weights, of which there are ``words``.

    From an input beat to the accumulators it is ``depth`` cycles. A result is of so many ``terms``;
    ``offsets`` words make results of counts.
    """
    count_bits = terms.bit_length()
    counter = _Counter.of(simd, count_bits)
    table = rom(model, Storage.LOGIC, offsets, o_lanes * total_bits)
    frame = _around(model, depth=depth, total_bits=total_bits, o_lanes=o_lanes)
    # Each output: counter and shift register. Each of a beat: what makes a result of the count.
    shift = count_bits * model.mux_bit if o_lanes < pe else 0.0
    luts = (pe * (counter_luts(model, simd, terms) + shift)
            + o_lanes * total_bits * model.adder_bit)
    # Inputs are held back once for all counters, and so are weights that are always equal.
    held = counter.held + min(pe * counter.held, depth << min(words, 30))
    ffs = pe * (counter.ffs + count_bits) + held + 2 * simd
    return table + frame + Resources(luts=round(luts), ffs=ffs)


def ternary(model: Model, *, pe: int, simd: int, bits: int, terms: int, apart: bool, zeros: bool,
            digits: int, total_bits: int, o_lanes: int, constants: int) -> Resources:
    """Cells of an engine that adds and subtracts terms of ``bits`` bits, without its weights.

    A result is of so many ``terms``, of which positive and negative ones are summed ``apart`` or
    not, and of so many ``digits``; ``constants`` words are added to results. ``zeros`` says that a
    term may also be left out.
    """
    sides = 2 if apart else 1
    sum_bits = min(total_bits, _sum_bits(terms, bits))
    luts, ffs = _selected_sum(model, simd, bits, sum_bits, both=zeros and not apart)
    table = rom(model, Storage.LOGIC, constants, o_lanes * total_bits)
    frame = _around(model, depth=6 + (simd - 1).bit_length() + digits.bit_length(),
                    total_bits=total_bits, o_lanes=o_lanes)
    # Each output: its sums and the drain's shift register. Each of a beat: what multiplies them.
    shift = sum_bits * model.mux_bit if o_lanes < pe else 0.0
    return table + frame + Resources(
        luts=round(pe * sides * (luts + shift) + o_lanes * digits * total_bits * model.adder_bit),
        ffs=(pe * sides * (ffs + sum_bits) + 2 * simd * bits
             + o_lanes * total_bits * (digits + digits.bit_length())))


def selected_luts(model: Model, simd: int, bits: int, terms: int, *, apart: bool, zeros: bool
                  ) -> float:
    """LUTs of an output's sums of so many ``terms``, ``simd`` a cycle; see `ternary`."""
    luts, _ = _selected_sum(model, simd, bits, _sum_bits(terms, bits), both=zeros and not apart)
    return luts * (2 if apart else 1)


def _sum_bits(terms: int, bits: int) -> int:
    """Bits of a sum of so many ``terms`` without a sign."""
    return (terms * ((1 << bits) - 1)).bit_length()


def _selected_sum(model: Model, terms: int, bits: int, total_bits: int, *, both: bool
                  ) -> tuple[float, int]:
    """(LUTs, flip-flops) of the accumulated sum of terms that codes choose, see `hdl.tech`."""
    selecting = terms * bits
    if model.chain_selects:
        # Of two terms, a carry chain cannot both gate and complement but one.
        selecting = (terms + 1) // 2 * bits if both else terms % 2 * bits
    slots, ffs = _chained(total_bits), total_bits
    while terms > 1:
        pairs, odd = divmod(terms, 2)
        slots += _chained(pairs * (bits + 1))
        terms = pairs + odd
        bits += 1
        ffs += terms * bits
    return selecting + slots * model.adder_bit, ffs


def depthwise(model: Model, *, lanes: int, outputs: int, terms: int, soft: int, dsps: int,
              a_bits: int, b_bits: int, total_bits: int, o_lanes: int, slices: int) -> Resources:
    """Cells of a depthwise or grouped engine without its weights: outputs of a few terms each."""
    return dot(model, pe=outputs, simd=terms, soft=soft, dsps=dsps, a_bits=a_bits, b_bits=b_bits,
               total_bits=total_bits, o_lanes=o_lanes, groups=slices
               ) + Resources(ffs=2 * (lanes - terms) * a_bits)


def window(model: Model, *, bits: int, lanes: int, rows: int, banks: int, depth: int,
           storage: Storage, address_bits: int, padded: bool) -> Resources:
    """Cells of a window buffer, its addresses, rotation and padding."""
    cells = Resources()
    for _ in range(rows * banks):
        cells += ram(model, storage, depth, bits * lanes // banks)
    turn = rows * lanes * bits * (banks - 1)
    pad = rows * lanes * bits * 0.5 + 30 if padded else 0.0
    # Eight sums and distances of word counts; three more for each row, and where reads begin
    # anywhere in a word, those of the next word and the choice of either in each bank.
    turned, low = banks > 1, (depth - 1).bit_length()
    address = (8 + (5 if turned else 3) * rows) * address_bits * model.adder_bit
    choice = rows * (banks * low * 0.5 + low * model.adder_bit) if turned else 0.0
    luts = turn + pad + address + choice + 2 * address_bits + model.control
    turns = 4 * (banks - 1).bit_length() + (banks + low if turned else 0)
    kept = 2 * lanes if turned else 2
    ffs = (2 * rows * lanes * bits + (10 + 2 * rows) * address_bits + 18
           + rows * (low + 1 + turns + kept * padded) + kept * padded)
    return cells + Resources(luts=round(luts), ffs=round(ffs))


def gearbox(model: Model, *, bits: int, i_lanes: int, o_lanes: int) -> Resources:
    """Cells of a lane gearbox: every slot takes what arrives at any place, or shifts, or stays."""
    unit = math.gcd(i_lanes, o_lanes)
    slots = (i_lanes + o_lanes + min(i_lanes, o_lanes)) // unit - 1
    choices = min(i_lanes, o_lanes) // unit + 1
    return Resources(luts=round(slots * unit * bits * slots * choices * model.gear_bit) + 20,
                     ffs=slots * unit * bits + 12)


def collector(model: Model, *, bits: int, i_lanes: int, o_lanes: int) -> Resources:
    """Cells of a collector: every element has its register, and another in the output."""
    parts = o_lanes // i_lanes
    return Resources(luts=parts + 24, ffs=2 * o_lanes * bits + parts + 16)


def requantizer(model: Model, *, lanes: int, i_bits: int, o_bits: int, shift: int) -> Resources:
    """Cells of a shift requantizer: the rounding, two comparisons and the choice."""
    kept = i_bits + 1 - max(0, shift)
    work = (i_bits if shift > 0 else 0) + 1.5 * kept
    return Resources(luts=round(lanes * (work * model.adder_bit + o_bits)) + 6,
                     ffs=lanes * (kept * (shift != 0) + o_bits) + 4)


def max_pooler(model: Model, *, lanes: int, bits: int) -> Resources:
    """Cells of a maximum: a comparison and a choice in each lane."""
    return Resources(luts=round(lanes * bits * (model.adder_bit + model.mux_bit)) + 20,
                     ffs=2 * lanes * bits + 6)


def sum_pooler(model: Model, *, lanes: int, bits: int, area: int) -> Resources:
    """Cells of a sum: an adder in each lane, with the choice of a fresh start."""
    total = bits + (area - 1).bit_length() + 1
    return Resources(luts=round(lanes * total * (model.adder_bit + model.mux_bit)) + 20,
                     ffs=2 * lanes * total + 6)


def average_pooler(model: Model, *, lanes: int, bits: int, area: int, counts: Collection[int],
                   spare: int) -> Resources:
    """Cells of a mean: the sum, and its product with a constant in four levels of adders.

    About half of the constant's bits are set, unless it divides by a power of two. Several counts
    have a constant each, of which few bits are 0 in all, and counters that tell them apart.
    """
    sum_bits = bits + (area - 1).bit_length() + 2 + spare
    terms = 1 if all(n & n - 1 == 0 for n in counts) else sum_bits // 2
    common = Resources(luts=20, ffs=12)
    if len(counts) > 1:
        terms = sum_bits
        common += Resources(luts=60 + 2 * sum_bits, ffs=20 + 3 * sum_bits)
    width = sum_bits + (6 if terms > 1 else 0)
    adders, ffs = 2 * sum_bits, 3 * sum_bits + bits
    for _ in range(4):
        adders += terms // 2 * width
        terms = (terms + 1) // 2
        ffs += terms * width
    return common + Resources(luts=round(lanes * adders * model.adder_bit), ffs=lanes * ffs)


def argmax(model: Model, *, bits: int, count: int) -> Resources:
    """Cells of a search for the largest element."""
    index = max(1, (count - 1).bit_length())
    return Resources(luts=round(bits * (model.adder_bit + model.mux_bit)) + 10 * index,
                     ffs=bits + 3 * index + 2)


def scale_requantizer(model: Model, *, lanes: int, value_bits: int, digit: int, steps: int,
                      constant: bool, fraction: int, spread: int, o_bits: int, queued: bool,
                      exact: bool = False) -> Resources:
    """Cells of a digit-serial multiplication, its rounding, zero point and clamp.

    A product is made of pieces of four bits, which are added pairwise; half the bits of a
    ``constant`` factor are 0 and take none. Where halves must be ``exact``, all bits below the
    point are looked at. The factors were fitted on the 67 requantizers of the MLPerf Tiny networks.
    """
    cells = Resources(ffs=20)
    pieces = -(-digit // 4)
    piece = multiplier(model, value_bits, -(-digit // pieces))
    width = value_bits + digit
    whole = max(o_bits, value_bits + 2)
    share = 0.4 if constant else 0.8
    for _ in range(lanes):
        cells += Resources(
            luts=round(share * (pieces * piece.luts + (pieces - 1) * width * model.adder_bit)),
            ffs=pieces * piece.ffs + (pieces - 1) * width + 2 * value_bits)
        if steps > 1:
            cells += Resources(luts=round(3.6 * width * model.adder_bit),
                               ffs=width + digit * (steps - 1) // 2)
        cells += Resources(
            luts=round((5.2 * fraction + whole) * model.adder_bit),
            ffs=2 * fraction + 2 * whole + 2 * spread + o_bits)
        if exact:
            cells += Resources(luts=(width + digit * (steps > 1)) // 3,
                               ffs=width - o_bits + 2 if width > o_bits else 2)
    if queued:
        depth = 4 if model.ram_bit is None else 16
        cells += Resources(luts=round(ram_luts(model, depth, lanes * o_bits)) + 35,
                           ffs=lanes * o_bits + 12)
    return cells


def adder(model: Model, *, lanes: int, bits: int) -> Resources:
    """Cells of the sum of two streams: an adder and a register in each lane."""
    return Resources(luts=round(lanes * bits * model.adder_bit) + 4, ffs=lanes * bits + 2)


def queue(model: Model, queue_: Queue, width: int) -> Resources:
    """Cells of a queue of beats of ``width`` bits, its small output queue included."""
    assert queue_.storage is not None
    address = queue_.beats.bit_length()
    small = ram_luts(model, 4 if model.ram_bit is None else 16, width)
    counters = 6 * address * model.adder_bit + 40
    return (ram(model, queue_.storage, queue_.beats, width)
            + Resources(luts=round(small + counters), ffs=4 * address + width + 40))


def slope_requantizer(model: Model, storage: Storage, *, lanes: int, dsps: int, i_bits: int,
                      o_bits: int, m_bits: int, c_bits: int, t_bits: int, sum_bits: int, shift: int,
                      words: int) -> Resources:
    """Cells of a multiplication and an addition by constants of the channel, and of the clamp.

    ``words`` beats have constants of their own, for either side of breakpoints of ``t_bits`` bits;
    0 if there is one line only. ``dsps`` of the ``lanes`` multiply in DSP blocks.
    """
    depth = 12 + (3 if t_bits else 0)
    room = 16 * -(-depth // 16) if model.ram_bit is not None else depth
    word_bits = (words - 1).bit_length()
    cells = Resources(
        luts=round(ram_luts(model, room, lanes * o_bits + 1)) + 45 + word_bits,
        ffs=lanes * o_bits + 2 * depth + 4 * depth.bit_length() + 8 + 4 * word_bits, dsps=dsps)
    if t_bits:
        cells += _constants(model, storage, words, lanes * t_bits)
        cells += Resources(
            luts=round(lanes * (max(i_bits, t_bits) + 1) * model.adder_bit),
            ffs=lanes * (3 * i_bits + 1) + 3 * word_bits)
    tables = words * 2 if t_bits else words
    kept = max(1, sum_bits - shift)
    for lane in range(lanes):
        soft = lane >= dsps
        cells += _constants(model, storage, tables, m_bits + c_bits)
        if soft:
            cells += multiplier(model, i_bits, m_bits)
        cells += Resources(
            luts=round((sum_bits + 1.5 * kept) * model.adder_bit + o_bits),
            ffs=((3 + soft) * i_bits + (1 + soft) * m_bits + (not soft) * (i_bits + m_bits)
                 + 4 * c_bits + kept + o_bits))
    return cells


def _constants(model: Model, storage: Storage, words: int, width: int, *, registers: int = 2
               ) -> Resources:
    """Cells of a memory of constants, which is in block RAM only if it is large."""
    small = storage is Storage.BLOCK and words * width <= BLOCK_BITS
    return rom(model, Storage.LOGIC if small else storage, words, width, registers=registers)


def thresholder(model: Model, storage: Storage, *, lanes: int, i_bits: int, t_bits: int,
                o_bits: int, stages: int, words: int) -> Resources:
    """Cells of a binary search of so many ``stages`` among thresholds of ``t_bits`` bits.

    ``words`` beats have thresholds of their own. The first stage's memory is common to all lanes,
    each later one has twice the words, for every lane apart.
    """
    pace = 3 if storage is Storage.BLOCK else 2
    depth = stages * pace + 5
    word_bits = (words - 1).bit_length()
    room = 16 * -(-depth // 16) if model.ram_bit is not None else depth
    cells = Resources(
        luts=round(ram_luts(model, room, lanes * o_bits + 1)) + 45,
        ffs=lanes * o_bits + 2 * (pace * stages + 1) + 4 * depth.bit_length() + 8
        + word_bits * (pace * stages + 1))
    for stage in range(stages):
        copies = lanes if stage else 1
        bits = t_bits * (1 if stage else lanes)
        tables = words << stage
        for _ in range(copies):
            cells += _constants(model, storage, tables, bits, registers=pace - 1)
        cells += Resources(luts=round(lanes * (max(i_bits, t_bits) + 1) * model.adder_bit),
                           ffs=lanes * (pace * (i_bits + stage) + 1))
    return cells + Resources(luts=lanes * o_bits, ffs=lanes * o_bits)
