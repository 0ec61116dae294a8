"""What memories cost, and where they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import expm1

from .fabric import Fabric
from .resources import Resources, Storage

BANK_TABLES, MOST_BANKS = 64, 16
"""Of a column of constants: tables that are read in one cycle, see ``hdl.tech``, and banks of them
between which the next one chooses."""


def index_bits(count: int) -> int:
    """Bits that tell ``count`` things apart."""
    return (count - 1).bit_length()


@lru_cache(maxsize=8192)
def rom_blocks(fabric: Fabric, depth: int, width: int) -> tuple[int, int]:
    """(block RAMs of constants, LUTs that choose between their banks), as ``hdl.tech`` decides."""
    shapes = []
    for block_depth, block_width in fabric.silicon.block_shapes:
        banks = -(-depth // block_depth)
        shapes.append((banks * -(-width // block_width), (banks - 1) * width))
    return min(shapes, key=lambda shape: (
        shape[0] * fabric.worth.block + shape[1] * fabric.worth.bank_bit, shape[1]))


@lru_cache(maxsize=1024)
def rom_columns(fabric: Fabric, depth: int, width: int) -> tuple[int, ...]:
    """Widths of memories side by side that hold ``depth`` constant words of ``width`` bits.

    Blocks of few bits a word have fewer bits in all, so a word that is no multiple of the wide
    shapes takes the fewest blocks in columns, each of its own shape. Where synthesis chooses the
    shapes, it is left whole.
    """
    if not fabric.silicon.blocks_instantiated:
        return (width,)
    worth = fabric.worth
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for bits in range(1, width + 1):
        options = []
        for block_depth, block_width in fabric.silicon.block_shapes:
            banks, column = -(-depth // block_depth), min(bits, block_width)
            price, columns = best[bits - column]
            options.append((price + banks * worth.block + (banks - 1) * column * worth.bank_bit,
                            (*columns, column)))
        best.append(min(options, key=lambda one: (one[0], len(set(one[1])))))
    # Columns of one shape are one memory.
    counts = Counter(best[width][1])
    divided = tuple(column * count for column, count in sorted(counts.items(), reverse=True))
    blocks = sum(rom_blocks(fabric, depth, column)[0] for column in divided)
    return divided if blocks < rom_blocks(fabric, depth, width)[0] else (width,)


@lru_cache(maxsize=8192)
def ram_blocks(fabric: Fabric, depth: int, width: int, parts: int = 1) -> int:
    """Block RAMs of a buffer of so many ``parts`` side by side, each of which is written by itself.

    Those that are instantiated have the widest shape that is deep enough, in banks of the deepest.
    """
    silicon = fabric.silicon
    if not silicon.blocks_instantiated:
        single = parts * rom_blocks(fabric, depth, width)[0]
        # Only in the widest shape there is a mask of bits.
        least, widest = silicon.block_shapes[0]
        return min(single, -(-depth // least) * -(-parts * width // widest))
    bank = min(depth, max(d for d, _ in silicon.block_shapes))
    block = max(w for d, w in silicon.block_shapes if d >= bank)
    if parts > 1:
        byte = min(block, silicon.byte_bits)
        width, block = parts * -(-width // byte), block // byte
    return -(-depth // bank) * -(-width // block)


def bank_words(fabric: Fabric) -> int:
    """Words of a bank of constants in look-up tables."""
    return BANK_TABLES * fabric.silicon.table_words


def _banks(fabric: Fabric, depth: int) -> int:
    """Banks of so many constants in look-up tables."""
    return -(-depth // bank_words(fabric))


def _tables(fabric: Fabric, depth: int) -> int:
    """Look-up tables that one column of a memory takes."""
    return -(-depth // fabric.silicon.table_words)


def _columns(depth: int, width: int) -> int:
    """Different columns of a memory with random contents, those left out that do not change.

    So many are found among ``width`` draws of ``2**depth - 2``.
    """
    if depth < 2:
        return 0
    crowd = width / ((1 << depth) - 2)
    return round(width * -expm1(-crowd) / crowd) if crowd else width


def rom_luts(fabric: Fabric, depth: int, width: int) -> float:
    """LUTs of a memory with constant contents.

    A column is a function of the address: of few words there are few different ones, and of many
    words the multiplexers behind the tables come in powers of two. Of more than a bank of words
    there are several. In each of them are eight groups, whose tables are chosen among without
    another; four tables, and multiplexers, choose among these, and others among the banks.
    """
    banks = _banks(fabric, depth)
    if banks > 1:
        return width * (_tables(fabric, depth) + 4 * banks + 1.4 * (banks - 1))
    tables = max(1, (1 << index_bits(depth)) // fabric.silicon.table_words)
    return fabric.logic.rom * _columns(depth, width) * tables


def ram_depth(fabric: Fabric, depth: int) -> int:
    """Words of a memory outside block RAM for ``depth`` of them: whole tables."""
    return -(-depth // fabric.silicon.ram_words) * fabric.silicon.ram_words


def ram_luts(fabric: Fabric, depth: int, width: int) -> float:
    """LUTs of a memory outside block RAM; flip-flops and their choice where there is no better."""
    column = fabric.silicon.ram_luts
    if column is None:
        return fabric.silicon.register_luts * depth * width
    tables = _tables(fabric, depth)
    # Behind more than one table a column, a choice of two for each further one.
    return width * (column * tables + (tables - 1)) + tables


@lru_cache(maxsize=8192)
def rom_storage(fabric: Fabric, depth: int, width: int) -> Storage:
    """Where constants go: block RAM unless tables are cheaper than what a block is worth."""
    tables = width * _tables(fabric, depth) if depth > 1 else 0
    if tables > fabric.worth.block * rom_blocks(fabric, depth, width)[0]:
        return Storage.BLOCK
    return _in_tables(fabric, depth)


def spared_storage(fabric: Fabric, depth: int) -> Storage:
    """Where constants go if block RAM is to be spared: to tables, unless those would be slow."""
    if _banks(fabric, depth) > MOST_BANKS:
        return Storage.BLOCK
    return _in_tables(fabric, depth)


def _in_tables(fabric: Fabric, depth: int) -> Storage:
    """What constants in tables are to synthesis."""
    return Storage.LOGIC if depth <= 2 * fabric.silicon.table_words else Storage.DISTRIBUTED


def ram_storages(fabric: Fabric) -> tuple[Storage, Storage]:
    """Where a buffer may go."""
    cells = Storage.LOGIC if fabric.silicon.ram_luts is None else Storage.DISTRIBUTED
    return cells, Storage.BLOCK


@lru_cache(maxsize=8192)
def ram_storage(fabric: Fabric, depth: int, width: int, parts: int = 1) -> Storage:
    """Where a buffer goes: where it is cheapest, and of equal price not to block RAM."""
    return min(ram_storages(fabric),
               key=lambda storage: fabric.price(ram(fabric, storage, depth, width, parts)))


@lru_cache(maxsize=8192)
def rom(fabric: Fabric, storage: Storage, depth: int, width: int, *, registers: int = 1
        ) -> Resources:
    """Cells of constants with so many ``registers`` behind them, which block RAMs have in silicon.
    """
    if storage is Storage.BLOCK:
        brams, luts = rom_blocks(fabric, depth, width)
        return Resources(luts=luts, brams=brams)
    banks = _banks(fabric, depth)
    if banks > 1:  # a register of each bank, its number, and that of the choice
        ffs = (banks + 1) * width + index_bits(banks)
    else:  # registers of columns that are constant, or equal to others, are merged
        ffs = registers * _columns(depth, width)
    return Resources(luts=round(rom_luts(fabric, depth, width)), ffs=ffs)


def in_order(fabric: Fabric, storage: Storage, counts: Sequence[int], parts: Sequence[int], *,
             stepped: bool) -> Resources:
    """Cells of constants that are read in order; each of ``parts`` has so many bits and, outside
    block RAM, counters of its own.

    Those count ``counts``: all words, and further ones where some of them are read again. What
    steps them is kept for a cycle if ``stepped``; see `hdl.sequencer`.
    """
    words, *again = counts
    if words == 1:
        return Resources()
    bits = sum(map(index_bits, counts))
    # To read words again, an address goes back.
    luts = fabric.counters(bits) + (fabric.sums(index_bits(words)) if again else 0)
    counter = Resources(luts=round(luts), ffs=bits + sum(count > 1 for count in again))
    step = Resources(ffs=int(stepped))
    counters = 1 if storage is Storage.BLOCK else len(parts)
    return sum((rom(fabric, storage, words, part) for part in parts), step + counter * counters)


def queue_storage(fabric: Fabric, depth: int, width: int) -> Storage:
    """Where synthesis puts the words of a queue, which the design leaves to it."""
    if fabric.silicon.ram_luts is None:
        worth, tables = float(depth * width), Storage.LOGIC
    else:
        columns = _tables(fabric, depth)
        # A choice of two counts for half a column.
        worth, tables = width * (columns + (columns - 1) / 2), Storage.DISTRIBUTED
    blocks = rom_blocks(fabric, depth, width)[0]
    return Storage.BLOCK if worth > fabric.silicon.inferred_block * blocks else tables


def inferred_block(fabric: Fabric, depth: int, width: int) -> Resources:
    """Cells of a buffer that synthesis puts in block RAM.

    Yosys delays the writes and compares addresses, so that a read of the word that is just written
    returns the old one.
    """
    address = index_bits(depth)
    return Resources(luts=width + address, ffs=2 * width + address + 2,
                     brams=rom_blocks(fabric, depth, width)[0])


@lru_cache(maxsize=8192)
def ram(fabric: Fabric, storage: Storage, depth: int, width: int, parts: int = 1) -> Resources:
    """Cells of one buffer memory of two cycles, of ``parts`` that are written by themselves."""
    if storage is Storage.BLOCK:
        brams = ram_blocks(fabric, depth, width, parts)
        if fabric.silicon.blocks_instantiated:
            return Resources(brams=brams)
        return replace(inferred_block(fabric, depth, width * parts), brams=brams)
    ffs = 2 * width + (depth * width if storage is Storage.LOGIC else 0)
    return Resources(luts=round(ram_luts(fabric, depth, width)), ffs=ffs) * parts
