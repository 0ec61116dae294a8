"""Streams between blocks: beats, checked connections, and the blocks that only move beats.

A stream carries frames. A frame is a sequence of groups of elements (a group is a pixel's
channels, a word line of a buffer, or the whole frame); each group starts on a fresh beat and takes
``ceil(group / lanes)`` beats of ``lanes`` elements. What the spare lanes of a group's last beat
hold is undefined. ``last`` marks the final beat of a frame. A beat moves in a cycle in which
``valid`` and ``ready`` are both 1; once ``valid`` is 1, it and the payload hold until then.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd
from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least

__all__ = ["Beat", "Buffer", "Collector", "Fork", "Gearbox", "Queue", "Relay", "beats", "connect",
           "connect_streams"]


def beats(group: int, lanes: int) -> int:
    """Beats that a group of ``group`` elements takes at ``lanes`` elements a beat."""
    at_least(1, group=group, lanes=lanes)
    return -(-group // lanes)


class Beat(data.StructLayout):
    """Payload of a feature-map stream: ``data``, an array of ``lanes`` elements, and ``last``."""

    def __init__(self, shape: ShapeLike, lanes: int) -> None:
        at_least(1, lanes=lanes)
        super().__init__({"data": data.ArrayLayout(Shape.cast(shape), lanes), "last": 1})

    @property
    def shape(self) -> Shape:
        """Shape of one element."""
        return self.members["data"].elem_shape

    @property
    def lanes(self) -> int:
        """Elements a beat."""
        return self.members["data"].length

    def __eq__(self, other: object) -> bool:
        # Amaranth compares the widths of fields only.
        return (isinstance(other, Beat) and self.shape == other.shape
                and self.lanes == other.lanes)

    def __hash__(self) -> int:
        return hash((self.shape, self.lanes))


def connect(m: Module, *stages: wiring.Component) -> None:
    """Connect each stage's ``o`` to the next one's ``i``, as `connect_streams` does."""
    for upstream, downstream in pairwise(stages):
        connect_streams(m, upstream.o, downstream.i,
                        f"{type(upstream).__name__}.o -> {type(downstream).__name__}.i")


def connect_streams(m: Module, source: Any, sink: Any, what: str) -> None:
    """Connect the stream ``source`` to ``sink``; ``what`` names the two in errors.

    Raises `ValueError` unless the two payloads are equal, signs and lanes included:
    `wiring.connect` compares widths only.
    """
    given, taken = source.payload.shape(), sink.payload.shape()
    if given != taken:
        raise ValueError(f"{what}: the one carries {given!r}, but the other takes {taken!r}")
    wiring.connect(m, source, sink)


class Buffer(Block):
    """A register: ``o = i``, latency 1, one beat a cycle; ``i.ready`` follows ``o.ready`` at once.

    Parameters
    ----------
    layout : payload of both streams.

    Members
    -------
    i, o : streams of ``layout``.
    """

    def __init__(self, layout: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(self.i.payload)
        return m


class Relay(Block):
    """A register between two sides that no combinational path joins: latency 1, a beat in 2 cycles.

    Parameters
    ----------
    layout : payload of both streams.

    Members
    -------
    i, o : streams of ``layout``.
    """

    def __init__(self, layout: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class Queue(Block):
    """First in, first out: ``o = i``, latency 2, one beat a cycle.

    No combinational path joins the two sides, so a queue also cuts a chain of ``ready``.

    Parameters
    ----------
    layout : payload of both streams.
    depth : beats it can hold, at least 3 (below, the underlying queue halves the rate).

    Members
    -------
    i, o : streams of ``layout``.
    """

    def __init__(self, layout: ShapeLike, depth: int) -> None:
        at_least(1, depth=depth)
        if depth < 3:
            raise ValueError(f"depth must be at least 3 for one beat a cycle, not {depth!r}")
        self._depth = depth
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    @property
    def depth(self) -> int:
        """Beats that the queue can hold."""
        return self._depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = Shape.cast(self.i.payload.shape()).width
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=width, depth=self._depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]
        return m


class Fork(Block):
    """Give every beat to each of several readers: ``o_n = i``, latency 0, one beat a cycle.

    A reader takes a beat when it likes, and the next one comes when all have taken this one.
    ``i.ready`` follows the readers' at once, but no ``valid`` waits for a ``ready``.

    Parameters
    ----------
    layout : payload of all streams.
    readers : how many, at least 1.

    Members
    -------
    i, o_0, o_1, ... : streams of ``layout``.
    """

    def __init__(self, layout: ShapeLike, readers: int) -> None:
        at_least(1, readers=readers)
        self._readers = readers
        signature = stream.Signature(layout)
        super().__init__({"i": In(signature),
                          **{f"o_{n}": Out(signature) for n in range(readers)}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        outputs = [getattr(self, f"o_{n}") for n in range(self._readers)]
        taken, done = Signal(self._readers), Signal(self._readers)
        m.d.comb += [
            done.eq(taken | Cat(o.ready for o in outputs)),
            self.i.ready.eq(done.all()),
        ]
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(self.i.ready, 0, done))
        for n, o in enumerate(outputs):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~taken[n])]
        return m


class Collector(Block):
    """Widen lanes: the same elements in the same order, several whole beats in one.

    What a `Gearbox` does, where an output beat is made of whole input beats: then every element has
    its place, and none needs a choice. Latency 2 from the beat that completes an output beat; an
    input beat a cycle, unless the output beat before is still there when one is complete (a tail of
    one input beat alone always finds it there). No combinational path joins the two sides.

    Parameters
    ----------
    shape : element shape.
    i_lanes, o_lanes : elements a beat, the one a divisor of the other.
    o_group : elements after which a fresh output beat starts; a multiple of ``i_lanes``.
    frame : elements a frame; a multiple of ``o_group``.

    Members
    -------
    i : stream of ``Beat(shape, i_lanes)``; its ``last`` is not looked at.
    o : stream of ``Beat(shape, o_lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, i_lanes: int, o_lanes: int, o_group: int,
                 frame: int) -> None:
        at_least(1, i_lanes=i_lanes, o_lanes=o_lanes, o_group=o_group, frame=frame)
        if o_lanes == i_lanes or o_lanes % i_lanes or o_group % i_lanes or frame % o_group:
            raise ValueError(f"an output beat must be several whole input beats and a frame whole "
                             f"groups, not {i_lanes!r} to {o_lanes!r} of {o_group!r} of {frame!r}")
        self._group = o_group
        self._frame = frame
        super().__init__({"i": In(stream.Signature(Beat(shape, i_lanes))),
                          "o": Out(stream.Signature(Beat(shape, o_lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i_layout, o_layout = self.i.payload.shape(), self.o.payload.shape()
        parts = o_layout.lanes // i_layout.lanes
        width = i_layout.shape.width * i_layout.lanes
        tail = beats((self._group - 1) % o_layout.lanes + 1, i_layout.lanes)
        full, take, complete, move = Signal(), Signal(), Signal(), Signal()
        # Which part of an output beat comes next, one-hot.
        place = Signal(parts, init=1)
        o_end = _count(m, "o", complete, beats(self._group, o_layout.lanes))
        frame_end = _count(m, "group", complete & o_end, self._frame // self._group)
        m.d.comb += [
            # Where the output is free, what is complete leaves for sure.
            self.i.ready.eq(~full | ~self.o.valid),
            take.eq(self.i.valid & self.i.ready),
            complete.eq(take & (place[-1] | o_end & place[tail - 1])),
            move.eq(full & (~self.o.valid | self.o.ready)),
        ]
        is_tail, is_last = Signal(), Signal()
        with m.If(take):
            m.d.sync += place.eq(Mux(complete, 1, place << 1))
        with m.If(complete):
            m.d.sync += [full.eq(1), is_tail.eq(o_end), is_last.eq(o_end & frame_end)]
        with m.Elif(move):
            m.d.sync += full.eq(0)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(1), self.o.p.last.eq(is_last)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        arrived, sent = Value.cast(self.i.p.data), Value.cast(self.o.p.data)
        for n in range(parts):
            held = Signal(width, name=f"held_{n}", reset_less=True)
            with m.If(take & place[n]):
                m.d.sync += held.eq(arrived)
            with m.If(move):
                # Behind a tail there is nothing.
                m.d.sync += sent.word_select(n, width).eq(
                    held if n < tail else Mux(is_tail, 0, held))
        return m


class Gearbox(Block):
    """Repack lanes: the same elements in the same order, other lanes a beat, other groups.

    Latency 1 from the beat that completes an output beat; the wider side never limits the rate of
    the narrower one. No combinational path joins the two sides.

    Parameters
    ----------
    shape : element shape.
    i_lanes, o_lanes : elements a beat.
    i_group, o_group : elements after which a fresh beat starts, on either side.
    frame : elements a frame; a multiple of both groups.

    Members
    -------
    i : stream of ``Beat(shape, i_lanes)``; its ``last`` is not looked at.
    o : stream of ``Beat(shape, o_lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, i_lanes: int, o_lanes: int, i_group: int, o_group: int,
                 frame: int) -> None:
        at_least(1, i_lanes=i_lanes, o_lanes=o_lanes, i_group=i_group, o_group=o_group, frame=frame)
        if frame % i_group or frame % o_group:
            raise ValueError(f"frame must be a multiple of both groups, not {frame!r} for "
                             f"{i_group!r} and {o_group!r}")
        self._group = i_group, o_group
        self._frame = frame
        super().__init__({"i": In(stream.Signature(Beat(shape, i_lanes))),
                          "o": Out(stream.Signature(Beat(shape, o_lanes)))})

    @property
    def _tails(self) -> tuple[int, int]:
        """Elements in the last beat of a group, on either side."""
        i_group, o_group = self._group
        return ((i_group - 1) % len(self.i.p.data) + 1, (o_group - 1) % len(self.o.p.data) + 1)

    @property
    def _unit(self) -> int:
        return gcd(len(self.i.p.data), len(self.o.p.data), *self._tails)

    @property
    def capacity(self) -> int:
        """Elements it can hold.

        Room for a beat on either side, and more so that ``i.ready`` need not wait for ``o.ready``
        to keep the rate; where some beats bring a tail only, what others bring must last longer.
        """
        i_lanes, o_lanes, unit = len(self.i.p.data), len(self.o.p.data), self._unit
        uneven = self._tails != (i_lanes, o_lanes)
        spare = i_lanes + o_lanes - unit if uneven else min(i_lanes, o_lanes)
        return i_lanes + o_lanes + spare - unit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i_layout, o_layout = self.i.payload.shape(), self.o.payload.shape()
        i_group, o_group = self._group
        i_tail, o_tail = self._tails
        # All counts are multiples of the unit, so slots and shifts are whole units.
        unit = self._unit
        i_units, o_units = i_layout.lanes // unit, o_layout.lanes // unit
        slots = self.capacity // unit
        width = i_layout.shape.width * unit

        held = [Signal(width, name=f"held_{n}", reset_less=True) for n in range(slots)]
        level = Signal(range(slots + 1))
        take, give = Signal(), Signal()

        o_end = _count(m, "o", give, beats(o_group, o_layout.lanes))
        frame_end = _count(m, "group", give & o_end, self._frame // o_group)
        need = Mux(o_end, o_tail // unit, o_units)
        m.d.comb += [
            self.o.valid.eq(level >= need),
            give.eq(self.o.valid & self.o.ready),
            # Elements behind a tail belong to the next group and may still arrive: hide them.
            Value.cast(self.o.p.data).eq(Cat(
                held[n] if n < o_tail // unit else Mux(o_end, 0, held[n]) for n in range(o_units))),
            self.o.p.last.eq(o_end & frame_end),
        ]

        i_end = _count(m, "i", take, beats(i_group, i_layout.lanes))
        count = Mux(i_end, i_tail // unit, i_units)
        kept = Signal.like(level)
        m.d.comb += [
            kept.eq(level - Mux(give, need, 0)),
            self.i.ready.eq(level <= slots - i_units),
            take.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += level.eq(kept + Mux(take, count, 0))

        after = held + [Const(0, width)] * o_units
        with m.If(give):
            for n in range(slots):
                m.d.sync += held[n].eq(Mux(o_end, after[n + o_tail // unit], after[n + o_units]))
        arrived = Value.cast(self.i.p.data)
        with m.If(take), m.Switch(kept):
            for base in range(slots):
                with m.Case(base):
                    for n in range(min(i_units, slots - base)):
                        m.d.sync += held[base + n].eq(arrived.word_select(n, width))
        return m


def _count(m: Module, name: str, step: ValueLike, length: int) -> ValueLike:
    """A counter of ``length`` that moves with ``step``; returns whether it is at its end.

    That is a register, since what beats are made of depends on it.
    """
    if length == 1:
        return Const(1)
    counter = Signal(range(length), name=f"{name}_count")
    end = Signal(name=f"{name}_end")
    with m.If(step):
        m.d.sync += [counter.eq(Mux(end, 0, counter + 1)), end.eq(counter == length - 2)]
    return end
