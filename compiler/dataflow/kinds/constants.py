"""What constants cost that blocks keep: in the order in which they are wanted, or a channel's."""

from __future__ import annotations

from ....hdl.fill import Spelling
from ....hdl.sequencer import ONCE, Rounds, SequencerShape
from ....hdl.steady import BLOCK_BITS
from ....hdl.tile_shape import TileShape
from ...cost import Fabric, Resources, Storage, memories


def in_order(fabric: Fabric, storage: Storage, words: int, width: int,
             rounds: Rounds = ONCE, columns: tuple[int, ...] = ()) -> Resources:
    """Cells of a `Sequencer` of ``words`` words of ``width`` bits in ``rounds`` and ``columns``."""
    shape = SequencerShape(words, width, storage is Storage.BLOCK, rounds, columns)
    return memories.in_order(fabric, storage, shape.counts, shape.parts,
                             stepped=not shape.registered)


def filled(fabric: Fabric, storage: Storage, words: int, spelling: Spelling, rounds: Rounds = ONCE
           ) -> Resources:
    """Cells of a `LoadableSequencer`: its memories, its counters, and what fills it."""
    shape = SequencerShape(words, spelling.width, storage is Storage.BLOCK, rounds)
    bits = sum(map(memories.index_bits, shape.counts))
    counters = Resources(luts=round(fabric.counters(bits)), ffs=bits)
    return sum((memories.ram(fabric, storage, words, part) + counters for part in shape.parts),
               filler(fabric, words, spelling))


def filler(fabric: Fabric, words: int, spelling: Spelling) -> Resources:
    """Cells of a `Filler`: a row of symbols, the address of a word and that of the next, and what
    is passed on."""
    places = memories.index_bits(words) + memories.index_bits(spelling.symbols)
    return Resources(
        luts=round(fabric.counters(places)),
        ffs=spelling.symbols * spelling.symbol_bits + places + memories.index_bits(words) + 12)


def loose(fabric: Fabric) -> Storage:
    """Where small memories go that are filled."""
    return Storage.LOGIC if fabric.silicon.ram_luts is None else Storage.DISTRIBUTED


def in_slots(fabric: Fabric, shape: TileShape, bits: int) -> Resources:
    """Cells of what each element of an engine has for each of its outputs, words of ``bits``."""
    if not shape.loaded:
        return in_order(fabric, Storage.LOGIC, shape.slots, bits) * shape.pe
    count = memories.index_bits(shape.slots)
    own = memories.ram(fabric, loose(fabric), shape.slots, bits) + Resources(
        luts=round(fabric.counters(count)), ffs=count + 1)
    return filler(fabric, shape.slots, Spelling(shape.pe, bits)) + own * shape.pe


def of_channels(fabric: Fabric, storage: Storage, words: int, width: int, *, registers: int = 2
                ) -> Resources:
    """Cells of a memory of a channel's constants, which is in block RAM only if it is large."""
    small = storage is Storage.BLOCK and words * width <= BLOCK_BITS
    return memories.rom(fabric, Storage.LOGIC if small else storage, words, width,
                        registers=registers)
