"""What an FPGA family is to Penjing: its cells, what they cost, and the tools that place them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...compiler.cost import Fabric
from ...hdl.tech import Technology
from ..pll import Pll
from ..sites import DspSites

__all__ = ["TOP", "Family", "LinkCost", "Tools"]

TOP = "top"
"""What the module of a whole board design, and so its files, are called."""


@dataclass(frozen=True)
class Tools:
    """How the family's tools are called, and where their report counts what.

    ``wheel`` is the package of the router; ``synthesis`` Yosys' command and ``compact`` what makes
    it do without wide multiplexers; ``constraints`` and ``routed`` the router's options with
    their files; ``cells`` names the report's entry of each resource. Flip-flops that it does not
    count, since it counts logic cells, are told by ``logged_ffs`` in the router's log. ``rewrite``
    changes the netlist between the two: of a path, the top module, the device's sites of
    multipliers and the instances whose multipliers get them (see `toolchain.synthesize`).
    ``slower`` is the constraint that a net has another clock, in MHz, than the router derives.
    ``hurried`` makes the constraints those of a crystal that is a little faster than it is.
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
    logged_ffs: re.Pattern[str] | None = None
    rewrite: Callable[[Path, str, DspSites, Sequence[str]], None] | None = None
    slower: Callable[[str, float], str] | None = None
    hurried: Callable[[str], str] | None = None


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
    where there is only Verilog.
    """

    name: str
    fabric: Fabric
    technology: type[Technology]
    tools: Tools | None = None
    link: LinkCost | None = None
    pll: Callable[[float, float], Pll] | None = None
