"""What designs of Penjing and of other generators take, by one flow of synthesis and routing."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from penjing import boards
from penjing.boards.measure import Harness
from penjing.boards.toolchain import Workshop, place_and_route, synthesize
from penjing.compiler.ir import PenjingError
from penjing.sim.netlist import run_yosys

PORT = re.compile(r"^  wire (?:width (\d+) )?(input|output) \d+ \\(\w+)$", re.MULTILINE)
LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
"""The LUTs that a cell takes; one of distributed memory also keeps two from being logic."""


class Foreign(wiring.Component):
    """A module of Verilog, its ports as members.

    Parameters
    ----------
    top : its name.
    text : RTLIL of it alone, as `read_verilog` leaves it.
    clock, not_reset : names of its clock, and of its reset where it has one, active when low.
    """

    def __init__(self, top: str, text: str, clock: str, not_reset: str | None = None) -> None:
        self._top, self._clock, self._not_reset = top, clock, not_reset
        self.text = text
        super().__init__({name: (In if flow == "input" else Out)(int(width or 1))
                          for width, flow, name in PORT.findall(text)
                          if name not in (clock, not_reset)})

    def elaborate(self, platform: object) -> Module:
        """The instance."""
        m = Module()
        control = {f"i_{self._clock}": ClockSignal()}
        if self._not_reset is not None:
            control[f"i_{self._not_reset}"] = ~ResetSignal()
        m.submodules.foreign = Instance(self._top, **control, **{
            f"{'i' if member.flow is In else 'o'}_{name}": getattr(self, name)
            for name, member in self.signature.members.items()})
        return m


def read_verilog(sources: Sequence[Path], top: str, folder: Path) -> str:
    """The module ``top`` of Verilog files as RTLIL, flattened."""
    script = "".join(f"read_verilog -sv {path.resolve()}\n" for path in sources) + (
        f"hierarchy -top {top}\nproc\nflatten\nopt_clean\n"
        f"setattr -mod -unset top {top}\nwrite_rtlil read.il\n")
    try:
        run_yosys(folder, script, f"{top}: Yosys does not read it")
    except RuntimeError as error:
        raise PenjingError(str(error)) from error
    return (folder / "read.il").read_text(encoding="utf-8")


class Endless(Exception):
    """The router has had all of its time."""


@dataclass(frozen=True)
class Router:
    """What is asked of it: a clock, to end within so many minutes, and by which seed."""

    clock_mhz: float
    minutes: float
    seed: int = 1

    def run(self, board: boards.Board, folder: Path, harness: Harness) -> dict[str, Any]:
        """What becomes of the design synthesized in ``folder``."""
        started = time.monotonic()
        told = re.compile(r"Max frequency .*: ([0-9.]+) MHz")
        placed: list[float] = []

        def watch(stage: str, line: str) -> None:
            if found := told.search(line):
                placed.append(float(found[1]))
            if time.monotonic() - started > 60 * self.minutes:
                raise Endless

        try:
            routed = place_and_route(Workshop(board, folder, watch), clock_mhz=self.clock_mhz,
                                     seed=self.seed)
        except Endless:
            return {"given_up_minutes": self.minutes, "placed_mhz": placed[:1]}
        return {"seed": self.seed,
                "luts": routed.luts - harness.luts, "ffs": routed.ffs - harness.ffs,
                "dsps": routed.dsps, "brams": routed.brams,
                "fmax_mhz": round(routed.fmax_mhz, 1), "placed_mhz": placed[:1]}


def measured(component: wiring.Component, board: boards.Board, folder: Path, *,
             route: Router | None) -> dict[str, Any]:
    """Cells of ``component`` after synthesis; placed and routed, if asked for.

    It stands between the flip-flops of a harness that is not counted, as single layers do. What is
    synthesized in ``folder`` already is not so again.
    """
    shop, harness = Workshop(board, folder), Harness(component)
    if not (folder / "top.json").exists():
        more = component.text if isinstance(component, Foreign) else ""
        # Multipliers get sites, as those of each layer do in `penjing build`.
        synthesize(shop, rtlil.convert(harness, name="top", emit_src=False) + more,
                   order=("component",))
    cells = Counter(cell["type"] for cell in json.loads(
        (folder / "top.json").read_text())["modules"]["top"]["cells"].values())
    found: dict[str, Any] = {
        "luts": sum(count * cells[cell] for cell, count in LUTS.items()) - harness.luts,
        "ffs": cells["TRELLIS_FF"] - harness.ffs,
        "dsps": cells["MULT18X18D"], "brams": cells["DP16KD"]}
    if route:
        found["routed"] = {f"{route.clock_mhz:g}": route.run(board, folder, harness)}
    return found
