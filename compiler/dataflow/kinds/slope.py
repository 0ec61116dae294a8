"""Requantization by lines: a multiplication and an addition with the channel's constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ....hdl.slope import SlopeRequantizer
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from ...ir import TensorType
from ..site import Site
from .engine import dsp_blocks
from .kind import Ask, Stages, shape_of, style
from .passing import Passing, constant_words

SLOPE_LATENCY = 10
"""Cycles of a line: constants, the way to the multiplier and from it, a sum, the clamp, a queue."""
SLOPE_CHOICE = 3
"""Cycles more to choose between two lines."""


class SlopeBits(NamedTuple):
    """Bits of what a slope requantization computes with."""

    multiplier: int
    offset: int
    breakpoint: int
    sum: int

    @classmethod
    def of(cls, layer: ir.SlopeRequantize, source: TensorType) -> SlopeBits:
        """Those in hardware: the rounding half is within the offsets, breakpoints are drawn in."""
        offsets = layer.offsets + (1 << layer.shift >> 1)
        sums = [layer.multipliers * end + offsets for end in (source.low, source.high)]
        points = np.clip(layer.breakpoints, source.low, source.high + 1)
        return cls(*(ir.signed_bits(int(values.min()), int(values.max()))
                     for values in (layer.multipliers, offsets, points, np.stack(sums))))


@dataclass(frozen=True, kw_only=True)
class Slope(Passing):
    """A line for each channel, or two of which a comparison chooses one.

    ``dsps`` of the multipliers, one a lane, are DSP blocks; constants live in ``storage``.
    """

    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        layer, i, source = _slope(site), ask.inputs[0], site.source.widened
        bits = SlopeBits.of(layer, source)
        tables = constant_words(len(layer.breakpoints), i) * (1 + layer.is_bent)
        yield cls(inputs=ask.inputs, o=i,
                  dsps=dsp_blocks(ask, source.bits, bits.multiplier, i.lanes),
                  storage=memories.rom_storage(ask.fabric, tables, bits.multiplier + bits.offset))

    def latency(self, site: Site) -> int:
        """A line, and the choice of one of two."""
        return SLOPE_LATENCY + _slope(site).is_bent * SLOPE_CHOICE

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Lines, and the breakpoints between two of them, for each lane."""
        layer, lanes = _slope(site), self.i.lanes
        bits = SlopeBits.of(layer, self.carried(site)[0])
        words = constant_words(len(layer.breakpoints), self.i)
        lines = Memory("lines", words * (1 + layer.is_bent), bits.multiplier + bits.offset,
                       self.storage, lanes)
        if not layer.is_bent:
            return (lines,)
        return lines, Memory("breakpoints", words, lanes * bits.breakpoint, self.storage)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Comparisons, multiplications, additions, clamps and the output queue."""
        layer, lanes, source = _slope(site), self.i.lanes, self.carried(site)[0]
        i_bits, o_bits, bits = source.bits, site.result.bits, SlopeBits.of(layer, source)
        lines, *breakpoints = self.memories(site)
        depth = 12 + (3 if breakpoints else 0)
        word_bits = (constant_words(len(layer.breakpoints), self.i) - 1).bit_length()
        cells = Resources(
            luts=round(memories.ram_luts(fabric, memories.ram_depth(fabric, depth),
                                         lanes * o_bits + 1)) + 45 + word_bits,
            ffs=lanes * o_bits + 2 * depth + 4 * depth.bit_length() + 8 + 4 * word_bits,
            dsps=self.dsps)
        for memory in breakpoints:
            cells += memories.constants(fabric, memory.storage, memory.words, memory.width)
            cells += Resources(
                luts=round(lanes * (max(i_bits, bits.breakpoint) + 1) * fabric.adder_bit),
                ffs=lanes * (3 * i_bits + 1) + 3 * word_bits)
        cells += memories.constants(fabric, lines.storage, lines.words, lines.width) * lanes
        kept = max(1, bits.sum - layer.shift)
        for soft, count in ((False, self.dsps), (True, lanes - self.dsps)):
            lane = Resources(
                luts=round((bits.sum + 1.5 * kept) * fabric.adder_bit + o_bits),
                ffs=((3 + soft) * i_bits + (1 + soft) * bits.multiplier
                     + (not soft) * (i_bits + bits.multiplier)
                     + 4 * bits.offset + kept + o_bits))
            if soft:
                lane += arithmetic.multiplier(fabric, i_bits, bits.multiplier)
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
