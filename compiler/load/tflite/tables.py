"""Elementwise operators that depend on one int8 tensor: each is one table of its 256 values.

A SiLU comes as LOGISTIC and MUL, an ELU as DEQUANTIZE, ELU, QUANTIZE; whatever lies between a
tensor and the last of them is a single table. The values are those of the reference kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers, PenjingError
from ..affine import Affine, quantize_multiplier
from . import operators
from .arithmetic import (
    HALF_BITS,
    SPARE_BITS,
    divide_by_power,
    double_high,
    float_ratio,
    half_multiplier,
    multiply,
    product_ratio,
    sum_scales,
    truncate,
)
from .file import Operator, Tensor
from .graph import AGAIN, Graph, Reals, Refused, Tabulated, affine, map_shape
from .operators import (
    Convert,
    activation_bounds,
    input_affine,
    output_affine,
    probabilities,
)

Function = Callable[[Operator, Affine, Affine, Integers, ir.ScaleRounding], Integers]
"""An operator's output for integers that it reads, before it is clamped, from both meanings."""

_SWISH_SHIFT = 7
"""Bits that a HARD_SWISH appends to its input."""


def operand(graph: Graph, operator: Operator, position: int = 0) -> Tabulated:
    """The input at ``position`` as a function of one int8 tensor, which may be itself."""
    tensor = graph.tensor(operator, position)
    if tensor.index in graph.tables:
        return graph.tables[tensor.index]
    if tensor.data is not None:
        return Tabulated(None, row_per_channel(graph, operator, tensor, position))
    graph.value(operator, position)
    affine(tensor)
    return Tabulated(tensor.index, np.arange(-128, 128)[None])


def row_per_channel(graph: Graph, operator: Operator, tensor: Tensor, position: int,
                    kind: str = "INT8") -> Integers:
    """A constant of ``kind``, one or one a channel, as (rows, 1)."""
    channels = map_shape(graph.tensor(operator, 0, ends=True))[2]
    values = graph.integers(operator, position, (kind,))
    if values.size not in (1, channels) or (values.size > 1 and tensor.shape[-1] != channels):
        raise Refused(operator, f"its constant is {tensor.shape}, not one number, or one for each "
                                f"of {channels} channels", "give it the shape of the channels")
    return values.reshape(-1, 1)


def _source(operands: Sequence[Tabulated]) -> int | None:
    """The one tensor that all ``operands`` are functions of, if so."""
    sources = {one.source for one in operands if one.source is not None}
    return sources.pop() if len(sources) == 1 else None


def _tabulate(graph: Graph, operator: Operator, source: int, values: Integers, target: Affine,
              what: str) -> None:
    """Let a table of ``values`` (rows, 256) of the tensor ``source`` be the output."""
    tensor, name = graph.model.tensors[source], graph.name_of(operator, what)
    out = graph.tensor(operator, 0, ends=True)
    if map_shape(out) != map_shape(tensor):
        raise Refused(operator, f"it makes {tensor.shape} to {out.shape}", AGAIN)
    values = np.broadcast_to(values, (len(values), 256))
    graph.add(ir.Table(name, graph.layer_of(tensor), values, target.bits, target.signed, -128, 0,
                       target.zero_point, target.scale))
    graph.tables[out.index] = Tabulated(source, values)
    graph.finish_layer(operator, name)


def unary(what: str, function: Function) -> Convert:
    """The operator whose every output element is ``function`` of its input element."""
    def convert(graph: Graph, operator: Operator) -> None:
        meaning, target = input_affine(graph, operator), output_affine(graph, operator)
        given = operand(graph, operator)
        if given.source is None:
            raise Refused(operator, "it reads a constant", AGAIN)
        values = function(operator, meaning, target, given.values, graph.rounding)
        _tabulate(graph, operator, given.source, np.clip(values, -128, 127), target, what)
    return convert


# --- of two operands
def binary(what: str, function: Callable[..., Integers], otherwise: Convert) -> Convert:
    """The operator of two functions of one tensor, or of one and a constant; or ``otherwise``."""
    def convert(graph: Graph, operator: Operator) -> None:
        meanings = [input_affine(graph, operator, position) for position in range(2)]
        target = output_affine(graph, operator)
        given = [operand(graph, operator, position) for position in range(2)]
        source = _source(given)
        if source is None:
            otherwise(graph, operator)
            return
        low, high = -128, 127
        if "activation" in operator.options:
            low, high = activation_bounds(operator, target)
        values = function(*meanings, target, *(one.values for one in given), graph.rounding)
        _tabulate(graph, operator, source, np.clip(values, low, high), target, what)
    return convert


def product(first: Affine, second: Affine, target: Affine, a: Integers, b: Integers,
            rounding: ir.ScaleRounding) -> Integers:
    """MUL."""
    ratio = quantize_multiplier(product_ratio(first, second, target))
    exact = (a - first.zero_point) * (b - second.zero_point)
    return multiply(exact, *ratio, rounding) + target.zero_point


def extreme(function: Callable[[Integers, Integers], Integers]) -> Callable[..., Integers]:
    """MINIMUM or MAXIMUM, of integers that all mean the same."""
    def compute(first: Affine, second: Affine, target: Affine, a: Integers, b: Integers,
                rounding: ir.ScaleRounding) -> Integers:
        if not first == second == target:
            raise PenjingError(f"its inputs and output must have one scale and zero point; {AGAIN}")
        return function(a, b)
    return compute


def total(sign: int) -> Callable[..., Integers]:
    """ADD, or SUB with a ``sign`` of -1."""
    def compute(first: Affine, second: Affine, target: Affine, a: Integers, b: Integers,
                rounding: ir.ScaleRounding) -> Integers:
        common, ratio = sum_scales(first, second, target)
        scaled = [multiply((x - meaning.zero_point) << SPARE_BITS[target.bits],
                           *quantize_multiplier(meaning.scale / common), rounding)
                  for x, meaning in ((a, first), (b, second))]
        exact = scaled[0] + sign * scaled[1]
        if ratio >= 1 and (sign > 0 or ratio == 1 or exact.any()):
            raise PenjingError(f"the scale of its output is too small for its inputs; {AGAIN}")
        if ratio > 1 and rounding is ir.ScaleRounding.DOUBLE:
            # A map minus itself: LiteRT, which then shifts by a negative number, makes 1 of 0.
            return np.full_like(exact, 1 + target.zero_point)
        return multiply(exact, *quantize_multiplier(ratio), rounding) + target.zero_point
    return compute


def two_maps(graph: Graph, operator: Operator) -> None:
    """What no hardware computes."""
    raise Refused(operator, "it takes two maps, neither a function of the other or a constant",
                  "leave it to the host")


# --- reals within the network
def dequantize(graph: Graph, operator: Operator) -> None:
    """DEQUANTIZE: the output of the network, or reals that are quantized again soon."""
    out = graph.tensor(operator, 0, ends=True)
    if graph.model.outputs == (out.index,):
        operators.dequantize(graph, operator)
        return
    meaning, given = input_affine(graph, operator), operand(graph, operator)
    if given.source is None:
        raise Refused(operator, "it reads a constant", AGAIN)
    reals = np.float32(meaning.scale) * (given.values - meaning.zero_point).astype(np.float32)
    graph.reals[out.index] = Reals(given.source, reals)


def reals(function: Callable[[Operator, NDArray[np.float32]], NDArray[np.float32]],
          otherwise: Convert) -> Convert:
    """``function`` of reals, and ``otherwise`` of integers."""
    def convert(graph: Graph, operator: Operator) -> None:
        source = graph.tensor(operator, 0)
        if source.kind != "FLOAT32":
            otherwise(graph, operator)
            return
        given = graph.reals.get(source.index)
        if given is None:
            raise Refused(operator, "it is no function of a quantized tensor",
                          "quantize the whole network to int8")
        out = graph.tensor(operator, 0, ends=True)
        graph.reals[out.index] = Reals(given.source, function(operator, given.values))
    return convert


def elu(operator: Operator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """``exp(x) - 1`` below zero."""
    below = np.vectorize(math.expm1, otypes=[np.float64])(np.minimum(x, 0))
    return np.where(x < 0, below, x).astype(np.float32)


def leaky_relu_of_reals(operator: Operator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """``alpha * x`` below zero."""
    return np.where(x > 0, x, x * np.float32(operator.options["alpha"]))


def only_reals(graph: Graph, operator: Operator) -> None:
    """What the reference has no integer kernel for."""
    raise Refused(operator, "the reference kernels know it of reals only",
                  "leave it between DEQUANTIZE and QUANTIZE, as converters do")


def quantize(graph: Graph, operator: Operator) -> None:
    """QUANTIZE of reals that are a function of one tensor; any other is `operators.quantize`."""
    given = graph.reals.get(graph.tensor(operator, 0).index)
    if given is None:
        operators.quantize(graph, operator)
        return
    target = output_affine(graph, operator)
    values = _rounded(operator, given.values / np.float32(target.scale), target)
    _tabulate(graph, operator, given.source, np.clip(values, -128, 127), target, "quantize")


def _rounded(operator: Operator, steps: NDArray[np.float32], target: Affine) -> Integers:
    """``steps`` as integers, halves away from zero."""
    if not np.isfinite(steps).all():
        raise Refused(operator, f"its scale {target.scale:g} is too small for its output", AGAIN)
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)).astype(np.float64)
    return np.clip(rounded, -1e6, 1e6).astype(np.int64) + target.zero_point


# --- by floats
def real(function: Callable[[Operator, float], float]) -> Function:
    """A function of reals: the reference fills a table in float32."""
    def compute(operator: Operator, source: Affine, target: Affine, x: Integers,
                rounding: ir.ScaleRounding) -> Integers:
        steps = np.float32(source.scale) * (x - source.zero_point).astype(np.float32)
        reals = np.array([function(operator, step) for step in steps.reshape(-1).tolist()])
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = reals.astype(np.float32) * (np.float32(1) / np.float32(target.scale))
        return _rounded(operator, scaled, target).reshape(x.shape)
    return compute


def logistic(graph: Graph, operator: Operator) -> None:
    """LOGISTIC: ``1 / (1 + exp(-x))``."""
    probabilities(graph, operator)
    unary("logistic", real(_logistic))(graph, operator)


def _logistic(operator: Operator, x: float) -> float:
    if x < -80:
        return 0.0
    one = np.float32(1)  # each step is rounded to float32, which decides halves of 1/256
    return float(one / (one + np.float32(math.exp(-x))))


def tanh(operator: Operator, x: float) -> float:
    """The hyperbolic tangent."""
    return math.tanh(x)


def gelu(operator: Operator, x: float) -> float:
    """By the complementary error function, or the approximation by a tanh; steps in float32."""
    value = np.float32(x)
    half = np.float32(0.5) * value
    if not operator.options["approximate"]:
        return float(half * np.float32(math.erfc(value * np.float32(-math.sqrt(0.5)))))
    inner = value + np.float32(0.044715) * value * value * value
    bend = np.float32(math.tanh(np.float32(math.sqrt(2 / math.pi)) * inner))
    return float(half * (np.float32(1) + bend))


# --- by integers
def leaky_relu(operator: Operator, source: Affine, target: Affine, q: Integers,
               rounding: ir.ScaleRounding) -> Integers:
    """LEAKY_RELU: each side of zero has a multiplier of its own."""
    alpha = np.float32(operator.options["alpha"])
    with np.errstate(over="ignore", invalid="ignore"):
        slope = np.float32(source.scale) * alpha / np.float32(target.scale)
    if not np.isfinite(slope):
        raise Refused(operator, f"its slope {alpha:g} is no number for its scales", AGAIN)
    x = q - source.zero_point
    above = multiply(x, *quantize_multiplier(float_ratio(source, target)), rounding)
    multiplier, shift = quantize_multiplier(abs(float(slope)))
    below = multiply(x, -multiplier if slope < 0 else multiplier, shift, rounding)
    return np.where(x >= 0, above, below) + target.zero_point


def prelu(first: Affine, second: Affine, target: Affine, q: Integers, slopes: Integers,
          rounding: ir.ScaleRounding) -> Integers:
    """PRELU with one slope, or one a channel."""
    x, slopes = q - first.zero_point, slopes - second.zero_point
    above = quantize_multiplier(float_ratio(first, target))
    below = quantize_multiplier(product_ratio(first, second, target))
    return np.where(x >= 0, multiply(x, *above, rounding),
                    multiply(x * slopes, *below, rounding)) + target.zero_point


def hard_swish(operator: Operator, source: Affine, target: Affine, q: Integers,
               rounding: ir.ScaleRounding) -> Integers:
    """HARD_SWISH in fixed point of 16 bits, each step rounded and saturated as in the reference."""
    fine = np.float32(1 / (1 << _SWISH_SHIFT)) * np.float32(source.scale)
    output, exponent = _half_multiplier(fine / np.float32(target.scale))
    relu, relu_exponent = _half_multiplier(fine / np.float32(3 / 32768))
    if not -HALF_BITS <= exponent <= 0 or relu_exponent < -HALF_BITS:
        raise Refused(operator, f"its scales, {source.scale:g} and {target.scale:g}, are too far "
                                f"apart for its 16-bit arithmetic", AGAIN)
    x = (q - source.zero_point) << _SWISH_SHIFT
    scaled = double_high(x, output, HALF_BITS)
    share = _saturated(x << max(0, relu_exponent - 1))
    share = double_high(share, relu, HALF_BITS)
    if relu_exponent > 0:
        share = _saturated(share << 1)
    share = divide_by_power(share, max(0, -relu_exponent))
    share = (share + (1 << HALF_BITS)) >> 1
    product = truncate(share * scaled, HALF_BITS)
    return divide_by_power(_saturated(product), -exponent) + target.zero_point


def _half_multiplier(ratio: np.float32) -> tuple[int, int]:
    """The 16 bits of a multiplier, and its exponent."""
    multiplier, shift = quantize_multiplier(float(ratio))
    return half_multiplier(multiplier), shift


def _saturated(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(values, -(1 << HALF_BITS), (1 << HALF_BITS) - 1)
