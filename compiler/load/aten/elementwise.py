"""Activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..floats import FloatClamp, FloatConvolution, Floats, FloatUnary
from ..pt2 import Node
from ..unary import Unary
from .graph import (
    Arguments,
    Graph,
    Operator,
    Seen,
    clamp_bounds,
    refuse,
    refuse_power,
    refuse_scaled_elu,
    rrelu_slope,
    threshold_of,
)


def _clamp(graph: Graph, node: Node, low: float, high: float) -> Seen:
    keeps_zeros = low <= 0 <= high  # so a padding may wait across it
    seen = graph.waiting(node) if keeps_zeros else graph.source(node)
    result = graph.add(FloatClamp(graph.name(node), low, high), seen, positive=low >= 0)
    return replace(result, dims=seen.dims, padding=seen.padding)


def relu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """ReLU."""
    return _clamp(graph, node, 0.0, math.inf)


def clamp(low: float, high: float) -> Operator:
    """What bounds its input, by ``low`` and ``high`` where it gives no bounds."""
    def convert(graph: Graph, node: Node, arguments: Arguments) -> Seen:
        least, most = clamp_bounds(arguments, low, high)
        if not least < most:
            refuse(node, f"its minimum {least:g} is not below its maximum {most:g}",
                   "mend its bounds")
        return _clamp(graph, node, least, most)
    return convert


def _unary(graph: Graph, node: Node, function: Unary, parameter: Floats | None = None) -> Seen:
    seen = graph.source(node)
    result = graph.add(FloatUnary(graph.name(node), function, parameter), seen,
                       positive=function.is_positive)
    return replace(result, dims=seen.dims)


def unary(function: Unary) -> Operator:
    """A function without parameters."""
    return lambda graph, node, arguments: _unary(graph, node, function)


def gelu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """GELU, exact or by a tanh."""
    kinds: Mapping[object, Unary] = {"none": Unary.GELU, "tanh": Unary.GELU_TANH}
    approximate = arguments.get("approximate", "none")
    if approximate not in kinds:
        refuse(node, f"its approximation {approximate!r:.20} is none of PyTorch's")
    return _unary(graph, node, kinds[approximate])


def _number(arguments: Arguments, node: Node, name: str, default: float) -> Floats:
    value = arguments.number(name, default)
    if value is None or not math.isfinite(value):
        refuse(node, f"its {name} is no number")
    return np.array([value])


def with_number(function: Unary, name: str, default: float) -> Operator:
    """A function with one number that the call names, or leaves at its ``default``."""
    return lambda graph, node, arguments: _unary(
        graph, node, function, _number(arguments, node, name, default))


def rrelu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """RReLU, which has one slope where it is not trained."""
    return _unary(graph, node, Unary.LEAKY_RELU, np.array([rrelu_slope(arguments)]))


def prelu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """PReLU with one slope, or one a channel."""
    slopes = graph.weight(node, "weight", arguments.get("weight"))[1]
    seen = graph.source(node)
    if slopes.ndim != 1 or slopes.size not in (1, seen.dims[0]) or (
            slopes.size > 1 and seen.order is not None):
        refuse(node, f"its slopes have shape {slopes.shape}, not one, or one for each of "
                     f"{seen.dims[0]} channels")
    return _unary(graph, node, Unary.LEAKY_RELU, slopes)


def elu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """ELU; a CELU or SELU scales its input or output, which is refused."""
    refuse_scaled_elu(node, arguments)
    return _unary(graph, node, Unary.ELU, _number(arguments, node, "alpha", 1.0))


def softplus(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Softplus."""
    beta = _number(arguments, node, "beta", 1.0)
    if beta[0] <= 0:
        refuse(node, f"its beta {beta[0]:g} must be positive")
    return _unary(graph, node, Unary.SOFTPLUS, beta)


def celu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """CELU."""
    alpha = _number(arguments, node, "alpha", 1.0)
    if alpha[0] == 0:
        refuse(node, "its alpha is 0", "give it another, or use ReLU")
    return _unary(graph, node, Unary.CELU, alpha)


def threshold(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """Threshold whose value is 0, or the threshold itself, which is a clamp."""
    least, value = threshold_of(node, arguments)
    if value == least:
        return _clamp(graph, node, least, math.inf)
    return _unary(graph, node, Unary.THRESHOLD, np.array([least]))


def softsign(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """``x / (1 + |x|)``, as which a program has a Softsign; other quotients are refused."""
    seen, under = graph.source(node), graph.source(node, 1)
    one_more = graph.layers.get(under.layer)
    size = graph.layers.get(one_more.inputs[0]) if isinstance(one_more, FloatConvolution) else None
    if not (isinstance(one_more, FloatConvolution) and one_more.weights.shape[1:] == (1, 1, 1)
            and (one_more.weights == 1).all() and (one_more.bias == 1).all()
            and isinstance(size, FloatUnary) and size.function is Unary.ABS
            and size.inputs == (seen.layer,) and under.dims == seen.dims):
        refuse(node, "quotients of maps are not supported, but for x / (1 + x.abs())",
               "multiply, or divide by a constant")
    return _unary(graph, node, Unary.SOFTSIGN)


def square(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """The square."""
    refuse_power(node, arguments)
    return _unary(graph, node, Unary.SQUARE)
