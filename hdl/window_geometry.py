"""Geometry of a window that slides over a raster stream, and the order of its reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import gcd

from amaranth.utils import ceil_log2

from .stream import beats

__all__ = ["Loop", "WindowGeometry"]


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
        if self.positions[0] < 1 or self.positions[1] < 1:
            raise ValueError(f"kernel must fit the padded size, not {self.kernel!r}")

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
        if self.per_channel:
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

    @property
    def reads(self) -> int:
        """Reads of a position."""
        return self.loops[0].count * self.loops[1].count * self.loops[2].count

    @property
    def start(self) -> int:
        """First element of the first window, relative to the frame; negative with padding."""
        return -(self.padding[0] * self.size[1] + self.padding[2]) * self.size[2]

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
    def deltas(self) -> tuple[int, ...]:
        """Address change in elements after each beat, by how many levels end with it."""
        ended = list(accumulate(((loop.count - 1) * loop.step for loop in self.loops), initial=0))
        steps = [loop.step for loop in self.loops] + [self.words * self.lanes]
        return tuple(step - done for step, done in zip(steps, ended, strict=True))

    @cached_property
    def unit(self) -> int:
        """Elements that always stay together: a bank's width, what rotation moves."""
        moves = [delta for loop, delta in zip(self.loops, self.deltas, strict=False)
                 if loop.count > 1]
        return gcd(self.lanes, self.start, *moves,
                   *(row * self.row_step for row in range(self.rows)))

    @property
    def banks(self) -> int:
        """Memories of each copy of the buffer; 1 where every read is aligned to a word."""
        return self.lanes // self.unit
