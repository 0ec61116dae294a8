"""Some rows and columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.crop import Axis, Cropper, CropperShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, streams
from ...cost.memories import index_bits
from ...ir import Integers
from ..port import Port
from ..site import Site
from .ask import Ask
from .dropping import Dropping
from .kind import Stages, shape_of


@dataclass(frozen=True, kw_only=True)
class Cutout(Dropping):
    """The beats of the pixels that are kept: those of a pixel begin with a fresh one."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough, or those that come in."""
        height, width, channels = site.source.shape
        least = ask.port(channels, height * width).lanes
        for lanes in sorted({least, min(ask.inputs[0].lanes, channels)}):
            yield cls(inputs=ask.inputs, taken=Port(lanes, channels), o=Port(lanes, channels))

    def kept(self, site: Site) -> Integers | None:
        """The beats of each pixel whose row and column are kept."""
        shape = self.shape(site)
        pixels = (np.array(shape.rows.kept)[:, None] * shape.columns.size
                  + np.array(shape.columns.kept))
        return np.asarray(pixels[..., None] * shape.beats + np.arange(shape.beats)).reshape(-1)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Counters of beats, rows and columns, and what repacks the input."""
        counts, (source,) = self.shape(site).counts, self.carried(site)
        cells = fabric.control.register.cells + Resources(
            luts=round(fabric.counters(sum(map(index_bits, counts)))),
            ffs=streams.counter_ffs(*counts))
        return sum((gear.cells(fabric, source.bits) for gear in self.gears(site)), cells)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What repacks the input, and the cropper."""
        element, shape = shape_of(self.carried(site)[0]), self.shape(site)
        return [*(gear.block(element) for gear in self.gears(site)),
                ("crop", Cropper(element, lanes=shape.lanes, channels=shape.channels,
                                 rows=shape.rows, columns=shape.columns))]

    def shape(self, site: Site) -> CropperShape:
        """The structure of the cropper."""
        layer, (height, width, channels) = site.layer, site.source.shape
        assert isinstance(layer, ir.Crop)
        return CropperShape(self.taken.lanes, channels, Axis(height, *layer.rows),
                            Axis(width, *layer.columns))
