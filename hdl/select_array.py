"""Sums of chosen terms: the array of an engine of weights of three values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.utils import bits_for, ceil_log2

from .checks import at_least
from .engine import EngineArray, EngineShape
from .result_constants import ResultConstants
from .steady import add_pairwise, delay
from .tech import Selection, Technology, selected_sum_latency

__all__ = ["SelectArray", "SelectShape", "digits", "select_constants"]


@dataclass(frozen=True)
class SelectShape:
    """Structure of an array that adds ``simd`` chosen terms a beat, in ``folds`` beats.

    Parameters
    ----------
    simd : terms of an output that one beat brings.
    folds : beats of a group.
    bits, signed : shape of an input element.
    positive, negative : Wp and Wn, at least 1.
    zeros : whether a weight may be 0.
    accumulator_bits : width of the results.
    bipolar : whether an element, of one bit then, stands for -1 or 1.
    """

    simd: int
    folds: int
    bits: int
    signed: bool
    positive: int
    negative: int
    zeros: bool
    accumulator_bits: int
    bipolar: bool = False

    def __post_init__(self) -> None:
        at_least(1, simd=self.simd, folds=self.folds, bits=self.bits, positive=self.positive,
                 negative=self.negative, accumulator_bits=self.accumulator_bits)

    @property
    def step(self) -> int:
        """What one step of an element is worth."""
        return 2 if self.bipolar else 1

    @property
    def lowest(self) -> int:
        """The lowest value of an element, which stands for that and for so many steps more."""
        return -1 if self.bipolar else -(1 << self.bits - 1) * self.signed

    @property
    def factors(self) -> tuple[int, ...]:
        """What the sums of an output are multiplied by: one for both scales where they are equal.
        """
        if self.positive == self.negative:
            return (self.positive * self.step,)
        return self.positive * self.step, -self.negative * self.step

    @property
    def selection(self) -> Selection:
        """What a code makes of a term."""
        if self.positive != self.negative:
            return Selection.GATE
        return Selection.BOTH if self.zeros else Selection.SIGN

    @property
    def weight_bits(self) -> int:
        """Bits of the codes of one weight, those of all sums."""
        return len(self.factors) * self.selection.bits

    @property
    def total_bits(self) -> int:
        """Bits of a sum, no wider than the results, for which lower bits do."""
        return min(self.accumulator_bits,
                   bits_for(self.folds * self.simd * ((1 << self.bits) - 1)))

    @property
    def digits(self) -> int:
        """Shifted sums of which a result is made."""
        return sum(len(digits(factor)) for factor in self.factors)

    @property
    def depth(self) -> int:
        """Cycles from a beat and its codes to the edge that adds to the sums."""
        return selected_sum_latency(self.simd) - 1

    @property
    def results_latency(self) -> int:
        """Cycles from sums to results: the levels that add their multiples and a constant."""
        return ceil_log2(1 + self.digits)


class SelectArray(EngineArray):
    """Sums of chosen terms: ``result[n] = bias[n] + Wp * P[n] - Wn * N[n]``.

    P and N are the sums of the inputs whose weight is positive, or negative (Zhu 2017). Where
    ``Wp == Wn`` their difference is accumulated at once, from inputs that are added or subtracted;
    without a zero among the weights, one bit says which. Inputs are taken as numbers without a sign
    (a signed one with its highest bit inverted), and the negative of one as its complement; what
    that changes is a constant of each output, see `select_constants`. Both products are sums of
    shifted totals, made once for each of ``o_lanes``. A beat a cycle, ``depth`` cycles deep.

    A weight's word is, output by output, the codes (see `Selection`) of the terms of its positive
    sum, then those of its negative sum if it has two.

    Parameters
    ----------
    shape : the engine's structure.
    select : the structure of sums and scales.
    constants : one an output, see `select_constants`.
    technology : supplies adders and memory.

    Members
    -------
    See `EngineArray`.
    """

    def __init__(self, shape: EngineShape, select: SelectShape, *, constants: Sequence[int],
                 technology: Technology) -> None:
        if (select.simd, select.folds) != (shape.simd, shape.folds):
            raise ValueError(f"select must have {shape.folds} beats of {shape.simd} terms, "
                             f"not {select.folds} of {select.simd}")
        self._select = select
        self._sides = len(select.factors)
        bits = select.accumulator_bits
        super().__init__(shape, Shape(select.bits, select.signed),
                         word_bits=shape.pe * shape.simd * select.weight_bits,
                         total_bits=self._sides * select.total_bits, accumulator_bits=bits)
        self._constants = ResultConstants(shape, constants, bits, technology=technology)
        self._technology = technology

    @property
    def depth(self) -> int:
        return self._select.depth

    @property
    def results_latency(self) -> int:
        return self._select.results_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._accumulate(m)
        m.submodules.constants = constants = self._constants
        m.d.comb += constants.leave.eq(self.leave)
        bits = self._select.accumulator_bits
        for lane, (total, constant) in enumerate(zip(self.drained, constants.data, strict=True)):
            terms: list[Value] = [constant]
            for side, factor in enumerate(self._select.factors):
                sum_ = total.word_select(side, self._select.total_bits)
                terms += [_multiple(sum_, bits, digit) for digit in digits(factor)]
            m.d.comb += self.results[lane].eq(add_pairwise(m, f"result{lane}", terms))
        return m

    def _accumulate(self, m: Module) -> None:
        """The sums of each output, side by side in its total."""
        shape, select = self._shape, self._select
        keep = delay(m, "keep", ~self.first, self.depth)
        take = delay(m, "take", self.take, self.depth, reset_less=False)
        terms = [_steps(x) for x in self.x]
        for n in range(shape.pe):
            codes = self.weights.word_select(n, shape.simd * select.weight_bits)
            x = Cat(terms[lane] for lane in shape.terms(n))
            for side in range(self._sides):
                adder = self._technology.selected_sum(select.simd, select.bits, select.selection,
                                                      select.total_bits)
                m.submodules[f"sum_{n}_{side}"] = adder
                m.d.comb += [adder.x.eq(x), adder.keep.eq(keep), adder.enable.eq(take),
                             adder.codes.eq(codes.word_select(side, len(adder.codes))),
                             self.totals[n].word_select(side, select.total_bits).eq(adder.total)]


def select_constants(shape: EngineShape, select: SelectShape, bias: Sequence[int],
                     words: Sequence[int]) -> list[int]:
    """What a `SelectArray` adds to the multiples of each output's sums: its bias, and what it takes
    to have unsigned terms for signed ones, and complements for negatives.

    ``words`` are those of the weights.
    """
    bits = select.simd * select.weight_bits
    highest = select.step * ((1 << select.bits) - 1)
    complements = sum(digit < 0 for factor in select.factors for digit in digits(factor))
    constants = []
    for n, b in enumerate(bias):
        group, row = divmod(n, shape.pe)
        beats = words[group * shape.folds : (group + 1) * shape.folds]
        counts = [_signs(select, word >> row * bits & (1 << bits) - 1) for word in beats]
        positive, negative = (sum(column) for column in zip(*counts, strict=True))
        constant = b + complements + select.lowest * (
            select.positive * positive - select.negative * negative)
        if select.selection is not Selection.GATE:
            constant -= select.negative * negative * highest
        constants.append(constant)
    return constants


def _signs(select: SelectShape, codes: int) -> tuple[int, int]:
    """How many weights of an output's ``codes`` are positive, and how many are negative."""
    if select.selection is Selection.GATE:
        return (codes & (1 << select.simd) - 1).bit_count(), (codes >> select.simd).bit_count()
    if select.selection is Selection.SIGN:
        return select.simd - codes.bit_count(), codes.bit_count()
    ones = ((1 << 2 * select.simd) - 1) // 3
    negative = (codes >> 1 & ones).bit_count()
    return (codes & ones).bit_count() - negative, negative


def _steps(x: Value) -> Value:
    """The steps of ``x`` from the lowest value of its shape."""
    return Cat(x[:-1], ~x[-1]) if x.shape().signed else x


def _multiple(value: Value, bits: int, digit: int) -> Value:
    """The lowest ``bits`` of ``value * digit``, a power of two; one less if it is negative."""
    shifted = (value << abs(digit).bit_length() - 1)[:bits]
    return ~Cat(shifted, Const(0, bits - len(shifted))) if digit < 0 else shifted


def digits(factor: int) -> list[int]:
    """Powers of two, negative ones too, of which the fewest make ``factor``."""
    found, place = [], 1
    while factor:
        if factor & 1:
            digit = 2 - factor % 4
            found.append(digit * place)
            factor -= digit
        factor //= 2
        place *= 2
    return found
