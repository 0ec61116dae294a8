"""What all engines share: weights in the order of the reads, a drain, and an output queue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Self

import numpy as np

from ....hdl.dot_array import WAY_LATENCY, DotArray, Pairs, bias_words
from ....hdl.engine import Engine as EngineBlock
from ....hdl.engine import EngineShape
from ....hdl.fill import Spelling
from ....hdl.skip import SKIP_QUEUE_DEPTH
from ....hdl.steady import signed_bits
from ....hdl.tech import Technology
from ....hdl.window import READ_LATENCY
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories, streams
from ...cost.memories import index_bits
from ...ir import Integers, TensorType
from .. import timing, window_control
from ..fold import Fold
from ..port import Port
from ..site import Site
from . import constants
from .ask import Ask
from .kind import code, shape_of, style
from .pairs import pair_cells
from .stores import Store
from .weighted import Limits, Weighted
from .window import Windowed


@dataclass(frozen=True, kw_only=True)
class Engine(Windowed, Weighted):
    """Hardware of a layer with weights, which live in ``storage``; ``frame`` is its structure.

    It takes weights of its ``encodings``.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.ValueEncoding,)
    fold: Fold
    frame: EngineShape
    storage: Storage

    @classmethod
    def suits(cls, site: Site) -> bool:
        """Whether it computes the layer under any fold."""
        return True

    @classmethod
    @abstractmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether it computes the layer under ``fold``."""

    @classmethod
    @abstractmethod
    def proposals(cls, site: Site, ask: Ask) -> Iterator[Fold]:
        """The folds worth a thought that are fast enough."""

    @classmethod
    @abstractmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The engines that do what ``ask`` says; none for weights of other `encodings`."""
        suitable = isinstance(multiplies(site).weights.encoding, cls.encodings)
        if not (suitable and cls.suits(site)):
            return
        folds = cls.proposals(site, ask) if ask.fold is None else (ask.fold,)
        for fold in folds:
            if cls.accepts(site, fold):
                yield from ask.once((cls, fold), partial(cls.forms, site, ask, fold))

    @classmethod
    def forms(cls, site: Site, ask: Ask, fold: Fold) -> Iterator[Self]:
        """The engines under ``fold``, whatever the pace: one, unless it says otherwise."""
        yield cls.made(site, ask, fold)

    @abstractmethod
    def weight_bits(self, site: Site) -> int:
        """Bits of a weight as they are stored."""

    @property
    def stored(self) -> int:
        """Weights in a word of their memory."""
        return self.fold.products

    def all_weight_bits(self, site: Site) -> int:
        """Bits of all weights of the layer, in a form of the engine's own."""
        return multiplies(site).weights.values.size * self.weight_bits(site)

    def reads(self, site: Site) -> int:
        """Cycles in which a frame is read."""
        return site.geometry.positions * self.window(site).reads

    @classmethod
    def limits(cls, site: Site) -> Limits:
        """Those of the kernel; of a depthwise layer, all outputs of a channel, and one tap of it.
        """
        shape, outputs = site.geometry, site.outputs
        if isinstance(site.layer, ir.Depthwise):
            multiple = outputs // shape.size[2]
            return Limits((multiple, multiple), (1, 1), (1, shape.size[2]))
        return Limits((1, outputs), (1, shape.kernel[0]), (1, shape.run))

    @classmethod
    def of_simd(cls, site: Site, pe: int, simd: int) -> list[Fold]:
        """Any rows and lanes within the kernel; of a depthwise layer, lanes alone."""
        shape = site.geometry
        if isinstance(site.layer, ir.Depthwise):
            return [Fold(pe, 1, simd)]
        if not 1 <= simd <= shape.kernel[0] * shape.run:
            raise ir.PenjingError(f"layer {site.name}: simd must be from 1 to "
                                  f"{shape.kernel[0] * shape.run}, not {simd}")
        return [Fold(pe, rows, lanes) for rows in range(1, min(simd, shape.kernel[0]) + 1)
                for lanes in range(1, min(simd // rows, shape.run) + 1)]

    @abstractmethod
    def weights(self, site: Site) -> Integers:
        """Weights in the order of the reads: (beats, outputs, terms)."""

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
                       self.stored * self.weight_bits(site), self.storage),
                Memory("bias", self.frame.outputs * self.frame.rounds.parts, result.bits,
                       Storage.LOGIC),
                *super().memories(site))

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The window, and the memory of the weights."""
        return (super().own_cells(site, fabric) + self.memory_cells(site, fabric)
                + _frame_cells(fabric, self.frame, site.result.bits))

    def memory_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The memory of the weights."""
        width = self.stored * self.weight_bits(site)
        return constants.in_order(fabric, self.storage, self.frame.words, width, self.frame.rounds)


@dataclass(frozen=True, kw_only=True)
class Multiplying(Engine):
    """An engine with multipliers: any weights, in any ``store``; of some outputs, ``pairs`` share
    DSP blocks."""

    store: Store
    pairs: Pairs | None = None

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight in its memory."""
        return self.store.bits

    def all_weight_bits(self, site: Site) -> int:
        """Those of their encoding."""
        return self.store.all_bits(multiplies(site).weights)

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """Multipliers, adder trees and accumulators, and what all engines have.

        The registers of DSP blocks are in silicon, those of the inputs' delay are not.
        """
        (source,), frame, total_bits = self.carried(site), self.frame, site.result.bits
        cells = super().own_cells(site, fabric) + self.store.cells(fabric) * self.stored
        cells += self._sum_cells(source, fabric) + self._bias_cells(site, fabric)
        # Each output: accumulator with the choice of the bias, and the drain's shift register.
        accumulators = (fabric.sums(total_bits, frame.pe)
                        + frame.pe * total_bits * fabric.logic.mux
                        + drain_luts(fabric, frame, total_bits))
        # Each output: accumulator and shift register; each weight and product; each input.
        ffs = (2 * frame.pe * total_bits
               + (self.store.latency * frame.lanes + self.held(self.soft)) * source.bits)
        return cells + Resources(luts=round(accumulators), ffs=ffs)

    def _sum_cells(self, source: TensorType, fabric: Fabric) -> Resources:
        """Multipliers, the registers around them, and adder trees."""
        a_bits, b_bits, terms = source.bits, self.store.value_bits, self.stored // self.frame.pe
        alone, dsps, cells = self.frame.pe, self.dsps, Resources()
        if self.pairs:
            alone, dsps = alone - 2 * self.pairs.count, dsps - self.pairs.count * terms
            cells = pair_cells(fabric, self.pairs, terms, signed=source.signed)
        return (cells + arithmetic.multiplier(fabric, a_bits, b_bits) * self.soft
                + arithmetic.adder_tree(fabric, terms, a_bits + b_bits) * alone
                + Resources(ffs=dsps * (a_bits + 2 * b_bits) + self.soft * WAY_LATENCY * b_bits,
                            dsps=dsps))

    @property
    def soft(self) -> int:
        """Multipliers of look-up tables."""
        paired = self.pairs.count * self.fold.simd if self.pairs else 0
        return self.stored - self.dsps - paired

    def sparing(self, site: Site, fabric: Fabric) -> Iterator[Self]:
        """Weights that never change, in look-up tables."""
        storage = memories.spared_storage(fabric, self.frame.words)
        if not self.store.loadable and storage is not self.storage:
            yield replace(self, storage=storage)

    def held(self, soft: int) -> int:
        """Registers of inputs on their way to the multipliers, of which so many are ``soft``."""
        return (WAY_LATENCY if soft else 1) * self.frame.lanes

    def memory_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The memory of the weights, and what fills it."""
        if not self.store.loadable:
            return super().memory_cells(site, fabric)
        beside = self.stored * (self.weight_bits(site) - self.store.bits)
        return constants.filled(fabric, self.storage, self.frame.words,
                                Spelling(self.stored, self.store.bits, beside), self.frame.rounds)

    def _bias_cells(self, site: Site, fabric: Fabric) -> Resources:
        frame, bits = self.frame, site.result.bits
        words = frame.groups * frame.rounds.parts
        if self.store.loadable:
            return constants.filled(fabric, constants.loose(fabric), words,
                                    Spelling(frame.pe, bits), frame.rounds)
        # A bias has fewer bits than a sum: the others are copies of its sign.
        bits = min(bits, bias_bits(site))
        return constants.in_order(fabric, Storage.LOGIC, words, frame.pe * bits, frame.rounds)

    def fillings(self, site: Site) -> tuple[bytes, ...]:
        """Those of the weights, and of the biases."""
        if not self.store.loadable:
            return ()
        frame, bits = self.frame, site.result.bits
        bias = Spelling(frame.pe, bits).spelled(bias_words(frame, biases(site), bits))
        try:
            return (*self.weight_fillings(site), bias)
        except ir.PenjingError as error:
            raise ir.PenjingError(f"layer {site.name}: {error}") from None

    def weight_fillings(self, site: Site) -> tuple[bytes, ...]:
        """Those of the weights."""
        return self.store.fillings(self.weights(site))

    def given_biases(self, site: Site) -> list[int] | None:
        """The biases that its hardware is made with; None where a stream brings them."""
        return None if self.store.loadable else biases(site)

    def work(self) -> Mapping[str, int]:
        """Its multipliers; a DSP block that makes two products is one."""
        return {"multipliers": self.dsps + self.soft}

    def assembled(self, site: Site, weights: Integers, technology: Technology) -> EngineBlock:
        """The engine of ``weights`` (beats, outputs, terms)."""
        array = DotArray(self.frame, shape_of(self.carried(site)[0]),
                         weight_bits=self.store.value_bits,
                         bias=self.given_biases(site),
                         accumulator_bits=site.result.bits, dsp_multipliers=self.dsps,
                         technology=technology, pairs=self.pairs)
        source = self.store.source(weights, style(self.storage), technology, self.frame.rounds)
        return EngineBlock(self.frame, array, source, technology=technology)


def multiplies(site: Site) -> ir.MultiplyAccumulate:
    """The layer of ``site``, which has weights."""
    assert isinstance(site.layer, ir.MultiplyAccumulate)
    return site.layer


def biases(site: Site) -> list[int]:
    """Those of all outputs of a position, for each pass over a row."""
    layer = multiplies(site)
    if isinstance(layer, ir.TransposedConvolution):
        return [int(bias) for bias in layer.phase_bias.reshape(-1)]
    return [int(bias) for bias in layer.bias]


@lru_cache(maxsize=1024)
def bias_bits(site: Site) -> int:
    """Bits of the widest bias."""
    return signed_bits(biases(site))


def output_port(site: Site, frame: EngineShape) -> Port:
    """How the outputs of a ``frame`` leave: a fresh beat for each pixel where none has a tail."""
    channels = site.result.shape[2]
    return Port(frame.o_lanes, frame.outputs if channels % frame.o_lanes else channels)


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
    if isinstance(layer, ir.SlidingLayer | ir.TransposedConvolution):
        return code(source, layer.pad_value)
    return 0


def dsp_blocks(ask: Ask, a_bits: int, b_bits: int, multipliers: int) -> int:
    """How many of so many ``multipliers`` are DSP blocks."""
    return ask.blocks(multipliers) if ask.fabric.fits_dsp(a_bits, b_bits) else 0


@lru_cache(maxsize=8192)
def _frame_cells(fabric: Fabric, frame: EngineShape, bits: int) -> Resources:
    """Cells of what lets groups in, and of the output queue; results have so many ``bits``."""
    # Of a beat: whether there is one, its group's first or last, and its frame's; whether the group
    # is the last one matters where that leaves fewer beats. Of a result: two flags.
    flags = 2 * frame.depth + (2 + (frame.tail_beats != frame.drain_beats)) * (frame.depth + 1)
    counters = sum(map(index_bits, (frame.folds, frame.groups, frame.queue_depth + 1,
                                    frame.drain_beats + 1)))
    depth, width = frame.queue_depth, frame.o_lanes * bits + 1
    queue = (streams.skip_buffer(fabric, Storage.BLOCK, depth, width,
                                 queue_depth=SKIP_QUEUE_DEPTH)
             if frame.is_deep else streams.queue(fabric, depth, width))
    return (queue + fabric.control.engine.cells
            + Resources(luts=round(fabric.counters(counters)),
                        ffs=flags + counters + 2 * frame.results_latency))


def drain_luts(fabric: Fabric, frame: EngineShape, bits: int) -> float:
    """LUTs of the shift register of totals of so many ``bits``; nothing comes in behind the last.
    """
    return (frame.pe - frame.o_lanes) * bits * fabric.logic.mux
