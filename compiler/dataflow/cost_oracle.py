"""stub"""
from __future__ import annotations
from dataclasses import dataclass
from .search import search
from .report import weight_facts
from ..cost import Resources

@dataclass(frozen=True)
class Cost:
    cycles: int
    frames_per_second: float
    luts: int
    ffs: int
    dsps: int
    brams: int
    multipliers: int
    weight_bits: int
    price: int

class CostOracle:
    def cost(self, network, budget, goal, board, clock_mhz):
        plan = search(network, budget, goal, board=board, clock_mhz=clock_mhz).plan
        r = plan.resources
        return Cost(plan.cycles_per_frame, clock_mhz*1e6/plan.cycles_per_frame, r.luts, r.ffs, r.dsps, r.brams, plan.multipliers, 1, budget.fabric.price(r))
