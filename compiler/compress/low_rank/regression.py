"""Affine maps of low rank, fitted to responses (Zhang 2015, sections 3.1 to 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LowRank", "nearest", "nonlinear", "principal", "reduced_rank"]

PENALTIES = (0.01, 1.0)
"""How much auxiliary responses cost that are not those of the map, in two runs."""
ROUNDS = 25
"""Of both sub-problems in a run."""


@dataclass(frozen=True)
class LowRank:
    """``y = outer @ (inner @ x) + offset``: (d, r), (r, c), and (d,)."""

    outer: Tensor
    inner: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Of the rows of ``x``, (samples, c)."""
        return x @ self.inner.T @ self.outer.T + self.offset


def principal(y: Tensor, rank: int) -> LowRank:
    """The map of so low a rank that changes ``y``, (samples, d), least: its principal components.
    """
    mean = y.mean(0)
    _, vectors = torch.linalg.eigh((y - mean).T @ (y - mean))
    outer = vectors[:, -rank:]
    return LowRank(outer, outer.T, mean - outer @ (outer.T @ mean))


@dataclass(frozen=True)
class _Given:
    """What a map is given: its mean, what is left without it, and the inverse of its products."""

    mean: Tensor
    centred: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Given:
        centred = x - x.mean(0)
        return cls(x.mean(0), centred, torch.linalg.pinv(centred.T @ centred, hermitian=True,
                                                         rtol=1e-10))

    def fitted(self, y: Tensor, rank: int) -> LowRank:
        """The map of so low a rank that makes ``y`` best."""
        cross = (y - y.mean(0)).T @ self.centred
        whole = cross @ self.inverse
        # What plain least squares make of the samples; its largest directions are the best ones.
        _, vectors = torch.linalg.eigh(whole @ cross.T)
        outer = vectors[:, -rank:]
        inner = outer.T @ whole
        return LowRank(outer, inner, y.mean(0) - outer @ (inner @ self.mean))


def reduced_rank(x: Tensor, y: Tensor, rank: int) -> LowRank:
    """The map of at most ``rank`` with the least ``|y - map(x)|**2``; rows are samples."""
    return _Given.of(x).fitted(y, rank)


def nearest(wanted: Tensor, made: Tensor, penalty: float) -> Tensor:
    """The z of the least ``(relu(wanted) - relu(z))**2 + penalty * (z - made)**2``, each by itself.
    """
    above = wanted.clamp(min=0)
    negative, positive = made.clamp(max=0), ((penalty * made + above) / (penalty + 1)).clamp(min=0)
    costs = (above ** 2 + penalty * (negative - made) ** 2,
             (above - positive) ** 2 + penalty * (positive - made) ** 2)
    return torch.where(costs[0] <= costs[1], negative, positive)


def nonlinear(x: Tensor, y: Tensor, rank: int) -> LowRank:
    """The map of low rank that makes ``relu(y)`` of ``x`` behind a ReLU, by alternation.

    Auxiliary responses are fitted to the map and to ``relu(y)``, then the map to them: `ROUNDS`
    times at each of `PENALTIES`.
    """
    given = _Given.of(x)
    found = given.fitted(y, rank)
    for penalty in PENALTIES:
        for _ in range(ROUNDS):
            found = given.fitted(nearest(y, found(x), penalty), rank)
    return found
