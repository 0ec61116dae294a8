"""Weights of a dense layer as the processing elements of a `BroadcastEngine` store them.

Each element has one row of every ``pes`` that follow each other, and stores the weights of its rows
column by column, each with the number of its rows in between that have none there (relative
indices; EIE, Han 2016). Where that number has too few bits, entries of the weight 0 are put in
between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....hdl.broadcast import BroadcastEngine
from ....hdl.column_pe import Entry, PeShape
from ....hdl.drain import DrainShape
from ....hdl.nonzero import place, places
from ....hdl.tech import MemoryStyle, Technology
from ... import ir
from ...ir import Integers, TensorType
from .kind import shape_of

__all__ = ["Columns", "balanced", "fewest_gap_bits", "interleaved"]

ELSEWHERE = 0.1
"""How heavily `balanced` takes a weight in another column."""
MOST_FILL = 1.02
"""Entries for each weight that is not zero: more of them cost more cycles than bits are worth."""


def interleaved(outputs: int, pes: int) -> Integers:
    """The element of each output, ``(slots, pes)``: row i is in element i mod ``pes``."""
    return np.tile(np.arange(pes), (-(-outputs // pes), 1))


def balanced(values: Integers, pes: int, activity: NDArray[np.float64] | None = None) -> Integers:
    """The element of each output, ``(slots, pes)``, such that all are busy about equally often.

    ``values`` are the weights ``(outputs, inputs)``; ``activity`` says how often each input is not
    zero, by default always. Of each slot's rows, the ones with the most work first, each goes to
    the free element that has the fewest weights in its columns, and, less heavily, in all: elements
    wait for each other column by column.
    """
    work = np.ones(values.shape[1]) if activity is None else activity
    slots = -(-len(values) // pes)
    padded = np.zeros((slots * pes, values.shape[1]))
    padded[: len(values)] = values != 0
    rows = padded.reshape(slots, pes, -1)
    order, held = np.zeros((slots, pes), np.int64), np.zeros((pes, values.shape[1]))
    # Slots of very different rows first, since even ones can mend little.
    for slot in np.argsort(-np.ptp(rows @ work, axis=1), kind="stable"):
        free = list(range(pes))
        for row in np.argsort(-(rows[slot] @ work), kind="stable"):
            costs = held[free] @ ((rows[slot, row] + ELSEWHERE) * work)
            element = free.pop(int(np.argmin(costs)))
            order[slot, row] = element
            held[element] += rows[slot, row]
    return order


def fewest_gap_bits(values: Integers, order: Integers) -> int:
    """Bits of a gap with which at most 2 % of all entries only fill gaps."""
    weights = ir.Weights.narrowest(values)
    most = MOST_FILL * np.count_nonzero(values)
    widths = range(1, len(order).bit_length() + 1)
    return next(bits for bits in widths if Columns(weights, order, bits).lengths().sum() <= most)


@dataclass(frozen=True, eq=False)
class Columns:
    """The ``weights`` of a dense layer, ``(outputs, inputs)``, spread over processing elements.

    ``order`` names the element of each output, ``(slots, pes)``; what `interleaved` and `balanced`
    make. With ``shared``, entries hold places in a codebook of all different values.
    """

    weights: ir.Weights
    order: Integers
    gap_bits: int
    shared: bool = False

    @property
    def pes(self) -> int:
        """Processing elements."""
        return self.order.shape[1]

    @property
    def codebook(self) -> tuple[int, ...]:
        """What codes stand for, if they are no weights."""
        return self.weights.codebook if self.shared else ()

    def rows(self, element: int) -> Integers:
        """The weights of an ``element``'s rows, ``(slots, inputs)``; missing rows are zeros."""
        values = self.weights.values
        padded = np.zeros((self.order.size, values.shape[1]), np.int64)
        padded[: len(values)] = values
        own: Integers = padded.reshape(*self.order.shape, -1)[self.order == element]
        return own

    def entries(self, element: int) -> list[list[Entry]]:
        """Gap and code of each entry of each column that ``element`` stores."""
        rows, step = self.rows(element), 1 << self.gap_bits
        codes = {value: n for n, value in enumerate(self.codebook)}

        def code(value: int) -> int:
            return codes[value] if self.shared else value

        columns = []
        for values in rows.T:
            column, following = list[Entry](), 0
            for row in np.flatnonzero(values).tolist():
                gap, value = row - following, int(values[row])
                column += [(step - 1, code(0)) for _ in range(gap // step)]
                column.append((gap % step, code(value)))
                following = row + 1
            columns.append(column)
        return columns

    def lengths(self) -> Integers:
        """How many entries each element has in each column, ``(pes, inputs)``."""
        return np.array([[len(column) for column in self.entries(n)] for n in range(self.pes)])

    def engine(self, layer: ir.Dense, source: TensorType, *, queue: int, lanes: int, o_lanes: int,
               banks: int, dsp: bool, style: MemoryStyle, technology: Technology
               ) -> BroadcastEngine:
        """The hardware of ``layer``, whose weights these are, behind a tensor like ``source``."""
        outputs, inputs = self.weights.values.shape
        pe = PeShape(len(self.order), places(inputs, lanes), queue, self.gap_bits,
                     ir.Weights.narrowest(self.weights.values).bits,
                     layer.output_type(source).bits, banks, self.codebook, dsp)
        drain = DrainShape(self.pes, outputs, o_lanes, banks, pe.depth)
        columns = []
        for n in range(self.pes):
            named: list[list[Entry]] = [[] for _ in range(pe.places)]
            for column, own in enumerate(self.entries(n)):
                named[place(column, lanes)] = own
            columns.append(named)
        return BroadcastEngine(
            shape_of(source), pe, drain, lanes=lanes, inputs=inputs, columns=columns,
            order=self.order.tolist(), bias=layer.bias.tolist(), style=style,
            technology=technology)
