"""Geometry of a window that slides over a raster stream, and the order of its reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import gcd
from typing import TypeAlias

from amaranth.utils import ceil_log2

from .stream import beats

__all__ = ["Gathers", "Loop", "Moves", "WindowGeometry"]

Gathers: TypeAlias = tuple[tuple[tuple[tuple[int, int], ...], ...], ...]
"""Of each pass over a row, for each output of a position, the taps (y, x) that it is made of."""
Moves: TypeAlias = tuple[int, ...]
"""Address changes in elements after a beat, by how many levels end with it."""


@dataclass(frozen=True)
class Loop:
    """One level of the read order: ``count`` steps of ``step`` elements each."""

    count: int
    step: int


@dataclass(frozen=True)
class WindowGeometry:
    """Geometry of a window that slides over frames of ``size`` (height, width, channels).

    Parameters
    ----------
    size : (height, width, channels) of a frame.
    kernel, stride : (y, x).
    padding : (top, bottom, left, right).
    rows : kernel rows read at once, each from a copy of the buffer.
    lanes : consecutive elements read at once in each of those rows.
    repeat : how often each position is read, once for every fold of the outputs.
    passes : how often each row of positions is read, one pass behind the other.
    per_channel : read order. False: each kernel row is one run of ``kernel width * channels``
        elements. True: for every ``lanes`` channels, the kernel's taps one by one; ``rows`` and
        ``repeat`` are then 1.
    gathers : per channel, what is read of each position in place of all taps once: for each output
        the taps that it is made of, as many for each, of every ``lanes`` channels, which then
        divide the channels. The first tap of a pass lies before all others of it, or is above them.
    """

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    lanes: int
    rows: int = 1
    repeat: int = 1
    passes: int = 1
    per_channel: bool = False
    gathers: Gathers = ()

    def __post_init__(self) -> None:
        run = self.size[2] if self.per_channel else self.run
        if not 1 <= self.lanes <= run:
            raise ValueError(f"lanes must be within 1 and {run}, not {self.lanes!r}")
        if not 1 <= self.rows <= (1 if self.per_channel else self.kernel[0]):
            raise ValueError(f"rows must be within 1 and the kernel's height, not {self.rows!r}")
        if self.repeat < 1 or (self.per_channel and self.repeat > 1):
            raise ValueError(f"repeat must be at least 1, and 1 per channel, not {self.repeat!r}")
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, not {self.passes!r}")
        if self.gathers:
            self._check_gathers()
        if self.positions[0] < 1 or self.positions[1] < 1:
            raise ValueError(f"kernel must fit the padded size, not {self.kernel!r}")

    def _check_gathers(self) -> None:
        outputs = {tuple(map(len, each)) for each in self.gathers}
        if not self.per_channel or len(self.gathers) != self.passes or len(outputs) != 1 or len(
                set(*outputs)) != 1:
            raise ValueError("gathers must be per channel, for each pass equally many outputs of "
                             "equally many taps")
        if any(min(map(self.offset, sum(each, ()))) < self.offset(each[0][0])
               for each in self.gathers):
            raise ValueError("gathers must begin with the tap that comes first in a frame")
        if self.size[2] % self.lanes:
            raise ValueError(f"lanes must divide the {self.size[2]} channels of gathers, "
                             f"not {self.lanes!r}")

    def offset(self, tap: tuple[int, int]) -> int:
        """Elements from the begin of a window to a ``tap`` (y, x)."""
        y, x = tap
        return (y * self.size[1] + x) * self.size[2]

    @property
    def run(self) -> int:
        """Elements of one kernel row."""
        return self.kernel[1] * self.size[2]

    @cached_property
    def positions(self) -> tuple[int, int]:
        """Output (height, width)."""
        top, bottom, left, right = self.padding
        height = (self.size[0] + top + bottom - self.kernel[0]) // self.stride[0] + 1
        width = (self.size[1] + left + right - self.kernel[1]) // self.stride[1] + 1
        return height, width

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The read order, innermost first.

        Behind three of a position come x, the passes over a row if there are several, and y.
        """
        _, width, channels = self.size
        height_out, width_out = self.positions
        if self.gathers:
            # Where they go from tap to tap and from output to output is told by `moves`.
            outputs = self.gathers[0]
            inner = (Loop(len(outputs[0]), 0), Loop(beats(channels, self.lanes), self.lanes),
                     Loop(len(outputs), 0))
        elif self.per_channel:
            inner = (Loop(self.kernel[1], channels),
                     Loop(self.kernel[0], width * channels),
                     Loop(beats(channels, self.lanes), self.lanes))
        else:
            inner = (Loop(beats(self.run, self.lanes), self.lanes),
                     Loop(beats(self.kernel[0], self.rows), self.rows * width * channels),
                     Loop(self.repeat, 0))
        passes = (Loop(self.passes, 0),) if self.passes > 1 else ()
        return (*inner, Loop(width_out, self.stride[1] * channels), *passes,
                Loop(height_out, self.stride[0] * width * channels))

    @cached_property
    def lane_columns(self) -> tuple[tuple[int, ...], ...]:
        """Of each lane the columns of the kernel that it reads, step by step of the first loop."""
        steps = range(self.loops[0].count)
        if self.per_channel:
            return (tuple(steps),) * self.lanes
        channels, last = self.size[2], self.kernel[1] - 1
        return tuple(tuple(min((step * self.lanes + lane) // channels, last) for step in steps)
                     for lane in range(self.lanes))

    @cached_property
    def different_columns(self) -> tuple[tuple[int, ...], ...]:
        """The `lane_columns`, those of several lanes once."""
        return tuple(dict.fromkeys(self.lane_columns))

    @property
    def reads(self) -> int:
        """Reads of a position."""
        return self.loops[0].count * self.loops[1].count * self.loops[2].count

    @property
    def start(self) -> int:
        """First element of the first window, relative to the frame; negative with padding."""
        first = self.offset(self.gathers[0][0][0]) if self.gathers else 0
        return first - (self.padding[0] * self.size[1] + self.padding[2]) * self.size[2]

    @property
    def elements(self) -> int:
        """Elements of a frame."""
        return self.size[0] * self.size[1] * self.size[2]

    @cached_property
    def words(self) -> int:
        """Buffer words of a frame."""
        return beats(self.elements, self.lanes)

    @property
    def reach(self) -> int:
        """The most rows of the frame that lie between a window and the frame's nearest element."""
        return max(self.kernel[0], self.padding[0] + 1, self.padding[1] + 1)

    def count_bits(self, depth: int) -> int:
        """Bits of absolute word counts, beside a buffer of ``depth`` words.

        They wrap around at a power of two that tells ahead from behind.
        """
        reach = 2 * self.words + depth + beats(self.reach * self.row_step, self.lanes)
        return ceil_log2(reach + 2) + 2

    @property
    def row_step(self) -> int:
        """Elements between the starts of two rows."""
        return self.size[1] * self.size[2]

    @cached_property
    def deltas(self) -> Moves:
        """Those after every beat, unless there are `moves`."""
        ended = list(accumulate(((loop.count - 1) * loop.step for loop in self.loops), initial=0))
        steps = [loop.step for loop in self.loops] + [self.words * self.lanes]
        return tuple(step - done for step, done in zip(steps, ended, strict=True))

    @cached_property
    def moves(self) -> Mapping[tuple[int, int, int], Moves]:
        """Of `gathers`, those after a beat, by the pass, the output and the tap that it reads."""
        found = {}
        _, slices, _, x, *_, y = self.loops
        # From the last slice of the last window in a row, back to the first of each.
        back = (slices.count - 1) * slices.step
        line = back + (x.count - 1) * x.step
        first = [self.offset(outputs[0][0]) for outputs in self.gathers]
        for n, outputs in enumerate(self.gathers):
            again = [first[n + 1 - self.passes] - line] if self.passes > 1 else []
            for k, taps in enumerate(outputs):
                begin = self.offset(outputs[k + 1 - len(outputs)][0])
                for t, tap in enumerate(taps):
                    to = (self.offset(taps[t + 1 - len(taps)]), self.offset(taps[0]) + slices.step,
                          begin - back, first[n] + x.step - back, *again,
                          first[0] + y.step - line,
                          first[0] + self.words * self.lanes - (y.count - 1) * y.step - line)
                    found[n, k, t] = tuple(move - self.offset(tap) for move in to)
        return found

    @cached_property
    def changes(self) -> Sequence[int]:
        """All that an address is ever changed by."""
        counts = [loop.count > 1 for loop in self.loops] + [True]
        return [delta for deltas in (self.moves.values() if self.gathers else [self.deltas])
                for delta, ever in zip(deltas, counts, strict=True) if ever]

    @cached_property
    def unit(self) -> int:
        """Elements that always stay together: a bank's width, what rotation moves."""
        if self.gathers:
            return self.lanes
        # A frame begins with a word.
        return gcd(self.lanes, self.start, *self.changes[:-1],
                   *(row * self.row_step for row in range(self.rows)))

    @property
    def banks(self) -> int:
        """Memories of each copy of the buffer; 1 where every read is aligned to a word."""
        return self.lanes // self.unit
