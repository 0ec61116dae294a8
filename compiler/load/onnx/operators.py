"""The operators of quantized networks, one function each: what it becomes in the integer network.

Each takes the `Operands` of a node and returns the `Value` of its first output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ... import ir
from ..entries import entries
from . import elementwise, joins, linear
from .arithmetic import is_alike, narrowed, quantize, real
from .functions import FUNCTIONS
from .graph import Convert, Operands, Operators, Quantized, real_input, real_output
from .model import TYPES, Array, ElementType
from .shapes import ended_by_softmax, joined
from .values import (
    FloatInput,
    Integers,
    Known,
    Part,
    Real,
    Value,
)

_ONE = np.ones(1, np.float32)
_UINT8 = 2
"""Its number among `TYPES`."""


# --- scales and zero points
def quantized(operands: Operands, scale: int, zero: int) -> Quantized:
    """What the output's integers stand for, by the inputs ``scale`` and ``zero``."""
    size = operands.scalar(operands.scales(scale), "scales")
    kind = _output_type(operands, zero)
    if not operands.has(zero):
        return Quantized(np.float32(size), 0, kind)
    return Quantized(np.float32(size), int(operands.scalar(operands.zeros(zero), "zero points")),
                     kind)


def _output_type(operands: Operands, zero: int) -> ElementType:
    """What it quantizes to: the type of the input ``zero``, or else of an attribute, or uint8."""
    kind = TYPES.get(operands.integer("output_dtype", _UINT8) or _UINT8)
    if operands.has(zero):
        kind = operands.known(zero, "zero point").type
    if kind is None or not kind.integer or kind.bits > 16:
        operands.refuse(f"it quantizes to the type {kind.name if kind else 'unknown'}",
                        "quantize to uint8 or int8")
    return kind


def quantize_linear(operands: Operands) -> Value:
    """QuantizeLinear, of an activation or of a constant."""
    value = operands.value(0)
    _refuse_blocks(operands)
    if isinstance(value, Known):
        return _quantize_constant(operands, value)
    return quantize(operands, value, quantized(operands, 1, 2))


def _quantize_constant(operands: Operands, value: Known) -> Known:
    scale, zero = operands.scales(1), operands.zeros(2)
    kind = _output_type(operands, 2)
    axis = _axis(operands, value, (scale, zero))
    reals = value.reals()
    if not np.isfinite(reals).all():
        operands.refuse("it quantizes NaN or infinite values", "repair the network")
    operands.builder.spend_folded(operands.node, reals.size)
    low, high = Quantized(np.float32(1), 0, kind).range
    shape = replace(value, axis=axis)
    with np.errstate(over="ignore"):
        steps = np.rint(reals.astype(np.float32) / shape.along(scale)) + shape.along(zero)
    return Known(np.clip(steps, low, high).astype(kind.dtype), kind)


def dequantize_linear(operands: Operands) -> Value:
    """DequantizeLinear, of integers or of a constant."""
    value = operands.value(0)
    _refuse_blocks(operands)
    scale, zero = operands.scales(1), operands.zeros(2)
    if isinstance(value, Known):
        if value.scale is not None or value.values.dtype.kind not in "iu":
            operands.refuse("it dequantizes what are no integers")
        operands.builder.spend_folded(operands.node, value.values.size)
        return replace(value, scale=scale, zero=zero, axis=_axis(operands, value, (scale, zero)))
    return _dequantized(operands, value, scale, zero)


def _dequantized(operands: Operands, value: Value, scale: Array, zero: Array) -> Real:
    if not isinstance(value, Integers):
        operands.refuse("it dequantizes what are no integers")
    size = np.float32(operands.scalar(scale, "scales"))
    point = int(operands.scalar(zero, "zero points"))
    operands.builder.describe(value.name, size, point)
    return Real(value.name, value.layout, size.reshape(1), point)


def _refuse_blocks(operands: Operands) -> None:
    size = operands.integer("block_size", 0)
    if size:
        operands.refuse(f"it has a scale for each block of {size}, and no accumulator is the sum "
                        f"of products of several scales", "quantize weights by output channel")


def _axis(operands: Operands, value: Known, numbers: tuple[Array, ...]) -> int:
    """The axis along which a constant has scales and zero points."""
    if all(entry.size == 1 for entry in numbers):
        return 0
    rank = value.values.ndim
    axis = operands.integer("axis", 1)
    if not -rank <= axis < rank or any(entry.size not in (1, value.values.shape[axis])
                                       for entry in numbers):
        operands.refuse(f"its scales and zero points do not fit a constant of shape "
                        f"{value.values.shape} along axis {axis}")
    return axis % rank


def qlinear_input(operands: Operands, position: int) -> Real:
    """A quantized activation of a QLinear operator: tensor, scale, zero point."""
    value = operands.activation(position)
    return _dequantized(operands, value, operands.scales(position + 1),
                        operands.zeros(position + 2))


def _weights(operands: Operands, position: int, axis: int) -> Known:
    """Quantized weights of a QLinear operator: tensor, scale, zero point."""
    known = operands.known(position, "weights")
    if known.values.dtype.kind not in "iu" or known.scale is not None or known.values.ndim < 2:
        operands.refuse("its weights are no integers", "quantize the network again")
    return replace(known, scale=operands.scales(position + 1), zero=operands.zeros(position + 2),
                   axis=axis % known.values.ndim)


def _bias(operands: Operands, position: int, gain: float = 1.0) -> Known | None:
    """A bias of any shape that holds one value an output."""
    if not operands.has(position):
        return None
    known = operands.known(position, "bias")
    if gain == 1:
        return known
    return Known(known.reals() * gain)


def _raw_bias(operands: Operands, position: int, x: Real, weights: Known) -> Known | None:
    """The bias of a QLinear operator: integers in steps of the accumulators."""
    if not operands.has(position):
        return None
    values = operands.numbers(position, "bias").reshape(-1)
    if values.dtype.kind not in "iu" or weights.scale is None:
        operands.refuse("its bias is no list of integers")
    if weights.scale.size not in (1, values.size):
        operands.refuse(f"its bias has {values.size} values, its weights have "
                        f"{weights.scale.size} scales")
    return Known(values, None, (x.scale[0] * weights.scale).astype(np.float32),
                 np.zeros(1, np.int64))


# --- multiplication by weights
def conv(operands: Operands) -> Value:
    """Conv of reals."""
    return linear.convolve(operands, real(operands), operands.known(1, "weights"),
                           _bias(operands, 2))


def qlinear_conv(operands: Operands) -> Value:
    """QLinearConv: x, scale, zero; w, scale, zero; scale, zero; bias."""
    x, weights = qlinear_input(operands, 0), _weights(operands, 3, 0)
    accumulators = linear.convolve(operands, x, weights, _raw_bias(operands, 8, x, weights))
    return quantize(operands, accumulators, quantized(operands, 6, 7), "_q")


def conv_integer(operands: Operands) -> Value:
    """ConvInteger: x, w, zero of x, zero of w."""
    x, weights = _plain(operands, 0)
    return _accumulators(linear.convolve(operands, x, weights, None))


def matmul_integer(operands: Operands) -> Value:
    """MatMulInteger: a, b, zero of a, zero of b."""
    x, weights = _plain(operands, -1)
    return _accumulators(linear.multiply(operands, x, weights, None))


def _plain(operands: Operands, axis: int) -> tuple[Real, Known]:
    """Integers and weights that an operator takes as they are, less their zero points."""
    value, known = operands.activation(0), operands.known(1, "weights")
    if not isinstance(value, Integers) or known.values.dtype.kind not in "iu" or (
            known.scale is not None or known.values.ndim < 2):
        operands.refuse("it takes integers", "quantize its input and its weights")
    point = int(operands.scalar(operands.zeros(2), "zero points"))
    operands.builder.describe(value.name, np.float32(1), point)
    return (Real(value.name, value.layout, _ONE, point),
            replace(known, scale=_ONE, zero=operands.zeros(3), axis=axis % known.values.ndim))


def _accumulators(value: Real) -> Integers:
    return Integers(value.name, value.layout)


def matmul(operands: Operands) -> Value:
    """MatMul of reals by a constant matrix."""
    return linear.multiply(operands, real(operands), operands.known(1, "weights"), None)


def qlinear_matmul(operands: Operands) -> Value:
    """QLinearMatMul: a, scale, zero; b, scale, zero; scale, zero."""
    x, weights = qlinear_input(operands, 0), _weights(operands, 3, -1)
    accumulators = linear.multiply(operands, x, weights, None)
    return quantize(operands, accumulators, quantized(operands, 6, 7), "_q")


def gemm(operands: Operands) -> Value:
    """Gemm of reals by a constant matrix."""
    alpha, beta = operands.number("alpha", 1.0), operands.number("beta", 1.0)
    if operands.integer("transA", 0) or alpha <= 0:
        operands.refuse("it transposes its first input, or its alpha is not positive",
                        "use transA 0 and alpha 1")
    return linear.multiply(operands, real(operands), operands.known(1, "weights"),
                           _bias(operands, 2, beta), gain=alpha,
                           transposed=bool(operands.integer("transB", 0)))


def qgemm(operands: Operands) -> Value:
    """QGemm: a, scale, zero; b, scale, zero; bias; scale, zero."""
    alpha, transposed = operands.number("alpha", 1.0), bool(operands.integer("transB", 0))
    if operands.integer("transA", 0) or alpha != 1 or not operands.has(7):
        operands.refuse("it transposes its first input, scales, or puts out floats",
                        "use transA 0 and alpha 1, and quantize its output")
    x, weights = qlinear_input(operands, 0), _weights(operands, 3, 0 if transposed else 1)
    accumulators = linear.multiply(operands, x, weights, _raw_bias(operands, 6, x, weights),
                                   transposed=transposed)
    return quantize(operands, accumulators, quantized(operands, 7, 8), "_q")


# --- element by element
def arithmetic(operation: np.ufunc, otherwise: Convert) -> Convert:
    """Add, Sub, Mul or Div; ``otherwise`` of two activations that are not of one tensor."""
    def convert(operands: Operands) -> Value | tuple[Value, ...]:
        known = [isinstance(operands.value(position), Known) for position in (0, 1)]
        if all(known):
            return elementwise.folded(operands, operation)
        if any(known):
            return elementwise.with_constant(operands, operation)
        return elementwise.of_one_tensor(operands, operation) or otherwise(operands)
    return convert


def add(operands: Operands) -> Value:
    """Add of two activations."""
    return joins.total(operands, operands.activation(0), operands.activation(1))


def subtract(operands: Operands) -> Value:
    """Sub of two activations."""
    return joins.total(operands, operands.activation(0), operands.activation(1), subtracts=True)


def multiply(operands: Operands) -> Value:
    """Mul of two activations."""
    return joins.product(operands, real(operands), real(operands, 1))


def divide(operands: Operands) -> Value:
    """Div of two activations."""
    operands.refuse("it divides by an activation", "divide by constants only")


def qlinear_add(operands: Operands) -> Value:
    """QLinearAdd: a, scale, zero; b, scale, zero; scale, zero."""
    return _qlinear_pair(operands, np.add) or quantize(operands, joins.total(
        operands, qlinear_input(operands, 0), qlinear_input(operands, 3)),
        quantized(operands, 6, 7), zero_first=True)


def qlinear_multiply(operands: Operands) -> Value:
    """QLinearMul: a, scale, zero; b, scale, zero; scale, zero."""
    return _qlinear_pair(operands, np.multiply) or quantize(operands, joins.product(
        operands, qlinear_input(operands, 0), qlinear_input(operands, 3)),
        quantized(operands, 6, 7), "_q", zero_first=True)


def _qlinear_pair(operands: Operands, operation: np.ufunc) -> Value | None:
    """The operation on an activation and a constant; None if there is no constant."""
    constant = next((n for n in (0, 3) if isinstance(operands.value(n), Known)), None)
    if constant is None:
        return None
    position = 3 - constant
    known = replace(operands.known(constant, "constant"), scale=operands.scales(constant + 1),
                    zero=operands.zeros(constant + 2), axis=0)
    if known.values.dtype.kind not in "iu":
        operands.refuse("its constant is no integer", "quantize the network again")
    value = qlinear_input(operands, position)
    made = elementwise.by_known(operands, operation, value, known, False, lambda: (
        elementwise.as_curve(value, operands.node.inputs[position])))
    return quantize(operands, made, quantized(operands, 6, 7), "_q", zero_first=True)


def qlinear_function(operator: str) -> Convert:
    """A function of single elements: x, scale, zero; scale, zero."""
    def convert(operands: Operands) -> Value:
        curve = elementwise.as_curve(qlinear_input(operands, 0), operands.node.inputs[0])
        step = FUNCTIONS[operator](operands, curve)
        return quantize(operands, elementwise.stepped(curve, step), quantized(operands, 3, 4))
    return convert


def qlinear_concat(operands: Operands) -> Value:
    """QLinearConcat: scale, zero; then tensor, scale, zero of each input.

    What has another scale than the result comes from a table, as in ONNX Runtime.
    """
    target = quantized(operands, 0, 1)
    parts: list[Integers | Part] = []
    for position in range(2, len(operands.node.inputs), 3):
        value = qlinear_input(operands, position)
        parts.append(value if is_alike(operands.builder, value, target) else
                     elementwise.as_curve(value, operands.node.inputs[position]))
    if not parts:
        operands.refuse("it has no inputs")
    return quantize(operands, joined(operands, parts), target)


def qlinear_softmax(operands: Operands) -> Value:
    """QLinearSoftmax at the end: x, scale, zero; what quantizes its result is left away."""
    value = qlinear_input(operands, 0)
    source = real_input(operands.node.outputs[0])
    operands.builder.values[source] = value
    return ended_by_softmax(operands, value, ir.TailFunction.SOFTMAX, source,
                            real_output(operands.node.outputs[0]))


def cast(operands: Operands) -> Value:
    """Cast of integers to float, or to wider integers, and of constants."""
    value, target = operands.value(0), operands.integer("to", 0)
    if isinstance(value, Known):
        if value.scale is None and target in (6, 7):
            operands.builder.spend_folded(operands.node, value.values.size)
            numbers = value.values
            if numbers.dtype.kind == "f" and not (np.abs(numbers) < 1 << 31).all():
                operands.refuse("it casts what is no int32")
            return Known(numbers.astype(np.int64))
        if target in (1, 10, 11):
            return value if value.scale is not None else Known(value.values.astype(np.float32))
    elif target in (1, 10, 11):
        if isinstance(value, Integers):
            return Real(value.name, value.layout, _ONE)
        return value
    elif isinstance(value, Integers) and target in (6, 7):
        return value
    return operands.refuse(f"it casts to element type {target}",
                           "cast integers to float32 only, and quantize with QuantizeLinear")


def bounded(low: float, high: float) -> Convert:
    """Relu and Clip; Clip's own bounds are narrower still."""
    def convert(operands: Operands) -> Value:
        least, most = low, high
        if operands.node.operator == "Clip":
            least, most = _clip_bounds(operands)
        value = operands.value(0)
        if isinstance(value, Known):
            return _bounded_constant(operands, value, least, most)
        if isinstance(value, Integers):
            kind = operands.builder.types[value.name]
            edges = [int(min(max(bound, kind.low), kind.high)) for bound in (least, most)]
            return replace(value, name=narrowed(operands, value.name, *edges))
        if isinstance(value, FloatInput):
            operands.refuse("it reads the network's input before that is quantized",
                            "let a QuantizeLinear be the first to read it")
        return elementwise.clamped(value, least, most)
    return convert


def _bounded_constant(operands: Operands, value: Known, low: float, high: float) -> Known:
    """A constant within bounds, as exporters clip weights of fewer bits than their type has."""
    if value.scale is not None:
        operands.refuse("it clips a dequantized constant", "clip its integers, or store it clipped")
    operands.builder.spend_folded(operands.node, value.values.size)
    bounded = np.minimum(np.maximum(value.values, low), high)
    return replace(value, values=bounded.astype(value.values.dtype))


def _clip_bounds(operands: Operands) -> tuple[float, float]:
    bounds = []
    for position, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        if operands.has(position):
            known = operands.known(position, "bounds")
            bound = float(operands.scalar(known.reals().reshape(-1), "bounds"))
        else:
            bound = operands.number(name, default)
        bounds.append(bound)
    if not bounds[0] <= bounds[1]:
        operands.refuse(f"its bounds {bounds} are not in order")
    return bounds[0], bounds[1]


_QUANTIZERS: Mapping[str, Convert] = {
    "QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear}
_PAIRS = "two activations; axes of 1 are repeated, as those of a vector (N, C, 1, 1)"
_CONSTANT = "an activation and a constant, one or one a channel, of either sign"
ARITHMETIC: Operators = {
    **entries("activations of uint8, int8 or 16 bits with one scale; weights of 2 bits or more, "
              "with a scale each output or one", "quantize statically, by tensor or by channel", {
        (domain, name): convert for domain in ("", "com.microsoft")
        for name, convert in _QUANTIZERS.items()}),
    **entries("one or two dimensions; any kernel, stride, padding, dilation and groups",
              "make its weights constants", {
        ("", "Conv"): conv, ("", "QLinearConv"): qlinear_conv, ("", "ConvInteger"): conv_integer}),
    **entries("a vector by a constant matrix", "flatten its input", {
        ("", "MatMul"): matmul, ("", "QLinearMatMul"): qlinear_matmul,
        ("", "MatMulInteger"): matmul_integer, ("", "Gemm"): gemm,
        ("com.microsoft", "QGemm"): qgemm}),
    **entries(f"{_PAIRS}; {_CONSTANT}; constants alone", "", {
        ("", "Add"): arithmetic(np.add, add), ("", "Sub"): arithmetic(np.subtract, subtract),
        ("", "Mul"): arithmetic(np.multiply, multiply)}),
    **entries(f"{_PAIRS}; {_CONSTANT}", "", {
        ("com.microsoft", "QLinearAdd"): qlinear_add,
        ("com.microsoft", "QLinearMul"): qlinear_multiply}),
    **entries("of channels, each input requantized by a table", "concatenate channels only", {
        ("com.microsoft", "QLinearConcat"): qlinear_concat}),
    **entries("tables", "", {
        ("com.microsoft", "QLinearSigmoid"): qlinear_function("Sigmoid"),
        ("com.microsoft", "QLinearLeakyRelu"): qlinear_function("LeakyRelu")}),
    **entries("at the end: left to the host, in reals", "remove it, or what follows it", {
        ("com.microsoft", "QLinearSoftmax"): qlinear_softmax}),
    **entries(f"{_CONSTANT}; constants alone", "divide by constants only", {
        ("", "Div"): arithmetic(np.divide, divide)}),
    **entries(_CONSTANT, "", {("", "BatchNormalization"): elementwise.batch_norm}),
    **entries("of constants", "compute it with constants only", {
        ("", "Pow"): elementwise.constant_only(np.power),
        ("", "Sqrt"): elementwise.constant_only(np.sqrt)}),
    **entries("of integers to float32 or wider integers; of constants",
              "quantize with QuantizeLinear", {("", "Cast"): cast}),
    **entries("of one quantized tensor; at the end, `Sigmoid` and `Tanh` are left to the host",
              "quantize its input to 8 bits", {
        ("", name): elementwise.function for name in FUNCTIONS}),
    **entries("fused into the requantization behind them; on integers, they narrow constants and "
              "the requantization before them", "let a QuantizeLinear follow", {
        ("", "Relu"): bounded(0.0, math.inf), ("", "Clip"): bounded(-math.inf, math.inf)}),
}
"""The operators that compute, by domain and name."""
