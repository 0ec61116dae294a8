"""Elements more than once."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .stream import Beat, PassesReady

__all__ = ["Repeater"]


class Repeater(PassesReady):
    """Each element of a beat ``times`` times, next to each other; latency 0, only wiring.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat that comes in.
    times : how often each leaves.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of ``Beat(shape, lanes * times)``.
    """

    ready_gates = 0

    def __init__(self, shape: ShapeLike, *, lanes: int, times: int) -> None:
        at_least(1, lanes=lanes, times=times)
        self._times = times
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(shape, lanes * times)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given, copies = self.i.p.data, self.o.p.data
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                     self.o.p.last.eq(self.i.p.last)]
        m.d.comb += [copies[lane].eq(given[lane // self._times])
                     for lane in range(self.o.payload.shape().lanes)]
        return m
