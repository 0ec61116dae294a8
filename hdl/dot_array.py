"""Products and their sums: the array of an engine with multipliers."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.utils import ceil_log2

from .tech import MULTIPLIER_LATENCY

__all__ = ["WAY_LATENCY", "DotShape"]

WAY_LATENCY = 2
"""A DSP block can lie far from its memory and from its adders: a register half-way on either side.
"""


@dataclass(frozen=True)
class DotShape:
    """Structure of an array of multipliers: ``simd`` products an output, added pairwise."""

    simd: int

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the accumulators."""
        return MULTIPLIER_LATENCY + WAY_LATENCY + ceil_log2(self.simd)

    @property
    def results_latency(self) -> int:
        """Cycles from totals to results, which they are."""
        return 0
