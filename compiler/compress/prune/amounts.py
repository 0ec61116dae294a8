"""How much is pruned: a ratio of each layer or of all together, what lies below a threshold or far
below the mean. (`n_of_m` has one more.)

Each amount takes the scores of the units of each layer, (outputs, height, width, inputs) with axes
of length 1 where a unit spans them, and says which are kept. Of equal scores the first are pruned
first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from ...ir import PenjingError
from .layers import Layer, known

Scores: TypeAlias = Mapping[str, Tensor]
PerLayer: TypeAlias = float | Mapping[str, float]
"""One number for all layers, or one for each that is named."""


class Amount(ABC):
    """Which units are kept."""

    ranks_layers: ClassVar[bool] = False
    """Whether scores of different layers are compared."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """The layers that it names; None if it is for any."""
        return None

    def suits(self, layer: Layer) -> bool:
        """Whether it could prune anything of ``layer``."""
        return True

    @abstractmethod
    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """True, shaped as the scores, for what is kept."""


@dataclass(frozen=True)
class Each(Amount):
    """Of each layer the share ``ratios`` of its units, at least: a fraction of one is rounded up.
    """

    ratios: PerLayer

    def __post_init__(self) -> None:
        for where, ratio in _entries(self.ratios):
            _require_ratio(ratio, where)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The layers that have a ratio of their own."""
        return _names(self.ratios)

    def at(self, ratio: Callable[[float], float]) -> Each:
        """The same with ``ratio`` of each."""
        return Each(_mapped(self.ratios, ratio))

    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """All but the lowest of each layer."""
        return {name: _but_lowest(scores[name].flatten(), ratio).reshape(scores[name].shape)
                for name, ratio in _of_layers(self.ratios, scores).items()}


@dataclass(frozen=True)
class Overall(Amount):
    """Of all layers together the share ``ratio`` of their units, at least."""

    ranks_layers: ClassVar[bool] = True
    ratio: float

    def __post_init__(self) -> None:
        _require_ratio(self.ratio, "pruning")

    def at(self, ratio: Callable[[float], float]) -> Overall:
        """The same with ``ratio`` of its own."""
        return Overall(ratio(self.ratio))

    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """All but the lowest of all."""
        kept = _but_lowest(torch.cat([one.flatten() for one in scores.values()]), self.ratio)
        parts = kept.split([one.numel() for one in scores.values()])
        return {name: part.reshape(scores[name].shape)
                for name, part in zip(scores, parts, strict=True)}


@dataclass(frozen=True)
class Below(Amount):
    """What has a score below the ``thresholds``: Han's q, with scores in standard deviations."""

    thresholds: PerLayer

    def __post_init__(self) -> None:
        for where, threshold in _entries(self.thresholds):
            if not is_number(threshold) or threshold < 0:
                raise PenjingError(f"{where}: a threshold must be a number of at least 0, not "
                                   f"{threshold!r}")

    @property
    def names(self) -> tuple[str, ...] | None:
        """The layers that have a threshold of their own."""
        return _names(self.thresholds)

    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """What reaches the threshold."""
        return {name: scores[name] >= threshold
                for name, threshold in _of_layers(self.thresholds, scores).items()}


@dataclass(frozen=True)
class Outlying(Amount):
    """What has a score more than ``deviations`` standard deviations below the mean of its layer."""

    deviations: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.deviations) or self.deviations < 0:
            raise PenjingError(f"pruning: deviations must be a number of at least 0, not "
                               f"{self.deviations!r}")

    def kept(self, scores: Scores) -> dict[str, Tensor]:
        """What is not far below the mean."""
        return {name: one >= one.mean() - self.deviations * one.std(correction=0)
                for name, one in scores.items()}


Ratio: TypeAlias = Each | Overall
"""Amounts that can grow step by step."""


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _require_ratio(ratio: float, where: str) -> None:
    if not is_number(ratio) or not 0 <= ratio < 1:
        raise PenjingError(f"{where}: a ratio to prune must be at least 0 and below 1, not "
                           f"{ratio!r}")


def _entries(values: PerLayer) -> list[tuple[str, float]]:
    """Each number, and what errors call the place where it stands."""
    if isinstance(values, Mapping):
        return [(f"layer {name}", value) for name, value in values.items()]
    return [("pruning", values)]


def _names(values: PerLayer) -> tuple[str, ...] | None:
    return tuple(values) if isinstance(values, Mapping) else None


def _mapped(values: PerLayer, function: Callable[[float], float]) -> PerLayer:
    if isinstance(values, Mapping):
        return {name: function(value) for name, value in values.items()}
    return function(values)


def _of_layers(values: PerLayer, scores: Scores) -> Mapping[str, float]:
    if isinstance(values, Mapping):
        known(values, scores, "pruning")
        return values
    return dict.fromkeys(scores, values)


def share_of(count: int, ratio: float) -> int:
    """At least the share ``ratio`` of ``count`` units."""
    # 0.1 * 30 is a little more than 3.
    return math.ceil(round(ratio * count, 6))


def _but_lowest(scores: Tensor, ratio: float) -> Tensor:
    """True for all of ``scores`` (units,) but the lowest, at least the share ``ratio``."""
    kept = torch.ones_like(scores, dtype=torch.bool)
    kept[scores.argsort(stable=True)[:share_of(len(scores), ratio)]] = False
    return kept
