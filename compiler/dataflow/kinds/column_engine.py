"""The hardware of a dense layer that skips inputs, from its weights as its elements have them."""

from __future__ import annotations

from ....hdl.broadcast import BroadcastEngine
from ....hdl.column_shape import Entry, PeShape
from ....hdl.drain import DrainShape
from ....hdl.entries import Weighing
from ....hdl.nonzero import place, places
from ....hdl.tech import MemoryStyle, Technology
from ... import ir
from ...ir import TensorType
from ..columns import Columns
from .kind import shape_of


def engine(columns: Columns, layer: ir.MultiplyAccumulate, source: TensorType, sum_bits: int, *,
           queue: int, lanes: int, o_lanes: int, banks: int, dsps: int, style: MemoryStyle,
           technology: Technology, vectors: int = 1) -> BroadcastEngine:
    """The hardware of the ``layer`` of weights in ``columns``, behind a tensor ``source``.

    Its sums have ``sum_bits``; a frame has so many ``vectors``.
    """
    outputs, inputs = columns.weights.values.shape
    pe = pe_shape(columns, sum_bits, queue=queue, lanes=lanes, banks=banks)
    named = []
    for own in columns.entries():
        by_place: list[list[Entry]] = [[] for _ in range(pe.places)]
        for column, entries in enumerate(own):
            by_place[place(column, lanes)] = entries
        named.append(by_place)
    # Inputs count from their zero point on: what they all add is constant.
    bias = layer.bias + source.zero_point * columns.weights.values.sum(1)
    return BroadcastEngine(
        shape_of(source), pe, DrainShape(columns.pes, outputs, o_lanes, banks, pe.depth, vectors),
        lanes=lanes, inputs=inputs, zero=source.zero_point, dsp_multipliers=dsps, columns=named,
        order=columns.order.tolist(), bias=bias.tolist(), style=style, technology=technology)


def weighing(columns: Columns) -> Weighing:
    """What the codes of ``columns`` stand for."""
    return Weighing(columns.weights.bits, columns.codebook)


def pe_shape(columns: Columns, sum_bits: int, *, queue: int, lanes: int, banks: int) -> PeShape:
    """The structure of the elements of ``columns``, whose sums have so many bits."""
    return PeShape(len(columns.order), places(columns.weights.values.shape[1], lanes), queue,
                   columns.encoding.gap_bits, weighing(columns), sum_bits, banks)
