"""QONNX: networks whose tensors are floats, with quantizers of any width among them.

What lies between two quantizers is a function of integers (`Curve`), which the second one makes
thresholds of, or a table if it falls and rises. Multiplications by weights have exact accumulators.
Of a network that computes with its input before it quantizes it, the input is pixels of 8 bits that
stand for pixel / 255.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ... import ir
from ...ir import PenjingError
from ..affine import Affine, requantize
from ..entries import entries
from . import joins, linear, pools
from .elementwise import (
    by_constant,
    combined,
    constant_only,
    ended,
    folded,
    norm,
    stepped,
    within,
)
from .functions import FUNCTIONS
from .graph import Convert, Operands, Operators
from .model import Graph
from .quantizers import bipolar, by_channel, curve_of, multi_threshold, numbers, plain, quant, trunc
from .shapes import LAYOUT, argmax
from .values import Curve, FloatInput, Integers, Known, Real, Scales, Value, rising

DOMAINS = ("", "onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")
"""Where the quantizers have been at home."""
_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "FloatQuant")
_ONE = np.ones(1, np.float32)


def is_qonnx(graph: Graph) -> bool:
    """Whether ``graph`` holds a quantizer of QONNX."""
    return any(node.operator in _QUANTIZERS and node.domain in DOMAINS for node in graph.nodes)


# --- multiplication by weights
def _real(value: Curve) -> Real:
    """The integers of ``value``, for what only looks at these."""
    return Real(value.name, value.layout, _ONE, value.zero)


def conv(operands: Operands) -> Value:
    """Conv: x, weights, bias."""
    x, weights = plain(operands), _trained(operands)
    made = linear.convolve(operands, _real(x), replace(weights, scale=_ONE), None)
    result = _product(operands, x, weights, made, 0)
    return _biased(operands, result, 2)


def matmul(operands: Operands) -> Value:
    """MatMul of an activation by a constant matrix."""
    x, weights = plain(operands), _trained(operands)
    made = linear.multiply(operands, _real(x), replace(weights, scale=_ONE), None)
    return _product(operands, x, weights, made, weights.values.ndim - 1)


def gemm(operands: Operands) -> Value:
    """Gemm: x, weights, bias."""
    for name in ("alpha", "beta"):
        if operands.number(name, 1.0) != 1:
            operands.refuse(f"its {name} is not 1", "use 1")
    if operands.integer("transA", 0):
        operands.refuse("it transposes its first input", "use transA 0")
    transposed = bool(operands.integer("transB", 0))
    x, weights = plain(operands), _trained(operands)
    made = linear.multiply(operands, _real(x), replace(weights, scale=_ONE), None,
                           transposed=transposed)
    return _biased(operands, _product(operands, x, weights, made, 0 if transposed else 1), 2)


def _trained(operands: Operands) -> Known:
    """The weights, which a quantizer made, or which are whole numbers."""
    weights = operands.known(1, "weights")
    if weights.scale is not None:
        return weights
    values = operands.numbers(1, "weights")
    if values.dtype.kind not in "iuf" or not (np.abs(values) < 1 << 15).all() or (
            values != np.rint(values)).any():
        operands.refuse("its weights are floats that nothing has quantized",
                        "put a Quant behind them")
    return Known(values.astype(np.int64), None, _ONE, np.zeros(1, np.int64))


def _product(operands: Operands, x: Curve, weights: Known, made: Real, axis: int) -> Curve:
    scale = linear.weight_scales(operands, weights, axis).astype(np.float64)
    return Curve(made.name, made.layout, x.scale * scale, operands.node.outputs[0])


def _biased(operands: Operands, value: Curve, position: int) -> Curve:
    if not operands.has(position):
        return value
    bias = operands.known(position, "bias")
    return _added(operands, value, bias.reals().astype(np.float32).reshape(-1))


# --- element by element
def arithmetic(operation: np.ufunc) -> Convert:
    """Add, Sub, Mul or Div of constants, or by one."""
    def convert(operands: Operands) -> Value:
        known = [isinstance(operands.value(position), Known) for position in (0, 1)]
        if all(known):
            return folded(operands, operation)
        if not any(known):
            return _both(operands, operation)
        reverse = known[0]
        curve = curve_of(operands, int(reverse))
        operand = by_channel(operands, operands.known(int(not reverse), "operand").reals().astype(
            np.float32), curve)
        if not np.isfinite(operand).all():
            operands.refuse("its constant is no number", "repair the network")
        if operation is np.divide and (reverse or not operand.all()):
            operands.refuse("it divides by an activation or by 0", "divide by a constant")
        if operation is np.add or (operation is np.subtract and not reverse):
            return _added(operands, curve, operand if operation is np.add else -operand)
        return stepped(curve, by_constant(operation, operand, reverse))
    return convert


def _added(operands: Operands, curve: Curve, operand: Scales) -> Curve:
    """``curve`` and a constant: within the accumulators where float32 is exact there."""
    builder = operands.builder
    layer = builder.layers.get(curve.name)
    if isinstance(layer, ir.MultiplyAccumulate) and not curve.steps and not curve.zero:
        steps = operand.astype(np.float64) / curve.scale
        if (np.frexp(curve.scale)[0] == 0.5).all() and (steps == np.rint(steps)).all() and (
                np.abs(steps) < 1 << 22).all() and builder.types[curve.name].bits < 23:
            bias = layer.bias + np.broadcast_to(steps.astype(np.int64), layer.bias.shape)
            builder.spend_folded(operands.node, layer.weights.values.size)
            name = builder.add(replace(layer, name=builder.name(operands.node), bias=bias))
            return replace(curve, name=name, origin=operands.node.outputs[0])
    return stepped(curve, by_constant(np.add, operand))


def _both(operands: Operands, operation: np.ufunc) -> Value:
    """Two functions of the same integers, which are one; or two activations."""
    a, b = curve_of(operands, 0), curve_of(operands, 1)
    if (a.steps or b.steps or operation is not np.add) and a.same_reals(b):
        return combined(operands, operation, a, b)
    if operation is np.divide:
        operands.refuse("it divides by an activation", "divide by a constant")
    a, b = plain(operands, 0), plain(operands, 1)
    if operation is np.multiply:
        made = joins.product(operands, _real(a), _real(b))
        return Curve(made.name, made.layout, a.scale * b.scale, operands.node.outputs[0])
    return _total(operands, a, b, subtracts=operation is np.subtract)


def function(operands: Operands) -> Value:
    """A function of single elements that is no arithmetic with constants."""
    curve = curve_of(operands)
    return ended(operands, curve) or stepped(
        curve, FUNCTIONS[operands.node.operator](operands, curve))


def _total(operands: Operands, a: Curve, b: Curve, *, subtracts: bool) -> Value:
    """The sum of two quantized activations, or their difference.

    If their scales differ by a small power of two, it is exact. Else both are multiplied, to steps
    far below the smaller scale.
    """
    reals = joins.of_one_shape(operands, _real(a), _real(b))
    values = [replace(value, name=found.name, layout=found.layout)
              for value, found in zip((a, b), reals, strict=True)]
    scale = min(float(value.scale[0]) for value in values)
    powers = [_halvings(float(value.scale[0]) / scale) for value in values]
    shifts = [power for power in powers if power is not None]
    layer = ir.Subtract if subtracts else ir.Add
    builder, layout = operands.builder, values[0].layout
    if len(shifts) == len(values):
        zeros = [value.zero << shift for value, shift in zip(values, shifts, strict=True)]
        names = [value.name if not shift else _shifted(operands, value.name, shift, suffix)
                 for value, shift, suffix in zip(values, shifts, ("_a", "_b"), strict=True)]
        zero = zeros[0] - zeros[1] if subtracts else sum(zeros)
        name = builder.add(layer(builder.name(operands.node), *names))
        return Curve(name, layout, np.array([scale]), operands.node.outputs[0], zero)
    reaches = [_reach(operands, value, float(value.scale[0]) / scale) for value in values]
    fraction = min(_SPARE_BITS, _WIDEST_TERM - max(reaches))
    if fraction < _SPARE_BITS // 2:
        operands.refuse(f"the scales of its inputs, {float(a.scale[0]):g} and "
                        f"{float(b.scale[0]):g}, differ too much", "quantize both with one scale")
    names = [builder.add(requantize(
        builder.name(operands.node, suffix), value.name,
        value.scale / scale * 2.0 ** fraction,
        Affine(reach + fraction, True, scale * 2.0 ** -fraction, 0), offset=value.zero,
        rounding=ir.ScaleRounding.EVEN))
        for value, reach, suffix in zip(values, reaches, ("_a", "_b"), strict=True)]
    name = builder.add(layer(builder.name(operands.node), *names))
    # Only a quantizer may read these: they are as near as none of their steps matters to it.
    return Curve(name, layout, np.array([scale * 2.0 ** -fraction]), "", 0,
                 (rising(lambda x: x),))


_SPARE_BITS, _WIDEST_TERM = 16, 28
"""Bits below the smaller scale of what is added, and the most bits of it in all."""


def _halvings(ratio: float) -> int | None:
    """The small power of two that ``ratio`` is; None if it is none."""
    fraction, power = math.frexp(ratio)
    return power - 1 if fraction == 0.5 and power <= 16 else None


def _reach(operands: Operands, value: Curve, ratio: float) -> int:
    """Bits of ``ratio`` times the integers of ``value``, less their zero point."""
    kind = operands.builder.types[value.name]
    most = max(abs(kind.low - value.zero), abs(kind.high - value.zero)) * ratio
    return math.ceil(most + 1).bit_length() + 1


def _shifted(operands: Operands, name: str, shift: int, suffix: str) -> str:
    builder = operands.builder
    kind = builder.types[name].widened
    return builder.add(ir.ShiftRequantize(builder.name(operands.node, suffix), name, -shift,
                                           kind.bits + shift, kind.signed))


def batch_norm(operands: Operands) -> Value:
    """BatchNormalization, as one factor and one addend a channel."""
    factor, addend = norm(operands)
    return stepped(curve_of(operands), by_constant(np.multiply, factor),
                   by_constant(np.add, addend))


def bounded(operands: Operands) -> Value:
    """Relu and Clip."""
    low, high = 0.0, math.inf
    if operands.node.operator == "Clip":
        low, high = (float(operands.scalar(numbers(operands, n, "bounds").reshape(-1), "bounds"))
                     if operands.has(n) else operands.number(name, default)
                     for n, name, default in ((1, "min", -math.inf), (2, "max", math.inf)))
    if not low <= high:
        operands.refuse(f"its bounds {low:g} and {high:g} are not in order")
    return stepped(curve_of(operands), *within(low, high))


def cast(operands: Operands) -> Value:
    """Cast to float, and of constants to whole numbers."""
    value, target = operands.value(0), operands.integer("to", 0)
    if isinstance(value, Known):
        if value.scale is None and target in (6, 7):
            numbers = operands.numbers(0, "values")
            if not (np.abs(numbers) < 1 << 31).all():
                operands.refuse("it casts what is no int32")
            return Known(numbers.astype(np.int64))
        if target == 1:
            return value if value.scale is not None else Known(value.values.astype(np.float32))
    elif target == 1:
        return value if isinstance(value, FloatInput) else curve_of(operands)
    return operands.refuse(f"it casts to element type {target}", "cast to float32 only")


# --- windows, and the end
def maxima(*, whole: bool) -> Convert:
    """MaxPool, or GlobalMaxPool, which a function that does not fall may follow as well as precede.
    """
    def convert(operands: Operands) -> Value:
        return pools.maxima(operands, curve_of(operands), whole=whole)
    return convert


def average(operands: Operands) -> Value:
    """AveragePool, GlobalAveragePool and ReduceMean: an exact sum, of which one is worth less."""
    curve = plain(operands)
    pool = {"AveragePool": pools.average, "ReduceMean": pools.reduced}.get(
        operands.node.operator, pools.everywhere)
    made = pool(operands, _real(curve), exact=True)
    layer = operands.builder.layers[made.name]
    assert isinstance(layer, ir.SumPool)
    return replace(curve, name=made.name, layout=made.layout, zero=made.zero,
                   scale=curve.scale / (layer.kernel[0] * layer.kernel[1]))


def largest(operands: Operands) -> Value:
    """ArgMax over the channels."""
    curve = curve_of(operands)
    if not curve.origin:
        operands.refuse("it reads a sum that nothing has quantized", "put a Quant before it")
    if curve.tail is not None and curve.rows > 1:
        made = linear.transformed(operands, Real(curve.name, curve.layout, _ONE),
                                  np.array(curve.tail.scales), Known(np.array(curve.tail.offsets)))
        if made is not None:
            operands.builder.values[operands.node.inputs[0]] = made
            return argmax(operands)
    if curve.rows > 1 or not curve.rises:
        operands.refuse("its input has a function of its own for each channel, or a falling one",
                        "put a Quant before it")
    values, source = operands.builder.values, operands.node.inputs[0]
    reals = values[source]
    values[source] = Integers(curve.name, curve.layout)
    place = argmax(operands)
    values[source] = reals  # as which others, and the oracle, know it
    return place


def final(curve: Curve, whole: Value | None) -> Curve:
    """What the network puts out where its output is ``curve``; ``whole`` is the curve's origin.

    A line in each channel is the network's tail. The steps of another last function are left to
    the user, if they are the same for all channels.
    """
    if curve.tail is not None:
        return curve
    if curve.rows > 1 or not curve.rises or not isinstance(whole, Curve) or (
            whole.name != curve.name):
        raise PenjingError("its output is a function of its own for each channel, or one that "
                           "falls, that nothing has quantized; end the network with a Quant")
    return replace(whole, steps=())


OPERATORS: Operators = {
    **{(domain, name): entry for domain in DOMAINS for name, entry in {
        **entries("1 to 8 bits for activations, 16 at the input and for weights; signed or not, "
                  "narrow; any rounding mode of qonnx 1.0.0; a zero point for all channels",
                  "quantize activations by tensor", {"Quant": quant, "IntQuant": quant}),
        **entries("the sign, that of 0 being +1", "", {"BipolarQuant": bipolar}),
        **entries("of operator set 1 (5 inputs, no clamp) and 2 (6 inputs); of set 2 a zero point "
                  "must be whole after the truncation", "truncate sums of a quantized tensor", {
            "Trunc": trunc}),
        **entries("`out_bias` a multiple of half of `out_scale`", "use another bias", {
            "MultiThreshold": multi_threshold})}.items()},
    **LAYOUT,
    **entries("of a quantized activation, by weights that are quantized or whole numbers",
              "put a Quant before it, and one on its weights", {
        ("", "Conv"): conv, ("", "MatMul"): matmul, ("", "Gemm"): gemm}),
    **entries("two activations, axes of 1 repeated; sums whose scales differ by no power of two "
              "need a quantizer behind them; functions of one activation; an activation and "
              "constants, one or one a channel", "put a Quant behind it", {
        ("", "Add"): arithmetic(np.add), ("", "Sub"): arithmetic(np.subtract),
        ("", "Mul"): arithmetic(np.multiply)}),
    **entries("functions of one activation; an activation and constants, one or one a channel",
              "put a Quant before it", {
        ("", "Div"): arithmetic(np.divide), ("", "BatchNormalization"): batch_norm,
        ("", "Relu"): bounded, ("", "Clip"): bounded}),
    **entries("of constants", "compute it with constants only", {
        ("", "Pow"): constant_only(np.power), ("", "Sqrt"): constant_only(np.sqrt)}),
    **entries("to float32; of constants", "leave it away", {("", "Cast"): cast}),
    **entries("of what is quantized before or right behind it; between a function that rises in "
              "every channel and other functions", "put a Quant before it", {
        ("", "MaxPool"): maxima(whole=False), ("", "GlobalMaxPool"): maxima(whole=True)}),
    **entries("of a quantized activation, as an exact sum, which may be multiplied by weights as "
              "it is", "put a Quant before it", {
        ("", "AveragePool"): average, ("", "GlobalAveragePool"): average,
        ("", "ReduceMean"): average}),
    **entries("over channels, at the end; of one function of all channels",
              "put a Quant before it", {("", "ArgMax"): largest}),
    **entries("of a quantized activation: thresholds, or a table where it falls and rises",
              "put a Quant of up to 8 bits before it", {
        ("", name): function for name in FUNCTIONS}),
}
"""The operators of QONNX networks, by domain and name."""
