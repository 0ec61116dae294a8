"""Deep deterministic policy gradients (Lillicrap 2016), as AMC and HAQ use them.

The actor maps a state to an action from 0 to 1, the critic both to what the episode will be worth.
All steps of an episode have the same reward, its last, less a moving average of those before, and
none is discounted (He 2018).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["Learner", "Rates", "State"]

State: TypeAlias = tuple[float, ...]

_ACTOR_RATE, _CRITIC_RATE = 1e-4, 1e-3
_SOFT = 0.01
"""How fast the targets follow."""
_BATCH = 64
_BASELINE = 0.5
"""How much of the moving average of rewards an episode leaves."""
_HIDDEN = 300
_STEADY = 1e-6
"""A deviation of noise that is none any more."""


@dataclass(frozen=True)
class Rates:
    """How an agent explores: ``warm_up`` episodes at random, then truncated normal noise of
    ``noise``, each episode less by the factor ``decay``; ``remembered`` episodes are learned from.
    """

    warm_up: int
    decay: float
    noise: float = 0.5
    remembered: int = 100


class Learner:
    """Actor and critic of ``states`` numbers; all at random depends on ``seed``."""

    def __init__(self, states: int, steps: int, rates: Rates, seed: int) -> None:
        self._rates, self._steps = rates, steps
        self._random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._actor = _network(states, nn.Sigmoid())
            self._critic = _network(states + 1, nn.Identity())
        self._targets = copy.deepcopy((self._actor, self._critic))
        self._optimizers = (torch.optim.Adam(self._actor.parameters(), _ACTOR_RATE),
                            torch.optim.Adam(self._critic.parameters(), _CRITIC_RATE))
        self._memory: list[Tensor] = []
        self._baseline = math.nan
        self._episodes = 0

    def action(self, state: State) -> float:
        """What to do in ``state``, with noise."""
        late = self._episodes - self._rates.warm_up
        if late < 0:
            return float(torch.rand((), generator=self._random))
        with torch.no_grad():
            mean = float(self._actor(_row(state)))
        return self._truncated(mean, self._rates.noise * self._rates.decay ** late)

    def _truncated(self, mean: float, deviation: float) -> float:
        """A normal number from 0 to 1, by the inverse of its distribution."""
        if deviation < _STEADY:
            return mean
        low, high = (0.5 * (1 + math.erf((end - mean) / (deviation * math.sqrt(2))))
                     for end in (0.0, 1.0))
        share = low + (high - low) * float(torch.rand((), generator=self._random))
        point = torch.special.ndtri(torch.tensor(share, dtype=torch.float64))
        return min(1.0, max(0.0, mean + deviation * float(point)))

    def learn(self, states: Sequence[State], actions: Sequence[float], reward: float) -> None:
        """Remember an episode, and train on what is remembered."""
        self._baseline = reward if not self._episodes else (
            _BASELINE * self._baseline + (1 - _BASELINE) * reward)
        ends = [*states[1:], states[-1]]
        for number, (state, action, following) in enumerate(
                zip(states, actions, ends, strict=True), 1):
            is_last = float(number == len(states))
            self._memory.append(_row((*state, action, *following, is_last, reward)))
        del self._memory[:-self._rates.remembered * self._steps]
        self._episodes += 1
        if self._episodes > self._rates.warm_up:
            for _ in states:
                self._update(len(states[0]))

    def _update(self, states: int) -> None:
        """One step of both, on some transitions."""
        picked = torch.randint(len(self._memory), (_BATCH,), generator=self._random)
        rows = torch.cat([self._memory[index] for index in picked.tolist()])
        state, action, following, last, reward = rows.split((states, 1, states, 1, 1), 1)
        actor, critic = self._targets
        with torch.no_grad():
            later = critic(torch.cat((following, actor(following)), 1))
            wanted = reward - self._baseline + (1 - last) * later
        loss = nn.functional.mse_loss(self._critic(torch.cat((state, action), 1)), wanted)
        _descend(self._optimizers[1], loss)
        worth = self._critic(torch.cat((state, self._actor(state)), 1)).mean()
        _descend(self._optimizers[0], -worth)
        for target, now in zip(self._targets, (self._actor, self._critic), strict=True):
            for old, new in zip(target.parameters(), now.parameters(), strict=True):
                old.data.lerp_(new.data, _SOFT)


def _network(inputs: int, end: nn.Module) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN),
                         nn.ReLU(), nn.Linear(_HIDDEN, 1), end)


def _row(state: State) -> Tensor:
    return torch.tensor([state], dtype=torch.float32)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
