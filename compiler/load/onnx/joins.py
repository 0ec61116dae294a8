"""Sums, differences and products of two activations, which come to one shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import ir
from ..broadcast import broadcast, common_shape
from . import linear
from .arithmetic import multiplicand
from .graph import Operands, positive
from .values import Layout, Part, Real, Sum, Value

_MOST_TERMS = 16
"""The most tensors that are added before anything quantizes their sum."""


def total(operands: Operands, a: Value, b: Value, subtracts: bool = False) -> Sum:
    """The sum of two activations, or their difference."""
    if not isinstance(a, Part) or not isinstance(b, Part):
        operands.refuse("it adds or subtracts integers, or what is not quantized",
                        "put DequantizeLinear before it and QuantizeLinear behind it")
    if isinstance(a, Real) and isinstance(b, Real):
        a, b = of_one_shape(operands, a, b)
    elif isinstance(b, Real):
        b = _laid_out(operands, b, a.layout)
    _require_one_shape(operands, a.layout, b.layout)
    result = Sum((a, b), a.layout, subtracts=subtracts)
    if result.count > _MOST_TERMS:
        operands.refuse(f"it ends a sum of more than {_MOST_TERMS} tensors that nothing quantized",
                        "put QuantizeLinear and DequantizeLinear behind sums")
    return result


def product(operands: Operands, a: Real, b: Real) -> Real:
    """The exact product of two activations with one scale each."""
    with np.errstate(over="ignore", under="ignore"):
        scale = multiplicand(operands, a) * multiplicand(operands, b)
    a, b = of_one_shape(operands, a, b)
    builder = operands.builder
    name = builder.add(ir.Multiply(builder.name(operands.node), a.name, b.name, (a.zero, b.zero)))
    return Real(name, a.layout, positive(operands, scale.reshape(1)))


def of_one_shape(operands: Operands, a: Real, b: Real) -> tuple[Real, Real]:
    """Both, in one layout; axes of one element are repeated where the other has more."""
    mine, other = a.layout, b.layout
    if mine.dims != other.dims and len(mine.dims) == len(other.dims) > 1 and all(
            first == second or 1 in (first, second)
            for first, second in zip(mine.dims, other.dims, strict=True)):
        a, b = linear.as_map(operands, a), linear.as_map(operands, b)
        shape = common_shape(a.layout.shape, b.layout.shape)
        return _repeated(operands, a, shape), _repeated(operands, b, shape)
    b = _laid_out(operands, b, mine)
    _require_one_shape(operands, mine, b.layout)
    return a, b


def _laid_out(operands: Operands, value: Real, layout: Layout) -> Real:
    """``value`` in a ``layout`` of the same loops, or as it is."""
    if layout.shape == value.layout.shape or layout.loops != value.layout.loops:
        return value
    return linear.reshaped(operands, value, replace(layout, dims=value.layout.dims))


def _require_one_shape(operands: Operands, mine: Layout, other: Layout) -> None:
    """Refuse two operands unless ONNX sees them alike."""
    if mine.dims != other.dims or mine.shape != other.shape or not mine.in_order(other.order):
        operands.refuse(f"its inputs have shapes (N, {', '.join(map(str, mine.dims))}) and (N, "
                        f"{', '.join(map(str, other.dims))}), or another order of axes",
                        "give both one shape")


def _repeated(operands: Operands, value: Real, shape: tuple[int, int, int]) -> Real:
    """The map ``value``, repeated to ``shape``."""
    name = broadcast(operands.builder, value.name, shape,
                     lambda: operands.builder.name(operands.node, "_repeated"))
    return replace(value, name=name,
                   layout=linear.map_of(operands, shape, linear.spatial(value.layout)))
