"""The network without the channels that it can do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .. import ir
from ..ir import Builder, Network, PenjingError, TensorType
from .bounds import Bounds, Meaning, all_bounds
from .channels import Mask, cut, widen
from .kernels import kernel, with_kernel
from .uses import Uses

__all__ = ["Reduction", "reduce"]

_UNFOLDED, _WHOLE = 1, 2
"""A layer that takes no constants into its biases, and one that loses no channel at all."""


@dataclass(frozen=True)
class Reduction:
    """A ``network``, and the channels, by layer, that were ``removed``: their numbers of before."""

    network: Network
    removed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def reduce(network: Network, meaning: Meaning) -> Reduction:
    """``network`` without the channels that nobody reads or that are constant; where there are
    none, the object itself.

    ``meaning(layer, *inputs)`` is what a layer puts out, exactly, each array (N, H, W, C): that of
    the golden model.
    """
    kept = {layer.name: np.arange(network.type_of(layer.name).shape[2])
            for layer in network.layers}
    reduced = network
    while (found := _once(reduced, meaning)) is not None:
        reduced, masks = found
        kept = {name: numbers[masks[name]] for name, numbers in kept.items()}
    removed = {name: np.setdiff1d(np.arange(network.type_of(name).shape[2]), numbers)
               for name, numbers in kept.items()}
    return Reduction(reduced, {name: tuple(gone.tolist()) for name, gone in removed.items()
                               if gone.size})


def _once(network: Network, meaning: Meaning) -> tuple[Network, dict[str, Mask]] | None:
    """A smaller network, and what stayed of each tensor; None where all does.

    Where `_made` blames a layer, that keeps more.
    """
    bounds, levels = all_bounds(network, meaning), Counter[str]()
    while True:
        uses = _uses(network, bounds, levels)
        masks = _masks(network, uses, levels)
        if all(mask.all() for mask in masks.values()):
            return None
        made = _made(network, masks, uses)
        if isinstance(made, Network):
            return made, masks
        levels[made] += 1
        assert levels[made] <= _WHOLE, f"{made} is as it was, but its type is another"


def _uses(network: Network, bounds: Mapping[str, Bounds], levels: Mapping[str, int]
          ) -> dict[str, Uses]:
    """What layers with weights need, but those that stay whole."""
    found = {}
    for layer in network.layers:
        view = kernel(layer, network.source_type(layer), network.type_of(layer.name))
        if view is not None and levels[layer.name] < _WHOLE:
            assert isinstance(layer, ir.MultiplyAccumulate)
            encoding = layer.weights.encoding
            found[layer.name] = Uses.of(
                view, None if levels[layer.name] == _UNFOLDED else bounds[layer.input],
                encoding.m if isinstance(encoding, ir.NofM) else 1)
    return found


def _masks(network: Network, uses: Mapping[str, Uses], levels: Mapping[str, int]
           ) -> dict[str, Mask]:
    """The fewest channels of each tensor that the output needs: all of its own and of the input."""
    shapes = {name: network.type_of(name).shape for name in (network.input, *(
        layer.name for layer in network.layers))}
    ends = network.input, network.layers[-1].name
    masks = {name: np.full(shape[2], name in ends) for name, shape in shapes.items()}
    while True:
        count = _count(masks)
        for layer in (*reversed(network.layers), *network.layers):
            result, sources = masks[layer.name], [masks[name] for name in layer.inputs]
            if levels[layer.name] == _WHOLE:
                widen.dispatch(ir.Layer)(layer, result, *sources)
            elif layer.name in uses:
                uses[layer.name].widen(result, *sources)
            else:
                widen(layer, result, *sources)
        if _count(masks) > count:
            continue
        empty = next((mask for mask in masks.values() if not mask.any()), None)
        if empty is None:
            return masks
        empty[0] = True  # a tensor has a channel


def _count(masks: Mapping[str, Mask]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def _made(network: Network, masks: Mapping[str, Mask], uses: Mapping[str, Uses]) -> Network | str:
    """The network of what stays; or a layer that must not give up so much.

    An encoding may not hold what is left of the weights; and sums without constants are narrower,
    which the output must not be, nor what a layer reads that pads with a value beyond.
    """
    made = Builder(network.input_type, network.input)
    for layer in network.layers:
        try:
            cut_down = smaller(layer, masks, uses)
        except PenjingError:
            return layer.name
        try:
            made.add(cut_down)
        except PenjingError:
            return _first_other(network, layer.name, made.types)
    found = made.network(network.name, tail=network.tail)
    if found.output_type != network.output_type:
        return _first_other(network, layer.name, made.types)
    return found


def smaller(layer: ir.Layer, masks: Mapping[str, Mask], uses: Mapping[str, Uses]) -> ir.Layer:
    """``layer`` for what stays."""
    result, sources = masks[layer.name], [masks[name] for name in layer.inputs]
    if all(mask.all() for mask in (result, *sources)):
        return layer
    if layer.name not in uses:
        return cut(layer, result, *sources)
    assert isinstance(layer, ir.MultiplyAccumulate)
    return with_kernel(layer, *uses[layer.name].cut(result, *sources))


def _first_other(network: Network, name: str, types: Mapping[str, TensorType]) -> str:
    """The layer at or above ``name`` that has another type but reads what it read before."""
    layers = {layer.name: layer for layer in network.layers}
    while True:
        for source in layers[name].inputs:
            kind = network.type_of(source)
            if source in layers and replace(types[source], shape=kind.shape) != kind:
                name = source
                break
        else:
            return name
