"""What stands between beats of different lanes: nothing, an upsizer, a gearbox, or both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from amaranth.hdl import Shape
from amaranth.lib import wiring

from ...hdl.gearbox import Gearbox, GearboxShape
from ...hdl.upsizer import Upsizer, UpsizerShape
from ..cost import Fabric, Resources, streams
from . import control
from .port import Port


@dataclass(frozen=True)
class Gear:
    """A step from the beats of ``i`` to those of ``o``, of frames of so many ``elements``.

    It is an upsizer if it ``collects`` whole beats, else a gearbox.
    """

    i: Port
    o: Port
    elements: int
    collects: bool = False

    @property
    def shape(self) -> UpsizerShape | GearboxShape:
        """The block's structure."""
        if self.collects:
            return UpsizerShape(self.i.lanes, self.o.lanes)
        return GearboxShape(self.i.lanes, self.o.lanes, self.i.group, self.o.group)

    @property
    def flow(self) -> control.Block:
        """When its beats move."""
        return _flow(self)

    def cells(self, fabric: Fabric, bits: int) -> Resources:
        """Cells for elements of so many ``bits``."""
        shape = self.shape
        if isinstance(shape, UpsizerShape):
            return streams.upsizer(fabric, bits=bits, o_lanes=shape.o_lanes, parts=shape.parts,
                                   counts=self._counts(self.o))
        return streams.gearbox(fabric, bits=bits * shape.unit, slots=shape.slots,
                               single=shape.unit in (shape.i_lanes, shape.o_lanes),
                               counts=(self.i.beats(self.i.group), *self._counts(self.o)))

    def _counts(self, port: Port) -> tuple[int, int]:
        """Beats of a group at ``port``, and groups of a frame."""
        return port.beats(port.group), self.elements // port.group

    def block(self, shape: Shape) -> tuple[str, wiring.Component]:
        """The block for elements of ``shape``, and what it is called."""
        i, o = self.i, self.o
        if self.collects:
            return "upsizer", Upsizer(shape, i_lanes=i.lanes, o_lanes=o.lanes, o_group=o.group,
                                      frame=self.elements)
        return "gearbox", Gearbox(shape, i_lanes=i.lanes, o_lanes=o.lanes, i_group=i.group,
                                  o_group=o.group, frame=self.elements)


@lru_cache(maxsize=256)
def _flow(gear: Gear) -> control.Block:
    i_ends, o_ends, shape = gear.i.ends(gear.elements), gear.o.ends(gear.elements), gear.shape
    if isinstance(shape, UpsizerShape):
        return control.upsizer(i_ends, o_ends, latency=shape.latency)
    return control.gearbox(i_ends, o_ends, shape)


def regrouping(i: Port, o: Port, elements: int) -> tuple[Gear, ...]:
    """What makes the beats of ``o`` of those of ``i``; none where they are the same."""
    uneven = i.group % i.lanes > 0 or o.group % o.lanes > 0
    if i.lanes == o.lanes and (i.group == o.group or not uneven):
        return ()
    return (Gear(i, o, elements),)


def gears(i: Port, lanes: int, elements: int) -> tuple[Gear, ...]:
    """What makes words of ``lanes`` elements of the frame, in order; none where beats are words.

    Every place of a gearbox takes elements from several others, so a wide one is large and slow. An
    upsizer has one place for each: behind it, the gearbox need not be wider than its beats.
    """
    o = Port(lanes, elements)
    if i.lanes == lanes and (i.group % lanes == 0 or i.group == elements):
        return ()
    if _collects(i, lanes, elements):
        return (Gear(i, o, elements, True),)
    for parts in range(lanes // i.lanes, 1, -1):
        between = Port(lanes // parts, elements)
        if lanes % parts == 0 and _collects(between, lanes, elements):
            return Gear(i, between, elements), Gear(between, o, elements, True)
    return (Gear(i, o, elements),)


def repacking(i: Port, o: Port, elements: int) -> tuple[Gear, ...]:
    """What makes the beats of ``o``, of any lanes; none where they are the same.

    Where ``o`` has no tails, its beats are words of the frame.
    """
    return regrouping(i, o, elements) if o.group % o.lanes else gears(i, o.lanes, elements)


def _collects(i: Port, lanes: int, elements: int) -> bool:
    """Whether words of ``lanes`` elements of the frame are several whole beats of ``i``.

    A last word of one beat would cost a cycle, as there is none to make room for it in.
    """
    whole = i.group % i.lanes == 0 and elements % i.lanes == 0
    return (lanes > i.lanes and lanes % i.lanes == 0 and whole
            and (elements - 1) % lanes + 1 > i.lanes)
