"""Optimal Brain Surgeon, layer by layer (Hassibi 1993; Frantar 2022): what is left makes up for it.

A layer's outputs are linear in its weights, so the squared error that they leave is known from two
sums over some inputs: the ``gram`` matrix of the inputs with themselves, and their ``products``
with the outputs that are wanted. Weights are taken out one by one, each the one whose loss costs
the least once all others have moved; then they are rounded to shared values one by one, and again
the others, those that are not rounded yet, make up for the error. Nothing is trained by gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir import Integers
from ..load.floats import Floats

__all__ = ["Normal", "Removal", "rounded"]


@dataclass(frozen=True, eq=False)
class Normal:
    """The normal equations of a layer: ``gram`` (groups, inputs, inputs), ``products`` (outputs,
    inputs).

    Each group of as many outputs, one behind the other, has inputs of its own. ``free`` inputs, the
    last ones, are neither taken out nor rounded: that of the bias. ``damping`` is the worth of
    staying at the weights that were, a share of the mean square of an input.
    """

    gram: Floats
    products: Floats
    free: int = 1
    damping: float = 1e-3

    def of(self, output: int, weights: Floats, support: Integers) -> tuple[Floats, Floats]:
        """The matrix, and the right side, of the ``support`` of an output, which had ``weights``.
        """
        gram = self.gram[output * len(self.gram) // len(self.products)]
        square = gram[np.ix_(support, support)].astype(np.float64)
        there = square.diagonal()[:len(support) - self.free]
        # Of inputs that are always 0 all weights are as good.
        ridge = self.damping * (float(there.mean()) or 1.0) if len(there) else 0.0
        square[np.diag_indices(len(support))] += ridge
        return square, self.products[output, support] + ridge * weights[support]


@dataclass(frozen=True, eq=False)
class _Trace:
    """In which ``order`` the weights of an output go, and what each loss adds to the error."""

    order: Integers
    costs: Floats


def _support(weights: Floats, free: int) -> Integers:
    """Inputs that an output reads, those that are ``free`` last."""
    used = np.flatnonzero(weights[:len(weights) - free])
    return np.append(used, np.arange(len(weights) - free, len(weights)))


def _take_out(inverse: Floats, at: int) -> None:
    """Make ``inverse`` that of the matrix without the row and column ``at``, which become 0."""
    column = inverse[:, at].copy()
    inverse -= np.outer(column, column / column[at])
    inverse[at] = inverse[:, at] = 0


def _trace(normal: Normal, output: int, weights: Floats) -> _Trace:
    support = _support(weights, normal.free)
    square, right = normal.of(output, weights, support)
    inverse = np.linalg.inv(square).astype(np.float64)
    now = inverse @ right
    count = len(support) - normal.free
    alive = np.ones(count, bool)
    order, costs = np.empty(count, np.int64), np.empty(count)
    for step in range(count):
        places = np.flatnonzero(alive)
        if 2 * len(places) < len(alive):  # rows and columns of zeros go
            rest = np.append(places, np.arange(len(alive), len(support)))
            inverse, now, support = inverse[np.ix_(rest, rest)], now[rest], support[rest]
            alive, places = alive[places], np.arange(len(places))
        diagonal = inverse.diagonal()[places]
        harm = now[places] ** 2 / diagonal
        at = int(places[harm.argmin()])
        order[step], costs[step] = support[at], harm.min()
        now = now - inverse[:, at] * (now[at] / inverse[at, at])
        _take_out(inverse, at)
        alive[at] = False
    return _Trace(order, costs)


class Removal:
    """In which order the ``weights`` (outputs, inputs) of a layer go, which are not 0.

    Outputs have an order each; of the next of all outputs the one goes that costs least, where a
    squared error of an output counts what it is ``worth``, 1 by default. At ``least`` so many of
    each output stay, the ``fewest`` of all.
    """

    def __init__(self, normal: Normal, weights: Floats, worth: Floats | None = None,
                 least: int = 1) -> None:
        self._normal, self._weights = normal, weights
        self._traces = [_trace(normal, output, row) for output, row in enumerate(weights)]
        # None goes before those that it costs less to take out, nor one that stays.
        worths = np.ones(len(weights)) if worth is None else worth
        costs = [np.maximum.accumulate(trace.costs) * one
                 for trace, one in zip(self._traces, worths, strict=True)]
        stay = [np.arange(len(one)) >= len(one) - least for one in costs]
        order = np.lexsort([np.concatenate(costs), np.concatenate(stay)])
        self._output = np.repeat(np.arange(len(costs)), [len(one) for one in costs])[order]
        self.fewest = int(np.concatenate(stay).sum())

    @property
    def count(self) -> int:
        """Weights that there are."""
        return len(self._output)

    def keep(self, count: int) -> Floats:
        """The weights with ``count`` of them left, refitted; no more than there are, no fewer than
        the `fewest`.
        """
        gone = np.bincount(self._output[:max(0, self.count - max(count, self.fewest))],
                           minlength=len(self._traces))
        result = np.zeros_like(self._weights)
        for output, trace in enumerate(self._traces):
            row = self._weights[output].copy()
            row[trace.order[:gone[output]]] = 0
            support = _support(row, self._normal.free)
            square, right = self._normal.of(output, self._weights[output], support)
            result[output, support] = np.linalg.solve(square, right)
        return result


def rounded(normal: Normal, weights: Floats, values: Floats) -> Floats:
    """``weights`` with each that is not 0 one of ``values``, which ascend; first the one that costs
    the least, and those that are left make up for it."""
    result = np.zeros_like(weights)
    borders = (values[1:] + values[:-1]) / 2
    for output, row in enumerate(weights):
        support = _support(row, normal.free)
        square, right = normal.of(output, row, support)
        inverse = np.linalg.inv(square).astype(np.float64)
        now = inverse @ right
        alive = np.ones(len(support) - normal.free, bool)
        for _ in range(len(alive)):
            places = np.flatnonzero(alive)
            wanted = values[np.searchsorted(borders, now[places])]
            harm = (now[places] - wanted) ** 2 / inverse.diagonal()[places]
            best = int(harm.argmin())
            at = int(places[best])
            now = now - inverse[:, at] * ((now[at] - wanted[best]) / inverse[at, at])
            _take_out(inverse, at)
            alive[at] = False
            result[output, support[at]] = wanted[best]
        result[output, support[len(alive):]] = now[len(alive):]
    return result
