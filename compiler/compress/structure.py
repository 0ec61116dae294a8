"""Whole channels leave a network, which becomes a smaller dense one.

By whatever criterion channels are scored, the lowest go: a share of each layer's, or of all. What
has the same channels (a shortcut and what it is added to, a batch norm, a depthwise convolution)
loses them together, by the mean of its scores.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..ir import PenjingError
from .coupling import Coupled, Couplings
from .trainable import Trainable

__all__ = ["channel_norms", "mean_scores", "narrow", "without_channels"]


def channel_norms(model: Trainable, power: int) -> dict[str, Tensor]:
    """The L1 or L2 norm, by ``power``, of the weights that make each channel of each layer."""
    if power not in (1, 2):
        raise PenjingError(f"channel norms: their power is 1 or 2, not {power!r}")
    norms = {}
    for name, layer in model.layers.items():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        rows = weight.detach()
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            rows = rows.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
        norms[name] = rows.flatten(1).norm(power, 1)
    return norms


def narrow(model: Trainable, scores: Mapping[str, Tensor], ratio: float | Mapping[str, float], *,
           across: bool = False, round_to: int = 1, keep: Collection[str] = (),
           keep_unscored: bool = False) -> Trainable:
    """A copy of ``model`` without the channels that have the lowest ``scores``.

    ``scores`` are (channels,) of layers or batch norms by name; coupled ones are divided by their
    means, and the mean of them counts. A number as ``ratio`` is the share that goes of each layer's
    channels, or ``across`` all layers of all together; by name, those of some layers. A layer loses
    less where groups of a convolution are to stay equal, or where its channels shall be a multiple
    of ``round_to``. Layers to ``keep`` lose none, nor do those whose channels cannot be removed,
    such as the network's outputs, nor, with ``keep_unscored``, those that have no scores and are
    coupled to none that have.

    `PenjingError` names a layer that would be left without channels or that is unknown, one without
    scores, or one that is to lose channels and cannot.
    """
    _check(ratio, across, round_to)
    narrowed = model.copied()
    with _coupled(narrowed) as couplings:
        _narrow(couplings, model, scores, ratio, across, round_to, keep, keep_unscored)
    return narrowed


def without_channels(model: Trainable, gone: Sequence[Sequence[int]]) -> Trainable:
    """A copy of ``model`` without channels: those of the root of each group of its `Couplings`.

    `PenjingError` where they cannot go.
    """
    narrowed = model.copied()
    with _coupled(narrowed) as couplings:
        for group, channels in zip(couplings.groups, gone, strict=True):
            if channels:
                couplings.remove(group, channels)
    return narrowed


@contextmanager
def _coupled(model: Trainable) -> Iterator[Couplings]:
    """The channels of ``model``, whose modes and frozen parameters are in the end as before."""
    was_training = model.module.training
    model.module.eval()
    frozen = {name for name, parameter in model.module.named_parameters()
              if not parameter.requires_grad}
    model.module.requires_grad_(True)
    yield Couplings(model)
    for name, parameter in model.module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    model.module.train(was_training)


def _narrow(couplings: Couplings, model: Trainable, scores: Mapping[str, Tensor],
            ratio: float | Mapping[str, float], across: bool, round_to: int,
            keep: Collection[str], keep_unscored: bool) -> None:
    """Do what `narrow` says to the copy of ``model`` that has these ``couplings``."""
    named = {name for group in couplings.groups for name in group.members}
    _check_names((*keep, *(ratio if isinstance(ratio, Mapping) else ())), named)
    _check_names(scores, {*named, *(name for name, _ in model.module.named_modules())})
    chosen = []
    for group in couplings.groups:
        share = _share(group, ratio)
        if share and group.members.keys().isdisjoint(keep) and not group.fixed and not (
                keep_unscored and not _is_scored(group, scores)):
            chosen.append(_Choice(group, mean_scores(group, scores), share))
    wanted = _across(chosen, ratio) if across else [
        choice.channels - round(choice.ratio * choice.channels) for choice in chosen]
    for choice, least in zip(chosen, wanted, strict=True):
        gone = choice.lowest(least, round_to)
        if gone:
            couplings.remove(choice.group, gone)


def _check(ratio: float | Mapping[str, float], across: bool, round_to: int) -> None:
    for value in ratio.values() if isinstance(ratio, Mapping) else (ratio,):
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise PenjingError(f"ratio: a share of the channels is at least 0 and less than 1, not "
                               f"{value!r}")
    if across and isinstance(ratio, Mapping):
        raise PenjingError("ratio: across all layers there is one, not one for each layer")
    if type(round_to) is not int or round_to < 1:
        raise PenjingError(f"round_to: it must be an integer of at least 1, not {round_to!r}")


def _check_names(given: Iterable[str], known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise PenjingError(f"layer {name}: unknown, or without channels; there are "
                               f"{', '.join(sorted(filter(None, known)))}"[:400])


def _share(group: Coupled, ratio: float | Mapping[str, float]) -> float:
    """What ``group`` is to lose."""
    if not isinstance(ratio, Mapping):
        return ratio
    given = {name: ratio[name] for name in group.members if name in ratio}
    if any(given.values()) and group.fixed:
        raise PenjingError(f"layer {min(given)}: its channels cannot be removed, since "
                           f"{group.fixed}; give it the ratio 0")
    if len(set(given.values())) > 1:
        raise PenjingError(f"layers {', '.join(sorted(given))}: they have the same channels, but "
                           f"other ratios; give them one")
    return next(iter(given.values()), 0.0)


def _is_scored(group: Coupled, scores: Mapping[str, Tensor]) -> bool:
    """Whether each channel of ``group``, or one that goes with it, has a score."""
    found = {root for name, (_, roots) in group.members.items() if name in scores
             for root in roots.tolist()}
    return all(channel in found for unit in group.units for channel in unit)


def mean_scores(group: Coupled, scores: Mapping[str, Tensor]) -> dict[int, float]:
    """The score of each channel of the root of ``group``."""
    last = max(max(unit) for unit in group.units)
    total, count = torch.zeros(last + 1, dtype=torch.float64), torch.zeros(last + 1)
    for name, (channels, roots) in group.members.items():
        if name in scores:
            values = scores[name].detach().cpu().double()
            if values.ndim != 1 or len(values) <= channels.max() or not values.isfinite().all():
                raise PenjingError(f"layer {name}: its scores must be one finite number a channel")
            mean = values.abs().mean()
            total.index_add_(0, roots, values[channels] / (mean if mean else 1.0))
            count.index_add_(0, roots, torch.ones(len(roots)))
    if not _is_scored(group, scores):
        raise PenjingError(f"layer {group.root}: it has no scores; give some, or keep it")
    return {channel: float(total[channel] / count[channel])
            for unit in group.units for channel in unit}


@dataclass(frozen=True, eq=False)
class _Choice:
    """Channels of ``group`` that are to lose a share, and their ``scores``."""

    group: Coupled
    scores: Mapping[int, float]
    ratio: float

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.scores)

    def score(self, unit: Sequence[int]) -> float:
        """That of channels which go at once."""
        return math.fsum(self.scores[channel] for channel in unit) / len(unit)

    def lowest(self, least: int, round_to: int) -> list[int]:
        """What goes if at least so many channels stay, a multiple of ``round_to`` or all."""
        units = sorted(self.group.units, key=self.score, reverse=True)
        stay = 0
        while units and (stay < least or stay % round_to):
            stay += len(units.pop(0))
        return sorted(channel for unit in units for channel in unit)


def _across(choices: Sequence[_Choice], ratio: float | Mapping[str, float]) -> list[int]:
    """How many channels of each choice are not among the lowest of all."""
    assert not isinstance(ratio, Mapping)
    every = sorted((choice.score(unit), index, len(unit)) for index, choice in enumerate(choices)
                   for unit in choice.group.units)
    left = [choice.channels for choice in choices]
    budget = round(ratio * sum(left))
    for _, index, size in every:
        if size > budget:
            break
        budget -= size
        left[index] -= size
    return left
