"""Clipping by divergence: the range that changes a distribution least, as TensorRT chooses it.

A range that is too wide leaves few levels to what is frequent; one that is too narrow piles up what
is beyond. The Kullback-Leibler divergence weighs both (HAQ, Wang 2019). Steps are powers of two
here, so what is chosen is the fraction length.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..ir import Integers
from ..load.floats import Floats
from .fractions import Cost, Grid

__all__ = ["by_divergence", "divergence"]

BINS = 2048


def by_divergence(values: Floats, grid: Grid) -> Cost:
    """`divergence` of the magnitudes of ``values`` when they are rounded to ``grid``.

    Zeros have no part in it, since they are exact at any fraction length.
    """
    magnitudes = np.abs(values[values != 0])
    peak = float(magnitudes.max(initial=0.0))
    counts, edges = np.histogram(magnitudes, BINS, (0.0, peak or 1.0))
    centres = (edges[1:] + edges[:-1]) / 2

    def cost(fraction: int) -> float:
        levels = np.floor(centres * 2.0 ** fraction + 0.5).astype(np.int64)
        return divergence(counts, levels if grid.zero else np.maximum(levels, 1),
                          grid.high)

    return cost


def divergence(counts: NDArray[np.integer], levels: Integers, high: int) -> float:
    """``sum(P * log(P / Q))`` of a histogram P and its quantized form Q.

    The first bins become the integers ``levels``, which ascend; of those beyond ``high``, P has the
    counts in the last bin that is not, and Q does not have them. Q spreads what a level has evenly
    over its bins, but for those that are empty in P. It is infinite where Q has nothing left.
    """
    if not counts.any():
        return 0.0
    inside = levels <= high
    kept = counts[inside].astype(np.float64)
    if not kept.any():
        return math.inf
    clipped = kept.copy()
    clipped[-1] += counts[~inside].sum()
    used = clipped > 0
    _, level = np.unique(levels[inside][used], return_inverse=True)
    spread = np.bincount(level, kept[used]) / np.bincount(level)
    p, q = clipped[used] / clipped.sum(), spread[level] / kept.sum()
    return float((p * np.log(p / q)).sum()) if q.all() else math.inf
