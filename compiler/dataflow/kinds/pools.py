"""Pools and padding: what stands behind a window that is read tap by tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

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
from ...ir import TensorType
from .. import control, timing, window_control
from ..gears import gears
from ..geometry import elements_inside
from ..port import Port
from ..site import Site
from .kind import Ask, Stages, carried_as_is, code, shape_of, style
from .window import Windowed, sliced_window


@dataclass(frozen=True, kw_only=True)
class _Sliced(Windowed):
    """As many lanes in as out, a slice of channels after the other."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough, or a few more that need no gearbox."""
        shape = site.geometry
        channels = shape.size[2]
        steps = max(1, ask.cycles // (shape.positions * shape.taps))
        lanes = -(-channels // min(steps, channels))
        arriving = ask.inputs[0].lanes
        if (lanes < arriving < 2 * lanes and arriving <= channels
                and not gears(ask.inputs[0], arriving, site.source.elements)):
            # A few lanes more cost less than a gearbox, which is slow besides.
            lanes = arriving
        yield cls(inputs=ask.inputs, o=Port(lanes, channels))

    def latency(self, site: Site) -> int:
        """Cycles from the last tap of a slice to its output beat."""
        return 0

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read tap by tap."""
        return sliced_window(site, self.o.lanes)

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

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A comparison and a choice in each lane."""
        bits, lanes = self.carried(site)[0].bits, self.o.lanes
        return super().cells(site, fabric) + Resources(
            luts=round(lanes * bits * (fabric.adder_bit + fabric.mux_bit)) + 20,
            ffs=2 * lanes * bits + 6)

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

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """An adder in each lane, with the choice of a fresh start."""
        lanes, bits = self.o.lanes, self.carried(site)[0].bits
        total = sum_bits(bits, self.carried(site)[0].signed, site.geometry.taps)
        return super().cells(site, fabric) + Resources(
            luts=round(lanes * total * (fabric.adder_bit + fabric.mux_bit)) + 20,
            ffs=2 * lanes * total + 6)

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

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """The sum, and its product with a constant in levels of adders.

        Several counts have a constant each, and counters that tell them apart.
        """
        shape, lanes = self._shape(site), self.o.lanes
        bits, terms, width = shape.sum_bits, shape.terms, shape.dividend_bits
        common = Resources(luts=20, ffs=12)
        if len(shape.counts) > 1:
            common += Resources(luts=60 + 2 * width, ffs=20 + 3 * width)
        adders, ffs = bits + width, 2 * bits + width + self.carried(site)[0].bits
        width += 6 if terms > 1 else 0
        for _ in range(shape.levels):
            adders += terms // 2 * width
            terms = (terms + 1) // 2
            ffs += terms * width
        return super().cells(site, fabric) + common + Resources(
            luts=round(lanes * adders * fabric.adder_bit), ffs=lanes * ffs)

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

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, unless the border is of zeros."""
        return carried_as_is(site)

    def reader(self, site: Site) -> window_control.Reader:
        """The way out, once the frame has begun."""
        return window_control.Border()

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What makes words, and the window with what starts it."""
        layer, (source,), lanes = site.layer, self.carried(site), self.o.lanes
        assert isinstance(layer, ir.Pad) and self.buffer is not None
        shape = shape_of(source)
        padder = Padder(shape, source.shape, layer.padding, fill=code(source, layer.value),
                        lanes=lanes, depth=self.buffer.words, style=style(self.buffer.storage),
                        technology=technology)
        return [*(gear.block(shape) for gear in self.gears(site)), ("pad", padder)]


def _average(site: Site) -> ir.AveragePool:
    assert isinstance(site.layer, ir.AveragePool)
    return site.layer
