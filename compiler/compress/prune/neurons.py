"""Weights that do nothing: those from and to neurons without inputs or without outputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...ir import PenjingError
from .layers import Layer, known, layers_of
from .masks import Masks


def without_dead(masks: Masks, model: nn.Module, chain: Sequence[str]) -> Masks:
    """``masks`` that also prune what leads to and from dead neurons of a ``chain`` (Han 2015).

    ``chain`` names layers of ``model``, the outputs of each of which are read by the next and by
    nothing else, channel by channel or flattened. A neuron that nothing reads loses its weights at
    no cost. One whose weights are all pruned puts out a constant, which its readers lose: train
    them afterwards. `PenjingError` for layers that do not follow each other.
    """
    layers = layers_of(model)
    known(dict.fromkeys(chain), layers, "dead neurons")
    links = [(layers[one], layers[other]) for one, other in pairwise(chain)]
    for source, reader in links:
        _require_link(source, reader)
    kept = {name: masks.kept.get(name, torch.ones_like(layers[name].weight, dtype=torch.bool))
            for name in chain}
    density = 2.0
    while Masks(kept).density < density:
        density = Masks(kept).density
        for source, reader in links:
            made = source.arranged(kept[source.name])
            alive = made.any((1, 2, 3)) & _read(reader, kept[reader.name], len(made))
            kept[source.name] = source.restored(made & alive[:, None, None, None])
            kept[reader.name] = _reading(reader, kept[reader.name], alive)
    return Masks({**masks.kept, **{name: one.contiguous() for name, one in kept.items()}})


def _require_link(source: Layer, reader: Layer) -> None:
    outputs, module = len(source.arranged(source.weight)), reader.module
    linear = isinstance(module, nn.Linear)
    inputs = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    if inputs % outputs if linear else inputs != outputs:
        raise PenjingError(f"dead neurons: layer {reader.name} with {inputs} inputs does not read "
                           f"the {outputs} outputs of {source.name}; name layers that follow each "
                           f"other")


def _read(layer: Layer, kept: Tensor, channels: int) -> Tensor:
    """Which of its input ``channels`` a layer reads, (channels,)."""
    if isinstance(layer.module, nn.Linear):
        return kept.any(0).unflatten(0, (channels, -1)).any(1)
    return _grouped(layer, kept).any((1, 2, 3)).flatten()


def _reading(layer: Layer, kept: Tensor, alive: Tensor) -> Tensor:
    """``kept`` of a layer that reads ``alive`` channels only."""
    if isinstance(layer.module, nn.Linear):
        return kept & alive.repeat_interleave(kept.shape[1] // len(alive))
    grouped = _grouped(layer, kept)
    return layer.restored((grouped & alive.reshape(layer.groups, 1, 1, 1, -1)).flatten(0, 1))


def _grouped(layer: Layer, kept: Tensor) -> Tensor:
    """(groups, outputs / groups, height, width, inputs / groups)."""
    return layer.arranged(kept).unflatten(0, (layer.groups, -1))
