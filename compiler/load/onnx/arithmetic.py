"""From reals back to integers: QuantizeLinear, and what it takes to add two tensors before it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import signed_bits
from ..affine import Affine, quantize_multiplier, requantize, with_room
from .graph import Builder, Operands, Quantized, positive
from .thresholds import Quantizer, emit
from .values import Curve, FloatInput, Floats32, Integers, Joined, Largest, Part, Real, Sum, Value

_SPARE_BITS = 16
"""Bits below the last one of the result that are kept until the final rounding.

With them, what is rounded twice and what is aligned before an addition comes out as if rounded once
but for some 2**-16 of all values.
"""
_WIDEST_TERM = 28
_WIDEST_OPERAND = 16
"""The most bits of integers that are multiplied by weights."""


def quantize(operands: Operands, value: Value, target: Quantized, suffix: str = "", *,
             zero_first: bool = False) -> Integers:
    """The integers of ``target`` that stand for the reals ``value``.

    ``zero_first`` tells that the zero point is added before the rounding, not after it.
    """
    builder = operands.builder
    if isinstance(value, FloatInput):
        return _quantize_input(operands, value, target)
    if isinstance(value, Joined):
        return _quantize_parts(operands, value, target, suffix)
    if isinstance(value, Largest):
        part = quantize(operands, value.part, target, suffix, zero_first=zero_first)
        return Integers(builder.add(value.behind(part.name)), value.layout)
    if isinstance(value, Curve):
        return Integers(_quantize_function(operands, value, target, zero_first),
                        value.layout)
    if not isinstance(value, Real | Sum):
        operands.refuse("it quantizes what is no tensor of reals")
    low, high = (target.integer(bound) if math.isfinite(bound) else None
                 for bound in (value.low, value.high))
    affine = Affine(target.type.bits, target.type.signed, float(target.scale), target.zero)
    name = builder.name(operands.node, suffix)
    if isinstance(value, Real):
        if is_alike(builder, value, target):
            if value.clamped:
                least, most = target.range
                bounds = least if low is None else low, most if high is None else high
                return Integers(builder.add(ir.Clamp(name, value.name, *bounds)), value.layout)
            return Integers(value.name, value.layout)
        ratios = ratio_of(operands, value, target.scale).astype(np.float64)
        offset = value.zero
        source, ratios, rests = with_room(builder, value.name, ratios, value.rest)
    else:
        fraction = min(_SPARE_BITS, _WIDEST_TERM - max(_reach(operands, term, target)
                                                       for term in value.terms))
        if fraction < _SPARE_BITS // 2:
            operands.refuse(f"the scales of what is added and of the sum, {target.scale:.3g}, "
                            f"differ too much", "quantize the sum with a larger scale")
        source, offset = _add(operands, value, target, fraction, name), 0
        ratios, rests = np.array([2.0 ** -fraction]), np.zeros(1)
    shift = _pre_shift(builder, source, offset, ratios)
    rounding = builder.rounding
    if zero_first and target.zero % 2 and rounding is ir.ScaleRounding.EVEN:
        rounding = ir.ScaleRounding.ODD
    return Integers(builder.add(requantize(
        name, source, ratios * 2.0 ** -shift, affine, offset=offset, pre_shift=shift, low=low,
        high=high, rounding=rounding, rests=rests)), value.layout)


def _quantize_parts(operands: Operands, value: Joined, target: Quantized, suffix: str) -> Integers:
    builder = operands.builder
    first, *others = (quantize(operands, part, target, f"{suffix}_{n}").name
                      for n, part in enumerate(value.parts))
    return Integers(builder.add(ir.Concatenation(
        builder.name(operands.node, suffix), first, tuple(others))), value.layout)


def _quantize_function(operands: Operands, value: Curve, target: Quantized, zero_first: bool
                       ) -> str:
    before, behind = (np.float32(target.zero * added) for added in (zero_first, not zero_first))

    def levels(x: Floats32) -> Floats32:
        return np.clip(np.rint(x / target.scale + before) + behind, *target.range)

    return emit(operands, value, Quantizer(np.array([target.scale]), target.zero, *target.range, 1,
                                           levels), as_table=True)


def _quantize_input(operands: Operands, value: FloatInput, target: Quantized) -> Integers:
    builder = operands.builder
    # What the graph adds and multiplies before it quantizes changes the meaning of the integers.
    shift = value.addend / float(target.scale)
    zero = target.zero + round(shift)
    low, high = target.range
    if abs(shift - round(shift)) > 1e-3 or not low <= zero <= high:
        operands.refuse(f"{value.addend:g} is added to the network's input before, which is no "
                        f"whole step of the scale {target.scale:g} or beyond its range",
                        "let the graph take uint8 and cast them to float first, or normalize "
                        "before the network and export it without")
    with np.errstate(all="ignore"):
        scale = positive(operands, np.array([float(target.scale) / value.factor], np.float32))[0]
    target = replace(target, scale=scale, zero=zero)
    if builder.entry is None:
        builder.entry = target
        builder.declare_integers(target.type)
        builder.describe("input", target.scale, target.zero)
    elif builder.entry != target:
        operands.refuse("the network's input is quantized a second time, otherwise",
                        "quantize it once")
    return Integers("input", value.layout)


def is_alike(builder: Builder, value: Real, target: Quantized) -> bool:
    """Whether the integers behind ``value`` are already those of ``target``."""
    kind = builder.types[value.name]
    low, high = target.range
    return (value.zero == target.zero and bool((value.scale == target.scale).all())
            and not value.rest.any() and low <= kind.low and kind.high <= high)


def ratio_of(operands: Operands, value: Real, scale: np.float32) -> NDArray[np.float32]:
    """The scale of ``value`` in steps of ``scale``, in float32 as ONNX Runtime computes it."""
    with np.errstate(over="ignore", under="ignore"):
        ratio: NDArray[np.float32] = value.scale / scale
    if not np.isfinite(ratio).all():
        operands.refuse(f"the scales of its input and of its output, {scale:.3g}, differ too much",
                        "quantize the network again")
    return ratio


def _pre_shift(builder: Builder, source: str, offset: int, ratios: NDArray[np.float64]) -> int:
    """A left shift that makes the first of two roundings harmless; 0 where one rounds all."""
    if builder.rounding is not ir.ScaleRounding.DOUBLE:
        return 0
    kind = builder.types[source]
    room = ir.REFERENCE_BITS - signed_bits(kind.low - offset, kind.high - offset + 1)
    shifts = [quantize_multiplier(float(ratio))[1] for ratio in ratios]
    return max(0, min(room, _SPARE_BITS + max(shifts), 31 + min(shifts)))


def _reach(operands: Operands, term: Part, target: Quantized) -> int:
    """Bits of the integers that ``term`` needs in steps of ``target``."""
    if isinstance(term, Sum):
        return max(_reach(operands, inner, target) for inner in term.terms) + 1
    kind = operands.builder.types[term.name]
    if isinstance(term, Curve):
        steps = float(np.abs(_all_steps(operands, term, target)).max())
    else:
        most = max(abs(kind.low - term.zero), abs(kind.high - term.zero))
        steps = most * float(ratio_of(operands, term, target.scale).max())
    return math.ceil(steps + 1).bit_length() + 1


def _all_steps(operands: Operands, term: Curve, target: Quantized) -> NDArray[np.float64]:
    """The values (rows, n) of ``term`` at all of its integers, in steps of ``target``."""
    kind = operands.builder.types[term.name]
    if kind.bits > ir.TABLE_BITS:
        operands.refuse(f"it adds a function of integers of {kind.bits} bits that nothing has "
                        f"quantized", "put QuantizeLinear and DequantizeLinear before the sum")
    values = term(np.arange(kind.low, kind.high + 1)[None]).astype(np.float64)
    steps: NDArray[np.float64] = values / float(target.scale)
    if not (np.abs(steps) < 1 << _WIDEST_TERM).all():
        operands.refuse(f"what it adds is no number, or far beyond the scale {target.scale:.3g} of "
                        f"the sum", "quantize the network again")
    return steps


def _add(operands: Operands, value: Sum, target: Quantized, fraction: int, name: str) -> str:
    """The sum in steps of ``target``, with ``fraction`` more bits below."""
    builder = operands.builder
    names = []
    for term, suffix in zip(value.terms, ("_a", "_b"), strict=True):
        own = builder.name(operands.node, suffix)
        if isinstance(term, Curve):
            steps = np.rint(_all_steps(operands, term, target) * 2 ** fraction).astype(np.int64)
            names.append(builder.add(ir.Table(
                own, term.name, steps, _reach(operands, term, target) + fraction, True,
                builder.types[term.name].low)))
            continue
        low, high = (round(float(bound) / float(target.scale) * 2 ** fraction)
                     if math.isfinite(bound) else None for bound in (term.low, term.high))
        if isinstance(term, Sum):
            inner = _add(operands, term, target, fraction, own)
            kind = builder.types[inner]
            if low is not None or high is not None:
                inner = builder.add(ir.Clamp(own, inner, kind.low if low is None else low,
                                              kind.high if high is None else high))
            names.append(inner)
            continue
        bits = _reach(operands, term, target) + fraction + 1
        step = Affine(bits, True, float(target.scale) * 2.0 ** -fraction, 0)
        limit = 1 << bits - 1
        ratios = ratio_of(operands, term, target.scale).astype(np.float64) * 2.0 ** fraction
        names.append(builder.add(requantize(
            own, term.name, ratios, step, offset=term.zero,
            low=None if low is None else max(low, -limit),
            high=None if high is None else min(high, limit - 1), rounding=builder.rounding,
            rests=term.rest)))
    layer = ir.Subtract if value.subtracts else ir.Add
    return builder.add(layer(builder.name(operands.node, "_sum"), *names))


def settle(operands: Operands, value: Real, suffix: str = "_clamp") -> Real:
    """``value`` with its clamp, if any, carried out on the integers, which are all of it."""
    if value.rest.any():
        operands.refuse("its input has biases that are no whole steps of its scale",
                        "put QuantizeLinear and DequantizeLinear before it")
    if not value.clamped:
        return value
    builder = operands.builder
    kind = builder.types[value.name]
    bounds = []
    for bound, limit in ((value.low, kind.low), (value.high, kind.high)):
        if not math.isfinite(bound):
            bounds.append(limit)
            continue
        steps = {float(bound) / float(scale) for scale in value.scale}
        whole = round(next(iter(steps)))
        if len(steps) > 1 or abs(next(iter(steps)) - whole) > (0.5 if kind.bits > 16 else 1e-3):
            operands.refuse(f"the bound {bound:g} of an activation is no whole step of its "
                            f"input's scale", "put QuantizeLinear and DequantizeLinear before it")
        bounds.append(min(max(whole + value.zero, kind.low), kind.high))
    name = builder.add(ir.Clamp(builder.name(operands.node, suffix), value.name, *bounds))
    return replace(value, name=name, low=-math.inf, high=math.inf)


def narrowed(operands: Operands, name: str, low: int, high: int) -> str:
    """The integers ``name`` clamped: by what requantizes them, where that comes right before."""
    builder = operands.builder
    layer, own = builder.layers.get(name), builder.name(operands.node)
    if not isinstance(layer, ir.ScaleRequantize):
        return builder.add(ir.Clamp(own, name, low, high))
    low, high = (min(max(edge, low), high) for edge in layer.bounds)
    least, most = min(low, layer.zero_point), max(high, layer.zero_point)
    bits = ir.signed_bits(least, most) if layer.signed else ir.unsigned_bits(most)
    return builder.add(replace(layer, name=own, bits=bits, low=low, high=high))


def real(operands: Operands, position: int = 0) -> Real:
    """An input that is ``scale * (q - zero)``, with nothing left to be done to it."""
    return settle(operands, unsettled(operands, position))


def unsettled(operands: Operands, position: int = 0) -> Real:
    """An input that is reals of one tensor of integers."""
    value = operands.activation(position)
    if isinstance(value, FloatInput):
        operands.refuse("it reads the network's input before that is quantized",
                        "let a QuantizeLinear be the first to read it")
    if isinstance(value, Integers):
        operands.refuse("it computes with integers as if they were reals",
                        "put DequantizeLinear before it")
    if isinstance(value, Sum):
        operands.refuse("it reads a sum that nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear behind the sum")
    if isinstance(value, Curve):
        operands.refuse("it reads a function that nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear before it")
    if isinstance(value, Largest):
        operands.refuse("it reads the maxima of what nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear behind the pool")
    if isinstance(value, Joined):
        operands.refuse("it reads a concatenation that nothing has quantized",
                        "put QuantizeLinear and DequantizeLinear behind the Concat")
    return value


def multiplicand(operands: Operands, value: Real) -> np.float32:
    """The one scale of what weights multiply; its integers must be narrow."""
    bits = operands.builder.types[value.name].bits
    if bits > _WIDEST_OPERAND:
        operands.refuse(f"its input, {bits} bits wide, was not quantized after the layer before",
                        "put QuantizeLinear and DequantizeLinear between")
    if value.scale.size != 1:
        operands.refuse("its input has a scale for each channel",
                        "quantize activations by tensor")
    one: np.float32 = value.scale[0]
    return one
