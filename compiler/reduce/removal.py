"""The network without channels that are chosen: what pruning leaves of it, its shape at least."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from ..ir import Builder, Clamp, Concatenation, Network, PenjingError, Slice
from .channels import Mask, widen
from .kernels import Kernel, kernel
from .network import smaller
from .uses import Uses

__all__ = ["without"]


def without(network: Network, gone: Mapping[str, Collection[int]]) -> Network:
    """``network`` without the channels, by layer, that are ``gone`` from what it puts out.

    They go wherever they are added to others or pass by, too. What read them reads the others
    alone, so the network computes something else. A constant that is only joined with others has
    as many channels as are read of it. `PenjingError` where a channel of the input or the output
    would go, or all of a tensor.
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
    constants = _constants(network)
    _spread(network, views, lost, constants)
    for name in (network.input, network.layers[-1].name):
        if lost[name].any():
            raise PenjingError(f"layer {name}: its channels must stay, as they are the network's "
                               "own; remove others")
    for name, mask in lost.items():
        if mask.all() and name not in constants:
            raise PenjingError(f"layer {name}: it would lose all channels; leave one")
    masks = {name: ~mask for name, mask in lost.items()}
    uses = {name: _all_of(view) for name, view in views.items() if view is not None}
    made = Builder(network.input_type, network.input)
    for layer in network.layers:
        made.reserve(layer.name)
    for layer in network.layers:
        if layer.name in constants:
            continue  # it is made where it is read
        if isinstance(layer, Concatenation) and not constants.keys().isdisjoint(layer.inputs):
            made.add(_joined(made, layer, constants, masks))
        else:
            made.add(smaller(layer, masks, uses))
    return made.network(network.name, tail=network.tail)


def _constants(network: Network) -> dict[str, Clamp]:
    """Clamps to one value, and slices of them, that concatenations alone read: by name the clamp.
    """
    found: dict[str, Clamp] = {}
    for layer in network.layers:
        if isinstance(layer, Clamp) and layer.low == layer.high:
            found[layer.name] = layer
        elif isinstance(layer, Slice) and layer.input in found:
            found[layer.name] = found[layer.input]
    others = {name for layer in network.layers for name in layer.inputs
              if not isinstance(layer, Concatenation) and layer.name not in found}
    read = {clamp.name for name, clamp in found.items() if name in others}
    return {name: clamp for name, clamp in found.items() if clamp.name not in read}


def _joined(made: Builder, layer: Concatenation, constants: Mapping[str, Clamp],
            masks: Mapping[str, Mask]) -> Concatenation:
    """``layer`` of what is ``made``, with as much of its ``constants`` as stays of its result."""
    parts: list[str] = []
    ends = np.cumsum([len(masks[name]) for name in layer.inputs])
    for name, stays in zip(layer.inputs, np.split(masks[layer.name], ends[:-1]), strict=True):
        if name not in constants:
            parts.append(name)
            continue
        clamp, count = constants[name], int(stays.sum())
        if count and clamp.name not in made.layers:
            made.add(clamp)
        while count:
            width = made.types[clamp.name].shape[2]
            most = min(count, width)
            parts.append(clamp.name if most == width else
                         made.add(Slice(made.unique(clamp.name), clamp.name, 0, most)))
            count -= most
    if len(parts) < 2:
        raise PenjingError(f"layer {layer.name}: it would join nothing; leave a channel of another")
    return replace(layer, input=parts[0], others=tuple(parts[1:]))


def _spread(network: Network, views: Mapping[str, Kernel | None], lost: Mapping[str, Mask],
            constants: Collection[str]) -> None:
    """Let channels go, in place, that have nothing left to be added to or to be made of.

    Those of ``constants`` are alike, so none needs another.
    """
    before = -1
    while (count := sum(int(mask.sum()) for mask in lost.values())) > before:
        before = count
        for layer in (*network.layers, *reversed(network.layers)):
            if layer.name in constants:
                continue
            result = lost[layer.name]
            sources = [np.zeros_like(lost[name]) if name in constants else lost[name]
                       for name in layer.inputs]
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
