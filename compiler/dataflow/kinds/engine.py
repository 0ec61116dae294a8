"""What all engines share: weights in the order of the reads, a drain, and an output queue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.dot_array import DotArray
from ....hdl.engine import Engine as EngineBlock
from ....hdl.engine import EngineShape
from ....hdl.tech import Technology
from ....hdl.window import READ_LATENCY
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from ...ir import Integers
from .. import timing, window_control
from ..fold import Fold
from ..site import Site
from .kind import Ask, code, shape_of, style
from .stores import Store
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
        frame, tails = self.frame, self._tails
        reads: Integers = np.repeat((np.arange(frame.groups) + 1) * frame.folds - 1, tails)
        drain = np.concatenate([np.arange(tail) for tail in tails])
        return timing.Outputs(reads, reads + READ_LATENCY + frame.latency + drain)

    def reader(self, site: Site) -> window_control.Reader:
        """The engine, which lets a group in when its queue has room."""
        before = np.append(0, np.cumsum(np.tile(self._tails, site.geometry.positions)))
        frame = self.frame
        return window_control.Engine(frame.folds, frame.latency, frame.drain_beats,
                                     frame.queue_depth, before.tolist())

    @property
    def _tails(self) -> list[int]:
        """Output beats of each group of a position."""
        frame = self.frame
        return [frame.drain_beats] * (frame.groups - 1) + [frame.tail_beats]

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


@dataclass(frozen=True, kw_only=True)
class Multiplying(Engine):
    """An engine with multipliers: any weights, in any ``store``."""

    store: Store

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight in its memory."""
        return self.store.bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Multipliers, adder trees and accumulators, and what all engines have.

        The registers of DSP blocks are in silicon, those of the inputs' delay are not.
        """
        (source,), frame, soft = self.carried(site), self.frame, self.fold.products - self.dsps
        a_bits, b_bits, total_bits = source.bits, self.store.value_bits, site.result.bits
        cells = super().cells(site, fabric) + self.store.cells(fabric) * self.fold.products
        cells += Resources(dsps=self.dsps) + arithmetic.multiplier(fabric, a_bits, b_bits) * soft
        cells += arithmetic.adder_tree(fabric, frame.simd, a_bits + b_bits) * frame.pe
        cells += memories.sequencer(fabric, Storage.LOGIC, frame.groups, frame.pe * total_bits)
        # Each output: accumulator with the choice of the bias, and the drain's shift register.
        accumulators = frame.pe * total_bits * (fabric.adder_bit + 2 * fabric.mux_bit)
        # Each output: accumulator and shift register; each weight and product; each input.
        ffs = (2 * frame.pe * total_bits + self.dsps * (a_bits + 2 * b_bits) + soft * 2 * b_bits
               + (4 if soft else 3) * frame.simd * a_bits
               + 2 * (self.fold.lanes - frame.simd) * a_bits * (frame.channel_groups > 1))
        return cells + Resources(luts=round(accumulators), ffs=ffs)

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.fold.products}

    def assembled(self, site: Site, weights: Integers, technology: Technology) -> EngineBlock:
        """The engine of ``weights`` (beats, outputs, terms)."""
        layer = multiplies(site)
        array = DotArray(self.frame, shape_of(self.carried(site)[0]),
                         weight_bits=self.store.value_bits, bias=layer.bias.tolist(),
                         accumulator_bits=site.result.bits, dsp_multipliers=self.dsps,
                         technology=technology)
        source = self.store.source(weights, style(self.storage), technology)
        return EngineBlock(self.frame, array, source)


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
