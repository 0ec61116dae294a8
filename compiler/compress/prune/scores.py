"""Criteria: how much a weight, or a unit of weights, is worth. The lowest are pruned first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...ir import PenjingError
from ..training import Data
from .hessian import diagonal
from .layers import Layers


@dataclass(frozen=True)
class Criterion(ABC):
    """Scores, none of them negative.

    Those of several layers can be ranked together if they are ``comparable``.
    """

    comparable: ClassVar[bool]

    @abstractmethod
    def weights(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """A score for each weight of the ``layers`` of ``model``, shaped as they are."""

    def units(self, totals: Tensor, size: int) -> Tensor:
        """Scores of the units of a layer, from the sums over their ``size`` weights."""
        return totals


class OfWeights(Criterion):
    """A criterion that looks at nothing but the weights of one layer."""

    def weights(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """A score for each weight."""
        return {name: self.of(layer.weight.detach()) for name, layer in layers.items()}

    @abstractmethod
    def of(self, weights: Tensor) -> Tensor:
        """A score for each of a layer's ``weights``."""


@dataclass(frozen=True)
class L1(OfWeights):
    """``|w|``, summed over a unit (Han 2015)."""

    comparable: ClassVar[bool] = False

    def of(self, weights: Tensor) -> Tensor:
        """Magnitudes."""
        return weights.abs()


@dataclass(frozen=True)
class L2(OfWeights):
    """``w**2``, of whose sum over a unit the root is taken."""

    comparable: ClassVar[bool] = False

    def of(self, weights: Tensor) -> Tensor:
        """Squares."""
        return weights.square()

    def units(self, totals: Tensor, size: int) -> Tensor:
        """The Euclidean norm of each unit."""
        return totals.sqrt()


@dataclass(frozen=True)
class Deviations(OfWeights):
    """``|w| / std(W)`` with the standard deviation of all weights of the layer (Han 2015).

    A unit has the mean of its weights. Pruning what is below q is Han's threshold
    ``q * std(W)``. Zeros count in the deviation.
    """

    comparable: ClassVar[bool] = True

    def of(self, weights: Tensor) -> Tensor:
        """Magnitudes in units of the deviation; 1 where all weights are equal."""
        deviation = weights.std(correction=0)
        return weights.abs() / deviation if deviation else torch.ones_like(weights)

    def units(self, totals: Tensor, size: int) -> Tensor:
        """The mean of each unit."""
        return totals / size


@dataclass(frozen=True)
class LayerAdaptive(OfWeights):
    """LAMP: ``w**2`` over the sum of the squares from it to the layer's largest (Lee 2021).

    Units are ranked by their sums of squares. The largest of each layer has 1, so that ranking
    layers together empties none before all are left with one. Of equal squares each is followed by
    the next.
    """

    comparable: ClassVar[bool] = True

    def of(self, weights: Tensor) -> Tensor:
        """Squares."""
        return weights.double().square()

    def units(self, totals: Tensor, size: int) -> Tensor:
        """Each total over the sum of itself and those that follow it in order."""
        ascending, order = totals.flatten().sort(stable=True)
        following = ascending.flip(0).cumsum(0).flip(0)
        scores = torch.zeros_like(ascending)
        scores[order] = torch.where(ascending > 0, ascending / following, 0.0)
        return scores.reshape(totals.shape)


@dataclass(frozen=True)
class OptimalBrainDamage(Criterion):
    """``h * w**2 / 2``, by how much the loss rises without a weight (LeCun 1989).

    h is the diagonal of the Gauss-Newton matrix (`hessian.diagonal`) on the first ``samples`` of
    the data. The rule is exact where the loss has its minimum and is a parabola; weights that share
    a unit are taken for independent.
    """

    comparable: ClassVar[bool] = True
    samples: int = 1024

    def __post_init__(self) -> None:
        if type(self.samples) is not int or self.samples < 1:
            raise PenjingError(f"Optimal Brain Damage: samples must be a positive integer, not "
                               f"{self.samples!r}")

    def weights(self, model: nn.Module, layers: Layers, data: Data | None) -> dict[str, Tensor]:
        """The saliency of each weight."""
        if data is None:
            raise PenjingError("Optimal Brain Damage: it needs data; give some, or rank by "
                               "magnitude")
        curvatures = diagonal(model, layers, data, samples=self.samples)
        return {name: curvatures[name] * layer.weight.detach().square() / 2
                for name, layer in layers.items()}
