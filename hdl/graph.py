"""Blocks wired to a graph of streams, as one component."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .stream import Fork, connect_streams

__all__ = ["Graph", "Pipeline", "Stage"]


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

    Parameters
    ----------
    stages : in topological order, at least one; the last one's ``o`` is the graph's.
    inputs : names of the graph's own input streams.

    Members
    -------
    i (or what ``inputs`` names) : what the first reader of that name takes.
    o : the last stage's ``o``.
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
        super().__init__({**members, "o": Out(stages[-1].component.o.signature)})
        self._inputs = inputs

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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sources: dict[str, Any] = {name: wiring.flipped(getattr(self, name))
                                   for name in self._inputs}
        for stage in self._stages:
            m.submodules[stage.name] = stage.component
            sources[stage.name] = stage.component.o
        for name, readers in self._readers().items():
            ends = [(getattr(stage.component, port), f"{stage.name}.{port}")
                    for stage, port in readers]
            if len(ends) == 1:
                connect_streams(m, sources[name], ends[0][0], f"{name} -> {ends[0][1]}")
                continue
            fork = Fork(sources[name].payload.shape(), len(ends))
            m.submodules[_free(f"{name}_fork", [stage.name for stage in self._stages])] = fork
            connect_streams(m, sources[name], fork.i, f"{name} -> fork")
            for n, (end, path) in enumerate(ends):
                connect_streams(m, getattr(fork, f"o_{n}"), end, f"{name} -> {path}")
        wiring.connect(m, wiring.flipped(self.o), self._stages[-1].component.o)
        return m


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
