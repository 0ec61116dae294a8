"""A function of few integers as a `SlopeRequantize` layer, equal at every one of them.

A line in fixed point is sought that passes all levels, channel by channel and on each side of a
breakpoint: how far its offset may move is a concave function of its slope, so that one search finds
the best slope, and the fewest bits behind the point follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers

__all__ = ["MOST_POINTS", "Levels"]

MOST_POINTS = 1 << 13
"""The most integers of a function: lines through more would want wider multipliers."""
_FINE = 24
"""Bits behind the point of the slope that is sought first, and the most of any."""
_FAR = 1 << 35
"""Stands for no bound; beside it, all else stays within 64 bits."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A function of the ascending integers ``x`` (n,), clamped to ``low`` and ``high``.

    ``values`` are (rows, n), a row for each channel or one for all; ``upper`` (rows, n) tells which
    integers belong to the second of two lines.
    """

    x: Integers
    values: Integers
    upper: NDArray[np.bool_]
    low: int
    high: int

    def layer(self, name: str, source: str, kind: ir.TensorType) -> ir.Layer | None:
        """The layer of the type ``kind``, or None where no constants reproduce every value.

        It is a `ShiftRequantize` where a shift is all that is needed.
        """
        starts = self._breakpoints()
        upper = self.x >= starts[:, None]
        sides = [_Side.of(self, ~upper), _Side.of(self, upper)]
        for shift in range(_FINE + 1):
            found = [side.constants(shift) for side in sides]
            multipliers = np.stack([side[0] for side in found], 1)
            if np.abs(multipliers).max() >= 1 << ir.SLOPE_BITS - 1:
                return None
            if all(side[2].all() for side in found):
                break
        else:
            return None
        offsets = np.stack([side[1] for side in found], 1) - (1 << shift >> 1)
        single = starts == self.x[0]
        multipliers[single, 0], offsets[single, 0] = multipliers[single, 1], offsets[single, 1]
        if (multipliers == 1).all() and not offsets.any():
            return ir.ShiftRequantize(name, source, shift, kind.bits, kind.signed, self.low,
                                      self.high)
        layer = ir.SlopeRequantize(name, source, multipliers, offsets, starts, shift, kind.bits,
                                   kind.signed, self.low, self.high, kind.fraction)
        if not layer.is_bent:
            layer = replace(layer, breakpoints=np.zeros_like(starts))
        rows = zip(layer.multipliers, layer.offsets, layer.breakpoints, strict=True)
        if len({(*m, *c, t) for m, c, t in rows}) == 1:
            layer = replace(layer, multipliers=layer.multipliers[:1], offsets=layer.offsets[:1],
                            breakpoints=layer.breakpoints[:1])
        return layer

    def _breakpoints(self) -> Integers:
        """(rows,) the first integer of the other line; the least one where there is one line."""
        changed = self.upper != self.upper[:, :1]
        return self.x[changed.argmax(1)]


@dataclass(frozen=True, eq=False)
class _Side:
    """The values that one line must pass: ``at_least`` and ``below``, (rows, n), in whole steps.

    ``best`` (rows,) is the slope that leaves its offset the most room, in ``2**-_FINE``.
    """

    x: Integers
    at_least: Integers
    below: Integers
    best: Integers

    @classmethod
    def of(cls, levels: Levels, members: NDArray[np.bool_]) -> _Side:
        """The ``members`` (rows, n) of ``levels``; what is clamped is bounded on one side only."""
        at_least = np.where(members & (levels.values > levels.low), levels.values, -_FAR)
        below = np.where(members & (levels.values < levels.high), levels.values + 1, _FAR)
        side = cls(levels.x, at_least, below, np.zeros(len(members), np.int64))
        low = np.full(len(members), -(1 << ir.SLOPE_BITS - 1 + _FINE - 1))
        high = -low
        while (low < high).any():
            middle = (low + high) >> 1
            rises = side._room(middle + 1, _FINE) > side._room(middle, _FINE)
            low, high = np.where(rises, middle + 1, low), np.where(rises, high, middle)
        return replace(side, best=low)

    def _bounds(self, slope: Integers, shift: int) -> tuple[Integers, Integers]:
        """(rows,) the least and the greatest offset of lines with ``slope`` (rows,)."""
        line = slope[:, None] * self.x
        return (((self.at_least << shift) - line).max(1), ((self.below << shift) - 1 - line).min(1))

    def _room(self, slope: Integers, shift: int) -> Integers:
        least, most = self._bounds(slope, shift)
        return most - least

    def constants(self, shift: int) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """(rows,) slopes and offsets with ``shift`` bits behind the point, and if there are any.

        The half that rounds is within the offsets, which are as near to it as may be.
        """
        # Of a concave function, the best whole number is next to the best of all.
        near = self.best >> _FINE - shift
        candidates = [np.zeros_like(near), *(near + step for step in (0, 1, -1, 2))]
        slopes, fits = near, np.zeros(len(near), np.bool_)
        for candidate in candidates:
            better = (self._room(candidate, shift) >= 0) & ~fits
            slopes, fits = np.where(better, candidate, slopes), fits | better
        offsets = np.clip(1 << shift >> 1, *self._bounds(slopes, shift))
        return slopes, offsets, fits
