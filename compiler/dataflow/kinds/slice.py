"""A range of channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.slice import Slicer, SlicerShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources
from ...cost.memories import index_bits
from ...ir import TensorType
from .. import control, timing
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from .kind import Ask, Kind, Stages, carried_as_is, shape_of


@dataclass(frozen=True, kw_only=True)
class Part(Kind):
    """Lanes of whole pixels, or the beats of each pixel that have channels of the range.

    Where the range begins within a beat and goes on in the next, the input is repacked to the beats
    of ``taken``.
    """

    taken: Port

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The lanes that come in, those that divide what is before the range, or all channels."""
        (i,), (height, width, channels) = ask.inputs, site.source.shape
        start, stop = _range(site)
        count = stop - start
        if i.lanes % channels == 0 and i.group % channels == 0:
            yield cls(inputs=ask.inputs, taken=i, o=Port(
                i.lanes // channels * count, i.group // channels * count))
            return
        least = -(-channels // max(1, ask.cycles // (height * width)))
        divisors = (lanes for lanes in range(least, start + 1) if start % lanes == 0)
        for lanes in sorted({least, min(i.lanes, channels), channels, *divisors}):
            if start % lanes == 0 or start // lanes == (stop - 1) // lanes:
                yield cls(inputs=ask.inputs, taken=Port(lanes, channels),
                          o=Port(min(lanes, count), count))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def cycles(self, site: Site) -> int:
        """The beats that come in, or those of the repacked input."""
        return max(port.beats(site.source.elements) for port in (self.i, self.taken))

    def stage(self, site: Site) -> timing.Stage | None:
        """Beat by beat, but for those that are dropped."""
        shape, gears = self._shape(site), self._gears(site)
        pixels, count = _pixels(site), -(-shape.channels // self.taken.lanes)
        beats = np.arange(self.taken.beats(site.source.elements))
        kept = None if shape.pixels else (
            np.arange(pixels)[:, None] * count + np.array(shape.kept)).reshape(-1)
        if gears:
            ends = np.minimum((beats % count + 1) * self.taken.lanes, shape.channels) - 1
            beats = self.i.beat_of(beats // count * shape.channels + ends)
        flow: list[control.Block] = [gear.flow for gear in gears]
        if kept is not None:
            flow.append(control.Selection(np.isin(np.arange(pixels * count), kept).tolist()))
        return timing.Passing(beats, shape.latency + sum(gear.shape.latency for gear in gears),
                              stages=tuple(flow), kept=kept)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Counters of beats and pixels, and what repacks the input."""
        shape, cells = self._shape(site), Resources()
        if not shape.pixels:
            counters = index_bits(-(-shape.channels // shape.lanes)) + index_bits(_pixels(site))
            cells = fabric.control.register.cells + Resources(
                luts=round(fabric.counters(counters)), ffs=counters)
        (source,) = self.carried(site)
        return sum((gear.cells(fabric, source.bits) for gear in self._gears(site)), cells)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What repacks the input, and the slicer."""
        element, shape = shape_of(self.carried(site)[0]), self._shape(site)
        return [*(gear.block(element) for gear in self._gears(site)),
                ("slice", Slicer(element, lanes=shape.lanes, channels=shape.channels,
                                 start=shape.start, stop=shape.stop, pixels=_pixels(site)))]

    def _shape(self, site: Site) -> SlicerShape:
        """The structure of the slicer."""
        return SlicerShape(self.taken.lanes, site.source.shape[2], *_range(site))

    def _gears(self, site: Site) -> tuple[Gear, ...]:
        """What repacks the input."""
        return repacking(self.i, self.taken, site.source.elements)


def _range(site: Site) -> tuple[int, int]:
    layer = site.layer
    assert isinstance(layer, ir.Slice)
    return layer.start, layer.stop


def _pixels(site: Site) -> int:
    height, width, _ = site.source.shape
    return height * width
