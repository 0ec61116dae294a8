"""A range of the channels of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .counter import counter_end
from .stream import Beat, PassesReady, beats

__all__ = ["Slicer", "SlicerShape"]


@dataclass(frozen=True)
class SlicerShape:
    """Structure of a `Slicer`; see there for its parameters."""

    lanes: int
    channels: int
    start: int
    stop: int

    def __post_init__(self) -> None:
        at_least(1, lanes=self.lanes, channels=self.channels)
        at_least(0, start=self.start)
        if not self.start < self.stop <= self.channels:
            raise ValueError(f"start must be below stop, and stop at most channels, not "
                             f"{self.start!r} to {self.stop!r} of {self.channels!r}")
        if self.offset and len(self.kept) > 1:
            raise ValueError(f"the range must be within one beat or start with one, not "
                             f"{self.start!r} to {self.stop!r} at {self.lanes!r} lanes")

    @property
    def pixels(self) -> int:
        """Whole pixels in a beat; 0 where a pixel has several beats, or a beat one and a part."""
        return 0 if self.lanes % self.channels else self.lanes // self.channels

    @property
    def kept(self) -> range:
        """The beats of a pixel, or of whole pixels, that go out."""
        return range(1) if self.pixels else range(self.start // self.lanes,
                                                  beats(self.stop, self.lanes))

    @property
    def offset(self) -> int:
        """The lane from which on elements go out, where a beat has no whole pixels."""
        return 0 if self.pixels else self.start % self.lanes

    @property
    def o_lanes(self) -> int:
        """Elements of a beat that goes out."""
        count = self.stop - self.start
        return self.pixels * count or min(self.lanes, count)

    @property
    def latency(self) -> int:
        """Cycles from a beat to what it leaves of it."""
        return 0


class Slicer(PassesReady):
    """``o = i[start : stop]`` of the channels; latency 0, a beat that comes in a cycle.

    Of beats with whole pixels it is wiring only. Else beats with no channel of the range are
    dropped at once, and the range must lie within one beat or begin with one.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat that comes in.
    channels : of a pixel, and so a group; of beats with whole pixels, groups are several pixels.
    start, stop : the range, ``stop`` not included.
    pixels : pixels a frame.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of ``Beat(shape, SlicerShape(lanes, channels, start, stop).o_lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, channels: int, start: int, stop: int,
                 pixels: int) -> None:
        at_least(1, pixels=pixels)
        self._shape = SlicerShape(lanes, channels, start, stop)
        self._pixels = pixels
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(shape, self._shape.o_lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, count = self._shape, self._shape.stop - self._shape.start
        given, left = self.i.p.data, self.o.p.data
        if shape.pixels:
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                         self.o.p.last.eq(self.i.p.last)]
            for n in range(shape.o_lanes):
                pixel, channel = divmod(n, count)
                m.d.comb += left[n].eq(given[pixel * shape.channels + shape.start + channel])
            return m
        keep, is_last = self._select(m)
        m.d.comb += [self.o.valid.eq(self.i.valid & keep), self.i.ready.eq(self.o.ready | ~keep),
                     self.o.p.last.eq(is_last)]
        m.d.comb += [left[n].eq(given[shape.offset + n]) for n in range(shape.o_lanes)]
        return m

    def _select(self, m: Module) -> tuple[Value, Value]:
        """Whether the beat that is there goes out, and whether as the last one of the frame."""
        kept, count = self._shape.kept, beats(self._shape.channels, self._shape.lanes)
        beat, following = Signal(range(count)), Signal(range(count))
        keep, is_end = Signal(init=kept[0] == 0), Signal(init=kept[-1] == 0)
        take = self.i.valid & self.i.ready
        ends = beat == count - 1
        m.d.comb += following.eq(Mux(ends, 0, beat + 1))
        with m.If(take):
            m.d.sync += [beat.eq(following), is_end.eq(following == kept[-1]),
                         keep.eq((following >= kept[0]) & (following <= kept[-1]))]
        return keep, is_end & counter_end(m, "pixel", take & ends, self._pixels)
