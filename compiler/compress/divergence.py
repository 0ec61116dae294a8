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
"""The most bins of a histogram."""
_PER_BIN = 8
"""Values to a bin, or the histogram would tell single values from each other."""


def by_divergence(values: Floats, grid: Grid) -> Cost:
    """`divergence` of the magnitudes of ``values`` when they are rounded to ``grid``.

    Zeros have no part in it, since they are exact at any fraction length. Ranges that are twice as
    wide as any value needs cost without end.
    """
    magnitudes = np.abs(values[values != 0])
    peak = float(magnitudes.max(initial=0.0))
    bins = min(BINS, len(magnitudes) // _PER_BIN + 1)
    counts, edges = np.histogram(magnitudes, bins, (0.0, peak or 1.0))
    centres = (edges[1:] + edges[:-1]) / 2

    def cost(fraction: int) -> float:
        if peak == 0:
            return 0.0
        if peak * 2.0 ** (fraction + 1) <= grid.high:
            return math.inf
        levels = np.floor(centres * 2.0 ** fraction + 0.5).astype(np.int64)
        return divergence(counts, levels if grid.zero else np.maximum(levels, 1),
                          grid.high)

    return cost


def divergence(counts: NDArray[np.integer], levels: Integers, high: int) -> float:
    """``sum(P * log(P / Q))`` of a histogram P and its quantized form Q.

    The first bins become the integers ``levels``, which ascend. What is in bins beyond ``high``, P
    has in the last bin that is not, and Q has one of it there unless that bin has others. Q spreads
    what a level has evenly over its bins, but for those that are empty in P. Infinite where all is
    beyond.
    """
    inside = levels <= high
    kept = counts[inside].astype(np.float64)
    if not kept.any():
        return math.inf
    clipped, beyond = kept.copy(), counts[~inside].sum()
    if beyond:
        clipped[-1] += beyond
        kept[-1] = max(kept[-1], 1)
    used = clipped > 0
    _, level = np.unique(levels[inside][used], return_inverse=True)
    spread = np.bincount(level, kept[used]) / np.bincount(level)
    p, q = clipped[used] / clipped.sum(), spread[level] / kept.sum()
    return float((p * np.log(p / q)).sum())
