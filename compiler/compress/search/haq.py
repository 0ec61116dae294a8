"""HAQ: an agent that learns how many bits each layer's weights and map should have (Wang 2019).

Step by step it sees what there is, and says a width. Where the plan exceeds the limits, widths are
lowered by a bit, from the last layer to the first and around again, until it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from .agents import TOGETHER
from .amc import features, reward
from .ddpg import Learner, Rates, State
from .space import Choice, Knob, Space, Trial

__all__ = ["Haq", "lowered"]

WARM_UP, DECAY, REMEMBERED = 20, 0.99, 128
_POINTS = 10.0
"""What a reward gives for an accuracy: 0.1 for each of a hundred points."""


class Haq:
    """The agent for ``episodes``, the first of which is the network as it is."""

    def __init__(self, space: Space, episodes: int, seed: int) -> None:
        self.episodes = episodes
        self._space = space
        self._features = features(space.knobs)
        # The fewer episodes than the paper's 600, the sooner noise must fade.
        decay = DECAY ** max(1.0, 600 / episodes)
        self._learner = Learner(len(self._features[0]) + 1, len(space.knobs),
                                Rates(min(WARM_UP, episodes // 4), decay, remembered=REMEMBERED),
                                seed)
        self._asked = 0
        self._whole = 1.0
        self._played: list[tuple[list[State], list[float]]] = []

    def ask(self) -> Sequence[Choice]:
        """The network as it is, then episodes by what is learned so far."""
        self._played = []
        if not self._asked:
            self._asked = 1
            return [self._space.highest]
        count = min(TOGETHER, self.episodes - self._asked)
        self._asked += count
        return [self._play() for _ in range(count)]

    def _play(self) -> Choice:
        """An episode."""
        states: list[State] = []
        actions: list[float] = []
        wanted: list[int] = []
        last = 1.0
        for knob, known in zip(self._space.knobs, self._features, strict=True):
            states.append((*known, last))
            action = self._learner.action(states[-1])
            wanted.append(level(knob, action))
            actions.append(action)
            last = action
        choice = lowered(self._space, tuple(wanted))
        # What was done counts, not what was wanted.
        actions = [action if index == meant else (index + 0.5) / len(knob.levels)
                   for action, index, meant, knob in zip(
                       actions, choice, wanted, self._space.knobs, strict=True)]
        self._played.append((states, actions))
        return choice

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from episodes: how much better they are than the network as it is.

        Where a cost is minimized, by the `reward` of AMC.
        """
        if not self._played:
            self._whole = trials[0].accuracy
            return
        aim = self._space.aim
        for trial, (states, actions) in zip(trials, self._played, strict=True):
            worth = reward(trial, aim) if aim.minimize is not None or not aim.fits(
                trial.cost) else trial.accuracy - self._whole
            self._learner.learn(states, actions, _POINTS * worth)


def level(knob: Knob, action: float) -> int:
    """The index of the width ``round(least - 0.5 + action * count)``."""
    return min(len(knob.levels) - 1, max(0, round(action * len(knob.levels) - 0.5)))


def lowered(space: Space, choice: Choice) -> Choice:
    """``choice``, or what is within the limits if widths go down from the last, bit by bit."""
    now = list(choice)
    while any(now):
        for number in reversed(range(len(now))):
            if space.fits(tuple(now)):
                return tuple(now)
            now[number] = max(0, now[number] - 1)
    return tuple(now)
