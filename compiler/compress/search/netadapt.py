"""NetAdapt: each time the layer that can best bear it pays for the next piece (Yang 2018).

An iteration lowers what exceeds the limits by a step. For every knob alone, the highest level that
reaches the step is tried; the most accurate network stays. The steps shrink. It needs no learning.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from .space import Choice, Space, Trial

__all__ = ["NetAdapt"]

FIRST_STEP, DECAY = 0.025, 0.96
"""Of what the network exceeded at first, and from one step to the next."""
FEWEST = 8
"""The steps from the start to the limits at least, so that none is too long."""
SHORTEST = 1e-3
"""A step, as a share of what there was to lower, that is worth a trial."""


class NetAdapt:
    """The agent; it is done when the limits are met, or nothing can pay any more.

    Where a cost is minimized, it goes on below the limits for as long as the accuracy may bear.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._now = space.highest
        self._pressure = self._start = self._need(self._now)
        goal = 0.0 if space.aim.minimize else 1.0
        self._step = min(FIRST_STEP * self._start, max(0.0, self._start - goal) / FEWEST)
        self._is_first = True
        self.episodes = len(space.knobs) * (1 + 2 * FEWEST)

    def _need(self, choice: Choice) -> float:
        """What is lowered: the excess, or the cost that is minimized as a share of the start."""
        aim = self._space.aim
        if aim.minimize is None:
            return self._space.excess(choice)
        cost, whole = self._space.cost(choice), self._space.cost(self._space.highest)
        if cost is None or whole is None:
            return float("inf")
        return max(aim.excess(cost), float(
            getattr(cost, aim.minimize) / max(1, getattr(whole, aim.minimize))))

    def ask(self) -> Sequence[Choice]:
        """The network as it is, then for each knob the network where that one pays."""
        if self._is_first:
            return [self._now]
        if self._space.aim.minimize is None and self._pressure <= 1:
            return []
        goal = 1.0 if self._space.aim.minimize is None else 0.0
        step = self._step
        while step > SHORTEST * self._start:
            found = self._paying(max(goal, self._pressure - step))
            if found:
                return found
            step /= 2
        # No knob alone is of use, since another layer is as slow: all go down by one.
        lower = tuple(max(0, index - 1) for index in self._now)
        return [lower] if lower != self._now else []

    def _paying(self, wanted: float) -> list[Choice]:
        """For each knob that can, the network where it is as high as the ``wanted`` need allows."""
        found = []
        for number, index in enumerate(self._now):
            below = [(*self._now[:number], lower, *self._now[number + 1:])
                     for lower in range(index)]
            place = bisect_right(below, wanted, key=self._need)
            if place:
                found.append(below[place - 1])
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Go on with the most accurate."""
        if self._is_first:
            self._is_first = False
            return
        best = max(trials, key=lambda trial: trial.accuracy)
        self._now = best.choice
        self._pressure = self._need(self._now)
        self._step *= DECAY
        if self._space.aim.minimize and best.accuracy < self._space.aim.accuracy:
            self._now = self._space.lowest  # nothing lower is of use
