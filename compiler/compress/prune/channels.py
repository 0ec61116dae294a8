"""Criteria of whole channels, seen in what follows a layer: its activation or its batch norm."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ...ir import PenjingError
from ..training import Data, Loss, cross_entropy
from .layers import Layers, judged
from .scores import Criterion

Following: TypeAlias = Mapping[str, str]
"""For a layer the module behind it, both by the names that the model has for them."""

_BATCH = 250


@dataclass(frozen=True)
class OfChannels(Criterion):
    """A criterion that has a score for each output of a layer, by the module that is ``behind`` it.

    Units other than channels, and layers, are worth their part of it.
    """

    comparable: ClassVar[bool] = True
    behind: Following

    def weights(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """The score of each weight's channel, in equal parts."""
        modules = dict(model.named_modules())
        for name in layers:
            if name not in self.behind or self.behind[name] not in modules:
                raise PenjingError(f"layer {name}: no module of the model is named that is behind "
                                   f"it; name one, or leave the layer out")
        found = self.channels(model, {name: modules[self.behind[name]] for name in layers}, data)
        scores = {}
        for name, layer in layers.items():
            arranged = layer.arranged(layer.weight.detach())
            if len(found[name]) != len(arranged):
                raise PenjingError(f"layer {name}: it has {len(arranged)} outputs, "
                                   f"{self.behind[name]} has {len(found[name])} channels; name the "
                                   f"module behind it")
            each = found[name].to(arranged.device)[:, None, None, None] / arranged[0].numel()
            scores[name] = layer.restored(each.expand(arranged.shape))
        return scores

    @abstractmethod
    def channels(self, model: nn.Module, modules: Mapping[str, nn.Module], data: Data | None
                 ) -> dict[str, Tensor]:
        """For each layer the scores of its channels, by the module behind it."""


@dataclass(frozen=True)
class Activity(OfChannels):
    """``1 - APoZ``: how often a channel is not 0 behind its ReLU (Hu 2016).

    APoZ is the share of zeros, of all places in the first ``samples`` of the data. Hu prunes what
    has more of them than the mean of its layer and a deviation: `amounts.Outlying`.
    """

    samples: int = 1000

    def channels(self, model: nn.Module, modules: Mapping[str, nn.Module], data: Data | None
                 ) -> dict[str, Tensor]:
        """The share of values other than 0 in each channel."""
        if data is None:
            raise PenjingError("activity: it needs data; give some, or rank by magnitude")
        images = data.images[:self.samples]
        shares: dict[str, list[Tensor]] = {name: [] for name in modules}

        def note(name: str, output: Tensor) -> None:
            active = (output != 0).double()
            shares[name].append(active.mean(tuple(range(2, active.ndim))) if active.ndim > 2
                                else active)

        with judged(model), _watched(modules, note), torch.no_grad():
            for start in range(0, len(images), _BATCH):
                model(data.prepare(images[start:start + _BATCH], None))
        return {name: torch.cat(one).mean(0) for name, one in shares.items()}


@contextmanager
def _watched(modules: Mapping[str, nn.Module], note: Callable[[str, Tensor], None]
             ) -> Iterator[None]:
    """``note(name, output)`` is called for what each of ``modules`` puts out."""
    handles = [module.register_forward_hook(
        lambda _, inputs, output, name=name: note(name, output))
        for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Scales(OfChannels):
    """``|gamma|`` of the batch norm behind a layer (Network Slimming, Liu 2017).

    Train with `slimming` first, so that scales of what is not needed become small.
    """

    def channels(self, model: nn.Module, modules: Mapping[str, nn.Module], data: Data | None
                 ) -> dict[str, Tensor]:
        """The magnitude of each scale."""
        return {name: _gamma(self.behind[name], module).detach().abs()
                for name, module in modules.items()}


def slimming(model: nn.Module, strength: float, *, loss: Loss = cross_entropy) -> Loss:
    """``loss + strength * sum(|gamma|)`` over all batch norms of ``model`` (Liu 2017).

    He takes a strength of 1e-4 for plain networks, 1e-5 for residual ones.
    """
    gammas = [_gamma(name, module) for name, module in model.named_modules()
              if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine]
    if not gammas or not 0 <= strength < math.inf:
        raise PenjingError("slimming: it needs batch norms with scales, and a strength of at least "
                           "0; rank channels by their weights where there are none")

    def penalized(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        penalty = torch.stack([gamma.abs().sum() for gamma in gammas]).sum()
        return loss(x, outputs, labels) + strength * penalty

    return penalized


def _gamma(name: str, module: nn.Module) -> nn.Parameter:
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) or not module.affine:
        raise PenjingError(f"slimming: {name} is no batch norm with scales; name the one behind "
                           f"the layer")
    assert isinstance(module.weight, nn.Parameter)
    return module.weight
