"""Some rows and columns of a stream of maps."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .counter import counter_end
from .stream import Beat, PassesReady, beats

__all__ = ["Axis", "Cropper", "CropperShape"]


@dataclass(frozen=True)
class Axis:
    """So many rows or columns of a map as ``size``.

    Those from ``start`` on, before ``stop``, by a ``step``, go out.
    """

    size: int
    start: int
    stop: int
    step: int

    def __post_init__(self) -> None:
        at_least(1, step=self.step)
        at_least(0, start=self.start)
        if not self.start < self.stop <= self.size:
            raise ValueError(f"start must be below stop, and stop at most {self.size!r}, not "
                             f"{self.start!r} to {self.stop!r}")

    @property
    def kept(self) -> range:
        """Those that go out."""
        return range(self.start, self.stop, self.step)

    @property
    def is_whole(self) -> bool:
        """Whether all go out."""
        return len(self.kept) == self.size

    @property
    def between(self) -> int:
        """How many are dropped between two that go out."""
        return self.step - 1 if len(self.kept) > 1 else 0

    @property
    def behind(self) -> int:
        """How many are dropped behind the last one that goes out, before the first one anew."""
        return self.size - 1 - self.kept[-1] + self.start

    @property
    def counts(self) -> tuple[int, ...]:
        """What its counters count: those that go out, and those that are yet to be dropped."""
        return (len(self.kept), *(() if self.is_whole else (max(self.between, self.behind) + 1,)))


@dataclass(frozen=True)
class CropperShape:
    """Structure of a `Cropper`; see there for its parameters."""

    lanes: int
    channels: int
    rows: Axis
    columns: Axis

    def __post_init__(self) -> None:
        at_least(1, lanes=self.lanes, channels=self.channels)
        if self.lanes > self.channels:
            raise ValueError(f"lanes must be at most the {self.channels!r} channels, not "
                             f"{self.lanes!r}")

    @property
    def beats(self) -> int:
        """Beats of a pixel."""
        return beats(self.channels, self.lanes)

    @property
    def counts(self) -> tuple[int, ...]:
        """What its counters count."""
        return self.beats, *self.columns.counts, *self.rows.counts

    @property
    def latency(self) -> int:
        """Cycles from a beat to itself, if it goes out."""
        return 0


class Cropper(PassesReady):
    """``o = i[rows, columns]`` of each map; latency 0, a beat that comes in a cycle.

    Beats of other rows and columns are dropped at once.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat, at most the channels.
    channels : of a pixel, and so a group.
    rows, columns : how many there are, and which of them go out.

    Members
    -------
    i, o : streams of ``Beat(shape, lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, channels: int, rows: Axis, columns: Axis
                 ) -> None:
        self._shape = CropperShape(lanes, channels, rows, columns)
        signature = stream.Signature(Beat(shape, lanes))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        keep = Signal()
        take = self.i.valid & self.i.ready
        ends = Value.cast(counter_end(m, "beat", take, self._shape.beats))
        pixel = take & ends
        column, is_last_column = _position(m, "column", pixel, self._shape.columns)
        # What is behind the last column that goes out counts as the next row.
        row, is_last_row = _position(m, "row", pixel & column & is_last_column, self._shape.rows)
        m.d.comb += [
            keep.eq(column & row),
            self.o.valid.eq(self.i.valid & keep),
            self.i.ready.eq(self.o.ready | ~keep),
            self.o.p.data.eq(self.i.p.data),
            self.o.p.last.eq(ends & is_last_column & is_last_row),
        ]
        return m


def _position(m: Module, name: str, step: Value, axis: Axis) -> tuple[Value, Value]:
    """Registers: whether the position at hand goes out, and whether as the last one that does.

    ``step`` moves on to the next position.
    """
    if axis.is_whole:
        return Const(1), Value.cast(counter_end(m, name, step, axis.size))
    keep = Signal(name=f"{name}_keep", init=axis.start == 0)
    most = max(axis.between, axis.behind)
    left = Signal(range(most + 1), name=f"{name}_left", init=axis.start)
    following = Signal(range(most + 1), name=f"{name}_following")
    end = Value.cast(counter_end(m, name, step & keep, len(axis.kept)))
    m.d.comb += following.eq(Mux(keep, Mux(end, axis.behind, axis.between), left - 1))
    with m.If(step):
        m.d.sync += [left.eq(following), keep.eq(following == 0)]
    return keep, end
