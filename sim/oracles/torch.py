"""PyTorch as an oracle for integer networks, computing in floats that hold every integer exactly.

It shares no code with the golden model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...compiler import ir
from ...compiler.ir import Integers, PenjingError

EXACT_BITS = 53
"""Integers below ``2**53`` are exact in float64."""
_SINGLE_BITS = 24
"""Those below ``2**24`` are in float32, whose convolutions take an eighth of the time."""


def run(network: ir.Network, x: Integers, batch: int = 64) -> Integers:
    """The output of the integer ``network`` for ``x`` (N, H, W, C), by PyTorch.

    Exact, since every sum stays below ``2**53`` in float64, or below ``2**24`` in float32; a layer
    whose sums might not is refused.
    """
    kind = network.input_type
    if x.dtype.kind not in "iu" or x.ndim != 4 or x.shape[1:] != kind.shape:
        raise PenjingError(f"input: the network takes integers (N, H, W, C) with {kind.shape}, not "
                           f"{x.dtype} of shape {x.shape}")
    if x.size and (x.min() < kind.low or x.max() > kind.high):
        raise PenjingError(f"input: values must lie within {kind.low} and {kind.high}")
    single = [_fits_single(network, layer) for layer in network.layers]
    parts = []
    with torch.no_grad():
        for start in range(0, max(len(x), 1), batch):
            images = x[start:start + batch].astype(np.float64).transpose(0, 3, 1, 2)
            tensors = {network.input: torch.from_numpy(np.ascontiguousarray(images))}
            for layer, is_single in zip(network.layers, single, strict=True):
                floats = torch.float32 if is_single else torch.float64
                tensors[layer.name] = _execute(
                    layer, *(tensors[name].to(floats) for name in layer.inputs)).to(torch.float64)
            parts.append(tensors[network.layers[-1].name].permute(0, 2, 3, 1))
    return torch.cat(parts).numpy().astype(np.int64)


def final(network: ir.Network, outputs: Integers) -> NDArray[Any] | None:
    """What PyTorch makes of ``outputs`` (N, H, W, C) as the host; None where that makes nothing."""
    tail = network.tail
    if tail is None or tail.function not in _ENDS:
        return None
    reals = torch.tensor(tail.scales, dtype=torch.float64) * torch.from_numpy(outputs)
    reals += torch.tensor(tail.offsets, dtype=torch.float64)
    return _ENDS[tail.function](reals).numpy()


_ENDS: Mapping[ir.TailFunction, Callable[[torch.Tensor], torch.Tensor]] = {
    ir.TailFunction.NONE: lambda x: x,
    ir.TailFunction.SOFTMAX: lambda x: functional.softmax(x, -1),
    ir.TailFunction.LOG_SOFTMAX: lambda x: functional.log_softmax(x, -1),
    ir.TailFunction.SIGMOID: torch.sigmoid, ir.TailFunction.TANH: torch.tanh,
    ir.TailFunction.ARGMAX: lambda x: x.argmax(-1, keepdim=True)}


def _fits_single(network: ir.Network, layer: ir.Layer) -> bool:
    """Whether float32 holds all sums of ``layer``; it is refused if not even float64 does."""
    if not isinstance(layer, ir.MultiplyAccumulate):
        return False
    source = network.source_type(layer)
    weights = np.abs(layer.weights.values).reshape(len(layer.bias), -1).sum(1)
    most = int((weights * max(-source.low, source.high) + np.abs(layer.bias)).max())
    if most >= 1 << EXACT_BITS:
        raise PenjingError(f"layer {layer.name}: its sums may reach {most.bit_length()} bits, more "
                           f"than PyTorch computes exactly; narrow the weights or activations")
    return most < 1 << _SINGLE_BITS and isinstance(layer, ir.Convolution | ir.Dense)


def _tensor(values: Integers) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float64))


def _padded(x: torch.Tensor, padding: tuple[int, int, int, int], fill: float) -> torch.Tensor:
    top, bottom, left, right = padding
    return functional.pad(x, (left, right, top, bottom), value=fill)


_WINOGRAD_INPUT = {1: [[1]], 2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]}
_WINOGRAD_OUTPUT = {1: [[1]], 2: [[1, 0], [1, 1], [1, -1], [0, -1]]}
"""What each product along an axis is made of, and what it adds to each output."""


def _outer(rows: list[list[int]], columns: list[list[int]]) -> torch.Tensor:
    """(products, 1, height, width) of products row by row."""
    down, across = (torch.tensor(one, dtype=torch.float64) for one in (rows, columns))
    return torch.einsum("iy,jx->ijyx", down, across).flatten(0, 1)[:, None]


@singledispatch
def _execute(layer: ir.Layer, *inputs: torch.Tensor) -> torch.Tensor:
    """``layer``'s output for integers (N, C, H, W) held in float64."""
    raise PenjingError(f"layer {layer.name}: PyTorch cannot run {layer.kind}")


@_execute.register
def _(layer: ir.Convolution, x: torch.Tensor) -> torch.Tensor:
    weights = _tensor(layer.weights.values.transpose(0, 3, 1, 2)).to(x.dtype)
    return functional.conv2d(_padded(x, layer.padding, layer.pad_value), weights,
                             _tensor(layer.bias).to(x.dtype), layer.stride, groups=layer.groups)


@_execute.register
def _(layer: ir.Depthwise, x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(
        _padded(x, layer.padding, layer.pad_value), _tensor(layer.weights.values[:, None]),
        _tensor(layer.bias), layer.stride, groups=x.shape[1])


@_execute.register
def _(layer: ir.TransposedConvolution, x: torch.Tensor) -> torch.Tensor:
    # What lies between elements and around them is the pad value here, and zero there.
    _, height, width, inputs = layer.weights.values.shape
    weights = layer.weights.values.reshape(layer.groups, -1, height, width, inputs)
    weights = weights.transpose(0, 4, 1, 2, 3).reshape(x.shape[1], -1, height, width)
    bias = layer.bias + layer.pad_value * layer.weights.values.sum((1, 2, 3))
    whole = functional.conv_transpose2d(x - layer.pad_value, _tensor(weights), None, layer.stride,
                                        groups=layer.groups)
    top, bottom, left, right = layer.crop
    return functional.pad(whole, (-left, -right, -top, -bottom)) + _tensor(bias)[:, None, None]


@_execute.register
def _(layer: ir.WinogradInput, x: torch.Tensor) -> torch.Tensor:
    kernels = _outer(*(_WINOGRAD_INPUT[outputs] for outputs in layer.tile))
    moved = _padded(x, layer.padding, layer.pad_value) - layer.zero
    found = functional.conv2d(moved.flatten(0, 1)[:, None], kernels, None, layer.tile)
    images, products, height, width = found.shape
    tiles = found.reshape(len(x), images // len(x), products, height, width)
    return tiles.permute(0, 1, 3, 4, 2).flatten(3)


@_execute.register
def _(layer: ir.WinogradProducts, x: torch.Tensor) -> torch.Tensor:
    weights = _tensor(layer.weights.values.transpose(0, 3, 1, 2))
    every = functional.conv2d(_padded(x, layer.padding, layer.pad_value), weights,
                              _tensor(layer.bias))
    turns = every.unflatten(1, (layer.turns, -1)).unflatten(4, (-1, layer.turns))
    return turns.diagonal(dim1=1, dim2=5).flatten(3)


@_execute.register
def _(layer: ir.WinogradOutput, x: torch.Tensor) -> torch.Tensor:
    kernels = _outer(*(_WINOGRAD_OUTPUT[outputs] for outputs in layer.tile))
    products = x.unflatten(3, (-1, layer.products)).permute(0, 1, 4, 2, 3).flatten(0, 1)
    found = functional.conv_transpose2d(products, kernels, None, layer.tile)
    return found.reshape(*x.shape[:2], *found.shape[2:]) / 2 ** layer.halvings + _tensor(
        layer.bias)[:, None, None]


@_execute.register
def _(layer: ir.Add, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return x + other


@_execute.register
def _(layer: ir.Subtract, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.sub(x, other)


@_execute.register
def _(layer: ir.Multiply, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    first, second = layer.offsets
    return torch.mul(x - first, other - second)


@_execute.register
def _(layer: ir.Concatenation, *x: torch.Tensor) -> torch.Tensor:
    return torch.cat(x, 1)


@_execute.register
def _(layer: ir.Slice, x: torch.Tensor) -> torch.Tensor:
    return x[:, layer.start:layer.stop]


@_execute.register
def _(layer: ir.Permutation, x: torch.Tensor) -> torch.Tensor:
    return x.index_select(1, torch.tensor(layer.order))


@_execute.register
def _(layer: ir.Table, x: torch.Tensor) -> torch.Tensor:
    rows = _tensor(layer.values).expand(x.shape[1], -1)
    places = (x - layer.low).to(torch.int64).movedim(1, 0).flatten(1)
    found = rows.gather(1, places)
    return found.reshape(x.movedim(1, 0).shape).movedim(0, 1)


@_execute.register
def _(layer: ir.Dense, x: torch.Tensor) -> torch.Tensor:
    result = functional.linear(x.flatten(1), _tensor(layer.weights.values).to(x.dtype),
                               _tensor(layer.bias).to(x.dtype))
    return result[:, :, None, None]


@_execute.register
def _(layer: ir.MaxPool, x: torch.Tensor) -> torch.Tensor:
    return functional.max_pool2d(_padded(x, layer.padding, -torch.inf), layer.kernel, layer.stride)


@_execute.register
def _(layer: ir.AveragePool, x: torch.Tensor) -> torch.Tensor:
    total = functional.avg_pool2d(_padded(x, layer.padding, 0), layer.kernel, layer.stride,
                                  divisor_override=1).to(torch.int64) << layer.spare
    counted = _padded(torch.ones_like(x), layer.padding, int(layer.count_padding))
    count = functional.avg_pool2d(counted, layer.kernel, layer.stride,
                                  divisor_override=1).to(torch.int64)
    if layer.rounding is ir.Rounding.HALF_AWAY:
        rounded = torch.div(2 * total.abs() + count, 2 * count, rounding_mode="floor")
        return (total.sign() * rounded).to(torch.float64)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor").to(torch.float64)


@_execute.register
def _(layer: ir.ShiftRequantize, x: torch.Tensor) -> torch.Tensor:
    # Scaling by a power of two is exact; half a step is added only where there is one to lose.
    scaled = x * 2.0 ** -layer.shift
    return torch.clamp(torch.floor(scaled + 0.5) if layer.shift > 0 else scaled, *layer.bounds)


@_execute.register
def _(layer: ir.SlopeRequantize, x: torch.Tensor) -> torch.Tensor:
    below, above = (x * _tensor(layer.multipliers[:, side, None, None])
                    + _tensor(layer.offsets[:, side, None, None]) for side in (0, 1))
    exact = torch.where(x < _tensor(layer.breakpoints[:, None, None]), below, above)
    scaled = exact * 2.0 ** -layer.shift
    return torch.clamp(torch.floor(scaled + 0.5) if layer.shift else scaled, *layer.bounds)


@_execute.register
def _(layer: ir.Threshold, x: torch.Tensor) -> torch.Tensor:
    reached = x[..., None] >= _tensor(layer.thresholds)[:, None, None]
    falling = _tensor(layer.falling)[:, None, None, None] == 1
    count = (reached != falling).sum(-1).to(torch.float64)
    return layer.base + layer.step * count


@_execute.register
def _(layer: ir.Clamp, x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, *layer.bounds)


@_execute.register
def _(layer: ir.Pad, x: torch.Tensor) -> torch.Tensor:
    return _padded(x, layer.padding, layer.value)


@_execute.register
def _(layer: ir.Repeat, x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(layer.times, 1)


@_execute.register
def _(layer: ir.Crop, x: torch.Tensor) -> torch.Tensor:
    for axis, taken in ((2, layer.rows), (3, layer.columns)):
        x = x.index_select(axis, torch.arange(*taken))
    return x


@_execute.register
def _(layer: ir.Upsample, x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=layer.factors, mode="nearest-exact")


@_execute.register
def _(layer: ir.Rewiring, x: torch.Tensor) -> torch.Tensor:
    channels, height, width = x.shape[1:]
    raster = x.permute(0, 2, 3, 1).reshape(len(x), *layer.new_shape((height, width, channels)))
    return raster.permute(0, 3, 1, 2)


@_execute.register
def _(layer: ir.ArgMax, x: torch.Tensor) -> torch.Tensor:
    return x.argmax(1, keepdim=True).to(torch.float64)
