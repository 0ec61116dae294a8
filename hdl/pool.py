"""Pooling: the maximum, the sum or the rounded mean of a window's elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_, or_

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .counter import counter_end
from .stream import Beat, PassesReady, payload_register

__all__ = [
    "POOLER_LATENCY",
    "AveragePooler",
    "AverageShape",
    "Inside",
    "MaxPooler",
    "Reducer",
    "SumPooler",
    "sum_bits",
]

POOLER_LATENCY = 1
"""Cycles from a window's last beat to its maximum or its sum."""
ADDER_LEVELS = 5
"""Levels of the constant multiplier: enough for 32 set bits, the same for every area."""


def sum_bits(bits: int, signed: bool, area: int) -> int:
    """Width of the sums, signed ones, of ``area`` elements of so many ``bits``."""
    at_least(1, bits=bits, area=area)
    # The sum that is farthest from zero, or from -1 if it is negative.
    most = (area << bits - 1) - 1 if signed else area * ((1 << bits) - 1)
    return most.bit_length() + 1


@dataclass(frozen=True)
class AverageShape:
    """Structure of an `AveragePooler`.

    Parameters
    ----------
    bits, signed : shape of an element.
    area : beats of a window.
    counts : all the numbers of elements that windows are averaged over, ascending.
    spare : bits of the result below the last of an element.
    """

    bits: int
    signed: bool
    area: int
    counts: tuple[int, ...]
    spare: int = 0

    def __post_init__(self) -> None:
        at_least(0, spare=self.spare)
        if not 1 <= self.counts[0] <= self.counts[-1] <= self.area:
            raise ValueError(f"windows must have 1 to {self.area} elements, not "
                             f"{list(self.counts)}")

    @property
    def sum_bits(self) -> int:
        """Width of a sum."""
        return sum_bits(self.bits, self.signed, self.area)

    @property
    def offset(self) -> int:
        """The mean of what is added to a sum, which then is never negative."""
        return 1 << self.bits + self.spare

    @property
    def dividend_bits(self) -> int:
        """Width of what is multiplied."""
        return max(4 * n * self.offset + n for n in self.counts).bit_length()

    @cached_property
    def reciprocals(self) -> tuple[int, tuple[int, ...]]:
        """(shift, the factor of each count): what a multiplication divides by."""
        shift, factors = _reciprocals([(2 * n, 4 * n * self.offset + n) for n in self.counts])
        return shift, tuple(factors)

    @property
    def terms(self) -> int:
        """Shifted dividends of which a product is made: a factor's bits that are ever set."""
        return reduce(or_, self.reciprocals[1]).bit_count()

    @property
    def levels(self) -> int:
        """Levels of adders that make a product, however few its terms are."""
        return ADDER_LEVELS + (self.spare > 0)

    @property
    def latency(self) -> int:
        """Cycles from a window's last beat to its mean: the sum, the dividend, the product and the
        offset's subtraction."""
        return POOLER_LATENCY + 1 + self.levels + 1


class Reducer(PassesReady):
    """Fold ``area`` beats into one; latency 1 after the last of them, one input beat a cycle.

    Of what comes out, ``below`` low bits are left off.
    """

    def __init__(self, i_shape: Shape, o_shape: Shape, lanes: int, area: int, below: int = 0
                 ) -> None:
        at_least(1, area=area)
        self._area = area
        self._below = below
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def _join(self, so_far: Value, value: Value) -> Value:
        raise NotImplementedError

    def _joins(self, m: Module, take: Value) -> Callable[[int, Value, Value, Value], Value]:
        """What makes a lane's next value of whether a beat is the first, of the value that is held
        and of an element; beats come with ``take``."""
        return lambda lane, first, held, value: Mux(first, value, self._join(held, value))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload = payload_register(m, self.o)
        first, take = Signal(init=1), Signal()
        end = Value.cast(counter_end(m, "beat", take, self._area))
        m.d.comb += [
            self.i.ready.eq(~end | ~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take):
            m.d.sync += first.eq(end)
            with m.If(end):
                m.d.sync += [self.o.valid.eq(1), payload.last.eq(self.i.p.last)]
        joins, result = self._joins(m, take), self.o.payload.shape().shape
        for lane in range(self.i.payload.shape().lanes):
            value = self.i.p.data[lane]
            held = Signal(Shape(result.width + self._below, result.signed), name=f"held{lane}",
                          reset_less=True)
            joined = Signal.like(held, name=f"joined{lane}")
            m.d.comb += joined.eq(joins(lane, first, held, value))
            with m.If(take):
                m.d.sync += held.eq(joined)
                with m.If(end):
                    m.d.sync += payload.data[lane].eq(
                        joined >> self._below if self._below else joined)
        return m


class MaxPooler(Reducer):
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


class SumPooler(Reducer):
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
        bits = sum_bits(shape.width, shape.signed, area)
        super().__init__(shape, signed(bits), lanes, area)

    def _join(self, so_far: Value, value: Value) -> Value:
        return (so_far + value)[: len(so_far)].as_signed()


@dataclass(frozen=True)
class Inside:
    """How much of a window lies within the map, which is what it is averaged over.

    ``rows`` and ``columns`` have, for each row and each column of positions, the rows and columns
    of the map that its windows have; ``beats`` windows of different channels follow each other at
    every position.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    beats: int

    @property
    def counts(self) -> list[int]:
        """All the numbers of elements that windows have."""
        return sorted({y * x for y in self.rows for x in self.columns})


class AveragePooler(PassesReady):
    """``o = round(sum * 2**spare / count)`` of every ``area`` beats, lane by lane.

    One beat is taken in a cycle. Halves are rounded up, or away from zero. The division is a
    multiplication by a constant, one for each count, that is exact over the sum's whole range.
    Latency 8, whatever the constants, and 9 with spare bits.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat.
    area : beats of a window.
    half_away : whether halves go away from zero.
    spare : bits of the result below the last of an element.
    inside : what windows are averaged over, where that is not their area; beats outside are 0.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of the same with ``spare`` more bits.
    """

    ready_gates = 2

    def __init__(self, shape: ShapeLike, *, lanes: int, area: int, half_away: bool = False,
                 spare: int = 0, inside: Inside | None = None) -> None:
        shape = Shape.cast(shape)
        self._sum = SumPooler(shape, lanes=lanes, area=area)
        self._half_away = half_away
        self._inside = inside
        self._shape = average = AverageShape(
            shape.width, shape.signed, area, (area,) if inside is None else tuple(inside.counts),
            spare)
        self._counts = average.counts
        self._shift, self._factors = average.reciprocals
        if average.terms > 1 << average.levels:
            raise ValueError(f"area and shape must leave constants of at most "
                             f"{1 << average.levels} set bits, not {average.terms} for {area!r}, "
                             f"{shape!r}")
        o_shape = Shape(shape.width + spare, shape.signed)
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sum = self._sum
        wiring.connect(m, wiring.flipped(self.i), self._sum.i)
        flow = Signal()
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self._sum.o.ready.eq(flow)]
        steps = self._shape.latency - POOLER_LATENCY
        valid, last = Signal(steps), Signal(steps, reset_less=True)
        means = Signal(self.o.p.data.shape(), name="means", reset_less=True)
        m.d.comb += [self.o.valid.eq(valid[-1]), self.o.p.last.eq(last[-1]),
                     self.o.p.data.eq(means)]
        with m.If(flow):
            m.d.sync += [valid.eq(Cat(self._sum.o.valid, valid)),
                         last.eq(Cat(self._sum.o.p.last, last))]
        # floor((2 sum + n) / (2 n)), shifted up to stay non-negative. Where halves go away from
        # zero, a negative dividend is one less, so that its halves fall short.
        offset = self._shape.offset
        addends = [2 * n * offset + n - 1 for n in self._counts]
        addend, factor = self._constants(m, flow, addends)
        for lane in range(self.o.payload.shape().lanes):
            total = self._sum.o.p.data[lane]
            lowest = total >= 0 if self._half_away else Const(1)
            dividend = Signal(unsigned(self._shape.dividend_bits), name=f"dividend{lane}",
                              reset_less=True)
            # A sum's spare bits are 0 and take no part in the addition.
            shifted = Cat(lowest, Const(0, self._shape.spare), total).as_signed()
            with m.If(flow):
                m.d.sync += dividend.eq(shifted + addend)
            quotient = self._times_factor(m, flow, lane, dividend, factor) >> self._shift
            with m.If(flow):
                m.d.sync += means[lane].eq(quotient - offset)
        return m

    def _constants(self, m: Module, flow: Value, addends: Sequence[int]) -> tuple[Value, Value]:
        """The addend of the sum that is ready, and the factor of the dividend after it."""
        if len(self._counts) == 1:
            return Const(addends[0]), Const(self._factors[0])
        assert self._inside is not None
        rows, columns = self._inside.rows, self._inside.columns
        first = self._counts.index(rows[0] * columns[0])
        addend = Signal(range(max(addends) + 1), init=addends[first])
        factor = Signal(range(max(self._factors) + 1), init=self._factors[first])
        held = Signal.like(factor, name="factor_held", reset_less=True)
        # Sums can come in two cycles on end: the constants of the next are there before it is.
        take = flow & self._sum.o.valid
        carry: Value = Const(1)
        places = []
        for name, count in (("beat", self._inside.beats), ("column", len(columns)),
                            ("row", len(rows))):
            place, following = Signal(range(count), name=name), Signal(range(count))
            ends = place == count - 1
            m.d.comb += following.eq(Mux(carry, Mux(ends, 0, place + 1), place))
            with m.If(take):
                m.d.sync += place.eq(following)
            carry = carry & ends
            places.append(following)
        y, x = (_among(m, place, values) for place, values in
                zip((places[2], places[1]), (rows, columns), strict=True))
        with m.If(flow):
            m.d.sync += held.eq(factor)
        with m.If(take), m.Switch(Cat(x, y)):
            for height in sorted(set(rows)):
                for width in sorted(set(columns)):
                    n = self._counts.index(height * width)
                    with m.Case(height << len(x) | width):
                        m.d.sync += [addend.eq(addends[n]), factor.eq(self._factors[n])]
        return addend, held

    def _times_factor(self, m: Module, flow: Value, lane: int, value: Value, factor: Value
                      ) -> Value:
        """``value * factor`` as a tree of registered additions, one level a cycle."""
        always, ever = reduce(and_, self._factors), reduce(or_, self._factors)
        terms: list[Value] = [
            (value if always >> n & 1 else value & factor[n].replicate(len(value))) << n
            for n in range(ever.bit_length()) if ever >> n & 1]
        for level in range(self._shape.levels):
            sums: list[Value] = []
            for n in range(0, len(terms), 2):
                sum_ = sum(terms[n + 1 : n + 2], terms[n])
                held = Signal(sum_.shape(), name=f"product{lane}_{level}_{n // 2}", reset_less=True)
                with m.If(flow):
                    m.d.sync += held.eq(sum_)
                sums.append(held)
            terms = sums
        return terms[0]


def _among(m: Module, index: Value, values: Sequence[int]) -> Signal:
    """``values[index]``, told from the most frequent one by few comparisons."""
    usual = max(values, key=values.count)
    value = Signal(range(max(values) + 1))
    m.d.comb += value.eq(usual)
    with m.Switch(index):
        for n, other in enumerate(values):
            if other != usual:
                with m.Case(n):
                    m.d.comb += value.eq(other)
    return value


def _reciprocals(divisors: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """(shift, factors) with ``n * factor >> shift == n // divisor`` for every n from 0 to ``most``.

    That for each (divisor, most). Granlund and Montgomery 1994: it holds when factor =
    ceil(2**shift / divisor) exceeds the exact quotient by so little that
    ``most * (factor * divisor - 2**shift) < 2**shift``.
    """
    shift = 0
    while True:
        factors = [-(-(1 << shift) // divisor) for divisor, _ in divisors]
        if all(most * (factor * divisor - (1 << shift)) < 1 << shift
               for factor, (divisor, most) in zip(factors, divisors, strict=True)):
            return shift, factors
        shift += 1
