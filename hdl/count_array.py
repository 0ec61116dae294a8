"""Counts of differing signs: the array of an engine of binary weights and activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *

from .engine import EngineArray, EngineShape
from .result_constants import ResultConstants
from .steady import delay
from .tech import Technology, counter_latency

__all__ = ["CountArray", "CountShape"]


@dataclass(frozen=True)
class CountShape:
    """Structure of an array of counters: ``simd`` signs a beat, in ``folds`` beats."""

    simd: int
    folds: int

    @property
    def total_bits(self) -> int:
        """Bits of a count."""
        return (self.folds * self.simd).bit_length()

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the counts."""
        return counter_latency(self.simd) - 1

    @property
    def results_latency(self) -> int:
        """Cycles from counts to the sums that they stand for, which are made at once."""
        return 0


class CountArray(EngineArray):
    """XOR, popcount, accumulate: ``result[n] = bias[n] + sum(w[n][k] * x[k])`` of signs.

    A sign is one bit, 1 for +1, so a product is -1 where two bits differ, and with d of K products
    negative the sum is ``K - 2 * d`` (Courbariaux 2016). Each of the ``pe`` outputs counts the d of
    its ``simd`` products a cycle and accumulates them; what turns d into the sum stands once behind
    the drain. A beat a cycle, ``depth`` cycles deep. There are no spare lanes: a weight is never 0.

    Parameters
    ----------
    shape : the engine's structure.
    bias : one integer an output.
    accumulator_bits : width of the results.
    technology : supplies counters and memory.

    Members
    -------
    See `EngineArray`; an element and a weight are one bit each.
    """

    def __init__(self, shape: EngineShape, *, bias: Sequence[int], accumulator_bits: int,
                 technology: Technology) -> None:
        self._counts = counts = CountShape(shape.simd, shape.folds)
        super().__init__(shape, 1, word_bits=shape.pe * shape.simd,
                         total_bits=counts.total_bits, accumulator_bits=accumulator_bits)
        terms = shape.folds * shape.simd
        self._constants = ResultConstants(shape, [b + terms for b in bias], accumulator_bits,
                                          technology=technology)
        self._technology = technology

    @property
    def depth(self) -> int:
        return self._counts.depth

    @property
    def results_latency(self) -> int:
        return self._counts.results_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        keep = delay(m, "keep", ~self.first, self.depth)
        take = delay(m, "take", self.take, self.depth, reset_less=False)
        for n in range(shape.pe):
            counter = self._technology.difference_counter(shape.simd, self._counts.total_bits)
            m.submodules[f"counter_{n}"] = counter
            m.d.comb += [counter.a.eq(Cat(self.x[lane] for lane in shape.terms(n))),
                         counter.b.eq(self.weights.word_select(n, shape.simd)),
                         counter.keep.eq(keep), counter.enable.eq(take),
                         self.totals[n].eq(counter.total)]
        m.submodules.constants = constants = self._constants
        m.d.comb += constants.leave.eq(self.leave)
        m.d.comb += [result.eq(constant - (total << 1)) for result, constant, total in
                     zip(self.results, constants.data, self.drained, strict=True)]
        return m
