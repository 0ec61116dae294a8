"""Clock multipliers: which dividers give a wanted clock from a board's crystal.

All frequencies are in MHz. Each family's file has its own PLL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from amaranth.hdl import Module, Signal

from ..compiler.ir import PenjingError

__all__ = ["Pll", "nearest"]

_TOLERANCE = 0.05
_LIMIT_MHZ = 1000


@dataclass(frozen=True)
class Pll(ABC):
    """Settings that make a clock of ``clock_mhz`` with an oscillator of ``oscillator_mhz``."""

    clock_mhz: float
    oscillator_mhz: float

    @abstractmethod
    def connect(self, m: Module, pins: Any, locked: Signal) -> None:
        """Drive the clock of ``sync`` from the crystal's ``pins``, and ``locked``."""


_Pll = TypeVar("_Pll", bound=Pll)


def nearest(candidates: Callable[[float, float], Iterator[_Pll]], crystal_mhz: float,
            wanted_mhz: float, key: Callable[[_Pll], tuple[float, ...]]) -> _Pll:
    """Of ``candidates`` for the crystal and the wanted clock, the first by ``key``.

    Raises `PenjingError` where none lies within 5 % below the wanted clock.
    """
    if not (0 < wanted_mhz < _LIMIT_MHZ and 0 < crystal_mhz < _LIMIT_MHZ):
        raise PenjingError(f"clock: {wanted_mhz:g} MHz is no clock that a board can make; "
                           f"give one below {_LIMIT_MHZ} MHz")
    best = min(candidates(crystal_mhz, wanted_mhz), key=key, default=None)
    if best is None or best.clock_mhz < wanted_mhz * (1 - _TOLERANCE):
        near = f"the nearest below is {best.clock_mhz:g} MHz" if best else "it is out of range"
        raise PenjingError(f"clock: {wanted_mhz:g} MHz cannot be made from this board's crystal; "
                           f"{near}")
    return best
