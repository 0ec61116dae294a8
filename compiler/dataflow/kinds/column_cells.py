"""What an engine costs that skips inputs: its elements, and the ways to and from them."""

from __future__ import annotations

from ....hdl.column_shape import PeShape
from ....hdl.drain import DrainShape
from ...cost import Fabric, Resources, Storage, arithmetic, memories, streams
from ...cost.memories import index_bits
from ..broadcast import LEAD


def element_cells(fabric: Fabric, pe: PeShape, bits: int) -> Resources:
    """Cells of an element but for its constants and its multiplier, whose inputs have ``bits``."""
    logic, total, rows = fabric.logic, pe.sum_bits, index_bits(pe.rows)
    product = bits + pe.weighing.weight_bits
    waiting = 2 * index_bits(pe.places) + bits + 1
    storage = Storage.LOGIC if fabric.silicon.ram_luts is None else Storage.DISTRIBUTED
    queue = memories.ram(fabric, storage, pe.queue, waiting)
    sums = memories.ram(fabric, storage, pe.rows, total) * pe.banks
    # The sum itself; whether it is one on its way, or of which bank; which row it is.
    choices = (1 + pe.banks) * total * logic.mux
    luts = (fabric.sums(total) + choices + fabric.sums(rows)
            + fabric.counters(4 * index_bits(pe.places)))
    return queue + sums + Resources(
        luts=round(luts), ffs=waiting + product + 2 * pe.weighing.weight_bits
        + pe.depth * (rows + 3))


def line_cells(fabric: Fabric, lanes: int, bits: int, count: int) -> Resources:
    """Cells of what finds the elements of beats that are not zero, and looks up their columns."""
    item = bits + index_bits(count) + 2
    luts = lanes * (fabric.any_of(bits) + 2) + fabric.sums(lanes) + lanes * item * fabric.logic.mux
    return fabric.control.stage.cells + Resources(
        luts=round(luts), ffs=2 * lanes * (bits + 1) + (2 + LEAD) * item)


def drain_cells(fabric: Fabric, drain: DrainShape, bits: int) -> Resources:
    """Cells of what reads sums of so many ``bits``, slot by slot, and of the queue behind."""
    counters = sum(map(index_bits, (drain.slots, drain.slot_beats, drain.settle,
                                    drain.frame_beats)))
    chosen = drain.o_lanes * bits * arithmetic.choice(fabric, drain.pes)
    return (streams.queue(fabric, drain.queue_depth, drain.o_lanes * bits + 1)
            + streams.admission(fabric, depth=drain.depth, room=drain.queue_depth)
            + fabric.control.engine.cells
            + Resources(luts=round(chosen + fabric.counters(counters)),
                        ffs=drain.o_lanes * bits + counters))
