"""A chain of stages as one component."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .stream import connect

__all__ = ["Pipeline"]


class Pipeline(wiring.Component):
    """Named stages in a row: ``o`` is the last stage's, latency the sum, rate that of the slowest.

    Parameters
    ----------
    stages : (instance name, component with streams ``i`` and ``o``), in order; at least one.

    Members
    -------
    i : the first stage's ``i``.
    o : the last stage's ``o``.
    """

    def __init__(self, stages: Sequence[tuple[str, wiring.Component]]) -> None:
        if not stages:
            raise ValueError("stages must not be empty")
        self._stages = stages
        super().__init__({"i": In(stages[0][1].i.signature.flip()),
                          "o": Out(stages[-1][1].o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, stage in self._stages:
            m.submodules[name] = stage
        components = [stage for _, stage in self._stages]
        connect(m, *components)
        wiring.connect(m, wiring.flipped(self.i), components[0].i)
        wiring.connect(m, wiring.flipped(self.o), components[-1].o)
        return m
