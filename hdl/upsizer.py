"""Several whole beats in one."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .counter import counter_end
from .stream import Beat, beats, payload_register

__all__ = ["Upsizer", "UpsizerShape"]


@dataclass(frozen=True)
class UpsizerShape:
    """Structure of an `Upsizer`; see there for its parameters."""

    i_lanes: int
    o_lanes: int

    @property
    def latency(self) -> int:
        """Cycles from the beat that completes an output beat to that beat."""
        return 2

    @property
    def parts(self) -> int:
        """Input beats of an output beat."""
        return self.o_lanes // self.i_lanes


class Upsizer(Block):
    """Widen lanes: the same elements in the same order, several whole beats in one.

    What a `Gearbox` does, where an output beat is made of whole input beats: then every element has
    its place, and none needs a choice. Latency 2 from the beat that completes an output beat; an
    input beat a cycle, unless the output beat before is still there when one is complete (a tail of
    one input beat alone always finds it there); behind an output beat that leaves, the next one
    comes two cycles later at the earliest. No combinational path joins the two sides.

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
        self._shape = UpsizerShape(i_lanes, o_lanes)
        self._group = o_group
        self._frame = frame
        super().__init__({"i": In(stream.Signature(Beat(shape, i_lanes))),
                          "o": Out(stream.Signature(Beat(shape, o_lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i_layout, o_layout = self.i.payload.shape(), self.o.payload.shape()
        parts = self._shape.parts
        width = i_layout.shape.width * i_layout.lanes
        tail = beats((self._group - 1) % o_layout.lanes + 1, i_layout.lanes)
        full, take, ends, complete, move = Signal(), Signal(), Signal(), Signal(), Signal()
        # Which part of an output beat comes next, one-hot.
        place = Signal(parts, init=1)
        o_end = counter_end(m, "o", complete, beats(self._group, o_layout.lanes))
        frame_end = counter_end(m, "group", complete & o_end, self._frame // self._group)
        m.d.comb += [
            # Where the output is free, what is complete leaves for sure.
            self.i.ready.eq(~full | ~self.o.valid),
            take.eq(self.i.valid & self.i.ready),
            ends.eq(place[-1] | o_end & place[tail - 1]),
            complete.eq(take & ends),
            # Not with a beat that leaves: so many registers wait for no `ready`.
            move.eq(full & ~self.o.valid),
        ]
        payload = payload_register(m, self.o)
        is_tail, is_last = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(take):
            m.d.sync += place.eq(Mux(ends, 1, place << 1))
        with m.If(complete):
            m.d.sync += [full.eq(1), is_tail.eq(o_end), is_last.eq(o_end & frame_end)]
        with m.Elif(move):
            m.d.sync += full.eq(0)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(1), payload.last.eq(is_last)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        arrived, sent = Value.cast(self.i.p.data), Value.cast(payload.data)
        for n in range(parts):
            held = Signal(width, name=f"held_{n}", reset_less=True)
            with m.If(take & place[n]):
                m.d.sync += held.eq(arrived)
            with m.If(move):
                # Behind a tail there is nothing.
                m.d.sync += sent.word_select(n, width).eq(
                    held if n < tail else Mux(is_tail, 0, held))
        return m
