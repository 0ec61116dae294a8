"""When how much is pruned: in one shot, in rounds of pruning and training, or gradually."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...ir import PenjingError
from ..training import Settings
from .amounts import Amount, Ratio, is_number


@dataclass(frozen=True)
class Round:
    """Prune ``amount`` of all weights, then train with ``settings``; None trains nothing."""

    amount: Amount
    settings: Settings | None = None


def geometric(amount: Ratio, rounds: int, settings: Settings) -> tuple[Round, ...]:
    """``rounds`` that prune the same share of what is left, up to ``amount`` (Han 2015).

    After k of n rounds the ratio is ``1 - (1 - ratio)**(k / n)``.
    """
    if type(rounds) is not int or rounds < 1:
        raise PenjingError(f"pruning: rounds must be a positive integer, not {rounds!r}")
    _require_ratio(amount)

    def after(done: int) -> Ratio:
        return amount.at(lambda ratio: 1 - (1 - ratio) ** (done / rounds))

    return tuple(Round(after(done), settings) for done in range(1, rounds + 1))


@dataclass(frozen=True)
class Gradual:
    """Prune while training, first fast, then slower (Zhu & Gupta 2017).

    After t steps the ratio is ``s + (i - s) * (1 - (t - start) / (updates * every))**3``, with the
    final ratio s of ``amount`` and i ``initial``. It is 0 before ``start``, stays at s after the
    last update, and changes ``every`` so many steps in between. Each update ranks all weights anew,
    so that some come back with the value that they had.
    """

    amount: Ratio
    settings: Settings
    initial: float = 0.0
    start: int = 0
    every: int = 100
    updates: int = 10

    def __post_init__(self) -> None:
        for name, least in (("start", 0), ("every", 1), ("updates", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise PenjingError(f"gradual pruning: {name} must be an integer of at least "
                                   f"{least}, not {value!r}")
        _require_ratio(self.amount)
        if not is_number(self.initial) or not 0 <= self.initial < 1:
            raise PenjingError(f"gradual pruning: the initial ratio must be at least 0 and below "
                               f"1, not {self.initial!r}")

    @property
    def end(self) -> int:
        """The step of the last update."""
        return self.start + self.updates * self.every

    def updates_at(self, step: int) -> bool:
        """Whether masks change after ``step`` steps."""
        return self.start <= step <= self.end and (step - self.start) % self.every == 0

    def ratio(self, final: float, step: int) -> float:
        """The ratio after ``step`` steps, where ``final`` is the last."""
        if step < self.start:
            return 0.0
        done = min((step - self.start) // self.every, self.updates)
        left = 1 - done / self.updates
        return final + (self.initial - final) * left ** 3

    def at(self, step: int) -> Ratio:
        """The amount after ``step`` steps."""
        return self.amount.at(lambda final: self.ratio(final, step))


def _require_ratio(amount: Amount) -> None:
    if not isinstance(amount, Ratio):
        raise PenjingError(f"pruning: only ratios grow step by step, not {type(amount).__name__}; "
                           f"prune in one shot")


Schedule: TypeAlias = Sequence[Round] | Gradual
