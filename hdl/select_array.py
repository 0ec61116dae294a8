"""Sums of chosen terms: the array of an engine that adds first and multiplies last."""

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
    scales : by what the value of each sum of an output is multiplied.
    selection : what a code makes of a term of each of them.
    accumulator_bits : width of the results.
    common : by what the value of the sum of all terms is multiplied, which is the same for all
        outputs; 0 if there is none.
    bipolar : whether an element, of one bit then, stands for -1 or 1.
    """

    simd: int
    folds: int
    bits: int
    signed: bool
    scales: tuple[int, ...]
    selection: Selection
    accumulator_bits: int
    common: int = 0
    bipolar: bool = False

    def __post_init__(self) -> None:
        at_least(1, simd=self.simd, folds=self.folds, bits=self.bits, sums=len(self.scales),
                 accumulator_bits=self.accumulator_bits)
        if self.common and self.selection is not Selection.GATE:
            raise ValueError(f"of sums with a common one, codes must be gates, "
                             f"not {self.selection.name}")

    @classmethod
    def ternary(cls, simd: int, folds: int, bits: int, *, signed: bool, positive: int,
                negative: int, zeros: bool, accumulator_bits: int, bipolar: bool = False
                ) -> SelectShape:
        """That for weights Wp and -Wn, ``positive`` and ``negative``, and maybe ``zeros``.

        There is one sum for both scales where they are equal.
        """
        at_least(1, positive=positive, negative=negative)
        scales: tuple[int, ...] = positive, -negative
        selection = Selection.GATE
        if positive == negative:
            scales, selection = scales[:1], Selection.BOTH if zeros else Selection.SIGN
        return cls(simd, folds, bits, signed, scales, selection, accumulator_bits, bipolar=bipolar)

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
        """By what each sum of an output is multiplied, which is of steps."""
        return tuple(scale * self.step for scale in self.scales)

    @property
    def common_factor(self) -> int:
        """By what the sum of all terms is multiplied, which is of steps."""
        return self.common * self.step

    @property
    def weight_bits(self) -> int:
        """Bits of the codes of one weight, those of all sums."""
        return len(self.scales) * self.selection.bits

    @property
    def total_bits(self) -> int:
        """Bits of a sum, no wider than the results, for which lower bits do."""
        return min(self.accumulator_bits,
                   bits_for(self.folds * self.simd * ((1 << self.bits) - 1)))

    @property
    def digits(self) -> int:
        """Shifted sums of which a result is made."""
        return sum(len(digits(factor)) for factor in (*self.factors, self.common_factor))

    @property
    def depth(self) -> int:
        """Cycles from a beat and its codes to the edge that adds to the sums."""
        return selected_sum_latency(self.simd) - 1

    @property
    def results_latency(self) -> int:
        """Cycles from sums to results: the levels that add their multiples and a constant."""
        return ceil_log2(1 + self.digits)


class SelectArray(EngineArray):
    """Sums of chosen terms: ``result[n] = bias[n] + sum(scale[s] * S[s][n]) + common * C``.

    S[s][n] is the sum of the inputs that the codes of their weights choose, C that of all inputs.
    So weights of three values have P and N, the sums of the inputs whose weight is positive, or
    negative (Zhu 2017). Where ``Wp == Wn`` their difference is accumulated at once, from inputs
    that are added or subtracted; without a zero among the weights, one bit says which. Inputs are
    taken as numbers without a sign (a signed one with its highest bit inverted), and the negative
    of one as its complement; what that changes is a constant of each output, see
    `select_constants`. All products are sums of shifted totals, made once for each of ``o_lanes``.
    A beat a cycle, ``depth`` cycles deep.

    A weight's word is, output by output and term by term, the codes (see `Selection`) of all sums.

    Parameters
    ----------
    shape : the engine's structure; of one group of channels where there is a common sum.
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
        if select.common and shape.channel_groups > 1:
            raise ValueError(f"a common sum must be of 1 group of channels, "
                             f"not {shape.channel_groups}")
        self._select = select
        self._sides = len(select.scales)
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
        common = self._accumulate(m)
        m.submodules.constants = constants = self._constants
        m.d.comb += constants.leave.eq(self.leave)
        select, bits = self._select, self._select.accumulator_bits
        shared = [_multiple(common, bits, digit) for digit in digits(select.common_factor)]
        for lane, (total, constant) in enumerate(zip(self.drained, constants.data, strict=True)):
            terms: list[Value] = [constant, *shared]
            for side, factor in enumerate(select.factors):
                sum_ = total.word_select(side, select.total_bits)
                terms += [_multiple(sum_, bits, digit) for digit in digits(factor)]
            m.d.comb += self.results[lane].eq(add_pairwise(m, f"result{lane}", terms))
        return m

    def _accumulate(self, m: Module) -> Value:
        """The sums of each output, side by side in its total; that of all terms of the group that
        is drained."""
        shape, select = self._shape, self._select
        keep = delay(m, "keep", ~self.first, self.depth)
        take = delay(m, "take", self.take, self.depth, reset_less=False)
        terms = [_steps(x) for x in self.x]

        def total(name: str, lanes: range, codes: Value) -> Value:
            adder = self._technology.selected_sum(select.simd, select.bits, select.selection,
                                                  select.total_bits)
            m.submodules[name] = adder
            m.d.comb += [adder.x.eq(Cat(terms[lane] for lane in lanes)), adder.codes.eq(codes),
                         adder.keep.eq(keep), adder.enable.eq(take)]
            return adder.total

        for n in range(shape.pe):
            weights = self.weights.word_select(n, shape.simd * select.weight_bits)
            for side in range(self._sides):
                codes = Cat(weights.word_select(k * self._sides + side, select.selection.bits)
                            for k in range(shape.simd))
                m.d.comb += self.totals[n].word_select(side, select.total_bits).eq(
                    total(f"sum_{n}_{side}", shape.terms(n), codes))
        if not select.common:
            return Const(0)
        done = delay(m, "done", self.end, self.depth + 1, reset_less=False)
        held = Signal(select.total_bits, name="common", reset_less=True)
        every = total("sum_of_all", range(shape.simd), Const(-1, select.simd))
        with m.If(done):
            m.d.sync += held.eq(every)
        return held


def select_constants(shape: EngineShape, select: SelectShape, bias: Sequence[int],
                     words: Sequence[int]) -> list[int]:
    """What a `SelectArray` adds to the multiples of each output's sums: its bias, and what it takes
    to have unsigned terms for signed ones, and complements for negatives.

    ``words`` are those of the weights.
    """
    bits = select.simd * select.weight_bits
    highest = select.step * ((1 << select.bits) - 1)
    complements = sum(digit < 0 for factor in (*select.factors, select.common_factor)
                      for digit in digits(factor))
    every = select.lowest * select.common * shape.simd * shape.folds
    # The lowest code bit of each term.
    ones = sum(1 << k * select.weight_bits for k in range(select.simd))
    constants = []
    for n, b in enumerate(bias):
        group, row = divmod(n, shape.pe)
        constant = b + complements + every
        for word in words[group * shape.folds : (group + 1) * shape.folds]:
            codes = word >> row * bits & (1 << bits) - 1
            for side, scale in enumerate(select.scales):
                own = codes >> side * select.selection.bits
                taken, negative = _taken(select.selection, own, ones)
                constant += scale * (select.lowest * (taken - 2 * negative) - highest * negative)
        constants.append(constant)
    return constants


def _taken(selection: Selection, codes: int, ones: int) -> tuple[int, int]:
    """How many terms are in a sum by their ``codes``, and how many of them as complements."""
    low = (codes & ones).bit_count()
    if selection is Selection.GATE:
        return low, 0
    if selection is Selection.SIGN:
        return ones.bit_count(), low
    return low, (codes >> 1 & ones).bit_count()


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
