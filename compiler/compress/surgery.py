"""Optimal Brain Surgeon through a network: each layer makes up for what those before it have lost.

`surgeon` takes the weights out of one layer, by what its outputs should be; here those are what the
network puts out as it is, and inputs are those that the layers give which have lost weights before.
How many each layer loses may follow from what that costs the network's answers (`curves`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from . import surgeon
from .allotment import Curve
from .distillation import divergence
from .prune.lasso import collected, require_plain
from .prune.layers import Layer, Layers, judged, known, layers_of
from .prune.masks import Masks
from .prune.sensitivity import restored
from .training import Data, Progress

__all__ = ["DENSITIES", "Sample", "curves", "operate"]

DENSITIES = (0.65, 0.5, 0.36, 0.26, 0.18, 0.12, 0.08, 0.05, 0.0)
"""Shares of a layer's weights that are left, where it is told what that costs; at least one weight
of each output is."""
_TEMPERATURE = 4.0
"""Of the answers that are compared."""
_AT_ONCE = 500
"""Images."""


@dataclass(frozen=True)
class Sample:
    """By what layers are fitted: errors at random ``positions`` in the first ``images`` of the
    ``data``.
    """

    data: Data
    images: int = 1000
    positions: int = 32
    seed: int = 1


def operate(model: nn.Module, left: Mapping[str, int], sample: Sample, *,
            layers: Layers | None = None, progress: Progress | None = None) -> Masks:
    """Leave so many weights of each layer that ``left`` names, in place; the masks of these.

    Errors are those of each output of the ``sample``, in units of its deviation there, as a batch
    norm behind would have them. Biases stay. ``layers`` are all by default. `PenjingError` for
    layers in groups or transposed ones.
    """
    layers = layers_of(model) if layers is None else layers
    known(left, layers, "Optimal Brain Surgeon")
    original = copy.deepcopy(model)
    for number, name in enumerate(layer for layer in layers if layer in left):
        if progress is not None:
            progress(number, len(left), name)
        _Case(model, original, layers[name], sample).put(left[name])
    return Masks({name: layers[name].weight.detach() != 0 for name in left})


def curves(model: nn.Module, inputs: Tensor, sample: Sample, *, layers: Layers | None = None,
           progress: Progress | None = None) -> dict[str, Curve]:
    """What it costs to leave some `DENSITIES` of the weights of one of ``layers`` alone.

    That is how far the answers to ``inputs``, as the model takes them, go from its own: the
    Kullback-Leibler divergence of softmaxes at a temperature of 4, times its square. ``layers`` are
    all by default; ``model`` is as before in the end. `PenjingError` as from `operate`.
    """
    layers = layers_of(model) if layers is None else layers
    original, found = copy.deepcopy(model), {}
    wanted = log_softmax(_answers(model, inputs) / _TEMPERATURE, 1)
    for number, (name, layer) in enumerate(layers.items()):
        if progress is not None:
            progress(number, len(layers), name)
        case = _Case(model, original, layer, sample)
        counts, costs = [case.removal.count], [0.0]
        with restored(layer.weight):
            for density in DENSITIES:
                count = max(case.removal.fewest, round(density * case.removal.count))
                if count < counts[-1]:
                    case.put(count)
                    counts.append(count)
                    costs.append(float(divergence(wanted, _answers(model, inputs), _TEMPERATURE)))
        found[name] = Curve(tuple(counts), tuple(costs))
    return found


class _Case:
    """A ``layer`` of ``model`` whose weights can go, one by one, until so many are left.

    What it puts out should stay what it is in the ``original``.
    """

    def __init__(self, model: nn.Module, original: nn.Module, layer: Layer, sample: Sample) -> None:
        require_plain(layer)
        x, y = collected(model, original, layer, layers_of(original)[layer.name], sample.data,
                         sample.images, sample.positions, sample.seed)
        rows, deviations = x.flatten(1), y.std(0)
        # Outputs that hardly change do not count more than all others.
        self._scale = 1 / deviations.clamp(
            min=max(1e-2 * float(deviations.mean()), 1e-12))[:, None]
        sums = surgeon.Normal((rows.T @ rows / len(rows)).numpy(),
                              (self._scale * (y.T @ rows) / len(rows)).numpy(), free=0)
        weights = layer.weight.detach().double().flatten(1) * self._scale
        self._layer, self.removal = layer, surgeon.Removal(sums, weights.numpy())

    def put(self, count: int) -> None:
        """Let the layer have ``count`` weights."""
        fitted = torch.from_numpy(self.removal.keep(count)) / self._scale
        with torch.no_grad():
            self._layer.weight.copy_(fitted.reshape(self._layer.weight.shape))


def _answers(model: nn.Module, inputs: Tensor) -> Tensor:
    with judged(model), torch.no_grad():
        return torch.cat([model(some) for some in inputs.split(_AT_ONCE)])
