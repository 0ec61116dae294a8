"""AMC: an agent that learns how many channels each layer should keep (He 2018).

Layer by layer it sees what there is and what was decided, and says what share of the channels
stays. A wall in front of each action keeps the limits: no more than what the plan allows if all
layers behind keep the least. The reward comes at the end of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .agents import TOGETHER
from .ddpg import Learner, Rates, State
from .limits import Aim
from .space import Choice, Knob, Space, Trial

__all__ = ["NO_REWARD", "Amc", "features", "reward"]

WARM_UP, DECAY, REMEMBERED = 100, 0.95, 100
NO_REWARD = -1.0
"""Of a network that no plan can be made of."""
LEAST_ERROR = 1e-3
"""Of what makes no error: its cost must count still."""


class Amc:
    """The agent for ``episodes``; a quarter of them, at most `WARM_UP`, are at random."""

    def __init__(self, space: Space, episodes: int, seed: int) -> None:
        self.episodes = episodes
        self._space = space
        self._features = features(space.knobs)
        warm_up = min(WARM_UP, episodes // 4)
        # The fewer episodes, the sooner noise must fade.
        decay = DECAY ** (8 * WARM_UP / max(1, episodes))
        self._learner = Learner(len(self._features[0]) + 3, len(space.knobs),
                                Rates(warm_up, decay, remembered=REMEMBERED), seed)
        self._asked = 0
        self._played: list[tuple[list[State], list[float]]] = []

    def ask(self) -> Sequence[Choice]:
        """Some episodes, by what is learned so far."""
        count = min(TOGETHER, self.episodes - self._asked)
        self._asked += count
        self._played = []
        return [self._play() for _ in range(count)]

    def _play(self) -> Choice:
        """An episode."""
        knobs, choice = self._space.knobs, list(self._space.lowest)
        states: list[State] = []
        actions: list[float] = []
        work = math.fsum(knob.work for knob in knobs)
        reduced, last = 0.0, 1.0
        for number, knob in enumerate(knobs):
            rest = math.fsum(other.work for other in knobs[number + 1:])
            states.append((*self._features[number], reduced / work, rest / work, last))
            wanted = self._learner.action(states[-1])
            choice[number] = self._below_wall(choice, number, knob.at_least(
                knob.share(0) + wanted * (1 - knob.share(0))))
            last = knob.share(choice[number])
            # What was done counts, not what was wanted.
            actions.append((last - knob.share(0)) / max(1e-9, 1 - knob.share(0)))
            reduced += (1 - last) * knob.work
        self._played.append((states, actions))
        return tuple(choice)

    def _below_wall(self, choice: list[int], number: int, wanted: int) -> int:
        """The highest level up to the ``wanted`` one within the limits, if all behind is least."""
        low, high = 0, wanted
        if self._space.fits((*choice[:number], high, *choice[number + 1:])):
            return high
        while high - low > 1:
            middle = (low + high) // 2
            if self._space.fits((*choice[:number], middle, *choice[number + 1:])):
                low = middle
            else:
                high = middle
        return low

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from episodes; see `reward`."""
        for trial, (states, actions) in zip(trials, self._played, strict=True):
            self._learner.learn(states, actions, reward(trial, self._space.aim))


def reward(trial: Trial, aim: Aim) -> float:
    """The accuracy, under limits; where a cost is minimized, ``-error * log(cost)``."""
    if trial.cost is None:
        return NO_REWARD
    if aim.minimize is None:
        return trial.accuracy if aim.fits(trial.cost) else NO_REWARD
    error = max(LEAST_ERROR, 1 - trial.accuracy)
    return -error * math.log(1 + getattr(trial.cost, aim.minimize))


def features(knobs: Sequence[Knob]) -> list[State]:
    """Those of all ``knobs``, each as a share of the highest."""
    most = [max(map(abs, column)) or 1.0 for column in zip(
        *(knob.features for knob in knobs), strict=True)]
    return [tuple(value / high for value, high in zip(knob.features, most, strict=True))
            for knob in knobs]
