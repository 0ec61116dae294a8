"""The index of the largest channel, one element a cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.argmax import ARGMAXER_LATENCY, ArgMaxer
from ....hdl.tech import Technology
from ...cost import Fabric, Resources
from ...cost.memories import index_bits
from .. import control, timing
from ..gears import Gear, regrouping
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Kind, Stages, shape_of


@dataclass(frozen=True, kw_only=True)
class Largest(Kind):
    """A comparison, behind a gearbox where several elements come at once."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The only one."""
        yield cls(inputs=ask.inputs, o=Port(1, 1))

    def _gears(self, site: Site) -> tuple[Gear, ...]:
        """What takes beats of several elements apart."""
        source = site.source
        return regrouping(self.i, Port(1, source.shape[2]), source.elements)

    def cycles(self, site: Site) -> int:
        """The beats that come in, or their elements."""
        elements = site.source.elements
        return max(self.i.beats(elements), elements if self.i.lanes > 1 else 0)

    def stage(self, site: Site) -> timing.Stage | None:
        """An index when the last channel of a position was compared."""
        source = site.source
        channels = source.shape[2]
        lasts = np.arange(channels - 1, source.elements, channels)
        # One element a cycle behind a gearbox: the last of a position waits for those before it.
        wait = (channels - 1) % self.i.lanes + 1 if self.i.lanes > 1 else 0
        blocks = (*(gear.flow for gear in self._gears(site)),
                  control.reducer(source.elements, channels))
        return timing.Passing(self.i.beat_of(lasts), ARGMAXER_LATENCY + wait,
                              self.cycles(site) // self.i.beats(source.elements), blocks)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A comparison, a choice and an index."""
        (source,) = self.carried(site)
        bits, index, logic = source.bits, max(1, index_bits(source.shape[2])), fabric.logic
        # The index is counted, the best one kept, and one of the two put out.
        cells = fabric.control.stage.cells + Resources(
            luts=round(fabric.sums(bits) + bits * logic.mux + fabric.counters(index)
                       + 2 * index * logic.mux),
            ffs=bits + 3 * index)
        return sum((gear.cells(fabric, bits) for gear in self._gears(site)), cells)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The gearbox and the comparison."""
        (source,) = self.carried(site)
        shape, channels = shape_of(source), source.shape[2]
        return [*(gear.block(shape) for gear in self._gears(site)),
                ("argmax", ArgMaxer(shape, count=channels))]
