"""A project to the bitstream of its board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import boards
from ..boards.layout import Layout
from ..boards.top import ACCELERATOR, WRAPPER, board_top, stage_paths
from ..compiler.cost import Resources
from ..compiler.dataflow.plan_file import to_json
from ..compiler.dataflow.report import Table, table_of
from .progress import Progress, silent
from .project import BOARD, Project

__all__ = ["BETWEEN", "LINK", "Build", "build"]

LINK, BETWEEN = "serial link", "between layers"
"""Owners of cells around the accelerator, and of its forks and skid buffers; no names of layers."""


@dataclass(frozen=True)
class Build:
    """What place-and-route made of the board design, and the prediction for it.

    ``predicted`` is the accelerator's and the serial link's together; the owners in its ``layout``
    are the layers, `LINK`, `BETWEEN` and `penjing.boards.layout.OTHER`.
    """

    measured: Mapping[str, Any]
    predicted: Resources
    clock_mhz: float
    layout: Layout

    @property
    def clock_met(self) -> bool:
        """Whether the slowest path keeps up with the clock."""
        return bool(self.measured["fmax_mhz"] >= self.clock_mhz)

    def json(self) -> dict[str, Any]:
        """What ``penjing build --json`` prints."""
        return {**self.measured, "clock_mhz": self.clock_mhz, "clock_met": self.clock_met,
                "predicted": to_json(self.predicted)}

    def table(self) -> Table:
        """The same for people."""
        cells = ("luts", "ffs", "dsps", "brams")
        rows: list[tuple[object, ...]] = [
            (name.upper(), self.measured[name], getattr(self.predicted, name)) for name in cells]
        rows += [("Fmax (MHz)", self.measured["fmax_mhz"], self.clock_mhz),
                 ("bitstream", self.measured["bitstream"], None)]
        return table_of("Placed and routed", ("", "measured", "predicted or wanted"), rows)


def build(folder: str | Path, *, seed: int = 1, progress: Progress = silent) -> Build:
    """Place and route the network in ``folder`` for its board, down to the bitstream."""
    from ..boards.toolchain import Workshop  # deferred: only those who build need the tools
    from ..boards.toolchain import build as place

    opened = Project.open(folder)
    plan = opened.plan
    board = boards.find(plan.board)
    Workshop(board, opened.path / BOARD)  # refuses a board without tools before hardware is made
    design = opened.design
    whole = design.whole(board.technology).component()
    top = board_top(board, whole, opened.identity, i_port=design.i, o_port=design.o,
                    clock_mhz=plan.clock_mhz)
    order = stage_paths(whole)
    layers = {layer.name for layer in plan.layers}
    # A layer that is called as the input has another name in the hardware.
    owners = {path: name if name in layers else name.rstrip("_")
              for path, name in zip(order, whole.names, strict=True)}
    made = place(board, top, opened.path / BOARD, seed=seed, order=order,
                 owners={**owners, ACCELERATOR: BETWEEN, WRAPPER: LINK},
                 progress=lambda stage, line: progress(stage, 0, 0))
    assert made.layout is not None
    measured = {**vars(made), "bitstream": str(made.bitstream)}
    del measured["layout"]
    predicted = plan.resources + (opened.link or Resources())
    result = Build(measured, predicted, plan.clock_mhz, made.layout)
    opened.record("build", {**result.json(), "layout": made.layout.json()})
    return result
