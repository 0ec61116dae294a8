"""What memories cost, and where they go."""

from __future__ import annotations

from .fabric import Fabric
from .resources import Resources, Storage

PART_BITS = 64
SHARED_WORDS = 4
"""Constants in look-up tables have a counter for each part of so many bits, if there are more words
than these, as ``hdl.sequencer`` has it."""
BANK_BIT_WORTH = 3
"""LUTs that one would spend to have a bit not chosen from a further bank of block RAMs."""
COUNTER_LUTS = 4
"""What a counter takes beside a LUT a bit."""
SMALL_BITS = 2400
"""Constants of fewer bits are not worth a block RAM, as ``hdl.steady`` has it."""


def rom_blocks(fabric: Fabric, depth: int, width: int) -> tuple[int, int]:
    """(block RAMs of constants, LUTs that choose between their banks), as ``hdl.tech`` decides.

    Of those that are instantiated, the banks count between which to choose.
    """
    choice_worth = BANK_BIT_WORTH if fabric.blocks_instantiated else 0
    shapes = []
    for block_depth, block_width in fabric.block_shapes:
        banks = -(-depth // block_depth)
        shapes.append((banks * -(-width // block_width), (banks - 1) * width))
    return min(shapes, key=lambda shape: (
        shape[0] * fabric.block_worth + shape[1] * choice_worth, shape[1]))


def ram_blocks(fabric: Fabric, depth: int, width: int) -> int:
    """Block RAMs of a buffer.

    Those that are instantiated have the widest shape that is deep enough, in banks of the deepest.
    """
    if not fabric.blocks_instantiated:
        return rom_blocks(fabric, depth, width)[0]
    bank = min(depth, max(d for d, _ in fabric.block_shapes))
    return -(-depth // bank) * -(-width // max(w for d, w in fabric.block_shapes if d >= bank))


def _tables(depth: int) -> int:
    """Look-up tables of 16 words that one column of a memory takes."""
    return -(-depth // 16)


def rom_luts(fabric: Fabric, depth: int, width: int) -> float:
    """LUTs of a memory with constant contents.

    A column is a function of the address: of few words there are few different ones, and of many
    words the multiplexers behind the tables come in powers of two.
    """
    if depth < 2:
        return 0.0
    columns = min(width, 1 << min(depth, 30))
    return fabric.rom_bit * columns * max(1, (1 << (depth - 1).bit_length()) // 16)


def ram_depth(fabric: Fabric, depth: int) -> int:
    """Words of a memory outside block RAM for ``depth`` of them: whole tables."""
    return -(-depth // fabric.ram_words) * fabric.ram_words


def ram_luts(fabric: Fabric, depth: int, width: int) -> float:
    """LUTs of a memory outside block RAM; flip-flops and their choice where there is no better."""
    if fabric.ram_bit is None:
        return 1.2 * depth * width
    words = _tables(depth)
    # Behind more than one table a column, a choice of two for each further one.
    return width * (fabric.ram_bit * words + (words - 1)) + words


def rom_storage(fabric: Fabric, depth: int, width: int) -> Storage:
    """Where constants go: block RAM unless tables are cheaper than what a block is worth."""
    tables = fabric.rom_bit * width * _tables(depth) if depth > 1 else 0.0
    if tables > fabric.block_worth * rom_blocks(fabric, depth, width)[0]:
        return Storage.BLOCK
    return Storage.LOGIC if depth <= 32 else Storage.DISTRIBUTED


def ram_storage(fabric: Fabric, depth: int, width: int) -> Storage:
    """Where a buffer goes: block RAM unless tables are cheaper than what a block is worth."""
    if ram_luts(fabric, depth, width) > fabric.block_worth * ram_blocks(fabric, depth, width):
        return Storage.BLOCK
    return Storage.LOGIC if fabric.ram_bit is None else Storage.DISTRIBUTED


def rom(fabric: Fabric, storage: Storage, depth: int, width: int, *, registers: int = 1
        ) -> Resources:
    """Cells of constants; block RAMs have the registers of their word in silicon."""
    if storage is Storage.BLOCK:
        brams, luts = rom_blocks(fabric, depth, width)
        return Resources(luts=luts, brams=brams)
    # Registers of columns that are constant, or equal to others, are merged.
    columns = min(width, 1 << min(depth, 30)) if depth > 1 else 0
    return Resources(luts=round(rom_luts(fabric, depth, width)), ffs=registers * columns)


def constants(fabric: Fabric, storage: Storage, words: int, width: int, *, registers: int = 2
              ) -> Resources:
    """Cells of a memory of a channel's constants, which is in block RAM only if it is large."""
    small = storage is Storage.BLOCK and words * width <= SMALL_BITS
    return rom(fabric, Storage.LOGIC if small else storage, words, width, registers=registers)


def sequencer(fabric: Fabric, storage: Storage, depth: int, width: int) -> Resources:
    """Cells of constants that are read in order, see `hdl.sequencer`; a counter for each part."""
    if storage is Storage.BLOCK:
        return rom(fabric, storage, depth, width)
    if depth == 1:
        return Resources()
    count = (depth - 1).bit_length()
    part = width if depth <= SHARED_WORDS else PART_BITS
    counter = Resources(luts=count + COUNTER_LUTS, ffs=count)
    whole, rest = divmod(width, part)
    cells = (rom(fabric, storage, depth, part) + counter) * whole
    return cells + rom(fabric, storage, depth, rest) + counter if rest else cells


def ram(fabric: Fabric, storage: Storage, depth: int, width: int) -> Resources:
    """Cells of one buffer memory of one cycle.

    Where a block RAM is inferred, Yosys delays the writes and compares addresses, so that a read of
    the word that is just written returns the old one.
    """
    if storage is Storage.BLOCK:
        brams = ram_blocks(fabric, depth, width)
        if fabric.blocks_instantiated:
            return Resources(brams=brams)
        address = (depth - 1).bit_length()
        return Resources(luts=width + address, ffs=2 * width + address + 2, brams=brams)
    ffs = width + (depth * width if storage is Storage.LOGIC else 0)
    return Resources(luts=round(ram_luts(fabric, depth, width)), ffs=ffs)
