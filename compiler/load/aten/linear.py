"""Convolutions, linear layers, batch norms and arithmetic with constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..dilation import dilated, dilated_shape
from ..floats import (
    FloatConvolution,
    FloatDense,
    FloatMultiply,
    Floats,
    FloatTransposed,
    Pair,
)
from ..padding import NO_PADDING, Padding, fits, sum_padding
from ..pt2 import MAX_ELEMENTS, Node, Reference
from .graph import Arguments, Graph, Operator, Seen, refuse, require_map, window


def convolution(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Conv1d and Conv2d: any groups and dilation."""
    if arguments.flag("transposed", False):
        return transposed(graph, node, arguments)
    seen = graph.waiting(node)
    require_map(node, seen)
    reference, weights = _kernel(graph, node, arguments, seen)
    weights = _dilated(node, weights.transpose(0, 2, 3, 1),
                       window(arguments, seen, "dilation", 1, (1, 1)))
    stride = window(arguments, seen, "stride", 1, (1, 1))
    named = arguments.get("padding", 0)
    if isinstance(named, str):
        own = _named_padding(node, named, weights.shape[1:3], stride)
    else:
        vertical, horizontal = window(arguments, seen, "padding", 0, (0, 0))
        own = (vertical, vertical, horizontal, horizontal)
    padding = sum_padding(own, seen.padding)
    if not fits(padding, weights.shape[1:3]):
        seen, padding = graph.padded(seen.with_padding(padding), node), NO_PADDING
    return graph.add(FloatConvolution(
        graph.name(node, reference), weights, _bias(graph, node, arguments, len(weights)), stride,
        padding, arguments.integer("groups", 1)), seen)


def transposed(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """ConvTranspose1d and ConvTranspose2d: any groups, dilation and padding of the output."""
    seen = graph.source(node)
    require_map(node, seen)
    reference, weights = _kernel(graph, node, arguments, seen)
    groups = arguments.integer("groups", 1)
    if groups < 1 or len(weights) != seen.shape[2] or len(weights) % groups:
        refuse(node, f"its weights {weights.shape} in {groups} groups do not fit an input of "
                     f"{seen.shape[2]} channels", "export the model again")
    # All inputs come first, group after group, and behind them the outputs of one group.
    split = weights.reshape(groups, -1, *weights.shape[1:]).transpose(0, 2, 3, 4, 1)
    weights = _dilated(node, split.reshape(-1, *split.shape[2:]),
                       window(arguments, seen, "dilation", 1, (1, 1)))
    (top, left), (down, right) = (window(arguments, seen, name, 0, (0, 0))
                                  for name in ("padding", "output_padding"))
    return graph.add(FloatTransposed(
        graph.name(node, reference), weights, _bias(graph, node, arguments, len(weights)),
        window(arguments, seen, "stride", 1, (1, 1)), (top, top - down, left, left - right),
        groups), seen)


def _kernel(graph: Graph, node: Node, arguments: Arguments, seen: Seen) -> tuple[Reference, Floats]:
    """What the weights are called, and they with two axes of taps behind two of channels."""
    reference, weights = graph.weight(node, "weights", arguments.get("weight"))
    if weights.ndim != len(seen.dims) + 1:
        refuse(node, f"its weights have shape {weights.shape}, its input (N, "
                     f"{', '.join(map(str, seen.dims))})", "export the model again")
    taps = weights.shape[2:]
    return reference, weights.reshape(*weights.shape[:2], *(1,) * (2 - len(taps)), *taps)


def _dilated(node: Node, weights: Floats, dilation: Pair) -> Floats:
    """``weights`` (outputs, height, width, inputs) with zeros between the taps."""
    if min(dilation) < 1:
        refuse(node, f"its dilation {dilation} must be positive")
    if math.prod(dilated_shape(weights.shape, dilation)) > MAX_ELEMENTS:
        refuse(node, f"dilated, it has more than {MAX_ELEMENTS} weights", "dilate less")
    return dilated(weights, dilation)


def _named_padding(node: Node, padding: str, kernel: tuple[int, ...], stride: Pair) -> Padding:
    if padding == "valid":
        return NO_PADDING
    if padding != "same" or stride != (1, 1):
        refuse(node, f"padding {padding!r:.20} with stride {stride} has no meaning", "give numbers")
    vertical, horizontal = kernel[0] - 1, kernel[1] - 1
    return (vertical // 2, vertical - vertical // 2, horizontal // 2, horizontal - horizontal // 2)


def _bias(graph: Graph, node: Node, arguments: Arguments, outputs: int) -> Floats:
    value = arguments.get("bias")
    return np.zeros(outputs) if value is None else graph.weight(node, "bias", value)[1]


def linear(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Linear, of a vector; the columns of a flattened map take the hardware's order."""
    seen = graph.source(node)
    if not seen.is_vector:
        refuse(node, f"a linear layer takes (N, F), not (N, {', '.join(map(str, seen.dims))})",
               "put a Flatten before it")
    reference, weights = graph.weight(node, "weights", arguments.get("weight"))
    if weights.ndim != 2 or weights.shape[1] != seen.dims[0]:
        refuse(node, f"its weights have shape {weights.shape}, its input {seen.dims[0]} features",
               "export the model again")
    bias = _bias(graph, node, arguments, len(weights))
    if seen.order is not None:
        columns = np.empty_like(weights)
        columns[:, seen.order] = weights
        weights = columns
    return graph.add(FloatDense(graph.name(node, reference), weights, bias),
                     replace(seen, order=None))


def batch_norm(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Folded into the layer before it if no other reads that; else a factor and a bias a channel.
    """
    seen = graph.source(node)
    if seen.order is not None:
        refuse(node, "it takes a flattened map, channel by channel", "move it before the flatten")
    channels = seen.shape[2]
    values = []
    for name, default in (("weight", 1.0), ("bias", 0.0), ("running_mean", None),
                          ("running_var", None)):
        value = arguments.get(name)
        if value is None and default is None:
            refuse(node, f"it has no {name}", "use track_running_stats=True")
        values.append(np.full(channels, default) if value is None
                      else graph.weight(node, name, value)[1])
        if values[-1].shape != (channels,):
            refuse(node, f"its {name} has shape {values[-1].shape}, not ({channels},)")
    gamma, beta, mean, variance = values
    epsilon = arguments.number("eps", 1e-5) or 0.0
    if not (variance + epsilon > 0).all():
        refuse(node, "its running variance is not positive", "train the model again")
    scale = gamma / np.sqrt(variance + epsilon)
    return _affine(graph, node, seen, scale, beta - mean * scale)


def _affine(graph: Graph, node: Node, seen: Seen, scale: Floats, offset: Floats, position: int = 0
            ) -> Seen:
    """``scale * x + offset`` of each channel of ``seen``, the argument at ``position``."""
    last = graph.layers.get(seen.layer)
    if isinstance(last, FloatMultiply) and graph.is_read_once(node, position):
        weights = last.weights * scale.reshape(-1, *(1,) * (last.weights.ndim - 1))
        graph.layers[last.name] = replace(last, weights=weights, bias=last.bias * scale + offset)
        return seen
    return graph.add(FloatConvolution(
        graph.name(node), scale.reshape(-1, 1, 1, 1), offset, groups=len(scale)), seen)


def with_constant(function: Callable[[Floats], tuple[Floats, Floats]], otherwise: Operator,
                  commutes: bool) -> Operator:
    """A tensor and a constant, one or one a channel, or two tensors by ``otherwise``.

    ``function`` gives the factor and the offset that the constant stands for. Where the operator
    ``commutes``, the constant may come first.
    """
    def convert(graph: Graph, node: Node, arguments: Arguments) -> Seen | tuple[Seen, ...]:
        for position in (0, 1) if commutes else (0,):
            constant = graph.constant(node, 1 - position)
            if constant is None:
                continue
            if arguments.number("alpha", 1.0) != 1:
                refuse(node, "its alpha is not 1", "scale the constant instead")
            seen = graph.source(node, position)
            with np.errstate(divide="ignore"):
                values = function(_by_channel(node, constant, seen))
            if not all(np.isfinite(value).all() for value in values):
                refuse(node, "its constant is 0 or not finite", "repair the model")
            return _affine(graph, node, seen, *values, position)
        return otherwise(graph, node, arguments)
    return convert


def _by_channel(node: Node, constant: Floats, seen: Seen) -> Floats:
    """The ``constant`` as one number for each channel of ``seen``."""
    channels, places = seen.shape[2], len(seen.dims) - 1
    if constant.size == 1 and seen.order is None:
        return np.broadcast_to(constant.reshape(-1), channels)
    dims = (1,) * (places + 1 - constant.ndim) + constant.shape
    own, rest = dims[-places - 1], dims[-places:] if places else ()
    same = constant.reshape(own, -1) if math.prod(dims[:-places - 1]) == 1 else np.zeros((0, 0))
    if seen.order is not None or own not in (1, channels) or same.size == 0 or any(
            size not in (1, wanted) for size, wanted in zip(rest, seen.dims[1:], strict=True)) or (
            same != same[:, :1]).any():
        refuse(node, f"its constant has shape {constant.shape}",
               f"give it one number, or one for each of {channels} channels")
    return np.broadcast_to(same[:, 0], channels)


def negative(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """``-x``."""
    seen = graph.source(node)
    if seen.order is not None:
        refuse(node, "it takes a flattened or turned map", "move it before that")
    return _affine(graph, node, seen, -np.ones(seen.shape[2]), np.zeros(seen.shape[2]))


def plus(constant: Floats) -> tuple[Floats, Floats]:
    """``x + constant``."""
    return np.ones_like(constant), constant


def minus(constant: Floats) -> tuple[Floats, Floats]:
    """``x - constant``."""
    return np.ones_like(constant), -constant


def less_than(constant: Floats) -> tuple[Floats, Floats]:
    """``constant - x``."""
    return -np.ones_like(constant), constant


def times(constant: Floats) -> tuple[Floats, Floats]:
    """``x * constant``."""
    return constant, np.zeros_like(constant)


def over(constant: Floats) -> tuple[Floats, Floats]:
    """``x / constant``."""
    return 1 / constant, np.zeros_like(constant)
