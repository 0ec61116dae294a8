"""The quantizers of QONNX, and what they read: functions of integers, constants, the input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ... import ir
from .graph import INPUT, Operands
from .linear import per_channel
from .model import Array
from .thresholds import (
    ROUNDINGS,
    Levels,
    Quantizer,
    counted,
    emit,
    interval,
    rounded,
    scaled,
    sign,
)
from .values import (
    Curve,
    FloatInput,
    Floats32,
    Integers,
    Known,
    Largest,
    Layout,
    Scales,
    Value,
)

_ONE = np.ones(1, np.float32)
_MOST_BITS = 32
_LAYOUTS = {2: "NWC", 3: "NCHW"}
"""What a MultiThreshold takes its input for, by the number of axes besides the batch."""


# --- activations
def curve_of(operands: Operands, position: int = 0) -> Curve:
    """An input as a function of integers; the network's own input is pixels if it is of floats."""
    value = operands.activation(position)
    builder = operands.builder
    if isinstance(value, Integers):
        return Curve(value.name, value.layout, np.ones(1), operands.node.inputs[position])
    if isinstance(value, FloatInput):
        pixel = np.float32(1 / 255)
        kind = ir.TensorType(builder.layout.shape, 8, False, scale=float(pixel))
        if not builder.declares(kind):
            operands.refuse("it reads the network's input, which a quantizer reads as well",
                            "quantize the input once, before all else")
        return Curve(INPUT, value.layout, np.array([float(pixel)]), operands.node.inputs[position])
    if isinstance(value, Largest):
        operands.refuse("it reads the maxima of a function that nothing has quantized",
                        "put a Quant before the pool, or right behind it")
    if not isinstance(value, Curve):
        operands.refuse("it reads what no quantizer of QONNX made",
                        "keep to one dialect in a network")
    return value


def _source(operands: Operands) -> Curve:
    """What a quantizer reads: a function of integers, or that whose maxima are to be quantized."""
    value = operands.activation()
    if isinstance(value, Largest) and isinstance(value.part, Curve):
        return value.part
    return curve_of(operands)


def _made(operands: Operands, curve: Curve, quantizer: Quantizer, rows: int = 1) -> Curve:
    """What ``quantizer`` makes of ``curve``, which is what the node reads, or has maxima of."""
    value, name = operands.activation(), emit(operands, curve, quantizer, rows)
    layout = curve.layout
    if isinstance(value, Largest):
        name, layout = operands.builder.add(value.behind(name)), value.layout
    return Curve(name, layout, quantizer.scale.astype(np.float64),
                 operands.node.outputs[0], quantizer.zero)


def plain(operands: Operands, position: int = 0) -> Curve:
    """An input that is quantized: ``scale * (q - zero)`` with one scale."""
    if isinstance(operands.activation(position), FloatInput):
        operands.refuse("it reads the network's input before that is quantized",
                        "put a Quant behind the input")
    value = curve_of(operands, position)
    if value.steps:
        operands.refuse("its input is not quantized", "put a Quant before it")
    if value.scale.size != 1:
        operands.refuse("its input has a scale for each channel",
                        "quantize activations by tensor")
    return value


# --- quantizers
def quant(operands: Operands) -> Value:
    """Quant: x, scale, zero point, bits."""
    return _quantized(operands, *_parameters(operands))


def _parameters(operands: Operands) -> tuple[Array, int, tuple[int, int], str | None]:
    """The scale, zero point, limits and rounding of a Quant; no rounding where it is a sign."""
    scale, zero = _scale(operands, 1), _zero(operands, 2)
    bits = _bits(operands, 3)
    signed, narrow = operands.integer("signed", 1), operands.integer("narrow", 0)
    mode = _mode(operands, "ROUND")
    if bits == 1 and signed:
        if zero:
            operands.refuse("one bit with a sign has a zero point", "use zero point 0")
        return scale, 0, (-1, 1), None
    return scale, zero, _limits(bits, bool(signed), bool(narrow)), mode


def bipolar(operands: Operands) -> Value:
    """BipolarQuant: x, scale."""
    return _quantized(operands, _scale(operands, 1), 0, (-1, 1), None)


def assumed(operands: Operands, layout: Layout) -> Curve:
    """What a Quant or BipolarQuant puts out in ``layout``, whatever it reads."""
    scale, zero, limits = _scale(operands, 1), 0, (-1, 1)
    if operands.node.operator != "BipolarQuant":
        scale, zero, limits, _ = _parameters(operands)
    name = operands.builder.assume("missing", ir.TensorType(
        layout.shape, *_width(limits)))
    scales = per_channel(operands, Known(scale), layout).values.astype(np.float64)
    return Curve(name, layout, scales, operands.node.outputs[0], zero)


def _limits(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    if signed:
        return -(1 << bits - 1) + narrow, (1 << bits - 1) - 1
    return 0, (1 << bits) - 1 - narrow


def _width(limits: tuple[int, int]) -> tuple[int, bool]:
    """The bits that hold integers within ``limits``, and whether they have a sign."""
    low, high = limits
    return (ir.signed_bits(low, high), True) if low < 0 else (ir.unsigned_bits(high), False)


def _quantized(operands: Operands, scale: Array, zero: int, limits: tuple[int, int],
               mode: str | None) -> Value:
    """The input in integers of ``limits``, rounded by ``mode``; without one, its sign."""
    low, high = limits
    if low >= high or not low <= zero <= high:
        operands.refuse(f"its integers from {low} to {high} do not include its zero point {zero}, "
                        f"or are of one value", "quantize the network again")
    levels = sign if mode is None else rounded(low, high, mode)
    value = operands.value(0)
    if isinstance(value, Known):
        return _weights(operands, value, scale, zero, levels)
    scales = by_channel(operands, scale, value)
    if isinstance(value, FloatInput):
        if mode is None:
            operands.refuse("it takes the sign of the network's input",
                            "put a Quant of 2 bits and more behind the input")
        return _entry(operands, value, scales, zero, limits)
    quantizer = Quantizer(scales, zero, low, high, 2 if mode is None else 1,
                          scaled(scales, zero, levels))
    return _made(operands, _source(operands), quantizer)


def _weights(operands: Operands, value: Known, scale: Array, zero: int, levels: Levels) -> Known:
    """A constant in integers, with the scale that they have along one axis."""
    values = operands.numbers(0, "weights").astype(np.float32)
    operands.builder.spend_folded(operands.node, values.size)
    shape = (1,) * (values.ndim - scale.ndim) + scale.shape
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    if len(shape) != values.ndim or len(axes) > 1 or any(
            shape[axis] != values.shape[axis] for axis in axes):
        operands.refuse(f"its scale of shape {scale.shape} does not fit weights of shape "
                        f"{values.shape}", "quantize weights by tensor or by output channel")
    with np.errstate(all="ignore"):
        whole = levels((values / scale).astype(np.float32) + np.float32(zero))
    return Known(whole.astype(np.int64), None, scale.reshape(-1).astype(np.float32),
                 np.array([zero]), axes[0] if axes else 0)


def _entry(operands: Operands, value: FloatInput, scales: Scales, zero: int,
           limits: tuple[int, int]) -> Curve:
    """The network's input, whose integers are those of its first quantizer."""
    builder, (low, high) = operands.builder, limits
    bits, signed = _width(limits)
    if scales.size != 1 or bits > 16:
        operands.refuse(f"it quantizes the network's input to {bits} bits, or by channel",
                        "quantize the input by tensor, to 16 bits at most")
    kind = ir.TensorType(builder.layout.shape, bits, signed, 0, zero, float(scales[0]))
    if not builder.declares(kind):
        operands.refuse("the network's input is quantized a second time, otherwise",
                        "quantize it once")
    name = INPUT
    if (kind.low, kind.high) != limits:
        name = builder.add(ir.Clamp(builder.name(operands.node), INPUT, low, high))
    return Curve(name, value.layout, scales.astype(np.float64), operands.node.outputs[0], zero)


def trunc(operands: Operands) -> Value:
    """Trunc: x, scale, zero point, bits in; then bits out, or the output's scale and bits.

    Of operator set 1 are five inputs and no clamp, of operator set 2 six.
    """
    scale, zero = _scale(operands, 1), _zero(operands, 2)
    wide = _bits(operands, 3)
    mode = _mode(operands, "FLOOR")
    newer = len(operands.node.inputs) > 5
    bits = _bits(operands, 5 if newer else 4)
    signed, narrow = operands.integer("signed", 1), operands.integer("narrow", 0)
    curve = _source(operands)
    scales = by_channel(operands, scale, curve)
    result = by_channel(operands, _scale(operands, 4), curve) if newer else scales
    dropped = np.rint(np.log2(result / scales)) if newer else np.array([wide - bits])
    halvings = int(dropped[0])
    if not 0 <= halvings < _MOST_BITS or (dropped != halvings).any():
        operands.refuse(f"it drops {halvings} bits", "drop 0 to 31, as many of each channel")
    point = zero >> halvings if newer else zero
    if newer and point << halvings != zero:
        operands.refuse(f"its zero point {zero} is no whole one without the {halvings} bits that "
                        f"it drops", "use zero point 0")
    # Without its own clamp, as the older form is, nothing lies beyond the range that went in.
    low, high = _limits(bits, bool(signed), bool(narrow)) if newer else _reach(
        operands, curve, scales, zero, halvings)
    quantizer = Quantizer(result, point, low, high, 1,
                          scaled(scales, zero, rounded(low, high, mode, halvings)))
    return _made(operands, curve, quantizer)


def _reach(operands: Operands, curve: Curve, scales: Scales, zero: int,
           halvings: int) -> tuple[int, int]:
    """The integers that a truncation without a clamp may give."""
    limits = interval(operands.builder, curve.name)
    with np.errstate(all="ignore"):
        ends = (curve(np.array([limits])) / scales[:, None] + zero) / 2.0 ** halvings
    if not (np.abs(ends) < 1 << _MOST_BITS).all():
        operands.refuse("its input is not finite, or far beyond its scale", "quantize it first")
    return math.floor(ends.min()) - 1, math.ceil(ends.max()) + 1  # whatever the rounding


def multi_threshold(operands: Operands) -> Value:
    """MultiThreshold: x, thresholds (channels or 1, T)."""
    curve = _source(operands)
    if isinstance(operands.activation(0), FloatInput):
        operands.refuse("it reads the network's input before that is quantized",
                        "put a Quant behind the input")
    thresholds = operands.numbers(1, "thresholds")
    if thresholds.ndim != 2 or not (np.diff(thresholds, axis=1) >= 0).all():
        operands.refuse("its thresholds are no (channels, T) that ascend", "sort them")
    rank, axis = len(curve.layout.dims), curve.layout.channel_axis()
    order = operands.text("data_layout", "") or _LAYOUTS.get(rank, "")
    if rank > 1 and order[1:].find("C") != axis:
        operands.refuse("its data_layout is not that of its input", "let it name the channels")
    scale, bias = operands.number("out_scale", 1.0), operands.number("out_bias", 0.0)
    # Of the two, the larger unit in which both are whole.
    base = next((n * bias / scale for n in (1, 2) if scale > 0 and abs(bias / scale) < 1 << 20
                 and (n * bias / scale).is_integer()), None)
    if base is None:
        operands.refuse(f"its out_bias {bias:g} is no half of its out_scale {scale:g}",
                        "use a whole multiple of half the scale")
    step = 1 if (bias / scale).is_integer() else 2
    rows, count = thresholds.shape
    levels = counted(thresholds.astype(np.float32))
    low = int(base)

    def values(x: Floats32) -> Floats32:
        return np.float32(low) + np.float32(step) * levels(x)

    made = _made(operands, curve, Quantizer(_ONE, 0, low, low + step * count, step, values), rows)
    return replace(made, scale=np.array([scale / step]))


def _mode(operands: Operands, default: str) -> str:
    mode = operands.text("rounding_mode", default).upper()
    if mode not in ROUNDINGS:
        operands.refuse(f"its rounding mode {mode:.20} is not implemented",
                        f"use one of {', '.join(ROUNDINGS)}")
    return mode


def _scale(operands: Operands, position: int) -> Array:
    values = numbers(operands, position, "scale").astype(np.float32)
    if not (np.isfinite(values).all() and (values > 0).all()):
        operands.refuse("a scale is not positive, not finite, or out of the range of float32",
                        "quantize the network again")
    return values


def _zero(operands: Operands, position: int) -> int:
    values = numbers(operands, position, "zero point").reshape(-1)
    if not (values == values[0]).all():
        operands.refuse("it has a zero point for each channel", "use one zero point for all")
    return _whole(operands, values[0], "zero point", 1 << 31)


def _bits(operands: Operands, position: int) -> int:
    values = numbers(operands, position, "bit width").reshape(-1)
    bits = _whole(operands, operands.scalar(values, "bit widths"), "bit width", _MOST_BITS)
    if bits < 1:
        operands.refuse(f"its bit width is {bits}", "use 1 to 32 bits")
    return bits


def numbers(operands: Operands, position: int, what: str) -> Array:
    """A constant, dequantized if need be, all of it finite."""
    known = operands.known(position, what)
    values = known.reals() if known.scale is not None else operands.numbers(position, what)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        operands.refuse(f"its {what} is no number")
    return values


def _whole(operands: Operands, value: Any, what: str, limit: int) -> int:
    number = float(value)
    if not number.is_integer() or abs(number) > limit:
        operands.refuse(f"its {what} {number:g} is no whole number up to {limit}",
                        "quantize the network again")
    return int(number)


def by_channel(operands: Operands, values: Array, value: Value) -> Scales:
    """A constant of the input as (1,) or one a channel."""
    assert not isinstance(value, Known)
    return per_channel(operands, Known(values), value.layout).values.astype(np.float32)
