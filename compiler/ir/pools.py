"""Layers that reduce many values to one: pools over windows, and argmax over channels."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from .layers import Layer, holding, positions, require_sliding
from .tensor import MAX_BITS, TensorType, is_int, require, require_ints, unsigned_bits

MAX_SPARE = 16
"""The most bits that a mean may have below those of its input."""


@dataclass(frozen=True)
class PoolLayer(Layer):
    """What reduces each window of a channel to one value: (H, W, C) becomes (H', W', C).

    ``kernel`` is (height, width), ``stride`` (y, x), ``padding`` (top, bottom, left, right).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "kernel", self.kernel, 2, 1, 4096)
        require_sliding(self.name, self.kernel, self.stride, self.padding)

    def _shape(self, source: TensorType) -> tuple[int, int, int]:
        """Shape of the output for a ``source``."""
        size = positions(self, source.shape, self.kernel, self.stride, self.padding)
        return *size, source.shape[2]


@dataclass(frozen=True)
class MaxPool(PoolLayer):
    """``max(window)``; padding never wins."""

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, for the windows."""
        (source,) = sources
        return replace(source, shape=self._shape(source))


class Rounding(enum.Enum):
    """Where halves go; both names are of the exact quotient."""

    HALF_UP = "half_up"
    HALF_AWAY = "half_away"


@dataclass(frozen=True)
class AveragePool(PoolLayer):
    """``sum(window) * 2**spare / count``, rounded.

    All of a window counts, padding as zeros, or without ``count_padding`` only what lies within the
    map. A mean lies between the values of its window, so the type is that of the input, with
    ``spare`` (0 to 16) more bits below. A global average is the case in which the kernel is the
    map. TensorFlow Lite's reference kernels round halves away from zero.
    """

    rounding: Rounding = Rounding.HALF_UP
    count_padding: bool = True
    spare: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.rounding, Rounding),
                f"layer {self.name}: rounding must be a Rounding, not {self.rounding!r}")
        require(isinstance(self.count_padding, bool),
                f"layer {self.name}: count_padding must be a bool, not {self.count_padding!r}")
        require(is_int(self.spare) and 0 <= self.spare <= MAX_SPARE,
                f"layer {self.name}: spare must be an integer from 0 to {MAX_SPARE}, "
                f"not {self.spare!r}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input with ``spare`` more bits below, for the windows."""
        (source,) = sources
        shape, source = self._shape(source), source.widened
        bits, spare = source.bits + self.spare, self.spare
        require(bits <= MAX_BITS, f"layer {self.name}: its results need {bits} bits, more than "
                                  f"{MAX_BITS}; lower spare")
        scale = None if source.scale is None else source.scale / (1 << spare)
        return replace(source, shape=shape, bits=bits, scale=scale,
                       fraction=source.fraction + spare, zero_point=source.zero_point << spare)


@dataclass(frozen=True)
class SumPool(PoolLayer):
    """``sum(window)``, exactly; padding counts as zeros."""

    def output_type(self, *sources: TensorType) -> TensorType:
        """The narrowest type that holds every sum, for the windows."""
        (source,) = sources
        shape, source = self._shape(source), source.widened
        area = self.kernel[0] * self.kernel[1]
        return holding(self, shape, source.low * area, source.high * area, source.fraction)


@dataclass(frozen=True)
class ArgMax(Layer):
    """Index of the largest channel at each position: (H, W, C) becomes (H, W, 1).

    The lowest index wins a tie.
    """

    def output_type(self, *sources: TensorType) -> TensorType:
        """Indices of channels."""
        (source,) = sources
        height, width, channels = source.shape
        return TensorType((height, width, 1), unsigned_bits(channels - 1), False)
