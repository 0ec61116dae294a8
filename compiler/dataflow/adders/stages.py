"""When each addition of a graph is worked out: as few registers as hold what waits."""

from __future__ import annotations

from collections.abc import Sequence

from ....hdl.adder_graph import Term

SWEEPS = 4
"""How often every addition is moved to where it is best."""


class Schedule:
    """Levels of additions, of which ``chained`` in a row share a stage."""

    def __init__(self, terms: Sequence[tuple[Term, Term]], first: int, waiting: Sequence[bool],
                 widths: Sequence[int], outputs: Sequence[int], chained: int) -> None:
        self._terms = terms
        self._first = first
        self._waiting = waiting
        self._widths = widths
        self._chained = chained
        self.levels = [0] * (first + len(terms))
        for node, (low, high) in enumerate(terms, first):
            self.levels[node] = 1 + max(self.levels[low.node], self.levels[high.node])
        self.depth = max(1, -(-max(self.levels[node] for node in outputs) // chained)
                         ) if outputs else 1
        self._readers: list[list[int]] = [[] for _ in self.levels]
        for node, pair in enumerate(terms, first):
            for term in pair:
                self._readers[term.node].append(node)
        self._is_output = [False] * len(self.levels)
        for node in outputs:
            self._is_output[node] = True

    def stage(self, level: int) -> int:
        """The stage of a ``level``; inputs are there in the first."""
        return max(1, -(-level // self._chained))

    def balance(self) -> None:
        """Move additions, the last first, to where they and their terms wait the least."""
        for _ in range(SWEEPS):
            for node in reversed(range(self._first, len(self.levels))):
                self._move(node)

    def _move(self, node: int) -> None:
        terms = {term.node for term in self._terms[node - self._first]}
        least = 1 + max(self.levels[term] for term in terms)
        most = min([self.levels[reader] - 1 for reader in self._readers[node]]
                   + [self.depth * self._chained] * self._is_output[node])
        best = None
        for level in range(least, most + 1):
            self.levels[node] = level
            cost = self._waits(node) + sum(map(self._waits, terms))
            if best is None or cost < best[0]:
                best = cost, level
        assert best is not None
        self.levels[node] = best[1]

    def _waits(self, node: int) -> int:
        """Bits of the registers behind a ``node``."""
        if not self._waiting[node]:
            return 0
        last = max([self.stage(self.levels[reader]) for reader in self._readers[node]]
                   + [self.depth] * self._is_output[node], default=self.stage(self.levels[node]))
        return self._widths[node] * (last - self.stage(self.levels[node]))
