"""A float network: what the loaders of trained networks put out and quantizers read.

Its layers read each other by name, in any acyclic order. Maps are (N, H, W, C) float64. Batch norm
is already folded into the layer before it, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch

import numpy as np

from ..ir import MAX_ELEMENTS, PenjingError, TailFunction
from ..ir.tensor import require
from .float_kernels import (
    Floats,
    Pair,
    convolution,
    dense,
    max_pool,
    transposed,
    window_sum,
)
from .float_layers import (
    FloatAdd,
    FloatArgMax,
    FloatAveragePool,
    FloatClamp,
    FloatConcatenation,
    FloatConvolution,
    FloatCrop,
    FloatDense,
    FloatFlatten,
    FloatLayer,
    FloatMaxPool,
    FloatMultiply,
    FloatPad,
    FloatPermutation,
    FloatProduct,
    FloatRepeat,
    FloatReshape,
    FloatSlice,
    FloatSubtract,
    FloatTransposed,
    FloatUnary,
    FloatUpsample,
    FloatZeros,
    Shape,
    output_shape,
)

__all__ = ["INPUT", "FloatAdd", "FloatArgMax", "FloatAveragePool", "FloatClamp",
           "FloatConcatenation", "FloatConvolution", "FloatCrop", "FloatDense", "FloatFlatten",
           "FloatLayer", "FloatMaxPool", "FloatMultiply", "FloatNetwork", "FloatPad",
           "FloatPermutation", "FloatProduct", "FloatRepeat", "FloatReshape", "FloatSlice",
           "FloatSubtract", "FloatTransposed", "FloatUnary", "FloatUpsample", "FloatZeros",
           "Floats", "Pair", "Shape", "convolution", "counts", "dense", "execute", "max_pool",
           "output_shape", "run", "run_all", "transposed", "window_sum"]

INPUT = "input"
"""The name of a network's input; no layer may have it."""


@dataclass(frozen=True)
class FloatNetwork:
    """Float layers on maps of ``input_shape`` (H, W, C); a vector is (1, 1, F).

    Each layer comes behind those that it reads. The last one is the output; every other is read.
    ``function`` is what the host makes of it. ``channels_last`` tells that the channels are the
    last axis in the output of the program that it came from too.
    """

    input_shape: Shape
    layers: tuple[FloatLayer, ...]
    function: TailFunction = TailFunction.NONE
    channels_last: bool = False

    def __post_init__(self) -> None:
        require(len(self.input_shape) == 3 and min(self.input_shape) >= 1,
                f"network: the input must have shape (H, W, C), not {self.input_shape}")
        require(self.layers, "network: it has no layers")
        before = [INPUT, *(layer.name for layer in self.layers)]
        object.__setattr__(self, "layers", tuple(
            layer if layer.inputs else replace(layer, inputs=(name,))
            for name, layer in zip(before, self.layers, strict=False)))
        shapes = {INPUT: self.input_shape}
        for layer in self.layers:
            require(layer.name not in shapes, f"layer {layer.name}: its name is used twice")
            unknown = [name for name in layer.inputs if name not in shapes]
            require(not unknown, f"layer {layer.name}: it reads {', '.join(unknown)}, which no "
                                  f"layer before it puts out")
            shape = output_shape(layer, *(shapes[name] for name in layer.inputs))
            require(shape[0] * shape[1] * shape[2] <= MAX_ELEMENTS,
                    f"layer {layer.name}: its output of shape {shape} has more than "
                    f"{MAX_ELEMENTS} elements; use smaller maps")
            shapes[layer.name] = shape
        unread = set(shapes) - set(self.readers) - {self.output, INPUT}
        require(not unread, f"layer {', '.join(sorted(unread))}: nothing reads it; remove it")

    @property
    def output(self) -> str:
        """The name of the last layer."""
        return self.layers[-1].name

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every layer's output, by name."""
        shapes = {INPUT: self.input_shape}
        for layer in self.layers:
            shapes[layer.name] = output_shape(layer, *(shapes[name] for name in layer.inputs))
        return shapes

    @cached_property
    def readers(self) -> dict[str, list[FloatLayer]]:
        """The layers that read each tensor, by its name; a layer twice if it does so twice."""
        readers: dict[str, list[FloatLayer]] = {}
        for layer in self.layers:
            for name in layer.inputs:
                readers.setdefault(name, []).append(layer)
        return readers


# --- values
@singledispatch
def execute(layer: FloatLayer, *x: Floats) -> Floats:
    """``layer``'s output for ``x`` (N, H, W, C) each."""
    raise PenjingError(f"layer {layer.name}: unknown layer {type(layer).__name__}")


@execute.register
def _(layer: FloatConvolution, x: Floats) -> Floats:
    return convolution(x, layer.weights, layer.bias, layer.stride, layer.padding, layer.groups)


@execute.register
def _(layer: FloatTransposed, x: Floats) -> Floats:
    return transposed(x, layer.weights, layer.bias, layer.stride, layer.crop, layer.groups)


@execute.register
def _(layer: FloatDense, x: Floats) -> Floats:
    return dense(x, layer.weights, layer.bias)


@execute.register
def _(layer: FloatClamp, x: Floats) -> Floats:
    return np.clip(x, layer.minimum, layer.maximum)


@execute.register
def _(layer: FloatUnary, x: Floats) -> Floats:
    return layer(x)


@execute.register
def _(layer: FloatMaxPool, x: Floats) -> Floats:
    return max_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: FloatAveragePool, x: Floats) -> Floats:
    return window_sum(x, layer.kernel, layer.stride, layer.padding) / counts(layer, x.shape)


def counts(layer: FloatAveragePool, shape: Sequence[int]) -> Floats:
    """What each window of a map of ``shape`` (N, H, W, C) is divided by, (1, H', W', 1)."""
    inside = np.ones((1, *shape[1:3], 1))
    counted = window_sum(inside, layer.kernel, layer.stride, layer.padding)
    if layer.count_padding:
        return np.full_like(counted, layer.kernel[0] * layer.kernel[1])
    return counted


@execute.register
def _(layer: FloatFlatten, x: Floats) -> Floats:
    return x.reshape(len(x), 1, 1, -1)


@execute.register
def _(layer: FloatReshape, x: Floats) -> Floats:
    return x.reshape(len(x), *layer.shape)


@execute.register
def _(layer: FloatPad, x: Floats) -> Floats:
    top, bottom, left, right = layer.padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


@execute.register
def _(layer: FloatPermutation, x: Floats) -> Floats:
    return x[..., list(layer.order)]


@execute.register
def _(layer: FloatAdd, x: Floats, other: Floats) -> Floats:
    return x + other


@execute.register
def _(layer: FloatSubtract, x: Floats, other: Floats) -> Floats:
    return x - other


@execute.register
def _(layer: FloatProduct, x: Floats, other: Floats) -> Floats:
    return x * other


@execute.register
def _(layer: FloatConcatenation, *x: Floats) -> Floats:
    return np.concatenate(x, -1)


@execute.register
def _(layer: FloatSlice, x: Floats) -> Floats:
    return x[..., layer.start:layer.stop]


@execute.register
def _(layer: FloatCrop, x: Floats) -> Floats:
    return x[:, slice(*layer.rows), slice(*layer.columns)]


@execute.register
def _(layer: FloatUpsample, x: Floats) -> Floats:
    return x.repeat(layer.factors[0], 1).repeat(layer.factors[1], 2)


@execute.register
def _(layer: FloatRepeat, x: Floats) -> Floats:
    return x.repeat(layer.times, -1)


@execute.register
def _(layer: FloatZeros, x: Floats) -> Floats:
    return np.zeros_like(x)


@execute.register
def _(layer: FloatArgMax, x: Floats) -> Floats:
    return np.asarray(x.argmax(-1)[..., None], np.float64)


def run_all(network: FloatNetwork, x: Floats) -> dict[str, Floats]:
    """Every tensor of ``network`` by name, the input too, for real values ``x`` (N, H, W, C)."""
    require(x.ndim == 4 and x.shape[1:] == network.input_shape and len(x),
            f"input: the network takes (N, H, W, C) with {network.input_shape}, not an array of "
            f"shape {x.shape}")
    tensors = {INPUT: x.astype(np.float64)}
    for layer in network.layers:
        tensors[layer.name] = execute(layer, *(tensors[name] for name in layer.inputs))
    return tensors


def run(network: FloatNetwork, x: Floats) -> Floats:
    """The output of ``network`` for real values ``x`` (N, H, W, C)."""
    return run_all(network, x)[network.output]
