"""The numbers that TensorFlow Lite derives from scales, in the precision that it uses for each.

Scales are float32. Which products of them are rounded to float32 on the way is part of the meaning:
another order gives another multiplier.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers, PenjingError
from ..affine import Affine, quantize_multiplier

_INT32 = (1 << 31) - 1
SPARE_BITS = {8: 20, 16: 15}
"""What the reference gives the inputs of an addition below their last bit, by their width."""
_POWER_TOLERANCE = 1e-3
HALF_BITS = 15
"""Bits behind the point of 16-bit numbers."""

ACTIVATIONS: dict[int, tuple[str, float | None, float | None]] = {
    0: ("NONE", None, None), 1: ("RELU", 0.0, None), 2: ("RELU_N1_TO_1", -1.0, 1.0),
    3: ("RELU6", 0.0, 6.0)}
"""The fused activations: name, lower and upper bound."""


def bounds(low: float | None, high: float | None, target: Affine) -> tuple[int, int]:
    """The integers of ``target`` that stand for the bounds of an activation."""
    least, most = target.range
    first = least if low is None else max(least, _quantize(low, target))
    last = most if high is None else min(most, _quantize(high, target))
    return first, last


def _quantize(real: float, target: Affine) -> int:
    """``round(real / scale) + zero_point`` by float32 division, halves away from zero."""
    with np.errstate(over="ignore"):
        steps = float(np.float32(real) / np.float32(target.scale))
    if abs(steps) >= 1 << 31:
        raise PenjingError(f"its scale {target.scale:g} is too small for its activation; convert "
                           f"the network again")
    return int(math.copysign(math.floor(abs(steps) + 0.5), steps)) + target.zero_point


def channel_ratios(source: Affine, weights: NDArray[np.float32],
                   target: Affine) -> NDArray[np.float64]:
    """What accumulators are multiplied by, a weight scale each: in double throughout."""
    return source.scale * weights.astype(np.float64) / target.scale


def float_ratio(source: Affine, target: Affine) -> float:
    """The quotient of two scales as a float32, as activations take it."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(source.scale) / np.float32(target.scale))


def sum_scales(first: Affine, second: Affine, target: Affine) -> tuple[float, float]:
    """The scale to which ADD and SUB bring both inputs, and what their result is multiplied by.

    The scale is twice the larger one, so that the sum of two inputs keeps within what each may be;
    both inputs get `SPARE_BITS` below it.
    """
    common = 2 * max(first.scale, second.scale)
    return common, common / ((1 << SPARE_BITS[target.bits]) * target.scale)


def exponent_of(scale: float) -> int | None:
    """n where ``scale`` is 2**n or what the reference takes for it, else None."""
    exact = math.log2(scale)
    return round(exact) if abs(exact - round(exact)) < _POWER_TOLERANCE else None


def product_ratio(first: Affine, second: Affine, target: Affine) -> float:
    """What a product of two inputs is multiplied by, in float32 throughout."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(first.scale) * np.float32(second.scale)
                     / np.float32(target.scale))


def mean_multiplier(source: Affine, target: Affine, count: int) -> tuple[int, int]:
    """(m, s) of a mean over ``count`` elements: the multiplier of the scales, divided by it.

    The quotient is cut off, not rounded, after a shift that keeps its bits.
    """
    multiplier, shift = quantize_multiplier(source.scale / target.scale)
    spare = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << spare) // count, shift - spare


def halves_away(multiplier: int, shift: int, low: int, high: int) -> int:
    """The multiplier that makes one rounding, halves up, send halves away from zero.

    LiteRT's dense kernels round once, halves away from zero, for accumulators from ``low`` to
    ``high``. One more in the last place pushes negative halves below the middle. Every other
    product is a multiple of ``2**zeros`` away from it, which a smaller accumulator does not bridge.
    """
    zeros = (multiplier & -multiplier).bit_length() - 1
    least_half = 1 << max(0, 30 - shift - zeros)  # accumulators that are odd multiples are halves
    if multiplier == 0 or 30 - shift < zeros or low > -least_half:
        return multiplier
    # Where neither holds, a half of 1 in 2**zeros outputs rounds up; real scales have none.
    return multiplier + 1 if max(-low, high) < 1 << zeros else multiplier


def half_multiplier(multiplier: int) -> int:
    """The 15 bits of a multiplier of 31 with which kernels of 16-bit numbers compute."""
    return min(multiplier + (1 << 15) >> 16, (1 << HALF_BITS) - 1)


def double_high(x: Integers, multiplier: int, bits: int) -> Integers:
    """``x * multiplier / 2**bits`` rounded, halves up: gemmlowp's doubled high half."""
    product = x * multiplier
    return truncate(product + np.where(product >= 0, 1 << bits - 1, 1 - (1 << bits - 1)), bits)


def truncate(x: Integers, exponent: int) -> Integers:
    """``x / 2**exponent`` without its fraction."""
    return np.where(x >= 0, x >> exponent, -(-x >> exponent))


def divide_by_power(x: Integers, exponent: int) -> Integers:
    """``x / 2**exponent``, halves away from zero."""
    remainder = x & (1 << exponent) - 1
    threshold = ((1 << exponent) - 1 >> 1) + (x < 0)
    return (x >> exponent) + (remainder > threshold)


def multiply(x: Integers, multiplier: int, shift: int, rounding: ir.ScaleRounding) -> Integers:
    """``x * multiplier * 2**(shift - 31)``, rounded twice or once as ``rounding`` says."""
    if int(np.abs(x).max()) << max(0, shift) > _INT32:
        raise PenjingError("the scale of its output is too small for its input; convert the "
                           "network again")
    if rounding is ir.ScaleRounding.SINGLE:
        return (x * multiplier + (1 << 30 - shift)) >> 31 - shift
    high = double_high(x << max(0, shift), multiplier, 31)
    return divide_by_power(high, max(0, -shift))
