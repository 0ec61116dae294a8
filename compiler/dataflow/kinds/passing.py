"""What kinds share that take beats as they come and hold at most a few of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...cost import Fabric, Resources
from .. import control, timing
from ..site import Site
from .kind import Kind


@dataclass(frozen=True, kw_only=True)
class Passing(Kind):
    """A beat out for every beat in."""

    def cycles(self, site: Site) -> int:
        """The beats of a frame."""
        return self.i.beats(site.source.elements)

    def latency(self, site: Site) -> int:
        """Cycles from a beat's transfer to its result."""
        return 0

    def stage(self, site: Site) -> timing.Stage | None:
        """Beat by beat."""
        beats = self.i.beats(site.source.elements)
        return timing.Passing(np.arange(beats), self.latency(site), stages=self.flow(site))

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """What beats go through; none where that is only wiring."""
        return ()

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """None, unless it says otherwise."""
        return Resources()
