"""Requantization by lines: a multiplication and an addition with the channel's constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from ....hdl.dot_array import WAY_LATENCY
from ....hdl.slope import CHOICE_LATENCY, SlopeRequantizer, SlopeShape
from ....hdl.tech import MULTIPLIER_LATENCY, REGISTERED_LATENCY, Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, arithmetic, memories
from ...cost.memories import index_bits
from ..site import Site
from . import constants
from .ask import Ask
from .engine import dsp_blocks
from .kind import Stages, shape_of, style, values_of
from .passing import Steady


@dataclass(frozen=True, kw_only=True)
class Slope(Steady):
    """A line for each channel, or two of which a comparison chooses one.

    ``dsps`` of the multipliers, one a lane, are DSP blocks.
    """

    shape: SlopeShape

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        layer, i, source = _slope(site), ask.inputs[0], site.source.widened
        shape = SlopeShape.of(
            values_of(source), lanes=i.lanes, group=i.group,
            multipliers=layer.multipliers.tolist(), offsets=layer.offsets.tolist(),
            breakpoints=layer.breakpoints.tolist(), shift=layer.shift)
        yield cls(inputs=ask.inputs, o=i, shape=shape,
                  dsps=dsp_blocks(ask, source.bits, shape.multiplier_bits, i.lanes),
                  storage=memories.rom_storage(ask.fabric, shape.constants, shape.constant_bits))

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Lines, and the breakpoints between two of them, for each lane."""
        shape = self.shape
        lines = Memory("lines", shape.constants, shape.constant_bits, self.storage, shape.lanes)
        if not shape.bent:
            return (lines,)
        return lines, Memory("breakpoints", shape.words, shape.lanes * shape.breakpoint_bits,
                             self.storage)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Comparisons, multiplications, additions, clamps and the output queue."""
        shape, lanes, o_bits = self.shape, self.i.lanes, site.result.bits
        i_bits, m_bits = self.carried(site)[0].bits, shape.multiplier_bits
        lines, *breakpoints = self.memories(site)
        cells = self.around(site, fabric, shape.words) + Resources(dsps=self.dsps)
        for memory in breakpoints:
            cells += constants.of_channels(fabric, memory.storage, memory.words, memory.width)
            cells += Resources(
                luts=round(fabric.sums(max(i_bits, shape.breakpoint_bits), lanes)),
                ffs=(lanes * (CHOICE_LATENCY * i_bits + 1)
                     + CHOICE_LATENCY * index_bits(shape.words)))
        cells += constants.of_channels(fabric, lines.storage, lines.words, lines.width) * lanes
        kept = max(1, shape.sum_bits - _slope(site).shift)
        for way, count in ((1, self.dsps), (WAY_LATENCY, lanes - self.dsps)):
            # The value waits for its constants; the offset waits for the product.
            soft = way == WAY_LATENCY
            lane = Resources(
                luts=round(fabric.sums(shape.sum_bits) + kept * fabric.logic.clamp + o_bits),
                ffs=((REGISTERED_LATENCY + way) * i_bits + way * m_bits
                     + (WAY_LATENCY - way) * (i_bits + m_bits)
                     + (WAY_LATENCY + MULTIPLIER_LATENCY) * shape.offset_bits + kept + o_bits))
            if soft:
                lane += arithmetic.multiplier(fabric, i_bits, m_bits)
            cells += lane * count
        return cells

    def work(self) -> Mapping[str, int]:
        """A multiplier a lane."""
        return {"multipliers": self.i.lanes}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The requantizer."""
        layer = _slope(site)
        low, high = layer.bounds
        return [("requantize", SlopeRequantizer(
            shape_of(self.carried(site)[0]), shape_of(site.result), lanes=self.i.lanes,
            group=self.i.group, multipliers=layer.multipliers.tolist(),
            offsets=layer.offsets.tolist(), breakpoints=layer.breakpoints.tolist(),
            shift=layer.shift, low=low, high=high, dsp_multipliers=self.dsps,
            style=style(self.storage), technology=technology))]


def _slope(site: Site) -> ir.SlopeRequantize:
    assert isinstance(site.layer, ir.SlopeRequantize)
    return site.layer
