"""What all engines share: weights in the order of the reads, a drain, and an output queue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ....hdl.engine import EngineShape
from ....hdl.tech import Technology
from ....hdl.window import READ_LATENCY
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...ir import Integers
from .. import timing
from ..fold import Fold
from ..site import Site
from .kind import Ask, code, style
from .window import Windowed


@dataclass(frozen=True, kw_only=True)
class Engine(Windowed):
    """Hardware of a layer with weights, which live in ``storage``; ``frame`` is its structure."""

    fold: Fold
    frame: EngineShape
    storage: Storage

    @classmethod
    @abstractmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether it computes the layer under ``fold``."""

    @classmethod
    @abstractmethod
    def proposals(cls, site: Site, cycles: int) -> Iterator[Fold]:
        """The folds worth a thought that take a frame in at most ``cycles``."""

    @classmethod
    @abstractmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The engines that do what ``ask`` says."""
        folds = cls.proposals(site, ask.cycles) if ask.fold is None else (ask.fold,)
        for fold in folds:
            if cls.accepts(site, fold):
                yield cls.made(site, ask, fold)

    @abstractmethod
    def weight_bits(self, site: Site) -> int:
        """Bits of a weight as they are stored."""

    def outputs(self, site: Site) -> timing.Outputs:
        """Group after group, each ``o_lanes`` a beat."""
        frame, groups = self.frame, self.frame.groups
        tails = [frame.drain_beats] * (groups - 1) + [frame.tail_beats]
        reads: Integers = np.repeat((np.arange(groups) + 1) * frame.folds - 1, tails)
        drain = np.concatenate([np.arange(tail) for tail in tails])
        return timing.Outputs(reads, reads + READ_LATENCY + frame.latency + drain)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Weights, biases, and the window's buffer."""
        result = site.result
        return (Memory("weights", self.frame.words,
                       self.fold.products * self.weight_bits(site), self.storage),
                Memory("bias", result.shape[2], result.bits, Storage.LOGIC),
                *super().memories(site))

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """The window, and the memory of the weights."""
        width = self.fold.products * self.weight_bits(site)
        return super().cells(site, fabric) + memories.sequencer(
            fabric, self.storage, self.frame.words, width) + _frame_cells(
                fabric, self.frame, site.result.bits)

    def block(self, site: Site, technology: Technology) -> dict[str, Any]:
        """What all engines' blocks are told."""
        layer = multiplies(site)
        return {"bias": layer.bias.tolist(), "accumulator_bits": site.result.bits,
                "o_lanes": self.o.lanes, "style": style(self.storage), "technology": technology}


def multiplies(site: Site) -> ir.MultiplyAccumulate:
    """The layer of ``site``, which has weights."""
    assert isinstance(site.layer, ir.MultiplyAccumulate)
    return site.layer


def channel_groups(site: Site) -> tuple[int, int]:
    """(channels, outputs) of each group of channels that the layer keeps apart."""
    layer, channels = multiplies(site), site.geometry.size[2]
    groups = channels if isinstance(layer, ir.Depthwise) else (
        layer.groups if isinstance(layer, ir.Convolution) else 1)
    return channels // groups, len(layer.bias) // groups


def output_lanes(outputs: int, beats: int) -> int:
    """Outputs an engine gives a beat: the fewest that divide those of a run and keep up with it.

    ``outputs`` are ready every ``beats`` cycles.
    """
    return next(lanes for lanes in range(1, outputs + 1)
                if outputs % lanes == 0 and lanes * beats >= outputs)


def pad_code(site: Site, source: ir.TensorType) -> int:
    """What stands for the layer's padding in the type ``source``."""
    layer = site.layer
    return code(source, layer.pad_value) if isinstance(layer, ir.SlidingLayer) else 0


def dsp_blocks(ask: Ask, a_bits: int, b_bits: int, multipliers: int) -> int:
    """How many of so many ``multipliers`` are DSP blocks."""
    return min(ask.dsps, multipliers) if ask.fabric.fits_dsp(a_bits, b_bits) else 0


def _frame_cells(fabric: Fabric, frame: EngineShape, bits: int) -> Resources:
    """Cells of what lets groups in, and of the output queue; results have so many ``bits``."""
    width = frame.o_lanes * bits
    queue = memories.ram_luts(fabric, memories.ram_depth(fabric, frame.queue_depth), width)
    # The flags that go with a group, through all levels, and the counters.
    return Resources(luts=round(queue + 35 + fabric.control), ffs=width + 6 * frame.depth + 35)
