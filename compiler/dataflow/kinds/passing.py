"""What kinds share that take beats as they come and hold at most a few of them."""

from __future__ import annotations

from dataclasses import dataclass

from ....hdl.steady import SteadyShape
from ...cost import Fabric, Resources, Storage, streams
from ...cost.memories import index_bits
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
        return timing.Passing(None, self.latency(site), stages=self.flow(site))

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """What beats go through; none where that is only wiring."""
        return ()

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """None, unless it says otherwise."""
        return Resources()


@dataclass(frozen=True, kw_only=True)
class Steady(Passing):
    """Stages that never stall, with a queue behind them; their constants live in ``storage``."""

    shape: SteadyShape
    storage: Storage

    def latency(self, site: Site) -> int:
        """The stages', and the queue's."""
        return self.shape.latency

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """A delay, with a queue behind it that has room for all beats on their way."""
        return (control.Delay(self.shape.latency, self.shape.queue_depth - 1),)

    def around(self, site: Site, fabric: Fabric, words: int) -> Resources:
        """Cells of the queue, of what lets beats in, and of the counter of ``words``."""
        depth, bits = self.shape.queue_depth, index_bits(words)
        return (streams.queue(fabric, depth, self.i.lanes * site.result.bits + 1)
                + streams.admission(fabric, depth=self.shape.depth, room=depth - 1)
                + Resources(luts=round(fabric.counters(bits)), ffs=bits))
