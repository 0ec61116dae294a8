"""Multi-threshold activations: a binary search among the channel's thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ....hdl.tech import Technology
from ....hdl.threshold import Thresholder
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...ir import TensorType
from ..site import Site
from .kind import Ask, Stages, shape_of, style
from .passing import Passing, constant_words

THRESHOLD_LATENCY = 3
"""Cycles of a multi-threshold activation beside its comparisons."""


@dataclass(frozen=True, kw_only=True)
class Search(Passing):
    """A comparison a stage, with thresholds that live in ``storage`` if they are many."""

    storage: Storage

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One that takes beats as they come."""
        layer, i = _threshold(site), ask.inputs[0]
        words = constant_words(len(layer.thresholds), i) << _stages(layer) - 1
        yield cls(inputs=ask.inputs, o=i, storage=memories.rom_storage(
            ask.fabric, words, threshold_bits(layer, site.source.widened)))

    @property
    def _pace(self) -> int:
        """Cycles of a comparison."""
        return 3 if self.storage is Storage.BLOCK else 2

    def latency(self, site: Site) -> int:
        """All comparisons, and the queue."""
        return self._pace * _stages(_threshold(site)) + THRESHOLD_LATENCY

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Thresholds of each lane."""
        layer, lanes = _threshold(site), self.i.lanes
        bits = threshold_bits(layer, self.carried(site)[0])
        words = constant_words(len(layer.thresholds), self.i)
        return (Memory("thresholds", words * ((1 << _stages(layer)) - 1), bits, self.storage,
                       lanes),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Comparisons, memories, and the output queue.

        The first stage's memory is common to all lanes, each later one has twice the words, for
        every lane apart.
        """
        layer, lanes, source = _threshold(site), self.i.lanes, self.carried(site)[0]
        i_bits, o_bits, stages = source.bits, site.result.bits, _stages(layer)
        t_bits, pace = threshold_bits(layer, source), self._pace
        words = constant_words(len(layer.thresholds), self.i)
        depth = stages * pace + 5
        word_bits = (words - 1).bit_length()
        cells = Resources(
            luts=round(memories.ram_luts(fabric, memories.ram_depth(fabric, depth),
                                         lanes * o_bits + 1)) + 45 + lanes * o_bits,
            ffs=2 * lanes * o_bits + 2 * (pace * stages + 1) + 4 * depth.bit_length() + 8
            + word_bits * (pace * stages + 1))
        for stage in range(stages):
            copies, width = (lanes, t_bits) if stage else (1, t_bits * lanes)
            cells += memories.constants(fabric, self.storage, words << stage, width,
                                        registers=pace - 1) * copies
            cells += Resources(luts=round(lanes * (max(i_bits, t_bits) + 1) * fabric.adder_bit),
                               ffs=lanes * (pace * (i_bits + stage) + 1))
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


def _stages(layer: ir.Threshold) -> int:
    """Comparisons of a search."""
    return layer.thresholds.shape[1].bit_length()


def threshold_bits(layer: ir.Threshold, source: TensorType) -> int:
    """Bits of a threshold in hardware, where those beyond the input's values are drawn in."""
    spare = layer.thresholds.shape[1] + 1 & layer.thresholds.shape[1]
    low = source.low if spare else max(source.low, int(layer.thresholds.min()))
    high = max(source.low, min(source.high + 1, int(layer.thresholds.max())))
    low = min(low, high)
    return ir.signed_bits(low, high) if low < 0 else ir.unsigned_bits(high)
