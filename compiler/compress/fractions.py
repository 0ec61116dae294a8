"""Fraction lengths: range analysis, rounding, and the search for the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir import PenjingError
from ..load.floats import Floats

Cost: TypeAlias = Callable[[int], float]
"""What a fraction length is judged by: the least is best."""

FRACTION_LIMIT = 31
"""The largest magnitude of a fraction length that is chosen."""
SEARCH_IMAGES = 256
"""How many calibration images a search looks at, evenly picked."""

UNBOUNDED = (-math.inf, math.inf)
"""The bounds of reals that nothing clamps."""

_NEIGHBOURS = range(-1, 4)


@dataclass(frozen=True)
class StaticPair:
    """The fraction lengths of all weights and of all feature maps but the input."""

    weights: int
    activations: int

    def __post_init__(self) -> None:
        for value in (self.weights, self.activations):
            if type(value) is not int or abs(value) > FRACTION_LIMIT:
                raise PenjingError(f"static fraction length: it must be an integer within "
                                   f"±{FRACTION_LIMIT}, not {value!r}")


@dataclass(frozen=True)
class Grid:
    """The reals ``q * 2**-fraction`` of all integers q from ``low`` to ``high``.

    Without ``zero``, q is -1 or +1, which 0 becomes.
    """

    low: int
    high: int
    fraction: int = 0
    zero: bool = True

    @classmethod
    def of_weights(cls, bits: int) -> Grid:
        """What weights of ``bits`` may be: one bit is a sign, two are a sign or 0."""
        if bits <= 2:
            return cls(-1, 1, zero=bits == 2)
        return cls(-(1 << bits - 1), (1 << bits - 1) - 1)

    def at(self, fraction: int, within: tuple[float, float] = UNBOUNDED) -> Grid:
        """The same integers worth ``2**-fraction``, as far as they are in the reals ``within``."""
        low, high = steps_within(within, fraction, self.low, self.high)
        return replace(self, low=low, high=high, fraction=fraction)

    def integers(self, values: Floats) -> Floats:
        """Those that stand for ``values``: the closest, halves up."""
        if not self.zero:
            return np.where(values >= 0, 1.0, -1.0)
        return rounded(values, self.fraction, self.low, self.high)

    def reals(self, values: Floats) -> Floats:
        """What the integers that stand for ``values`` are worth."""
        return self.integers(values) * 2.0 ** -self.fraction


@dataclass
class Grids:
    """Those of a quantized network: of weights and biases by layer, and of maps that are rounded.

    Layers and maps are called as in the float network. With these, another network of the same
    layers gets the same fraction lengths.
    """

    weights: dict[str, Grid] = field(default_factory=dict)
    biases: dict[str, Grid] = field(default_factory=dict)
    maps: dict[str, Grid] = field(default_factory=dict)


def pick(x: NDArray[Any], images: int = SEARCH_IMAGES) -> NDArray[Any]:
    """At most ``images`` of ``x``, evenly spaced."""
    picked: NDArray[Any] = x[np.unique(np.linspace(0, len(x) - 1, min(images, len(x))).astype(int))]
    return picked


def no_overflow(values: Floats, high: int, who: str) -> int:
    """The largest fraction length at which no value exceeds ``high``."""
    peak = float(np.abs(values).max())
    if peak == 0:
        return 0
    fraction = math.floor(math.log2(high) - math.log2(peak))
    if fraction < -FRACTION_LIMIT:
        raise PenjingError(f"layer {who}: values up to {peak:.3g} exceed what a fraction length of "
                           f"{-FRACTION_LIMIT} can hold; normalize the network or use more bits")
    return min(fraction, FRACTION_LIMIT)


def rounded(values: Floats, fraction: int, low: int, high: int) -> Floats:
    """``clamp(floor(values * 2**fraction + 1/2))``: the integers that stand for ``values``."""
    return np.clip(np.floor(values * 2.0 ** fraction + 0.5), low, high)


def absolute_error(wanted: Floats, given: Floats, grid: Grid,
                   within: tuple[float, float] = UNBOUNDED) -> Cost:
    """The sum of what ``given``, clamped to ``within`` and rounded to ``grid``, is from ``wanted``.
    """
    return lambda fraction: float(np.abs(wanted - grid.at(fraction, within).reals(given)).sum())


def best_fraction(start: int, limits: tuple[int, int], cost: Cost) -> int:
    """The fraction length of least ``cost`` about ``start``, at which nothing overflows."""
    return min(sorted({min(max(start + step, limits[0]), limits[1]) for step in _NEIGHBOURS}),
               key=cost)


def steps_within(bounds: tuple[float, float], fraction: int, low: int, high: int
                 ) -> tuple[int, int]:
    """The integers that stand for the real ``bounds``, each from ``low`` to ``high``."""
    first, last = rounded(np.array(bounds), fraction, low, high)
    return int(first), int(last)


def check_bits(what: str, bits: int, least: int) -> None:
    """Raise `PenjingError` unless ``bits`` is a width from ``least`` to 16."""
    if type(bits) is not int or not least <= bits <= 16:
        raise PenjingError(f"{what}: must be an integer from {least} to 16, not {bits!r}")
