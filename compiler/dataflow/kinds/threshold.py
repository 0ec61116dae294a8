"""Multi-threshold activations: a binary search among the channel's thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from ....hdl.tech import Technology
from ....hdl.threshold import Thresholder, ThresholdShape
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from .. import control
from ..site import Site
from .kind import Ask, Stages, shape_of, style, values_of
from .passing import Passing


@dataclass(frozen=True, kw_only=True)
class Search(Passing):
    """A comparison a stage, with thresholds that live in ``storage`` if they are many."""

    shape: ThresholdShape
    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        layer, i = _threshold(site), ask.inputs[0]
        shape = ThresholdShape.of(values_of(site.source.widened), lanes=i.lanes, group=i.group,
                                  thresholds=layer.thresholds.tolist())
        storage = memories.rom_storage(ask.fabric, shape.words << shape.stages - 1, shape.bits)
        yield cls(inputs=ask.inputs, o=i, storage=storage,
                  shape=replace(shape, block=storage is Storage.BLOCK))

    def latency(self, site: Site) -> int:
        """All comparisons, and the queue."""
        return self.shape.latency

    def flow(self, site: Site) -> tuple[control.Block, ...]:
        """A delay, with a queue behind it that has room for all beats on their way."""
        return (control.Delay(self.shape.latency, self.shape.queue_depth - 1),)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Thresholds of each lane."""
        shape = self.shape
        return (Memory("thresholds", shape.words * (shape.count + shape.spare), shape.bits,
                       self.storage, shape.lanes),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Comparisons, memories, and the output queue.

        The first stage's memory is common to all lanes, each later one has twice the words, for
        every lane apart.
        """
        shape, lanes = self.shape, self.i.lanes
        i_bits, o_bits = self.carried(site)[0].bits, site.result.bits
        depth, word_bits = shape.queue_depth, (shape.words - 1).bit_length()
        cells = Resources(
            luts=round(memories.ram_luts(fabric, memories.ram_depth(fabric, depth),
                                         lanes * o_bits + 1)) + 45 + lanes * o_bits,
            ffs=2 * lanes * o_bits + (2 + word_bits) * shape.depth + 4 * depth.bit_length() + 8)
        for stage in range(shape.stages):
            copies, width = (lanes, shape.bits) if stage else (1, shape.bits * lanes)
            cells += memories.constants(fabric, self.storage, shape.words << stage, width,
                                        registers=shape.pace - 1) * copies
            cells += Resources(
                luts=round(lanes * (max(i_bits, shape.bits) + 1) * fabric.adder_bit),
                ffs=lanes * (shape.pace * (i_bits + stage) + 1))
        return cells

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The search."""
        layer = _threshold(site)
        is_sign = isinstance(site.result, ir.Bipolar)
        base, step = (0, 1) if is_sign else (layer.base, layer.step)
        return [("threshold", Thresholder(
            shape_of(self.carried(site)[0]), shape_of(site.result), lanes=self.i.lanes,
            group=self.i.group, thresholds=layer.thresholds.tolist(),
            falling=layer.falling.astype(bool).tolist(), base=base, step=step,
            style=style(self.storage), technology=technology))]


def _threshold(site: Site) -> ir.Threshold:
    assert isinstance(site.layer, ir.Threshold)
    return site.layer
