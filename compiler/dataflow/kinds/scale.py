"""Requantization by a scale: a multiplication digit by digit, as slow as it may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Self

import numpy as np

from ....hdl.scale import ScaleRequantizer
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from .. import timing
from ..site import Site
from .kind import Ask, Stages, shape_of, style
from .passing import Passing, constant_words

SCALE_DELAY = 4
"""Cycles from a digit of a scale's multiplier to its product, without the sums of its pieces."""
SCALE_PIECE = 4
SCALE_STAGES = 4
SCALE_QUEUE = 2

_HALVES_TO = {ir.ScaleRounding.EVEN: 0, ir.ScaleRounding.ODD: 1}


@dataclass(frozen=True, kw_only=True)
class Scale(Passing):
    """A beat every ``steps`` cycles, ``digit`` bits of its multipliers in each."""

    steps: int
    digit: int
    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """A multiplication that takes as long as beats are apart at the wanted speed."""
        layer, i = _scale(site), ask.inputs[0]
        steps = max(1, min(ir.MULTIPLIER_BITS, ask.cycles // i.beats(site.source.elements)))
        digit = -(-scaled_bits(layer) // steps)
        words = constant_words(layer.multipliers.size, i) * steps
        yield cls(inputs=ask.inputs, o=i, steps=steps, digit=digit,
                  storage=memories.rom_storage(ask.fabric, words, digit * i.lanes))

    def cycles(self, site: Site) -> int:
        """All digits of all beats."""
        return super().cycles(site) * self.steps

    @property
    def _delay(self) -> int:
        """Cycles from a digit to its product."""
        return SCALE_DELAY + (-(-self.digit // SCALE_PIECE) - 1).bit_length()

    @property
    def _queued(self) -> bool:
        """Whether more beats are on their way than the stages behind can hold."""
        return SCALE_STAGES * self.steps <= self._delay + self.steps + SCALE_STAGES

    def latency(self, site: Site) -> int:
        """All digits, the rounding, and the queue."""
        return self._delay + self.steps + SCALE_STAGES + SCALE_QUEUE * self._queued

    def stage(self, site: Site) -> timing.Stage | None:
        """Beats that are ``steps`` apart."""
        beats = self.i.beats(site.source.elements)
        return timing.Passing(np.arange(beats), self.latency(site), self.steps)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The multipliers, digit by digit."""
        words = constant_words(_scale(site).multipliers.size, self.i) * self.steps
        return (Memory("multipliers", words, self.digit * self.i.lanes, self.storage),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A digit-serial multiplication, its rounding, zero point and clamp in each lane.

        A product is made of pieces of four bits, which are added pairwise; half the bits of a
        constant factor are 0 and take none. Where halves go to even or odd, all bits below the
        point are looked at. The factors were fitted on the 67 requantizers of the MLPerf Tiny
        networks.
        """
        layer, source, lanes = _scale(site), self.carried(site)[0], self.i.lanes
        # What is rounded once is rounded at one place, whatever the shift.
        right = [max(0, -int(s)) for s in layer.shifts
                 ] if layer.rounding is ir.ScaleRounding.DOUBLE else [0]
        fraction, spread = 1 + max(right), max(right) - min(right)
        value_bits = ir.signed_bits(source.low - layer.offset, source.high - layer.offset)
        o_bits = site.result.bits
        (memory,) = self.memories(site)
        pieces = -(-self.digit // SCALE_PIECE)
        piece = arithmetic.multiplier(fabric, value_bits, -(-self.digit // pieces))
        width = value_bits + self.digit
        whole = max(o_bits, value_bits + 2)
        share = 0.4 if memory.words == 1 else 0.8
        lane = Resources(
            luts=round(share * (pieces * piece.luts + (pieces - 1) * width * fabric.adder_bit)),
            ffs=pieces * piece.ffs + (pieces - 1) * width + 2 * value_bits)
        if self.steps > 1:
            lane += Resources(luts=round(3.6 * width * fabric.adder_bit),
                              ffs=width + self.digit * (self.steps - 1) // 2)
        lane += Resources(luts=round((5.2 * fraction + whole) * fabric.adder_bit),
                          ffs=2 * fraction + 2 * whole + 2 * spread + o_bits)
        if layer.rounding in _HALVES_TO:
            lane += Resources(luts=(width + self.digit * (self.steps > 1)) // 3,
                              ffs=width - o_bits + 2 if width > o_bits else 2)
        cells = Resources(ffs=20) + lane * lanes
        if self._queued:
            depth = 4 if fabric.ram_bit is None else 16
            cells += Resources(luts=round(memories.ram_luts(fabric, depth, lanes * o_bits)) + 35,
                               ffs=lanes * o_bits + 12)
        return cells + memories.sequencer(fabric, self.storage, memory.words, memory.width)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The requantizer."""
        layer = _scale(site)
        low, high = layer.bounds
        return [("requantize", ScaleRequantizer(
            shape_of(self.carried(site)[0]), shape_of(site.result), lanes=self.i.lanes,
            group=self.i.group, steps=self.steps, multipliers=layer.multipliers.tolist(),
            shifts=layer.shifts.tolist(), offset=layer.offset, pre_shift=layer.pre_shift,
            zero_point=layer.zero_point, low=low, high=high,
            single=layer.rounding is ir.ScaleRounding.SINGLE,
            halves_to=_HALVES_TO.get(layer.rounding), style=style(self.storage),
            technology=technology))]


def _scale(site: Site) -> ir.ScaleRequantize:
    assert isinstance(site.layer, ir.ScaleRequantize)
    return site.layer


def scaled_bits(layer: ir.ScaleRequantize) -> int:
    """Bits of the multipliers at the scale of the smallest shift, without common zeros."""
    least = int(layer.shifts.min())
    used = reduce(or_, (int(m) << int(s) - least
                        for m, s in zip(layer.multipliers, layer.shifts, strict=True)))
    return max(1, (used // max(1, used & -used)).bit_length())
