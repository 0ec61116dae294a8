"""A monotone function of integers as a `Threshold` layer, exact at ties.

Each threshold is found by evaluating the function itself at the integers where it may switch: no
algebra on what it is made of, so no rounding of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import ir
from ..ir import Integers


@dataclass(frozen=True, eq=False)
class Stairs:
    """A monotone function whose values are ``high`` and, by ``step``, what is below.

    ``values`` gives them as floats for integers (rows, n), or (1, n) for all rows alike; the
    integers lie within ``limits``. There is one row, or one a channel; those that ``falls`` (rows,)
    names have lesser values for greater integers.
    """

    values: Callable[[Integers], NDArray[np.floating]]
    limits: tuple[int, int]
    falls: NDArray[np.bool_]
    high: int
    step: int = 1

    def reach(self) -> tuple[int, int] | None:
        """The least value that occurs, and how many steps there are above it, at least one.

        None if the function is no number at the ends of its range.
        """
        # A monotone function is within its values at the ends: other levels need no thresholds.
        ends = self.values(np.array([self.limits]))
        if not np.isfinite(ends).all():
            return None
        base = min(int(ends.min()), self.high - self.step)
        return base, max(1, (int(ends.max()) - base) // self.step)

    def layer(self, name: str, source: str, base: int, count: int, *, zero: int = 0,
              fraction: int = 0, scale: float | None = None) -> ir.Threshold:
        """The layer with what `reach` gives; of one row if all are alike.

        ``zero``, ``fraction`` and ``scale`` are the meaning of its output, whose type holds
        ``zero`` as well.
        """
        found = self._search(base + self.step * (np.arange(count) + 1))
        found = np.where(self.falls[:, None], found[:, ::-1], found)
        falling = self.falls.astype(np.int64)
        if (found == found[0]).all() and (falling == falling[0]).all():
            found, falling = found[:1], falling[:1]
        top = base + self.step * count
        low, high = min(base, zero), max(top, zero)
        signed = low < 0
        return ir.Threshold(
            name, source, found, falling,
            ir.signed_bits(low, high) if signed else ir.unsigned_bits(high), signed, base,
            self.step, fraction, zero, scale)

    def _search(self, levels: Integers) -> Integers:
        """(rows, levels) where each of ``levels`` begins: or ends, if the function falls.

        That is the least integer whose level is that high, or no longer that high; one more than
        the greatest integer where there is none.
        """
        low = np.full((len(self.falls), len(levels)), self.limits[0], np.int64)
        high = np.full_like(low, self.limits[1] + 1)
        while (low < high).any():
            middle = (low + high) // 2
            values = self.values(np.minimum(middle, self.limits[1]))
            there = (values >= levels) != self.falls[:, None]
            high = np.where(there & (low < high), middle, high)
            low = np.where(there | (low >= high), low, middle + 1)
        return high
