"""What stands between beats of different lanes: nothing, a collector, a gearbox, or both."""

from __future__ import annotations

from dataclasses import dataclass

from ..hdl.stream import gearbox_capacity
from . import control
from .plan import Port
from .timing import beat_ends

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


def gear_blocks(i: Port, lanes: int, elements: int) -> tuple[control.Block, ...]:
    """The control of what makes words of ``lanes`` elements of the frame."""
    blocks = []
    for gear in gears(i, lanes, elements):
        o = Port(gear.lanes, elements)
        blocks.append(control.collector(beat_ends(elements, gear.i), beat_ends(elements, o))
                      if gear.collects else repacked(gear.i, o, elements))
    return tuple(blocks)


def repacked(i: Port, o: Port, elements: int) -> control.Block:
    """The control of a gearbox from beats of ``i`` to those of ``o``."""
    capacity = gearbox_capacity((i.lanes, i.group), (o.lanes, o.group))
    return control.gearbox(beat_ends(elements, i), beat_ends(elements, o), lanes=i.lanes,
                           capacity=capacity)


def _collects(i: Port, lanes: int, elements: int) -> bool:
    """Whether words of ``lanes`` elements of the frame are several whole beats of ``i``.

    A last word of one beat would cost a cycle, as there is none to make room for it in.
    """
    whole = i.group % i.lanes == 0 and elements % i.lanes == 0
    return (lanes > i.lanes and lanes % i.lanes == 0 and whole
            and (elements - 1) % lanes + 1 > i.lanes)
