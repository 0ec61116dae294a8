"""Affine quantization, ``real = scale * (q - zero_point)``, in integers alone.

What the loaders of integer networks share: the fixed-point multiplier that stands for a ratio of
scales, and zero points folded into biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers, PenjingError, signed_bits

_LEAST_SHIFT = -31
_ONE = 1 << 31
_NO_RESTS = np.zeros(1)
_MOST_WEIGHT_BITS = 16
_REST_BITS = 16
"""Bits below the last one of a result to which what is added to a product is exact."""


@dataclass(frozen=True)
class Affine:
    """What the integers of a tensor stand for: ``real = scale * (q - zero_point)``."""

    bits: int
    signed: bool
    scale: float
    zero_point: int

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest integer."""
        return range_of(self.bits, self.signed)


def range_of(bits: int, signed: bool) -> tuple[int, int]:
    """The least and the greatest integer of ``bits``."""
    low = -(1 << bits - 1) if signed else 0
    return low, low + (1 << bits) - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(m, s) with ``real ≈ m * 2**(s - 31)``: TensorFlow Lite's ``QuantizeMultiplier``.

    m has 31 bits, its highest set unless ``real`` is 0 or too small to matter. `PenjingError` for a
    number that is negative, not finite, or too large.
    """
    if not 0 <= real < math.inf:
        raise PenjingError(f"a ratio of scales must be finite and not negative, not {real}")
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(fraction * _ONE + 0.5)
    if multiplier == _ONE:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent < _LEAST_SHIFT:
        return 0, 0
    if exponent > 30:
        raise PenjingError(f"a ratio of scales must be below 2**30, not {real:.3g}")
    return multiplier, exponent


def requantize(name: str, source: str, ratios: NDArray[np.float64], target: Affine, *,
               offset: int = 0, pre_shift: int = 0, low: int | None = None,
               high: int | None = None,
               rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE,
               rests: NDArray[np.float64] = _NO_RESTS) -> ir.ScaleRequantize:
    """The layer that multiplies by ``ratios`` (C,) or (1,) and puts out integers of ``target``.

    Before, it adds ``rests`` (C,) or (1,), each at least 0 and below 1.
    """
    rows = [(*quantize_multiplier(float(ratio)), float(rest))
            for ratio, rest in np.broadcast(ratios, rests)]
    if len(set(rows)) == 1:
        rows = rows[:1]
    addends = np.array([_addend(m, s + pre_shift, rest) for m, s, rest in rows], np.int64)
    multipliers, shifts = (np.array([row[n] for row in rows], np.int64) for n in range(2))
    return ir.ScaleRequantize(
        name, source, multipliers, shifts, target.bits, target.signed, offset, pre_shift,
        target.zero_point, low, high, rounding, target.scale, addends if addends.any() else None)


def with_room(builder: ir.Builder, source: str, ratios: NDArray[np.float64],
              rests: NDArray[np.float64] = _NO_RESTS
              ) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """``source``, ``ratios`` and ``rests`` for `requantize`, where no channel needs too many bits.

    What is multiplied is shifted left for a ratio above 1. Few channels have one, such as those
    whose weights are all zero, to which tools give a scale of 1. Their shift goes into the weights
    and biases of ``source``, which changes no result: the widest sums are those of others.
    """
    layer = builder.layers.get(source)
    if not isinstance(layer, ir.MultiplyAccumulate):
        return source, ratios, rests
    kind, outputs = builder.types[source], len(layer.bias)
    room = ir.REFERENCE_BITS - signed_bits(kind.low, kind.high + 1)
    shifts = np.array([quantize_multiplier(float(ratio))[1] for ratio in ratios])
    factors = 1 << np.broadcast_to(np.maximum(shifts - max(room, 0), 0), outputs)
    weights = layer.weights.values * factors.reshape(-1, *(1,) * (layer.weights.values.ndim - 1))
    bits = signed_bits(int(weights.min()), int(weights.max()))
    if (factors == 1).all() or bits > _MOST_WEIGHT_BITS:
        return source, ratios, rests
    shifted = rests * factors
    carry = np.floor(shifted)
    name = builder.add(replace(layer, name=builder.unique(source),
                               weights=ir.Weights.narrowest(weights),
                               bias=layer.bias * factors + carry.astype(np.int64)))
    return name, ratios / factors, shifted - carry


def _addend(multiplier: int, shift: int, rest: float) -> int:
    """``rest * multiplier``, of as few bits as make no difference in the result.

    The last one is set where others are left out: what is no half does not become one. If the
    multiplier is a power of two, no more is to be told than that.
    """
    common = min((multiplier & -multiplier).bit_length(), 31 - shift)
    zeros = max(0, 31 - shift - _REST_BITS, common - 2)
    exact = rest * multiplier / 2 ** zeros
    return int(exact) << zeros if exact.is_integer() else (int(exact) | 1) << zeros


def fold_zero_point(weights: Integers, bias: Integers, zero_point: int) -> Integers:
    """The bias of a layer that multiplies q where ``q - zero_point`` is meant.

    ``weights`` has the outputs first. Padding must then be the zero point.
    """
    folded: Integers = bias - zero_point * weights.reshape(len(weights), -1).sum(1)
    return folded
