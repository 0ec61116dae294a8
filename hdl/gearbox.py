"""Beats of other lanes and other groups."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .counter import counter_end
from .stream import Beat, beats

__all__ = ["Gearbox", "GearboxShape"]


@dataclass(frozen=True)
class GearboxShape:
    """Structure of a `Gearbox`; see there for its parameters."""

    i_lanes: int
    o_lanes: int
    i_group: int
    o_group: int

    def __post_init__(self) -> None:
        at_least(1, **vars(self))

    @property
    def latency(self) -> int:
        """Cycles from the beat that completes an output beat to that beat."""
        return 1

    @property
    def tails(self) -> tuple[int, int]:
        """Elements in the last beat of a group, on either side."""
        return (self.i_group - 1) % self.i_lanes + 1, (self.o_group - 1) % self.o_lanes + 1

    @property
    def unit(self) -> int:
        """Elements that always stay together: all counts are multiples of it."""
        return gcd(self.i_lanes, self.o_lanes, *self.tails)

    @property
    def capacity(self) -> int:
        """Elements it can hold.

        Room for a beat on either side, and more so that ``i.ready`` need not wait for ``o.ready``
        to keep the rate; where some beats bring a tail only, what others bring must last longer.
        """
        uneven = self.tails != (self.i_lanes, self.o_lanes)
        spare = (self.i_lanes + self.o_lanes - self.unit if uneven
                 else min(self.i_lanes, self.o_lanes))
        return self.i_lanes + self.o_lanes + spare - self.unit

    @property
    def slots(self) -> int:
        """Units it can hold, each in registers of its own."""
        return self.capacity // self.unit


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
        self._shape = GearboxShape(i_lanes, o_lanes, i_group, o_group)
        at_least(1, frame=frame)
        if frame % i_group or frame % o_group:
            raise ValueError(f"frame must be a multiple of both groups, not {frame!r} for "
                             f"{i_group!r} and {o_group!r}")
        self._frame = frame
        super().__init__({"i": In(stream.Signature(Beat(shape, i_lanes))),
                          "o": Out(stream.Signature(Beat(shape, o_lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        i_tail, o_tail = shape.tails
        # All counts are multiples of the unit, so slots and shifts are whole units.
        unit, slots = shape.unit, shape.slots
        i_units, o_units = shape.i_lanes // unit, shape.o_lanes // unit
        width = self.i.payload.shape().shape.width * unit

        held = [Signal(width, name=f"held_{n}", reset_less=True) for n in range(slots)]
        level = Signal(range(slots + 1))
        take, give = Signal(), Signal()

        o_end = counter_end(m, "o", give, beats(shape.o_group, shape.o_lanes))
        frame_end = counter_end(m, "group", give & o_end, self._frame // shape.o_group)
        need = Mux(o_end, o_tail // unit, o_units)
        m.d.comb += [
            self.o.valid.eq(level >= need),
            give.eq(self.o.valid & self.o.ready),
            # Elements behind a tail belong to the next group and may still arrive: hide them.
            Value.cast(self.o.p.data).eq(Cat(
                held[n] if n < o_tail // unit else Mux(o_end, 0, held[n]) for n in range(o_units))),
            self.o.p.last.eq(o_end & frame_end),
        ]

        i_end = counter_end(m, "i", take, beats(shape.i_group, shape.i_lanes))
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
