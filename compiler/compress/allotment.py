"""How many weights each layer keeps, by what fewer would cost the network.

Of each layer alone it is known what some numbers of weights cost. Costs of different layers are
taken to add up; then it is best that in all layers one weight more would save the same (Shoham &
Gersho 1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..ir import PenjingError
from ..load.floats import Floats

__all__ = ["Curve", "allot"]

_BETWEEN = 16
"""Steps from one point of a curve to the next."""
_LEAST = 1e-6
"""Of the largest cost of a curve; what costs less costs nothing."""


@dataclass(frozen=True)
class Curve:
    """What it ``costs`` the network to keep so many ``weights`` of a layer, from all to fewest.

    All of them cost nothing. Costs are told as they were measured, and may rise with weights.
    """

    weights: tuple[int, ...]
    costs: tuple[float, ...]

    def __post_init__(self) -> None:
        if (len(self.weights) != len(self.costs) or not self.weights or self.weights[-1] < 1
                or any(b >= a for a, b in pairwise(self.weights))):
            raise ValueError(f"weights must descend, with a cost each: {self}")

    def falling(self) -> tuple[Floats, Floats]:
        """Weights, ascending, and costs that fall ever more slowly: the lower hull of the curve,
        between whose points both logarithms are straight.
        """
        weights = np.array(self.weights[::-1], np.float64)
        costs = np.maximum.accumulate(np.array(self.costs))[::-1]
        floor = _LEAST * max(float(costs[0]), 1e-300)
        parts = [np.geomspace(a, b, _BETWEEN, endpoint=False)
                 for a, b in pairwise(weights)]
        x = np.concatenate([*parts, weights[-1:]])
        y = np.exp(np.interp(np.log(x), np.log(weights), np.log(np.maximum(costs, floor))))
        kept: list[int] = []
        for place in range(len(x)):
            while len(kept) > 1 and _turns_down(x, y, kept[-2], kept[-1], place):
                kept.pop()
            kept.append(place)
        return x[kept], y[kept]


def _turns_down(x: Floats, y: Floats, a: int, b: int, c: int) -> bool:
    """Whether b lies on the line from a to c, or above it."""
    turn: np.float64 = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
    return bool(turn <= 0)


def allot(curves: Mapping[str, Curve], count: int) -> dict[str, int]:
    """So many weights of each layer that all keep ``count`` and cost the least together.

    All of each if there are no more. `PenjingError` where that is fewer than the fewest of all.
    """
    left = {name: curve.weights[-1] for name, curve in curves.items()}
    spare = count - sum(left.values())
    if spare < 0:
        raise PenjingError(f"{count} weights cannot be shared out: at least {sum(left.values())} "
                           f"of {len(left)} layers stay; lower the ratio")
    gains: list[tuple[float, str, float]] = []
    for name, curve in curves.items():
        weights, costs = curve.falling()
        gains += [(float(slope), name, float(end)) for slope, end in zip(
            np.diff(costs) / np.diff(weights), weights[1:], strict=True)]
    # The steepest first; a layer's own slopes come in their order, as none is steeper than before.
    for _, name, end in sorted(gains):
        more = min(spare, round(end) - left[name])
        left[name] += more
        spare -= more
    return left
