"""A project to the bitstream of its board."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import boards
from ..boards.layout import Layout
from ..boards.netlist import UNDER_WAY, Routed, route, synthesized
from ..boards.toolchain import ToolError, Workshop
from ..boards.top import ACCELERATOR, WRAPPER, board_top, stage_paths
from ..compiler import file
from ..compiler.cost import Resources
from ..compiler.dataflow.plan_file import to_json
from ..compiler.dataflow.report import Table, table_of
from ..compiler.ir import PenjingError
from . import workers as pools
from .progress import Progress, silent
from .project import BOARD, Project
from .seeds import Seeds

__all__ = ["BETWEEN", "LINK", "Build", "Tried", "build"]

LINK, BETWEEN = "serial link", "between layers"
"""Owners of cells around the accelerator, and of its forks and skid buffers; no names of layers."""

_MOST_SEEDS = 10_000
_SEEDS = "seeds"


@dataclass(frozen=True)
class Tried:
    """A seed, and the clock that it reached; None where it failed, of which ``problem`` tells."""

    seed: int
    fmax_mhz: float | None
    problem: str = ""

    def json(self) -> dict[str, Any]:
        """As ``penjing build --json`` prints it."""
        return {"seed": self.seed, **({"error": self.problem} if self.fmax_mhz is None
                                      else {"fmax_mhz": self.fmax_mhz})}


@dataclass(frozen=True)
class Build:
    """What place-and-route made of the board design, and the prediction for it.

    ``measured`` is that of the best ``seed`` of all that were ``tried``. ``predicted`` is the
    accelerator's and the serial link's together; the owners in its ``layout`` are the layers,
    `LINK`, `BETWEEN` and `penjing.boards.layout.OTHER`.
    """

    measured: Mapping[str, Any]
    predicted: Resources
    clock_mhz: float
    layout: Layout
    seed: int
    tried: tuple[Tried, ...]

    @property
    def clock_met(self) -> bool:
        """Whether the slowest path keeps up with the clock."""
        return bool(self.measured["fmax_mhz"] >= self.clock_mhz)

    def json(self) -> dict[str, Any]:
        """What ``penjing build --json`` prints."""
        return {**self.measured, "clock_mhz": self.clock_mhz, "clock_met": self.clock_met,
                "predicted": to_json(self.predicted), "seed": self.seed,
                "seeds": [one.json() for one in self.tried]}

    def tables(self) -> tuple[Table, ...]:
        """The same for people; where several seeds were tried, these first."""
        cells = ("luts", "ffs", "dsps", "brams")
        rows: list[tuple[object, ...]] = [
            (name.upper(), self.measured[name], getattr(self.predicted, name)) for name in cells]
        rows += [("Fmax (MHz)", self.measured["fmax_mhz"], self.clock_mhz),
                 ("bitstream", self.measured["bitstream"], None)]
        made = table_of(f"Placed and routed with seed {self.seed}",
                        ("", "measured", "predicted or wanted"), rows)
        if len(self.tried) == 1:
            return (made,)
        return table_of(f"Seeds, {self.clock_mhz:g} MHz are wanted", ("seed", "Fmax (MHz)", ""), (
            (one.seed, one.fmax_mhz, one.problem) for one in self.tried)), made


def build(folder: str | Path, *, seed: int = 1, seeds: int = 1,
          workers: int | None = None, scheduler: str | None = None,
          progress: Progress = silent) -> Build:
    """Place and route the network in ``folder`` for its board, down to the bitstream.

    With so many ``seeds`` of the placer from ``seed`` on, of which the one of the fastest clock is
    taken; one that fails costs no more than itself. What is done is kept in the folder, so that an
    interrupted build goes on, and no seed is tried twice. They run side by side on ``workers``, one
    for each processor by default, or on those of a ``scheduler``: see `penjing.flow.workers`.
    `PenjingError` where a tool is missing or fails.
    """
    _require(seed, seeds)
    pools.check_workers(workers, scheduler)
    opened = Project.open(folder)
    plan, design = opened.plan, opened.design
    board = boards.find(plan.board)
    # Refuses a board without tools before hardware is made.
    shop = Workshop(board, opened.path / BOARD, lambda stage, line: progress(stage, 0, 0))
    if scheduler is not None:
        with pools.workers(scheduler=scheduler):
            pass  # synthesis is not in vain
    bitstream = shop.folder / shop.flow.bitstream
    bitstream.unlink(missing_ok=True)
    whole = design.whole(board.technology).component()
    top = board_top(board, whole, opened.identity, i_port=design.i, o_port=design.o,
                    clock_mhz=plan.clock_mhz)
    order = stage_paths(whole)
    netlist = synthesized(shop, top, order=order, owners=_owners(opened, order, whole.names))
    every = _routed(Seeds(shop.folder / _SEEDS, netlist), range(seed, seed + seeds), workers,
                    scheduler, progress)
    best = _taken(shop, every)
    assert best.result is not None and best.result.layout is not None
    measured = {**vars(best.result), "bitstream": str(bitstream)}
    del measured["layout"]
    result = Build(measured, plan.resources + (opened.link or Resources()), plan.clock_mhz,
                   best.result.layout, best.seed, tuple(
                       Tried(one.seed, one.result.fmax_mhz if one.result else None, one.problem)
                       for one in every))
    opened.record("build", {**result.json(), "layout": best.result.layout.json()})
    return result


def _require(seed: int, seeds: int) -> None:
    for name, value, most in (("seed", seed, 1 << 31), ("seeds", seeds, _MOST_SEEDS + 1)):
        if type(value) is not int or not 1 <= value < most:
            raise PenjingError(f"{name}: it must be an integer from 1 to {most - 1:,}, not "
                               f"{value!r:.40}")


def _owners(opened: Project, paths: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Whose the cells below each path are."""
    layers = {layer.name for layer in opened.plan.layers}
    # A layer that is called as the input has another name in the hardware.
    named = {path: name if name in layers else name.rstrip("_")
             for path, name in zip(paths, names, strict=True)}
    return {**named, ACCELERATOR: BETWEEN, WRAPPER: LINK}


def _routed(seeds: Seeds, numbers: Sequence[int], count: int | None, scheduler: str | None,
            progress: Progress) -> list[Routed]:
    """What becomes of all seeds, of which those that are kept are done."""
    found = {number: routed for number in numbers if (routed := seeds.kept(number)) is not None}
    missing = [number for number in numbers if number not in found]

    def note(number: int, routed: Routed) -> None:
        seeds.keep(routed)
        found[number] = routed
        clocks = [one.result.fmax_mhz for one in found.values() if one.result is not None]
        best = f", the best {max(clocks):.1f} MHz" if clocks else ""
        progress(f"seeds{best}", len(found), len(numbers))

    if scheduler is None:
        count = min(len(missing), (os.cpu_count() or 1) if count is None else count)
        # One process more would be no gain.
        count = 0 if count == 1 else count
    try:
        with pools.workers(count, scheduler) if missing else nullcontext(pools.Workers()) as some:
            # Lines are told of only where they are seen.
            work = route if some.client is not None else partial(
                route, progress=lambda stage, line: progress(stage, len(found), len(numbers)))
            some.each(work, seeds.netlist, missing, note)
    finally:
        for path in seeds.netlist.folder.glob(f"{UNDER_WAY}*"):
            shutil.rmtree(path, ignore_errors=True)
    return [found[number] for number in numbers]


def _taken(shop: Workshop, every: Sequence[Routed]) -> Routed:
    """Put the files of the one with the fastest clock into the folder, the bitstream last."""
    made = [(one.result.fmax_mhz, -one.seed, one) for one in every if one.result is not None]
    if not made:
        first = every[0]
        raise ToolError(first.problem, shop.folder / _SEEDS / str(first.seed)
                        if first.files else None)
    best = max(made)[2]
    for name, data in sorted(best.files.items(), key=lambda item: item[0] == shop.flow.bitstream):
        file.write_atomically(shop.folder / name, data)
    return best
