"""Requantization by a scale: a multiplication digit by digit, as slow as it may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from ....hdl.scale import STAGES, ScaleRequantizer, ScaleShape
from ....hdl.tech import MULTIPLIER_LATENCY, Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories, streams
from ...cost.arithmetic import Levels
from ...cost.memories import index_bits
from .. import control, timing
from ..site import Site
from . import constants
from .ask import Ask
from .kind import Stages, shape_of, style, values_of
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
            steps=max(1, ask.steps(i.beats(site.source.elements), ir.MULTIPLIER_BITS)),
            multipliers=layer.multipliers.tolist(), shifts=layer.shifts.tolist(),
            offset=layer.offset, pre_shift=layer.pre_shift,
            twice=layer.rounding is ir.ScaleRounding.DOUBLE, addends=_addends(layer))
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
        shape = self.shape
        return timing.Passing(None, shape.latency, shape.steps,
                              (control.Delay(shape.latency, shape.capacity, shape.steps),))

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The multipliers and addends, digit by digit."""
        return (Memory("multipliers", self.shape.words, self.shape.width, self.storage),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A digit-serial multiplication, its rounding, zero point and clamp in each lane.

        A product is made of pieces of a few bits, which are added pairwise. Where halves go to even
        or odd, all bits below the point are looked at.
        """
        shape, o_bits, logic = self.shape, site.result.bits, fabric.logic
        lane = _product(fabric, shape)
        spent = (shape.steps - 1) * shape.digit
        below = max(0, shape.dropped - spent)
        if shape.steps > 1:
            width = shape.value_bits + shape.digit
            lane += Resources(luts=round(width * logic.accumulate),
                              ffs=width + min(spent, max(0, spent - shape.dropped)))
        whole = shape.exact_bits - shape.fraction
        if _scale(site).rounding in _HALVES_TO:
            lane += Resources(luts=fabric.any_of(below + shape.digit * (shape.steps > 1)),
                              ffs=below + 2)
        else:
            lane += Resources(luts=round(shape.fraction * logic.round),
                              ffs=shape.fraction + shape.spread + 2)
        # Input and its difference from the offset, the product, its integer part in three stages.
        lane += Resources(luts=round(fabric.sums(whole) + whole * logic.clamp + o_bits),
                          ffs=(self.carried(site)[0].bits + shape.value_bits + shape.exact_bits
                               + 3 * whole + 1 + o_bits))
        # Of a digit: whether more follow, it is the last, or its beat is; two flags of each stage.
        flags = 3 * shape.delay + 2 * STAGES
        counters = index_bits(shape.steps) + index_bits(shape.capacity + 1)
        cells = fabric.control.serial.cells + lane * shape.lanes + Resources(
            luts=round(fabric.counters(counters)), ffs=flags + counters)
        if shape.queue_depth:
            cells += streams.queue(fabric, shape.queue_depth, shape.lanes * o_bits + 1)
        if shape.spread:
            cells += constants.in_order(fabric, Storage.LOGIC, shape.beats,
                                        shape.spread * shape.lanes)
        return cells + constants.in_order(fabric, self.storage, shape.words, shape.width)

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
            halves_to=_HALVES_TO.get(layer.rounding), addends=_addends(layer),
            style=style(self.storage), technology=technology))]


def _product(fabric: Fabric, shape: ScaleShape) -> Resources:
    """Cells of a digit's product in one lane."""
    ends = [shape.digit * n // shape.pieces for n in range(shape.pieces + 1)]
    cells, constant = Resources(), shape.words == 1
    for start, end in pairwise(ends):
        cells += arithmetic.multiplier(fabric, shape.value_bits, end - start, constant=constant)
        if shape.has_addends:
            bits = shape.value_bits + end - start
            cells += Resources(luts=round(fabric.sums(bits)),
                               ffs=bits + MULTIPLIER_LATENCY * (end - start))
    width = shape.value_bits + shape.digit
    # In a single step, what is dropped is not kept.
    low = max(0, shape.dropped) if shape.steps == 1 else 0
    places = [range(start, end + shape.value_bits) for start, end in pairwise(ends)]
    tree = Levels.of(fabric, places, index_bits(shape.pieces), range(low, width))
    return cells + Resources(luts=round(tree.luts(fabric)), ffs=tree.registers)


def _addends(layer: ir.ScaleRequantize) -> list[int]:
    return [] if layer.addends is None else layer.addends.tolist()


def _scale(site: Site) -> ir.ScaleRequantize:
    assert isinstance(site.layer, ir.ScaleRequantize)
    return site.layer
