"""Cells of a design, and the memories in it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Storage(enum.Enum):
    """Where a memory lives."""

    BLOCK = "block"
    DISTRIBUTED = "distributed"
    LOGIC = "logic"


@dataclass(frozen=True)
class Resources:
    """Cells of a design, in the units of the family: LUT4, flip-flops, DSP blocks, block RAMs."""

    luts: int = 0
    ffs: int = 0
    dsps: int = 0
    brams: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.luts + other.luts, self.ffs + other.ffs, self.dsps + other.dsps,
                         self.brams + other.brams)

    def __mul__(self, times: int) -> Resources:
        return Resources(self.luts * times, self.ffs * times, self.dsps * times,
                         self.brams * times)


@dataclass(frozen=True)
class Memory:
    """A memory of ``words`` words of ``width`` bits; ``role`` says what for.

    ``copies`` of it hold the same or have the same size.
    """

    role: str
    words: int
    width: int
    storage: Storage
    copies: int = 1

    @property
    def bits(self) -> int:
        """Bits of all copies."""
        return self.words * self.width * self.copies
