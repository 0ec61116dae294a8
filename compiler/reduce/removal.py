"""The network without channels that are chosen: what pruning leaves of it, its shape at least."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from ..ir import Builder, Concatenation, Layer, Network, PenjingError
from .channels import Mask, widen
from .kernels import Kernel, kernel
from .network import smaller
from .uses import Uses

__all__ = ["without"]


def without(network: Network, gone: Mapping[str, Collection[int]]) -> Network:
    """``network`` without the channels, by layer, that are ``gone`` from what it puts out.

    They go wherever they are added to others or pass by, too. What read them reads the others
    alone, so the network computes something else. A tensor may lose all where only concatenations
    read it that have two others left. `PenjingError` where one would lose all elsewhere, or where a
    channel of the input or the output would go.
    """
    types = {name: network.type_of(name)
             for name in (network.input, *(layer.name for layer in network.layers))}
    views = {layer.name: kernel(layer, network.source_type(layer), types[layer.name])
             for layer in network.layers}
    lost = {name: np.zeros(kind.shape[2], bool) for name, kind in types.items()}
    for name, channels in gone.items():
        if name not in lost:
            raise PenjingError(f"layer {name}: the network has no such layer")
        lost[name][list(channels)] = True
    _spread(network, views, lost)
    for name in (network.input, network.layers[-1].name):
        if lost[name].any():
            raise PenjingError(f"layer {name}: its channels must stay, as they are the network's "
                               "own; remove others")
    layers = _with_channels(network, {name for name, mask in lost.items() if mask.all()})
    masks = {name: ~mask for name, mask in lost.items()}
    uses = {name: _all_of(view) for name, view in views.items() if view is not None}
    made = Builder(network.input_type, network.input)
    for layer in layers:
        made.add(smaller(layer, masks, uses))
    return made.network(network.name, tail=network.tail)


def _with_channels(network: Network, empty: Collection[str]) -> list[Layer]:
    """The layers but those that are ``empty``, which none of the others may read."""
    found = [_joined(layer, empty) for layer in network.layers if layer.name not in empty]
    sources = {layer.name: layer.inputs for layer in network.layers}
    blamed = [name for layer in found for name in layer.inputs if name in empty]
    while blamed:
        # The first that lost all took the others with it.
        above = [name for name in sources[blamed[0]] if name in empty]
        if not above:
            raise PenjingError(f"layer {blamed[0]}: it would lose all channels; leave one")
        blamed = above
    return found


def _joined(layer: Layer, empty: Collection[str]) -> Layer:
    """``layer``; a concatenation without what is ``empty``, if two others are left."""
    if isinstance(layer, Concatenation):
        left = [name for name in layer.inputs if name not in empty]
        if len(left) > 1:
            return replace(layer, input=left[0], others=tuple(left[1:]))
    return layer


def _spread(network: Network, views: Mapping[str, Kernel | None], lost: Mapping[str, Mask]) -> None:
    """Let channels go, in place, that have nothing left to be added to or to be made of."""
    before = -1
    while (count := sum(int(mask.sum()) for mask in lost.values())) > before:
        before = count
        for layer in (*network.layers, *reversed(network.layers)):
            result, sources = lost[layer.name], [lost[name] for name in layer.inputs]
            if not any(mask.any() for mask in (result, *sources)):
                continue
            view = views[layer.name]
            if view is None:
                # What stays and what goes hang together in the same way.
                widen(layer, result, *sources)
            elif view.groups > 1:
                _spread_groups(view.groups, result, *sources)


def _spread_groups(groups: int, result: Mask, source: Mask) -> None:
    """A group goes as a whole."""
    either = result.reshape(groups, -1).any(1) | source.reshape(groups, -1).any(1)
    for mask in (result, source):
        mask.reshape(groups, -1)[either] = True


def _all_of(view: Kernel) -> Uses:
    """Every output needs all inputs, and what goes adds nothing to a bias."""
    shape = len(view.weights), view.weights.shape[3]
    return Uses(view, np.ones(shape, bool), np.zeros(shape, np.int64))
