"""Pooling: the maximum, the sum or the rounded mean of a window's elements."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .stream import Beat

__all__ = ["AveragePooler", "MaxPooler", "SumPooler"]

ADDER_LEVELS = 5
"""Levels of the constant multiplier: enough for 32 set bits, the same for every area."""


class _Reducer(wiring.Component):
    """Fold ``area`` beats into one; latency 1 after the last of them, one input beat a cycle."""

    def __init__(self, i_shape: Shape, o_shape: Shape, lanes: int, area: int) -> None:
        at_least(1, area=area)
        self._area = area
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def _join(self, so_far: Value, value: Value) -> Value:
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count = Signal(range(self._area))
        first, end, take = Signal(), Signal(), Signal()
        m.d.comb += [
            first.eq(count == 0),
            end.eq(count == self._area - 1),
            self.i.ready.eq(~end | ~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += count.eq(Mux(end, 0, count + 1))
            with m.If(end):
                m.d.sync += [self.o.valid.eq(1), self.o.p.last.eq(self.i.p.last)]
        for lane in range(self.i.payload.shape().lanes):
            value = self.i.p.data[lane]
            held = Signal(self.o.payload.shape().shape, name=f"held{lane}", reset_less=True)
            joined = Signal.like(held, name=f"joined{lane}")
            m.d.comb += joined.eq(Mux(first, value, self._join(held, value)))
            with m.If(take):
                m.d.sync += held.eq(joined)
                with m.If(end):
                    m.d.sync += self.o.p.data[lane].eq(joined)
        return m


class MaxPooler(_Reducer):
    """``o = max`` of every ``area`` beats, lane by lane; latency 1, one input beat a cycle.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat.
    area : beats of a window.

    Members
    -------
    i, o : streams of ``Beat(shape, lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, area: int) -> None:
        super().__init__(Shape.cast(shape), Shape.cast(shape), lanes, area)

    def _join(self, so_far: Value, value: Value) -> Value:
        return Mux(value > so_far, value, so_far)


class SumPooler(_Reducer):
    """``o = sum`` of every ``area`` beats, lane by lane; latency 1, one input beat a cycle.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat.
    area : beats of a window.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of ``Beat(signed(bits), lanes)``, as many bits as the sums can take.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, area: int) -> None:
        shape = Shape.cast(shape)
        at_least(1, area=area)
        # The sum that is farthest from zero, or from -1 if it is negative.
        most = (area << shape.width - 1) - 1 if shape.signed else area * ((1 << shape.width) - 1)
        super().__init__(shape, signed(most.bit_length() + 1), lanes, area)

    def _join(self, so_far: Value, value: Value) -> Value:
        return (so_far + value)[: len(so_far)].as_signed()


class AveragePooler(wiring.Component):
    """``o = round(sum / area)`` of every ``area`` beats, lane by lane; one beat in a cycle.

    Halves are rounded up, or away from zero. The division is a multiplication by a constant that is
    exact over the sum's whole range. Latency 8, whatever the constant.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat.
    area : beats of a window.
    half_away : whether halves go away from zero.

    Members
    -------
    i, o : streams of ``Beat(shape, lanes)``.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, area: int, half_away: bool = False) -> None:
        shape = Shape.cast(shape)
        self._sum = SumPooler(shape, lanes=lanes, area=area)
        self._area = area
        self._half_away = half_away
        limit = area << shape.width
        # sum + limit is never negative, and limit is a multiple of the area.
        self._offset = limit
        self._shift, self._factor = _reciprocal(2 * area, 4 * limit + area)
        if self._factor.bit_count() > 1 << ADDER_LEVELS:
            raise ValueError(f"area and shape must leave a constant of at most {1 << ADDER_LEVELS} "
                             f"set bits, not {self._factor.bit_count()} for {area!r}, {shape!r}")
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sum = self._sum
        wiring.connect(m, wiring.flipped(self.i), self._sum.i)
        flow = Signal()
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self._sum.o.ready.eq(flow)]
        steps = ADDER_LEVELS + 2
        valid, last = Signal(steps), Signal(steps)
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.p.last.eq(last[-1])]
        with m.If(flow):
            m.d.sync += [valid.eq(Cat(self._sum.o.valid, valid)),
                         last.eq(Cat(self._sum.o.p.last, last))]
        for lane in range(self.o.payload.shape().lanes):
            # floor((2 sum + area) / (2 area)), shifted up to stay non-negative. Where halves go
            # away from zero, a negative dividend is one less, so that its halves fall short.
            total = self._sum.o.p.data[lane]
            lowest = total >= 0 if self._half_away else Const(1)
            dividend = Signal(unsigned((4 * self._offset + self._area).bit_length()),
                              name=f"dividend{lane}", reset_less=True)
            with m.If(flow):
                m.d.sync += dividend.eq(
                    Cat(lowest, total).as_signed() + (2 * self._offset + self._area - 1))
            quotient = self._times_factor(m, flow, lane, dividend) >> self._shift
            with m.If(flow):
                m.d.sync += self.o.p.data[lane].eq(quotient - self._offset // self._area)
        return m

    def _times_factor(self, m: Module, flow: Value, lane: int, value: Value) -> Value:
        """``value * factor`` as a tree of registered additions, one level a cycle."""
        terms: list[Value] = [value << n for n in range(self._factor.bit_length())
                              if self._factor >> n & 1]
        for level in range(ADDER_LEVELS):
            sums: list[Value] = []
            for n in range(0, len(terms), 2):
                sum_ = sum(terms[n + 1 : n + 2], terms[n])
                held = Signal(sum_.shape(), name=f"product{lane}_{level}_{n // 2}", reset_less=True)
                with m.If(flow):
                    m.d.sync += held.eq(sum_)
                sums.append(held)
            terms = sums
        return terms[0]


def _reciprocal(divisor: int, most: int) -> tuple[int, int]:
    """(shift, factor) with ``n * factor >> shift == n // divisor`` for every n from 0 to ``most``.

    Granlund and Montgomery 1994: it holds when factor = ceil(2**shift / divisor) exceeds the exact
    quotient by so little that ``most * (factor * divisor - 2**shift) < 2**shift``.
    """
    shift = 0
    while True:
        factor = -(-(1 << shift) // divisor)
        if most * (factor * divisor - (1 << shift)) < 1 << shift:
            return shift, factor
        shift += 1
