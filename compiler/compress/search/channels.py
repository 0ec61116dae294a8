"""How many channels each layer keeps: the choices of AMC and NetAdapt.

Channels that belong together, as those of a sum do, are one knob. Those with the least L1 norm go,
and what reads the rest is fitted by least squares to make what it made before (He 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ... import ir
from ...ir import PenjingError
from ...reduce.removal import without
from .. import training
from ..coupling import Coupled, Couplings, outputs
from ..folding import folded, parted
from ..low_rank.chains import places
from ..prune import Layer, flattened_maps, is_plain, layers_of, refit
from ..structure import channel_norms, mean_scores, without_channels
from ..trainable import Trainable
from ..training import Data, Settings
from .space import Choice, Knob, Made

__all__ = ["Channels"]

LEAST = 0.2
"""The share of its channels that a layer keeps at least (He 2018)."""
LEVELS = 12
"""Of one knob; layers of few channels have fewer."""


@dataclass(frozen=True, eq=False)
class Channels:
    """The environment of ``model``, whose integers are ``whole``.

    ``fitted`` are images that weights are fitted to, ``judged`` those that tell the accuracy.
    ``tuning`` trains each network shortly before it is judged; ``samples`` images are looked at by
    least squares, none with 0. Batch norms are folded.
    """

    model: Trainable
    whole: ir.Network
    fitted: Data
    judged: Data
    tuning: Settings | None = None
    samples: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        if not self._groups:
            raise PenjingError("search: the network has no layer whose channels could go")

    @cached_property
    def _folded(self) -> Trainable:
        return folded(parted(self.model))

    @cached_property
    def _every_group(self) -> tuple[Coupled, ...]:
        return Couplings(self._folded.copied()).groups

    @cached_property
    def _groups(self) -> tuple[Coupled, ...]:
        """Those whose channels can go, in the order of the network.

        What layers in groups read or make stays, but for depthwise ones: it would have to go from
        each group alike, and integers lose groups as a whole.
        """
        order = list(self._folded.layers)
        free = [group for group in self._every_group if not group.fixed
                and len(group.units) > 1 and max(map(len, group.units)) == 1]
        return tuple(sorted(free, key=lambda group: min(
            order.index(name) for name in group.members if name in order)))

    @cached_property
    def _order(self) -> tuple[list[int], ...]:
        """Of each group the channels of its root, those first that are worth most."""
        norms = channel_norms(self._folded, 1)
        found = []
        for group in self._groups:
            worth = mean_scores(group, norms)
            found.append(sorted((channel for channel, in group.units),
                                key=lambda channel: (-worth[channel], channel)))
        return tuple(found)

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """One for each group of channels that can go."""
        seen, layers = places(self._folded), self._folded.layers
        names = list(layers)
        knobs = []
        for number, group in enumerate(self._groups):
            members = [name for name in names if name in group.members]
            root = members[0]
            layer, place = layers[root], seen[root]
            weight = layer.weight
            assert isinstance(weight, Tensor)
            work = math.fsum(seen[name].macs(layers[name]) for name in members)
            kernel = math.prod(weight.shape[2:])
            stride = getattr(layer, "stride", (1,))
            features = (number, weight.shape[0], weight.shape[1], *_sides(place.read),
                        float(stride[0]), kernel, work, len(members))
            knobs.append(Knob("+".join(members), _levels(group), tuple(map(float, features)), work))
        return tuple(knobs)

    def integers(self, choice: Choice) -> ir.Network:
        """The integer network without the channels that go, of the weights that it has."""
        return without(self.whole, {name: silent.nonzero().flatten().tolist()
                                    for name, silent in self._silent(self._gone(choice)).items()})

    def accuracy(self, choice: Choice) -> float:
        """That of `made`, trained as ``tuning`` says."""
        network = self.made(choice).model
        if self.tuning is not None:
            training.fit(network.module, self.fitted, self.tuning)
        return training.accuracy(network.module, self.judged)

    def made(self, choice: Choice) -> Made:
        """The network without the channels that go, and what reads the rest fitted anew."""
        gone, cut = self._gone(choice), self._folded.copied()
        silent = self._silent(gone)
        layers = layers_of(cut.module, flattened=flattened_maps(cut.module, cut.example()))
        for name, some in silent.items():
            _silence(layers[name], some)
        if self.samples and silent:
            for name, layer in list(layers.items())[1:]:
                if is_plain(layer):
                    refit(cut.module, self._folded.module, layer, self.fitted,
                          samples=self.samples, seed=self.seed)
                    if name in silent:
                        _silence(layer, silent[name])
        return Made(without_channels(cut, gone))

    def _gone(self, choice: Choice) -> list[list[int]]:
        """Of each group of `Couplings` the channels of its root that go."""
        lost: dict[int, list[int]] = {}
        for group, order, knob, index in zip(self._groups, self._order, self.knobs, choice,
                                             strict=True):
            lost[id(group)] = sorted(order[knob.levels[index]:])
        return [lost.get(id(group), []) for group in self._every_group]

    def _silent(self, gone: list[list[int]]) -> dict[str, Tensor]:
        """Of each layer that loses any, which of its outputs go."""
        silent: dict[str, Tensor] = {}
        for group, roots in zip(self._every_group, gone, strict=True):
            lost = torch.tensor(roots, dtype=torch.long)
            for name, (channels, of) in group.members.items():
                if roots and name in self._folded.layers:
                    count = outputs(self._folded.layers[name])
                    mask = silent.setdefault(name, torch.zeros(count, dtype=torch.bool))
                    mask[channels[torch.isin(of, lost)]] = True
        return silent


def _levels(group: Coupled) -> tuple[int, ...]:
    """At most `LEVELS` numbers of channels, from `LEAST` of all on."""
    count = len(group.units)
    return tuple(sorted({max(1, math.ceil(share * count))
                         for share in np.linspace(LEAST, 1, LEVELS)}))


def _silence(layer: Layer, some: Tensor) -> None:
    """Let ``some`` outputs of ``layer`` be 0."""
    with torch.no_grad():
        rows = layer.arranged(layer.weight).clone()
        rows[some] = 0
        layer.weight.copy_(layer.restored(rows))
        if layer.module.bias is not None:
            layer.module.bias[some] = 0


def _sides(read: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a map; those of a vector are 1."""
    return (1, 1, *read)[-2:]  # type: ignore[return-value]
