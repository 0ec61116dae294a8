"""Blocks wired to a graph of streams, as one component."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .fill import chain, fill_members
from .stream import Fork, PassesReady, SkidBuffer, connect_streams

__all__ = ["READY_GATES", "Graph", "Pipeline", "Stage"]

READY_GATES = 4
"""The most gates between two registers that a ``ready`` passes within a graph."""


@dataclass(frozen=True)
class Stage:
    """One block of a graph.

    ``inputs`` says what each input stream of ``component`` reads: the name of another stage, or of
    an input of the graph.
    """

    name: str
    component: wiring.Component
    inputs: dict[str, str]


class Graph(wiring.Component):
    """Named stages; what several of them read is forked; latency and rate follow from the stages.

    Where more than ``READY_GATES`` blocks in a row pass their ``ready`` on, a skid buffer parts
    them, which costs no cycle.

    Parameters
    ----------
    stages : in topological order, at least one; the last one's ``o`` is the graph's.
    inputs : names of the graph's own input streams.

    Members
    -------
    i (or what ``inputs`` names) : what the first reader of that name takes.
    o : the last stage's ``o``.
    load, loaded : see `penjing.hdl.fill.Filler`; where stages have memories to be filled, in order.
    """

    def __init__(self, stages: Sequence[Stage], inputs: Sequence[str] = ("i",)) -> None:
        if not stages:
            raise ValueError("stages must not be empty")
        for stage in stages:
            if stage.name in inputs:
                raise ValueError(f"a stage must not have the name of an input, {stage.name!r}")
        self._stages = stages
        readers = self._readers()
        for name in (*inputs, *(stage.name for stage in stages[:-1])):
            if name not in readers:
                raise ValueError(f"every stream must have a reader, {name!r} has none")
        members = {}
        for name in inputs:
            stage, port = readers[name][0]
            members[name] = In(getattr(stage.component, port).signature.flip())
        super().__init__({**members, "o": Out(stages[-1].component.o.signature),
                          **fill_members(stage.component for stage in stages)})
        self._inputs = inputs

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its input streams."""
        return tuple(self._inputs)

    @property
    def names(self) -> list[str]:
        """Names of the stages, in their order."""
        return [stage.name for stage in self._stages]

    def _readers(self) -> dict[str, list[tuple[Stage, str]]]:
        """Who reads each stream, and by which port."""
        readers: dict[str, list[tuple[Stage, str]]] = {}
        for stage in self._stages:
            for port, source in stage.inputs.items():
                readers.setdefault(source, []).append((stage, port))
        return readers

    @property
    def ready_gates(self) -> int | None:
        """Gates from ``o.ready`` to an input's ready; None where registers part them everywhere."""
        gates = self._gates(None)
        return max((n for name in self._inputs if (n := gates[name]) is not None), default=None)

    @property
    def parted(self) -> list[str]:
        """The stages behind which there is a skid buffer."""
        gates = self._gates(0)
        return [stage.name for stage in self._stages
                if _is_long(_ready_gates(stage.component), gates[stage.name])]

    def _gates(self, at_register: int | None) -> dict[str, int | None]:
        """Gates to the ready of each stream, from outside or from a register.

        Where it follows from registers only, they are ``at_register``.
        """
        readers = self._readers()
        gates: dict[str, int | None] = {self._stages[-1].name: 0}
        for name in reversed([*self._inputs, *(stage.name for stage in self._stages[:-1])]):
            ends = []
            for stage, _ in readers[name]:
                own, behind = _ready_gates(stage.component), gates[stage.name]
                if _is_long(own, behind):
                    behind = at_register
                ends.append(at_register if own is None or behind is None else own + behind)
            known = [end for end in ends if end is not None]
            gates[name] = max(known) + (len(ends) > 1) if known else None
        return gates

    def elaborate(self, platform: object) -> Module:
        m = Module()
        taken = self.names
        sources: dict[str, Any] = {name: wiring.flipped(getattr(self, name))
                                   for name in self._inputs}
        for stage in self._stages:
            m.submodules[stage.name] = stage.component
            sources[stage.name] = stage.component.o
        for name in self.parted:
            skid = SkidBuffer(sources[name].payload.shape())
            m.submodules[_free(f"{name}_skid", taken)] = skid
            connect_streams(m, sources[name], skid.i, f"{name} -> skid")
            sources[name] = skid.o
        for name, readers in self._readers().items():
            ends = [(getattr(stage.component, port), f"{stage.name}.{port}")
                    for stage, port in readers]
            if len(ends) == 1:
                connect_streams(m, sources[name], ends[0][0], f"{name} -> {ends[0][1]}")
                continue
            fork = Fork(sources[name].payload.shape(), len(ends))
            m.submodules[_free(f"{name}_fork", taken)] = fork
            connect_streams(m, sources[name], fork.i, f"{name} -> fork")
            for n, (end, path) in enumerate(ends):
                connect_streams(m, getattr(fork, f"o_{n}"), end, f"{name} -> {path}")
        wiring.connect(m, wiring.flipped(self.o), self._stages[-1].component.o)
        chain(m, self, [stage.component for stage in self._stages])
        return m


def _is_long(own: int | None, behind: int | None) -> bool:
    """Whether a stage with its ``own`` gates must be parted from those ``behind`` it."""
    return own is not None and behind is not None and own + behind > READY_GATES


def _ready_gates(component: wiring.Component) -> int | None:
    """Gates from the ready of what ``component`` gives to that of what it takes, None for none."""
    return component.ready_gates if isinstance(component, PassesReady | Graph) else None


def _free(name: str, taken: Collection[str]) -> str:
    """``name``, with underscores behind it if it is among those that are ``taken``."""
    while name in taken:
        name += "_"
    return name


class Pipeline(Graph):
    """Named stages in a row: latency is their sum, the rate that of the slowest.

    Parameters
    ----------
    stages : (instance name, component with streams ``i`` and ``o``), in order; at least one.

    Members
    -------
    i : the first stage's ``i``.
    o : the last stage's ``o``.
    """

    def __init__(self, stages: Sequence[tuple[str, wiring.Component]]) -> None:
        sources = ["i", *(name for name, _ in stages)]
        super().__init__([Stage(name, component, {"i": source})
                          for (name, component), source in zip(stages, sources, strict=False)])
