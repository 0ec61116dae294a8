"""One view of all layers with weights: what of a kernel meets the map, and what its padding.

Where a channel is v everywhere and the padding p, an output is ``p * sum(w)`` of it, and ``v - p``
times the sum of the weights that meet the map. That sum is another one at each border, unless the
weights there are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers, PenjingError, TensorType

__all__ = ["Kernel", "kernel", "with_kernel"]

_Values = TypeVar("_Values", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Kernel:
    """``weights`` (outputs, height, width, inputs of a group) of each of ``groups``, and ``bias``.

    ``rows`` (R, height) and ``columns`` (S, width) are the different ways in which a kernel can lie
    on the map: 1 where a tap meets it, 0 where it meets the padding, which is ``pad``.
    """

    weights: Integers
    bias: Integers
    groups: int
    rows: Integers
    columns: Integers
    pad: int

    def spread(self, channels: NDArray[_Values]) -> NDArray[_Values]:
        """(outputs, inputs of a group): of each output, the ``channels`` that its group reads."""
        outputs, inputs = len(self.weights), self.weights.shape[3]
        return channels.reshape(self.groups, inputs).repeat(outputs // self.groups, 0)

    def sums(self, taps: Integers) -> Integers:
        """(…, R, S): the sums of ``taps`` (…, height, width) that meet the map."""
        return np.asarray(self.rows @ (taps @ self.columns.T))


@singledispatch
def kernel(layer: ir.Layer, source: TensorType, result: TensorType) -> Kernel | None:
    """The view of ``layer``, which makes ``result`` of ``source``; None where there is none."""
    return None


@kernel.register
def _(layer: ir.Convolution, source: TensorType, result: TensorType) -> Kernel:
    return _sliding(layer, layer.weights.values, layer.groups, source, result)


@kernel.register
def _(layer: ir.Depthwise, source: TensorType, result: TensorType) -> Kernel:
    """Each channel is a group."""
    return _sliding(layer, layer.weights.values[..., None], source.shape[2], source, result)


@kernel.register
def _(layer: ir.Dense, source: TensorType, result: TensorType) -> Kernel:
    whole = np.ones((1, 1), np.int64)
    return Kernel(layer.weights.values[:, None, None], layer.bias, 1, whole, whole, 0)


@kernel.register
def _(layer: ir.TransposedConvolution, source: TensorType, result: TensorType) -> Kernel:
    """A tap meets the map where an element lies, and else what is between them."""
    met = []
    for taps, step, size, before, made in zip(layer.kernel, layer.stride, source.shape,
                                              layer.crop[::2], result.shape, strict=False):
        reached = np.arange(before, before + made)[:, None] - np.arange(taps)
        met.append(_different((reached % step == 0) & (reached >= 0) & (reached < step * size)))
    rows, columns = met
    return Kernel(layer.weights.values, layer.bias, layer.groups, rows, columns, layer.pad_value)


def _sliding(layer: ir.SlidingLayer, weights: Integers, groups: int, source: TensorType,
             result: TensorType) -> Kernel:
    met = []
    for taps, step, size, before, made in zip(layer.kernel, layer.stride, source.shape,
                                              layer.padding[::2], result.shape, strict=False):
        reached = step * np.arange(made)[:, None] + np.arange(taps) - before
        met.append(_different((reached >= 0) & (reached < size)))
    rows, columns = met
    pad = layer.pad_value if any(layer.padding) else 0  # without padding, it may be any integer
    return Kernel(weights, layer.bias, groups, rows, columns, pad)


def _different(met: NDArray[np.bool_]) -> Integers:
    return np.unique(met, axis=0).astype(np.int64)


@singledispatch
def with_kernel(layer: ir.MultiplyAccumulate, weights: Integers, bias: Integers, groups: int
                ) -> ir.MultiplyAccumulate:
    """``layer`` with what its view now has; width, fraction length and encoding of weights stay.

    `PenjingError` where the encoding cannot hold them.
    """
    raise PenjingError(f"layer {layer.name}: {layer.kind} cannot lose channels")


@with_kernel.register(ir.Convolution)
@with_kernel.register(ir.TransposedConvolution)
def _(layer: ir.Convolution | ir.TransposedConvolution, weights: Integers, bias: Integers,
      groups: int) -> ir.MultiplyAccumulate:
    return replace(layer, weights=replace(layer.weights, values=weights), bias=bias,
                   groups=groups)


@with_kernel.register
def _(layer: ir.Depthwise, weights: Integers, bias: Integers, groups: int) -> ir.Depthwise:
    return replace(layer, weights=replace(layer.weights, values=weights[..., 0]), bias=bias)


@with_kernel.register
def _(layer: ir.Dense, weights: Integers, bias: Integers, groups: int) -> ir.Dense:
    return replace(layer, weights=replace(layer.weights, values=weights[:, 0, 0]), bias=bias)
