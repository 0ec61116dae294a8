"""The structure of a processing element that multiplies columns by activations."""

from __future__ import annotations

from dataclasses import dataclass

from .accumulators import SUM_LATENCY
from .checks import at_least
from .dot_product import WAY_LATENCY
from .entries import Weighing
from .tech import MEMORY_LATENCY, MULTIPLIER_LATENCY, REGISTERED_LATENCY

__all__ = ["Entry", "PeShape"]

Entry = tuple[int, int]
"""How many rows lie between this entry and the one before in its column, and its code: what is
stored of its weight."""


@dataclass(frozen=True)
class PeShape:
    """Structure that all processing elements of an engine share.

    Parameters
    ----------
    rows : sums of an element.
    places : columns that can be named, see `penjing.hdl.nonzero.place`.
    queue : activations that wait in front.
    gap_bits : bits of a gap.
    weighing : what codes stand for.
    sum_bits : width of a sum, which is signed.
    banks : sets of sums.
    """

    rows: int
    places: int
    queue: int
    gap_bits: int
    weighing: Weighing
    sum_bits: int
    banks: int = 2

    def __post_init__(self) -> None:
        at_least(1, rows=self.rows, places=self.places, queue=self.queue, gap_bits=self.gap_bits,
                 sum_bits=self.sum_bits, banks=self.banks)

    @property
    def entry_bits(self) -> int:
        """Bits of an entry in its memory."""
        return self.gap_bits + self.weighing.bits

    @property
    def depth(self) -> int:
        """Cycles from an entry's address to the edge that stores the sum with its product."""
        return (REGISTERED_LATENCY + MEMORY_LATENCY + MULTIPLIER_LATENCY + WAY_LATENCY
                + SUM_LATENCY)
