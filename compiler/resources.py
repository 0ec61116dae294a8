"""What a block costs in cells: the model that the schedule plans with.

Structure (how many multipliers, adders, registers and memories a block has) is counted; what
synthesis makes of each is a coefficient a family, fitted by ``bench/resources`` on some layers and
judged on others. Carry cells count as the LUTs that they occupy.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .plan import Resources, Storage


class Family(enum.Enum):
    """FPGA families; they differ in their primitives and in the tools that place them."""

    ECP5 = "ecp5"
    ICE40 = "ice40"
    GENERIC = "generic"


@dataclass(frozen=True)
class Model:
    """A family's memories and the coefficients of its logic.

    ``block_shapes`` are the (depth, width) that a block RAM can take; ``rom_bit`` LUTs of 16 ROM
    bits, ``ram_bit`` of 16 bits of distributed RAM (None where the family has none), ``block_worth``
    how many LUTs one is willing to spend to save a block RAM. ``adder_bit``, ``mux_bit`` and
    ``product_bit`` are LUTs a bit of an adder, of a two-way choice, and of the partial products of
    a soft multiplier; ``control`` LUTs of a block's counters and flags.
    """

    block_shapes: tuple[tuple[int, int], ...]
    rom_bit: float
    ram_bit: float | None
    block_worth: int
    adder_bit: float
    mux_bit: float
    product_bit: float
    control: int
    registers: float


_ECP5 = Model(
    block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    rom_bit=1.0, ram_bit=1.5, block_worth=150, adder_bit=1.0, mux_bit=0.8, product_bit=1.6,
    control=60, registers=1.0)
_ICE40 = Model(
    block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
    rom_bit=1.0, ram_bit=None, block_worth=60, adder_bit=1.0, mux_bit=0.9, product_bit=1.6,
    control=60, registers=1.0)
MODELS = {Family.ECP5: _ECP5, Family.ICE40: _ICE40, Family.GENERIC: _ECP5}
"""The model of each family; a generic target is counted as an ECP5."""


def blocks(model: Model, depth: int, width: int) -> int:
    """Block RAMs of a memory of ``depth`` words of ``width`` bits."""
    return min(-(-depth // d) * -(-width // w) for d, w in model.block_shapes)


def rom_luts(model: Model, depth: int, width: int) -> float:
    """LUTs of a memory with constant contents."""
    return model.rom_bit * width * -(-depth // 16) if depth > 1 else 0.0


def ram_luts(model: Model, depth: int, width: int) -> float:
    """LUTs of a memory outside block RAM; flip-flops and their choice where there is no better."""
    if model.ram_bit is None:
        return 1.2 * depth * width
    return model.ram_bit * width * -(-depth // 16)


def rom_storage(model: Model, depth: int, width: int) -> Storage:
    """Where constants go: block RAM unless logic is cheaper than what a block is worth."""
    if rom_luts(model, depth, width) > model.block_worth * blocks(model, depth, width):
        return Storage.BLOCK
    return Storage.LOGIC if depth <= 32 else Storage.DISTRIBUTED


def ram_storage(model: Model, depth: int, width: int, memories: int) -> Storage:
    """Where a buffer of ``memories`` equal memories goes."""
    if ram_luts(model, depth, width) > model.block_worth * blocks(model, depth, width):
        return Storage.BLOCK
    return Storage.LOGIC if model.ram_bit is None else Storage.DISTRIBUTED


def memory(model: Model, storage: Storage, depth: int, width: int, *, constant: bool) -> Resources:
    """Cells of one memory."""
    if storage is Storage.BLOCK:
        return Resources(brams=blocks(model, depth, width))
    luts = rom_luts(model, depth, width) if constant else ram_luts(model, depth, width)
    ffs = width + (depth * width if storage is Storage.LOGIC and not constant else 0)
    return Resources(luts=round(luts), ffs=ffs)


def multiplier(model: Model, a_bits: int, b_bits: int) -> Resources:
    """Cells of a multiplier built from logic: partial-product rows added pairwise."""
    rows = min(a_bits, b_bits)
    luts = model.product_bit * a_bits * b_bits + model.adder_bit * (rows - 1)
    return Resources(luts=round(luts), ffs=2 * (a_bits + b_bits))


def adder_tree(model: Model, terms: int, bits: int) -> Resources:
    """Cells of a sum of ``terms`` integers of ``bits`` bits, a register after each pairwise level."""
    total = 0
    while terms > 1:
        bits += 1
        total += (terms + 1) // 2 * bits
        terms = (terms + 1) // 2
    return Resources(luts=round(model.adder_bit * total), ffs=total)


def dot(model: Model, *, pe: int, simd: int, soft: int, dsps: int, a_bits: int, b_bits: int,
        total_bits: int, o_lanes: int, groups: int) -> Resources:
    """Cells of a multiply-accumulate engine without its weights."""
    cells = Resources(dsps=dsps)
    for _ in range(soft):
        cells += multiplier(model, a_bits, b_bits)
    for _ in range(pe):
        cells += adder_tree(model, simd, a_bits + b_bits)
    bias = memory(model, Storage.LOGIC, groups, pe * total_bits, constant=True)
    # Each output: accumulator with the choice of the bias, and the drain's shift register.
    accumulators = pe * total_bits * (model.adder_bit + 2 * model.mux_bit)
    queue = ram_luts(model, 16, o_lanes * total_bits) + 20
    luts = accumulators + queue + model.control
    ffs = pe * total_bits * 2 + simd * a_bits * 2 + o_lanes * total_bits + 60
    return cells + bias + Resources(luts=round(luts), ffs=round(ffs))


def window(model: Model, *, bits: int, lanes: int, rows: int, banks: int, depth: int,
           storage: Storage, address_bits: int, padded: bool) -> Resources:
    """Cells of a window buffer, its addresses, rotation and padding."""
    cells = Resources()
    for _ in range(rows * banks):
        cells += memory(model, storage, depth, bits * lanes // banks, constant=False)
    turn = rows * lanes * bits * model.mux_bit * (banks - 1)
    pad = rows * lanes * (bits * 0.5 + 2) if padded else 0.0
    address = rows * address_bits * (2 * model.adder_bit + 2 * model.mux_bit)
    luts = turn + pad + address + 4 * address_bits + model.control
    ffs = 2 * rows * lanes * bits + (rows + 3) * address_bits + 40
    return cells + Resources(luts=round(luts), ffs=round(ffs))


def gearbox(model: Model, *, bits: int, i_lanes: int, o_lanes: int) -> Resources:
    """Cells of a lane gearbox."""
    slots = i_lanes + o_lanes
    return Resources(luts=round(slots * bits * model.mux_bit * (1 + min(i_lanes, o_lanes)) / 2) + 25,
                     ffs=slots * bits + 12)


def requantizer(model: Model, *, lanes: int, i_bits: int, o_bits: int) -> Resources:
    """Cells of a shift requantizer."""
    return Resources(luts=round(lanes * (2 * model.adder_bit * i_bits + o_bits)) + 6,
                     ffs=lanes * (i_bits + o_bits) + 4)


def pooler(model: Model, *, lanes: int, bits: int, average: bool) -> Resources:
    """Cells of a pooling reducer; a mean also multiplies by a constant."""
    work = 10 * bits if average else 2 * bits
    return Resources(luts=round(lanes * work * model.adder_bit) + 12,
                     ffs=lanes * (10 if average else 2) * bits + 8)
