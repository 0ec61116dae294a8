"""The engine that skips zeros of inputs as well as of weights: its cycles depend on the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from ....hdl.column_shape import PeShape
from ....hdl.drain import DrainShape
from ....hdl.nonzero import difference
from ....hdl.steady import BLOCK_BITS
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories
from ...ir import Integers, PenjingError
from .. import timing
from ..broadcast import LEAD, TAIL, Broadcast
from ..column_control import Broadcasts
from ..columns import Columns, dealt
from ..control import Delay
from ..fold import Fold, quotients
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from .ask import Ask
from .column_cells import drain_cells, element_cells, line_cells
from .column_engine import engine, pe_shape, weighing
from .engine import dsp_blocks, multiplies
from .kind import Stages, shape_of, style
from .weighted import Limits, Weighted

QUEUE = 8
"""Activations that wait in front of an element: with more, elements hardly wait less."""
BANKS = 2
"""Sets of sums: a vector's results leave while the next one is worked on."""


@dataclass(frozen=True, kw_only=True)
class Columnwise(Weighted):
    """``fold.pe`` elements that multiply the columns of their outputs by inputs that are not zero.

    An input comes to all of them, one a cycle; in front of each are queues of ``queue``. Their
    entries, and pointers to these, live in ``storage``; zero is the input's zero point. The cycles
    that are told are those that no data exceed.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Columns,)
    exact: ClassVar[bool] = False
    fold: Fold
    storage: Storage
    queue: int = QUEUE

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The one of fewest elements that does what ``ask`` says; none for other `encodings`.

        `PenjingError` unless the layer is dense or a 1×1 convolution.
        """
        encoding = multiplies(site).weights.encoding
        if not isinstance(encoding, cls.encodings):
            return
        if not site.takes_pixels:
            raise PenjingError(f"layer {site.name}: only a dense layer, or a 1×1 convolution in "
                               f"one group, can have the encoding {encoding.name}; store its "
                               "weights plain")
        if ask.fold is not None:
            yield cls.made(site, ask, ask.fold)
            return
        heights = np.count_nonzero(multiplies(site).weights.rows, axis=(0, 1))
        for pes in sorted(quotients(site.outputs)):
            # However they are dealt, an element has its part of a column.
            least = int(np.maximum(-(-heights // pes), 1).sum())
            if ask.allows(site.geometry.positions * least):
                found = cls.made(site, ask, Fold(pes, 1, 1))
                if ask.allows(found.cycles(site)):
                    yield found
                    break

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``, with the fewest output lanes that take half of its time.

        Inputs that are zero leave less time than it has at most.
        """
        weights, columns = multiplies(site).weights, _columns(site, fold.pe)
        half = int(columns.lengths.max(0).sum()) // 2
        lanes = [n for n in range(1, fold.pe + 1) if fold.pe % n == 0]
        o_lanes = next((n for n in lanes if -(-site.outputs // n) <= half), fold.pe)
        width = columns.encoding.gap_bits + weighing(columns).bits
        words = max(1, int(columns.lengths.sum(1).max()))
        return cls(
            inputs=ask.inputs, o=Port(o_lanes, site.outputs), fold=fold,
            storage=memories.rom_storage(ask.fabric, words, width),
            dsps=dsp_blocks(ask, _factor_bits(site), weights.bits, fold.products))

    @classmethod
    def limits(cls, site: Site) -> Limits:
        """Outputs; an input at a time comes to all."""
        return Limits((1, site.outputs), (1, 1), (1, 1))

    @classmethod
    def of_simd(cls, site: Site, pe: int, simd: int) -> list[Fold]:
        """So many elements."""
        return [Fold(pe, 1, simd)]

    def columns(self, site: Site) -> Columns:
        """The weights as the elements have them."""
        return _columns(site, self.fold.pe)

    def port(self, site: Site) -> Port:
        """How pixels come to the engine: those are the vectors of a frame."""
        channels = site.source.shape[2]
        return Port(min(self.i.lanes, channels), channels)

    def gears(self, site: Site) -> tuple[Gear, ...]:
        """What makes beats of pixels, no lane to spare but in the last one of each."""
        return repacking(self.i, self.port(site), site.source.elements)

    def flow(self, site: Site) -> Broadcast:
        """What its cycles depend on, but for the inputs."""
        return Broadcast(self.columns(site).lengths, self.queue, self.port(site).lanes, DrainShape(
            self.fold.pe, site.outputs, self.o.lanes, BANKS, self._pe(site).depth,
            site.geometry.positions))

    def reads(self, site: Site) -> int:
        """Cycles of all columns, or of the way out of its results, at most."""
        return site.geometry.positions * self.flow(site).interval

    def _costs(self, site: Site) -> Integers:
        """Cycles of the columns of each beat of a pixel, at most."""
        costs = self.flow(site).costs
        return np.add.reduceat(costs, np.arange(0, len(costs), self.port(site).lanes))

    def _spacing(self, site: Site) -> Integers:
        """Cycles from each beat that comes in to the next, at most."""
        elements, costs = site.source.elements, self._costs(site)
        # Behind a pixel's last beat, its results must be on their way.
        costs[-1] += self.flow(site).interval - int(costs.sum())
        last = self.i.beat_of(self.port(site).ends(elements) - 1)
        spacing = np.zeros(self.i.beats(elements), np.int64)
        np.add.at(spacing, last, np.tile(costs, site.geometry.positions))
        return np.maximum(spacing, 1)

    def cycles(self, site: Site) -> int:
        """Those in which it reads, or its beats come in."""
        return int(self._spacing(site).sum())

    def stage(self, site: Site) -> timing.Passing:
        """Beat by beat, each as late as its columns allow; a pixel's results behind its last."""
        flow, gears, costs = self.flow(site), self.gears(site), self._costs(site)
        drain, channels = flow.drain, site.source.shape[2]
        latency = (sum(gear.shape.latency for gear in gears) + LEAD + int(costs[-1]) + TAIL
                   + drain.settle + drain.latency)
        last = self.i.beat_of((np.arange(drain.vectors) + 1) * channels - 1)
        return timing.Passing(
            np.repeat(last, drain.frame_beats), latency, self._spacing(site),
            (*(gear.flow for gear in gears), Broadcasts(costs, drain),
             Delay(drain.latency, drain.queue_depth - 1)))

    def all_weight_bits(self, site: Site) -> int:
        """Bits of all that stands for weights: pointers, entries and codebooks."""
        return sum(memory.bits for memory in self.memories(site)
                   if memory.role in ("pointers", "weights", "codebook"))

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Pointers, entries and biases of each element, its codebook, and its sums."""
        columns, bits, pes = self.columns(site), site.result.bits, self.fold.pe
        pe, found = self._pe(site), []
        for own in columns.lengths:
            width = sum(ir.pointer_bits(own))
            found.append(self._constants("pointers", pe.places, width))
            found.append(self._constants("weights", max(1, int(own.sum())), pe.entry_bits))
        if columns.codebook:
            found.append(Memory("codebook", len(columns.codebook), pe.weighing.weight_bits,
                                Storage.LOGIC, pes))
        return (*found, Memory("bias", pe.rows, bits, Storage.LOGIC, pes),
                Memory("sums", pe.rows, bits, Storage.DISTRIBUTED, pes * BANKS))

    def _constants(self, role: str, words: int, width: int) -> Memory:
        """Large ones are in ``storage``."""
        small = self.storage is Storage.BLOCK and words * width <= BLOCK_BITS
        return Memory(role, words, width, Storage.LOGIC if small else self.storage)

    def _pe(self, site: Site) -> PeShape:
        return pe_shape(self.columns(site), site.result.bits, queue=self.queue,
                        lanes=self.port(site).lanes, banks=BANKS)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Memories and elements, what finds inputs that are not zero, and the way out."""
        (source,), pe, drain = self.carried(site), self._pe(site), self.flow(site).drain
        gears = (gear.cells(fabric, source.bits) for gear in self.gears(site))
        constants = (memories.rom(fabric, one.storage, one.words, one.width) * one.copies
                     for one in self.memories(site) if one.role != "sums")
        soft = self.fold.pe - self.dsps
        return sum((*gears, *constants), element_cells(fabric, pe, _factor_bits(site))
                   * self.fold.pe
                   + arithmetic.multiplier(fabric, _factor_bits(site), pe.weighing.weight_bits)
                   * soft + Resources(dsps=self.dsps)
                   + line_cells(fabric, self.port(site).lanes, source.bits, pe.places)
                   + drain_cells(fabric, drain, pe.sum_bits))

    def macs(self, site: Site) -> int:
        """Those of weights that are not zero."""
        return multiplies(site).weights.nonzeros * site.geometry.positions

    def work(self) -> Mapping[str, int]:
        """A multiplier of each element."""
        return {"multipliers": self.fold.pe}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The engine, behind what makes its beats."""
        (source,), layer = self.carried(site), multiplies(site)
        element = shape_of(source)
        made = engine(self.columns(site), layer, source, site.result.bits, queue=self.queue,
                      lanes=self.port(site).lanes, o_lanes=self.o.lanes, banks=BANKS,
                      dsps=self.dsps, style=style(self.storage), technology=technology,
                      vectors=site.geometry.positions)
        return [*(gear.block(element) for gear in self.gears(site)), ("columns", made)]


@lru_cache(maxsize=256)
def _columns(site: Site, pes: int) -> Columns:
    """The layer's weights, dealt to so many elements."""
    given = multiplies(site).weights
    assert isinstance(given.encoding, ir.Columns)
    weights = replace(given, values=given.values.reshape(len(given.values), -1))
    return Columns.best(weights, dealt(weights.values, pes), given.encoding.values)


def _factor_bits(site: Site) -> int:
    """Bits of what weights are multiplied by: an input less its zero point."""
    return difference(shape_of(site.source.widened), site.source.zero_point).width
