"""What several sums have in common, found greedily: the dearest pair of terms first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from ....hdl.adder_graph import Term
from .forms import Forms

Terms = dict[tuple[int, int], int]
"""A sum: by node and shift, whether the term is added (1) or subtracted (-1)."""
Pair = tuple[int, int, int, int]
"""(low node, high node, shift between them, sign between them), the same wherever it stands."""


class Sharing:
    """Sums of terms, in which pairs that occur again become one node.

    Hartley, "Subexpression sharing in filters using canonic signed digit multipliers" (1996); pairs
    of a whole matrix, priced by the bits of their adder and by those that overlap, as in Sun et
    al., arXiv 2507.04535. Of no sum do terms get so deep that Kraft's sum of their levels exceeds
    its ``room``.
    """

    def __init__(self, forms: Forms, sums: list[Terms], rooms: list[int]) -> None:
        self._forms = forms
        self._sums = sums
        self._rooms = rooms
        self._weights = [sum(1 << forms.levels[node] for node, _ in terms) for terms in sums]
        self._counts: defaultdict[Pair, int] = defaultdict(int)
        self._prices: dict[Pair, int] = {}
        for terms in sums:
            listed = [(*place, sign) for place, sign in terms.items()]
            for n, one in enumerate(listed):
                for other in listed[:n]:
                    self._counts[pair_of(*one, *other)] += 1
        self._queue = [self._offer(pair, count) for pair, count in self._counts.items()
                       if count > 1]
        heapify(self._queue)

    def run(self) -> None:
        """Share until no pair is left that occurs twice."""
        while self._queue:
            gain, _, pair = heappop(self._queue)
            count = self._counts[pair]
            if count < 2:
                continue
            offer = self._offer(pair, count)
            if offer[0] > gain:
                heappush(self._queue, offer)
                continue
            found = list(self._occurrences(pair))
            if len(found) > 1:
                self._replace(pair, found)
            else:
                self._counts[pair] = 0

    def _offer(self, pair: Pair, count: int) -> tuple[int, int, Pair]:
        """What sharing a ``pair`` gains, less than nothing, for the queue; then the shallow first.
        """
        price = self._prices.get(pair)
        if price is None:
            # Where the two overlap little, the sum is wide, and costs more in others later.
            price = self._prices[pair] = (self._forms.price(*pair[:3])
                                          + self._forms.overlap(*pair[:3]))
        levels = self._forms.levels
        return -(count - 1) * price, max(levels[pair[0]], levels[pair[1]]), pair

    def _occurrences(self, pair: Pair) -> Iterator[tuple[int, int, int]]:
        """(sum, shift, sign) of each of the places of ``pair`` that share no term."""
        low, high, shift, sign = pair
        levels = self._forms.levels
        grows = ((2 << max(levels[low], levels[high])) - (1 << levels[low]) - (1 << levels[high]))
        for n, terms in enumerate(self._sums):
            used: set[tuple[int, int]] = set()
            room = self._rooms[n] - self._weights[n]
            for (node, place), own in terms.items():
                far = high, place + shift
                if (node == low and terms.get(far) == own * sign and grows <= room
                        and not used & {(node, place), far}):
                    used |= {(node, place), far}
                    room -= grows
                    yield n, place, own

    def _replace(self, pair: Pair, found: list[tuple[int, int, int]]) -> None:
        low, high, shift, sign = pair
        node = self._forms.add(Term(low), Term(high, shift, sign < 0))
        levels = self._forms.levels
        for n, place, own in found:
            self._remove(n, (low, place))
            self._remove(n, (high, place + shift))
            self._insert(n, (node, place), own)
            self._weights[n] = sum(1 << levels[node] for node, _ in self._sums[n])
        self._counts.pop(pair, None)

    def _remove(self, n: int, place: tuple[int, int]) -> None:
        terms, counts = self._sums[n], self._counts
        sign = terms.pop(place)
        for other, own in terms.items():
            counts[pair_of(*place, sign, *other, own)] -= 1

    def _insert(self, n: int, place: tuple[int, int], sign: int) -> None:
        """Add a term; where it is there already, both become one of the next place, or none."""
        terms, counts = self._sums[n], self._counts
        node, shift = place
        if place in terms:
            before = terms[place]
            self._remove(n, place)
            if before == sign:
                self._insert(n, (node, shift + 1), sign)
            return
        for other, own in terms.items():
            pair = pair_of(*place, sign, *other, own)
            counts[pair] += 1
            if counts[pair] > 1:
                heappush(self._queue, self._offer(pair, counts[pair]))
        terms[place] = sign


def pair_of(a: int, a_shift: int, a_sign: int, b: int, b_shift: int, b_sign: int) -> Pair:
    """What two terms are, wherever they stand."""
    if (a_shift, a) <= (b_shift, b):
        return a, b, b_shift - a_shift, a_sign * b_sign
    return b, a, a_shift - b_shift, a_sign * b_sign
