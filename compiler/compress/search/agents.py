"""What proposes choices: one interface for all that searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .space import Choice, Trial

__all__ = ["TOGETHER", "Agent"]

TOGETHER = 4
"""Choices that are asked for at once, before any of their trials is learned from."""


class Agent(Protocol):
    """Proposes choices, and learns from their trials.

    All that it does follows from its seed and from what it is told, so that a search that was
    interrupted comes to the same end by telling it again what was tried.
    """

    @property
    def episodes(self) -> int:
        """How many choices it will propose, about."""

    def ask(self) -> Sequence[Choice]:
        """Choices to try next, which do not depend on each other; none when it is done."""

    def tell(self, trials: Sequence[Trial]) -> None:
        """What became of the choices that it asked for, in their order."""
