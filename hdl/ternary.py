"""The engine of weights of three values: add, subtract, and a multiplication behind the drain."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *

from .dot import Dot
from .select_array import SelectShape, digits
from .sequencer import SEQUENCER_LATENCY
from .steady import late
from .stream import beats
from .tech import MemoryStyle, Selection, Technology

__all__ = ["Ternary"]


class Ternary(Dot):
    """Matrix of ``Wp``, 0 and ``-Wn`` times vector: ``o[n] = bias[n] + Wp * P[n] - Wn * N[n]``.

    P and N are the sums of the inputs whose weight is positive, or negative (Zhu 2017). Where
    ``Wp == Wn`` their difference is accumulated at once, from inputs that are added or subtracted;
    without a zero among the weights, one bit says which. Inputs are taken as numbers without a sign
    (a signed one with its highest bit inverted), and the negative of one as its complement; what
    that changes is a constant of each output, which comes in with its bias. Both products are sums
    of shifted totals, made once for each of ``o_lanes``. Beats, groups and room are those of `Dot`.

    Parameters
    ----------
    shape : shape of an input element.
    weights : ``weights[group * folds + fold][pe][lane]``, each -1, 0 or 1; groups cover the outputs
        in order.
    positive, negative : Wp and Wn, at least 1.
    bipolar : whether an element, of one bit then, stands for -1 or 1.
    bias : one integer an output.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    o_lanes : outputs a beat, at least ``pe / folds`` and a divisor of ``pe``.
    style : where the weights live.
    technology : supplies adders and memory.

    Members
    -------
    i : stream of ``Beat(shape, simd)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``len(bias)`` outputs.
    """

    def __init__(self, shape: ShapeLike, *, weights: Sequence[Sequence[Sequence[int]]],
                 positive: int, negative: int, bias: Sequence[int], accumulator_bits: int,
                 o_lanes: int, style: MemoryStyle, technology: Technology,
                 bipolar: bool = False) -> None:
        if not all(w in (-1, 0, 1) for beat in weights for row in beat for w in row):
            raise ValueError("weights must be -1, 0 or 1")
        cast = Shape.cast(shape)
        zeros = any(not w for beat in weights for row in beat for w in row)
        simd = len(weights[0][0])
        folds = len(weights) // beats(len(bias), len(weights[0]))
        self._select = select = SelectShape(simd, folds, cast.width, cast.signed, positive,
                                            negative, zeros, accumulator_bits, bipolar)
        super().__init__(shape, weights=weights, weight_bits=2, bias=bias,
                         accumulator_bits=accumulator_bits, o_lanes=o_lanes, dsp_multipliers=0,
                         style=style, technology=technology)
        self._step, self._lowest = select.step, select.lowest
        self._factors, self._selection = select.factors, select.selection
        self._positive, self._negative = positive, negative
        self._sums = [[technology.selected_sum(simd, cast.width, select.selection,
                                               select.total_bits)
                       for _ in self._factors] for _ in range(self._pe)]

    def _array(self) -> SelectShape:
        return self._select

    def _totals(self, m: Module, take: Value, first: Value, end: Value) -> list[Value]:
        codes = self._rom(m, self._words(), self._pe * self._code_bits)
        inputs = late(m, "inputs", Cat(self._unsigned(x) for x in self.i.p.data),
                      SEQUENCER_LATENCY)
        keep = late(m, "keep", ~first, self._depth)
        late_take = late(m, "take", take, self._depth, reset_less=False)
        for n, sums in enumerate(self._sums):
            words = codes.word_select(n, self._code_bits)
            for side, adder in enumerate(sums):
                m.submodules[f"sum_{n}_{side}"] = adder
                m.d.comb += [adder.x.eq(inputs), adder.keep.eq(keep), adder.enable.eq(late_take),
                             adder.codes.eq(words.word_select(side, len(adder.codes)))]
        return [Cat(adder.total for adder in sums) for sums in self._sums]

    @staticmethod
    def _unsigned(x: Value) -> Value:
        """The steps of ``x`` from the lowest value of its shape."""
        return Cat(x[:-1], ~x[-1]) if x.shape().signed else x

    @property
    def _code_bits(self) -> int:
        """Bits of the codes of an output: those of all its positive weights first, if apart."""
        return len(self._factors) * self._simd * self._selection.bits

    def _words(self) -> list[int]:
        """The codes of each input beat as one word."""
        signs = [1 if factor > 0 else -1 for factor in self._factors]
        width = self._selection.bits
        words = []
        for beat in self._weights:
            codes = [self._selection.code(side * weight) for row in beat for side in signs
                     for weight in row]
            words.append(sum(code << n * width for n, code in enumerate(codes)))
        return words

    def _results(self, m: Module, totals: list[Value], leave: Value) -> list[Value]:
        bits = self.o.payload.shape().shape.width
        constants = self._of_beat(m, "constants", self._constants(), leave)
        results = []
        for lane, (total, constant) in enumerate(zip(totals, constants, strict=True)):
            terms: list[Value] = [constant]
            for factor, sum_ in zip(self._factors, self._split(total), strict=True):
                terms += [self._multiple(sum_, bits, digit) for digit in digits(factor)]
            results.append(self._add(m, f"result{lane}", terms)[:bits])
        return results

    def _split(self, total: Value) -> list[Value]:
        """The sums that a total stands for."""
        width = len(total) // len(self._factors)
        return [total.word_select(n, width) for n in range(len(self._factors))]

    @staticmethod
    def _multiple(value: Value, bits: int, digit: int) -> Value:
        """The lowest ``bits`` of ``value * digit``, a power of two; one less if it is negative."""
        shifted = (value << abs(digit).bit_length() - 1)[:bits]
        return ~Cat(shifted, Const(0, bits - len(shifted))) if digit < 0 else shifted

    def _constants(self) -> list[int]:
        """What is to be added to the multiples of each output's totals."""
        highest = self._step * ((1 << self.i.payload.shape().shape.width) - 1)
        complements = sum(digit < 0 for factor in self._factors for digit in digits(factor))
        constants = []
        for n, bias in enumerate(self._bias):
            group, row = divmod(n, self._pe)
            weights = [w for beat in self._weights[group * self._folds : (group + 1) * self._folds]
                       for w in beat[row]]
            positive, negative = weights.count(1), weights.count(-1)
            constant = bias + complements + self._lowest * (
                self._positive * positive - self._negative * negative)
            if self._selection is not Selection.GATE:
                constant -= self._negative * negative * highest
            constants.append(constant)
        return constants
