"""Weights of which a bit for each place tells whether they are stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from .encoding import Plain, Stored, ValueEncoding
from .sparse import Sparse, Walk, pitch_of
from .tensor import Integers, is_int, require

SEGMENTS = (32, 16, 8)
"""The places that one word of a bitmap may tell of."""


@dataclass(frozen=True, eq=False)
class BitmapWalk(Walk):
    """Non-zero weights, and one filling for each empty segment, at its first place.

    ``masks`` (outputs, segments) are the bitmap: bit n stands for place n of the segment.
    """

    masks: Integers

    @property
    def stored(self) -> Integers:
        """The non-zero weights, in the order of the entries."""
        return self.values[self.values != 0]


@dataclass(frozen=True, eq=False)
class FilledBitmapWalk(BitmapWalk):
    """One without empty segments: some of the weights that its bits stand for are 0."""

    @property
    def stored(self) -> Integers:
        """All weights."""
        return self.values


@dataclass(frozen=True)
class Bitmap(Sparse):
    """A bit for each place of an output, whole words of ``segment`` places, and its non-zero
    weights.

    Hardware spends a cycle on each of them, and one on each word without any.
    """

    stem = "bitmap"

    segment: int
    values: ValueEncoding = field(default_factory=Plain)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.segment) and self.segment in SEGMENTS,
                f"weights: the segment of a bitmap must be one of "
                f"{', '.join(map(str, SEGMENTS))}, not {self.segment!r:.40}")

    @classmethod
    def best(cls, rows: Integers, bits: int, values: ValueEncoding) -> Self:
        """The one of fewest memory bits; of equal ones, that of the longest segments."""
        return min((cls(segment, values) for segment in SEGMENTS),
                   key=lambda choice: choice._segments(rows) * choice.segment)

    def check(self, rows: Integers) -> None:
        """Refuse weights whose values cannot be stored."""
        self.values.check_stored(self.stored(rows))

    def stored(self, rows: Integers) -> Stored:
        """The non-zero weights."""
        return Stored(rows[rows != 0])

    def memory_bits(self, rows: Integers, bits: int) -> int:
        """The bitmap, and the non-zero weights."""
        bitmap = len(rows) * self._segments(rows) * self.segment
        return bitmap + self.values.bits_of(self.stored(rows), bits)

    def _segments(self, rows: Integers) -> int:
        """Segments of an output."""
        return -(-rows.shape[1] * pitch_of(rows.shape[2]) // self.segment)

    def walk(self, rows: Integers) -> BitmapWalk:
        """The entries of ``rows`` (outputs, taps, channels)."""
        outputs, taps, channels = np.nonzero(rows)
        segments = self._segments(rows)
        # Places of all outputs in a row, each of which has whole segments.
        places = (outputs * segments * self.segment + taps * pitch_of(rows.shape[2]) + channels)
        masks = np.zeros(len(rows) * segments, np.int64)
        np.add.at(masks, places // self.segment, np.left_shift(1, places % self.segment))
        empty = np.flatnonzero(masks == 0) * self.segment

        at = np.searchsorted(places, empty)
        values = np.insert(rows[outputs, taps, channels], at, 0)
        places = np.insert(places, at, empty)
        outputs, places = np.divmod(places, segments * self.segment)
        return BitmapWalk(np.bincount(outputs), places, values, masks.reshape(len(rows), segments))
