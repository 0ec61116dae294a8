"""The sensitivity scan (Han 2015): how good a model is with one layer alone pruned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..training import Data, Progress, accuracy
from .amounts import Each
from .granularity import Granularity
from .layers import Layers, layers_of
from .scores import L1, Criterion
from .selection import masks_of, unit_scores

RATIOS = tuple(tenths / 10 for tenths in range(10))
"""0 to 0.9."""


@dataclass(frozen=True)
class Point:
    """The ``accuracy`` of a model with the share ``ratio`` of ``layer`` pruned, and nothing else.
    """

    layer: str
    ratio: float
    accuracy: float


@dataclass(frozen=True)
class Sensitivity:
    """What a scan found: the ``accuracy`` of the whole model, and ``points`` by layer and ratio."""

    accuracy: float
    points: tuple[Point, ...]

    def largest(self, drop: float) -> dict[str, float]:
        """For each layer the largest ratio that costs at most ``drop``, a share of 1.

        0 where each costs more.
        """
        found = dict.fromkeys((point.layer for point in self.points), 0.0)
        for point in self.points:
            # 0.92 - 0.91 is a little more than 0.01.
            if round(self.accuracy - point.accuracy - drop, 9) <= 0:
                found[point.layer] = max(found[point.layer], point.ratio)
        return found

    @property
    def rows(self) -> list[dict[str, object]]:
        """The points, for JSON."""
        return [asdict(point) for point in self.points]


def scan(model: nn.Module, data: Data, *, ratios: tuple[float, ...] = RATIOS,
         criterion: Criterion | None = None, granularity: Granularity = Granularity.WEIGHT,
         layers: Layers | None = None, progress: Progress | None = None) -> Sensitivity:
    """Prune each of ``layers``, all by default, at each of ``ratios``, and judge it on ``data``.

    Ratios that would empty a layer, which has few units, are left out. ``criterion`` is `L1` by
    default. ``model`` is as before in the end.
    """
    layers = layers_of(model) if layers is None else layers
    scores = unit_scores(model, layers, L1() if criterion is None else criterion, granularity, data)
    before, points = accuracy(model, data), []
    for number, (name, layer) in enumerate(layers.items()):
        for place, ratio in enumerate(ratios):
            masks = masks_of({name: scores[name]}, layers, Each(ratio))
            if not masks.emptied:
                with restored(layer.weight):
                    masks.apply(model)
                    points.append(Point(name, ratio, accuracy(model, data)))
            if progress is not None:
                progress(number * len(ratios) + place + 1, len(layers) * len(ratios), name)
    return Sensitivity(before, tuple(points))


@contextmanager
def restored(*parameters: Tensor) -> Iterator[None]:
    """``parameters`` may change for a while; afterwards they are as before."""
    values = [one.detach().clone() for one in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, before in zip(parameters, values, strict=True):
                one.copy_(before)
