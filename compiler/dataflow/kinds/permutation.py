"""The channels in another order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ....hdl.permute import Permuter, PermuterShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources
from ..port import Port
from ..site import Site
from .ask import Ask
from .dropping import Dropping
from .kind import Stages, shape_of


@dataclass(frozen=True, kw_only=True)
class Shuffle(Dropping):
    """Wires between the channels of whole pixels, to which the input is repacked."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The beats that come in where they are whole pixels, else a pixel a beat."""
        (i,), channels = ask.inputs, site.source.shape[2]
        whole = i.lanes % channels == 0 and i.group % channels == 0
        taken = i if whole else Port(channels, channels)
        yield cls(inputs=ask.inputs, taken=taken, o=taken)

    def kept(self, site: Site) -> None:
        """All beats: it is only wiring."""

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """What repacks the input."""
        (source,) = self.carried(site)
        return sum((gear.cells(fabric, source.bits) for gear in self.gears(site)), Resources())

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What repacks the input, and the wires."""
        element, shape = shape_of(self.carried(site)[0]), self.shape(site)
        return [*(gear.block(element) for gear in self.gears(site)),
                ("permute", Permuter(element, lanes=shape.lanes, order=shape.order))]

    def shape(self, site: Site) -> PermuterShape:
        """The structure of the wires."""
        assert isinstance(site.layer, ir.Permutation)
        return PermuterShape(self.taken.lanes, site.layer.order)
