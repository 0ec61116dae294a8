"""Signs as integers."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .stream import Beat, PassesReady

__all__ = ["BipolarToInteger"]


class BipolarToInteger(PassesReady):
    """``o = 2 * i - 1``: a sign, 1 for +1, as an integer of two bits; latency 0, only wiring.

    Parameters
    ----------
    lanes : elements a beat.

    Members
    -------
    i : stream of ``Beat(1, lanes)``.
    o : stream of ``Beat(signed(2), lanes)``.
    """

    ready_gates = 0

    def __init__(self, lanes: int) -> None:
        super().__init__({"i": In(stream.Signature(Beat(1, lanes))),
                          "o": Out(stream.Signature(Beat(signed(2), lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                     self.o.p.last.eq(self.i.p.last)]
        signs, integers = self.i.p.data, self.o.p.data
        m.d.comb += [integers[lane].eq(Cat(1, ~signs[lane]))
                     for lane in range(self.i.payload.shape().lanes)]
        return m
