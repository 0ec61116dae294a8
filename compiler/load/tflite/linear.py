"""The operators that multiply by weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers
from ..affine import Affine, fold_zero_point, requantize, with_room
from ..dilation import dilated, dilated_shape
from ..padding import fits, sum_padding
from .arithmetic import channel_ratios, half_multiplier, halves_away
from .file import PACKED_BITS, Operator, Tensor
from .graph import AGAIN, Graph, Refused, map_shape
from .operators import (
    activation_bounds,
    meanings,
    pair,
    window_padding,
)

_BITS = {"INT8": 8, **PACKED_BITS}
_FEW = 4
"""Channels up to which products of each with the weights of all may be worth their multipliers."""


def convolution(graph: Graph, operator: Operator) -> None:
    """CONV_2D; it is grouped where its filter has fewer inputs than the map."""
    weights, values = _weights(graph, operator, 4, 0)
    outputs, _, _, inputs = values.shape
    channels = map_shape(graph.tensor(operator, 0))[2]
    if channels % inputs or outputs % (channels // inputs):
        raise Refused(operator, f"its filter {values.shape} does not divide the {channels} "
                                f"channels of its input", AGAIN)
    _slide(graph, operator, weights, values, channels // inputs)


def depthwise(graph: Graph, operator: Operator) -> None:
    """DEPTHWISE_CONV_2D with any multiplier: output n reads channel ``n // multiplier``.

    That of few channels is a convolution in groups, for which there also is hardware that spreads
    over outputs and taps.
    """
    weights, values = _weights(graph, operator, 4, 3)
    outputs = values.shape[3]
    channels = map_shape(graph.tensor(operator, 0))[2]
    if values.shape[0] != 1 or outputs % channels:
        raise Refused(operator, f"its filter {values.shape} is no multiple of the {channels} "
                                f"channels of its input", AGAIN)
    kernels = values[0].transpose(2, 0, 1)
    if channels <= _FEW:
        _slide(graph, operator, weights, kernels[..., None], channels)
    else:
        _slide(graph, operator, weights, kernels, None)


def _slide(graph: Graph, operator: Operator, weights: Tensor, values: Integers,
           groups: int | None) -> None:
    """Convolution or, where ``groups`` is None, depthwise; ``values`` has the outputs first."""
    source, _ = meanings(graph, operator)
    values = _dilated(graph, operator, values)
    kernel, stride = (values.shape[1], values.shape[2]), pair(operator, "stride")
    value = graph.source_with_padding(operator)
    padding = window_padding(operator, value.padded, kernel, stride)
    whole = sum_padding(value.padding, padding)
    if value.pad_value == source.zero_point and fits(whole, kernel):
        layer, padding = value.layer, whole  # a PAD of zeros before it is padding of its own
    else:
        layer, _ = graph.source(operator)
    bias = _bias(graph, operator, len(values))
    folded = fold_zero_point(values, bias, source.zero_point)
    kernels = ir.Weights(values, _BITS[weights.kind])
    name = graph.name_of(operator, "conv" if groups else "depthwise")
    if groups is None:
        graph.add(ir.Depthwise(name, layer, kernels, folded, stride, padding, source.zero_point))
    else:
        graph.add(ir.Convolution(name, layer, kernels, folded, stride, padding, source.zero_point,
                                 groups))
    _finish(graph, operator, name, weights)


def transposed(graph: Graph, operator: Operator) -> None:
    """TRANSPOSE_CONV, whose output has the shape that its first input tells."""
    wanted = graph.integers(operator, 0, ("INT32",))
    # The others come as those of a convolution do, but in another order.
    operator = replace(operator, inputs=(*operator.inputs[2:0:-1], *operator.inputs[3:]))
    weights, values = _weights(graph, operator, 4, 0)
    source, _ = meanings(graph, operator)
    layer, (height, width, channels) = graph.source(operator)
    if values.shape[3] != channels:
        raise Refused(operator, f"its filter {values.shape} does not take the {channels} channels "
                                f"of its input", AGAIN)
    size = map_shape(graph.tensor(operator, 0, ends=True))
    if wanted.tolist() != [1, *size]:
        raise Refused(operator, f"its output is declared as another shape than "
                                f"{wanted.tolist()!s:.100}", AGAIN)
    kernel, stride = (values.shape[1], values.shape[2]), pair(operator, "stride")
    top, _, left, _ = window_padding(operator, size, kernel, stride)
    crop = (top, stride[0] * (height - 1) + kernel[0] - top - size[0],
            left, stride[1] * (width - 1) + kernel[1] - left - size[1])
    folded = fold_zero_point(values, _bias(graph, operator, len(values)), source.zero_point)
    name = graph.add_transposed(
        graph.name_of(operator, "transposed"), layer, ir.Weights(values, _BITS[weights.kind]),
        folded, stride, crop, source.zero_point)
    _finish(graph, operator, name, weights)


def _dilated(graph: Graph, operator: Operator, values: Integers) -> Integers:
    """``values`` with zeros between the taps."""
    dilation = pair(operator, "dilation")
    if dilation != (1, 1):
        graph.charge(operator, math.prod(dilated_shape(values.shape, dilation)))
    return dilated(values, dilation)


def dense(graph: Graph, operator: Operator) -> None:
    """FULLY_CONNECTED: of a vector, of a map made to one, or of each position of a map."""
    if operator.options["format"] != 0:
        raise Refused(operator, "its weights are shuffled", AGAIN)
    weights, values = _weights(graph, operator, 2, 0)
    source, target = meanings(graph, operator)
    if len(weights.scales) == 1:
        # The reference subtracts the weights' zero point here, and here only.
        values = values - int(weights.zero_points[0])
    order = graph.value(operator).order
    outputs, inputs = values.shape
    if order is not None and len(order) == inputs:  # the columns change their places instead
        values = values[:, np.argsort(order)]
    folded = fold_zero_point(values, _bias(graph, operator, outputs), source.zero_point)
    kernels = ir.Weights(values, _BITS[weights.kind] + int(weights.zero_points.any()))
    height, width, channels = map_shape(graph.tensor(operator, 0))
    name = graph.name_of(operator, "dense")
    if height * width * channels == inputs:
        graph.add(ir.Dense(name, graph.flat(operator), kernels, folded))
    elif channels == inputs and operator.options["keep_dimensions"]:
        kernels = ir.Weights(values[:, None, None, :], kernels.bits)
        graph.add(ir.Convolution(name, graph.source(operator)[0], kernels, folded))
    else:
        raise Refused(operator, f"its weights take {inputs} inputs, a frame has "
                                f"{(height, width, channels)} (height, width, channels)", AGAIN)
    scaling = _dense_scaling(graph, operator, name, weights, target)
    graph.add(scaling)
    graph.finish_layer(operator, scaling.name)


def _dense_scaling(graph: Graph, operator: Operator, name: str, weights: Tensor,
                   target: Affine) -> ir.ScaleRequantize:
    """The requantizer of dense accumulators.

    Even LiteRT's reference resolver multiplies matrices by kernels that round once, halves away
    from zero, unlike its convolutions.
    """
    ratios = channel_ratios(meanings(graph, operator)[0], weights.scales, target)
    layer = _scaling(graph, operator, name, ratios, target, ir.ScaleRounding.SINGLE)
    kind = graph.types[layer.input]
    pairs = zip(layer.multipliers.tolist(), layer.shifts.tolist(), strict=True)
    return replace(layer, multipliers=np.array(
        [halves_away(multiplier, shift, kind.low, kind.high) for multiplier, shift in pairs]))


def _scaling(graph: Graph, operator: Operator, name: str, ratios: NDArray[np.float64],
             target: Affine, rounding: ir.ScaleRounding) -> ir.ScaleRequantize:
    bits = graph.types[name].bits
    if bits > ir.REFERENCE_BITS and target.bits == 8:
        raise Refused(operator, f"its sums may need {bits} bits, the reference has "
                                f"{ir.REFERENCE_BITS}", "narrow its weights or its bias")
    low, high = activation_bounds(operator, target)
    if target.bits == 16 and (_magnitudes(graph, name) * ratios >= 1 << 31).any():
        raise Refused(operator, "what it puts out may exceed the 32 bits that the reference has "
                                "before it clamps", "give its output a larger scale")
    name, ratios, _ = with_room(graph, name, ratios)
    return requantize(graph.unique(f"{name}_scale"), name, ratios, target, low=low, high=high,
                      rounding=rounding)


def _magnitudes(graph: Graph, name: str) -> NDArray[np.float64]:
    """What the sums of the layer ``name`` may be at most without their sign, one or one a channel.
    """
    layer, kind = graph.layers[name], graph.types[name]
    if not isinstance(layer, ir.MultiplyAccumulate):
        return np.array([float(max(-kind.low, kind.high))])
    source = graph.types[layer.input]
    weights = np.abs(layer.weights.values).reshape(len(layer.bias), -1).sum(1)
    return weights * float(max(-source.low, source.high)) + np.abs(layer.bias)


def _finish(graph: Graph, operator: Operator, name: str, weights: Tensor) -> None:
    """Let the accumulators of the layer ``name`` be the output of a sliding ``operator``."""
    source, target = meanings(graph, operator)
    scaling = _scaling(graph, operator, name, channel_ratios(source, weights.scales, target),
                       target, graph.rounding)
    graph.add(scaling if target.bits == 8 else _of_64_bits(scaling))
    graph.finish_layer(operator, scaling.name)


def _of_64_bits(layer: ir.ScaleRequantize) -> ir.ScaleRequantize:
    """The requantizer ``layer`` as the reference has it where accumulators have 64 bits.

    Convolutions of 16-bit activations multiply by half of a multiplier's bits, and round once.
    """
    halves = [half_multiplier(multiplier) << 16 for multiplier in layer.multipliers.tolist()]
    return replace(layer, multipliers=np.array(halves), rounding=ir.ScaleRounding.SINGLE)


def _weights(graph: Graph, operator: Operator, rank: int, axis: int) -> tuple[Tensor, Integers]:
    """The weights and their values; their scales are one, or one for each index of ``axis``."""
    # Of 2 bits, the reference multiplies matrices only.
    kinds = ("INT8", "INT4", "INT2") if operator.kind == "FULLY_CONNECTED" else ("INT8", "INT4")
    tensor = graph.constant(operator, 1, kinds)
    if len(tensor.shape) != rank or 0 in tensor.shape:
        raise Refused(operator, f"its weights are {tensor.shape}, not of {rank} dimensions", AGAIN)
    count = len(tensor.scales)
    if count not in (1, tensor.shape[axis]) or len(tensor.zero_points) not in (1, count) or (
            count > 1 and tensor.axis != axis):
        raise Refused(operator, f"its weights {tensor.shape} have {count} scales along axis "
                                f"{tensor.axis}, not 1 or one for each index of axis {axis}", AGAIN)
    scales = tensor.scales
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise Refused(operator, "a scale of its weights is not positive and finite", AGAIN)
    per_tensor = operator.kind == "FULLY_CONNECTED" and count == 1
    least = -(1 << _BITS[tensor.kind] - 1)
    if tensor.zero_points.any() and not (
            per_tensor and least <= int(tensor.zero_points[0]) < -least):
        raise Refused(operator, "its weights have a zero point other than 0",
                      "quantize weights symmetrically")
    return tensor, graph.integers(operator, 1, kinds)


def _bias(graph: Graph, operator: Operator, outputs: int) -> Integers:
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return np.zeros(outputs, np.int64)
    wide = meanings(graph, operator)[0].bits == 16
    bias = graph.integers(operator, 2, ("INT64" if wide else "INT32",)).reshape(-1)
    if bias.shape != (outputs,):
        raise Refused(operator, f"its bias has {bias.size} values for {outputs} outputs", AGAIN)
    return bias
