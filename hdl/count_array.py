"""Counts of differing signs: the array of an engine of binary weights and activations."""

from __future__ import annotations

from dataclasses import dataclass

from .tech import counter_latency

__all__ = ["CountShape"]


@dataclass(frozen=True)
class CountShape:
    """Structure of an array of counters: ``simd`` signs a beat, in ``folds`` beats."""

    simd: int
    folds: int

    @property
    def total_bits(self) -> int:
        """Bits of a count."""
        return (self.folds * self.simd).bit_length()

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the counts."""
        return counter_latency(self.simd) - 1

    @property
    def results_latency(self) -> int:
        """Cycles from counts to the sums that they stand for, which are made at once."""
        return 0
