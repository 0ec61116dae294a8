"""Pooling and padding, one function an operator: what it becomes in the integer network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import ir
from ..entries import entries
from ..padding import Padding
from . import linear
from .arithmetic import quantize, real, settle
from .graph import Operands, Operators, positive
from .operators import qlinear_input, quantized
from .values import (
    NCHW,
    Activation,
    Curve,
    FloatInput,
    Integers,
    Joined,
    Largest,
    Layout,
    Real,
    Sum,
    Value,
)

_MEAN_BITS = 12
"""The most bits of a mean below the last one of its elements, where windows differ in what counts.

Rounding twice then makes a difference in about one of 10⁴ values.
"""


def max_pool(operands: Operands) -> Value:
    """MaxPool of integers or reals, since a positive scale keeps the order."""
    if any(operands.node.outputs[1:]):
        operands.refuse("its second output, the indices, is used", "use the maxima only")
    return maxima(operands, operands.activation(), whole=False)


def global_max_pool(operands: Operands) -> Value:
    """GlobalMaxPool of integers or reals."""
    return maxima(operands, operands.activation(), whole=True)


def maxima(operands: Operands, value: Activation, *, whole: bool) -> Activation:
    """The maxima of ``value`` over the node's windows, or over the ``whole`` map.

    The greatest integer is that of the greatest value of integers, reals and rising functions. Of
    sums, of several tensors and of other functions it is found once they are quantized.
    """
    if isinstance(value, FloatInput | Largest):
        operands.refuse("it reads what is not quantized",
                        "put QuantizeLinear and DequantizeLinear before it")
    if isinstance(value, Integers | Real | Curve):
        value = linear.as_map(operands, value)
    elif not value.layout.map_dims():
        operands.refuse("it reads what nothing has quantized in another order of axes",
                        "put QuantizeLinear and DequantizeLinear before it")
    builder, layout = operands.builder, value.layout
    axes = linear.spatial(layout)
    kernel = stride = layout.shape[:2]
    padding: Padding = (0, 0, 0, 0)
    if not whole:
        kernel, stride, (top, bottom, left, right), extra = _windows(operands, layout, axes)
        padding = top, bottom + extra[0], left, right + extra[1]
    pool = ir.MaxPool(builder.name(operands.node), builder.input, kernel, stride, padding)
    shape = pool.output_type(ir.TensorType(layout.shape, 1, False)).shape
    layout = linear.map_of(operands, shape, axes)
    if isinstance(value, Sum | Joined) or (isinstance(value, Curve) and not value.rises):
        return Largest(value, layout, pool)
    return replace(value, name=builder.add(replace(pool, input=value.name)), layout=layout)


def average_pool(operands: Operands) -> Value:
    """AveragePool of reals."""
    return average(operands, real(operands), exact=False)


def qlinear_average_pool(operands: Operands) -> Value:
    """QLinearAveragePool: x, scale, zero; scale, zero."""
    _no_channels_last(operands)
    means = average(operands, qlinear_input(operands, 0), exact=False)
    return quantize(operands, means, quantized(operands, 3, 4), "_q", zero_first=True)


def global_average_pool(operands: Operands) -> Value:
    """GlobalAveragePool of reals."""
    return everywhere(operands, real(operands), exact=False)


def qlinear_global_average_pool(operands: Operands) -> Value:
    """QLinearGlobalAveragePool: x, scale, zero; scale, zero."""
    _no_channels_last(operands)
    means = everywhere(operands, qlinear_input(operands, 0), exact=False)
    return quantize(operands, means, quantized(operands, 3, 4), "_q")


def reduce_mean(operands: Operands) -> Value:
    """ReduceMean of reals over height and width."""
    return reduced(operands, real(operands), exact=False)


def reduced(operands: Operands, value: Real, *, exact: bool) -> Real:
    """The means over the node's axes, height and width; if ``exact``, sums, as of `average`."""
    value = linear.with_channels(operands, value)
    rank, channels = len(value.layout.dims), value.layout.channel_axis()
    axes = operands.integers(1, "axes") or ()
    if any(not -rank - 1 <= axis <= rank for axis in axes):
        operands.refuse(f"its axes {axes[:8]} are out of range")
    wanted = {axis % (rank + 1) for axis in axes}
    if rank < 2 or channels is None or wanted != set(range(1, rank + 1)) - {channels + 1} or (
            value.layout.in_order(NCHW) is False and value.layout.split != value.layout.dims):
        operands.refuse(f"it averages over the axes {tuple(sorted(wanted))}",
                        "average over height and width, all of both")
    return _mean(operands, value, bool(operands.integer("keepdims", 1)), exact=exact)


def everywhere(operands: Operands, value: Real, *, exact: bool) -> Real:
    """The means over all positions; if ``exact``, sums, as of `average`."""
    return _mean(operands, linear.as_map(operands, value), True, exact=exact)


def _no_channels_last(operands: Operands) -> None:
    if operands.integer("channels_last", 0):
        operands.refuse("its channels come last", "export the network with channels first")


def _mean(operands: Operands, value: Real, keep: bool, *, exact: bool) -> Real:
    layout = value.layout
    channels = layout.channel_axis()
    means = _means(operands, value, layout.shape[:2], (1, 1), (0, 0, 0, 0), exact=exact)
    size = layout.shape[2]
    dims = tuple(size if axis == channels else 1 for axis in range(len(layout.dims)))
    return replace(means, layout=Layout((1, 1, size), NCHW, dims if keep else (size,)))


def average(operands: Operands, value: Real, *, exact: bool) -> Real:
    """The means over the node's windows; if ``exact``, their sums, whose scale is divided."""
    value = linear.as_map(operands, value)
    axes = linear.spatial(value.layout)
    kernel, stride, padding, extra = _windows(operands, value.layout, axes)
    counts_padding = bool(operands.integer("count_include_pad", 0))
    if any(extra) and counts_padding:
        operands.refuse("windows reach beyond the padding, of which only a part counts",
                        "pool without ceil_mode, or with count_include_pad=0")
    top, bottom, left, right = padding
    padding = top, bottom + extra[0], left, right + extra[1]
    if not any(padding) or counts_padding:
        means = _means(operands, value, kernel, stride, padding, exact=exact)
    elif exact:
        operands.refuse("windows at the border average over fewer elements than others",
                        "pool without padding and ceil_mode, or with count_include_pad=1")
    else:
        means = _rounded(operands, value, kernel, stride, padding, False)
    shape = operands.builder.types[means.name].shape
    return replace(means, layout=linear.map_of(operands, shape, axes))


def _means(operands: Operands, value: Real, kernel: tuple[int, int], stride: tuple[int, int],
           padding: Padding, *, exact: bool) -> Real:
    """Means over windows, all of which count; the caller sets the layout.

    They are sums, with the scale of their mean. No float is the scale of a mean of 6, say, and a
    half of it would be told wrong, which matters if steps are powers of two: there, the means.
    """
    builder = operands.builder
    area = kernel[0] * kernel[1]
    source = value.name
    if any(padding) and (value.zero or max(padding[:2]) >= kernel[0]
                         or max(padding[2:]) >= kernel[1]):
        source = builder.add(ir.Pad(builder.name(operands.node, "_pad"), source, padding,
                                     value.zero))
        padding = (0, 0, 0, 0)
    if not exact and area & area - 1 and linear.is_power(value.scale):
        return _rounded(operands, replace(value, name=source), kernel, stride, padding, True)
    name = builder.add(ir.SumPool(builder.name(operands.node), source, kernel, stride, padding))
    with np.errstate(under="ignore"):
        scale = positive(operands, value.scale / np.float32(area))
    return replace(value, name=name, scale=scale, zero=value.zero * area)


def _rounded(operands: Operands, value: Real, kernel: tuple[int, int], stride: tuple[int, int],
             padding: Padding, count_padding: bool) -> Real:
    """Means over windows, rounded to some bits below the last one of an element."""
    builder = operands.builder
    # To steps that are powers of two, these are bits enough that only halves become halves.
    spare = (kernel[0] * kernel[1]).bit_length() + 3 if linear.is_power(value.scale) else _MEAN_BITS
    spare = min(spare, _MEAN_BITS)
    name = builder.add(ir.AveragePool(
        builder.name(operands.node), value.name, kernel, stride, padding,
        count_padding=count_padding, spare=spare))
    with np.errstate(under="ignore"):
        scale = positive(operands, value.scale * np.float32(2.0 ** -spare))
    return replace(value, name=name, scale=scale, zero=value.zero << spare)


def _windows(operands: Operands, layout: Layout, axes: int) -> tuple[
        tuple[int, int], tuple[int, int], Padding, tuple[int, int]]:
    """Kernel, stride and padding of a pool, and what ceil_mode appends to bottom and right."""
    if operands.ints("kernel_shape") is None:
        operands.refuse("it has no kernel_shape")
    if any(step != 1 for step in operands.ints("dilations") or ()):
        operands.refuse("it is dilated", "pool neighbouring elements")
    kernel, stride = (linear.window(operands, name, axes) for name in ("kernel_shape", "strides"))
    size = layout.shape[:2]
    padding = linear.pads(operands, size, kernel, stride, axes)
    if not operands.integer("ceil_mode", 0):
        return kernel, stride, padding, (0, 0)
    extra = []
    for whole, taps, step, before, after in zip(size, kernel, stride, padding[::2], padding[1::2],
                                                strict=True):
        last = -(-(whole + before + after - taps) // step)
        if last * step >= whole + before:  # a window must not start in the padding at the end
            last -= 1
        extra.append(max(0, last * step + taps - whole - before - after))
    return kernel, stride, padding, (extra[0], extra[1])


def pad(operands: Operands) -> Value:
    """Pad of height and width with a constant."""
    value = operands.activation(0)
    if operands.text("mode", "constant") != "constant" or operands.has(3):
        operands.refuse("it pads otherwise than with a constant, or along given axes only",
                        "use mode constant, and pads for all axes")
    if isinstance(value, Real):
        value = settle(operands, value)
    if not isinstance(value, Integers | Real):
        operands.refuse("it reads what is not quantized", "quantize its input first")
    value = linear.as_map(operands, value)
    axes = linear.spatial(value.layout)
    amounts = operands.integers(1, "pads") or ()
    ends = amounts[:axes + 2], amounts[axes + 2:]
    if len(amounts) != 2 * axes + 4 or any(any(end[:2]) or min(end) < 0 for end in ends):
        operands.refuse(f"its pads {amounts[:8]} crop, or concern more than height and width",
                        "pad height and width only")
    starts, stops = (end[2:] if axes == 2 else (0, end[2]) for end in ends)
    filler = operands.known(2, "value").reals() if operands.has(2) else np.zeros(1)
    fill = float(operands.scalar(filler.reshape(-1), "values"))
    steps = fill if isinstance(value, Integers) else fill / float(value.scale[0]) + value.zero
    if not abs(steps) < 1 << 31 or abs(steps - round(steps)) > 1e-3:
        operands.refuse(f"the value {fill:g} is no whole step of its input's scale", "pad with 0")
    name = operands.builder.add(ir.Pad(
        operands.builder.name(operands.node), value.name,
        (starts[0], stops[0], starts[1], stops[1]), round(steps)))
    shape = operands.builder.types[name].shape
    return replace(value, name=name, layout=linear.map_of(operands, shape, axes))


POOLS: Operators = {
    **entries("no dilation", "use dilation 1", {
        ("", "MaxPool"): max_pool, ("", "GlobalMaxPool"): global_max_pool}),
    **entries("padding counts or not, `ceil_mode` without `count_include_pad`",
              "pad the map so that the windows fit", {
        ("", "AveragePool"): average_pool,
        ("com.microsoft", "QLinearAveragePool"): qlinear_average_pool}),
    **entries("over height and width", "reduce height and width only", {
        ("", "GlobalAveragePool"): global_average_pool,
        ("com.microsoft", "QLinearGlobalAveragePool"): qlinear_global_average_pool,
        ("", "ReduceMean"): reduce_mean}),
    **entries("height and width, with a constant", "pad height and width only", {
        ("", "Pad"): pad}),
}
"""The operators that slide a window without weights, by domain and name."""
