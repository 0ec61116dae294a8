"""Index of the largest element."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .stream import Beat, PassesReady, payload_register

__all__ = ["ARGMAXER_LATENCY", "ArgMaxer"]

ARGMAXER_LATENCY = 1
"""Cycles from the last of the elements to the index."""


class ArgMaxer(PassesReady):
    """``o = argmax`` of every ``count`` elements; latency 1 after the last, one element a cycle.

    The lowest index wins a tie.

    Parameters
    ----------
    shape : element shape.
    count : elements to choose from.

    Members
    -------
    i : stream of ``Beat(shape, 1)``.
    o : stream of ``Beat(range(count), 1)``.
    """

    def __init__(self, shape: ShapeLike, *, count: int) -> None:
        at_least(1, count=count)
        self._count = count
        index = unsigned(max(1, (count - 1).bit_length()))
        super().__init__({"i": In(stream.Signature(Beat(shape, 1))),
                          "o": Out(stream.Signature(Beat(index, 1)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload = payload_register(m, self.o)
        o_shape = self.o.payload.shape().shape
        index = Signal(o_shape)
        best = Signal(o_shape, reset_less=True)
        largest = Signal(self.i.payload.shape().shape, reset_less=True)
        end, wins, take = Signal(), Signal(), Signal()
        value = self.i.p.data[0]
        m.d.comb += [
            end.eq(index == self._count - 1),
            wins.eq((index == 0) | (value > largest)),
            self.i.ready.eq(~end | ~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += index.eq(Mux(end, 0, index + 1))
            with m.If(wins):
                m.d.sync += [largest.eq(value), best.eq(index)]
            with m.If(end):
                m.d.sync += [self.o.valid.eq(1), payload.last.eq(self.i.p.last),
                             payload.data[0].eq(Mux(wins, index, best))]
        return m
