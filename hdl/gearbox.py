"""Beats of other lanes and other groups."""

from __future__ import annotations

from math import gcd

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .counter import counter_end
from .stream import Beat, beats

__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
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

        o_end = counter_end(m, "o", give, beats(o_group, o_layout.lanes))
        frame_end = counter_end(m, "group", give & o_end, self._frame // o_group)
        need = Mux(o_end, o_tail // unit, o_units)
        m.d.comb += [
            self.o.valid.eq(level >= need),
            give.eq(self.o.valid & self.o.ready),
            # Elements behind a tail belong to the next group and may still arrive: hide them.
            Value.cast(self.o.p.data).eq(Cat(
                held[n] if n < o_tail // unit else Mux(o_end, 0, held[n]) for n in range(o_units))),
            self.o.p.last.eq(o_end & frame_end),
        ]

        i_end = counter_end(m, "i", take, beats(i_group, i_layout.lanes))
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
