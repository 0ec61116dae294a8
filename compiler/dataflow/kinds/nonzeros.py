"""The engine that walks entries: weights that are zero take neither memory nor cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from ....hdl.dot_product import WAY_LATENCY
from ....hdl.fill import Spelling
from ....hdl.steady import signed_bits
from ....hdl.tech import Technology
from ....hdl.tile_engine import TileEngine
from ....hdl.tile_shape import READ_STAGES, TileShape
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, arithmetic, memories, streams
from ...cost.memories import index_bits
from .. import control, timing
from ..fold import Fold
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from . import constants
from .engine import biases, channel_groups, dsp_blocks, multiplies, pad_code
from .entry_store import EntryStore, Outputs, Room
from .entry_stores import entry_store
from .kind import Ask, Stages, shape_of, style
from .window import Buffer, Buffered
from .words import packed, slot_words


@dataclass(frozen=True, kw_only=True)
class Nonzeros(Buffered):
    """``fold.pe`` outputs at ``fold.lanes`` neighbouring positions at once, which share entries.

    ``word`` channels come in a cycle. Entries live in ``storage``, results that wait for their turn
    in ``results``. If there is ``room``, a stream brings entries and biases.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Sparse,)
    fold: Fold
    word: int
    storage: Storage
    results: Storage
    room: Room | None = None

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The engines that do what ``ask`` says; none for weights of other `encodings`."""
        if not isinstance(multiplies(site).weights.encoding, cls.encodings):
            return
        folds = _proposals(site, ask.cycles) if ask.fold is None else (ask.fold,)
        for fold in folds:
            yield cls.made(site, ask, fold)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        height, width, channels = site.geometry.size
        shape = _shape(site, fold, 1, 1)
        cycles, word = max(ask.cycles, shape.tiles * shape.steps), 1
        while height * width * -(-channels // word) > cycles and word < channels:
            word *= 2
        weights, fabric, store = multiplies(site).weights, ask.fabric, _store(site)
        entries = max(store.memories(shape, Storage.BLOCK), key=lambda memory: memory.bits)
        results = _results(shape, site, Storage.BLOCK)
        choose = memories.ram_storage if weights.loadable else memories.rom_storage
        return cls(inputs=ask.inputs, o=Port(shape.o_lanes, shape.channels), fold=fold, word=word,
                   storage=choose(fabric, entries.words, entries.width),
                   results=memories.ram_storage(fabric, results.words, results.width),
                   dsps=dsp_blocks(ask, site.source.widened.bits, weights.bits, fold.products),
                   room=store.room(shape))

    def shape(self, site: Site) -> TileShape:
        """The engine's structure."""
        _, width, _ = site.geometry.size
        rows = self.buffer.words // (width * self._pixel_words(site)) if self.buffer else 1
        return self._with_rows(site, rows)

    def _with_rows(self, site: Site, rows: int) -> TileShape:
        """The structure with a buffer of so many ``rows``."""
        if self.room is None:
            return _shape(site, self.fold, self.word, rows)
        # Weights that come later are other ones.
        return _tiles(site, self.fold, self.word, rows, self.o.lanes, self.store(site),
                      (self.room.entries,) * self.fold.pe)

    def store(self, site: Site) -> EntryStore:
        """What holds the layer's entries."""
        return _store(site, self.room.index_bits if self.room else None)

    def _pixel_words(self, site: Site) -> int:
        return -(-site.geometry.size[2] // self.word)

    def gears(self, site: Site) -> tuple[Gear, ...]:
        """What makes buffer words of the beats that come in."""
        return repacking(self.i, Port(self.word, site.geometry.size[2]), site.source.elements)

    def reads(self, site: Site) -> int:
        """Cycles of a frame's tiles."""
        shape = self.shape(site)
        return shape.tiles * shape.steps

    def cycles(self, site: Site) -> int:
        """Tiles, input beats or buffer words, whatever take most."""
        height, width, _ = site.geometry.size
        return max(self.reads(site), self.i.beats(site.source.elements),
                   height * width * self._pixel_words(site))

    def stage(self, site: Site) -> timing.Tiled:
        """When words come in, tiles begin, and rows are free again."""
        shape, geometry = self.shape(site), site.geometry
        height, width, channels = geometry.size
        pixel, gears = self._pixel_words(site), self.gears(site)
        y, x = np.divmod(np.arange(shape.tiles), shape.row_tiles)
        bottom = y * shape.stride[0] + shape.kernel[0] - 1 - shape.padding[0]
        right = np.minimum(((x + 1) * shape.lanes - 1) * shape.stride[1] + shape.kernel[1] - 1
                           - shape.padding[2], width - 1)
        need = np.where(bottom < height, (bottom * width + right + 1) * pixel,
                        height * width * pixel) - 1
        # What the next row of windows begins with; of the last row, all.
        ends = x == shape.row_tiles - 1
        top = np.where(y + 1 < shape.positions[0], (y + 1) * shape.stride[0] - shape.padding[0],
                       height)
        freed = np.maximum.accumulate(np.where(ends, np.maximum(top, 0), 0)) * width * pixel
        beats = shape.tile_beats
        first = shape.results_cycle + shape.results.latency
        outputs = timing.Outputs(np.full(beats, shape.steps - 1), first + np.arange(beats))
        return timing.Tiled(
            site.source.elements, self.i, self.word, sum(gear.shape.latency for gear in gears),
            np.broadcast_to(need[:, None], (shape.tiles, shape.steps)), freed, 1, outputs,
            tuple(gear.flow for gear in gears),
            (control.Delay(shape.results.latency, shape.results.queue_depth - 1),),
            pixel=channels, results_cycle=shape.results_cycle, room_cycle=shape.room_cycle,
            parts=shape.parts)

    def buffered(self, site: Site, fabric: Fabric, depth: int) -> Self:
        """The same with a buffer that holds ``depth`` words: whole rows, a power of two."""
        row = site.geometry.size[1] * self._pixel_words(site)
        rows = 1 << (-(-depth // row) - 1).bit_length()
        shape = self._with_rows(site, rows)
        storage = memories.ram_storage(fabric, shape.bank_words, self._word_bits(site))
        return replace(self, buffer=Buffer(rows * row, storage))

    def _word_bits(self, site: Site) -> int:
        return self.word * self.carried(site)[0].bits

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Entries, biases, the map's rows, and results."""
        assert self.buffer is not None
        shape = self.shape(site)
        return (*self.store(site).memories(shape, self.storage),
                Memory("bias", shape.channels, site.result.bits, Storage.LOGIC),
                Memory("window", shape.bank_words, self._word_bits(site), self.buffer.storage,
                       self.fold.products),
                _results(shape, site, self.results))

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Entries, buffer, sums, and results."""
        buffered = self if self.buffer else self.buffered(
            site, fabric, site.geometry.kernel[0] * site.geometry.size[1] * self._pixel_words(site))
        assert buffered.buffer is not None
        shape, (source,) = buffered.shape(site), self.carried(site)
        gears = (gear.cells(fabric, source.bits) for gear in self.gears(site))
        return sum(gears, self.store(site).cells(shape, self.storage, fabric)
                   + _buffer_cells(fabric, shape, source.bits, buffered.buffer.storage)
                   + _sum_cells(fabric, shape, site, self.dsps)
                   + _results_cells(fabric, shape, site, self.results))

    def all_weight_bits(self, site: Site) -> int:
        """Bits of all weights of the layer: of their encoding, or of what there is room for."""
        weights = multiplies(site).weights
        if self.room is None:
            return weights.memory_bits
        entries = self.store(site).memories(self.shape(site), self.storage)
        table = weights.bits << self.room.index_bits if self.room.index_bits else 0
        return sum(memory.bits for memory in entries) + table

    def fillings(self, site: Site) -> tuple[bytes, ...]:
        """Those of the entries, of the biases, and of the order of the outputs."""
        if self.room is None:
            return ()
        shape, store, bits = self.shape(site), self.store(site), site.result.bits
        outputs, given = store.dealt(shape.pe, shape.o_lanes), biases(site)
        words = slot_words([[given[output] for output in some] for some in outputs], shape.slots)
        bias = Spelling(shape.pe, bits).spelled(packed(words, bits))
        try:
            return (*store.fillings(shape), bias, *_order(shape, outputs))
        except ir.PenjingError as error:
            raise ir.PenjingError(f"layer {site.name}: {error}") from None

    def macs(self, site: Site) -> int:
        """Those of weights that are not zero."""
        return multiplies(site).weights.nonzeros * site.geometry.positions

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.fold.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The engine, behind what makes its words."""
        assert self.buffer is not None
        shape, (source,) = self.shape(site), self.carried(site)
        element = shape_of(source)
        entries = self.store(site).source(shape, style(self.storage), technology)
        engine = TileEngine(
            element, shape, entries, weight_bits=multiplies(site).weights.bits,
            bias=None if self.room else biases(site), accumulator_bits=site.result.bits,
            dsp_multipliers=self.dsps, fill=pad_code(site, source),
            buffer=style(self.buffer.storage), results=style(self.results), technology=technology)
        return [*(gear.block(element) for gear in self.gears(site)), ("nonzeros", engine)]


@lru_cache(maxsize=256)
def _store(site: Site, index_bits: int | None = None) -> EntryStore:
    """The store of the layer's entries, with indices of so many bits, if it is said."""
    return entry_store(multiplies(site).weights, site.geometry.size[2], channel_groups(site),
                       index_bits)


@lru_cache(maxsize=1024)
def _shape(site: Site, fold: Fold, word: int, rows: int) -> TileShape:
    """The structure under ``fold``, with the fewest output lanes that keep up with the entries."""
    store = _store(site)
    for o_lanes in range(1, fold.pe + 1):
        lengths = store.lengths(store.dealt(fold.pe, o_lanes))
        shape = _tiles(site, fold, word, rows, o_lanes, store, lengths)
        if shape.steps == max(shape.lengths):
            break
    return shape


def _tiles(site: Site, fold: Fold, word: int, rows: int, o_lanes: int, store: EntryStore,
           lengths: tuple[int, ...]) -> TileShape:
    """The structure under ``fold`` of elements with entries of a ``store``, so many of each.

    Where a stream says which outputs an element makes, those here stand for any.
    """
    geometry, loaded = site.geometry, multiplies(site).weights.loadable
    outputs = (tuple(tuple(range(n, site.result.shape[2], fold.pe)) for n in range(fold.pe))
               if loaded else store.dealt(fold.pe, o_lanes))
    return TileShape(geometry.size, geometry.kernel, geometry.stride, geometry.padding, fold.lanes,
                     word, rows, outputs, o_lanes, lengths, store.latency, loaded)


def _order(shape: TileShape, outputs: Outputs) -> tuple[bytes, ...]:
    """What tells which element makes which of ``outputs``, if a stream does."""
    if not shape.dealt:
        return ()
    words = np.zeros(shape.pixel_beats * shape.o_lanes, np.int64)
    for n, some in enumerate(outputs):
        words[list(some)] = n | np.arange(len(some)) << shape.source_bits
    bits = shape.source_bits + shape.slot_bits
    spelling = Spelling(shape.o_lanes, bits)
    return (spelling.spelled(packed(words.reshape(shape.pixel_beats, -1), bits)),)


def _proposals(site: Site, cycles: int) -> Iterator[Fold]:
    """For each number of lanes, the fewest elements that are fast enough."""
    geometry = site.geometry
    row = site.result.shape[1]
    total = int(_store(site).walk.lengths.sum())
    for lanes in range(1, row + 1):
        if row % lanes:
            continue
        tiles = geometry.positions // lanes
        steps = cycles // tiles
        if not steps:
            continue
        for pe in range(max(1, -(-total // steps)), site.result.shape[2] + 1):
            fold = Fold(pe, 1, lanes)
            if _shape(site, fold, 1, 1).steps <= steps:
                yield fold
                break


def _results(shape: TileShape, site: Site, storage: Storage) -> Memory:
    """What holds the results of tiles until it is their turn."""
    return Memory("results", shape.parts << index_bits(shape.slots),
                  shape.lanes * site.result.bits, storage, shape.pe)


def _buffer_cells(fabric: Fabric, shape: TileShape, bits: int, storage: Storage) -> Resources:
    """Cells of the banks, their addresses, and the choice of inputs of ``bits`` bits."""
    logic, lanes = fabric.logic, shape.lanes
    address, count = index_bits(shape.bank_words), shape.count_bits
    turns = len({offset.turn for offset in shape.offsets})
    moves = shape.column_words > 1 and len({(offset.word, offset.turn)
                                            for offset in shape.offsets}) > 1
    # Of each element: tap, row and column word; of each lane: its address, its input, its padding.
    element = Resources(
        luts=round(fabric.sums(index_bits(shape.rows)) + 2 * fabric.sums(
            index_bits(shape.column_words))
            + lanes * (moves * index_bits(shape.column_words) * logic.mux
                       + bits * logic.mux * (shape.word - 1 + turns - 1)
                       + bits * logic.pad * any(shape.padding))),
        ffs=shape.place_bits + 2 * address + lanes * (bits + 4))
    banks = memories.ram(fabric, storage, shape.bank_words, bits * shape.word) * lanes
    counters = sum(map(index_bits, (shape.pixel_words, shape.size[1], lanes, shape.column_words,
                                    *shape.positions)))
    return (fabric.control.window.cells + (element + banks) * shape.pe
            + Resources(luts=round(fabric.sums(count, 6) + fabric.counters(2 * counters)),
                        ffs=6 * count + 2 * counters + address + bits * shape.word + lanes))


def _sum_cells(fabric: Fabric, shape: TileShape, site: Site, dsps: int) -> Resources:
    """Cells of the multipliers, of which ``dsps`` are DSP blocks, and of the sums."""
    a_bits, weights = site.source.widened.bits, multiplies(site).weights
    total, products = site.result.bits, shape.pe * shape.lanes
    bias_bits = total if shape.loaded else min(total, signed_bits(biases(site)))
    bias = constants.in_slots(fabric, shape, bias_bits)
    sums = fabric.sums(total, products) + products * total * fabric.logic.mux
    ffs = (products * total + dsps * (a_bits + weights.bits) + (products - dsps) * 2 * a_bits
           + shape.pe * (READ_STAGES + WAY_LATENCY) * (weights.bits + 3))
    return (bias + Resources(luts=round(sums), ffs=ffs, dsps=dsps)
            + arithmetic.multiplier(fabric, a_bits, weights.bits) * (products - dsps))


def _results_cells(fabric: Fabric, shape: TileShape, site: Site, storage: Storage) -> Resources:
    """Cells of what puts results in order."""
    memory, total = _results(shape, site, storage), site.result.bits
    choice = (shape.pe * (shape.lanes - 1) + shape.o_lanes * (shape.pe - 1)) * total
    order = index_bits(shape.pixel_beats), index_bits(shape.lanes), index_bits(shape.tiles)
    if shape.dealt:
        spelling = Spelling(shape.o_lanes, shape.source_bits + shape.slot_bits)
        tables = constants.filler(fabric, shape.pixel_beats, spelling) + memories.ram(
            fabric, constants.loose(fabric), shape.pixel_beats, spelling.width)
    else:
        tables = memories.rom(fabric, Storage.LOGIC, shape.pixel_beats,
                              shape.o_lanes * shape.source_bits + shape.pe * shape.slot_bits)
    depth, counters = shape.results.queue_depth, sum(order) + shape.pe * index_bits(shape.slots)
    return (memories.ram(fabric, storage, memory.words, memory.width) * shape.pe
            + (tables if shape.pe > 1 else Resources())
            + streams.queue(fabric, depth, shape.o_lanes * total + 1)
            + streams.admission(fabric, depth=shape.results.depth, room=depth)
            + fabric.control.engine.cells
            + Resources(luts=round(choice * fabric.logic.mux + fabric.counters(counters)),
                        ffs=(shape.pe + shape.o_lanes) * total + counters))
