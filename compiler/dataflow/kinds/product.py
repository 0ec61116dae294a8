"""The product of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from ....hdl.multiply import MultiplyShape, StreamMultiplier
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, arithmetic, streams
from .. import control
from ..site import Site
from .ask import Ask
from .engine import dsp_blocks
from .join import LaneByLane, fewest_lanes
from .kind import Stages, shape_of


@dataclass(frozen=True, kw_only=True)
class Product(LaneByLane):
    """A multiplier in each lane, behind it a queue; ``dsps`` of them are DSP blocks."""

    shape: MultiplyShape

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough."""
        o = fewest_lanes(site, ask)
        first, second = (shape_of(source.widened) for source in site.sources)
        shape = MultiplyShape.of(first, second, _offsets(site))
        yield cls(inputs=ask.inputs, o=o, shape=shape,
                  dsps=dsp_blocks(ask, shape.a_bits, shape.b_bits, o.lanes))

    @property
    def joint(self) -> control.Steps | control.Delay:
        """A delay, with a queue behind it that has room for all beats on their way."""
        return control.Delay(self.shape.latency, self.shape.queue_depth - 1)

    @property
    def latency(self) -> int:
        """That of offsets, multiplier and queue."""
        return self.shape.latency

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Differences and multipliers, what lets beats in and out, and what repacks the inputs."""
        shape, lanes = self.shape, self.o.lanes
        bits = shape.a_bits, shape.b_bits
        cells = super().cells(site, fabric) + Resources(dsps=self.dsps)
        cells += streams.queue(fabric, shape.queue_depth, lanes * site.result.bits + 1)
        cells += streams.admission(fabric, depth=shape.depth, room=shape.queue_depth - 1)
        if shape.subtracts:
            cells += Resources(luts=round(sum(fabric.sums(width, lanes) for width, offset in
                                              zip(bits, _offsets(site), strict=True) if offset)),
                               ffs=lanes * sum(bits))
        return cells + arithmetic.multiplier(fabric, *bits) * (lanes - self.dsps)

    def work(self) -> Mapping[str, int]:
        """A multiplier a lane."""
        return {"multipliers": self.o.lanes}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The multiplier."""
        first, second = self.carried(site)
        return [("multiply", StreamMultiplier(
            shape_of(first), shape_of(second), shape_of(site.result), lanes=self.o.lanes,
            offsets=_offsets(site), dsp_multipliers=self.dsps, technology=technology))]


def _offsets(site: Site) -> tuple[int, int]:
    assert isinstance(site.layer, ir.Multiply)
    return site.layer.offsets
