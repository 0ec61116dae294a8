"""Masks from scores: what a criterion ranks lowest, as much of it as an amount says."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...ir import PenjingError
from ..training import Data
from .amounts import Amount
from .granularity import Granularity
from .layers import Layers, known, layers_of
from .masks import Masks
from .scores import Criterion

_PRUNED = -1.0
"""The score of what was pruned before, below all others."""


def chosen(model: nn.Module, layers: Layers | None, amount: Amount) -> Layers:
    """The ``layers`` that ``amount`` is for; None means all of ``model`` that suit it."""
    among = layers_of(model) if layers is None else layers
    if amount.names is not None:
        known(dict.fromkeys(amount.names), among, "pruning")
        return {name: among[name] for name in amount.names}
    return {name: layer for name, layer in among.items()
            if layers is not None or amount.suits(layer)}


def unit_scores(model: nn.Module, layers: Layers, criterion: Criterion, granularity: Granularity,
                data: Data | None = None) -> dict[str, Tensor]:
    """Scores of all units, (outputs, height, width, inputs) with axes of 1 where a unit spans them.

    `PenjingError` for weights that are no numbers.
    """
    scores = {}
    for name, weights in criterion.weights(model, layers, data).items():
        if not weights.isfinite().all():
            raise PenjingError(f"layer {name}: its weights, or their scores, are no finite "
                               f"numbers; train it with a lower learning rate")
        arranged = layers[name].arranged(weights)
        scores[name] = criterion.units(granularity.totals(arranged), granularity.size(arranged))
    return scores


def channel_scores(model: nn.Module, layers: Layers, criterion: Criterion,
                   data: Data | None = None) -> dict[str, Tensor]:
    """For each of ``layers`` the scores of its outputs, (outputs,)."""
    scores = unit_scores(model, layers, criterion, Granularity.CHANNEL, data)
    return {name: one.flatten() for name, one in scores.items()}


def select(model: nn.Module, layers: Layers, amount: Amount, criterion: Criterion,
           granularity: Granularity = Granularity.WEIGHT, *, data: Data | None = None,
           pruned: Masks | None = None) -> Masks:
    """The masks of ``layers`` that keep what ``criterion`` ranks highest; weights stay.

    What ``pruned`` does not keep is pruned first. `PenjingError` for layers that would be emptied,
    unless whole layers are the units, or scores that may not be compared across layers.
    """
    if amount.ranks_layers and not criterion.comparable:
        raise PenjingError(f"pruning: {type(criterion).__name__} cannot rank weights of different "
                           f"layers together; give each layer its ratio, or take a criterion that "
                           f"is normalized")
    scores = unit_scores(model, layers, criterion, granularity, data)
    before = pruned.kept if pruned is not None else {}
    for name in scores.keys() & before.keys():
        kept = before[name].to(scores[name].device)
        alive = granularity.totals(layers[name].arranged(kept).int()) > 0
        scores[name] = torch.where(alive, scores[name], _PRUNED)
    masks = masks_of(scores, layers, amount)
    if granularity is not Granularity.LAYER:
        for name in masks.emptied:
            raise PenjingError(f"layer {name}: nothing of its {scores[name].numel()} "
                               f"{granularity.name.lower()}s would be kept; prune less of it")
    return masks


def masks_of(scores: Mapping[str, Tensor], layers: Layers, amount: Amount) -> Masks:
    """The masks of ``layers`` that keep the units with the highest ``scores``."""
    masks = {}
    for name, units in amount.kept(scores).items():
        layer = layers[name]
        whole = layer.arranged(layer.weight).shape
        masks[name] = layer.restored(units.expand(whole)).contiguous()
    return Masks(masks)
