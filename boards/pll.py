"""Clock multipliers: which dividers give a wanted clock from a board's crystal.

All frequencies are in MHz. Both functions give the clock nearest to the wanted one that is not
above it, and raise `PenjingError` where none lies within 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..compiler.ir import PenjingError

__all__ = ["Ecp5Pll", "Ice40Pll", "ecp5_pll", "ice40_pll"]

_TOLERANCE = 0.05


@dataclass(frozen=True)
class Ecp5Pll:
    """EHXPLLL with feedback from CLKOP: ``clock = crystal * feedback / reference``."""

    clock_mhz: float
    oscillator_mhz: float
    reference: int
    feedback: int
    output: int


@dataclass(frozen=True)
class Ice40Pll:
    """SB_PLL40, simple feedback: ``clock = crystal * (divf + 1) / (divr + 1) / 2**divq``."""

    clock_mhz: float
    oscillator_mhz: float
    divr: int
    divf: int
    divq: int
    filter_range: int


_Pll = TypeVar("_Pll", Ecp5Pll, Ice40Pll)


def ecp5_pll(crystal_mhz: float, wanted_mhz: float) -> Ecp5Pll:
    """Dividers of an ECP5's EHXPLLL; the oscillator runs as near to 600 MHz as it can."""
    _check(crystal_mhz, wanted_mhz)

    def candidates() -> Iterator[Ecp5Pll]:
        for reference in range(1, 129):
            if not 3.125 <= crystal_mhz / reference <= 400:
                continue
            feedback = min(80, int(wanted_mhz * reference / crystal_mhz + 1e-6))
            clock = crystal_mhz * feedback / reference
            for output in range(1, 129):
                if 400 <= clock * output <= 800:
                    yield Ecp5Pll(clock, clock * output, reference, feedback, output)

    return _best(candidates(), wanted_mhz, lambda p: (-p.clock_mhz, p.reference,
                                                      abs(p.oscillator_mhz - 600)))


def ice40_pll(crystal_mhz: float, wanted_mhz: float) -> Ice40Pll:
    """Dividers of an iCE40's SB_PLL40."""
    _check(crystal_mhz, wanted_mhz)

    def candidates() -> Iterator[Ice40Pll]:
        for divr in range(16):
            reference = crystal_mhz / (divr + 1)
            if not 10 <= reference <= 133:
                continue
            for divq in range(1, 7):
                divf = min(127, int((wanted_mhz * 2**divq) / reference + 1e-6) - 1)
                oscillator = reference * (divf + 1)
                if divf >= 0 and 533 <= oscillator <= 1066:
                    yield Ice40Pll(oscillator / 2**divq, oscillator, divr, divf, divq,
                                   _filter_range(reference))

    return _best(candidates(), wanted_mhz, lambda p: (-p.clock_mhz, p.divr, p.divf))


def _check(crystal_mhz: float, wanted_mhz: float) -> None:
    if not (0 < wanted_mhz < 1000 and 0 < crystal_mhz < 1000):
        raise PenjingError(f"clock: {wanted_mhz:g} MHz is no clock that a board can make; "
                           "give one below 1000 MHz")


def _filter_range(reference_mhz: float) -> int:
    """The loop filter that suits a frequency of the phase detector."""
    return 1 + sum(reference_mhz >= edge for edge in (17, 26, 44, 66, 101))


def _best(candidates: Iterator[_Pll], wanted_mhz: float,
          key: Callable[[_Pll], tuple[float, ...]]) -> _Pll:
    best = min(candidates, key=key, default=None)
    if best is None or best.clock_mhz < wanted_mhz * (1 - _TOLERANCE):
        nearest = f"the nearest below is {best.clock_mhz:g} MHz" if best else "it is out of range"
        raise PenjingError(f"clock: {wanted_mhz:g} MHz cannot be made from this board's crystal; "
                           f"{nearest}")
    return best
