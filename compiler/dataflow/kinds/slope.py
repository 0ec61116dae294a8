"""Requantization by lines: a multiplication and an addition with the channel's constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from ....hdl.slope import SlopeRequantizer, SlopeShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from .. import control
from ..site import Site
from .engine import dsp_blocks
from .kind import Ask, Stages, shape_of, style, values_of
from .passing import Passing


@dataclass(frozen=True, kw_only=True)
class Slope(Passing):
    """A line for each channel, or two of which a comparison chooses one.

    ``dsps`` of the multipliers, one a lane, are DSP blocks; constants live in ``storage``.
    """

    shape: SlopeShape
    storage: Storage

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

    def latency(self, site: Site) -> int:
        """A line, and the choice of one of two."""
        return self.shape.latency

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """A delay, with a queue behind it that has room for all beats on their way."""
        return (control.Delay(self.shape.latency, self.shape.queue_depth - 1),)

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
        depth, word_bits = shape.queue_depth, (shape.words - 1).bit_length()
        cells = Resources(
            luts=round(memories.ram_luts(fabric, memories.ram_depth(fabric, depth),
                                         lanes * o_bits + 1)) + 45 + word_bits,
            ffs=lanes * o_bits + 2 * depth + 4 * depth.bit_length() + 8 + 4 * word_bits,
            dsps=self.dsps)
        for memory in breakpoints:
            cells += memories.constants(fabric, memory.storage, memory.words, memory.width)
            cells += Resources(
                luts=round(lanes * (max(i_bits, shape.breakpoint_bits) + 1) * fabric.adder_bit),
                ffs=lanes * (3 * i_bits + 1) + 3 * word_bits)
        cells += memories.constants(fabric, lines.storage, lines.words, lines.width) * lanes
        kept = max(1, shape.sum_bits - _slope(site).shift)
        for soft, count in ((False, self.dsps), (True, lanes - self.dsps)):
            lane = Resources(
                luts=round((shape.sum_bits + 1.5 * kept) * fabric.adder_bit + o_bits),
                ffs=((3 + soft) * i_bits + (1 + soft) * m_bits + (not soft) * (i_bits + m_bits)
                     + 4 * shape.offset_bits + kept + o_bits))
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
