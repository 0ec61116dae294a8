"""The channels of a stream in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .stream import Beat, PassesReady

__all__ = ["Permuter", "PermuterShape"]


@dataclass(frozen=True)
class PermuterShape:
    """Structure of a `Permuter`; see there for its parameters."""

    lanes: int
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        at_least(1, lanes=self.lanes)
        if not self.order or sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"order must hold each number from 0 on once, not {self.order!r}")
        if self.lanes % len(self.order):
            raise ValueError(f"lanes must be a multiple of the {len(self.order)} channels, not "
                             f"{self.lanes!r}")

    @property
    def latency(self) -> int:
        """Cycles from a beat to what it becomes."""
        return 0


class Permuter(PassesReady):
    """``o[c] = i[order[c]]`` of the channels of each pixel; latency 0, only wiring.

    Parameters
    ----------
    shape : element shape.
    lanes : elements a beat, whole pixels.
    order : the channels of a pixel that comes in, in the order in which they leave.

    Members
    -------
    i, o : streams of ``Beat(shape, lanes)``.
    """

    ready_gates = 0

    def __init__(self, shape: ShapeLike, *, lanes: int, order: Sequence[int]) -> None:
        self._shape = PermuterShape(lanes, tuple(order))
        beat = stream.Signature(Beat(shape, lanes))
        super().__init__({"i": In(beat), "o": Out(beat)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self._shape.order
        given, left = self.i.p.data, self.o.p.data
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                     self.o.p.last.eq(self.i.p.last)]
        for lane in range(self._shape.lanes):
            pixel, channel = divmod(lane, len(order))
            m.d.comb += left[lane].eq(given[pixel * len(order) + order[channel]])
        return m
