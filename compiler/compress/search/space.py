"""What a search decides: a level for each knob, such as how many channels a layer keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ... import ir
from ...dataflow.budget import TooSmall
from .limits import Aim

if TYPE_CHECKING:
    from ...dataflow.pricing import Cost
    from ..trainable import Trainable

__all__ = ["Choice", "Environment", "Knob", "Made", "Space", "Trial", "best"]

Choice: TypeAlias = tuple[int, ...]
"""For each knob the index of its level; the highest is the network as it is."""


@dataclass(frozen=True)
class Knob:
    """One decision: the ``levels`` that ``name`` may have, ascending.

    ``features`` describe it to an agent that learns; ``work`` is what it costs at the highest
    level, in multiply-accumulates, of which a level takes about its share.
    """

    name: str
    levels: tuple[int, ...]
    features: tuple[float, ...]
    work: float

    def share(self, index: int) -> float:
        """The level, as a share of the highest."""
        return self.levels[index] / self.levels[-1]

    def at_least(self, share: float) -> int:
        """The index of the lowest level of such a share or more."""
        return next((index for index in range(len(self.levels)) if self.share(index) >= share),
                    len(self.levels) - 1)


@dataclass(frozen=True)
class Made:
    """What a choice makes: ``model``, to be trained and judged, and its ``integers`` then.

    Those are None for a network of floats, which becomes integers as any does.
    """

    model: Trainable
    integers: Callable[[], ir.Network] | None = None


class Environment(Protocol):
    """A network that becomes another by each choice.

    It can be pickled: workers have one each. What it tells depends on the choice alone.
    """

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What is to be decided, in the order of the network."""

    def integers(self, choice: Choice) -> ir.Network:
        """A network of integers that takes the same hardware; its weights may be others."""

    def made(self, choice: Choice) -> Made:
        """The network that it becomes, before any training."""

    def accuracy(self, choice: Choice) -> float:
        """How good the network is, trained as each is, on images that are no test."""


@dataclass(frozen=True)
class Trial:
    """A ``choice`` that was tried; ``cost`` is None where no plan can be made of it."""

    choice: Choice
    accuracy: float
    cost: Cost | None


@dataclass(frozen=True)
class Space:
    """An ``environment``, the ``price`` of a network, and the ``aim``; ``known`` are prices seen.

    ``price`` raises `TooSmall` where the board can hold no plan.
    """

    environment: Environment
    price: Callable[[ir.Network], Cost]
    aim: Aim
    known: dict[Choice, Cost | None] = field(default_factory=dict, repr=False)

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """Those of the environment."""
        return self.environment.knobs

    @property
    def highest(self) -> Choice:
        """The network as it is."""
        return tuple(len(knob.levels) - 1 for knob in self.knobs)

    @property
    def lowest(self) -> Choice:
        """The smallest network that there is."""
        return (0,) * len(self.knobs)

    def cost(self, choice: Choice) -> Cost | None:
        """That of the plan; None where the board can hold none."""
        if choice not in self.known:
            try:
                self.known[choice] = self.price(self.environment.integers(choice))
            except TooSmall:
                self.known[choice] = None
        return self.known[choice]

    def fits(self, choice: Choice) -> bool:
        """Whether the plan is within the limits."""
        return self.aim.fits(self.cost(choice))

    def excess(self, choice: Choice) -> float:
        """How many times the plan's costs are what they may be."""
        cost = self.cost(choice)
        return float("inf") if cost is None else self.aim.excess(cost)

    def require(self) -> None:
        """`PenjingError` where even the smallest network does not keep the limits."""
        cost = self.cost(self.lowest)
        if cost is None:
            try:
                self.price(self.environment.integers(self.lowest))
            except TooSmall as error:  # it tells what there is too little of
                raise TooSmall(f"limits: not even the smallest network that is tried fits: {error}"
                               ) from None
        elif not self.aim.fits(cost):
            way_out = ("ask for frames too, which the least hardware makes then"
                       if "price" in self.aim.most and self.aim.frames is None
                       else "ease them, or take a larger board")
            raise ir.PenjingError(
                f"limits: the smallest network that is tried does not keep them: it has "
                f"{self.aim.exceeded(cost)}; {way_out}")


def best(trials: Sequence[Trial], aim: Aim) -> Trial | None:
    """Of those within the limits the best, the first of equals."""
    fitting = [(aim.objective(trial.accuracy, trial.cost), -number, trial)
               for number, trial in enumerate(trials)
               if trial.cost is not None and aim.fits(trial.cost)]
    return max(fitting)[2] if fitting else None
