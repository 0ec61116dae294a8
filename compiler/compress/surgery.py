"""Optimal Brain Surgeon through a network: each layer makes up for what those before it have lost.

`surgeon` takes the weights out of one layer, by what its outputs should be; here those are what the
network puts out as it is, and inputs are those that the layers give which have lost weights before.
How many each layer loses may follow from what that costs the network's answers (`curves`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ..ir import PenjingError
from ..load.floats import Floats
from . import surgeon
from .allotment import Curve
from .distillation import divergence
from .prune.lasso import collected
from .prune.layers import Layer, Layers, judged, known, layers_of, require_floats
from .prune.masks import Masks
from .prune.sensitivity import restored
from .training import Data, Progress

__all__ = ["DENSITIES", "Sample", "curves", "operate", "require_fitted", "round_weights"]

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
    norm behind would have them. Biases make up for weights, too. ``layers`` are all by default.
    A layer is fitted to its first call; `folding.parted` makes one of each. `PenjingError` for
    transposed layers.
    """
    layers = layers_of(model) if layers is None else layers
    for name, case in _cases(model, left, sample, layers, progress):
        case.put(case.removal().keep(left[name]))
    return Masks({name: layers[name].weight.detach() != 0 for name in left})


def round_weights(model: nn.Module, values: Mapping[str, Tensor], sample: Sample, *,
                  layers: Layers | None = None, progress: Progress | None = None) -> None:
    """Make each weight that is not 0 one of its layer's ``values``, which ascend, in place.

    First the one that costs least; those that are not rounded yet make up for it, and so do biases,
    and layers for those before them. All else is as in `operate`.
    """
    layers = layers_of(model) if layers is None else layers
    for name, case in _cases(model, values, sample, layers, progress):
        case.put(case.rounded(values[name]))


def curves(model: nn.Module, inputs: Tensor, sample: Sample, *, layers: Layers | None = None,
           progress: Progress | None = None) -> dict[str, Curve]:
    """What it costs to leave some `DENSITIES` of the weights of one of ``layers`` alone.

    That is how far the answers to ``inputs``, as the model takes them, go from its own: the
    Kullback-Leibler divergence of softmaxes at a temperature of 4, times its square. Layers without
    weights that are not 0 have none. ``layers`` are all by default; ``model`` is as before in the
    end. `PenjingError` as from `operate`.
    """
    layers = layers_of(model) if layers is None else layers
    found = {}
    wanted = log_softmax(_answers(model, inputs) / _TEMPERATURE, 1)
    for name, case in _cases(model, layers, sample, layers, progress):
        removal = case.removal()
        if not removal.count:
            continue
        counts, costs = [removal.count], [0.0]
        with restored(*layers[name].module.parameters()):
            for density in DENSITIES:
                count = max(removal.fewest, round(density * removal.count))
                if count < counts[-1]:
                    case.put(removal.keep(count))
                    counts.append(count)
                    costs.append(float(divergence(wanted, _answers(model, inputs), _TEMPERATURE)))
        found[name] = Curve(tuple(counts), tuple(costs))
    return found


def require_fitted(layer: Layer) -> None:
    """`PenjingError` for a layer that is transposed, or has no floats."""
    if layer.is_transposed:
        raise PenjingError(f"layer {layer.name}: Optimal Brain Surgeon takes convolutions and "
                           f"linear layers, no transposed ones; leave it out")
    require_floats(layer)


class _Case:
    """A ``layer`` of ``model`` that is fitted to put out what ``theirs`` does in the ``original``.

    Its bias, if it has one, is the weight of an input that is always 1.
    """

    def __init__(self, model: nn.Module, original: nn.Module, layer: Layer, theirs: Layer,
                 sample: Sample) -> None:
        require_fitted(layer)
        x, y = collected(model, original, layer, theirs, sample.data, sample.images,
                         sample.positions, sample.seed)
        # By groups, (groups, samples, inputs): each reads a run of channels.
        rows = x.reshape(len(x), layer.groups, -1).movedim(1, 0)
        weights, bias = layer.weight.detach().double().flatten(1), layer.module.bias
        if bias is not None:
            rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
            weights = torch.cat([weights, bias.detach().double()[:, None]], 1)
            y = y + bias.detach()
        self._layer, self._weights = layer, weights.numpy()
        self._deviations = y.std(0, correction=0)
        made = y.reshape(len(y), layer.groups, -1).permute(1, 2, 0)
        self._sums = surgeon.Normal(
            (rows.mT @ rows / len(y)).numpy(), (made @ rows / len(y)).flatten(0, 1).numpy(),
            free=int(bias is not None))

    def removal(self) -> surgeon.Removal:
        """In which order weights go, errors in units of the deviation of their output."""
        # Outputs that hardly change do not count more than all others.
        units = self._deviations.clamp(min=max(1e-2 * float(self._deviations.mean()), 1e-12))
        return surgeon.Removal(self._sums, self._weights, (1 / units.double().square()).numpy())

    def rounded(self, values: Tensor) -> Floats:
        """All weights that are not 0 as one of ``values``, which ascend."""
        return surgeon.rounded(self._sums, self._weights, values.double().numpy())

    def put(self, fitted: Floats) -> None:
        """Give the layer its weights."""
        weights, bias = torch.from_numpy(fitted), self._layer.module.bias
        with torch.no_grad():
            if bias is not None:
                bias.copy_(weights[:, -1])
                weights = weights[:, :-1]
            self._layer.weight.copy_(weights.reshape(self._layer.weight.shape))


def _cases(model: nn.Module, names: Mapping[str, object], sample: Sample, layers: Layers,
           progress: Progress | None) -> Iterator[tuple[str, _Case]]:
    """Those of ``layers`` with such ``names``, in the order of the model, each as it comes up: what
    is done to one is what the next one reads.
    """
    known(names, layers, "Optimal Brain Surgeon")
    original = copy.deepcopy(model)
    theirs = layers_of(original)
    for number, name in enumerate(layer for layer in layers if layer in names):
        if progress is not None:
            progress(number, len(names), name)
        yield name, _Case(model, original, layers[name], theirs[name], sample)


def _answers(model: nn.Module, inputs: Tensor) -> Tensor:
    with judged(model), torch.no_grad():
        return torch.cat([model(some) for some in inputs.split(_AT_ONCE)])
