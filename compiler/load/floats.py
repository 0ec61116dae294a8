"""A sequential float network: what the loaders of trained networks put out and quantizers read.

Maps are (N, H, W, C) float64. Batch norm is already folded into the layer before it. Every class
validates itself on construction; a `PenjingError` names the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir import MAX_ELEMENTS, PenjingError

Floats: TypeAlias = NDArray[np.float64]
Shape: TypeAlias = tuple[int, int, int]
Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[int, int, int, int]

INPUT = "input"
"""The name of a network's input; no layer may have it."""

_MOST = 4096
_COLUMNS = 1 << 23
"""Elements of unrolled windows held at once (64 MiB)."""


def _require(condition: object, message: str) -> None:
    if not condition:
        raise PenjingError(message)


@dataclass(frozen=True)
class FloatLayer:
    """One operation of a chain; ``name`` becomes the layer's name in the integer network."""

    name: str


@dataclass(frozen=True, eq=False)
class _FloatMultiply(FloatLayer):
    weights: Floats
    bias: Floats

    def __post_init__(self) -> None:
        for what, value in (("weights", self.weights), ("bias", self.bias)):
            _require(isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size,
                     f"layer {self.name}: {what} must be a float array that is not empty")
            _require(np.isfinite(value).all(),
                     f"layer {self.name}: its {what} hold NaN or infinite values; train it again "
                     f"or repair them")
            array = value.astype(np.float64)
            array.setflags(write=False)
            object.__setattr__(self, what, array)
        _require(self.bias.shape == self.weights.shape[:1],
                 f"layer {self.name}: bias must have shape {self.weights.shape[:1]}, "
                 f"not {self.bias.shape}")


@dataclass(frozen=True, eq=False)
class FloatConvolution(_FloatMultiply):
    """Convolution: ``weights`` (outputs, kernel height, kernel width, inputs), ``bias`` (outputs,).

    ``stride`` is (y, x), ``padding`` zeros at (top, bottom, left, right).
    """

    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.weights.ndim == 4, f"layer {self.name}: weights must be (outputs, height, "
                                         f"width, inputs), not {self.weights.shape}")
        _check_sliding(self.name, self.kernel, self.stride, self.padding)

    @property
    def kernel(self) -> Pair:
        """Kernel (height, width)."""
        return self.weights.shape[1], self.weights.shape[2]


@dataclass(frozen=True, eq=False)
class FloatDense(_FloatMultiply):
    """Matrix times vector: ``weights`` (outputs, inputs) on a map of shape (1, 1, inputs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.weights.ndim == 2,
                 f"layer {self.name}: weights must be (outputs, inputs), not {self.weights.shape}")


@dataclass(frozen=True)
class FloatRelu(FloatLayer):
    """``max(x, 0)``, and no more than ``maximum`` where there is one (6 for a ReLU6)."""

    maximum: float | None = None

    def __post_init__(self) -> None:
        _require(self.maximum is None or 0 < self.maximum < float("inf"),
                 f"layer {self.name}: the maximum must be positive, not {self.maximum!r}")


@dataclass(frozen=True)
class _FloatPool(FloatLayer):
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        _check_sliding(self.name, self.kernel, self.stride, self.padding)


@dataclass(frozen=True)
class FloatMaxPool(_FloatPool):
    """Maximum over each window; padding never wins."""


@dataclass(frozen=True)
class FloatAveragePool(_FloatPool):
    """Mean over each window; padding counts as zeros, so the divisor is the kernel's area."""


@dataclass(frozen=True)
class FloatFlatten(FloatLayer):
    """(H, W, C) to (1, 1, H·W·C), in raster order."""


@dataclass(frozen=True)
class FloatArgMax(FloatLayer):
    """Index of the largest channel at each position; the lowest index wins a tie."""


def _check_sliding(name: str, kernel: Pair, stride: Pair, padding: Padding) -> None:
    for what, values, low, high in (("kernel", kernel, 1, _MOST), ("stride", stride, 1, _MOST),
                                    ("padding", padding, 0, _MOST)):
        _require(all(low <= value <= high for value in values),
                 f"layer {name}: {what} must lie within {low} and {high}, not {values}")
    top, bottom, left, right = padding
    _require(max(top, bottom) < kernel[0] and max(left, right) < kernel[1],
             f"layer {name}: padding {padding} (top, bottom, left, right) must be smaller than "
             f"the kernel {kernel}; pad less or use a larger kernel")


@singledispatch
def output_shape(layer: FloatLayer, shape: Shape) -> Shape:
    """Shape of ``layer``'s output for an input of ``shape``; checks that the two fit."""
    raise PenjingError(f"layer {layer.name}: unknown layer {type(layer).__name__}")


@output_shape.register
def _(layer: FloatConvolution, shape: Shape) -> Shape:
    _require(layer.weights.shape[3] == shape[2],
             f"layer {layer.name}: weights take {layer.weights.shape[3]} channels, its input has "
             f"{shape[2]}")
    return (*_window_counts(layer, shape), layer.weights.shape[0])


@output_shape.register
def _(layer: FloatDense, shape: Shape) -> Shape:
    _require(shape == (1, 1, layer.weights.shape[1]),
             f"layer {layer.name}: weights take {layer.weights.shape[1]} inputs, its input has "
             f"shape {shape}; flatten it or mend the weights")
    return (1, 1, layer.weights.shape[0])


@output_shape.register
def _(layer: FloatRelu, shape: Shape) -> Shape:
    return shape


@output_shape.register
def _(layer: _FloatPool, shape: Shape) -> Shape:
    return (*_window_counts(layer, shape), shape[2])


@output_shape.register
def _(layer: FloatFlatten, shape: Shape) -> Shape:
    return (1, 1, shape[0] * shape[1] * shape[2])


@output_shape.register
def _(layer: FloatArgMax, shape: Shape) -> Shape:
    return (*shape[:2], 1)


def _window_counts(layer: FloatConvolution | _FloatPool, shape: Shape) -> Pair:
    top, bottom, left, right = layer.padding
    rooms = (shape[0] + top + bottom - layer.kernel[0], shape[1] + left + right - layer.kernel[1])
    _require(min(rooms) >= 0, f"layer {layer.name}: kernel {layer.kernel} with padding "
                              f"{layer.padding} exceeds its input of shape {shape}")
    return rooms[0] // layer.stride[0] + 1, rooms[1] // layer.stride[1] + 1


@dataclass(frozen=True)
class FloatNetwork:
    """A chain of float layers on maps of ``input_shape`` (H, W, C); a vector is (1, 1, F)."""

    input_shape: Shape
    layers: tuple[FloatLayer, ...]

    def __post_init__(self) -> None:
        _require(len(self.input_shape) == 3 and min(self.input_shape) >= 1,
                 f"network: the input must have shape (H, W, C), not {self.input_shape}")
        _require(self.layers, "network: it has no layers")
        names = [INPUT, *(layer.name for layer in self.layers)]
        shape = self.input_shape
        for index, layer in enumerate(self.layers, 1):
            _require(layer.name not in names[:index], f"layer {layer.name}: its name is used twice")
            shape = output_shape(layer, shape)
            _require(shape[0] * shape[1] * shape[2] <= MAX_ELEMENTS,
                     f"layer {layer.name}: its output of shape {shape} has more than "
                     f"{MAX_ELEMENTS} elements; use smaller maps")

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every layer's output, by name."""
        shapes, shape = {INPUT: self.input_shape}, self.input_shape
        for layer in self.layers:
            shapes[layer.name] = shape = output_shape(layer, shape)
        return shapes


def convolution(x: Floats, weights: Floats, bias: Floats, stride: Pair, padding: Padding) -> Floats:
    """``bias + sum(w * x)`` over each window; exact on integers while the sums stay below 2**53."""
    outputs, height, width, _ = weights.shape
    kernel = np.ascontiguousarray(weights.transpose(3, 1, 2, 0).reshape(-1, outputs))
    parts = []
    step = max(1, _COLUMNS // (x[0].size * height * width))
    for start in range(0, len(x), step):
        padded = _padded(x[start:start + step], padding, 0.0)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        windows = windows[:, :: stride[0], :: stride[1]]
        columns = windows.reshape(-1, kernel.shape[0])
        parts.append((columns @ kernel + bias).reshape(*windows.shape[:3], outputs))
    return np.concatenate(parts)


def dense(x: Floats, weights: Floats, bias: Floats) -> Floats:
    """``bias + weights @ x`` for ``x`` (N, 1, 1, inputs)."""
    return (x.reshape(len(x), -1) @ weights.T + bias).reshape(len(x), 1, 1, -1)


def max_pool(x: Floats, kernel: Pair, stride: Pair, padding: Padding) -> Floats:
    """Maximum over each window; padding never wins."""
    steps = _taps(_padded(x, padding, -np.inf), kernel, stride)
    best = next(steps).copy()
    for tap in steps:
        np.maximum(best, tap, out=best)
    return best


def window_sum(x: Floats, kernel: Pair, stride: Pair, padding: Padding) -> Floats:
    """Sum over each window of the zero-padded map."""
    steps = _taps(_padded(x, padding, 0.0), kernel, stride)
    total = next(steps).copy()
    for tap in steps:
        total += tap
    return total


def _padded(x: Floats, padding: Padding, fill: float) -> Floats:
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)


def _taps(padded: Floats, kernel: Pair, stride: Pair) -> Iterator[Floats]:
    """The map as each position of the kernel sees it."""
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            yield padded[:, y:padded.shape[1] - kernel[0] + y + 1:stride[0],
                         x:padded.shape[2] - kernel[1] + x + 1:stride[1]]


@singledispatch
def execute(layer: FloatLayer, x: Floats) -> Floats:
    """``layer``'s output for ``x`` (N, H, W, C)."""
    raise PenjingError(f"layer {layer.name}: unknown layer {type(layer).__name__}")


@execute.register
def _(layer: FloatConvolution, x: Floats) -> Floats:
    return convolution(x, layer.weights, layer.bias, layer.stride, layer.padding)


@execute.register
def _(layer: FloatDense, x: Floats) -> Floats:
    return dense(x, layer.weights, layer.bias)


@execute.register
def _(layer: FloatRelu, x: Floats) -> Floats:
    return np.clip(x, 0.0, layer.maximum)


@execute.register
def _(layer: FloatMaxPool, x: Floats) -> Floats:
    return max_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: FloatAveragePool, x: Floats) -> Floats:
    total = window_sum(x, layer.kernel, layer.stride, layer.padding)
    return total / (layer.kernel[0] * layer.kernel[1])


@execute.register
def _(layer: FloatFlatten, x: Floats) -> Floats:
    return x.reshape(len(x), 1, 1, -1)


@execute.register
def _(layer: FloatArgMax, x: Floats) -> Floats:
    return np.asarray(x.argmax(-1)[..., None], np.float64)


def run_all(network: FloatNetwork, x: Floats) -> dict[str, Floats]:
    """Every tensor of ``network`` by name, the input too, for real values ``x`` (N, H, W, C)."""
    _require(x.ndim == 4 and x.shape[1:] == network.input_shape and len(x),
             f"input: the network takes (N, H, W, C) with {network.input_shape}, not an array of "
             f"shape {x.shape}")
    tensors = {INPUT: x.astype(np.float64)}
    value = tensors[INPUT]
    for layer in network.layers:
        tensors[layer.name] = value = execute(layer, value)
    return tensors


def run(network: FloatNetwork, x: Floats) -> Floats:
    """The output of ``network`` for real values ``x`` (N, H, W, C)."""
    return run_all(network, x)[network.layers[-1].name]
