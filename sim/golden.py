"""The bit-exact model: one pure numpy function per operation, and the walk over a network.

Arrays are int64 with a leading image axis: (N, H, W, C). Nothing here shares code with the hardware
or the schedule; an oracle that shares code with the suspect proves nothing.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from ..compiler import ir
from ..compiler.ir import Integers, PenjingError


def convolution(x: Integers, weights: Integers, bias: Integers, stride: tuple[int, int] = (1, 1),
                padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Integers:
    """Exact accumulators ``bias + sum(w * x)`` over each window of the zero-padded map.

    ``x`` (N, H, W, C), ``weights`` (outputs, kernel height, kernel width, C), ``bias`` (outputs,),
    ``padding`` (top, bottom, left, right).
    """
    outputs, kernel_height, kernel_width, _ = weights.shape
    windows = _windows(x, (kernel_height, kernel_width), stride, padding, fill=0)
    images, height, width = windows.shape[:3]
    columns = windows.reshape(images * height * width, -1)
    # (N, oh, ow, C, kh, kw) against weights brought to the same order of C, kh, kw
    kernel = np.ascontiguousarray(weights.transpose(3, 1, 2, 0).reshape(-1, outputs))
    return (columns @ kernel + bias).reshape(images, height, width, outputs)


def dense(x: Integers, weights: Integers, bias: Integers) -> Integers:
    """Exact accumulators ``bias + weights @ x``.

    ``x`` (N, 1, 1, inputs), ``weights`` (outputs, inputs), ``bias`` (outputs,).
    """
    return x @ np.ascontiguousarray(weights.T) + bias


def max_pool(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Integers:
    """Maximum over each window; padded positions never win."""
    lowest = int(np.iinfo(np.int64).min)
    return _windows(x, kernel, stride, padding, fill=lowest).max((4, 5))


def average_pool(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
                 padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Integers:
    """``floor(sum / area + 1/2)`` over each window; padded positions count as zeros."""
    area = kernel[0] * kernel[1]
    total = _windows(x, kernel, stride, padding, fill=0).sum((4, 5))
    return (2 * total + area) // (2 * area)


def shift_requantize(x: Integers, shift: int, low: int, high: int) -> Integers:
    """``clamp((x + 2**(shift-1)) >> shift)``: round half up; a shift of 0 or less is leftwards."""
    if shift <= 0:
        # Clamping first to bounds that survive the shift keeps a long shift within 64 bits.
        steps = 1 << min(-shift, ir.MAX_BITS)
        return np.clip(np.clip(x, -(-low // steps) - 1, high // steps + 1) * steps, low, high)
    if shift > 62:
        return np.clip(np.zeros_like(x), low, high)
    return np.clip((x + (1 << shift - 1)) >> shift, low, high)


def clamp(x: Integers, low: int, high: int) -> Integers:
    """``min(max(x, low), high)``."""
    return np.clip(x, low, high)


def flatten(x: Integers) -> Integers:
    """(N, H, W, C) to (N, 1, 1, H·W·C), in raster order."""
    return x.reshape(len(x), 1, 1, -1)


def argmax(x: Integers) -> Integers:
    """Index of the largest channel; the lowest index wins a tie."""
    return x.argmax(-1)[..., None].astype(np.int64)


def _windows(x: Integers, kernel: tuple[int, int], stride: tuple[int, int],
             padding: tuple[int, int, int, int], fill: int) -> Integers:
    """Every window of the padded map: (N, output height, output width, C, kernel height, width)."""
    top, bottom, left, right = padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    return windows[:, :: stride[0], :: stride[1]]


@singledispatch
def execute(layer: ir.Layer, x: Integers) -> Integers:
    """``layer``'s output for ``x`` (N, H, W, C); an unknown layer raises."""
    raise PenjingError(f"layer {layer.name}: the golden model does not know {layer.kind}")


@execute.register
def _(layer: ir.Convolution, x: Integers) -> Integers:
    return convolution(x, layer.weights.values, layer.bias, layer.stride, layer.padding)


@execute.register
def _(layer: ir.Dense, x: Integers) -> Integers:
    return dense(x, layer.weights.values, layer.bias)


@execute.register
def _(layer: ir.MaxPool, x: Integers) -> Integers:
    return max_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: ir.AveragePool, x: Integers) -> Integers:
    return average_pool(x, layer.kernel, layer.stride, layer.padding)


@execute.register
def _(layer: ir.ShiftRequantize, x: Integers) -> Integers:
    return shift_requantize(x, layer.shift, *layer.bounds)


@execute.register
def _(layer: ir.Clamp, x: Integers) -> Integers:
    return clamp(x, *layer.bounds)


@execute.register
def _(layer: ir.Flatten, x: Integers) -> Integers:
    return flatten(x)


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
        tensors[layer.name] = execute(layer, tensors[layer.input])
    return tensors


def run(network: ir.Network, x: Integers) -> Integers:
    """The output of ``network`` for images ``x`` (N, H, W, C)."""
    return run_all(network, x)[network.layers[-1].name]
