"""The integer network: the single source of truth of what is computed.

A network is a graph of integer operations in topological order. Tensors are integers with a
shape (H, W, C), a width, a sign and a fraction length (``real = q * 2**-fraction``). Every class
validates itself on construction, so a `Network` that exists is one that the golden model, the
schedule and the hardware can rely on. The meaning of each operation is defined once, by a function
of `penjing.sim.golden`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, singledispatch
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.int64]

MAX_BITS = 48
"""The widest accumulator that any layer may need."""
MAX_ELEMENTS = 1 << 24
"""The most elements that one tensor, weight array or kernel may hold."""
MAX_FRACTION = 64
"""The largest magnitude of a fraction length or a shift."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class PenjingError(ValueError):
    """Bad input: one line that names the thing, the reason and the way out."""


def _require(condition: object, message: str) -> None:
    if not condition:
        raise PenjingError(message)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_ints(owner: str, what: str, values: object, length: int, low: int, high: int) -> None:
    _require(
        isinstance(values, tuple)
        and len(values) == length
        and all(_is_int(v) and low <= v <= high for v in values),
        f"{owner}: {what} must be {length} integers from {low} to {high}, not {values!r}",
    )


def signed_bits(low: int, high: int) -> int:
    """Width of the narrowest two's complement integer that holds ``low`` and ``high``."""
    return max(low.bit_length() if low >= 0 else (~low).bit_length(),
               high.bit_length() if high >= 0 else (~high).bit_length()) + 1


def unsigned_bits(high: int) -> int:
    """Width of the narrowest unsigned integer that holds ``high``; at least 1."""
    return max(1, high.bit_length())


@dataclass(frozen=True)
class TensorType:
    """What a tensor's integers are.

    Parameters: ``shape`` is (H, W, C), a vector is (1, 1, C); ``bits`` is 1 to 48; ``fraction`` is
    the fraction length f of ``real = q * 2**-f``, which may be negative or exceed the width.
    """

    shape: tuple[int, int, int]
    bits: int
    signed: bool
    fraction: int = 0

    def __post_init__(self) -> None:
        _require_ints("tensor", "shape", self.shape, 3, 1, MAX_ELEMENTS)
        _require(self.elements <= MAX_ELEMENTS,
                 f"tensor: shape {self.shape} has {self.elements} elements, more than "
                 f"{MAX_ELEMENTS}")
        _require(_is_int(self.bits) and 1 <= self.bits <= MAX_BITS,
                 f"tensor: bits must be an integer from 1 to {MAX_BITS}, not {self.bits!r}")
        _require(isinstance(self.signed, bool),
                 f"tensor: signed must be a bool, not {self.signed!r}")
        _require(_is_int(self.fraction) and abs(self.fraction) <= MAX_FRACTION,
                 f"tensor: fraction must be an integer within ±{MAX_FRACTION}, "
                 f"not {self.fraction!r}")

    @property
    def elements(self) -> int:
        """Elements of one frame."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def low(self) -> int:
        """The smallest value of this type."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value of this type."""
        return (1 << self.bits - self.signed) - 1


@dataclass(frozen=True, eq=False)
class Weights:
    """Trained integers of a multiply-accumulate layer, dense two's complement.

    ``values`` is an integer array (made int64 and read-only), each within ``bits`` (2 to 16);
    ``fraction`` is their fraction length. How hardware stores them never changes a result.
    """

    values: Integers
    bits: int
    fraction: int = 0

    def __post_init__(self) -> None:
        _require(_is_int(self.bits) and 2 <= self.bits <= 16,
                 f"weights: bits must be an integer from 2 to 16, not {self.bits!r}")
        _require(_is_int(self.fraction) and abs(self.fraction) <= MAX_FRACTION,
                 f"weights: fraction must be an integer within ±{MAX_FRACTION}, "
                 f"not {self.fraction!r}")
        low, high = -(1 << self.bits - 1), (1 << self.bits - 1) - 1
        object.__setattr__(self, "values", _frozen_array("weights", self.values, low, high))

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Weights) and self.bits == other.bits
                and self.fraction == other.fraction
                and np.array_equal(self.values, other.values))


def _frozen_array(owner: str, values: object, low: int, high: int) -> Integers:
    _require(isinstance(values, np.ndarray) and values.dtype.kind in "iu",
             f"{owner}: values must be an integer array")
    assert isinstance(values, np.ndarray)
    _require(0 < values.size <= MAX_ELEMENTS,
             f"{owner}: {values.size} values; 1 to {MAX_ELEMENTS} are allowed")
    _require(values.min() >= low and values.max() <= high,
             f"{owner}: values must lie within {low} and {high}")
    array = values.astype(np.int64)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Layer:
    """One operation: ``name`` is the instance name in the Verilog, ``input`` names its source."""

    name: str
    input: str

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            _require(isinstance(value, str) and _NAME.fullmatch(value),
                     f"layer {self.name!r}: {what} must be letters, digits and underscores, start "
                     f"with a letter and have at most 64 characters, not {value!r}")

    @property
    def kind(self) -> str:
        """The operation's name in files and reports."""
        return type(self).__name__.lower()


@dataclass(frozen=True, eq=False)
class _MultiplyAccumulate(Layer):
    weights: Weights
    bias: Integers

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(isinstance(self.weights, Weights), f"layer {self.name}: weights must be Weights")
        _require(self.weights.values.ndim > 0, f"layer {self.name}: weights must be an array")
        limit = 1 << MAX_BITS - 2
        bias = _frozen_array(f"layer {self.name}: bias", self.bias, -limit, limit)
        object.__setattr__(self, "bias", bias)
        outputs = self.weights.values.shape[0]
        _require(bias.shape == (outputs,),
                 f"layer {self.name}: bias must have shape ({outputs},), not {bias.shape}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
                   for a, b in zip(vars(self).values(), vars(other).values(), strict=True))


@dataclass(frozen=True, eq=False)
class Convolution(_MultiplyAccumulate):
    """Two-dimensional convolution to exact accumulators.

    ``weights.values`` is (outputs, kernel height, kernel width, inputs), ``bias`` (outputs,) at the
    accumulator's fraction length, ``stride`` (y, x), ``padding`` zeros (top, bottom, left, right).
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.weights.values.ndim == 4,
                 f"layer {self.name}: weights must be (outputs, height, width, inputs), "
                 f"not {self.weights.values.shape}")
        _check_sliding(self.name, self.kernel, self.stride, self.padding)

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel (height, width)."""
        shape = self.weights.values.shape
        return shape[1], shape[2]


@dataclass(frozen=True, eq=False)
class Dense(_MultiplyAccumulate):
    """Matrix times vector to exact accumulators; ``weights.values`` is (outputs, inputs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.weights.values.ndim == 2,
                 f"layer {self.name}: weights must be (outputs, inputs), "
                 f"not {self.weights.values.shape}")


@dataclass(frozen=True)
class _Pool(Layer):
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ints(f"layer {self.name}", "kernel", self.kernel, 2, 1, 4096)
        _check_sliding(self.name, self.kernel, self.stride, self.padding)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Maximum over each window; padding never wins."""


@dataclass(frozen=True)
class AveragePool(_Pool):
    """``floor(sum / area + 1/2)`` over each window; padding counts as zeros.

    The mean of a window lies between its values, so the type is that of the input. A global
    average is the case in which the kernel is the map.
    """


@dataclass(frozen=True)
class ShiftRequantize(Layer):
    """``clamp((x + 2**(shift-1)) >> shift, low, high)``; a shift of 0 or less is exact, leftwards.

    ``bits``, ``signed`` give the output type; ``low`` and ``high`` default to its limits. A ReLU is
    the case ``low = 0``, a ReLU6 also bounds ``high``.
    """

    shift: int
    bits: int
    signed: bool
    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(_is_int(self.shift) and abs(self.shift) <= MAX_FRACTION,
                 f"layer {self.name}: shift must be an integer within ±{MAX_FRACTION}, "
                 f"not {self.shift!r}")
        limits = TensorType((1, 1, 1), self.bits, self.signed)
        low = limits.low if self.low is None else self.low
        high = limits.high if self.high is None else self.high
        _check_bounds(self.name, low, high, limits.low, limits.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        assert self.low is not None and self.high is not None
        return self.low, self.high


@dataclass(frozen=True)
class Clamp(Layer):
    """``min(max(x, low), high)``, in the narrowest type that holds both bounds."""

    low: int
    high: int

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = 1 << MAX_BITS - 1
        _check_bounds(self.name, self.low, self.high, -limit, limit - 1)

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        return self.low, self.high


@dataclass(frozen=True)
class Flatten(Layer):
    """(H, W, C) to (1, 1, H·W·C), in the same raster order."""


@dataclass(frozen=True)
class ArgMax(Layer):
    """Index of the largest channel at each position; the lowest index wins a tie."""


def _check_sliding(name: str, kernel: tuple[int, int], stride: object, padding: object) -> None:
    _require_ints(f"layer {name}", "stride", stride, 2, 1, 4096)
    _require_ints(f"layer {name}", "padding", padding, 4, 0, 4096)
    assert isinstance(padding, tuple)
    top, bottom, left, right = padding
    _require(max(top, bottom) < kernel[0] and max(left, right) < kernel[1],
             f"layer {name}: padding {padding} must be smaller than the kernel {kernel}")


def _check_bounds(name: str, low: object, high: object, least: int, most: int) -> None:
    _require(_is_int(low) and _is_int(high), f"layer {name}: bounds must be integers")
    assert isinstance(low, int) and isinstance(high, int)
    _require(least <= low <= high <= most,
             f"layer {name}: bounds ({low}, {high}) must be ordered and within ({least}, {most})")


def output_size(layer: Convolution | MaxPool | AveragePool,
                shape: tuple[int, int, int]) -> tuple[int, int]:
    """(height, width) of a sliding layer's output for an input ``shape``."""
    top, bottom, left, right = layer.padding
    sizes = []
    for size, kernel, stride, pads in zip(shape, layer.kernel, layer.stride,
                                          (top + bottom, left + right), strict=False):
        room = size + pads - kernel
        _require(room >= 0, f"layer {layer.name}: kernel {layer.kernel} with padding "
                            f"{layer.padding} exceeds its input of shape {shape}")
        sizes.append(room // stride + 1)
    return sizes[0], sizes[1]


@singledispatch
def output_type(layer: Layer, source: TensorType) -> TensorType:
    """Type of ``layer``'s output for an input of type ``source``; checks that the two fit."""
    raise PenjingError(f"layer {layer.name}: unknown layer kind {layer.kind}")


@output_type.register
def _(layer: Convolution, source: TensorType) -> TensorType:
    channels = layer.weights.values.shape[3]
    _require(channels == source.shape[2],
             f"layer {layer.name}: weights take {channels} channels, its input has "
             f"{source.shape[2]}")
    height, width = output_size(layer, source.shape)
    return _accumulator(layer, source, (height, width, layer.weights.values.shape[0]))


@output_type.register
def _(layer: Dense, source: TensorType) -> TensorType:
    outputs, inputs = layer.weights.values.shape
    _require(source.shape == (1, 1, inputs),
             f"layer {layer.name}: weights take {inputs} inputs, its input has shape "
             f"{source.shape}; put a Flatten before it or mend the weights")
    return _accumulator(layer, source, (1, 1, outputs))


def _accumulator(layer: Convolution | Dense, source: TensorType,
                 shape: tuple[int, int, int]) -> TensorType:
    """Exact accumulators: the width follows from the interval that the real weights span."""
    weights = layer.weights.values.reshape(len(layer.bias), -1)
    positive = np.maximum(weights, 0).sum(1)
    negative = np.minimum(weights, 0).sum(1)
    # Zero lies within every input type, so padding and partial sums stay inside the interval.
    low = int((positive * source.low + negative * source.high + layer.bias).min())
    high = int((positive * source.high + negative * source.low + layer.bias).max())
    bits = signed_bits(min(low, 0), max(high, 0))
    _require(bits <= MAX_BITS, f"layer {layer.name}: accumulators need {bits} bits, more than "
                               f"{MAX_BITS}; narrow the weights, the bias or the activations")
    return TensorType(shape, bits, True, source.fraction + layer.weights.fraction)


@output_type.register
def _(layer: _Pool, source: TensorType) -> TensorType:
    height, width = output_size(layer, source.shape)  # type: ignore[arg-type]
    return TensorType((height, width, source.shape[2]), source.bits, source.signed, source.fraction)


@output_type.register
def _(layer: ShiftRequantize, source: TensorType) -> TensorType:
    _require(source.bits - min(layer.shift, 0) <= 2 * MAX_BITS,
             f"layer {layer.name}: {source.bits} bits shifted left by {-layer.shift} are too wide; "
             "raise the shift")
    return TensorType(source.shape, layer.bits, layer.signed, source.fraction - layer.shift)


@output_type.register
def _(layer: Clamp, source: TensorType) -> TensorType:
    low, high = layer.bounds
    signed = low < 0
    bits = signed_bits(low, high) if signed else unsigned_bits(high)
    return TensorType(source.shape, bits, signed, source.fraction)


@output_type.register
def _(layer: Flatten, source: TensorType) -> TensorType:
    return TensorType((1, 1, source.elements), source.bits, source.signed, source.fraction)


@output_type.register
def _(layer: ArgMax, source: TensorType) -> TensorType:
    height, width, channels = source.shape
    return TensorType((height, width, 1), unsigned_bits(channels - 1), False)


@dataclass(frozen=True)
class Network:
    """A validated graph: the input's name and type, and the layers in topological order.

    Each layer reads the input or an earlier layer; the last layer is the output. `PenjingError`
    names the first layer that does not fit.
    """

    name: str
    input: str
    input_type: TensorType
    layers: tuple[Layer, ...]
    _types: dict[str, TensorType] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            _require(isinstance(value, str) and _NAME.fullmatch(value),
                     f"network: {what} must be an identifier, not {value!r}")
        _require(isinstance(self.layers, tuple) and self.layers, "network: it has no layers")
        types = {self.input: self.input_type}
        for layer in self.layers:
            _require(isinstance(layer, Layer), f"network: {layer!r} is not a layer")
            _require(layer.name not in types, f"layer {layer.name}: its name is used twice")
            _require(layer.input in types,
                     f"layer {layer.name}: its input {layer.input!r} is no earlier layer")
            types[layer.name] = output_type(layer, types[layer.input])
        object.__setattr__(self, "_types", types)

    def type_of(self, name: str) -> TensorType:
        """Type of the tensor that the input or layer ``name`` puts out."""
        return self._types[name]

    def source_type(self, layer: Layer) -> TensorType:
        """Type of the tensor that ``layer`` reads."""
        return self._types[layer.input]

    @property
    def output_type(self) -> TensorType:
        """Type of the network's output."""
        return self._types[self.layers[-1].name]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one frame, those on padding included."""
        return sum(layer_macs(self, layer) for layer in self.layers)


def layer_macs(network: Network, layer: Layer) -> int:
    """Multiply-accumulates of one frame in ``layer``; 0 where it has no weights."""
    if not isinstance(layer, Convolution | Dense):
        return 0
    height, width, _ = network.type_of(layer.name).shape
    return height * width * int(layer.weights.values.size)
