"""Fraction lengths: range analysis, rounding, and the search for the least error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir import PenjingError
from ..load.floats import Floats

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


def best_fraction(wanted: Floats, given: Floats, low: int, high: int, limits: tuple[int, int],
                  who: str, within: tuple[float, float] = UNBOUNDED,
                  error: Callable[[Floats], float] | None = None) -> int:
    """The fraction length that brings ``given``, rounded, closest to ``wanted`` (sum of errors).

    They are clamped to the reals ``within``. With ``error``, that of the rounded values counts
    instead.
    """
    start = no_overflow(wanted, high, who)
    candidates = sorted({min(max(start + step, limits[0]), limits[1]) for step in _NEIGHBOURS})

    def cost(fraction: int) -> float:
        bounds = steps_within(within, fraction, low, high)
        fixed = rounded(given, fraction, *bounds) * 2.0 ** -fraction
        return error(fixed) if error else float(np.abs(wanted - fixed).sum())

    return min(candidates, key=cost)


def steps_within(bounds: tuple[float, float], fraction: int, low: int, high: int
                 ) -> tuple[int, int]:
    """The integers that stand for the real ``bounds``, each from ``low`` to ``high``."""
    first, last = rounded(np.array(bounds), fraction, low, high)
    return int(first), int(last)


def check_bits(what: str, bits: int, least: int) -> None:
    """Raise `PenjingError` unless ``bits`` is a width from ``least`` to 16."""
    if type(bits) is not int or not least <= bits <= 16:
        raise PenjingError(f"{what}: must be an integer from {least} to 16, not {bits!r}")
