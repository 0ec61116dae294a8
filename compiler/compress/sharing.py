"""Weight sharing (Deep Compression, Han 2016): a layer's weights take few different values.

They are found by one-dimensional k-means on the weights that are not 0, at its optimum, among the
integers that a multiplier takes: so rounding a centroid costs nothing afterwards. Zero stays zero,
and no other weight becomes it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import PenjingError
from ..load import floats as fl
from ..load.floats import FloatNetwork, Floats
from .fractions import no_overflow

__all__ = ["grid_centroids", "share", "shared"]

MAX_CODES = 256
MAX_BITS = 8
_FINER = range(3)
"""By how many bits a step may be shorter than where the largest weight just fits."""


def share(network: FloatNetwork, codes: int, bits: int = MAX_BITS) -> FloatNetwork:
    """``network`` with at most ``codes`` different weights in each layer, 0 among them.

    They are integers of ``bits`` (2 to 8) times a power of two, so fixed point of that width holds
    them exactly. Layers with as few values already are left as they are.
    """
    return replace(network, layers=tuple(
        replace(layer, weights=shared(layer.weights, codes, bits))
        if isinstance(layer, fl.FloatMultiply) else layer for layer in network.layers))


def shared(weights: Floats, codes: int, bits: int = MAX_BITS) -> Floats:
    """``weights``, of any shape, with the ``codes`` values that leave the least squared error.

    0 is one of them where a weight is 0. `PenjingError` for codes beyond 2 to 256, bits beyond 2
    to 8.
    """
    if type(codes) is not int or not 2 <= codes <= MAX_CODES:
        raise PenjingError(f"weight sharing: codes must be an integer from 2 to {MAX_CODES}, not "
                           f"{codes!r}")
    if type(bits) is not int or not 2 <= bits <= MAX_BITS:
        raise PenjingError(f"weight sharing: bits must be an integer from 2 to {MAX_BITS}, not "
                           f"{bits!r}")
    if len(np.unique(weights)) <= codes:
        return weights
    used = weights != 0
    values = np.sort(weights[used])
    high = (1 << bits - 1) - 1
    first = no_overflow(values, high, "weight sharing")
    best = np.inf
    for fraction in (first + finer for finer in _FINER):
        found, error = grid_centroids(values * 2.0 ** fraction, codes - (not used.all()), high)
        if error * 4.0 ** -fraction < best:
            best, centroids, unit = error * 4.0 ** -fraction, found, 2.0 ** -fraction
    borders = (centroids[1:] + centroids[:-1]) / 2
    result = np.zeros_like(weights)
    result[used] = centroids[np.searchsorted(borders, weights[used] / unit)] * unit
    return result


def grid_centroids(values: Floats, count: int, high: int) -> tuple[Floats, float]:
    """``count`` integers within ±``high`` but 0, and the squared error of ``values`` to them.

    ``values`` are sorted. The best chain of integers is found by dynamic programming: what lies
    between two neighbours belongs to the nearer one, so an error depends on neighbours alone.
    """
    grid = np.concatenate([np.arange(-high, 0.0), np.arange(1.0, high + 1)])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values * values)])

    def error(start: np.ndarray, stop: np.ndarray, centre: Floats) -> Floats:
        """Of the values from ``start`` to ``stop`` to one centroid."""
        return (squares[stop] - squares[start] - 2 * centre * (sums[stop] - sums[start])
                + centre * centre * (stop - start))

    places = np.searchsorted(values, grid)
    halves = np.searchsorted(values, (grid[:, None] + grid) / 2)
    between = (error(places[:, None], halves, grid[:, None]) + error(halves, places, grid))
    between[np.tril_indices(len(grid))] = np.inf  # neighbours ascend
    ends = np.full(len(grid), len(values))
    total, before = error(np.zeros_like(places), places, grid), []
    count = min(count, len(grid))
    for _ in range(count - 1):
        longer = total[:, None] + between
        before.append(longer.argmin(0))
        total = longer.min(0)
    total = total + error(places, ends, grid)
    last = int(total.argmin())
    chain = [last]
    for choice in reversed(before):
        chain.append(int(choice[chain[-1]]))
    return grid[chain[::-1]], float(total[last])
