"""Kinds that take a beat of each of several inputs at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.add import Adder
from ....hdl.stream import Gearbox
from ....hdl.tech import Technology
from ...cost import Fabric, Resources, streams
from .. import timing
from ..gears import is_regrouped
from ..port import Port
from ..site import Site
from ..timing import QUEUE_LATENCY
from .kind import Ask, Kind, Stages, shape_of, widening

ADD_LATENCY = 1


@dataclass(frozen=True, kw_only=True)
class Sum(Kind):
    """The sum of its inputs, lane by lane, each repacked to the same lanes."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough."""
        height, width, channels = site.result.shape
        steps = max(1, ask.cycles // (height * width))
        yield cls(inputs=ask.inputs, o=Port(-(-channels // min(steps, channels)), channels))

    def cycles(self, site: Site) -> int:
        """The beats of whatever has most."""
        elements = site.result.elements
        return max(port.beats(elements) for port in (self.o, *self.inputs))

    def stage(self, site: Site) -> timing.Stage | None:
        """An output beat when the last input beat that it needs is there."""
        height, width, channels = site.result.shape
        lanes = self.o.lanes
        ends = np.minimum((np.arange(-(-channels // lanes)) + 1) * lanes, channels) - 1
        elements = (np.arange(height * width)[:, None] * channels + ends).reshape(-1)
        return timing.Joining(tuple(port.beat_of(elements) for port in self.inputs),
                              QUEUE_LATENCY + ADD_LATENCY)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """An adder and a register in each lane, and what repacks the inputs."""
        lanes, bits = self.o.lanes, site.result.bits
        cells = Resources(luts=round(lanes * bits * fabric.adder_bit) + 4, ffs=lanes * bits + 2)
        for port, source in zip(self.inputs, site.sources, strict=True):
            if is_regrouped(port, self.o):
                cells += streams.gearbox(fabric, bits=source.bits, i_lanes=port.lanes,
                                         o_lanes=lanes)
        return cells

    def branches(self, site: Site) -> tuple[Stages, ...]:
        """What repacks each input, and makes integers of signs."""
        branches = []
        for port, source in zip(self.inputs, site.sources, strict=True):
            branch: Stages = []
            if is_regrouped(port, self.o):
                branch.append(("gearbox", Gearbox(
                    shape_of(source), i_lanes=port.lanes, o_lanes=self.o.lanes,
                    i_group=port.group, o_group=self.o.group, frame=site.result.elements)))
            branches.append([*branch, *widening(source, source.widened, self.o.lanes)])
        return tuple(branches)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The adder."""
        first, second = self.carried(site)
        return [("add", Adder(shape_of(first), shape_of(second), shape_of(site.result),
                              lanes=self.o.lanes))]
