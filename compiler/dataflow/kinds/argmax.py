"""The index of the largest channel, one element a cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.argmax import ArgMaxer
from ....hdl.stream import Gearbox
from ....hdl.tech import Technology
from ...cost import Fabric, Resources, streams
from .. import timing
from ..port import Port
from ..site import Site
from .kind import Ask, Kind, Stages, shape_of

ARGMAX_LATENCY = 1


@dataclass(frozen=True, kw_only=True)
class Largest(Kind):
    """A comparison, behind a gearbox where several elements come at once."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The only one."""
        yield cls(inputs=ask.inputs, o=Port(1, 1))

    @property
    def _geared(self) -> bool:
        return self.i.lanes > 1

    def cycles(self, site: Site) -> int:
        """The beats that come in, or their elements."""
        elements = site.source.elements
        return max(self.i.beats(elements), elements if self._geared else 0)

    def stage(self, site: Site) -> timing.Stage | None:
        """An index when the last channel of a position was compared."""
        source = site.source
        channels = source.shape[2]
        lasts = np.arange(channels - 1, source.elements, channels)
        # One element a cycle behind a gearbox: the last of a position waits for those before it.
        wait = (channels - 1) % self.i.lanes + 1 if self._geared else 0
        return timing.Passing(self.i.beat_of(lasts), ARGMAX_LATENCY + wait)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A comparison, a choice and an index."""
        (source,) = self.carried(site)
        bits, index = source.bits, max(1, (source.shape[2] - 1).bit_length())
        cells = Resources(luts=round(bits * (fabric.adder_bit + fabric.mux_bit)) + 10 * index,
                          ffs=bits + 3 * index + 2)
        if self._geared:
            cells += streams.gearbox(fabric, bits=bits, i_lanes=self.i.lanes, o_lanes=1)
        return cells

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The gearbox and the comparison."""
        (source,) = self.carried(site)
        shape, channels = shape_of(source), source.shape[2]
        stages: Stages = []
        if self._geared:
            stages.append(("gearbox", Gearbox(
                shape, i_lanes=self.i.lanes, o_lanes=1, i_group=self.i.group, o_group=channels,
                frame=source.elements)))
        return [*stages, ("argmax", ArgMaxer(shape, count=channels))]
