"""QONNX: networks whose tensors are floats, with quantizers of any width among them.

What lies between two quantizers is a function of integers (`Curve`), which the second one makes
thresholds of, or a table if it falls and rises. Multiplications by weights have exact accumulators.
Of a network that computes with its input before it quantizes it, the input is pixels of 8 bits that
stand for pixel / 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ... import ir
from ...ir import PenjingError
from . import linear, pools
from .file import Graph
from .functions import FUNCTIONS
from .graph import Operands
from .operators import Convert
from .quantizers import bipolar, by_channel, curve_of, multi_threshold, numbers, plain, quant, trunc
from .shapes import LAYOUT, argmax
from .values import Curve, FloatInput, Integers, Known, Real, Scales, Step, Value

DOMAINS = ("", "onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")
"""Where the quantizers have been at home."""
_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "FloatQuant")
_ONE = np.ones(1, np.float32)
_MOST_OPERATIONS = 256
"""The most of a function that combines others, each of which is computed anew."""


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
            return _folded(operands, operation)
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
        return _stepped(curve, _by_constant(operation, operand, reverse))
    return convert


def _by_constant(operation: np.ufunc, operand: Scales, reverse: bool = False) -> Step:
    """``operation(x, operand)``, or of both the other way round; ``operand`` is (1,) or (C,)."""
    column = operand[:, None]
    falls = (operand < 0 if operation in (np.multiply, np.divide)
             else np.full(operand.size, operation is np.subtract and reverse))
    return Step((lambda x: operation(column, x)) if reverse else (lambda x: operation(x, column)),
                falls)


def _stepped(curve: Curve, *steps: Step) -> Curve:
    return replace(curve, steps=(*curve.steps, *steps))


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
    return _stepped(curve, _by_constant(np.add, operand))


def _both(operands: Operands, operation: np.ufunc) -> Value:
    """Two functions of the same integers, which are one; or the sum of two activations."""
    a, b = curve_of(operands, 0), curve_of(operands, 1)
    if (a.steps or b.steps or operation is not np.add) and a.same_reals(b):
        count = a.count + b.count + 1
        if count > _MOST_OPERATIONS:
            operands.refuse(f"it ends a function of {count} operations on one activation, more "
                            f"than {_MOST_OPERATIONS}", "put a Quant between")
        return replace(a, steps=(Step(
            lambda x: operation(a.of_reals(x), b.of_reals(x)),
            np.zeros(max(a.rows, b.rows), np.bool_),
            monotone=operation is np.add and a.rises and b.rises, count=count),))
    if operation is np.add:
        return _sum(operands)
    return operands.refuse("it combines two activations", "add activations only")


def function(operands: Operands) -> Value:
    """A function of single elements that is no arithmetic with constants."""
    curve = curve_of(operands)
    return _stepped(curve, FUNCTIONS[operands.node.operator](operands, curve))


def _sum(operands: Operands) -> Value:
    """The sum of two quantized activations, whose scales differ by a power of two."""
    a, b = plain(operands, 0), plain(operands, 1)
    if a.layout != b.layout:
        operands.refuse("it adds tensors of different shapes", "add tensors of one shape")
    scale = min(float(a.scale[0]), float(b.scale[0]))
    names, zero = [], 0
    for value, suffix in ((a, "_a"), (b, "_b")):
        fraction, shift = math.frexp(float(value.scale[0]) / scale)
        if fraction != 0.5 or shift > 16:
            operands.refuse(f"the scales of what it adds, {float(a.scale[0]):g} and "
                            f"{float(b.scale[0]):g}, differ by no small power of two",
                            "quantize both with one scale")
        zero += value.zero << shift - 1
        names.append(value.name if shift == 1 else _shifted(operands, value.name, shift - 1,
                                                            suffix))
    name = operands.builder.add(ir.Add(operands.builder.name(operands.node), *names))
    return Curve(name, a.layout, np.array([scale]), operands.node.outputs[0], zero)


def _shifted(operands: Operands, name: str, shift: int, suffix: str) -> str:
    builder = operands.builder
    kind = builder.types[name].widened
    return builder.add(ir.ShiftRequantize(builder.name(operands.node, suffix), name, -shift,
                                           kind.bits + shift, kind.signed))


def batch_norm(operands: Operands) -> Value:
    """BatchNormalization, as ONNX Runtime computes it: one factor and one addend a channel."""
    if operands.integer("training_mode", 0):
        operands.refuse("it is in training mode", "export the network for inference")
    curve = curve_of(operands)
    gamma, beta, mean, variance = (
        operands.numbers(n, "parameters").astype(np.float32) for n in range(1, 5))
    channels = curve.layout.shape[2]
    if curve.layout.channel_axis() != 0 or any(
            part.shape != (channels,) for part in (gamma, beta, mean, variance)):
        operands.refuse(f"its parameters do not fit an input of {channels} channels, or these do "
                        f"not come first")
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance + np.float32(operands.number("epsilon", 1e-5)))
        factor = gamma * (np.float32(1) / deviation)
        addend = beta - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(addend).all()):
        operands.refuse("its parameters make no numbers", "train the network again")
    return _stepped(curve, _by_constant(np.multiply, factor), _by_constant(np.add, addend))


def bounded(operands: Operands) -> Value:
    """Relu and Clip."""
    low, high = 0.0, math.inf
    if operands.node.operator == "Clip":
        low, high = (float(operands.scalar(numbers(operands, n, "bounds").reshape(-1), "bounds"))
                     if operands.has(n) else operands.number(name, default)
                     for n, name, default in ((1, "min", -math.inf), (2, "max", math.inf)))
    if not low <= high:
        operands.refuse(f"its bounds {low:g} and {high:g} are not in order")
    steps = (_by_constant(operation, np.array([bound], np.float32))
             for operation, bound in ((np.maximum, low), (np.minimum, high)) if np.isfinite(bound))
    return _stepped(curve_of(operands), *steps)


def _folded(operands: Operands, operation: np.ufunc) -> Known:
    """An operation on constants, in float32."""
    parts = []
    for position in range(operation.nin):
        known = operands.known(position, "operands")
        parts.append(known.reals().astype(np.float32) if known.scale is not None
                     else operands.numbers(position, "operands"))
    try:
        operands.builder.spend_folded(operands.node, math.prod(np.broadcast_shapes(
            *(part.shape for part in parts))))
    except ValueError:
        operands.refuse("the shapes of its constants do not fit")
    whole = all(part.dtype.kind in "iu" for part in parts)
    with np.errstate(all="ignore"):
        if whole and operation is np.divide:
            operands.refuse("it divides whole constants", "store the quotient")
        result = operation(*(part if whole else part.astype(np.float32) for part in parts))
    return Known(np.asarray(result))


def constant_only(operation: np.ufunc) -> Convert:
    """Pow and Sqrt, which exporters compute scales with."""
    def convert(operands: Operands) -> Value:
        if any(not isinstance(operands.value(n), Known) for n in range(operation.nin)):
            operands.refuse("it is no monotone function of an activation that is supported",
                            "use it on constants only")
        return _folded(operands, operation)
    return convert


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
def max_pool(operands: Operands) -> Value:
    """MaxPool, which a function that does not fall may follow as well as precede."""
    curve = curve_of(operands)
    if not curve.rises:
        operands.refuse("the greatest value is not that of the greatest accumulator",
                        "put a Quant before it")
    return _pooled(operands, curve, pools.maxima(operands, _real(curve)))


def average(operands: Operands) -> Value:
    """AveragePool, GlobalAveragePool and ReduceMean: an exact sum, of which one is worth less."""
    curve = plain(operands)
    pool = {"AveragePool": pools.average, "ReduceMean": pools.reduced}.get(
        operands.node.operator, pools.everywhere)
    made = pool(operands, _real(curve), exact=True)
    layer = operands.builder.layers[made.name]
    assert isinstance(layer, ir.SumPool)
    return replace(_pooled(operands, curve, made), zero=made.zero,
                   scale=curve.scale / (layer.kernel[0] * layer.kernel[1]))


def _pooled(operands: Operands, curve: Curve, made: Real) -> Curve:
    if curve.rows > 1 and made.layout.shape[2] != curve.layout.shape[2]:
        operands.refuse("its channels are not those of the functions before it",
                        "put a Quant before it")
    origin = curve.origin if curve.steps else operands.node.outputs[0]
    return replace(curve, name=made.name, layout=made.layout, origin=origin)


def largest(operands: Operands) -> Value:
    """ArgMax over the channels."""
    curve = curve_of(operands)
    if curve.rows > 1 or not curve.rises:
        operands.refuse("its input has a function of its own for each channel, or a falling one",
                        "put a Quant before it")
    operands.builder.values[operands.node.inputs[0]] = Integers(curve.name, curve.layout)
    return argmax(operands)


def final(curve: Curve, whole: Value | None) -> Real:
    """What the network puts out where its output is ``curve``; ``whole`` is the curve's origin.

    The steps of the last function are left to the host, if they are the same for all channels.
    """
    if curve.rows > 1 or not curve.rises or not isinstance(whole, Curve) or (
            whole.name != curve.name):
        raise PenjingError("its output is a function of its own for each channel, or one that "
                           "falls, that nothing has quantized; end the network with a Quant")
    return Real(curve.name, whole.layout, curve.scale.astype(np.float32), curve.zero)


OPERATORS: Mapping[tuple[str, str], Convert] = {
    **LAYOUT,
    **{(domain, name): convert for domain in DOMAINS for name, convert in (
        ("Quant", quant), ("IntQuant", quant), ("BipolarQuant", bipolar), ("Trunc", trunc),
        ("MultiThreshold", multi_threshold))},
    ("", "Conv"): conv, ("", "MatMul"): matmul, ("", "Gemm"): gemm,
    ("", "Add"): arithmetic(np.add), ("", "Sub"): arithmetic(np.subtract),
    ("", "Mul"): arithmetic(np.multiply), ("", "Div"): arithmetic(np.divide),
    ("", "BatchNormalization"): batch_norm, ("", "Relu"): bounded, ("", "Clip"): bounded,
    ("", "Pow"): constant_only(np.power), ("", "Sqrt"): constant_only(np.sqrt),
    ("", "Cast"): cast, ("", "MaxPool"): max_pool, ("", "AveragePool"): average,
    ("", "GlobalAveragePool"): average, ("", "ReduceMean"): average, ("", "ArgMax"): largest,
    **{("", name): function for name in FUNCTIONS},
}
"""The operators of QONNX networks, by domain and name."""
