"""Kinds that take a beat of each of two inputs at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ....hdl.add import ADDER_LATENCY, Adder
from ....hdl.skip import SKIP_LATENCY
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources
from .. import control, timing
from ..gears import regrouping
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Kind, Stages, shape_of, widening


@dataclass(frozen=True, kw_only=True)
class LaneByLane(Kind):
    """What makes an element of two, each input repacked to the lanes that go out."""

    @property
    @abstractmethod
    def joint(self) -> control.Steps | control.Delay:
        """What moves on what a beat of each makes."""

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from the later of two beats to what they make."""

    def cycles(self, site: Site) -> int:
        """The beats of whatever has most."""
        elements = site.result.elements
        return max(port.beats(elements) for port in (self.o, *self.inputs))

    def stage(self, site: Site) -> timing.Stage | None:
        """An output beat when the last input beat that it needs is there."""
        lasts = self.o.ends(site.result.elements) - 1
        gears = [regrouping(port, self.o, site.result.elements) for port in self.inputs]
        return timing.Joining(tuple(port.beat_of(lasts) if own else None
                                    for port, own in zip(self.inputs, gears, strict=True)),
                              (SKIP_LATENCY + self.latency,) * len(self.inputs),
                              tuple(tuple(gear.flow for gear in own) for own in gears), self.joint)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """What repacks the inputs."""
        cells = Resources()
        for port, source in zip(self.inputs, site.sources, strict=True):
            for gear in regrouping(port, self.o, site.result.elements):
                cells += gear.cells(fabric, source.bits)
        return cells

    def branches(self, site: Site) -> tuple[Stages, ...]:
        """What repacks each input, and makes integers of signs."""
        branches = []
        for port, source in zip(self.inputs, site.sources, strict=True):
            branch = [gear.block(shape_of(source))
                      for gear in regrouping(port, self.o, site.result.elements)]
            branches.append([*branch, *widening(source, source.widened, self.o.lanes)])
        return tuple(branches)


def fewest_lanes(site: Site, ask: Ask) -> Port:
    """The port of the fewest lanes by which what goes out is fast enough."""
    height, width, channels = site.result.shape
    return ask.port(channels, height * width)


@dataclass(frozen=True, kw_only=True)
class Sum(LaneByLane):
    """The sum or difference of its inputs."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough."""
        yield cls(inputs=ask.inputs, o=fewest_lanes(site, ask))

    @property
    def joint(self) -> control.Steps | control.Delay:
        """A register."""
        return control.Steps(ADDER_LATENCY)

    @property
    def latency(self) -> int:
        """The adder's."""
        return ADDER_LATENCY

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """An adder and a register in each lane, and what repacks the inputs."""
        lanes, bits = self.o.lanes, site.result.bits
        return super().cells(site, fabric) + fabric.control.register.cells + Resources(
            luts=round(fabric.sums(bits, lanes)), ffs=lanes * bits)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The adder, which may subtract."""
        first, second = self.carried(site)
        return [(site.layer.kind, Adder(shape_of(first), shape_of(second), shape_of(site.result),
                                        lanes=self.o.lanes,
                                        subtracts=isinstance(site.layer, ir.Subtract)))]
