"""Requantization by shift."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .ranges import narrowed, shape_of, shifted
from .stream import Beat, PassesReady, payload_register

__all__ = ["REQUANTIZER_LATENCY", "ShiftRequantizer", "range_of"]

REQUANTIZER_LATENCY = 2
"""Cycles from a beat to its result: one to round, one to clamp."""


class ShiftRequantizer(PassesReady):
    """``o = min(max((i + 2**(shift-1)) >> shift, low), high)`` in every lane.

    Latency 2, one beat a cycle. A shift of zero or less is an exact left shift; with shift 0 it is
    a clamp.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    lanes : elements a beat.
    shift : bits to drop, rounding half up.
    low, high : bounds; both fit ``o_shape``.
    ranges : the values that come in each lane, if they are known to be fewer than ``i_shape`` has.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, *, lanes: int, shift: int, low: int,
                 high: int, ranges: Sequence[range] | None = None) -> None:
        limits = range_of(Shape.cast(o_shape))
        if low > high or low not in limits or high not in limits:
            raise ValueError(f"bounds must be ordered and fit {o_shape!r}, not ({low}, {high})")
        self._shift = shift
        self._low = low
        self._high = high
        self._ranges = ranges
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload = payload_register(m, self.o)
        flow, valid, last = Signal(), Signal(), Signal(reset_less=True)
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(flow)]
        with m.If(flow):
            m.d.sync += [valid.eq(self.i.valid), last.eq(self.i.p.last),
                         self.o.valid.eq(valid), payload.last.eq(last)]
        given = self.i.p.data
        for lane in range(self.i.payload.shape().lanes):
            if self._ranges is None:
                exact = self._scale(given[lane])
                scaled = Signal(exact.shape(), name=f"scaled{lane}", reset_less=True)
                clamped = Mux(scaled < self._low, self._low,
                              Mux(scaled > self._high, self._high, scaled))
            else:
                values = self._ranges[lane]
                exact = self._scale(narrowed(given[lane], values))
                values = shifted(values, self._shift)
                scaled = Signal(shape_of(values), name=f"scaled{lane}", reset_less=True)
                clamped = self._clamp(scaled, values)
            with m.If(flow):
                m.d.sync += [scaled.eq(exact), payload.data[lane].eq(clamped)]
        return m

    def _clamp(self, value: Value, values: range) -> Value:
        """``value``, one of ``values``, within the bounds; what it never passes costs nothing."""
        low, high = self._low, self._high
        passes = values[-1] > high
        if low == 0 and high & high + 1 == 0:
            # Below is what has a sign, above what has a bit beyond.
            bits, is_signed = high.bit_length(), values[0] < 0
            above = value[bits:len(value) - is_signed].any() if passes else Const(0, 1)
            kept = value[:bits] | above.replicate(bits)
            return Mux(value[-1], 0, kept) if is_signed else kept
        above = Mux(value > high, high, value) if passes else value
        return Mux(value < low, low, above) if values[0] < low else above

    def _scale(self, value: Value) -> Value:
        if self._shift <= 0:
            return value << -self._shift
        return (value + (1 << self._shift - 1)) >> self._shift


def range_of(shape: Shape) -> range:
    """Values of an integer shape."""
    if shape.signed:
        return range(-(1 << shape.width - 1), 1 << shape.width - 1)
    return range(1 << shape.width)
