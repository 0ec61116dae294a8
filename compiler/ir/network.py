"""The network as a graph, and the type of every tensor in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, singledispatch

import numpy as np

from .layers import (
    NAME,
    REFERENCE_BITS,
    Add,
    ArgMax,
    AveragePool,
    Clamp,
    Convolution,
    Dense,
    Depthwise,
    Layer,
    MultiplyAccumulate,
    Pad,
    PoolLayer,
    Repeat,
    Rewiring,
    ScaleRequantize,
    ShiftRequantize,
    SlidingLayer,
    SlopeRequantize,
    SumPool,
    Threshold,
)
from .tensor import (
    MAX_BITS,
    Bipolar,
    PenjingError,
    TensorType,
    require,
    signed_bits,
    unsigned_bits,
)


def output_size(layer: SlidingLayer | PoolLayer,
                shape: tuple[int, int, int]) -> tuple[int, int]:
    """(height, width) of a sliding layer's output for an input ``shape``."""
    top, bottom, left, right = layer.padding
    sizes = []
    for size, kernel, stride, pads in zip(shape, layer.kernel, layer.stride,
                                          (top + bottom, left + right), strict=False):
        room = size + pads - kernel
        require(room >= 0, f"layer {layer.name}: kernel {layer.kernel} with padding "
                            f"{layer.padding} exceeds its input of shape {shape}")
        sizes.append(room // stride + 1)
    return sizes[0], sizes[1]


PORTS = ("clk", "rst")
"""Ports of the module that is called as the network."""


@singledispatch
def output_type(layer: Layer, *sources: TensorType) -> TensorType:
    """Type of ``layer``'s output for inputs of the types ``sources``; checks that they fit."""
    raise PenjingError(f"layer {layer.name}: unknown layer kind {layer.kind}")


@output_type.register
def _(layer: Convolution, source: TensorType) -> TensorType:
    channels = layer.weights.values.shape[3] * layer.groups
    require(channels == source.shape[2],
            f"layer {layer.name}: weights take {channels} channels, its input has "
            f"{source.shape[2]}")
    return _slid_accumulator(layer, source)


@output_type.register
def _(layer: Depthwise, source: TensorType) -> TensorType:
    require(len(layer.bias) % source.shape[2] == 0,
            f"layer {layer.name}: its {len(layer.bias)} outputs are no multiple of the "
            f"{source.shape[2]} channels of its input")
    return _slid_accumulator(layer, source)


def _slid_accumulator(layer: SlidingLayer, source: TensorType) -> TensorType:
    if any(layer.padding):
        _require_value(layer, "pad value", layer.pad_value, source)
    height, width = output_size(layer, source.shape)
    return _accumulator(layer, source, (height, width, len(layer.bias)))


def _require_value(layer: Layer, what: str, value: int, source: TensorType) -> None:
    require(source.low <= value <= source.high,
            f"layer {layer.name}: {what} must lie within its input's {source.low} and "
            f"{source.high}, not {value}")


@output_type.register
def _(layer: Dense, source: TensorType) -> TensorType:
    outputs, inputs = layer.weights.values.shape
    require(source.shape == (1, 1, inputs),
            f"layer {layer.name}: weights take {inputs} inputs, its input has shape "
            f"{source.shape}; put a Flatten before it or mend the weights")
    return _accumulator(layer, source, (1, 1, outputs))


def _accumulator(layer: MultiplyAccumulate, source: TensorType,
                 shape: tuple[int, int, int]) -> TensorType:
    """Exact accumulators: the width follows from the interval that the real weights span."""
    weights = layer.weights.values.reshape(len(layer.bias), -1)
    positive = np.maximum(weights, 0).sum(1)
    negative = np.minimum(weights, 0).sum(1)
    # Zero and the padding lie within the input type, so partial sums stay inside the interval.
    low = int((positive * source.low + negative * source.high + layer.bias).min())
    high = int((positive * source.high + negative * source.low + layer.bias).max())
    return _holding(layer, shape, min(low, 0), max(high, 0),
                    source.fraction + layer.weights.fraction)


def _holding(layer: Layer, shape: tuple[int, int, int], low: int, high: int,
             fraction: int) -> TensorType:
    """The narrowest signed type of ``low`` and ``high``."""
    bits = signed_bits(low, high)
    require(bits <= MAX_BITS, f"layer {layer.name}: its results need {bits} bits, more than "
                               f"{MAX_BITS}; narrow the weights, the bias or the activations")
    return TensorType(shape, bits, True, fraction)


@output_type.register
def _(layer: PoolLayer, source: TensorType) -> TensorType:
    height, width = output_size(layer, source.shape)
    return replace(source, shape=(height, width, source.shape[2]))


@output_type.register
def _(layer: AveragePool, source: TensorType) -> TensorType:
    height, width = output_size(layer, source.shape)
    source = source.widened
    bits, spare = source.bits + layer.spare, layer.spare
    require(bits <= MAX_BITS, f"layer {layer.name}: its results need {bits} bits, more than "
                              f"{MAX_BITS}; lower spare")
    scale = None if source.scale is None else source.scale / (1 << spare)
    return replace(source, shape=(height, width, source.shape[2]), bits=bits, scale=scale,
                   fraction=source.fraction + spare, zero_point=source.zero_point << spare)


@output_type.register
def _(layer: SumPool, source: TensorType) -> TensorType:
    height, width = output_size(layer, source.shape)
    source = source.widened
    area = layer.kernel[0] * layer.kernel[1]
    return _holding(layer, (height, width, source.shape[2]), source.low * area, source.high * area,
                    source.fraction)


@output_type.register
def _(layer: Pad, source: TensorType) -> TensorType:
    _require_value(layer, "value", layer.value, source)
    source = source if layer.value else source.widened
    height, width, channels = source.shape
    top, bottom, left, right = layer.padding
    return replace(source, shape=(height + top + bottom, width + left + right, channels))


@output_type.register
def _(layer: Add, source: TensorType, other: TensorType) -> TensorType:
    require(source.shape == other.shape,
            f"layer {layer.name}: its inputs must have one shape, not {source.shape} and "
            f"{other.shape}")
    return _holding(layer, source.shape, source.low + other.low, source.high + other.high,
                    source.fraction)


@output_type.register
def _(layer: ShiftRequantize, source: TensorType) -> TensorType:
    require(source.bits - min(layer.shift, 0) <= 2 * MAX_BITS,
            f"layer {layer.name}: {source.bits} bits shifted left by {-layer.shift} are too wide; "
            "raise the shift")
    return TensorType(source.shape, layer.bits, layer.signed, source.fraction - layer.shift)


@output_type.register
def _(layer: ScaleRequantize, source: TensorType) -> TensorType:
    channels = source.shape[2]
    require(layer.multipliers.size in (1, channels),
            f"layer {layer.name}: it must have 1 multiplier or {channels}, one a channel, not "
            f"{layer.multipliers.size}")
    shift = layer.pre_shift + max(0, int(layer.shifts.max()))
    bits = signed_bits((source.low - layer.offset) << shift, (source.high - layer.offset) << shift)
    require(bits <= REFERENCE_BITS,
            f"layer {layer.name}: what it multiplies may need {bits} bits, more than the "
            f"{REFERENCE_BITS} of the reference arithmetic; narrow the weights or the activations")
    return TensorType(source.shape, layer.bits, layer.signed, 0, layer.zero_point, layer.scale)


@output_type.register
def _(layer: SlopeRequantize, source: TensorType) -> TensorType:
    rows, channels = len(layer.breakpoints), source.shape[2]
    require(rows in (1, channels),
            f"layer {layer.name}: it must have slopes for 1 or {channels} channels, not {rows}")
    multipliers = layer.multipliers.astype(object)  # a product may need more than 64 bits
    ends = [multipliers * end + layer.offsets for end in (source.low, source.high)]
    bits = signed_bits(min(end.min() for end in ends),
                       max(end.max() for end in ends) + (1 << layer.shift >> 1))
    require(bits <= MAX_BITS, f"layer {layer.name}: its sums may need {bits} bits, more than "
                              f"{MAX_BITS}; narrow its input or its offsets")
    return TensorType(source.shape, layer.bits, layer.signed, layer.fraction)


@output_type.register
def _(layer: Threshold, source: TensorType) -> TensorType:
    rows, channels = len(layer.thresholds), source.shape[2]
    require(rows in (1, channels),
            f"layer {layer.name}: it must have thresholds for 1 or {channels} channels, not {rows}")
    if layer.is_sign:
        return Bipolar(source.shape, fraction=layer.fraction, zero_point=layer.zero_point,
                       scale=layer.scale)
    return TensorType(source.shape, layer.bits, layer.signed, layer.fraction, layer.zero_point,
                      layer.scale)


@output_type.register
def _(layer: Clamp, source: TensorType) -> TensorType:
    low, high = layer.bounds
    signed = low < 0
    bits = signed_bits(low, high) if signed else unsigned_bits(high)
    kind = replace(source.widened, bits=bits, signed=signed, zero_point=0)
    fits = kind.low <= source.zero_point <= kind.high
    return replace(kind, zero_point=source.zero_point) if fits else kind


@output_type.register
def _(layer: Repeat, source: TensorType) -> TensorType:
    height, width, channels = source.shape
    return replace(source, shape=(height, width, channels * layer.times))


@output_type.register
def _(layer: Rewiring, source: TensorType) -> TensorType:
    return replace(source, shape=layer.new_shape(source.shape))


@output_type.register
def _(layer: ArgMax, source: TensorType) -> TensorType:
    height, width, channels = source.shape
    return TensorType((height, width, 1), unsigned_bits(channels - 1), False)


@dataclass(frozen=True)
class Network:
    """A validated graph: the input's name and type, and the layers in topological order.

    Each layer reads the input or earlier layers; the last layer is the output, and bipolar tensors
    are within the network only. `PenjingError` names the first layer that does not fit.
    """

    name: str
    input: str
    input_type: TensorType
    layers: tuple[Layer, ...]
    _types: dict[str, TensorType] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            require(isinstance(value, str) and NAME.fullmatch(value),
                    f"network: {what} must be an identifier, not {value!r}")
        require(self.name not in PORTS,
                f"network: name must not be {self.name}, as a port; give it another with --name")
        require(isinstance(self.layers, tuple) and self.layers, "network: it has no layers")
        require(not isinstance(self.input_type, Bipolar),
                "network: its input must not be bipolar; declare one bit without a sign, 1 for +1, "
                "and put a Threshold at 1 to -1 and +1 behind it")
        types = {self.input: self.input_type}
        for layer in self.layers:
            require(isinstance(layer, Layer), f"network: {layer!r} is not a layer")
            require(layer.name not in types, f"layer {layer.name}: its name is used twice")
            for name in layer.inputs:
                require(name in types,
                        f"layer {layer.name}: its input {name!r} is no earlier layer")
            types[layer.name] = output_type(layer, *(types[name] for name in layer.inputs))
        last = self.layers[-1].name
        types[last] = types[last].widened
        object.__setattr__(self, "_types", types)

    def type_of(self, name: str) -> TensorType:
        """Type of the tensor that the input or layer ``name`` puts out."""
        return self._types[name]

    def source_type(self, layer: Layer) -> TensorType:
        """Type of the tensor that ``layer`` reads, of the first one if there are several."""
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
    if not isinstance(layer, MultiplyAccumulate):
        return 0
    height, width, _ = network.type_of(layer.name).shape
    return height * width * int(layer.weights.values.size)
