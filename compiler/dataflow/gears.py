"""What stands between beats of different lanes: nothing, a collector, a gearbox, or both."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import wiring

from ...hdl.stream import Collector, Gearbox
from ..cost import Fabric, Resources, streams
from .port import Port

COLLECTOR_LATENCY = 2
GEARBOX_LATENCY = 1


@dataclass(frozen=True)
class Gear:
    """A step from the beats of ``i`` to words of ``lanes``: a collector or a gearbox."""

    i: Port
    lanes: int
    collects: bool

    @property
    def latency(self) -> int:
        """Cycles from the beat that completes a word to the word."""
        return COLLECTOR_LATENCY if self.collects else GEARBOX_LATENCY


def is_regrouped(i: Port, o: Port) -> bool:
    """Whether beats of ``i`` must be repacked to those of ``o``."""
    uneven = i.group % i.lanes > 0 or o.group % o.lanes > 0
    return i.lanes != o.lanes or (i.group != o.group and uneven)


def gears(i: Port, lanes: int, elements: int) -> tuple[Gear, ...]:
    """What makes words of ``lanes`` elements of the frame, in order; none where beats are words.

    Every place of a gearbox takes elements from several others, so a wide one is large and slow. A
    collector has one place for each: behind it, the gearbox need not be wider than its beats.
    """
    if i.lanes == lanes and (i.group % lanes == 0 or i.group == elements):
        return ()
    if _collects(i, lanes, elements):
        return (Gear(i, lanes, True),)
    for parts in range(lanes // i.lanes, 1, -1):
        between = Port(lanes // parts, elements)
        if lanes % parts == 0 and _collects(between, lanes, elements):
            return Gear(i, between.lanes, False), Gear(between, lanes, True)
    return (Gear(i, lanes, False),)


def gear_latency(i: Port, lanes: int, elements: int) -> int:
    """Cycles to repack beats of ``i`` to words of ``lanes`` elements of the frame; 0 for none."""
    return sum(gear.latency for gear in gears(i, lanes, elements))


def _collects(i: Port, lanes: int, elements: int) -> bool:
    """Whether words of ``lanes`` elements of the frame are several whole beats of ``i``.

    A last word of one beat would cost a cycle, as there is none to make room for it in.
    """
    whole = i.group % i.lanes == 0 and elements % i.lanes == 0
    return (lanes > i.lanes and lanes % i.lanes == 0 and whole
            and (elements - 1) % lanes + 1 > i.lanes)


def gear_cells(fabric: Fabric, i: Port, lanes: int, elements: int, bits: int) -> Resources:
    """Cells of what makes words of ``lanes`` elements of ``bits`` bits."""
    cells = Resources()
    for gear in gears(i, lanes, elements):
        cells += (streams.upsizer(bits=bits, i_lanes=gear.i.lanes, o_lanes=gear.lanes)
                  if gear.collects else
                  streams.gearbox(fabric, bits=bits, i_lanes=gear.i.lanes, o_lanes=gear.lanes))
    return cells


def gear_blocks(shape: Shape, i: Port, lanes: int, elements: int
                ) -> list[tuple[str, wiring.Component]]:
    """What makes words of ``lanes`` elements of the beats that come in, if these are others."""
    return [("collector", Collector(shape, i_lanes=gear.i.lanes, o_lanes=gear.lanes,
                                    o_group=elements, frame=elements)) if gear.collects else
            ("gearbox", Gearbox(shape, i_lanes=gear.i.lanes, o_lanes=gear.lanes,
                                i_group=gear.i.group, o_group=elements, frame=elements))
            for gear in gears(i, lanes, elements)]
