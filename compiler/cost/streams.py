"""What moves beats costs: gearboxes, upsizers, queues and window buffers."""

from __future__ import annotations

from . import memories
from .fabric import Fabric
from .resources import Resources, Storage


def gearbox(fabric: Fabric, *, bits: int, slots: int, choices: int) -> Resources:
    """Cells of a lane gearbox, whose ``slots`` have so many ``bits``.

    Every slot takes what arrives at any place, or one of ``choices``, or stays.
    """
    return Resources(luts=round(slots * bits * slots * choices * fabric.gear_bit) + 20,
                     ffs=slots * bits + 12)


def upsizer(*, bits: int, o_lanes: int, parts: int) -> Resources:
    """Cells of an upsizer: every element has its register, and another in the output."""
    return Resources(luts=parts + 24, ffs=2 * o_lanes * bits + parts + 16)


def skip_buffer(fabric: Fabric, storage: Storage, depth: int, width: int, *, queue_depth: int
                ) -> Resources:
    """Cells of a queue of ``depth`` beats of ``width`` bits, with one of ``queue_depth`` behind."""
    address = depth.bit_length()
    small = memories.ram_luts(fabric, memories.ram_depth(fabric, queue_depth), width)
    counters = 6 * address * fabric.adder_bit + 40
    return (memories.ram(fabric, storage, depth, width)
            + Resources(luts=round(small + counters), ffs=4 * address + width + 40))


def window(fabric: Fabric, *, bits: int, lanes: int, rows: int, banks: int, depth: int,
           storage: Storage, address_bits: int, padded: bool) -> Resources:
    """Cells of a window buffer, its addresses, rotation and padding."""
    cells = memories.ram(fabric, storage, depth, bits * lanes // banks) * (rows * banks)
    turn = rows * lanes * bits * (banks - 1)
    pad = rows * lanes * bits * 0.5 + 30 if padded else 0.0
    # Eight sums and distances of word counts; three more for each row, and where reads begin
    # anywhere in a word, those of the next word and the choice of either in each bank.
    turned, low = banks > 1, (depth - 1).bit_length()
    address = (8 + (5 if turned else 3) * rows) * address_bits * fabric.adder_bit
    choice = rows * (banks * low * 0.5 + low * fabric.adder_bit) if turned else 0.0
    luts = turn + pad + address + choice + 2 * address_bits + fabric.control
    turns = 4 * (banks - 1).bit_length() + (banks + low if turned else 0)
    kept = 2 * lanes if turned else 2
    ffs = (2 * rows * lanes * bits + (10 + 2 * rows) * address_bits + 18
           + rows * (low + 1 + turns + kept * padded) + kept * padded)
    return cells + Resources(luts=round(luts), ffs=round(ffs))
