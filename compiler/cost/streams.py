"""What moves beats costs: counters, gearboxes, upsizers and queues."""

from __future__ import annotations

from functools import lru_cache

from . import memories
from .fabric import Fabric
from .memories import index_bits
from .resources import Resources, Storage


def counter_ffs(*counts: int) -> int:
    """Flip-flops of counters, each with one that says that it is at its end."""
    return sum(index_bits(count) + 1 for count in counts if count > 1)


@lru_cache(maxsize=8192)
def gearbox(fabric: Fabric, *, bits: int, slots: int, single: bool, counts: tuple[int, ...]
            ) -> Resources:
    """Cells of a lane gearbox, whose ``slots`` have so many ``bits``.

    What a slot takes depends on how many are full, and if beats are of several slots on both sides
    that is told for each place of a beat. ``single`` says that one side has beats of one slot.
    ``counts`` are those of its counters.
    """
    places = 1 if single else 2
    return fabric.control.gearbox.cells + Resources(
        luts=round(slots * bits * slots * places * fabric.logic.gear
                   + fabric.counters(sum(map(index_bits, counts)))),
        ffs=slots * bits + index_bits(slots + 1) + counter_ffs(*counts))


@lru_cache(maxsize=8192)
def upsizer(fabric: Fabric, *, bits: int, o_lanes: int, parts: int, counts: tuple[int, ...]
            ) -> Resources:
    """Cells of an upsizer: every element has its register, and another in the output."""
    return fabric.control.upsizer.cells + Resources(
        luts=round(parts + fabric.counters(sum(map(index_bits, counts)))),
        ffs=2 * o_lanes * bits + parts + counter_ffs(*counts))


@lru_cache(maxsize=8192)
def queue(fabric: Fabric, depth: int, width: int) -> Resources:
    """Cells of a queue of ``depth`` beats of ``width`` bits.

    It has two pointers, a level, and the beat that it gives in a register, one of its beats.
    """
    bits, words = 3 * index_bits(depth), depth - 1
    storage = memories.queue_storage(fabric, words, width)
    if storage is Storage.BLOCK:
        held = memories.inferred_block(fabric, words, width)
    else:
        held = Resources(luts=round(memories.ram_luts(
            fabric, memories.ram_depth(fabric, words), width)),
            ffs=width + words * width * (storage is Storage.LOGIC))
    return fabric.control.queue.cells + held + Resources(
        luts=round(fabric.counters(bits)), ffs=bits)


def skip_buffer(fabric: Fabric, storage: Storage, depth: int, width: int, *, queue_depth: int
                ) -> Resources:
    """Cells of a memory of ``depth`` beats of ``width`` bits and a queue of ``queue_depth`` behind.

    It has two pointers, and counts of the words, of what is free and of what may be read.
    """
    address, count = index_bits(depth), index_bits(depth + 1)
    counters = 2 * address + 2 * count + index_bits(queue_depth + 1)
    return (memories.ram(fabric, storage, depth, width) + queue(fabric, queue_depth, width)
            + fabric.control.skip.cells
            + Resources(luts=round(fabric.counters(counters)), ffs=counters))


def admission(fabric: Fabric, *, depth: int, room: int) -> Resources:
    """Cells of what lets beats in while fewer than ``room`` are on the way; each is told from none
    through ``depth`` cycles, and the last of a frame from others."""
    bits = index_bits(room + 1)
    return fabric.control.admission.cells + Resources(
        luts=round(fabric.counters(bits)), ffs=2 * depth + bits)
