"""What kinds share that repack their input, and may drop beats of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from ....hdl.crop import CropperShape
from ....hdl.permute import PermuterShape
from ....hdl.slice import SlicerShape
from ...ir import Integers, TensorType
from .. import control, timing
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from .kind import Kind, carried_as_is


@dataclass(frozen=True, kw_only=True)
class Dropping(Kind):
    """Some of the beats of ``taken``, to which the input is repacked where it comes by others."""

    taken: Port

    @abstractmethod
    def shape(self, site: Site) -> SlicerShape | CropperShape | PermuterShape:
        """The structure of what takes the beats."""

    @abstractmethod
    def kept(self, site: Site) -> Integers | None:
        """The beats of a frame that go on, by their numbers; None where that is only wiring."""

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def cycles(self, site: Site) -> int:
        """The beats that come in, or those of the repacked input."""
        return max(port.beats(site.source.elements) for port in (self.i, self.taken))

    def stage(self, site: Site) -> timing.Stage | None:
        """Beat by beat, but for those that are dropped."""
        source, gears, kept = site.source, self.gears(site), self.kept(site)
        channels = source.shape[2]
        beats = np.arange(self.taken.beats(source.elements))
        flow: list[control.Block] = [gear.flow for gear in gears]
        if kept is not None:
            flow.append(control.Selection(np.isin(beats, kept).tolist()))
        if gears:
            count = -(-channels // self.taken.lanes)
            ends = np.minimum((beats % count + 1) * self.taken.lanes, channels) - 1
            beats = self.i.beat_of(beats // count * channels + ends)
        latency = self.shape(site).latency + sum(gear.shape.latency for gear in gears)
        return timing.Passing(beats, latency, stages=tuple(flow), kept=kept)

    def gears(self, site: Site) -> tuple[Gear, ...]:
        """What repacks the input."""
        return repacking(self.i, self.taken, site.source.elements)
