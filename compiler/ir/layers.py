"""What every layer is, and the layers that multiply by weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .encoding import Encoding, ValueEncoding
from .names import NAME
from .sparse import Sparse
from .sums import Sums
from .tensor import (
    MAX_BITS,
    Integers,
    PenjingError,
    TensorType,
    frozen_array,
    is_int,
    require,
    require_ints,
    signed_bits,
)
from .weights import Weights


@dataclass(frozen=True)
class Layer:
    """One operation: ``name`` is the instance name in the Verilog, ``input`` names its source.

    A layer checks its parameters on construction, and in `output_type` whether its sources fit.
    """

    name: str
    input: str

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            require(isinstance(value, str) and NAME.fullmatch(value),
                    f"layer {self.name!r}: {what} must be letters, digits and underscores, start "
                    f"with a letter and have at most 64 characters, not {value!r}")

    @property
    def kind(self) -> str:
        """The operation's name in files and reports."""
        return type(self).__name__.lower()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that it reads, `input` first; a layer may read any number."""
        return (self.input,)

    def output_type(self, *sources: TensorType) -> TensorType:
        """Type of its output, where ``sources`` are the types of its `inputs`, in their order.

        `PenjingError` if they do not fit the layer.
        """
        raise PenjingError(f"layer {self.name}: unknown layer kind {self.kind}")

    def macs(self, result: TensorType) -> int:
        """Multiply-accumulates of one frame, whose output is of the type ``result``.

        Those on padding count. A layer without weights has none.
        """
        return 0


def equal_fields(a: object, b: object) -> bool:
    """Equality of two layers, whose fields may be arrays."""
    return type(a) is type(b) and all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def holding(layer: Layer, shape: tuple[int, int, int], low: int, high: int,
            fraction: int) -> TensorType:
    """The narrowest signed type of ``low`` and ``high``."""
    bits = signed_bits(low, high)
    require(bits <= MAX_BITS, f"layer {layer.name}: its results need {bits} bits, more than "
                               f"{MAX_BITS}; narrow the weights, the bias or the activations")
    return TensorType(shape, bits, True, fraction)


def interval(weights: Integers, bias: Integers, source: TensorType) -> tuple[int, int]:
    """The least and the most that sums of ``weights`` (outputs, terms) and a ``bias`` (outputs,)
    can be, of elements of ``source``."""
    positive = np.maximum(weights, 0).sum(1)
    negative = np.minimum(weights, 0).sum(1)
    # Zero and the padding lie within the input type, so partial sums stay inside the interval.
    return (int((positive * source.low + negative * source.high + bias).min()),
            int((positive * source.high + negative * source.low + bias).max()))


def require_groups(layer: MultiplyAccumulate, groups: int) -> None:
    """Require that ``groups`` divide the outputs of ``layer``."""
    require(is_int(groups) and groups >= 1 and len(layer.bias) % groups == 0,
            f"layer {layer.name}: groups must be an integer that divides its {len(layer.bias)} "
            f"outputs, not {groups!r}")


def require_encoding(layer: MultiplyAccumulate, what: str,
                     kinds: tuple[type[Encoding], ...]) -> None:
    """Require that weights of the ``layer``, which is ``what``, have an encoding of these kinds."""
    encoding = layer.weights.encoding
    require(isinstance(encoding, kinds),
            f"layer {layer.name}: weights of {what} cannot have the encoding {encoding.name}; "
            "store them plain or by a codebook")


def require_value(layer: Layer, what: str, value: int, source: TensorType) -> None:
    """Require that ``value`` is one that ``source`` may have."""
    require(source.low <= value <= source.high,
            f"layer {layer.name}: {what} must lie within its input's {source.low} and "
            f"{source.high}, not {value}")


def require_sliding(name: str, kernel: tuple[int, int], stride: object, padding: object) -> None:
    """Require a ``stride`` (y, x) and a ``padding`` that each lie within a sliding ``kernel``."""
    require_ints(f"layer {name}", "stride", stride, 2, 1, 4096)
    require_ints(f"layer {name}", "padding", padding, 4, 0, 4096)
    assert isinstance(padding, tuple)
    top, bottom, left, right = padding
    require(max(top, bottom) < kernel[0] and max(left, right) < kernel[1],
            f"layer {name}: padding {padding} must be smaller than the kernel {kernel}")


def positions(layer: Layer, shape: tuple[int, int, int], kernel: tuple[int, int],
              stride: tuple[int, int], padding: tuple[int, int, int, int]) -> tuple[int, int]:
    """(height, width) of what a ``kernel`` sliding over a map of ``shape`` puts out."""
    top, bottom, left, right = padding
    sizes = []
    for size, taps, step, pads in zip(shape, kernel, stride, (top + bottom, left + right),
                                      strict=False):
        room = size + pads - taps
        require(room >= 0, f"layer {layer.name}: kernel {kernel} with padding {padding} exceeds "
                           f"its input of shape {shape}")
        sizes.append(room // step + 1)
    return sizes[0], sizes[1]


@dataclass(frozen=True, eq=False)
class MultiplyAccumulate(Layer):
    """What has ``weights`` and, for each output, a ``bias``; puts out exact accumulators.

    ``weights.values`` has the outputs first, ``bias`` (outputs,) is at the accumulator's fraction
    length, the sum of those of the input and the weights.
    """

    weights: Weights
    bias: Integers

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.weights, Weights), f"layer {self.name}: weights must be Weights")
        require(self.weights.values.ndim > 0, f"layer {self.name}: weights must be an array")
        limit = 1 << MAX_BITS - 2
        bias = frozen_array(f"layer {self.name}: bias", self.bias, -limit, limit)
        object.__setattr__(self, "bias", bias)
        outputs = self.weights.values.shape[0]
        require(bias.shape == (outputs,),
                f"layer {self.name}: bias must have shape ({outputs},), not {bias.shape}")

    __eq__ = equal_fields

    def macs(self, result: TensorType) -> int:
        """One for each weight at each position."""
        height, width, _ = result.shape
        return height * width * int(self.weights.values.size)

    def _accumulators(self, source: TensorType, size: tuple[int, int]) -> TensorType:
        """Exact accumulators for a map of ``size``, of a width that the real weights need, or any
        of their type where they are loadable."""
        weights = self.weights.values.reshape(len(self.bias), -1)
        bounds = (self._reach(source) if self.weights.loadable
                  else interval(weights, self.bias, source))
        return self._holding(source, size, bounds)

    def _reach(self, source: TensorType) -> tuple[int, int]:
        """The least and the most that its sums can be, whatever the weights of their type.

        A bias goes no farther than the products.
        """
        terms, half = self.weights.values[0].size, 1 << self.weights.bits - 1
        products = [weight * value for weight in (-half, half - 1)
                    for value in (source.low, source.high)]
        low, high = terms * min(products), terms * max(products)
        require(bool((self.bias >= low).all() and (self.bias <= high).all()),
                f"layer {self.name}: its bias is not within {low} and {high}, what products of its "
                "types reach and loadable layers keep to; compile it with weights that stay")
        return 2 * low, 2 * high

    def _holding(self, source: TensorType, size: tuple[int, int], bounds: tuple[int, int]
                 ) -> TensorType:
        """Accumulators for a map of ``size``, which lie within ``bounds``."""
        low, high = bounds
        return holding(self, (*size, len(self.bias)), min(low, 0), max(high, 0),
                       source.fraction + self.weights.fraction)


@dataclass(frozen=True, eq=False)
class SlidingLayer(MultiplyAccumulate):
    """What slides weights over a map.

    ``stride`` is (y, x), ``padding`` (top, bottom, left, right) elements of ``pad_value``, the zero
    point of the input.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        dimensions = self._dimensions
        require(self.weights.values.ndim == len(dimensions),
                f"layer {self.name}: weights must be ({', '.join(dimensions)}), "
                f"not {self.weights.values.shape}")
        require_sliding(self.name, self.kernel, self.stride, self.padding)
        require(is_int(self.pad_value),
                f"layer {self.name}: pad value must be an integer, not {self.pad_value!r}")

    @property
    def _dimensions(self) -> tuple[str, ...]:
        """What the axes of the weights are."""
        raise NotImplementedError

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel (height, width)."""
        shape = self.weights.values.shape
        return shape[1], shape[2]

    def _slid(self, source: TensorType) -> TensorType:
        """Accumulators at each position of the kernel."""
        if any(self.padding):
            require_value(self, "pad value", self.pad_value, source)
        return self._accumulators(source, positions(self, source.shape, self.kernel, self.stride,
                                                    self.padding))


@dataclass(frozen=True, eq=False)
class Convolution(SlidingLayer):
    """``bias[n] + sum(weights[n] * window)``, the window over all channels of its group.

    ``weights.values`` is (outputs, kernel height, kernel width, inputs / groups); (H, W, inputs)
    becomes (H', W', outputs). A dilated kernel is one with zeros between its taps. Each of
    ``groups`` equal runs of outputs reads its own run of inputs.
    """

    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_groups(self, self.groups)
        if self.groups > 1:
            require_encoding(self, "a convolution in groups", (ValueEncoding, Sparse, Sums))

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return "outputs", "height", "width", "inputs"

    def output_type(self, *sources: TensorType) -> TensorType:
        """Exact accumulators, a channel for each output."""
        (source,) = sources
        channels = self.weights.values.shape[3] * self.groups
        require(channels == source.shape[2],
                f"layer {self.name}: weights take {channels} channels, its input has "
                f"{source.shape[2]}")
        return self._slid(source)


@dataclass(frozen=True, eq=False)
class Depthwise(SlidingLayer):
    """``bias[n] + sum(weights[n] * window)``, the window over the one channel ``n // m``.

    ``weights.values`` is (outputs, kernel height, kernel width), with m outputs a channel;
    (H, W, C) becomes (H', W', m * C).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require_encoding(self, "a depthwise convolution", (ValueEncoding, Sparse))

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return "outputs", "height", "width"

    def output_type(self, *sources: TensorType) -> TensorType:
        """Exact accumulators, a channel for each output."""
        (source,) = sources
        require(len(self.bias) % source.shape[2] == 0,
                f"layer {self.name}: its {len(self.bias)} outputs are no multiple of the "
                f"{source.shape[2]} channels of its input")
        return self._slid(source)


@dataclass(frozen=True, eq=False)
class Dense(MultiplyAccumulate):
    """``bias + weights @ x``; ``weights.values`` is (outputs, inputs).

    (1, 1, inputs) becomes (1, 1, outputs).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weights.values.ndim == 2,
                f"layer {self.name}: weights must be (outputs, inputs), "
                f"not {self.weights.values.shape}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """Exact accumulators, a channel for each output."""
        (source,) = sources
        inputs = self.weights.values.shape[1]
        require(source.shape == (1, 1, inputs),
                f"layer {self.name}: weights take {inputs} inputs, its input has shape "
                f"{source.shape}; put a Flatten before it or mend the weights")
        return self._accumulators(source, (1, 1))
