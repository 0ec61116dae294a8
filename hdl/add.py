"""The sum of two streams."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .stream import Beat, PassesReady, payload_register

__all__ = ["ADDER_LATENCY", "Adder"]

ADDER_LATENCY = 1
"""Cycles from the later of two beats to their sum."""


class Adder(PassesReady):
    """``o = i + other`` in every lane; latency 1, a beat of each a cycle.

    Parameters
    ----------
    i_shape, other_shape, o_shape : element shapes; ``o_shape`` holds every sum.
    lanes : elements a beat.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    other : stream of ``Beat(other_shape, lanes)``; its ``last`` comes with that of ``i``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, other_shape: ShapeLike, o_shape: ShapeLike, *,
                 lanes: int) -> None:
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "other": In(stream.Signature(Beat(other_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, payload = Signal(), payload_register(m, self.o)
        m.d.comb += [
            flow.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(flow & self.other.valid),
            self.other.ready.eq(flow & self.i.valid),
        ]
        with m.If(flow):
            m.d.sync += [self.o.valid.eq(self.i.valid & self.other.valid),
                         payload.last.eq(self.i.p.last)]
            for lane in range(self.o.payload.shape().lanes):
                m.d.sync += payload.data[lane].eq(self.i.p.data[lane] + self.other.p.data[lane])
        return m
