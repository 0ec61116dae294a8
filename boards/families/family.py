"""What an FPGA family is to Penjing: its cells, what they cost, and the tools that place them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...compiler.cost import Fabric
from ...hdl.tech import Technology
from ..pll import Ecp5Pll, Ice40Pll

__all__ = ["TOP", "Family", "LinkCost", "Tools"]

TOP = "top"
"""What the module of a whole board design, and so its files, are called."""


@dataclass(frozen=True)
class Tools:
    """How the family's tools are called, and where their report counts what.

    ``wheel`` is the package of the router; ``synthesis`` Yosys' command and ``compact`` what makes
    it do without wide multiplexers; ``constraints`` and ``routed`` the router's options with
    their files; ``cells`` names the report's entry of each resource.
    """

    wheel: str
    synthesis: str
    compact: str
    router: str
    packer: str
    constraints: tuple[str, str]
    routed: tuple[str, str]
    unconstrained: str
    pack: tuple[str, ...]
    bitstream: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class LinkCost:
    """``luts`` of the serial link, ``luts_held_bit`` more a bit that its gearboxes hold.

    A frame of up to ``table_bytes`` lies in look-up tables. ``python bench/link.py`` fits them.
    """

    luts: int
    luts_held_bit: float
    table_bytes: int


@dataclass(frozen=True)
class Family:
    """One FPGA family.

    ``fabric`` is what the planner knows of it, ``technology`` makes its cells, ``pll`` gives the
    settings that make a clock of a crystal (both in MHz). ``tools``, ``link`` and ``pll`` are None
    where there is only Verilog. ``registers_apart`` says that LUTs and flip-flops are counted
    apart, not by the logic cell; ``sites_multipliers`` that multipliers get sites after synthesis.
    """

    name: str
    fabric: Fabric
    technology: type[Technology]
    tools: Tools | None = None
    link: LinkCost | None = None
    pll: Callable[[float, float], Ecp5Pll | Ice40Pll] | None = None
    registers_apart: bool = False
    sites_multipliers: bool = False
