"""Functions of single elements: arithmetic with constants, activations, batch norms.

What is no multiplication by weights is a function of the integers of one tensor (`Curve`), which a
quantizer makes a table or thresholds of. Of reals, a positive factor only changes the scale, and a
product's factor and addend go into its weights and biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers as Whole
from . import linear
from .arithmetic import unsettled
from .functions import FUNCTIONS
from .graph import Builder, Convert, Operands, positive
from .linear import per_channel
from .model import Array
from .values import (
    Activation,
    Curve,
    FloatInput,
    Floats32,
    Integers,
    Joined,
    Known,
    Largest,
    Part,
    Real,
    Scales,
    Step,
    Value,
)

_ONE = np.ones(1, np.float32)
_NONE = Known(np.zeros(1, np.float32))
_MOST_OPERATIONS = 256
"""The most of a function that combines others, each of which is computed anew."""
_WIDEST_ALONE = 16
"""The most bits of integers that get factors and addends of their own for each channel."""


# --- constants
def folded(operands: Operands, operation: np.ufunc) -> Known:
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
            operands.refuse("it is no function of an activation that is supported",
                            "use it on constants only")
        return folded(operands, operation)
    return convert


# --- functions
def function_of(operands: Operands, position: int = 0) -> Curve:
    """An input of the node as a function of the integers of one tensor."""
    value = operands.activation(position)
    return value if isinstance(value, Curve) else as_curve(
        unsettled(operands, position), operands.node.inputs[position])


def as_curve(value: Real, origin: str) -> Curve:
    """The reals ``value``, which the graph calls ``origin``."""
    steps = []
    if value.rest.any():
        steps.append(by_constant(np.add, (value.scale * value.rest).astype(np.float32)))
    return Curve(value.name, value.layout, value.scale.astype(np.float64), origin, value.zero,
                 (*steps, *within(value.low, value.high)))


def by_constant(operation: np.ufunc, operand: Scales, reverse: bool = False) -> Step:
    """``operation(x, operand)``, or of both the other way round; ``operand`` is (1,) or (C,)."""
    column = operand[:, None]
    falls = (operand < 0 if operation in (np.multiply, np.divide)
             else np.full(operand.size, operation is np.subtract and reverse))
    return Step((lambda x: operation(column, x)) if reverse else (lambda x: operation(x, column)),
                falls, line=_line(operation, operand.astype(np.float64), reverse))


def _line(operation: np.ufunc, operand: NDArray[np.float64], reverse: bool
          ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(factor, addend) of what `by_constant` computes; None where that is no line."""
    one, none = np.ones(1), np.zeros(1)
    if operation is np.add:
        return one, operand
    if operation is np.subtract:
        return (-one, operand) if reverse else (one, -operand)
    if operation is np.multiply:
        return operand, none
    return (1 / operand, none) if operation is np.divide and not reverse else None


def within(low: float, high: float) -> tuple[Step, ...]:
    """The steps that clamp to ``low`` and ``high``, of which either may be infinite."""
    return tuple(by_constant(operation, np.array([bound], np.float32))
                 for operation, bound in ((np.maximum, low), (np.minimum, high))
                 if math.isfinite(bound))


def clamped(value: Part | Joined | Largest, low: float, high: float) -> Part | Joined | Largest:
    """``value``, clamped once more."""
    if isinstance(value, Largest):
        part = clamped(value.part, low, high)
        assert not isinstance(part, Largest)
        return replace(value, part=part)
    if isinstance(value, Joined):
        return replace(value, parts=tuple(_clamped(part, low, high) for part in value.parts))
    return _clamped(value, low, high)


def _clamped(value: Part, low: float, high: float) -> Part:
    if isinstance(value, Curve):
        return stepped(value, *within(low, high))
    least, most = (min(max(bound, low), high) for bound in (value.low, value.high))
    return replace(value, low=least, high=most)


def stepped(curve: Curve, *steps: Step) -> Curve:
    """``curve``, followed by ``steps``."""
    return replace(curve, steps=(*curve.steps, *steps))


def combined(operands: Operands, operation: np.ufunc, a: Curve, b: Curve) -> Curve:
    """``operation(a, b)`` of two functions of the same reals."""
    count = a.count + b.count + 1
    if count > _MOST_OPERATIONS:
        operands.refuse(f"it ends a function of {count} operations on one activation, more "
                        f"than {_MOST_OPERATIONS}", "put a quantizer between")
    return replace(a, steps=(Step(
        lambda x: operation(a.of_reals(x), b.of_reals(x)),
        np.zeros(max(a.rows, b.rows), np.bool_),
        monotone=operation is np.add and a.rises and b.rises, count=count),))


def function(operands: Operands) -> Value:
    """A function of single elements that is no arithmetic with constants."""
    curve = function_of(operands)
    return ended(operands, curve) or stepped(
        curve, FUNCTIONS[operands.node.operator](operands, curve))


_OF_HOST = {"Sigmoid": ir.TailFunction.SIGMOID, "Tanh": ir.TailFunction.TANH}
"""What may end the graph as the host's."""


def ended(operands: Operands, curve: Curve) -> Value | None:
    """What a function of ``curve`` reads if it makes the graph's output, so is the host's."""
    node, builder = operands.node, operands.builder
    known = _OF_HOST.get(node.operator)
    if known is None or node.outputs[0] != builder.graph.output or curve.tail is None:
        return None
    builder.finish(operands, known, curve.layout)
    return operands.value(0)


def of_one_tensor(operands: Operands, operation: np.ufunc) -> Curve | None:
    """The operation on two functions of the integers of one tensor; None if they are not that.

    Where a table lies between, as the quantized sigmoid of an x * sigmoid(x), it becomes a part of
    the function.
    """
    values = [operands.activation(position) for position in (0, 1)]
    names = operands.node.inputs
    curves = [value if isinstance(value, Curve) else as_curve(value, name)
              for value, name in zip(values, names, strict=False)
              if isinstance(value, Real | Curve)]
    if len(curves) != 2 or curves[0].layout != curves[1].layout:
        return None
    builder = operands.builder
    first, second = (dict(_sources(builder, curve)) for curve in curves)
    shared = next((name for name in first if name in second), None)
    if shared is None or builder.types[shared].bits > ir.TABLE_BITS:
        return None
    return combined(operands, operation, _from(shared, first[shared], curves[0]),
                    _from(shared, second[shared], curves[1]))


Levels = Callable[[Whole], Floats32]


def _sources(builder: Builder, curve: Curve) -> Iterator[tuple[str, Levels]]:
    """The tensors of whose integers (1, n) ``curve`` is a function, and that function."""
    name = curve.name
    levels: Levels = curve.__call__
    yield name, levels
    while isinstance(layer := builder.layers.get(name), ir.Table) and len(layer.values) == 1:
        name, levels = layer.input, _behind(layer, levels)
        yield name, levels


def _from(name: str, levels: Levels, curve: Curve) -> Curve:
    """``curve`` as the function ``levels`` of the integers of ``name``."""
    step = Step(lambda x: levels(x.astype(np.int64)), np.zeros(curve.rows, np.bool_),
                monotone=False, count=curve.count)
    return Curve(name, curve.layout, np.ones(1), curve.origin, 0, (step,))


def _behind(table: ir.Table, levels: Levels) -> Levels:
    return lambda q: levels(table.values[:, (q - table.low).reshape(-1)])


# --- with constants
def with_constant(operands: Operands, operation: np.ufunc) -> Value:
    """Add, Sub, Mul or Div of an activation and a constant, one or one a channel."""
    reverse = isinstance(operands.value(0), Known)
    value, known = operands.activation(int(reverse)), operands.known(int(not reverse), "constant")
    if isinstance(value, Integers):
        return _integers_and_constant(operands, operation, value, known)
    return by_known(operands, operation, value, known, reverse,
                    lambda: function_of(operands, int(reverse)))


def by_known(operands: Operands, operation: np.ufunc, value: Activation, known: Known,
             reverse: bool, curve: Callable[[], Curve]) -> Value:
    """``operation(value, known)``, or ``reverse``; ``curve`` makes a function of ``value``."""
    known = per_channel(operands, known, value.layout)
    numbers = known.reals().reshape(-1)
    if not np.isfinite(numbers).all():
        operands.refuse("its constant is no number", "repair the network")
    if operation is np.divide and (reverse or not numbers.all()):
        operands.refuse("it divides by an activation or by 0", "divide by a constant")
    if isinstance(value, FloatInput):
        return _input_and_constant(operands, operation, value, numbers, reverse)
    made = None
    if isinstance(value, Real):
        if operation in (np.multiply, np.divide):
            factors, addend = numbers if operation is np.multiply else 1 / numbers, _NONE
        else:
            factors = np.full(1, -1.0 if reverse and operation is np.subtract else 1.0)
            negative = operation is np.subtract and not reverse
            addend = replace(known, values=-known.integers(), zero=None) if (
                negative and known.scale is not None) else Known(-numbers) if negative else known
        made = _transformed(operands, value, factors, addend)
    return made or stepped(curve(), by_constant(operation, numbers.astype(np.float32), reverse))


def _transformed(operands: Operands, value: Real, factors: NDArray[np.float64], addend: Known
                 ) -> Real | None:
    """``value * factors + addend`` where that is reals as well; None where it is a function."""
    builder = operands.builder
    if addend is _NONE and (factors > 0).all() and not (value.clamped and factors.size > 1):
        with np.errstate(all="ignore"):
            scale = positive(operands, (value.scale * factors).astype(np.float32))
        return replace(value, scale=scale, low=value.low * factors[0],
                       high=value.high * factors[0])
    made = linear.transformed(operands, value, factors, addend)
    if made is not None or value.clamped or value.rest.any():
        return made
    steps = addend.reals().reshape(-1) / value.scale.astype(np.float64)
    if steps.size == 1 and (factors == 1).all() and abs(steps[0]) < 1 << 30 and (
            abs(steps[0] - round(float(steps[0]))) <= 1e-3):
        return replace(value, zero=value.zero - round(float(steps[0])))
    channels = value.layout.shape[2]
    if max(factors.size, addend.values.size) == 1 or channels == 1 or (
            builder.types[value.name].bits > _WIDEST_ALONE):
        return None
    # A weight of one for each channel, which gets the factor's sign and the addend.
    ones = builder.add(ir.Depthwise(
        builder.name(operands.node, "_ones"), value.name,
        ir.Weights.narrowest(np.ones((channels, 1, 1), np.int64)),
        np.full(channels, -value.zero)))
    return linear.transformed(operands, replace(value, name=ones, zero=0), factors, addend)


def _integers_and_constant(operands: Operands, operation: np.ufunc, value: Integers, known: Known
                           ) -> Integers:
    """A bias of integers on accumulators."""
    if operation is not np.add or known.values.dtype.kind not in "iu" or known.scale is not None:
        operands.refuse("it computes with integers and reals, or otherwise than adding a bias",
                        "cast the integers to float before it")
    steps = replace(known, scale=_ONE, zero=np.zeros(1, np.int64))
    added = linear.transformed(operands, Real(value.name, value.layout, _ONE), _ONE,
                               per_channel(operands, steps, value.layout))
    if added is None:
        operands.refuse("it adds a constant to what are no accumulators",
                        "add biases to convolutions and matrix products only")
    return Integers(added.name, added.layout)


def _input_and_constant(operands: Operands, operation: np.ufunc, value: FloatInput, numbers: Array,
                        reverse: bool) -> FloatInput:
    """A change of the scale and the zero point that the network's input has."""
    number = float(numbers[0])
    if (numbers != number).any() or (reverse and operation is np.subtract) or (
            operation in (np.multiply, np.divide) and number <= 0):
        operands.refuse("it normalizes each channel of the network's input otherwise, before a "
                        "quantizer",
                        "let the graph take uint8 and cast them to float before it, or "
                        "normalize before the network and export it without")
    if operation in (np.multiply, np.divide):
        return replace(value, factor=float(operation(value.factor, number)),
                       addend=float(operation(value.addend, number)))
    return replace(value, addend=float(operation(value.addend, number)))


def norm(operands: Operands) -> tuple[Floats32, Floats32]:
    """The factors and addends (C,) of a BatchNormalization, as ONNX Runtime computes them."""
    if operands.integer("training_mode", 0):
        operands.refuse("it is in training mode", "export the network for inference")
    gamma, beta, mean, variance = (
        operands.known(n, "parameters").reals().astype(np.float32) for n in range(1, 5))
    value = operands.activation()
    channels = value.layout.shape[2]
    if value.layout.channel_axis() != 0 or any(
            part.shape != (channels,) for part in (gamma, beta, mean, variance)):
        operands.refuse(f"its parameters do not fit an input of {channels} channels, or these do "
                        f"not come first")
    with np.errstate(all="ignore"):
        deviation = np.sqrt(variance + np.float32(operands.number("epsilon", 1e-5)))
        factor = gamma * (np.float32(1) / deviation)
        addend = beta - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(addend).all()):
        operands.refuse("its parameters make no numbers", "train the network again")
    return factor, addend


def batch_norm(operands: Operands) -> Value:
    """BatchNormalization of reals."""
    factor, addend = norm(operands)
    value = operands.activation()
    made = None
    if isinstance(value, Real):
        made = _transformed(operands, value, factor.astype(np.float64), Known(addend))
    return made or stepped(function_of(operands), by_constant(np.multiply, factor),
                           by_constant(np.add, addend))
