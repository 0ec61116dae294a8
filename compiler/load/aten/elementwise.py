"""Activations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..floats import FloatRelu, Floats, FloatUnary
from ..pt2 import Node
from ..unary import Unary
from .graph import Arguments, Graph, Operator, Seen, refuse, refuse_scaled_elu


def _relu(graph: Graph, node: Node, limit: float | None) -> Seen:
    seen = graph.waiting(node)
    result = graph.add(FloatRelu(graph.name(node), limit), seen, positive=True)
    # A ReLU keeps zeros, so a padding may wait across it.
    return replace(result, dims=seen.dims, padding=seen.padding)


def relu(limit: float | None) -> Operator:
    """ReLU, and ReLU6 with a ``limit``."""
    return lambda graph, node, arguments: _relu(graph, node, limit)


def clamp(otherwise: float | None) -> Operator:
    """Hardtanh and clamp from 0 on, up to ``otherwise`` where no bound is given."""
    def convert(graph: Graph, node: Node, arguments: Arguments) -> Seen:
        low = arguments.number("min_val", arguments.number("min", -1.0))
        high = arguments.number("max_val", arguments.number("max", otherwise))
        if low != 0:
            refuse(node, f"its minimum is {low}",
                   "only 0 is supported (ReLU, ReLU6, Hardtanh(0, x))")
        if high is not None and not 0 < high < math.inf:
            refuse(node, f"its maximum is {high}", "it must be positive and finite")
        return _relu(graph, node, high)
    return convert


def _unary(graph: Graph, node: Node, function: Unary, parameter: Floats | None = None) -> Seen:
    seen = graph.source(node)
    result = graph.add(FloatUnary(graph.name(node), function, parameter), seen,
                       positive=function in (Unary.SIGMOID, Unary.HARD_SIGMOID, Unary.SOFTPLUS))
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


def leaky_relu(graph: Graph, node: Node, arguments: Arguments) -> Seen:
    """LeakyReLU."""
    return _unary(graph, node, Unary.LEAKY_RELU, _number(arguments, node, "negative_slope", 0.01))


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
