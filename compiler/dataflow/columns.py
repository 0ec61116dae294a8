"""Weights of a dense layer as the processing elements of a `BroadcastEngine` store them.

Each element has one row of every ``pes`` that follow each other, and stores the weights of its rows
column by column, with relative indices (EIE, Han 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...hdl.column_shape import Entry
from .. import ir
from ..ir import Integers

__all__ = ["Columns", "dealt", "interleaved"]

ELSEWHERE = 0.1
"""How heavily `dealt` takes a weight in another column."""


def interleaved(outputs: int, pes: int) -> Integers:
    """The element of each output, ``(slots, pes)``: row i is in element i mod ``pes``."""
    return np.tile(np.arange(pes), (-(-outputs // pes), 1))


def dealt(values: Integers, pes: int, activity: NDArray[np.float64] | None = None) -> Integers:
    """The element of each output, ``(slots, pes)``, such that they wait little for each other.

    ``values`` are the weights ``(outputs, inputs)``; ``activity`` says how often each input is not
    zero, by default always. Elements wait column by column, so it is not enough that all have as
    much to do in the end, which is what `penjing.compiler.dataflow.kinds.balance` sees to. Of each
    slot's rows, the ones with the most work first, each goes to the free element that has the
    fewest weights in its columns, and, less heavily, in all.
    """
    work = np.ones(values.shape[1]) if activity is None else activity
    rows = _slots(values, pes) != 0
    slots = len(rows)
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


def _slots(values: Integers, pes: int) -> Integers:
    """Rows of weights, ``(slots, pes, inputs)``; missing ones are zeros."""
    outputs, inputs = values.shape
    padded = np.zeros((-(-outputs // pes) * pes, inputs), np.int64)
    padded[:outputs] = values
    return padded.reshape(-1, pes, inputs)


def _rows(values: Integers, order: Integers) -> Integers:
    """The columns of each element, ``(pes * inputs, 1, slots)``, as encodings take rows."""
    slots = _slots(values, order.shape[1])
    own = np.take_along_axis(slots, np.argsort(order, axis=1)[:, :, None], axis=1)
    return own.transpose(1, 2, 0).reshape(-1, 1, len(order))


@dataclass(frozen=True, eq=False)
class Columns:
    """The ``weights`` of a dense layer, ``(outputs, inputs)``, spread over processing elements.

    ``order`` names the element of each output, ``(slots, pes)``; what `interleaved` and `dealt`
    make. The ``encoding`` is that of columns: gaps count rows of an element. Raises `PenjingError`
    if it has a codebook and there are too many different weights.
    """

    weights: ir.Weights
    order: Integers
    encoding: ir.RelativeIndex

    def __post_init__(self) -> None:
        self.encoding.check(_rows(self.weights.values, self.order))

    @classmethod
    def best(cls, weights: ir.Weights, order: Integers, values: ir.ValueEncoding) -> Columns:
        """With gaps of the width that `RelativeIndex.best` finds."""
        return cls(weights, order, ir.best_index(_rows(weights.values, order), weights.bits,
                                                 values))

    @cached_property
    def walk(self) -> ir.GapWalk:
        """The entries, column after column of an element, and element after element."""
        return ir.gap_walk(self.encoding, _rows(self.weights.values, self.order))

    @property
    def pes(self) -> int:
        """Processing elements."""
        return self.order.shape[1]

    @property
    def lengths(self) -> Integers:
        """How many entries each element has in each column, ``(pes, inputs)``."""
        return self.walk.lengths.reshape(self.pes, -1)

    @property
    def codebook(self) -> tuple[int, ...]:
        """What codes stand for, if they are no weights."""
        values = self.encoding.values
        return (tuple(values.entries(self.walk.stored).tolist())
                if isinstance(values, ir.Codebook) else ())

    def entries(self) -> list[list[list[Entry]]]:
        """Of each element, of each column, gap and code of each entry."""
        values, stored = self.encoding.values, self.walk.stored
        codes = values.indices(stored) if isinstance(values, ir.Codebook) else stored
        following = zip(self.walk.gaps.tolist(), codes.tolist(), strict=True)
        return [[[next(following) for _ in range(length)] for length in own]
                for own in self.lengths.tolist()]
