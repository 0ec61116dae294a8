"""The sum or the difference of two streams."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .stream import Beat, PassesReady, payload_register

__all__ = ["ADDER_LATENCY", "Adder"]

ADDER_LATENCY = 1
"""Cycles from the later of two beats to their sum or difference."""


class Adder(PassesReady):
    """``o = i_0 + i_1``, or ``i_0 - i_1``, in every lane; latency 1, a beat of each a cycle.

    Parameters
    ----------
    i_0_shape, i_1_shape, o_shape : element shapes; ``o_shape`` holds every result.
    lanes : elements a beat.
    subtracts : whether ``i_1`` is taken from ``i_0``.

    Members
    -------
    i_0 : stream of ``Beat(i_0_shape, lanes)``.
    i_1 : stream of ``Beat(i_1_shape, lanes)``; its ``last`` comes with that of ``i_0``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_0_shape: ShapeLike, i_1_shape: ShapeLike, o_shape: ShapeLike, *,
                 lanes: int, subtracts: bool = False) -> None:
        self._subtracts = subtracts
        super().__init__({"i_0": In(stream.Signature(Beat(i_0_shape, lanes))),
                          "i_1": In(stream.Signature(Beat(i_1_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flow, payload = Signal(), payload_register(m, self.o)
        m.d.comb += [
            flow.eq(self.o.ready | ~self.o.valid),
            self.i_0.ready.eq(flow & self.i_1.valid),
            self.i_1.ready.eq(flow & self.i_0.valid),
        ]
        with m.If(flow):
            m.d.sync += [self.o.valid.eq(self.i_0.valid & self.i_1.valid),
                         payload.last.eq(self.i_0.p.last)]
            for lane in range(self.o.payload.shape().lanes):
                a, b = self.i_0.p.data[lane], self.i_1.p.data[lane]
                m.d.sync += payload.data[lane].eq(a - b if self._subtracts else a + b)
        return m
