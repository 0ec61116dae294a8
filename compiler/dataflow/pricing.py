"""The cost oracle: what the plan of a network says of its speed and size, for many networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir import MultiplyAccumulate, Network
from .budget import Budget, linked
from .options import Catalogue
from .plan import Plan
from .search import search
from .searching import Goal

__all__ = ["Cost", "CostOracle"]


@dataclass(frozen=True)
class Cost:
    """What the plan of a network is predicted to take.

    ``cycles`` a frame and ``frames_per_second``; cells, those of the board's serial link among
    them, as a budget counts them; ``multipliers``, and ``weight_bits``, which all weights take by
    their encodings. ``price`` is that of all cells in look-up tables, see `Fabric.price`.
    """

    cycles: int
    frames_per_second: float
    luts: int
    ffs: int
    dsps: int
    brams: int
    multipliers: int
    weight_bits: int
    price: int

    @classmethod
    def of(cls, network: Network, plan: Plan, budget: Budget) -> Cost:
        """What the ``plan`` of a ``network`` within a ``budget`` says."""
        cells = plan.resources + linked(budget, network, plan)
        bits = sum(layer.weights.memory_bits for layer in network.layers
                   if isinstance(layer, MultiplyAccumulate))
        return cls(plan.cycles_per_frame, plan.frames_per_second, cells.luts, cells.ffs,
                   cells.dsps, cells.brams, plan.multipliers, bits, budget.fabric.price(cells))


class CostOracle:
    """Says what networks cost on a board: exactly what `schedule` would, but sooner.

    It remembers what layers may become, so that of a network like those before it only what is new
    is worked out. An oracle that is pickled forgets, and goes on with the same answers.
    """

    def __init__(self, budget: Budget, board: str = "generic", clock_mhz: float = 100.0) -> None:
        self.budget = budget
        self._board = board
        self.clock_mhz = clock_mhz
        self._catalogue = Catalogue(budget.fabric)

    def cost(self, network: Network, goal: Goal | None = None, dsps: int | None = None) -> Cost:
        """The cost of a ``network``; raises `PenjingError` where nothing fits, as `schedule` does.

        With no more than so many ``dsps``, if that is said.
        """
        budget = self.budget
        if dsps is not None:
            has = budget.resources
            budget = replace(budget, resources=replace(has, dsps=min(dsps, has.dsps)))
        found = search(network, budget, goal, board=self._board, clock_mhz=self.clock_mhz,
                       catalogue=self._catalogue)
        return Cost.of(network, found.plan, budget)

    def __reduce__(self) -> tuple[type[CostOracle], tuple[Budget, str, float]]:
        return CostOracle, (self.budget, self._board, self.clock_mhz)
