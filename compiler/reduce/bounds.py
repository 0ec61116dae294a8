"""What each channel of each tensor can be: forward, from the network's input on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers, Network, TensorType
from .kernels import Kernel, kernel

__all__ = ["Bounds", "Meaning", "all_bounds"]

Meaning: TypeAlias = Callable[..., Integers]
"""``meaning(layer, *inputs)``: what a layer puts out, each array (N, H, W, C)."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """The least and the most (channels,) that a channel is, anywhere in the map."""

    low: Integers
    high: Integers

    @classmethod
    def of(cls, kind: TensorType) -> Bounds:
        """All that ``kind`` has."""
        channels = kind.shape[2]
        return cls(np.full(channels, kind.low), np.full(channels, kind.high))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which channels are one value."""
        return np.asarray(self.low == self.high)


@dataclass(frozen=True)
class _Place:
    """A layer's ``source`` type, the first one, its ``result`` type, and what layers mean."""

    source: TensorType
    result: TensorType
    meaning: Meaning


def all_bounds(network: Network, meaning: Meaning) -> dict[str, Bounds]:
    """The bounds of every tensor of ``network``, which no input exceeds."""
    found = {network.input: Bounds.of(network.input_type)}
    for layer in network.layers:
        place = _Place(network.source_type(layer), network.type_of(layer.name), meaning)
        found[layer.name] = _bounds(layer, place, *(found[name] for name in layer.inputs))
    return found


@singledispatch
def _bounds(layer: ir.Layer, place: _Place, *sources: Bounds) -> Bounds:
    """Of a layer of which nothing is known but its type."""
    return Bounds.of(place.result)


@_bounds.register(ir.Convolution)
@_bounds.register(ir.Depthwise)
@_bounds.register(ir.Dense)
@_bounds.register(ir.TransposedConvolution)
def _(layer: ir.MultiplyAccumulate, place: _Place, source: Bounds) -> Bounds:
    view = kernel(layer, place.source, place.result)
    assert view is not None
    return Bounds(_sums(view, source.low, source.high).min((1, 2)),
                  _sums(view, source.high, source.low).max((1, 2)))


def _sums(view: Kernel, positive: Integers, negative: Integers) -> Integers:
    """(outputs, R, S), where weights above 0 meet ``positive`` (inputs,), and below ``negative``.
    """
    weights = view.weights
    taps = (np.einsum("nyxc,nc->nyx", np.maximum(weights, 0), view.spread(positive))
            + np.einsum("nyxc,nc->nyx", np.minimum(weights, 0), view.spread(negative)))
    padding = view.pad * weights.sum(3)
    return (view.bias + padding.sum((1, 2)))[:, None, None] + view.sums(taps - padding)


@_bounds.register(ir.MaxPool)
@_bounds.register(ir.AveragePool)
@_bounds.register(ir.SumPool)
@_bounds.register(ir.Pad)
@_bounds.register(ir.Rewiring)
def _(layer: ir.Layer, place: _Place, source: Bounds) -> Bounds:
    """More of an input is never less of an output; positions differ."""
    height, width, _ = place.source.shape
    ends = [place.meaning(layer, np.broadcast_to(end, (1, height, width, len(end))))
            for end in (source.low, source.high)]
    return Bounds(ends[0].min((0, 1, 2)), ends[1].max((0, 1, 2)))


@_bounds.register(ir.Crop)
@_bounds.register(ir.Upsample)
def _(layer: ir.Layer, place: _Place, source: Bounds) -> Bounds:
    return source


@_bounds.register(ir.Concatenation)
@_bounds.register(ir.Slice)
@_bounds.register(ir.Permutation)
@_bounds.register(ir.Repeat)
def _(layer: ir.Layer, place: _Place, *sources: Bounds) -> Bounds:
    """Channels move; all positions are alike."""
    return Bounds(*(place.meaning(layer, *(end.reshape(1, 1, 1, -1) for end in ends)).reshape(-1)
                    for ends in zip(*((one.low, one.high) for one in sources), strict=True)))


@_bounds.register(ir.ShiftRequantize)
@_bounds.register(ir.ScaleRequantize)
@_bounds.register(ir.Threshold)
@_bounds.register(ir.Clamp)
@_bounds.register(ir.Add)
@_bounds.register(ir.Subtract)
@_bounds.register(ir.Multiply)
def _(layer: ir.Layer, place: _Place, *sources: Bounds) -> Bounds:
    """Each element rises or falls with each input, so that the ends of all make its own."""
    corners = product(*((one.low, one.high) for one in sources))
    return _ends(layer, place, *(np.stack(inputs) for inputs in zip(*corners, strict=True)))


@_bounds.register
def _(layer: ir.SlopeRequantize, place: _Place, source: Bounds) -> Bounds:
    """It is a line on each side of the breakpoint."""
    points = (source.low, layer.breakpoints - 1, layer.breakpoints, source.high)
    return _ends(layer, place, np.stack([np.clip(point, source.low, source.high)
                                         for point in points]))


@_bounds.register
def _(layer: ir.Table, place: _Place, source: Bounds) -> Bounds:
    """Any entry may be the least; there are few."""
    count = int((source.high - source.low).max()) + 1
    return _ends(layer, place, np.minimum(source.low + np.arange(count)[:, None], source.high))


def _ends(layer: ir.Layer, place: _Place, *inputs: Integers) -> Bounds:
    """The least and the most that single elements become; ``inputs`` are (elements, channels)."""
    made = place.meaning(layer, *(values[:, None, None] for values in inputs))
    return Bounds(made.min((0, 1, 2)), made.max((0, 1, 2)))
