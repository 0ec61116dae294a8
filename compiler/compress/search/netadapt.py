"""NetAdapt: each time the layer that can best bear it pays for the next piece (Yang 2018).

An iteration lowers what exceeds the limits by a step. For every knob alone, the highest level that
reaches the step is tried; the most accurate network stays. The steps shrink. It needs no learning.

A plan is as fast as its slowest layer, so some layers are narrower in the end than they need be:
they grow again, level by level, for as long as it costs nothing and is of use.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace

from .space import Choice, Space, Trial

__all__ = ["NetAdapt"]

FIRST_STEP, DECAY = 0.025, 0.96
"""Of what the network exceeded at first, and from one step to the next."""
FEWEST = 8
"""The steps from the start to the limits at least, so that none is too long."""
SHORTEST = 1e-3
"""A step, as a share of what there was to lower, that is worth a trial."""


class NetAdapt:
    """The agent; it is done when the limits are met and used, or nothing can pay any more.

    Where a cost is minimized, it goes on below the limits for as long as the accuracy may bear.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._now = Trial(space.highest, 0.0, space.cost(space.highest))
        self._set_out(space.highest)
        self._does: Callable[[Trial], None] = self._begun
        self.episodes = len(space.knobs) * (1 + 2 * FEWEST)

    def _set_out(self, whole: Choice) -> None:
        """Let steps be shares of what ``whole`` needs to lose."""
        self._whole = whole
        self._start = self._need(whole)
        goal = 0.0 if self._space.aim.minimize else 1.0
        self._step = min(FIRST_STEP * self._start, max(0.0, self._start - goal) / FEWEST)

    def _need(self, choice: Choice) -> float:
        """What is lowered: the excess, or the cost that is minimized as a share of the start.

        Within the limits that cost alone counts: a plan for a frame rate makes hardly more.
        """
        aim = self._space.aim
        if aim.minimize is None:
            return self._space.excess(choice)
        cost, whole = self._space.cost(choice), self._space.cost(self._whole)
        if cost is None or whole is None:
            return float("inf")
        share = float(getattr(cost, aim.minimize) / max(1, getattr(whole, aim.minimize)))
        return share if aim.fits(cost) else max(aim.excess(cost), share)

    def ask(self) -> Sequence[Choice]:
        """The network as it is, then for each knob the network where that one pays, at last those
        where one is a level higher and costs nothing.
        """
        if self._does == self._begun:
            return [self._space.highest]
        now = self._now.choice
        if self._does == self._lowered and (
                self._space.aim.minimize or self._need(now) > 1):
            return self._lower(now)
        if self._space.aim.minimize:
            return []
        self._does = self._grown
        higher = [(*now[:number], index + 1, *now[number + 1:]) for number, index in enumerate(now)
                  if index < self._space.highest[number]]
        return [choice for choice in higher if self._space.fits(choice)]

    def _lower(self, now: Choice) -> Sequence[Choice]:
        """What pays for the next step, or for a part of it."""
        if math.isinf(self._start):
            self._set_out(now)  # what was before, no board can hold
        goal = 1.0 if self._space.aim.minimize is None else 0.0
        step = self._step
        while step > SHORTEST * self._start:
            found = self._paying(now, max(goal, self._need(now) - step))
            if found:
                return found
            step /= 2
        # No knob alone is of use, since another layer is as slow: all go down by one.
        lower = tuple(max(0, index - 1) for index in now)
        return [lower] if lower != now else []

    def _paying(self, now: Choice, wanted: float) -> list[Choice]:
        """For each knob that can, the network where it is as high as the ``wanted`` need allows."""
        found = []
        for number, index in enumerate(now):
            below = [(*now[:number], lower, *now[number + 1:]) for lower in range(index)]
            place = bisect_right(below, wanted, key=self._need)
            if place:
                found.append(below[place - 1])
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """Go on with the most accurate."""
        self._does(max(trials, key=lambda trial: trial.accuracy))

    def _begun(self, whole: Trial) -> None:
        self._now, self._does = whole, self._lowered

    def _lowered(self, best: Trial) -> None:
        self._now = best
        self._step *= DECAY
        if self._space.aim.minimize and best.accuracy < self._space.aim.accuracy:
            self._now = replace(best, choice=self._space.lowest)  # nothing lower is of use

    def _grown(self, best: Trial) -> None:
        if best.accuracy > self._now.accuracy:
            self._now = best
        else:
            self._now = replace(best, choice=self._space.highest)  # nothing higher is of use
