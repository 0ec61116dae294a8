"""Pruning and sharing the weights of integer networks, whatever framework they came from.

Nothing is trained here, so no data are needed. Where an input has a zero point, biases hold its
products with the weights: they change with them, so that what a weight leaves out is a real 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ..ir import (
    Integers,
    MultiplyAccumulate,
    Network,
    PenjingError,
    Plain,
    ScaleRequantize,
)
from .sharing import grid_centroids

__all__ = ["prune", "share"]

PerLayer: TypeAlias = float | Mapping[str, float]
Change: TypeAlias = Callable[[MultiplyAccumulate], Integers]
"""The new weights of a layer, shaped as they were."""


def prune(network: Network, ratios: PerLayer, others: Mapping[str, float] | None = None) -> Network:
    """``network`` whose weights of least real magnitude are 0: a share of each layer, at least.

    ``ratios`` is one number from 0 to below 1, or one for each of some layers by name; ``others``
    are those of layers that differ. Magnitudes
    are compared in what they are worth behind the requantization of their channel. `PenjingError`
    for a layer that does not exist or would be emptied, or a ratio out of range.
    """
    wanted = _of_layers(network, ratios, others or {})
    for name, ratio in wanted.items():
        if not 0 <= ratio < 1:
            raise PenjingError(f"layer {name}: a ratio to prune must be at least 0 and below 1, "
                               f"not {ratio!r}")

    def pruned(layer: MultiplyAccumulate) -> Integers:
        values = layer.weights.values
        worth = _worth(network, layer).reshape(-1, *(1,) * (values.ndim - 1))
        scores = (np.abs(values) * worth).reshape(-1)
        count = math.ceil(round(wanted[layer.name] * values.size, 6))
        if count == values.size:
            raise PenjingError(f"layer {layer.name}: none of its {values.size} weights would be "
                               f"left; prune less of it")
        kept = values.reshape(-1).copy()
        kept[np.argsort(scores, kind="stable")[:count]] = 0
        return kept.reshape(values.shape)

    return _changed(network, wanted, pruned)


def share(network: Network, codes: PerLayer, others: Mapping[str, int] | None = None) -> Network:
    """``network`` with at most ``codes`` (2 to 256) different weights in each layer.

    ``codes`` is one number, or one for each of some layers by name; ``others`` are those of layers
    that differ. Zeros stay, and count as one
    value; the others are those of least squared error (exact k-means among integers).
    `PenjingError` for a layer that does not exist, or codes out of range.
    """
    wanted = _of_layers(network, codes, others or {})
    for name, count in wanted.items():
        if type(count) is not int or not 2 <= count <= 256:
            raise PenjingError(f"layer {name}: codes must be an integer from 2 to 256, not "
                               f"{count!r}")

    def shared(layer: MultiplyAccumulate) -> Integers:
        values, count = layer.weights.values, int(wanted[layer.name])
        if len(layer.weights.codebook) <= count:
            return values
        used = values != 0
        ordered = np.sort(values[used]).astype(np.float64)
        # Weights may have their whole range, so that -128 is among the centroids.
        high = int(np.abs(values).max())
        found, _ = grid_centroids(ordered, count - int(not used.all()), high)
        result = values.copy()
        result[used] = found[np.searchsorted((found[1:] + found[:-1]) / 2, values[used])]
        low = -(1 << layer.weights.bits - 1)
        return np.clip(result, low, -low - 1)

    return _changed(network, wanted, shared)


def _of_layers(network: Network, values: PerLayer, others: Mapping[str, float]
               ) -> Mapping[str, float]:
    """One number for each layer; `PenjingError` for a name that is none of them."""
    layers = [layer.name for layer in network.layers if isinstance(layer, MultiplyAccumulate)]
    if not isinstance(values, Mapping):
        values = dict.fromkeys(layers, values)
    found = {**values, **others}
    for name in found:
        if name not in layers:
            among = f"name one of {', '.join(layers)}" if layers else "the network has none"
            raise PenjingError(f"compression: {name!r:.80} is no layer with weights; {among}"[:400])
    return found


def _worth(network: Network, layer: MultiplyAccumulate) -> np.ndarray:
    """What a step of each output's accumulator is worth, up to a factor for all."""
    outputs = len(layer.bias)
    for reader in network.layers:
        if isinstance(reader, ScaleRequantize) and reader.inputs == (layer.name,):
            worth = reader.multipliers * 2.0 ** reader.shifts
            return np.broadcast_to(worth, outputs)
    return np.ones(outputs)


def _changed(network: Network, names: Mapping[str, object], change: Change) -> Network:
    """``network`` with ``change`` of the layers ``names``, and what it adds to their biases."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, MultiplyAccumulate) and layer.name in names:
            old = layer.weights.values
            new = change(layer)
            (source,) = (network.type_of(name) for name in layer.inputs)
            moved = (new - old).reshape(len(layer.bias), -1).sum(1)
            layer = replace(layer, bias=layer.bias - source.zero_point * moved, weights=replace(
                layer.weights, values=new, encoding=Plain()))
        layers.append(layer)
    return replace(network, layers=tuple(layers))
