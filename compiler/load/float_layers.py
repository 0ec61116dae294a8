"""The layers of a float network, and the shapes of what they put out.

Every class validates itself on construction; a `PenjingError` names the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from ..ir import PenjingError
from ..ir.tensor import require
from .float_kernels import Floats, Pair
from .padding import Padding, fits
from .unary import Unary

Shape: TypeAlias = tuple[int, int, int]

_MOST = 4096


@dataclass(frozen=True)
class FloatLayer:
    """One operation; ``name`` becomes the layer's name in the integer network.

    ``inputs`` names what it reads: layers, or the network's `INPUT`. Where it is left out, a
    network fills in the layer before.
    """

    name: str
    inputs: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, eq=False)
class FloatMultiply(FloatLayer):
    """A layer with ``weights``, the outputs first, and a ``bias`` (outputs,)."""

    weights: Floats
    bias: Floats

    def __post_init__(self) -> None:
        for what, value in (("weights", self.weights), ("bias", self.bias)):
            require(isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size,
                    f"layer {self.name}: {what} must be a float array that is not empty")
            require(np.isfinite(value).all(),
                    f"layer {self.name}: its {what} hold NaN or infinite values; train it again "
                    f"or repair them")
            array = value.astype(np.float64)
            array.setflags(write=False)
            object.__setattr__(self, what, array)
        require(self.bias.shape == self.weights.shape[:1],
                f"layer {self.name}: bias must have shape {self.weights.shape[:1]}, "
                f"not {self.bias.shape}")


@dataclass(frozen=True, eq=False)
class FloatConvolution(FloatMultiply):
    """Convolution: ``weights`` (outputs, kernel height, kernel width, inputs / groups).

    ``bias`` is (outputs,), ``stride`` (y, x), ``padding`` zeros at (top, bottom, left, right). Each
    of ``groups`` equal runs of outputs reads its own run of inputs.
    """

    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kernel(self)
        _check_sliding(self.name, self.kernel, self.stride, self.padding)

    @property
    def kernel(self) -> Pair:
        """Kernel (height, width)."""
        return self.weights.shape[1], self.weights.shape[2]


@dataclass(frozen=True, eq=False)
class FloatTransposed(FloatMultiply):
    """Transposed convolution: ``weights`` (outputs, kernel height, kernel width, inputs / groups).

    Of ``stride * (size - 1) + kernel`` rows and columns, ``crop`` (top, bottom, left, right) are
    left off; negative ones at the bottom and at the right are put on.
    """

    stride: Pair = (1, 1)
    crop: Padding = (0, 0, 0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kernel(self)
        for what, values, low in (("stride", self.stride, 1), ("crop", self.crop[::2], 0),
                                  ("crop", self.crop[1::2], -_MOST)):
            require(all(low <= value <= _MOST for value in values),
                    f"layer {self.name}: {what} must lie within {low} and {_MOST}, not {values}")


@dataclass(frozen=True, eq=False)
class FloatDense(FloatMultiply):
    """Matrix times vector: ``weights`` (outputs, inputs) on a map of shape (1, 1, inputs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weights.ndim == 2,
                f"layer {self.name}: weights must be (outputs, inputs), not {self.weights.shape}")


@dataclass(frozen=True)
class FloatClamp(FloatLayer):
    """``min(max(x, minimum), maximum)``: 0 and infinity of a ReLU, 0 and 6 of a ReLU6."""

    minimum: float = -math.inf
    maximum: float = math.inf

    def __post_init__(self) -> None:
        require(self.minimum < self.maximum,
                f"layer {self.name}: its minimum {self.minimum!r} must be below its maximum "
                f"{self.maximum!r}")


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
    """Mean over each window; padding counts as zeros, or without ``count_padding`` not at all."""

    count_padding: bool = True


@dataclass(frozen=True)
class FloatFlatten(FloatLayer):
    """(H, W, C) to (1, 1, H·W·C), in raster order."""


@dataclass(frozen=True)
class FloatReshape(FloatLayer):
    """(H, W, C) to another ``shape`` of as many elements, in raster order."""

    shape: Shape


@dataclass(frozen=True)
class FloatPad(FloatLayer):
    """Zeros around a map: ``padding`` (top, bottom, left, right)."""

    padding: Padding


@dataclass(frozen=True, eq=False)
class FloatUnary(FloatLayer):
    """``function(gain * x)`` of each element.

    ``parameter`` (1,) or (C,) is what the function needs besides, if anything.
    """

    function: Unary
    parameter: Floats | None = None
    gain: float = 1.0

    def __post_init__(self) -> None:
        require((self.parameter is None) == (not self.function.takes_parameter),
                f"layer {self.name}: {self.function.value} takes another parameter")
        require(self.parameter is None or (self.parameter.ndim == 1 and self.parameter.size
                                           and np.isfinite(self.parameter).all()),
                f"layer {self.name}: its parameter holds NaN or infinite values; train it again")

    def __call__(self, x: Floats) -> Floats:
        """The function of reals ``x`` (..., C)."""
        return self.function(x * self.gain, self.parameter)


@dataclass(frozen=True)
class FloatAdd(FloatLayer):
    """The sum of two maps of one shape."""


@dataclass(frozen=True)
class FloatSubtract(FloatLayer):
    """The first of two maps of one shape less the second."""


@dataclass(frozen=True)
class FloatProduct(FloatLayer):
    """The product of two maps of one shape."""


@dataclass(frozen=True)
class FloatConcatenation(FloatLayer):
    """The channels of all its inputs, in their order."""


@dataclass(frozen=True)
class FloatSlice(FloatLayer):
    """The channels from ``start`` up to ``stop``."""

    start: int
    stop: int


@dataclass(frozen=True)
class FloatPermutation(FloatLayer):
    """The channels in another ``order``: that number ``order[n]`` becomes the n-th."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class FloatCrop(FloatLayer):
    """Some rows and columns: (start, stop, step) of each."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]


@dataclass(frozen=True)
class FloatUpsample(FloatLayer):
    """Every row and column repeated, ``factors`` (down, across) times."""

    factors: Pair


@dataclass(frozen=True)
class FloatRepeat(FloatLayer):
    """Each channel ``times`` times, next to each other."""

    times: int


@dataclass(frozen=True)
class FloatZeros(FloatLayer):
    """A map of zeros, of the shape of its input."""


@dataclass(frozen=True)
class FloatArgMax(FloatLayer):
    """Index of the largest channel at each position; the lowest index wins a tie."""


def _check_kernel(layer: FloatConvolution | FloatTransposed) -> None:
    require(layer.weights.ndim == 4,
            f"layer {layer.name}: weights must be (outputs, height, width, inputs), "
            f"not {layer.weights.shape}")
    require(layer.groups >= 1 and len(layer.bias) % layer.groups == 0,
            f"layer {layer.name}: groups must divide its {len(layer.bias)} outputs, not "
            f"{layer.groups!r}")


def _check_sliding(name: str, kernel: Pair, stride: Pair, padding: Padding) -> None:
    for what, values, low, high in (("kernel", kernel, 1, _MOST), ("stride", stride, 1, _MOST),
                                    ("padding", padding, 0, _MOST)):
        require(all(low <= value <= high for value in values),
                f"layer {name}: {what} must lie within {low} and {high}, not {values}")
    require(fits(padding, kernel),
            f"layer {name}: padding {padding} (top, bottom, left, right) must be smaller than "
            f"the kernel {kernel}; pad less or use a larger kernel")


# --- shapes
@singledispatch
def output_shape(layer: FloatLayer, *shapes: Shape) -> Shape:
    """Shape of ``layer``'s output for inputs of ``shapes``; checks that all fit."""
    raise PenjingError(f"layer {layer.name}: unknown layer {type(layer).__name__}")


@output_shape.register
def _(layer: FloatConvolution, shape: Shape) -> Shape:
    _check_channels(layer, shape)
    return (*_window_counts(layer, shape), layer.weights.shape[0])


@output_shape.register
def _(layer: FloatTransposed, shape: Shape) -> Shape:
    _check_channels(layer, shape)
    outputs, height, width, _ = layer.weights.shape
    top, bottom, left, right = layer.crop
    size = (layer.stride[0] * (shape[0] - 1) + height - top - bottom,
            layer.stride[1] * (shape[1] - 1) + width - left - right)
    require(min(size) > 0,
            f"layer {layer.name}: crop {layer.crop} leaves nothing of its output; pad less")
    return (*size, outputs)


def _check_channels(layer: FloatConvolution | FloatTransposed, shape: Shape) -> None:
    inputs = layer.weights.shape[3] * layer.groups
    require(inputs == shape[2],
            f"layer {layer.name}: weights take {inputs} channels, its input has {shape[2]}")


@output_shape.register
def _(layer: FloatDense, shape: Shape) -> Shape:
    require(shape == (1, 1, layer.weights.shape[1]),
            f"layer {layer.name}: weights take {layer.weights.shape[1]} inputs, its input has "
            f"shape {shape}; flatten it or mend the weights")
    return (1, 1, layer.weights.shape[0])


@output_shape.register(FloatClamp)
@output_shape.register(FloatZeros)
def _(layer: FloatLayer, shape: Shape) -> Shape:
    return shape


@output_shape.register
def _(layer: FloatUnary, shape: Shape) -> Shape:
    require(layer.parameter is None or layer.parameter.size in (1, shape[2]),
            f"layer {layer.name}: it must have 1 parameter or one for each of {shape[2]} channels")
    return shape


@output_shape.register
def _(layer: _FloatPool, shape: Shape) -> Shape:
    return (*_window_counts(layer, shape), shape[2])


@output_shape.register
def _(layer: FloatFlatten, shape: Shape) -> Shape:
    return (1, 1, shape[0] * shape[1] * shape[2])


@output_shape.register
def _(layer: FloatReshape, shape: Shape) -> Shape:
    require(math.prod(layer.shape) == math.prod(shape),
            f"layer {layer.name}: its input of shape {shape} cannot become {layer.shape}")
    return layer.shape


@output_shape.register
def _(layer: FloatPad, shape: Shape) -> Shape:
    top, bottom, left, right = layer.padding
    require(min(layer.padding) >= 0 and max(layer.padding) <= _MOST,
            f"layer {layer.name}: padding must lie within 0 and {_MOST}, not {layer.padding}")
    return shape[0] + top + bottom, shape[1] + left + right, shape[2]


@output_shape.register(FloatAdd)
@output_shape.register(FloatSubtract)
@output_shape.register(FloatProduct)
def _(layer: FloatLayer, shape: Shape, other: Shape) -> Shape:
    require(shape == other, f"layer {layer.name}: its inputs have shapes {shape} and {other}, "
                             f"which must be equal")
    return shape


@output_shape.register
def _(layer: FloatConcatenation, *shapes: Shape) -> Shape:
    require(len({shape[:2] for shape in shapes}) == 1,
            f"layer {layer.name}: its inputs differ in height or width")
    return (*shapes[0][:2], sum(shape[2] for shape in shapes))


@output_shape.register
def _(layer: FloatSlice, shape: Shape) -> Shape:
    require(0 <= layer.start < layer.stop <= shape[2],
            f"layer {layer.name}: it takes channels {layer.start} to {layer.stop} of {shape[2]}")
    return (*shape[:2], layer.stop - layer.start)


@output_shape.register
def _(layer: FloatPermutation, shape: Shape) -> Shape:
    require(sorted(layer.order) == list(range(shape[2])),
            f"layer {layer.name}: its order is not one of {shape[2]} channels")
    return shape


@output_shape.register
def _(layer: FloatUpsample, shape: Shape) -> Shape:
    return shape[0] * layer.factors[0], shape[1] * layer.factors[1], shape[2]


@output_shape.register
def _(layer: FloatRepeat, shape: Shape) -> Shape:
    return *shape[:2], shape[2] * layer.times


@output_shape.register
def _(layer: FloatCrop, shape: Shape) -> Shape:
    sizes = []
    for size, (start, stop, step) in zip(shape, (layer.rows, layer.columns), strict=False):
        require(0 <= start < stop <= size and step >= 1,
                f"layer {layer.name}: it takes {start} to {stop} by {step} of {size}")
        sizes.append(len(range(start, stop, step)))
    return sizes[0], sizes[1], shape[2]


@output_shape.register
def _(layer: FloatArgMax, shape: Shape) -> Shape:
    return (*shape[:2], 1)


def _window_counts(layer: FloatConvolution | _FloatPool, shape: Shape) -> Pair:
    top, bottom, left, right = layer.padding
    rooms = (shape[0] + top + bottom - layer.kernel[0], shape[1] + left + right - layer.kernel[1])
    require(min(rooms) >= 0, f"layer {layer.name}: kernel {layer.kernel} with padding "
                              f"{layer.padding} exceeds its input of shape {shape}")
    return rooms[0] // layer.stride[0] + 1, rooms[1] // layer.stride[1] + 1
