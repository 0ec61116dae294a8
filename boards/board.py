"""What a board is: the device, what the device has, and how place-and-route is told about it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from ..compiler.ir import NotInstalled, PenjingError
from ..hdl.tech import Technology
from .families import ECP5, GENERIC, ICE40, Family
from .sites import DspSites

__all__ = ["UNLIMITED", "Board", "Budget", "DspSites"]

UNLIMITED = 10**9
"""More of a resource than any device has: the budget of a board without a device."""


@dataclass(frozen=True)
class Budget:
    """What a device has, as nextpnr counts it.

    ``luts`` LUT4 (a carry cell of an ECP5 takes two; on iCE40 these are logic cells), ``ffs``
    flip-flops, ``dsps`` multipliers, ``brams`` block RAMs of ``bram_bits`` bits each.
    """

    luts: int
    ffs: int
    dsps: int
    brams: int
    bram_bits: int


@dataclass(frozen=True)
class Board:
    """One target.

    ``platform`` is the class of amaranth-boards as ``module:Class`` (None: no board files, Verilog
    only), ``route_options`` are nextpnr's for the device, ``crystal_mhz`` the oscillator on the
    board, ``clock_mhz`` the accelerator's clock unless the user wants another, ``baud`` the speed
    of the serial link. ``dsp_sites`` is empty where multipliers are left to nextpnr to place.
    ``grid`` is the columns and rows of the device's tiles.
    """

    name: str
    family: Family
    device: str
    budget: Budget
    clock_mhz: float
    platform: str | None = None
    route_options: tuple[str, ...] = ()
    crystal_mhz: float = 0.0
    baud: int = 1_000_000
    dsp_sites: DspSites = field(default_factory=DspSites)
    grid: tuple[int, int] = (0, 0)

    @property
    def technology(self) -> Technology:
        """What makes the cells of the board's family."""
        return self.family.technology()

    def load_platform(self) -> Any:
        """A fresh platform of amaranth-boards, which only this method imports.

        Raises `PenjingError` where the board has none or amaranth-boards is missing.
        """
        if self.platform is None:
            raise PenjingError(f"{self.name}: this board has no bitstream, only Verilog; give the "
                               "Verilog to the tools of your FPGA, or compile for another board")
        module, _, name = self.platform.partition(":")
        try:
            return getattr(importlib.import_module(f"amaranth_boards.{module}"), name)()
        except ImportError as error:
            raise NotInstalled("amaranth-boards", "fpga") from error


def _ulx3s(size: str, luts: int, brams: int, sites: DspSites, grid: tuple[int, int]) -> Board:
    return Board(
        name=f"ulx3s-{size}f", family=ECP5, device=f"LFE5U-{size}F",
        budget=Budget(luts=luts, ffs=luts, dsps=4 * len(sites.columns) * len(sites.rows),
                      brams=brams, bram_bits=18 * 1024),
        clock_mhz=100.0, platform=f"ulx3s:ULX3S_{size}F_Platform",
        # router1, the default, may search without an end around DSP blocks; router2 by itself may
        # lead a wire all over the chip to a cell next door.
        route_options=(f"--{size}k", "--package", "CABGA381", "--speed", "6",
                       "--router", "router2", "--tmg-ripup"), crystal_mhz=25.0, dsp_sites=sites,
        grid=grid)


_SMALL = DspSites((4, 13, 22, 33, 42, 51, 60), (13,))

BOARDS = (
    _ulx3s("12", luts=24_288, brams=56, sites=_SMALL, grid=(73, 51)),
    _ulx3s("25", luts=24_288, brams=56, sites=_SMALL, grid=(73, 51)),
    _ulx3s("45", luts=43_848, brams=108,
           sites=DspSites((4, 13, 22, 31, 42, 51, 60, 69, 78), (22, 46)), grid=(91, 72)),
    _ulx3s("85", luts=83_640, brams=208,
           sites=DspSites((4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), (10, 34, 58)),
           grid=(127, 96)),
    Board(
        name="icebreaker", family=ICE40, device="iCE40UP5K",
        budget=Budget(luts=5_280, ffs=5_280, dsps=8, brams=30, bram_bits=4 * 1024),
        clock_mhz=24.0, platform="icebreaker:ICEBreakerPlatform",
        route_options=("--up5k", "--package", "sg48"), crystal_mhz=12.0, grid=(26, 32)),
    Board(
        name="generic", family=GENERIC, device="any",
        budget=Budget(luts=UNLIMITED, ffs=UNLIMITED, dsps=UNLIMITED, brams=UNLIMITED,
                      bram_bits=18 * 1024),
        clock_mhz=100.0),
)
"""Every board, in the order in which they are listed."""
