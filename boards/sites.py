"""Where a device has multipliers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DspSites"]


@dataclass(frozen=True)
class DspSites:
    """Where a device has DSP blocks of four multipliers each: at every column of every row.

    Coordinates are nextpnr's, of the block's first multiplier.
    """

    columns: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
