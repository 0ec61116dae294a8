"""Multi-threshold activations: a binary search among the channel's thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from ....hdl.tech import Technology
from ....hdl.threshold import Thresholder, ThresholdShape
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...cost.memories import index_bits
from ..site import Site
from . import constants
from .ask import Ask
from .kind import Stages, shape_of, style, values_of
from .passing import Steady


@dataclass(frozen=True, kw_only=True)
class Search(Steady):
    """A comparison a stage, with thresholds that live in ``storage`` if they are many."""

    shape: ThresholdShape

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        layer, i = _threshold(site), ask.inputs[0]
        shape = ThresholdShape.of(values_of(site.source.widened), lanes=i.lanes, group=i.group,
                                  thresholds=layer.thresholds.tolist())
        storage = memories.rom_storage(ask.fabric, shape.words << shape.stages - 1, shape.bits)
        yield cls(inputs=ask.inputs, o=i, storage=storage,
                  shape=replace(shape, block=storage is Storage.BLOCK))

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
        cells = self.around(site, fabric, shape.words) + Resources(
            luts=lanes * o_bits,
            ffs=lanes * o_bits + index_bits(shape.words) * (shape.depth - shape.pace))
        for stage in range(shape.stages):
            copies, width = (lanes, shape.bits) if stage else (1, shape.bits * lanes)
            cells += constants.of_channels(fabric, self.storage, shape.words << stage, width,
                                        registers=shape.pace - 1) * copies
            cells += Resources(
                luts=round(fabric.sums(max(i_bits, shape.bits), lanes)),
                ffs=lanes * (shape.pace * (i_bits + stage) + 1))
        # Behind the last one, values are not looked at.
        return cells + Resources(ffs=-lanes * i_bits)

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
