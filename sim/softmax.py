"""TensorFlow Lite's int8 softmax, bit for bit: what the host makes of a network's logits.

All is fixed point of 32 bits: Qm.n below has m integer bits and n = 31 - m fraction bits. Products
are `golden.doubling_high_divide`, quotients by powers of two `golden.rounding_divide`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..compiler.ir import Integers, PenjingError
from ..compiler.load.affine import quantize_multiplier
from .golden import doubling_high_divide, rounding_divide

_DIFFERENCE_BITS = 5  # integer bits of the scaled differences, Q5.26
_SUM_BITS = 12  # integer bits of the sum of exponentials, Q12.19
_MOST = (1 << 31) - 1
_ONE_QUARTER = 1 << 24  # in Q5.26

_EXP_MINUS_EIGHTH = round(math.exp(-1 / 8) * 2**31)
_ONE_THIRD = round(2**31 / 3)
_EXPONENTIALS = tuple((exponent, round(math.exp(-2.0**exponent) * 2**31))
                      for exponent in range(-2, _DIFFERENCE_BITS))
"""exp(-2**k) in Q0.31, for each bit of a difference above the quarters."""
_48_OVER_17 = round(48 / 17 * 2**29)
_MINUS_32_OVER_17 = -round(32 / 17 * 2**29)


@dataclass(frozen=True)
class Softmax:
    """The constants of a softmax of logits that are worth ``step`` each in its exponents."""

    multiplier: int
    left_shift: int
    least: int

    @classmethod
    def of(cls, step: float) -> Softmax:
        """Derive them; differences below ``least`` are as good as minus infinity."""
        real = min(step * (1 << 31 - _DIFFERENCE_BITS), float(_MOST))
        if real <= 1:
            raise PenjingError(f"softmax: a step of {step:g} is too small; take the logits")
        multiplier, left_shift = quantize_multiplier(real)
        radius = ((1 << _DIFFERENCE_BITS) - 1) * (1 << 31 - _DIFFERENCE_BITS) / (1 << left_shift)
        return cls(multiplier, left_shift, -math.floor(radius))

    def __call__(self, logits: Integers) -> Integers:
        """int8 probabilities, worth 1/256 a step from -128 up, of ``logits`` (..., C) of int8."""
        differences = logits - logits.max(-1, keepdims=True)
        counts = differences >= self.least
        scaled = _product(np.where(counts, differences, 0) << self.left_shift, self.multiplier)
        exponentials = _exp(scaled)
        total = np.where(counts, rounding_divide(exponentials, np.array(_SUM_BITS)), 0).sum(
            -1, keepdims=True)
        reciprocal, over_unit = _reciprocal(total)
        steps = rounding_divide(_product(exponentials, reciprocal), over_unit + 31 - 8)
        return np.where(counts, np.clip(steps - 128, -128, 127), -128)


def _product(a: Integers, b: Integers | int) -> Integers:
    """The doubled high half of a product of 32-bit numbers, halves up."""
    return doubling_high_divide(np.asarray(a * b))


def _times_power(x: Integers, exponent: int) -> Integers:
    """``x * 2**exponent``, saturated or, for a negative exponent, rounded."""
    if exponent < 0:
        return rounding_divide(x, np.array(-exponent))
    return np.clip(x << exponent, -_MOST - 1, _MOST)


def _exp(x: Integers) -> Integers:
    """exp in Q0.31 of ``x`` in Q5.26 that is not positive."""
    rest = (x & _ONE_QUARTER - 1) - _ONE_QUARTER  # from -1/4 up to 0
    result = _exp_of_quarter(_times_power(rest, _DIFFERENCE_BITS))
    remainder = rest - x
    for exponent, factor in _EXPONENTIALS:
        bit = 1 << 31 - _DIFFERENCE_BITS + exponent
        result = np.where(remainder & bit, _product(result, factor), result)
    return np.where(x == 0, _MOST, result)


def _exp_of_quarter(a: Integers) -> Integers:
    """exp in Q0.31 of ``a`` in Q0.31 from -1/4 to 0: four terms of the series around -1/8."""
    x = a + (1 << 28)
    square = _product(x, x)
    cube, fourth = _product(square, x), _product(square, square)
    terms = _times_power(_product(_times_power(fourth, -2) + cube, _ONE_THIRD) + square, -1)
    return np.clip(_EXP_MINUS_EIGHTH + _product(x + terms, _EXP_MINUS_EIGHTH), -_MOST - 1, _MOST)


def _reciprocal(total: Integers) -> tuple[Integers, Integers]:
    """(1/total in Q0.31 as if below 1, how many bits above the unit) of ``total`` in Q12.19."""
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    return _one_over_one_plus((total << headroom) - (1 << 31)), _SUM_BITS - headroom


def _one_over_one_plus(x: Integers) -> Integers:
    """1 / (1 + x) in Q0.31 of ``x`` in Q0.31 from 0 to 1: three steps of Newton and Raphson."""
    half = (x + _MOST + 1) >> 1  # a rounding half sum, of numbers that are not negative
    estimate = _48_OVER_17 + _product(half, _MINUS_32_OVER_17)
    for _ in range(3):
        error = (1 << 29) - _product(half, estimate)
        estimate = estimate + _times_power(_product(estimate, error), 2)
    return _times_power(estimate, 1)
