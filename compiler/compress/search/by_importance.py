"""Widths by importance, as one choice: what needs no search is the first to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..fixed_point import Precision
from ..importance import by_importance, importance
from .space import Choice, Space, Trial
from .widths import Widths

__all__ = ["ByImportance"]


class ByImportance:
    """The agent for ``environment``, which that of ``space`` is."""

    def __init__(self, space: Space, environment: Widths) -> None:
        self.episodes = 1
        self._space, self._environment = space, environment
        self._is_done = False

    def ask(self) -> Sequence[Choice]:
        """The widths whose steps down cost least for what they save, until the limits hold."""
        if self._is_done:
            return []
        environment = self._environment

        def excess(bits: Mapping[str, Precision]) -> float:
            return self._space.excess(environment.choice(bits))

        found = by_importance(importance(environment.able, environment.fitted), 1.0, excess)
        return [environment.choice(found)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is left to do."""
        self._is_done = True
