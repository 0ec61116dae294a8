"""Sums of chosen terms: the array of an engine of weights of three values."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.utils import bits_for, ceil_log2

from .checks import at_least
from .tech import Selection, selected_sum_latency

__all__ = ["SelectShape", "digits"]


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
