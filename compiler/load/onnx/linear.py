"""The operators that multiply by weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ..affine import fold_zero_point
from ..dilation import dilated, dilated_shape
from ..padding import NO_PADDING, Padding, fits, same_total
from .arithmetic import multiplicand
from .graph import Operands, positive
from .model import Array
from .values import NCHW, Curve, Integers, Known, Layout, Real, Scales

Moved = TypeVar("Moved", bound=Integers | Real | Curve)
Rests = NDArray[np.float64]
_WIDEST_ACCUMULATOR = 32
_FLOAT32 = 2.0 ** -22
"""How exact a quotient of two numbers in float32 is, about."""


def pads(operands: Operands, size: tuple[int, int], kernel: tuple[int, int],
         stride: tuple[int, int], axes: int) -> Padding:
    """(top, bottom, left, right) of a window of ``kernel`` over a map of ``size``."""
    mode = operands.text("auto_pad", "NOTSET")
    if mode == "VALID":
        return NO_PADDING
    if mode == "NOTSET":
        given = operands.ints("pads") or (0,) * (2 * axes)
        if len(given) != 2 * axes or any(not 0 <= pad <= 4096 for pad in given):
            operands.refuse(f"its pads {given[:8]} are not {2 * axes} numbers from 0 to 4096")
        top, left, bottom, right = given if axes == 2 else (0, given[0], 0, given[1])
        return top, bottom, left, right
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        operands.refuse(f"its auto_pad {mode:.20} is unknown")
    both: list[int] = []
    for whole, taps, step in zip(size, kernel, stride, strict=True):
        total = same_total(whole, taps, step)
        ends = [total // 2, total - total // 2]
        both += ends if mode == "SAME_UPPER" else ends[::-1]
    return both[0], both[1], both[2], both[3]


def window(operands: Operands, name: str, axes: int,
           default: tuple[int, ...] | None = None) -> tuple[int, int]:
    """A pair of positive integers (vertical, horizontal) from an attribute, 1 where left out."""
    given = operands.ints(name)
    given = (default or (1,) * axes) if given is None else given
    if len(given) != axes or any(not 1 <= value <= 4096 for value in given):
        operands.refuse(f"its {name} {given[:8]} are not {axes} numbers from 1 to 4096")
    return (1, given[0]) if axes == 1 else (given[0], given[1])


def as_map(operands: Operands, value: Moved) -> Moved:
    """``value`` as the map that an operator reads; refused if it is no map."""
    layout = value.layout.as_map()
    if layout is None:
        operands.refuse(f"it takes a map (N, C, H, W) or (N, C, W), not one of shape (N, "
                        f"{', '.join(map(str, value.layout.dims))}) in another order of axes",
                        "bring channels to the front, or reshape at the input of the network")
    return reshaped(operands, value, layout)


def with_channels(operands: Operands, value: Moved) -> Moved:
    """``value`` with the channels as an axis of their own, as far as a reshape helps."""
    missing = value.layout.channel_axis() is None
    return as_map(operands, value) if missing and value.layout.as_map() else value


def reshaped(operands: Operands, value: Moved, layout: Layout) -> Moved:
    """``value`` in another ``layout`` with the same loops."""
    before = value.layout
    if layout.shape == before.shape:
        return value
    if isinstance(value, Real | Curve) and value.rows > 1 and (
            before.channel_axis() != layout.channel_axis() or before.shape[2] != layout.shape[2]):
        operands.refuse("its input has a scale for each channel, and is reshaped to other channels",
                        "put QuantizeLinear and DequantizeLinear before the Reshape")
    name = operands.builder.add(ir.rewired(
        operands.builder.name(operands.node, "_reshape"), value.name, layout.shape))
    return replace(value, name=name, layout=layout)


def per_channel(operands: Operands, known: Known, layout: Layout) -> Known:
    """A constant that is broadcast over all but the channels, as one value or one a channel."""
    if known.values.size == 1:
        return replace(known, values=known.values.reshape(1), axis=0)
    dims = (1,) * (len(layout.dims) + 1 - known.values.ndim) + known.values.shape
    axis = layout.channel_axis()
    if axis is None or len(dims) != len(layout.dims) + 1 or (
            math.prod(dims) != dims[axis + 1] or dims[axis + 1] != layout.shape[2]):
        operands.refuse(f"its constant of shape {known.values.shape} is not one value a channel",
                        "use one value, or one a channel")
    if known.scale is not None and known.scale.size != 1:
        return Known(known.reals().reshape(-1))
    return replace(known, values=known.values.reshape(-1), axis=0)


def spatial(layout: Layout) -> int:
    """The number of spatial axes of a map."""
    return len(layout.dims) - 1


def map_of(operands: Operands, shape: tuple[int, int, int], axes: int) -> Layout:
    """The layout of a map of ``shape`` with as many spatial axes."""
    height, width, channels = shape
    if axes == 1 and height != 1:
        operands.refuse("a map of one dimension has grown a second")
    return Layout(shape, NCHW, (channels, width) if axes == 1 else (channels, height, width))


def padded(operands: Operands, name: str, padding: Padding, kernel: tuple[int, int],
           value: int) -> tuple[str, Padding]:
    """``padding`` in a layer of its own where it reaches beyond the kernel."""
    if fits(padding, kernel):
        return name, padding
    builder = operands.builder
    own = builder.add(ir.Pad(builder.name(operands.node, "_pad"), name, padding, value))
    return own, NO_PADDING


def weight_scales(operands: Operands, weights: Known, axis: int) -> Scales:
    """One scale, or one an output, of weights whose ``axis`` is the outputs."""
    if weights.scale is None:
        operands.refuse("its weights are floats that nothing has quantized",
                        "quantize the network, for example with "
                        "onnxruntime.quantization.quantize_static")
    outputs = weights.values.shape[axis]
    for numbers in (weights.scale, weights.zero):
        if numbers is not None and numbers.size != 1 and (
                weights.axis != axis or numbers.size != outputs):
            operands.refuse("its weights have scales along another axis than the outputs",
                            "quantize weights by tensor or by output channel")
    return weights.scale


def convolve(operands: Operands, x: Real, weights: Known, bias: Known | None) -> Real:
    """The accumulators of a convolution, and what they stand for."""
    x = as_map(operands, x)
    axes = spatial(x.layout)
    values = weights.values
    if values.ndim != axes + 2:
        operands.refuse(f"its weights have shape {values.shape}, its input is of {axes} dimensions")
    with np.errstate(over="ignore", under="ignore"):
        scale = positive(operands, multiplicand(operands, x) * weight_scales(operands, weights, 0))
    groups = operands.integer("group", 1)
    height, width, channels = x.layout.shape
    outputs, inputs = values.shape[:2]
    if groups < 1 or inputs * groups != channels or outputs % groups:
        operands.refuse(f"weights {values.shape} in {groups} groups do not fit an input of "
                        f"{channels} channels")
    taps = values.shape[2:]
    if window(operands, "kernel_shape", axes, taps) != ((1, *taps) if axes == 1 else taps):
        operands.refuse("its kernel_shape is not that of its weights")
    stride, dilation = window(operands, "strides", axes), window(operands, "dilations", axes)
    whole = _kernel(operands, weights, axes, dilation)
    kernel = whole.shape[1], whole.shape[2]
    padding = pads(operands, (height, width), kernel, stride, axes)
    source, padding = padded(operands, x.name, padding, kernel, x.zero)
    steps, rest = bias_steps(operands, bias, scale, outputs)
    wide = fold_zero_point(whole, steps, x.zero)
    name = operands.builder.name(operands.node)
    stored = narrowest(operands, whole)
    if groups == channels > 1:
        layer: ir.Layer = ir.Depthwise(name, source, replace(stored, values=whole[..., 0]), wide,
                                       stride, padding, x.zero)
    else:
        layer = ir.Convolution(name, source, stored, wide, stride, padding, x.zero, groups)
    shape = _accumulate(operands, layer)
    return Real(name, map_of(operands, shape, axes), scale, rest=rest)


def _accumulate(operands: Operands, layer: ir.Layer) -> tuple[int, int, int]:
    return require_accumulators(operands, operands.builder.add(layer))


def require_accumulators(operands: Operands, name: str) -> tuple[int, int, int]:
    """The shape of the layer ``name``, refused unless ONNX can hold its accumulators."""
    kind = operands.builder.types[name]
    if kind.bits > _WIDEST_ACCUMULATOR:
        operands.refuse(f"its accumulators may need {kind.bits} bits, more than the "
                        f"{_WIDEST_ACCUMULATOR} that ONNX has", "split the layer")
    return kind.shape


def _kernel(operands: Operands, weights: Known, axes: int, dilation: tuple[int, int]) -> Array:
    """The weights as (outputs, height, width, inputs), with zeros between dilated taps."""
    outputs, inputs, *taps = weights.values.shape
    rows, columns = taps if axes == 2 else (1, taps[0])
    shape = outputs, rows, columns, inputs
    operands.builder.spend_weights(operands.node, math.prod(dilated_shape(shape, dilation)))
    dense = weights.integers().reshape(outputs, inputs, rows, columns).transpose(0, 2, 3, 1)
    return dilated(dense, dilation)


def narrowest(operands: Operands, weights: Array) -> ir.Weights:
    """``weights`` of the narrowest width."""
    bits = ir.signed_bits(int(weights.min()), int(weights.max()))
    if bits > 16:
        operands.refuse(f"its weights need {bits} bits, more than 16", "quantize them to 8 bits")
    return ir.Weights.narrowest(weights)


def bias_steps(operands: Operands, bias: Known | None, scale: Scales, outputs: int
               ) -> tuple[Array, Rests]:
    """``bias`` in whole steps (outputs,) of the accumulators, and what is left of each.

    If it was quantized so, nothing is left.
    """
    if bias is None:
        return np.zeros(outputs, np.int64), np.zeros(1)
    if bias.values.size not in (1, outputs):
        operands.refuse(f"its bias has {bias.values.size} values, it has {outputs} outputs")
    if bias.scale is not None and bias.scale.size in (1, bias.values.size) and np.allclose(
            bias.scale, scale, rtol=1e-5, atol=0):
        steps, rest = bias.integers().reshape(-1), np.zeros(1)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            reals = bias.reals().reshape(-1) / scale.astype(np.float64)
        if not (np.abs(reals) < 1 << 40).all():
            operands.refuse("its bias is not finite, or far beyond its accumulators",
                            "quantize the network again")
        steps, rest = _divided(reals, scale)
    return np.broadcast_to(steps, outputs), rest


def _divided(steps: NDArray[np.float64], scale: Scales) -> tuple[Array, Rests]:
    """The whole numbers below ``steps``, quotients by ``scale``, and what is left of each.

    Unless scales are powers of two, a quotient of numbers in float32 is whole if it nearly is.
    """
    near = 0 if is_power(scale) else np.abs(steps) * _FLOAT32
    whole = np.rint(steps)
    is_whole = np.abs(steps - whole) <= near
    below = np.where(is_whole, whole, np.floor(steps))
    rest = np.where(is_whole, 0, steps - below)
    return below.astype(np.int64), rest if rest.any() else np.zeros(1)


def is_power(scale: Scales) -> bool:
    """Whether each ``scale`` is a power of two."""
    return bool((np.frexp(scale)[0] == 0.5).all())


def multiply(operands: Operands, x: Real, weights: Known, bias: Known | None, *,
             transposed: bool = False, gain: float = 1.0) -> Real:
    """The accumulators of a matrix product; ``transposed`` weights have the outputs first."""
    values = weights.values
    if values.ndim != 2:
        operands.refuse(f"its weights have shape {values.shape}", "multiply by a matrix")
    axis = 0 if transposed else 1
    with np.errstate(over="ignore", under="ignore"):
        scale = positive(operands, multiplicand(operands, x) * np.float32(gain)
                         * weight_scales(operands, weights, axis))
    outputs, inputs = values.shape[axis], values.shape[1 - axis]
    layout = x.layout
    if math.prod(layout.dims) != layout.dims[-1] or inputs != layout.dims[-1]:
        operands.refuse(f"weights for {inputs} inputs do not fit an input of shape (N, "
                        f"{', '.join(map(str, layout.dims))})",
                        "flatten the input to one vector an image")
    builder = operands.builder
    builder.spend_weights(operands.node, values.size)
    mine = weights.integers() if transposed else weights.integers().T
    # ONNX flattens (C, H, W), the integer network (H, W, C): the columns change their places.
    ordered = np.empty((outputs, inputs), np.int64)
    ordered[:, layout.positions()] = mine
    source = x.name
    if layout.shape[:2] != (1, 1):
        source = builder.add(ir.Flatten(builder.name(operands.node, "_flat"), source))
    steps, rest = bias_steps(operands, bias, scale, outputs)
    wide = fold_zero_point(ordered, steps, x.zero)
    name = builder.name(operands.node)
    shape = _accumulate(operands, ir.Dense(
        name, source, narrowest(operands, ordered), wide))
    return Real(name, Layout(shape, NCHW, (*layout.dims[:-1], outputs)), scale, rest=rest)


def transformed(operands: Operands, x: Real, factors: Array, addend: Known) -> Real | None:
    """``x`` times ``factors`` plus ``addend``, each one or one a channel, by weights and biases.

    None if x is no sum of products.
    """
    builder = operands.builder
    layer = builder.layers.get(x.name)
    crop = layer if isinstance(layer, ir.Crop) else None  # of a transposed convolution
    if crop is not None:
        layer = builder.layers.get(crop.input)
    if not isinstance(layer, ir.MultiplyAccumulate) or x.zero or x.clamped:
        return None
    outputs = len(layer.bias)
    signs = np.broadcast_to(np.sign(factors).astype(np.int64), outputs)
    with np.errstate(over="ignore", under="ignore"):
        scale = positive(operands, (x.scale * np.where(factors == 0, 1, np.abs(factors))).astype(
            np.float32))
    steps, rest = bias_steps(operands, addend, scale, outputs)
    carry, rest = _divided(x.rest * signs + rest, scale)
    # The layer as it was stays for whoever else reads it, or is dropped at the end.
    weights = layer.weights
    builder.spend_folded(operands.node, weights.values.size)
    if (signs != 1).any():
        shape = -1, *(1,) * (weights.values.ndim - 1)
        weights = narrowest(operands, weights.values * signs.reshape(shape))
    name = builder.name(operands.node)
    _accumulate(operands, replace(layer, name=name, weights=weights,
                                  bias=layer.bias * signs + steps + carry))
    if crop is not None:
        name = builder.add(replace(crop, name=builder.name(operands.node, "_crop"), input=name))
    return replace(x, name=name, scale=scale, rest=rest)
