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
from ...ir import Integers
from ..port import Port
from ..site import Site
from .ask import Ask
from .dropping import Dropping
from .kind import Stages, shape_of


@dataclass(frozen=True, kw_only=True)
class Part(Dropping):
    """Lanes of whole pixels, or the beats of each pixel that have channels of the range.

    Where the range begins within a beat and goes on in the next, the input is repacked to the beats
    of ``taken``.
    """

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
        least = ask.port(channels, height * width).lanes
        divisors = (lanes for lanes in range(least, start + 1) if start % lanes == 0)
        for lanes in sorted({least, min(i.lanes, channels), channels, *divisors}):
            if start % lanes == 0 or start // lanes == (stop - 1) // lanes:
                yield cls(inputs=ask.inputs, taken=Port(lanes, channels),
                          o=Port(min(lanes, count), count))

    def kept(self, site: Site) -> Integers | None:
        """The beats of each pixel that have channels of the range."""
        shape = self.shape(site)
        if shape.pixels:
            return None
        count = -(-shape.channels // shape.lanes)
        return (np.arange(_pixels(site))[:, None] * count + np.array(shape.kept)).reshape(-1)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Counters of beats and pixels, and what repacks the input."""
        shape, cells = self.shape(site), Resources()
        if not shape.pixels:
            counters = index_bits(-(-shape.channels // shape.lanes)) + index_bits(_pixels(site))
            cells = fabric.control.register.cells + Resources(
                luts=round(fabric.counters(counters)), ffs=counters)
        (source,) = self.carried(site)
        return sum((gear.cells(fabric, source.bits) for gear in self.gears(site)), cells)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What repacks the input, and the slicer."""
        element, shape = shape_of(self.carried(site)[0]), self.shape(site)
        return [*(gear.block(element) for gear in self.gears(site)),
                ("slice", Slicer(element, lanes=shape.lanes, channels=shape.channels,
                                 start=shape.start, stop=shape.stop, pixels=_pixels(site)))]

    def shape(self, site: Site) -> SlicerShape:
        """The structure of the slicer."""
        return SlicerShape(self.taken.lanes, site.source.shape[2], *_range(site))


def _range(site: Site) -> tuple[int, int]:
    layer = site.layer
    assert isinstance(layer, ir.Slice)
    return layer.start, layer.stop


def _pixels(site: Site) -> int:
    height, width, _ = site.source.shape
    return height * width
