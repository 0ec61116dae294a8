"""Requantization by a shift, and clamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ....hdl.ranges import shifted, width
from ....hdl.requantize import REQUANTIZER_LATENCY, ShiftRequantizer
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources
from .. import control
from ..reach import Reach
from ..site import Site
from .ask import Ask
from .kind import Stages, shape_of
from .passing import Passing


@dataclass(frozen=True, kw_only=True)
class Shift(Passing):
    """The rounding, two comparisons and the choice in each lane."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        yield cls(inputs=ask.inputs, o=ask.inputs[0])

    def latency(self, site: Site) -> int:
        """Two registers."""
        return REQUANTIZER_LATENCY

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """Steps that all move or all wait."""
        return (control.Steps(self.latency(site)),)

    def ranges(self, site: Site) -> Reach | None:
        """The values of each lane, where they are known and each lane has a channel of its own."""
        reach = site.reach
        return reach if reach and self.i.lanes == self.i.group == len(reach) else None

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Each lane's."""
        reach = self.ranges(site)
        if reach is not None:
            return self._narrow_cells(site, fabric, reach)
        shift, lanes = _shift(site.layer), self.i.lanes
        i_bits, o_bits = self.carried(site)[0].bits, site.result.bits
        kept = max(1, i_bits + 1 - max(0, shift))
        rounding = fabric.sums(kept) if shift > 0 else 0.0
        return fabric.control.register.cells * REQUANTIZER_LATENCY + Resources(
            luts=round(lanes * (rounding + kept * fabric.logic.clamp + o_bits)),
            ffs=lanes * (kept * (shift != 0) + o_bits))

    def _narrow_cells(self, site: Site, fabric: Fabric, reach: Reach) -> Resources:
        """Those of lanes of so many values each."""
        shift, luts, ffs = _shift(site.layer), 0.0, 0
        for values in reach:
            kept = width(shifted(values, shift))
            bits = min(kept, site.result.bits)
            luts += (fabric.sums(kept) if shift > 0 else 0.0) + bits
            ffs += kept * (shift != 0) + bits
        return fabric.control.register.cells * REQUANTIZER_LATENCY + Resources(round(luts), ffs)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The requantizer."""
        layer = site.layer
        assert isinstance(layer, ir.ShiftRequantize | ir.Clamp)
        low, high = layer.bounds
        name = "clamp" if isinstance(layer, ir.Clamp) else "requantize"
        return [(name, ShiftRequantizer(
            shape_of(self.carried(site)[0]), shape_of(site.result), lanes=self.i.lanes,
            shift=_shift(layer), low=low, high=high, ranges=self.ranges(site)))]


def _shift(layer: ir.Layer) -> int:
    return layer.shift if isinstance(layer, ir.ShiftRequantize) else 0
