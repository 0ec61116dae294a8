"""From a design to a bitstream, and to what it really takes: Yosys and nextpnr, both from pip."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compiler.ir import NotInstalled, PenjingError
from . import synthesis
from .board import Board
from .families import TOP, Tools
from .layout import Layout, read_slack, read_tiles
from .patience import OutOfReach, Patience

__all__ = ["BuildResult", "Progress", "ToolError", "Workshop", "available", "pack",
           "place_and_route", "synthesize"]

Progress = Callable[[str, str], None]
"""Called for each line of a tool's log, with the stage (synthesis, route, pack) and the line."""

_ERROR = re.compile(r"ERROR:\s*(.*)")
_PLACED, _ROUTE_LOG, _AIM = "placed.json", "route.log", "aim.lpf"
_RUNS = 8
"""Clocks that are tried at most; the last run takes as long as it takes."""
_LEASH = Path(__file__).with_name("leash.py")


class ToolError(PenjingError):
    """What synthesis, placement or routing did not do, and the ``log`` that tells of it."""

    page = "docs/place_and_route.md"

    def __init__(self, what: str, log: Path | None = None) -> None:
        super().__init__(what if log is None else f"{what}; see {log}")
        self.what = what


@dataclass(frozen=True)
class BuildResult:
    """What place-and-route made of a design.

    ``luts`` to ``brams`` are counted as in `Budget`; ``fmax_mhz`` is that of the slowest clock,
    ``clocks_mhz`` each clock's; ``seconds`` is given per stage, ``versions`` per tool;
    ``bitstream`` and ``layout`` are None where none was asked for.
    """

    luts: int
    ffs: int
    dsps: int
    brams: int
    fmax_mhz: float
    clocks_mhz: Mapping[str, float]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    bitstream: Path | None = None
    layout: Layout | None = None


@dataclass(frozen=True)
class Workshop:
    """A folder in which one board's tools run, and who is told of their progress.

    The folder is made if need be; each stage keeps its log there as ``<stage>.log``. Raises
    `PenjingError` for a board that has no tools here, or where a tool is missing.
    """

    board: Board
    folder: Path
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.board.family.tools is None:
            raise PenjingError(f"{self.board.name}: this board has no place-and-route here; give "
                               "the Verilog to the tools of your FPGA")
        if importlib.util.find_spec("pyosys") is None:
            raise NotInstalled("pyosys", "fpga")
        for name in (self.flow.router, self.flow.packer):
            _tool(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    @property
    def flow(self) -> Tools:
        """The tools of the board's family."""
        tools = self.board.family.tools
        assert tools is not None
        return tools

    def write(self, name: str, text: str) -> None:
        """Make the file ``name``; raises `PenjingError` where that is not possible."""
        try:
            (self.folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.folder / name, error) from error

    def run(self, stage: str, command: Sequence[str],
            watch: Callable[[str], None] | None = None) -> float:
        """Run ``command`` in the folder; returns its seconds.

        ``watch`` gets each line of its log; what it raises ends the command. Raises `PenjingError`
        with the tool's own first error where it fails.
        """
        started = time.monotonic()
        log = self.folder / f"{stage}.log"
        problem = ""
        with (log.open("w", encoding="utf-8") as record,
              subprocess.Popen([sys.executable, "-IS", str(_LEASH), str(os.getpid()), *command],
                               cwd=self.folder, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               encoding="utf-8", errors="replace") as process):
            try:
                for line in process.stdout or ():
                    record.write(line)
                    found = _ERROR.search(line)
                    problem = problem or (found[1] if found else "")
                    if self.progress:
                        self.progress(stage, line.rstrip())
                    if watch:
                        watch(line)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ToolError(f"{stage}: {problem or f'exit status {process.returncode}'}", log)
        return time.monotonic() - started


def synthesize(shop: Workshop, rtlil: str, *, compact: bool = False, order: Sequence[str] = ()
               ) -> float:
    """Synthesize the module ``top`` of ``rtlil`` to ``top.json``; returns the seconds.

    ``compact`` does without wide multiplexers: on ECP5 fewer LUTs (a gearbox 301, not 461), but a
    slower clock (144, not 195 MHz). ``order`` are the paths of instances whose multipliers get
    sites where the family has any, in the order in which data passes through them. Raises
    `PenjingError` where the tool fails, as all here.
    """
    shop.write(f"{TOP}.il", rtlil)
    options = shop.flow.compact if compact else ""
    command = f"{shop.flow.synthesis} {options} -top {TOP}"
    steps = synthesis.steps(command, tables_apart=bool(shop.flow.compact) and not compact)
    shop.write(f"{TOP}.ys", "\n".join(
        (f"read_rtlil {TOP}.il", *steps, f"write_json {TOP}.json", "")))
    seconds = shop.run("synthesis", [sys.executable, "-P", synthesis.__file__, f"{TOP}.ys"])
    if shop.flow.rewrite:
        shop.flow.rewrite(shop.folder / f"{TOP}.json", TOP, shop.board.dsp_sites, order)
    return seconds


def place_and_route(shop: Workshop, constraints: Sequence[str] = (), *, seed: int = 1,
                    clock_mhz: float | None = None, owners: Mapping[str, str] | None = None
                    ) -> BuildResult:
    """Place and route ``top.json``; the pins are free unless ``constraints`` (nextpnr's options).

    ``clock_mhz`` is the aim for clocks that the design itself does not fix; with ``owners`` of the
    cells below each path there is a layout. A clock that is missed is no error: compare
    ``fmax_mhz``. Where the router comes no nearer to a clock, all is done again for a slower one:
    its wires are better led then than if it was stopped.
    """
    flow = shop.flow
    written = () if owners is None else ("--write", _PLACED)
    seconds = _route(shop, constraints, seed, clock_mhz, written)

    report = _report(shop.folder)
    counts = {name: int(report["utilization"][cell]["used"]) for name, cell in flow.cells.items()}
    if flow.logged_ffs:
        log = (shop.folder / _ROUTE_LOG).read_text(encoding="utf-8")
        counts["ffs"] = sum(int(number) for number in flow.logged_ffs.findall(log))
    clocks = {name: float(clock["achieved"]) for name, clock in report["fmax"].items()}
    if not clocks:
        raise ToolError("route: no path between two flip-flops of one clock was left; is the "
                        "design empty?")
    versions = {wheel: importlib.metadata.version(wheel)
                for wheel in ("amaranth", "pyosys", flow.wheel)}
    return BuildResult(luts=counts["luts"], ffs=counts["ffs"], dsps=counts["dsps"],
                       brams=counts["brams"], fmax_mhz=min(clocks.values()), clocks_mhz=clocks,
                       seconds={"route": seconds}, versions=versions,
                       layout=None if owners is None else _layout(shop, owners))


def _route(shop: Workshop, constraints: Sequence[str], seed: int, clock_mhz: float | None,
           options: Sequence[str]) -> float:
    """Run nextpnr, for a slower clock where one is out of reach; returns the seconds of all runs.

    Of clocks that the design fixes, the first aim is a little higher than they are.
    """
    flow, started = shop.flow, time.monotonic()
    pins: Sequence[str] = constraints or (flow.unconstrained,)
    clocks: Mapping[str, float] = {}
    text = (shop.folder / constraints[1]).read_text(encoding="utf-8") if constraints else ""
    hurried = flow.hurried if constraints else None
    if hurried:
        shop.write(_AIM, hurried(text))
        pins = constraints[0], _AIM
    # Where there is no clock to make slower, nothing would change by another run.
    runs = _RUNS if clock_mhz is not None or (constraints and flow.slower is not None) else 1
    for run in range(1, runs + 1):
        aim = () if clock_mhz is None else ("--freq", f"{clock_mhz:g}")
        patience = Patience()
        try:
            shop.run("route", [
                _tool(flow.router), *shop.board.route_options, "--json", f"{TOP}.json", *pins,
                *flow.routed, *aim, *options, "--report", "report.json", "--seed", str(seed),
                "--timing-allow-fail"], patience if run < runs else None)
            break
        except OutOfReach:
            if clock_mhz is not None:
                clock_mhz = patience.slower(clock_mhz)
            if hurried:
                hurried, pins = None, constraints
                continue
            clocks = {net: patience.slower(mhz)
                      for net, mhz in (clocks or patience.clocks).items()}
        if constraints and flow.slower is not None:
            shop.write(_AIM, "\n".join((text, *map(flow.slower, clocks, clocks.values()), "")))
            pins = constraints[0], _AIM
    return time.monotonic() - started


def pack(shop: Workshop) -> tuple[Path, float]:
    """The bitstream of what `place_and_route` left, and the seconds that it took."""
    flow = shop.flow
    seconds = shop.run("pack", [_tool(flow.packer), *flow.pack, flow.routed[1], flow.bitstream])
    return shop.folder / flow.bitstream, seconds


def _layout(shop: Workshop, owners: Mapping[str, str]) -> Layout:
    """Where the cells are; nextpnr's own file of it is deleted, since it is huge."""
    placed = shop.folder / _PLACED
    log = (shop.folder / _ROUTE_LOG).read_text(encoding="utf-8")
    made = Layout(*read_tiles(placed, TOP, shop.flow.cells, owners), read_slack(log))
    placed.unlink()
    return made


def available(folder: Path, board: Board) -> dict[str, int]:
    """What nextpnr says the device has, by the names of `Budget`, after a run in ``folder``."""
    utilization, tools = _report(folder)["utilization"], board.family.tools
    assert tools is not None
    return {name: int(utilization[cell]["available"]) for name, cell in tools.cells.items()}


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def _tool(name: str) -> str:
    """Path of a tool: beside the interpreter first, since a virtual environment need not be on
    PATH, then on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(name)
    if found is None:
        raise NotInstalled(name, "fpga")
    return found


def _unwritable(path: Path, error: OSError) -> PenjingError:
    return PenjingError(f"{path}: {error.strerror or error}; choose another folder")
