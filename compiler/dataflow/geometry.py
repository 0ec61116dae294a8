"""What windows slide over, what they have of it, and which words of a buffer they read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...hdl.window_geometry import Gathers
from ..ir import Integers


@dataclass(frozen=True)
class Geometry:
    """What the window of a layer slides over: maps of ``size`` (height, width, channels).

    Of its ``positions``, each row is read in several ``passes``, one behind the other. ``gathers``
    are the taps that are read, where these are not all of the kernel, see `WindowGeometry`.
    """

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    positions: int
    passes: int = 1
    gathers: Gathers = ()

    @property
    def run(self) -> int:
        """Elements of one kernel row."""
        return self.kernel[1] * self.size[2]

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]


def elements_inside(shape: Geometry) -> tuple[list[int], list[int]]:
    """How many elements of the map the windows of each row, and of each column, of positions have.
    """
    found = []
    for axis in range(2):
        size, kernel, stride = shape.size[axis], shape.kernel[axis], shape.stride[axis]
        before, after = shape.padding[2 * axis : 2 * axis + 2]
        starts = range(-before, size + after - kernel + 1, stride)
        found.append([min(size, start + kernel) - max(0, start) for start in starts])
    return found[0], found[1]


@dataclass(frozen=True)
class Order:
    """The reads of a window of that ``shape``: words of so many ``lanes``, of ``rows`` at once.

    Either each kernel row is one run, or, ``per_channel``, all taps of a word's channels come
    before those of the next, row by row.
    """

    shape: Geometry
    lanes: int
    rows: int
    per_channel: bool

    @property
    def beats(self) -> int:
        """Beats of a first read."""
        shape = self.shape
        if shape.gathers:
            outputs = shape.gathers[0]
            return len(outputs) * len(outputs[0]) * (shape.size[2] // self.lanes)
        if self.per_channel:
            return shape.taps * -(-shape.size[2] // self.lanes)
        return -(-shape.kernel[0] // self.rows) * -(-shape.run // self.lanes)

    def needed(self) -> Integers:
        """(positions, beats) last word that each beat of a first read waits for; -1 for none."""
        if self.shape.gathers:
            return _needed_gathered(self.shape, self.lanes)
        if self.per_channel:
            return _needed_per_channel(self.shape, self.lanes)
        return _needed(self.shape, self.lanes, self.rows)


@dataclass(frozen=True, eq=False)
class Waits:
    """The reads that all others of a position hide behind, where words come a cycle apart or more.

    Parameters
    ----------
    words, reads : (positions, few) the words that they wait for, -1 for none, and which reads of
        the position they are.
    first : (positions,) the first read that waits for a word; one behind the last where none does.
    last : (positions,) the last word; -1 for none.
    """

    words: Integers
    reads: Integers
    first: Integers
    last: Integers

    @classmethod
    def of(cls, need: Integers) -> Waits:
        """Those of ``need`` (positions, reads), the word that each read waits for.

        A read hides behind one before it that waits for the same or a later word, and behind a
        later one whose word is as many words later, or more: that comes as many cycles later.
        """
        positions, reads = need.shape
        waits = need >= 0
        lead = np.where(waits, need - np.arange(reads), -reads)
        waited = np.maximum.accumulate(need, 1)
        later = np.maximum.accumulate(lead[:, ::-1], 1)[:, ::-1]
        alone = waits.copy()
        alone[:, 1:] &= need[:, 1:] > waited[:, :-1]
        alone[:, :-1] &= lead[:, :-1] > later[:, 1:]
        counts = alone.sum(1)
        which, read = np.nonzero(alone)
        place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        words = np.full((positions, max(1, int(counts.max()))), -1, np.int64)
        words[which, place] = need[which, read]
        found = np.zeros_like(words)
        found[which, place] = read
        return cls(words, found, np.where(waits.any(1), waits.argmax(1), reads), need.max(1))


@lru_cache(maxsize=256)
def waits_of(order: Order, *, border: bool) -> Waits:
    """Those of reads in that ``order``; of a ``border``, none goes out before its frame has begun.
    """
    need = order.needed()
    if not border:
        return Waits.of(need)
    return replace(Waits.of(np.maximum(need, 0)), last=need.max(1))


def _needed(shape: Geometry, lanes: int, rows: int) -> Integers:
    """(positions, beats) last word that each beat of a first read waits for; -1 for none."""
    height, width, channels = shape.size
    y, x, _ = _positions(shape)
    row = np.arange(-(-shape.kernel[0] // rows))[:, None] * rows + np.arange(rows)
    last = np.minimum((np.arange(-(-shape.run // lanes)) + 1) * lanes, shape.run) - 1
    # (positions, row groups, row copies)
    line = y[:, None, None] + row
    inside = (line >= 0) & (line < height) & (row < shape.kernel[0])
    first = (line * width + x[:, None, None]) * channels
    word = (first[..., None] + last) // lanes
    word = np.where(inside[..., None], np.minimum(word, -(-height * width * channels // lanes) - 1),
                    -1)
    return np.maximum(word.max(2), -1).reshape(len(y), -1)


def _needed_per_channel(shape: Geometry, lanes: int) -> Integers:
    """The same for a window read channel slice by channel slice, tap by tap."""
    height, width, channels = shape.size
    y, x, _ = _positions(shape)
    last = np.minimum((np.arange(-(-channels // lanes)) + 1) * lanes, channels) - 1
    line = y[:, None, None] + np.arange(shape.kernel[0])[None, :, None]
    first = (line * width + x[:, None, None] + np.arange(shape.kernel[1])) * channels
    word = (first[:, None] + last[None, :, None, None]) // lanes
    inside = ((line >= 0) & (line < height))[:, None]
    word = np.where(inside, np.minimum(word, -(-height * width * channels // lanes) - 1), -1)
    return np.maximum(word, -1).reshape(len(y), -1)


def _needed_gathered(shape: Geometry, lanes: int) -> Integers:
    """The same for a window of which each output's taps are read, slice by slice."""
    height, width, channels = shape.size
    y, x, _ = _positions(shape)
    across = (width + sum(shape.padding[2:]) - shape.kernel[1]) // shape.stride[1] + 1
    taps = np.array(shape.gathers)  # (passes, outputs, taps, 2)
    turn = np.arange(len(y)) // across % shape.passes
    line, column = (start[:, None, None] + taps[turn, :, :, axis]
                    for axis, start in enumerate((y, x)))
    slices = channels // lanes
    word = (line * width + column)[:, :, None] * slices + np.arange(slices)[:, None]
    inside = ((line >= 0) & (line < height))[:, :, None]
    word = np.where(inside, np.minimum(word, height * width * slices - 1), -1)
    return np.maximum(word, -1).reshape(len(y), -1)


@lru_cache(maxsize=256)
def freed_words(shape: Geometry, lanes: int) -> Integers:
    """(positions,) words of the frame that no later position reads."""
    height, width, channels = shape.size
    y, x, is_last = _positions(shape)
    # A window that begins beyond an edge says nothing: the next row may lie before it. Nor does one
    # whose row is read again.
    inside = (y < height) & (x < width) & is_last
    if shape.gathers:
        y, x = np.add((y, x), np.reshape(shape.gathers[-1][0][0], (2, 1)))
    first = np.where(inside, (y * width + x) * channels // lanes, 0)
    following = np.append(first[1:], -(-height * width * channels // lanes))
    return np.maximum.accumulate(np.maximum(following, 0))


def _positions(shape: Geometry) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Top and left edge of every window, in the order of reads, and whether that is its row's
    last pass."""
    top, bottom, left, right = shape.padding
    height = (shape.size[0] + top + bottom - shape.kernel[0]) // shape.stride[0] + 1
    width = (shape.size[1] + left + right - shape.kernel[1]) // shape.stride[1] + 1
    row, x = np.divmod(np.arange(height * shape.passes * width), width)
    y, turn = np.divmod(row, shape.passes)
    return y * shape.stride[0] - top, x * shape.stride[1] - left, turn == shape.passes - 1
