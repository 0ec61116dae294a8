"""The bit-exact model: one pure numpy function per operation, and the walk over a network.

Arrays are int64 with a leading image axis: (N, H, W, C). Nothing here shares code with the hardware
or the schedule; an oracle that shares code with the suspect proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiler import ir
from ..compiler.ir import Integers, PenjingError

_INPUT_TRANSFORM = {1: np.array([[1]]), 2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0],
                                                     [0, 1, 0, -1]])}
_OUTPUT_TRANSFORM = {1: np.array([[1]]), 2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]])}
"""Those of Winograd's F(n, 3), for n outputs along an axis (Lavin and Gray 2016)."""


def convolution(x: Integers, weights: Integers, bias: Integers, stride: tuple[int, int] = (1, 1),
                padding: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int = 0,
                groups: int = 1) -> Integers:
    """Exact accumulators ``bias + sum(w * x)`` over each window of the padded map.

    ``x`` (N, H, W, C), ``weights`` (outputs, kernel height, kernel width, C / groups), ``bias``
    (outputs,), ``padding`` (top, bottom, left, right) elements of ``pad_value``.
    """
    outputs, kernel_height, kernel_width, inputs = weights.shape
    # In the product's type from the start: windows are many times the map.
    x = x.astype(_product_type(x, weights, pad_value))
    windows = _windows(x, (kernel_height, kernel_width), stride, padding, pad_value)
    images, height, width = windows.shape[:3]
    results = []
    for group in range(groups):
        # (N, oh, ow, kh, kw, C), in whose order the weights are
        columns = windows[:, :, :, group * inputs : (group + 1) * inputs].transpose(
            0, 1, 2, 4, 5, 3)
        mine = weights[group * outputs // groups : (group + 1) * outputs // groups]
        results.append(_matmul(columns.reshape(images * height * width, -1),
                               mine.reshape(len(mine), -1).T))
    return (np.concatenate(results, 1) + bias).reshape(images, height, width, outputs)


def depthwise(x: Integers, weights: Integers, bias: Integers, stride: tuple[int, int] = (1, 1),
              padding: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int = 0) -> Integers:
    """Exact accumulators over each window of one channel; output n reads channel ``n // m``.

    ``x`` (N, H, W, C), ``weights`` (m * C, kernel height, kernel width), ``bias`` (m * C,),
    ``padding`` (top, bottom, left, right) elements of ``pad_value``.
    """
    windows = _windows(x, weights.shape[1:], stride, padding, pad_value)
    total = np.zeros((*windows.shape[:3], len(bias)), np.int64)
    repeat = len(bias) // x.shape[3]
    for y in range(weights.shape[1]):
        for column in range(weights.shape[2]):
            total += np.repeat(windows[..., y, column], repeat, -1) * weights[:, y, column]
    return total + bias


def transposed_convolution(x: Integers, weights: Integers, bias: Integers,
                           stride: tuple[int, int] = (1, 1),
                           crop: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int = 0,
                           groups: int = 1) -> Integers:
    """Exact accumulators: ``bias`` and, of each element, its kernel times how far it is from
    ``pad_value``, which is what lies between elements and around them.

    ``x`` (N, H, W, C), ``weights`` (outputs, kernel height, kernel width, C / groups), ``bias``
    (outputs,), ``crop`` (top, bottom, left, right) rows and columns that are left off; negative
    ones at the bottom and at the right are put on.
    """
    images, height, width, _ = x.shape
    outputs, kernel_height, kernel_width, inputs = weights.shape
    top, bottom, left, right = crop
    tall, wide = stride[0] * (height - 1) + 1, stride[1] * (width - 1) + 1
    total = np.zeros((images, tall + kernel_height - 1 + max(0, -bottom),
                      wide + kernel_width - 1 + max(0, -right), outputs), np.int64)
    total += bias + pad_value * weights.sum((1, 2, 3))
    share = outputs // groups
    distance = (x - pad_value).astype(_product_type(x - pad_value, weights))
    for group in range(groups):
        mine = slice(group * share, (group + 1) * share)
        columns = distance[..., group * inputs : (group + 1) * inputs].reshape(-1, inputs)
        for y in range(kernel_height):
            for column in range(kernel_width):
                added = _matmul(columns, weights[mine, y, column].T)
                total[:, y : y + tall : stride[0], column : column + wide : stride[1], mine] += (
                    added.reshape(images, height, width, share))
    return total[:, top : total.shape[1] - max(0, bottom), left : total.shape[2] - max(0, right)]


def _product_type(x: Integers, weights: Integers, fill: int = 0) -> type[np.number[Any]]:
    """The type with the fastest product of ``x``, or ``fill``, by ``weights`` that is exact.

    Floats have a fast one. Every partial sum is at most the sum of the largest magnitudes, whatever
    the order. ``weights`` are (outputs, ...).
    """
    most = max(int(np.abs(x).max(initial=0)), abs(fill)) * int(
        np.abs(weights).reshape(len(weights), -1).sum(1).max(initial=0))
    return np.float32 if most < 1 << 24 else np.float64 if most < 1 << 53 else np.int64


def _matmul(x: NDArray[Any], weights: Integers) -> Integers:
    """``x @ weights`` in the type of ``x``, in which it is exact."""
    return (x @ np.ascontiguousarray(weights, x.dtype)).astype(np.int64)


def dense(x: Integers, weights: Integers, bias: Integers) -> Integers:
    """Exact accumulators ``bias + weights @ x``.

    ``x`` (N, 1, 1, inputs), ``weights`` (outputs, inputs), ``bias`` (outputs,).
    """
    rows = x.reshape(len(x), -1).astype(_product_type(x, weights))
    return (_matmul(rows, weights.T) + bias).reshape(len(x), 1, 1, -1)


def max_pool(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Integers:
    """Maximum over each window; padded positions never win."""
    lowest = int(np.iinfo(np.int64).min)
    return _windows(x, kernel, stride, padding, fill=lowest).max((4, 5))


def average_pool(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
                 padding: tuple[int, int, int, int] = (0, 0, 0, 0),
                 rounding: ir.Rounding = ir.Rounding.HALF_UP, count_padding: bool = True,
                 spare: int = 0) -> Integers:
    """``sum * 2**spare / count`` over each window, halves up or away from zero.

    Padding counts as zeros, or not at all.
    """
    total = sum_pool(x, kernel, stride, padding) << spare
    count = sum_pool(np.ones((1, *x.shape[1:3], 1), np.int64), kernel, stride, padding)
    if count_padding:
        count = np.full_like(count, kernel[0] * kernel[1])
    if rounding is ir.Rounding.HALF_AWAY:
        return np.sign(total) * ((2 * np.abs(total) + count) // (2 * count))
    return (2 * total + count) // (2 * count)


def sum_pool(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Integers:
    """Exact sum over each window; padding counts as zeros."""
    return _windows(x, kernel, stride, padding, fill=0).sum((4, 5))


def pad(x: Integers, padding: tuple[int, int, int, int], value: int) -> Integers:
    """The map with (top, bottom, left, right) elements of ``value`` around it."""
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def add(x: Integers, other: Integers) -> Integers:
    """``x + other``."""
    return x + other


def subtract(x: Integers, other: Integers) -> Integers:
    """``x - other``."""
    return x - other


def multiply(x: Integers, other: Integers, offsets: tuple[int, int] = (0, 0)) -> Integers:
    """``(x - offsets[0]) * (other - offsets[1])``."""
    return (x - offsets[0]) * (other - offsets[1])


def concatenate(*parts: Integers) -> Integers:
    """Several (N, H, W, C) to (N, H, W, sum of C): the channels of each behind those before."""
    return np.concatenate(parts, -1)


def shift_requantize(x: Integers, shift: int, low: int, high: int) -> Integers:
    """``clamp((x + 2**(shift-1)) >> shift)``: round half up; a shift of 0 or less is leftwards."""
    if shift <= 0:
        # Clamping first to bounds that survive the shift keeps a long shift within 64 bits.
        steps = 1 << min(-shift, ir.MAX_BITS)
        return np.clip(np.clip(x, -(-low // steps) - 1, high // steps + 1) * steps, low, high)
    if shift > 62:
        return np.clip(np.zeros_like(x), low, high)
    return np.clip((x + (1 << shift - 1)) >> shift, low, high)


def scale_requantize(x: Integers, multipliers: Integers, shifts: Integers, zero_point: int,
                     low: int, high: int, *, offset: int = 0, pre_shift: int = 0,
                     rounding: ir.ScaleRounding = ir.ScaleRounding.DOUBLE,
                     addends: Integers | None = None) -> Integers:
    """``clamp(zero_point + round(((x - offset) * m + a) * 2**(pre_shift - 31 + s)), low, high)``.

    ``multipliers`` m, ``shifts`` s and ``addends`` a (None for zeros) are (C,) or (1,). DOUBLE
    follows TensorFlow Lite's ``MultiplyByQuantizedMultiplier``: `doubling_high_divide`, then
    `rounding_divide`; SINGLE its variant with one rounding, halves up; EVEN and ODD are
    `half_to_divide`.
    """
    value = x - offset << pre_shift
    added = np.zeros(1, np.int64) if addends is None else addends << pre_shift
    if rounding is ir.ScaleRounding.SINGLE:
        scaled = half_up_multiply(value, multipliers, shifts, added)
    elif rounding is not ir.ScaleRounding.DOUBLE:
        last = int(rounding is ir.ScaleRounding.ODD)
        scaled = half_to_divide(value * multipliers + added, 31 - shifts, last)
    else:
        product: Integers = value * multipliers + added
        high_half = doubling_high_divide(product << np.maximum(shifts, 0))
        scaled = rounding_divide(high_half, np.maximum(-shifts, 0))
    return np.clip(scaled + zero_point, low, high)


def doubling_high_divide(product: Integers) -> Integers:
    """``round(2 * product / 2**32)``, halves up, of a ``product`` by what is not negative.

    gemmlowp's ``SaturatingRoundingDoublingHighMul``: its division truncates, after a nudge that
    depends on the sign, which comes to the same; it saturates for two negative numbers only.
    """
    return product + (1 << 30) >> 31


def half_up_multiply(x: Integers, multiplier: Integers, shift: Integers,
                     addend: Integers) -> Integers:
    """``round((x * multiplier + addend) * 2**(shift - 31))``, halves up, for 48 bits of ``x``.

    The product may have more than 64 bits, so the low bits of the multiplier have one of their own.
    """
    low = np.minimum(16, 30 - shift)
    lower = x * (multiplier & (1 << low) - 1) + addend >> low
    return x * (multiplier >> low) + lower + (1 << 30 - shift - low) >> 31 - shift - low


def rounding_divide(x: Integers, exponent: Integers) -> Integers:
    """``round(x / 2**exponent)``, halves away from zero: gemmlowp's ``RoundingDivideByPOT``."""
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def half_to_divide(x: Integers, exponent: Integers, last: int) -> Integers:
    """``round(x / 2**exponent)``, halves to what ends in the bit ``last``; exponents 1 to 62."""
    floor, half = x >> exponent, 1 << exponent - 1
    rest = x - (floor << exponent)
    return floor + ((rest > half) | ((rest == half) & (floor % 2 != last)))


def slope_requantize(x: Integers, multipliers: Integers, offsets: Integers, breakpoints: Integers,
                     shift: int, low: int, high: int) -> Integers:
    """``clamp((m * x + c + 2**(shift-1)) >> shift)``, with the m and c of the side of x; halves up.

    ``multipliers`` m and ``offsets`` c are (C, 2) or (1, 2), those below the channel's breakpoint,
    (C,) or (1,), and those from it on.
    """
    above = x >= breakpoints
    factor = np.where(above, multipliers[:, 1], multipliers[:, 0])
    exact = x * factor + np.where(above, offsets[:, 1], offsets[:, 0])
    half = 1 << shift - 1 if shift else 0
    return np.clip((exact + half) >> shift, low, high)


def threshold(x: Integers, thresholds: Integers, falling: Integers, base: int = 0,
              step: int = 1) -> Integers:
    """``base + step * count`` of a channel's thresholds t with ``x >= t``, or ``x < t`` if falling.

    ``thresholds`` (C, T) or (1, T), ``falling`` (C,) or (1,) of zeros and ones.
    """
    count = np.zeros_like(x)
    for reached in thresholds.T:  # one at a time: all together would be T times the memory
        count += x >= reached
    return base + step * np.where(falling, thresholds.shape[1] - count, count)


def table(x: Integers, values: Integers, low: int = 0) -> Integers:
    """``values[c, x - low]`` in channel c; ``values`` are (C, N), or (1, N) for all channels."""
    return values[np.arange(x.shape[-1]) % len(values), x - low]


def clamp(x: Integers, low: int, high: int) -> Integers:
    """``min(max(x, low), high)``."""
    return np.clip(x, low, high)


def repeat(x: Integers, times: int) -> Integers:
    """(N, H, W, C) to (N, H, W, times * C): each channel ``times`` times, next to each other."""
    return np.repeat(x, times, -1)


def channel_slice(x: Integers, start: int, stop: int) -> Integers:
    """(N, H, W, C) to (N, H, W, stop - start): the channels from ``start`` on, before ``stop``."""
    return x[..., start:stop]


def permute(x: Integers, order: Sequence[int]) -> Integers:
    """(N, H, W, C) with channel ``order[n]`` at place n, for each n."""
    return x[..., list(order)]


def crop(x: Integers, rows: tuple[int, int, int], columns: tuple[int, int, int]) -> Integers:
    """(N, H, W, C) to (N, rows, columns, C): those from a start on, before a stop, by a step."""
    return x[:, slice(*rows), slice(*columns)]


def upsample(x: Integers, factors: tuple[int, int]) -> Integers:
    """(N, H, W, C) to (N, y * H, x * W, C): ``factors`` (y, x) copies of each row and column."""
    return x.repeat(factors[0], 1).repeat(factors[1], 2)


def reshape(x: Integers, shape: tuple[int, int, int]) -> Integers:
    """(N, H, W, C) to (N, *shape), in the same raster order."""
    return x.reshape(len(x), *shape)


def winograd_input(x: Integers, tile: tuple[int, int],
                   padding: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int = 0,
                   zero: int = 0) -> Integers:
    """The transform of each window that a ``tile`` of 2 or 1 outputs along each axis reads.

    ``x`` (N, H, W, C), ``padding`` (top, bottom, left, right) elements of ``pad_value``; all are
    counted from ``zero``. (N, h, w * products, C), the products of a tile row by row.
    """
    down, across = (_INPUT_TRANSFORM[outputs] for outputs in tile)
    windows = _windows(x, (down.shape[1], across.shape[1]), tile, padding, pad_value) - zero
    found = np.einsum("iy,jx,nhwcyx->nhwijc", down, across, windows)
    return found.reshape(len(x), windows.shape[1], -1, x.shape[3])


def winograd_products(x: Integers, weights: Integers, bias: Integers,
                      padding: tuple[int, int, int, int] = (0, 0, 0, 0), pad_value: int = 0,
                      turns: int = 1) -> Integers:
    """A `convolution` of one column, at column x by the weights of x % ``turns``.

    ``x`` (N, H, W, C), ``weights`` (turns * outputs, kernel height, 1, C), ``bias`` likewise.
    """
    height, outputs = x.shape[1] + sum(padding[:2]) - weights.shape[1] + 1, len(bias) // turns
    total = np.empty((len(x), height, x.shape[2], outputs), np.int64)
    for turn in range(turns):
        mine = slice(turn * outputs, (turn + 1) * outputs)
        total[:, :, turn::turns] = convolution(x[:, :, turn::turns], weights[mine], bias[mine],
                                               (1, 1), padding, pad_value)
    return total


def winograd_output(x: Integers, tile: tuple[int, int], bias: Integers, low: int, high: int
                    ) -> Integers:
    """The ``tile`` of outputs of each tile's products ``x`` (N, h, w * products, C), and ``bias``.

    `PenjingError` unless all, divided by 2 along each axis of 2 outputs, are integers from ``low``
    to ``high``.
    """
    down, across = (_OUTPUT_TRANSFORM[outputs] for outputs in tile)
    images, rows, _, channels = x.shape
    split = x.reshape(images, rows, -1, down.shape[1], across.shape[1], channels)
    sums = np.einsum("yi,xj,nhwijc->nhywxc", down, across, split)
    results, rest = np.divmod(sums, 2 ** tile.count(2))
    results += bias
    if rest.any() or results.min() < low or results.max() > high:
        raise PenjingError(f"winograd: sums must be {2 ** tile.count(2)} times integers from {low} "
                           f"to {high}; products of other kernels have no such form")
    return np.asarray(results).reshape(images, rows * tile[0], -1, channels)


def argmax(x: Integers) -> Integers:
    """Index of the largest channel; the lowest index wins a tie."""
    return x.argmax(-1)[..., None].astype(np.int64)


def _windows(x: NDArray[Any], kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int, int, int], fill: int) -> NDArray[Any]:
    """Every window of the padded map: (N, output height, output width, C, kernel height, width)."""
    top, bottom, left, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    return windows[:, :: stride[0], :: stride[1]]


@singledispatch
def execute(layer: ir.Layer, *inputs: Integers) -> Integers:
    """``layer``'s output for its ``inputs``, each (N, H, W, C); an unknown layer raises."""
    raise PenjingError(f"layer {layer.name}: the golden model does not know {layer.kind}")


@execute.register
def _(layer: ir.Convolution, x: Integers) -> Integers:
    return convolution(x, layer.weights.values, layer.bias, layer.stride, layer.padding,
                       layer.pad_value, layer.groups)


@execute.register
def _(layer: ir.Depthwise, x: Integers) -> Integers:
    return depthwise(x, layer.weights.values, layer.bias, layer.stride, layer.padding,
                     layer.pad_value)


@execute.register
def _(layer: ir.TransposedConvolution, x: Integers) -> Integers:
    return transposed_convolution(x, layer.weights.values, layer.bias, layer.stride, layer.crop,
                                  layer.pad_value, layer.groups)


@execute.register
def _(layer: ir.Dense, x: Integers) -> Integers:
    return dense(x, layer.weights.values, layer.bias)


@execute.register
def _(layer: ir.MaxPool, x: Integers) -> Integers:
    return max_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: ir.AveragePool, x: Integers) -> Integers:
    return average_pool(x, layer.kernel, layer.stride, layer.padding, layer.rounding,
                        layer.count_padding, layer.spare)


@execute.register
def _(layer: ir.SumPool, x: Integers) -> Integers:
    return sum_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: ir.Pad, x: Integers) -> Integers:
    return pad(x, layer.padding, layer.value)


@execute.register
def _(layer: ir.Add, x: Integers, other: Integers) -> Integers:
    return add(x, other)


@execute.register
def _(layer: ir.Subtract, x: Integers, other: Integers) -> Integers:
    return subtract(x, other)


@execute.register
def _(layer: ir.Multiply, x: Integers, other: Integers) -> Integers:
    return multiply(x, other, layer.offsets)


@execute.register
def _(layer: ir.Concatenation, *parts: Integers) -> Integers:
    return concatenate(*parts)


@execute.register
def _(layer: ir.ShiftRequantize, x: Integers) -> Integers:
    return shift_requantize(x, layer.shift, *layer.bounds)


@execute.register
def _(layer: ir.ScaleRequantize, x: Integers) -> Integers:
    return scale_requantize(x, layer.multipliers, layer.shifts, layer.zero_point, *layer.bounds,
                            offset=layer.offset, pre_shift=layer.pre_shift,
                            rounding=layer.rounding, addends=layer.addends)


@execute.register
def _(layer: ir.SlopeRequantize, x: Integers) -> Integers:
    return slope_requantize(x, layer.multipliers, layer.offsets, layer.breakpoints, layer.shift,
                            *layer.bounds)


@execute.register
def _(layer: ir.Threshold, x: Integers) -> Integers:
    return threshold(x, layer.thresholds, layer.falling, layer.base, layer.step)


@execute.register
def _(layer: ir.Table, x: Integers) -> Integers:
    return table(x, layer.values, layer.low)


@execute.register
def _(layer: ir.Clamp, x: Integers) -> Integers:
    return clamp(x, *layer.bounds)


@execute.register
def _(layer: ir.Repeat, x: Integers) -> Integers:
    return repeat(x, layer.times)


@execute.register
def _(layer: ir.Slice, x: Integers) -> Integers:
    return channel_slice(x, layer.start, layer.stop)


@execute.register
def _(layer: ir.Permutation, x: Integers) -> Integers:
    return permute(x, layer.order)


@execute.register
def _(layer: ir.Crop, x: Integers) -> Integers:
    return crop(x, layer.rows, layer.columns)


@execute.register
def _(layer: ir.Upsample, x: Integers) -> Integers:
    return upsample(x, layer.factors)


@execute.register
def _(layer: ir.Rewiring, x: Integers) -> Integers:
    _, height, width, channels = x.shape
    return reshape(x, layer.new_shape((height, width, channels)))


@execute.register
def _(layer: ir.WinogradInput, x: Integers) -> Integers:
    return winograd_input(x, layer.tile, layer.padding, layer.pad_value, layer.zero)


@execute.register
def _(layer: ir.WinogradProducts, x: Integers) -> Integers:
    return winograd_products(x, layer.weights.values, layer.bias, layer.padding, layer.pad_value,
                             layer.turns)


@execute.register
def _(layer: ir.WinogradOutput, x: Integers) -> Integers:
    half = 1 << layer.bits - 1
    return winograd_output(x, layer.tile, layer.bias, -half, half - 1)


@execute.register
def _(layer: ir.ArgMax, x: Integers) -> Integers:
    return argmax(x)


def check_input(kind: ir.TensorType, x: object) -> Integers:
    """``x`` as (N, H, W, C) int64, refused unless each value lies within ``kind``."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
        raise PenjingError("input: the network takes an integer array")
    if x.ndim != 4 or x.shape[1:] != kind.shape:
        raise PenjingError(f"input: the network takes (N, H, W, C) with {kind.shape}, "
                           f"not an array of shape {x.shape}")
    if x.size and (x.min() < kind.low or x.max() > kind.high):
        raise PenjingError(f"input: values must lie within {kind.low} and {kind.high}")
    return x.astype(np.int64)


def run_all(network: ir.Network, x: Integers) -> dict[str, Integers]:
    """Every tensor of ``network`` by name, the input included, for images ``x`` (N, H, W, C)."""
    tensors = {network.input: check_input(network.input_type, x)}
    for layer in network.layers:
        tensors[layer.name] = execute(layer, *(tensors[name] for name in layer.inputs))
    return tensors


def run(network: ir.Network, x: Integers) -> Integers:
    """The output of ``network`` for images ``x`` (N, H, W, C)."""
    return run_all(network, x)[network.layers[-1].name]
