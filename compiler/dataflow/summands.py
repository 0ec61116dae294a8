"""Values as sums of few numbers: what an engine multiplies by that adds first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from ...hdl.select_array import digits
from ...hdl.steady import signed_bits

FEW_VALUES = 16
"""The most values of which the fewest summands are looked for."""


@dataclass(frozen=True)
class Summands:
    """Each of some values is ``common`` and the sum of some of the ``addends``."""

    addends: tuple[int, ...]
    common: int = 0

    @property
    def digits(self) -> int:
        """Powers of two, negative ones too, that make all of them."""
        return sum(len(digits(summand)) for summand in (*self.addends, self.common))

    def choices(self, values: Sequence[int]) -> tuple[int, ...]:
        """Of each of the ``values``, a bit for each of the addends: whether it is one of them."""
        sums = {self.common: 0}
        for n, addend in enumerate(self.addends):
            # What fewer addends make stays as it is.
            sums = {sum_ + addend: choice | 1 << n for sum_, choice in sums.items()} | sums
        return tuple(sums[value] for value in values)


@lru_cache(maxsize=256)
def divided(values: tuple[int, ...]) -> tuple[Summands, ...]:
    """Ways to make the different ``values``: of few addends, and of those that have few digits.

    Few values have the fewest addends that are found, without a common summand, and with one where
    that spares some. The digits of values are powers of two.
    """
    found = [_binary(values)]
    if len(values) <= FEW_VALUES:
        for commons in ((0,), values):
            fewer = len(found[0].addends) - 1
            best = _best(values, commons, fewer) if fewer else None
            if best is not None:
                found.insert(0, best)
    return tuple(found)


def _best(values: Sequence[int], commons: Sequence[int], most: int) -> Summands | None:
    """The fewest addends that are found with one of ``commons``, at ``most`` so many; of equally
    few, the fewest digits."""
    best: Summands | None = None
    for common in commons:
        wanted = frozenset(value - common for value in values) - {0}
        for first in sorted(wanted) or (1,):  # one sum at least
            addends = _addends(wanted, first, most)
            if addends is None:
                continue
            found = Summands(addends, common)
            if best is None or (len(addends), found.digits) < (len(best.addends), best.digits):
                best, most = found, len(addends)
    return best


def _addends(wanted: frozenset[int], first: int, most: int) -> tuple[int, ...] | None:
    """Addends that begin with ``first`` and go on with what makes most of the values that are
    ``wanted``; None where they would be more than ``most``."""
    addends, sums = [first], {0, first}
    while missing := wanted - sums:
        if len(addends) == most:
            return None
        # A value is the sum of each candidate with one of the sums at most.
        makes = Counter(value - sum_ for value in missing for sum_ in sums)
        many = max(makes.values())
        among = missing if many == 1 else (one for one, count in makes.items() if count == many)
        best = min(among, key=lambda one: (len(digits(one)), abs(one), one))
        addends.append(best)
        sums |= {sum_ + best for sum_ in sums}
    return tuple(addends)


def _binary(values: Sequence[int]) -> Summands:
    """Powers of two, in two's complement, times what divides all values."""
    unit = gcd(*values) or 1
    smaller = [value // unit for value in values]
    bits = signed_bits(smaller)
    places = [place for place in range(bits) if any(value >> place & 1 for value in smaller)]
    return Summands(tuple((-1 if place == bits - 1 else 1) * unit << place
                          for place in places) or (unit,))
