"""What a network costs on a target, as a search asks thousands of times."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ..compiler.dataflow.budget import TooSmall
from ..compiler.dataflow.pricing import Cost, CostOracle
from ..compiler.dataflow.searching import Goal
from ..compiler.ir import Network, PenjingError
from .compile import LIMITS, Target, cost_oracle

if TYPE_CHECKING:
    from ..compiler.compress.search.limits import Aim

__all__ = ["Pricing", "kept"]

_SLOW = 0.01
"""Frames a second that any network makes."""


@dataclass(frozen=True)
class _Asking:
    """An ``oracle``, and the ``goal`` of the plans that it is asked for."""

    oracle: CostOracle
    goal: Goal

    @classmethod
    def of(cls, target: Target, network: Network) -> Self:
        """For networks such as ``network`` on the ``target``."""
        return cls(*cost_oracle(network, target))

    def __call__(self, network: Network) -> Cost:
        return self.oracle.cost(network, self.goal)


@dataclass(frozen=True)
class Pricing:
    """The price of networks: that of the ``fastest`` plan within all limits of cells, which leaves
    the router room.

    If it makes the frames a second of the ``aim``, it is that of the ``leanest`` that makes them;
    where no plan is within the limits, that of the ``slowest`` on the board, which tells by how
    much.
    """

    aim: Aim
    fastest: _Asking
    slowest: _Asking
    leanest: _Asking | None = None

    @classmethod
    def on(cls, target: Target, network: Network, aim: Aim) -> Pricing:
        """The prices of networks such as ``network`` on the ``target``."""
        if target.fps is not None:
            raise PenjingError("search: ask for frames a second as a limit, frames=5000")
        within = replace(target, budget=_within(target.budget, aim.most))
        asked = kept(target, aim)
        return cls(aim, _Asking.of(within, network), _Asking.of(
            replace(target, budget=_cells(target.budget), fps=_SLOW), network),
            None if asked.fps is None else _Asking.of(asked, network))

    def __call__(self, network: Network) -> Cost:
        """The price of ``network``; `TooSmall` where no plan fits the board and its budget."""
        try:
            cost = self.fastest(network)
        except TooSmall:
            slowest = self.slowest(network)
            if self.aim.fits(slowest):
                raise  # it is the budget that is too small
            return slowest
        if self.leanest is None or cost.frames_per_second < (self.aim.frames or 0):
            return cost
        return self.leanest(network)

    def of_found(self, network: Network) -> Cost:
        """The price of the ``network`` that was found, as it is compiled.

        Its own weights may take a few cells more than those that a trial was planned with, and a
        frame rate may have them.
        """
        if self.leanest is not None:
            with suppress(TooSmall):
                return self.leanest(network)
        return self(network)


def kept(target: Target, aim: Aim) -> Target:
    """What to compile a network for that keeps the limits of ``aim`` on the ``target``.

    The least hardware that makes the frames a second, unless multipliers are limited, which follow
    from a frame rate; else the fastest within the limits of cells.
    """
    budget = _within(target.budget, aim.most)
    fps = None if "multipliers" in budget else aim.frames
    return replace(target, budget=budget, fps=fps)


def _within(budget: Mapping[str, int], most: Mapping[str, float]) -> dict[str, int]:
    """``budget`` with the limits of what it can limit."""
    limits = {name: int(most[name]) for name in LIMITS if name in most}
    return {**budget, **{name: min(value, budget.get(name, value))
                         for name, value in limits.items()}}


def _cells(budget: Mapping[str, int]) -> dict[str, int]:
    """``budget`` but for multipliers, of which the slowest plan has fewest."""
    return {name: value for name, value in budget.items() if name != "multipliers"}
