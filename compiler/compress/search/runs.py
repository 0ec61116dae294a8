"""A search from its first trial to its last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from .agents import Agent
from .space import Choice, Space, Trial

__all__ = ["Judge", "run"]

Judge: TypeAlias = Callable[[Sequence[Choice]], Sequence[float]]
"""The accuracies of choices, which are different; `Environment.accuracy` of each."""


def run(agent: Agent, space: Space, judge: Judge, known: Mapping[Choice, float] | None = None
        ) -> list[Trial]:
    """All trials of ``agent``, in their order.

    Accuracies that are ``known`` are not judged again: so a search that was interrupted goes on
    where it was.
    """
    seen = dict(known or {})
    trials: list[Trial] = []
    while choices := agent.ask():
        # What no board can hold need not be judged.
        anew = [choice for choice in dict.fromkeys(choices)
                if choice not in seen and space.cost(choice) is not None]
        for choice, accuracy in zip(anew, judge(anew) if anew else (), strict=True):
            seen[choice] = accuracy
        some = [Trial(choice, seen.get(choice, 0.0), space.cost(choice)) for choice in choices]
        trials += some
        agent.tell(some)
    return trials
