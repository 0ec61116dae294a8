"""Requantization by a scale: a multiplication digit by digit, as slow as it may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.scale import ScaleRequantizer, ScaleShape
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from .. import control, timing
from ..site import Site
from .kind import Ask, Stages, shape_of, style, values_of
from .passing import Passing

_HALVES_TO = {ir.ScaleRounding.EVEN: 0, ir.ScaleRounding.ODD: 1}


@dataclass(frozen=True, kw_only=True)
class Scale(Passing):
    """A beat every few cycles, some bits of its multipliers in each; they live in ``storage``."""

    shape: ScaleShape
    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """A multiplication that takes as long as beats are apart at the wanted speed."""
        layer, i = _scale(site), ask.inputs[0]
        shape = ScaleShape.of(
            values_of(site.source.widened), lanes=i.lanes, group=i.group,
            steps=max(1, min(ir.MULTIPLIER_BITS, ask.cycles // i.beats(site.source.elements))),
            multipliers=layer.multipliers.tolist(), shifts=layer.shifts.tolist(),
            offset=layer.offset, pre_shift=layer.pre_shift,
            twice=layer.rounding is ir.ScaleRounding.DOUBLE)
        yield cls(inputs=ask.inputs, o=i, shape=shape,
                  storage=memories.rom_storage(ask.fabric, shape.words, shape.width))

    def cycles(self, site: Site) -> int:
        """All digits of all beats."""
        return super().cycles(site) * self.shape.steps

    def latency(self, site: Site) -> int:
        """All digits, the rounding, and the queue."""
        return self.shape.latency

    def stage(self, site: Site) -> timing.Stage | None:
        """Beats that are some cycles apart."""
        beats = self.i.beats(site.source.elements)
        shape = self.shape
        return timing.Passing(np.arange(beats), shape.latency, shape.steps,
                              (control.Delay(shape.latency, shape.capacity, shape.steps),))

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The multipliers, digit by digit."""
        return (Memory("multipliers", self.shape.words, self.shape.width, self.storage),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A digit-serial multiplication, its rounding, zero point and clamp in each lane.

        A product is made of pieces of four bits, which are added pairwise; half the bits of a
        constant factor are 0 and take none. Where halves go to even or odd, all bits below the
        point are looked at. The factors were fitted on the 67 requantizers of the MLPerf Tiny
        networks.
        """
        shape, o_bits, value_bits = self.shape, site.result.bits, self.shape.value_bits
        piece = arithmetic.multiplier(fabric, value_bits, -(-shape.digit // shape.pieces))
        width = value_bits + shape.digit
        whole = max(o_bits, value_bits + 2)
        share = 0.4 if shape.words == 1 else 0.8
        between = (shape.pieces - 1) * width
        lane = Resources(
            luts=round(share * (shape.pieces * piece.luts + between * fabric.adder_bit)),
            ffs=shape.pieces * piece.ffs + between + 2 * value_bits)
        if shape.steps > 1:
            lane += Resources(luts=round(3.6 * width * fabric.adder_bit),
                              ffs=width + shape.digit * (shape.steps - 1) // 2)
        lane += Resources(luts=round((5.2 * shape.fraction + whole) * fabric.adder_bit),
                          ffs=2 * shape.fraction + 2 * whole + 2 * shape.spread + o_bits)
        if _scale(site).rounding in _HALVES_TO:
            lane += Resources(luts=(width + shape.digit * (shape.steps > 1)) // 3,
                              ffs=width - o_bits + 2 if width > o_bits else 2)
        cells = Resources(ffs=20) + lane * shape.lanes
        if shape.queue_depth:
            depth = memories.ram_depth(fabric, shape.queue_depth)
            cells += Resources(
                luts=round(memories.ram_luts(fabric, depth, shape.lanes * o_bits)) + 35,
                ffs=shape.lanes * o_bits + 12)
        return cells + memories.sequencer(fabric, self.storage, shape.words, shape.width)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The requantizer."""
        layer = _scale(site)
        low, high = layer.bounds
        return [("requantize", ScaleRequantizer(
            shape_of(self.carried(site)[0]), shape_of(site.result), lanes=self.i.lanes,
            group=self.i.group, steps=self.shape.steps, multipliers=layer.multipliers.tolist(),
            shifts=layer.shifts.tolist(), offset=layer.offset, pre_shift=layer.pre_shift,
            zero_point=layer.zero_point, low=low, high=high,
            single=layer.rounding is ir.ScaleRounding.SINGLE,
            halves_to=_HALVES_TO.get(layer.rounding), style=style(self.storage),
            technology=technology))]


def _scale(site: Site) -> ir.ScaleRequantize:
    assert isinstance(site.layer, ir.ScaleRequantize)
    return site.layer
