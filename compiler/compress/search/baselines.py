"""What searches must be better than: the same share for all, chance, TPE and CMA-ES."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import optuna

from .agents import TOGETHER
from .space import Choice, Space, Trial

__all__ = ["Optuna", "RandomSearch", "Uniform", "projected"]


def projected(space: Space, choice: Choice) -> Choice:
    """``choice``, or what is within the limits if each knob goes down by the same share."""
    if space.fits(choice):
        return choice
    low, high = 0, 256
    while high - low > 1:
        middle = (low + high) // 2
        if space.fits(_scaled(choice, middle / 256)):
            low = middle
        else:
            high = middle
    return _scaled(choice, low / 256)


def _scaled(choice: Choice, share: float) -> Choice:
    return tuple(round(index * share) for index in choice)


class Uniform:
    """One choice: the largest network within the limits in which all knobs have equal shares.

    Where a cost is minimized, all such networks within the limits.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._is_done = False
        self.episodes = 1

    def ask(self) -> Sequence[Choice]:
        """That one, or those."""
        if self._is_done:
            return []
        equal = dict.fromkeys(tuple(knob.at_least(percent / 100) for knob in self._space.knobs)
                              for percent in range(100, 0, -1))
        fitting = filter(self._space.fits, equal)
        if self._space.aim.minimize is not None:
            return list(fitting) or [self._space.lowest]
        return [next(fitting, self._space.lowest)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is left to do."""
        self._is_done = True


class RandomSearch:
    """So many ``episodes`` of levels by chance, brought within the limits."""

    def __init__(self, space: Space, episodes: int, seed: int) -> None:
        self.episodes = episodes
        self._space, self._random = space, random.Random(seed)
        self._asked = 0

    def ask(self) -> Sequence[Choice]:
        """Some more."""
        count = min(TOGETHER, self.episodes - self._asked)
        self._asked += count
        return [projected(self._space, tuple(
            self._random.randrange(len(knob.levels)) for knob in self._space.knobs))
            for _ in range(count)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Chance learns nothing."""


class Optuna:
    """A sampler of Optuna for so many ``episodes``: the tree-structured Parzen estimator (Bergstra
    2011), or covariance matrix adaptation (Hansen 2001) if ``adapts``.
    """

    def __init__(self, space: Space, episodes: int, seed: int, *, adapts: bool = False) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.episodes = episodes
        self._space, self._asked = space, 0
        samplers = optuna.samplers
        self._study = optuna.create_study(direction="maximize", sampler=(
            samplers.CmaEsSampler(seed=seed) if adapts else samplers.TPESampler(seed=seed)))
        self._open: list[Any] = []

    def ask(self) -> Sequence[Choice]:
        """Some more, brought within the limits."""
        count = min(TOGETHER, self.episodes - self._asked)
        self._asked += count
        self._open = [self._study.ask() for _ in range(count)]
        return [projected(self._space, tuple(
            trial.suggest_int(str(number), 0, len(knob.levels) - 1)
            for number, knob in enumerate(self._space.knobs))) for trial in self._open]

    def tell(self, trials: Sequence[Trial]) -> None:
        """What the choices are worth that were made of those that were suggested."""
        aim = self._space.aim
        for suggested, trial in zip(self._open, trials, strict=True):
            self._study.tell(suggested, aim.objective(trial.accuracy, trial.cost)
                             if trial.cost is not None and aim.fits(trial.cost) else -2.0)
