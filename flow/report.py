"""All that is known of a project, gathered for a page: its plan, and what commands have shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import boards
from ..boards import Board
from ..boards.board import UNLIMITED
from ..boards.layout import Layout
from ..compiler import file
from ..compiler.cost import Fabric, Memory, Resources, Storage, memories
from ..compiler.dataflow.plan import LayerPlan, Plan
from ..compiler.dataflow.report import WeightFacts, weight_facts
from ..compiler.dataflow.site import Site, sites
from ..compiler.ir import TensorType
from . import page
from .project import Project

__all__ = ["LayerFacts", "MemoryFacts", "Report", "gather", "report"]

PAGE = "report.html"
"""What the page is called unless the user says so."""


@dataclass(frozen=True)
class MemoryFacts:
    """A memory of a layer, and how many block RAMs it takes."""

    memory: Memory
    brams: int


@dataclass(frozen=True)
class LayerFacts:
    """A layer: what it reads, what it becomes, and what it was routed to, if it was."""

    plan: LayerPlan
    inputs: tuple[str, ...]
    result: TensorType
    idle: float
    weights: WeightFacts | None
    memories: tuple[MemoryFacts, ...]
    routed: Mapping[str, int] | None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.plan.name


@dataclass(frozen=True)
class Report:
    """A project in its ``folder``, and the last results of the commands; None: not run."""

    folder: str
    title: str
    board: Board
    plan: Plan
    source: tuple[str, TensorType]
    layers: tuple[LayerFacts, ...]
    link: Resources | None
    simulated: Mapping[str, Any] | None
    alone: tuple[Mapping[str, Any], ...]
    evaluated: Mapping[str, Any] | None
    built: Mapping[str, Any] | None
    layout: Layout | None

    def command(self, name: str, *options: str) -> str:
        """What the user types to run the command ``name`` here."""
        return shlex.join(["penjing", name, self.folder, *options])

    def budget(self, cell: str) -> int | None:
        """How many of ``cell`` the board has; None where there is no limit."""
        limit = int(getattr(self.board.budget, cell))
        return None if limit >= UNLIMITED else limit


def gather(folder: str | Path) -> Report:
    """What is known of the project in ``folder``; `PenjingError` where a part of it is damaged."""
    opened = Project.open(folder)
    network, plan = opened.network, opened.plan
    board = boards.find(plan.board)
    built = opened.recorded("build")
    layout = Layout.of_json(built["layout"]) if built else None
    where = sites(network)
    layers = tuple(_layer(where[layer.name], layer, plan, board.family.fabric, layout)
                   for layer in plan.layers)
    alone = (opened.recorded(f"simulate_{layer.name}") for layer in plan.layers)
    return Report(str(folder), network.name, board, plan, (network.input, network.input_type),
                  layers, opened.link, opened.recorded("simulate"),
                  tuple(one for one in alone if one), opened.recorded("evaluate"), built, layout)


def _layer(site: Site, planned: LayerPlan, plan: Plan, fabric: Fabric, layout: Layout | None
           ) -> LayerFacts:
    routed = layout.cells(site.name) if layout and site.name in layout.owners else None
    return LayerFacts(planned, site.layer.inputs, site.result,
                      1 - planned.cycles / plan.cycles_per_frame, weight_facts(site, planned),
                      _memories(site, planned, fabric), routed)


def _memories(site: Site, planned: LayerPlan, fabric: Fabric) -> tuple[MemoryFacts, ...]:
    """The memories of a layer with their block RAMs, which add up to those of its cells."""
    queues = [MemoryFacts(queue, memories.ram(fabric, queue.storage, queue.words,
                                              queue.width).brams)
              for queue in planned.queues if queue]
    left = planned.resources.brams - sum(queue.brams for queue in queues)
    own = planned.kind.memories(site)
    brams = [0] * len(own)
    blocks = [n for n, memory in enumerate(own) if memory.storage is Storage.BLOCK]
    # Constants take what is known of them; the last one, or the window, takes what they leave.
    blocks.sort(key=lambda n: own[n].role == "window")
    for n in blocks[:-1]:
        memory = own[n]
        brams[n] = min(left, memories.rom_blocks(fabric, memory.words, memory.width)[0]
                       * memory.copies)
        left -= brams[n]
    if blocks:
        brams[blocks[-1]] = left
    return (*map(MemoryFacts, own, brams), *queues)


def report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write the page of the project in ``folder`` to ``output``, ``report.html`` in it by default.

    Returns where it is. `PenjingError` where a file is damaged or the page cannot be written.
    """
    path = Path(folder) / PAGE if output is None else Path(output)
    file.write_atomically(path, page.render(gather(folder)).encode())
    return path
