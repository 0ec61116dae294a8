"""Streams between blocks: beats, checked connections, and the blocks that only move beats.

A stream carries frames. A frame is a sequence of groups of elements (a group is a pixel's
channels, a word line of a buffer, or the whole frame); each group starts on a fresh beat and takes
``ceil(group / lanes)`` beats of ``lanes`` elements. What the spare lanes of a group's last beat
hold is undefined. ``last`` marks the final beat of a frame. A beat moves in a cycle in which
``valid`` and ``ready`` are both 1; once ``valid`` is 1, it and the payload hold until then.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least

__all__ = ["BUFFER_LATENCY", "QUEUE_LATENCY", "Beat", "Buffer", "Fork", "HalfRateBuffer",
           "PassesReady", "Queue", "SkidBuffer", "beats", "connect", "connect_streams",
           "payload_register"]

QUEUE_LATENCY = 2
"""Cycles from a beat that enters an empty `Queue` to the beat that it gives."""
BUFFER_LATENCY = 1
"""Cycles from a beat that enters a `Buffer` or a `HalfRateBuffer` to the beat that it gives."""


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


def payload_register(m: Module, o: Any) -> Any:
    """The register that drives the payload of the stream ``o``.

    It has no reset, which a port's own signal has: it is looked at only while ``o.valid`` is 1.
    """
    register = Signal(o.payload.shape(), name="payload", reset_less=True)
    m.d.comb += o.payload.eq(register)
    return register


class PassesReady(Block):
    """A component whose ``i.ready`` follows ``o.ready`` at once, through so many ``ready_gates``.

    Of any other component, ``i.ready`` follows from registers of its own.
    """

    ready_gates: ClassVar[int] = 1


class Buffer(PassesReady):
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
        payload = payload_register(m, self.o)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += [self.o.valid.eq(self.i.valid), payload.eq(self.i.payload)]
        return m


class SkidBuffer(Block):
    """``o = i`` with a ready that is a register: latency 0, one beat a cycle.

    A beat that comes in when the other side has ceased to take them is held.

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
        is_empty = Signal(init=1)
        held = Signal(self.i.payload.shape(), reset_less=True)
        m.d.comb += [
            self.i.ready.eq(is_empty),
            self.o.valid.eq(self.i.valid | ~is_empty),
            Value.cast(self.o.payload).eq(Mux(is_empty, self.i.payload, held)),
        ]
        m.d.sync += is_empty.eq(self.o.ready | ~self.o.valid)
        with m.If(is_empty):
            m.d.sync += held.eq(self.i.payload)
        return m


class HalfRateBuffer(Block):
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
        payload = payload_register(m, self.o)
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [self.o.valid.eq(self.i.valid), payload.eq(self.i.payload)]
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


class Fork(PassesReady):
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
