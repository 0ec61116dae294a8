"""The user's data: which integers of the input stand for them, and what these are worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir import Integers, PenjingError, TensorType
from ..load.floats import Floats
from .fractions import (
    FRACTION_LIMIT,
    Grid,
    absolute_error,
    best_fraction,
    check_bits,
    no_overflow,
    pick,
)


@dataclass(frozen=True)
class InputCode:
    """How the user's data stand for the network's input integers, which its ``type`` tells."""

    type: TensorType

    @property
    def rest(self) -> float:
        """What one step is worth in units of the power of two that hardware takes it for."""
        return self.type.step * 2.0 ** self.type.fraction

    def integers(self, x: NDArray[Any]) -> Integers:
        """The network's input for ``x``: integers as they are, floats rounded to steps."""
        return quantize_input(x, self.type)

    def real(self, x: NDArray[Any]) -> Floats:
        """What the float network takes for ``x``: floats as they are, integers by their worth."""
        images = shaped(x, self.type.shape)
        values: NDArray[Any] = images
        if images.dtype.kind != "f":
            values = (self.integers(images) - self.type.zero_point) * self.type.step
        return values.astype(np.float64)


def shaped(x: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[Any]:
    """``x`` as (N, H, W, C), from that or from (N, F), (N, H, W) or (N, L, C) where they allow it.

    `PenjingError` if the shape does not fit, ``x`` is empty, or it is not of finite numbers.
    """
    if not isinstance(x, np.ndarray):
        raise PenjingError(f"data: x must be an array, not {type(x).__name__}")
    height, width, channels = shape
    fits = {4: x.shape[1:] == shape,
            3: (channels == 1 and x.shape[1:] == (height, width))
            or (height == 1 and x.shape[1:] == (width, channels)),
            2: (height, width) == (1, 1) and x.shape[1:] == (channels,)}
    if not fits.get(x.ndim, False):
        given = ", ".join(["N", *map(str, x.shape[1:])]) if x.ndim else ""
        raise PenjingError(f"data: x has shape ({given}), the network takes (N, {height}, {width}, "
                           f"{channels}); reshape or transpose x")
    if len(x) == 0:
        raise PenjingError("data: x holds no image; give at least one")
    if x.dtype.kind not in "iuf":
        raise PenjingError(f"data: x has type {x.dtype}; give integers or floats")
    if not np.isfinite(x).all():
        raise PenjingError("data: x holds NaN or infinite values; remove them")
    return x.reshape(len(x), *shape)


def quantize_input(x: NDArray[Any], kind: TensorType) -> Integers:
    """The integers (N, H, W, C) that stand for ``x``.

    Integers are taken as they are and must lie within ``kind``. Floats become
    ``clamp(round(x / step) + zero_point)``. Where ``kind`` has a scale, the quotient is a float32
    and halves go away from zero, as TensorFlow Lite quantizes; else halves go up.
    """
    images = shaped(x, kind.shape)
    if images.dtype.kind in "iu":
        if images.min() < kind.low or images.max() > kind.high:
            raise PenjingError(f"data: x holds integers from {images.min()} to {images.max()}, the "
                               f"network takes {kind.low} to {kind.high}; give floats or scale x")
        return images.astype(np.int64)
    if kind.scale is None:
        rounded = np.floor(images.astype(np.float64) / kind.step + 0.5)
    else:
        with np.errstate(over="ignore"):  # infinite quotients are clamped as any other
            steps = (images.astype(np.float32) / np.float32(kind.scale)).astype(np.float64)
        rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
    return np.clip(rounded + kind.zero_point, kind.low, kind.high).astype(np.int64)


def input_code(calibration: NDArray[Any], shape: tuple[int, int, int], bits: int = 8,
               scale: float | None = None) -> InputCode:
    """How data like ``calibration`` enter a network whose input has ``shape`` (H, W, C).

    Integers are the network's own, of ``bits`` bits, signed if one is negative. One step is worth
    ``scale``; by default the largest unsigned integer stands for 1 (a pixel of 8 bits for p/255),
    and a signed one for ``q * 2**-(bits-1)``. Floats get the fraction length with the least sum of
    absolute errors; ``scale`` must then be None.
    """
    check_bits("input bits", bits, 1)
    images = shaped(calibration, shape)
    signed = bool(images.min() < 0)
    if signed and bits == 1:
        raise PenjingError("input bits: negative data need at least 2 bits; give more")
    if images.dtype.kind == "f":
        if scale is not None:
            raise PenjingError("input scale: it applies to integer data only; leave it away")
        kind = TensorType(shape, bits, signed)
        picked = pick(images).astype(np.float64)
        fraction = best_fraction(
            no_overflow(picked, kind.high, "input"), (-FRACTION_LIMIT, FRACTION_LIMIT),
            absolute_error(picked, picked, Grid(kind.low, kind.high)))
        return InputCode(replace(kind, fraction=fraction))
    if scale is not None and not 0 < scale < math.inf:
        raise PenjingError(f"input scale: it must be positive and finite, not {scale}")
    kind = TensorType(shape, bits, signed, bits - signed)
    quantize_input(images, kind)
    if scale is None and not signed:
        scale = 1 / kind.high
    return InputCode(kind if scale is None else replace(kind, scale=float(scale)))
