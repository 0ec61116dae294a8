"""Criteria of whole channels, seen in what follows a layer: its activation or its batch norm."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, fx, nn

from ...ir import PenjingError
from ..training import Data, Loss, cross_entropy
from .amounts import is_number
from .layers import Layer, Layers, judged
from .scores import Criterion
from .tracing import Watched, followers, graph_of, module_of

_Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d
_BATCH = 250


class OfChannels(Criterion):
    """A criterion that has a score for each output of a layer.

    Units other than channels are worth their part of it.
    """

    comparable: ClassVar[bool] = True

    def weights(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """The score of each weight's channel, in equal parts."""
        found, scores = self.channels(model, layers, data), {}
        for name, layer in layers.items():
            arranged = layer.arranged(layer.weight.detach())
            each = found[name][:, None, None, None] / arranged[0].numel()
            scores[name] = layer.restored(each.expand(arranged.shape))
        return scores

    @abstractmethod
    def channels(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """For each layer the scores of its outputs, (outputs,)."""


@dataclass(frozen=True)
class Activity(OfChannels):
    """``1 - APoZ``: how often a channel is not 0 behind its ReLU (Hu 2016).

    APoZ is the share of zeros, of all places in the first ``samples`` of the data, in what follows
    the layer first and is never negative. Hu prunes what has more of them than the mean of its
    layer and a deviation: `Outlying`.
    """

    samples: int = 1000

    def channels(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """The share of values other than 0 in each channel."""
        if data is None:
            raise PenjingError("activity: it needs data; give some, or rank by magnitude")
        graph = graph_of(model)
        behind = {name: followers(graph, layer) for name, layer in layers.items()}
        seen: dict[fx.Node, list[Tensor]] = {node: [] for nodes in behind.values()
                                             for node in nodes}
        negative: set[fx.Node] = set()

        def note(node: fx.Node, result: Tensor) -> None:
            if node in seen and result.ndim > 1:
                seen[node].append((result != 0).double().flatten(2).mean(2) if result.ndim > 2
                                  else (result != 0).double())
                if result.min() < 0:
                    negative.add(node)

        watched, images = Watched(graph, note), data.images[:self.samples]
        with judged(model), torch.no_grad():
            for start in range(0, len(images), _BATCH):
                watched.run(data.prepare(images[start:start + _BATCH], None))
        found = {}
        for name, layer in layers.items():
            outputs = _outputs(layer)
            node = next((node for node in behind[name] if node not in negative and seen[node]
                         and seen[node][0].shape[1] == outputs), None)
            if node is None:
                raise PenjingError(f"layer {name}: nothing behind its {outputs} channels is a ReLU;"
                                   f" leave it out, or rank by magnitude")
            found[name] = torch.cat(seen[node]).mean(0)
        return found


@dataclass(frozen=True)
class Scales(OfChannels):
    """``|gamma|`` of the batch norm behind a layer (Network Slimming, Liu 2017).

    Train with `slimming` first, so that scales of what is not needed become small.
    """

    def channels(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """The magnitude of each scale."""
        graph, found = graph_of(model), {}
        for name, layer in layers.items():
            norms = (module_of(graph, node) for node in followers(graph, layer))
            scales = next((norm.weight for norm in norms if isinstance(norm, _Norm) and norm.affine
                           and norm.num_features == _outputs(layer)), None)
            if scales is None:
                raise PenjingError(f"layer {name}: no batch norm with scales is behind it; leave it"
                                   f" out, or rank by magnitude")
            found[name] = scales.detach().abs()
        return found


def slimming(model: nn.Module, strength: float, *, loss: Loss = cross_entropy) -> Loss:
    """``loss + strength * sum(|gamma|)`` over all batch norms of ``model`` (Liu 2017).

    He takes a strength of 1e-4 for plain networks, 1e-5 for residual ones.
    """
    scales = [module.weight for module in model.modules()
              if isinstance(module, _Norm) and module.affine]
    if not scales:
        raise PenjingError("slimming: the model has no batch norm with scales; rank its channels by"
                           " magnitude")
    if not is_number(strength) or strength < 0:
        raise PenjingError(f"slimming: its strength must be a number of at least 0, not "
                           f"{strength!r}")

    def penalized(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        penalty = torch.stack([one.abs().sum() for one in scales]).sum()
        return loss(x, outputs, labels) + strength * penalty

    return penalized


def _outputs(layer: Layer) -> int:
    return len(layer.arranged(layer.weight))
