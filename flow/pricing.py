"""What a network costs on a target, as a search asks thousands of times."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..compiler.dataflow.pricing import Cost, CostOracle
from ..compiler.dataflow.searching import Goal
from ..compiler.ir import Network, PenjingError
from .compile import Target, asked

if TYPE_CHECKING:
    from ..compiler.compress.search.limits import Aim

__all__ = ["Pricing"]


@dataclass(frozen=True)
class Pricing:
    """The price of networks where the ``fastest`` plan counts, or, if it makes ``frames`` a second,
    the ``leanest`` that makes them.
    """

    fastest: CostOracle
    leanest: CostOracle | None = None
    frames: float = 0.0
    goal: Goal = field(default_factory=Goal)

    @classmethod
    def on(cls, target: Target, network: Network, aim: Aim) -> Pricing:
        """The prices of networks such as ``network`` on the ``target``."""
        if target.fps is not None:
            raise PenjingError("search: ask for frames a second as a limit, frames=5000")
        budget, _, board, clock_mhz = asked(network, target)
        fastest = CostOracle(budget, board, clock_mhz)
        if aim.frames is None:
            return cls(fastest)
        budget, goal, board, clock_mhz = asked(network, replace(target, fps=aim.frames))
        return cls(fastest, CostOracle(budget, board, clock_mhz), aim.frames, goal)

    def __call__(self, network: Network) -> Cost:
        """The price of ``network``; `TooSmall` where no plan fits."""
        cost = self.fastest.cost(network)
        if self.leanest is None or cost.frames_per_second < self.frames:
            return cost
        return self.leanest.cost(network, self.goal)
