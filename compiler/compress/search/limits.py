"""What a search must keep to, and what it makes small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ir import PenjingError

if TYPE_CHECKING:
    from ...dataflow.pricing import Cost

__all__ = ["ACCURACY", "COSTS", "Aim", "parse"]

COSTS = ("cycles", "luts", "ffs", "dsps", "brams", "multipliers", "weight_bits", "price")
"""What a plan costs, each better if it is less; "price" is in look-up tables."""
FRAMES = "frames"
"""Frames a second, better if they are more."""
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Aim:
    """Limits of costs, and what is best within them.

    ``most`` are costs that must not be exceeded, by name; ``frames`` a second are the least. If
    ``minimize`` names a cost, the best has the least of it at an ``accuracy`` that is at least so
    high; else it is the most accurate.
    """

    most: Mapping[str, float] = field(default_factory=dict)
    frames: float | None = None
    accuracy: float = 0.0
    minimize: str | None = None

    def __post_init__(self) -> None:
        for name, value in {**self.most, FRAMES: self.frames or 1.0}.items():
            if not 0 < value < math.inf:
                raise PenjingError(f"limit {name}: it must be above 0, not {value:g}")
        if not 0 <= self.accuracy <= 1:
            raise PenjingError(f"limit accuracy: it is a share from 0 to 1, not {self.accuracy:g}")
        if self.minimize is not None and self.minimize not in COSTS:
            raise PenjingError(f"{self.minimize:.40} cannot be minimized; there are "
                               f"{', '.join(COSTS)}")
        if self.minimize is None and self.accuracy:
            raise PenjingError("limit accuracy: the most accurate network is sought unless a cost "
                               "is minimized; say which")
        if not self.most and self.frames is None and self.minimize is None:
            raise PenjingError("no limit: nothing needs to become smaller; give one, such as "
                               "frames=5000 or luts=20000, or a cost to minimize")

    def ratios(self, cost: Cost) -> dict[str, float]:
        """How many times ``cost`` is what it may be, by the names of limits."""
        found = {name: getattr(cost, name) / most for name, most in self.most.items()}
        if self.frames is not None:
            found[FRAMES] = self.frames / cost.frames_per_second
        return found

    def exceeded(self, cost: Cost) -> str:
        """What of ``cost`` is not within the limits, and what these are, for people."""
        found = [f"{name} {getattr(cost, name):,} of {most:,.12g} at most"
                 for name, most in self.most.items() if getattr(cost, name) > most]
        if self.frames is not None and cost.frames_per_second < self.frames:
            found.append(f"{FRAMES} {cost.frames_per_second:,.0f} of {self.frames:,.12g} at least")
        return ", ".join(found)

    def excess(self, cost: Cost) -> float:
        """The ratio of what exceeds most; at most 1 if ``cost`` fits."""
        return max(self.ratios(cost).values(), default=0.0)

    def fits(self, cost: Cost | None) -> bool:
        """Whether ``cost`` is within the limits; None is that of what no plan can be made of."""
        return cost is not None and self.excess(cost) <= 1

    def kept(self, accuracy: float, cost: Cost | None) -> bool:
        """Whether all limits are, that of the ``accuracy`` among them."""
        return self.fits(cost) and accuracy >= self.accuracy

    def objective(self, accuracy: float, cost: Cost) -> float:
        """What is best if it is highest, of networks within the limits.

        Where a cost is minimized, what is not accurate enough comes behind all that is.
        """
        if self.minimize is None:
            return accuracy
        if accuracy < self.accuracy:
            return accuracy - 1 - self.accuracy
        return 1 / (1 + float(getattr(cost, self.minimize)))


def parse(limits: Iterable[str], minimize: str | None = None) -> Aim:
    """The aim of texts such as ``frames=5000``, ``luts=20000`` and ``accuracy=0.9``."""
    most: dict[str, float] = {}
    for text in limits:
        name, sign, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not sign or name not in (*COSTS, FRAMES, ACCURACY) or math.isnan(value):
            raise PenjingError(f"limit {text:.40}: give NAME=NUMBER with one of {FRAMES}, "
                               f"{', '.join(COSTS)}, {ACCURACY}")
        if name in most:
            raise PenjingError(f"limit {name}: it is given twice; give it once")
        most[name] = value
    frames, accuracy = most.pop(FRAMES, None), most.pop(ACCURACY, 0.0)
    if frames is not None and not 0 < frames < math.inf:
        raise PenjingError(f"limit {FRAMES}: it must be above 0, not {frames:g}")
    return Aim(most, frames, accuracy, minimize)
