"""Pools and padding: what stands behind a window that is read tap by tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import ClassVar, Self

import numpy as np

from ....hdl.pad import Padder
from ....hdl.pool import (
    POOLER_LATENCY,
    AveragePooler,
    AverageShape,
    Inside,
    MaxPooler,
    SumPooler,
    sum_bits,
)
from ....hdl.tech import Technology
from ....hdl.window import READ_LATENCY
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...cost import Fabric, Resources
from ...cost.arithmetic import Levels
from ...cost.memories import index_bits
from ...ir import TensorType
from .. import control, timing, window_control
from ..geometry import elements_inside
from ..site import Site
from .ask import Ask
from .kind import Stages, carried_as_is, code, shape_of, style
from .window import Windowed, sliced_port, window_of


@dataclass(frozen=True, kw_only=True)
class _Sliced(Windowed):
    """As many lanes in as out, a slice of channels after the other."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough, or a few more that need no gearbox."""
        shape = site.geometry
        yield cls(inputs=ask.inputs, o=sliced_port(site, ask, shape.positions * shape.taps))

    def latency(self, site: Site) -> int:
        """Cycles from the last tap of a slice to its output beat."""
        return 0

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read tap by tap."""
        return window_of(site.geometry, self.o.lanes, per_channel=True)

    def outputs(self, site: Site) -> timing.Outputs:
        """A beat for each slice."""
        slices, taps = -(-self.o.group // self.o.lanes), site.geometry.taps
        reads = (np.arange(slices) + 1) * taps - 1
        return timing.Outputs(reads, reads + READ_LATENCY + self.latency(site))

    def reader(self, site: Site) -> window_control.Reader:
        """One output of all taps."""
        return window_control.Reduction(site.geometry.taps)


@dataclass(frozen=True, kw_only=True)
class Maximum(_Sliced):
    """The maximum of each window."""

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def latency(self, site: Site) -> int:
        """A register."""
        return POOLER_LATENCY

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """A comparison and a choice in each lane."""
        return super().own_cells(site, fabric) + _folding(
            fabric, self.o.lanes, self.carried(site)[0].bits, site.geometry.taps)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window, whose padding never wins, and the pool."""
        (source,) = self.carried(site)
        pooler = MaxPooler(shape_of(source), lanes=self.o.lanes, area=site.geometry.taps)
        return [*self.window_blocks(site, technology, code(source, source.low)), ("pool", pooler)]


@dataclass(frozen=True, kw_only=True)
class SumOfWindow(_Sliced):
    """The sum of each window."""

    def latency(self, site: Site) -> int:
        """A register."""
        return POOLER_LATENCY

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """An adder in each lane, with the choice of a fresh start."""
        lanes, bits = self.o.lanes, self.carried(site)[0].bits
        total = sum_bits(bits, self.carried(site)[0].signed, site.geometry.taps)
        return super().own_cells(site, fabric) + _folding(fabric, lanes, total, site.geometry.taps)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the pool."""
        pooler = SumPooler(shape_of(self.carried(site)[0]), lanes=self.o.lanes,
                           area=site.geometry.taps)
        return [*self.window_blocks(site, technology), ("pool", pooler)]


@dataclass(frozen=True, kw_only=True)
class Average(_Sliced):
    """The rounded mean of each window."""

    def latency(self, site: Site) -> int:
        """That of the sum, and of its product with a constant."""
        return self._shape(site).latency

    def behind(self, site: Site) -> tuple[control.Block, ...]:
        """The steps behind the sum."""
        return (control.Steps(self.latency(site) - POOLER_LATENCY),)

    def _shape(self, site: Site) -> AverageShape:
        """The structure of the pooler."""
        layer, element = _average(site), shape_of(self.carried(site)[0])
        rows, columns = elements_inside(site.geometry)
        counts = ({site.geometry.taps} if layer.count_padding
                  else {y * x for y in rows for x in columns})
        return AverageShape(element.width, element.signed, site.geometry.taps,
                            tuple(sorted(counts)), layer.spare)

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The sum, and its product with a constant in levels of adders.

        Several counts have a constant each, and counters that tell them apart.
        """
        shape, lanes, o_bits = self._shape(site), self.o.lanes, site.result.bits
        shift, factors = shape.reciprocals
        ever = reduce(or_, factors)
        places = [place for place in range(ever.bit_length()) if ever >> place & 1]
        # Above the result nothing is looked at, nor are dividends that only reach there.
        wanted = range(shift, shift + o_bits)
        width = min(shape.dividend_bits, wanted.stop - places[0])
        product = Levels.of(fabric, [range(place, place + width) for place in places],
                            shape.levels, wanted, alike=len(factors) == 1)
        held = width - (shift - places[0] if len(places) == 1 else 0)
        cells = _folding(fabric, lanes, shape.sum_bits, shape.area) + Resources(
            luts=round(lanes * (fabric.sums(width) + product.luts(fabric) + fabric.sums(o_bits))),
            ffs=lanes * (held + product.registers + o_bits) + 2 * shape.latency)
        if len(factors) > 1:
            # What is added and what is multiplied by, chosen by three counters.
            beats = -(-site.geometry.size[2] // lanes)
            counts = beats, *reversed(site.result.shape[:2])
            chosen = shape.dividend_bits + max(factors).bit_length()
            cells += fabric.control.inside.cells + Resources(
                luts=round(chosen * fabric.logic.mux
                           + fabric.counters(sum(map(index_bits, counts)))),
                ffs=chosen + max(factors).bit_length() + sum(map(index_bits, counts)))
        return super().own_cells(site, fabric) + cells

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the pool."""
        layer, lanes, geometry = _average(site), self.o.lanes, site.geometry
        inside = None if layer.count_padding else Inside(
            *elements_inside(geometry), -(-geometry.size[2] // lanes))
        pooler = AveragePooler(
            shape_of(self.carried(site)[0]), lanes=lanes, area=geometry.taps, inside=inside,
            spare=layer.spare, half_away=layer.rounding is ir.Rounding.HALF_AWAY)
        return [*self.window_blocks(site, technology), ("pool", pooler)]


@dataclass(frozen=True, kw_only=True)
class Border(_Sliced):
    """A border of constants: a window of one tap, whose buffer holds what comes in meanwhile."""

    borders: ClassVar[bool] = True

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, unless the border is of zeros."""
        return carried_as_is(site)

    def reader(self, site: Site) -> window_control.Reader:
        """The way out, once the frame has begun."""
        return window_control.Border()

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The window, and the count of frames that have begun."""
        cells = super().own_cells(site, fabric)
        # As many frames as words lie in the buffer at most, and some are on their way.
        bits = index_bits(self.buffer.words) + 1 if self.buffer else 0
        return cells + fabric.control.register.cells + Resources(
            luts=round(fabric.counters(bits)), ffs=bits)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What makes words, and the window with what starts it."""
        layer, (source,), lanes = site.layer, self.carried(site), self.o.lanes
        assert isinstance(layer, ir.Pad) and self.buffer is not None
        shape = shape_of(source)
        padder = Padder(shape, source.shape, layer.padding, fill=code(source, layer.value),
                        lanes=lanes, depth=self.buffer.words, style=style(self.buffer.storage),
                        technology=technology)
        return [*(gear.block(shape) for gear in self.gears(site)), ("pad", padder)]


def _folding(fabric: Fabric, lanes: int, bits: int, area: int) -> Resources:
    """Cells of what folds ``area`` beats into one of ``lanes`` with so many ``bits`` each."""
    return fabric.control.stage.cells + Resources(
        luts=round(fabric.sums(bits, lanes) + lanes * bits * fabric.logic.mux
                   + fabric.counters(index_bits(area))),
        ffs=2 * lanes * bits + index_bits(area))


def _average(site: Site) -> ir.AveragePool:
    assert isinstance(site.layer, ir.AveragePool)
    return site.layer
