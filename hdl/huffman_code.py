"""A canonical Huffman code in registers: which code stands in front, and where its symbol is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import *

__all__ = ["MAX_LENGTH", "Code", "chosen_of"]

MAX_LENGTH = 15
"""The longest code."""


class Code:
    """A section's code: for each length from 1 on, the ``limits`` from which on so many bits in
    front are those of a longer code, and the ``bases`` that take a code to its symbol's place in
    the table."""

    def __init__(self) -> None:
        self.limits = [Signal(n + 2, name=f"limit_{n + 1}", reset_less=True)
                       for n in range(MAX_LENGTH)]
        self.bases = [Signal(8, name=f"base_{n + 1}", reset_less=True) for n in range(MAX_LENGTH)]
        self.symbols = Signal(16)
        self._end = Signal(16)

    def clear(self) -> list[Statement]:
        """No codes yet."""
        return [self._end.eq(0), self.symbols.eq(0)]

    def longer(self, count: Value) -> list[Statement]:
        """The next length has ``count`` codes.

        All move down a place, so that after the last one each is in its own; on its way there, a
        limit fits wherever it comes through.
        """
        first = (self._end << 1)[:16]
        return [self._end.eq(first + count), self.symbols.eq(self.symbols + count),
                self.limits[-1].eq(first + count), self.bases[-1].eq(self.symbols - first),
                *(low.eq(high) for row in (self.limits, self.bases)
                  for low, high in pairwise(row))]

    def beyond(self, front: Value) -> Value:
        """For each length, whether the code in ``front`` is longer."""
        return Cat(front[MAX_LENGTH - 1 - n:] >= limit for n, limit in enumerate(self.limits))


def chosen_of(places: Value, values: Iterable[Value]) -> Value:
    """That of ``values`` at the place of a 1, zeros for none."""
    return reduce(or_, (Mux(place, value, 0) for place, value in zip(places, values, strict=True)))
