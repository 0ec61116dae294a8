"""The engine that walks entries: weights that are zero take neither memory nor cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from ....hdl.dot_product import WAY_LATENCY
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
from .balance import balanced
from .engine import biases, channel_groups, dsp_blocks, multiplies, pad_code
from .entry_stores import EntryMemory, EntryStore, entry_store
from .kind import Ask, Stages, shape_of, style
from .window import Buffer, Buffered


@dataclass(frozen=True, kw_only=True)
class Nonzeros(Buffered):
    """``fold.pe`` outputs at ``fold.lanes`` neighbouring positions at once, which share entries.

    ``word`` channels come in a cycle. Entries live in ``entries``, results that wait for their turn
    in ``results``; ``wide`` and ``pieces`` are those of a `TileShape`.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Sparse,)
    fold: Fold
    word: int
    entries: EntryMemory
    results: Storage
    wide: bool = False
    pieces: int = 1

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The engines that do what ``ask`` says; none for weights of other `encodings`."""
        if not isinstance(multiplies(site).weights.encoding, cls.encodings):
            return
        folds = _proposals(site, ask.cycles) if ask.fold is None else (ask.fold,)
        for fold in folds:
            yield from cls._made(site, ask, fold)

    @classmethod
    def _made(cls, site: Site, ask: Ask, fold: Fold) -> Iterator[Self]:
        """The engines under ``fold``, with each memory of results that may be the best."""
        height, width, channels = site.geometry.size
        shape = _shape(site, fold)
        cycles, word = max(ask.cycles, shape.tiles * shape.steps), 1
        while height * width * -(-channels // word) > cycles and word < channels:
            word *= 2
        weights, fabric = multiplies(site).weights, ask.fabric
        for pieces, results in _result_memories(site, fold, fabric):
            yield cls(inputs=ask.inputs, o=Port(shape.o_lanes, shape.channels), fold=fold,
                      word=word, entries=_entry_memory(site, fold, fabric), results=results,
                      pieces=pieces,
                      dsps=dsp_blocks(ask, site.source.widened.bits, weights.bits, fold.products))

    def shape(self, site: Site) -> TileShape:
        """The engine's structure."""
        _, width, _ = site.geometry.size
        rows = self.buffer.words // (width * self._pixel_words(site)) if self.buffer else 1
        return _shape(site, self.fold, self.word, rows, self.wide, self.pieces)

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
        """The same with a buffer that holds ``depth`` words: whole rows, a power of two.

        Its columns lie in the memories that are cheaper.
        """
        row, bits = site.geometry.size[1] * self._pixel_words(site), self.carried(site)[0].bits
        rows = 1 << (-(-depth // row) - 1).bit_length()

        def prices() -> Iterator[tuple[int, bool, Storage]]:
            for wide in False, True:
                shape = _shape(site, self.fold, self.word, rows, wide, self.pieces)
                storage = memories.ram_storage(fabric, shape.bank_words, self.word * bits,
                                               shape.banks[1])
                yield fabric.price(_buffer_cells(fabric, shape, bits, storage)), wide, storage

        _, wide, storage = min(prices(), key=lambda found: found[0])
        return replace(self, buffer=Buffer(rows * row, storage), wide=wide)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Entries, biases, the map's rows, and results."""
        assert self.buffer is not None
        shape, (source,) = self.shape(site), self.carried(site)
        banks, columns = shape.banks
        return (*_store(site).memories(shape.outputs, self.entries),
                Memory("bias", shape.channels, site.result.bits, Storage.LOGIC),
                Memory("window", shape.bank_words, columns * self.word * source.bits,
                       self.buffer.storage, self.fold.pe * banks),
                _results(shape, site, self.results))

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Entries, buffer, sums, and results."""
        buffered = self if self.buffer else self.buffered(
            site, fabric, site.geometry.kernel[0] * site.geometry.size[1] * self._pixel_words(site))
        assert buffered.buffer is not None
        shape, (source,) = buffered.shape(site), self.carried(site)
        gears = (gear.cells(fabric, source.bits) for gear in self.gears(site))
        return sum(gears, _store(site).cells(shape.outputs, self.entries, fabric)
                   + _buffer_cells(fabric, shape, source.bits, buffered.buffer.storage)
                   + _sum_cells(fabric, shape, site, self.dsps)
                   + _results_cells(fabric, shape, site, self.results))

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
        entries = _store(site).source(shape.outputs, self.entries, technology)
        engine = TileEngine(
            element, shape, entries, weight_bits=multiplies(site).weights.bits, bias=biases(site),
            accumulator_bits=site.result.bits, dsp_multipliers=self.dsps,
            fill=pad_code(site, source), buffer=style(self.buffer.storage),
            results=style(self.results), technology=technology)
        return [*(gear.block(element) for gear in self.gears(site)), ("nonzeros", engine)]


@lru_cache(maxsize=256)
def _store(site: Site) -> EntryStore:
    """The store of the layer's entries."""
    return entry_store(multiplies(site).weights, site.geometry.size[2], channel_groups(site))


@lru_cache(maxsize=1024)
def _entry_memory(site: Site, fold: Fold, fabric: Fabric) -> EntryMemory:
    """Where the entries live under ``fold``."""
    store, outputs = _store(site), _shape(site, fold).outputs
    largest = max(store.memories(outputs, EntryMemory(Storage.BLOCK)),
                  key=lambda memory: memory.bits)
    storage = memories.rom_storage(fabric, largest.words, largest.width)
    return EntryMemory(storage, store.columns(outputs, fabric) if storage is Storage.BLOCK else ())


@lru_cache(maxsize=4096)
def _shape(site: Site, fold: Fold, word: int = 1, rows: int = 1, wide: bool = False,
           pieces: int = 1) -> TileShape:
    """The structure under ``fold``; where it matters less, the least."""
    return replace(_kept_up(site, fold), word=word, rows=rows, wide=wide, pieces=pieces)


@lru_cache(maxsize=1024)
def _kept_up(site: Site, fold: Fold) -> TileShape:
    """The same with the fewest output lanes that keep up with the entries."""
    geometry, store = site.geometry, _store(site)
    lengths = tuple(store.walk.lengths.tolist())
    for o_lanes in range(1, fold.pe + 1):
        outputs = balanced(lengths, fold.pe, o_lanes)
        shape = TileShape(
            geometry.size, geometry.kernel, geometry.stride, geometry.padding, fold.lanes, 1, 1,
            outputs, o_lanes, store.lengths(outputs), store.latency)
        if shape.steps == max(shape.lengths):
            break
    return shape


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
            if _shape(site, fold).steps <= steps:
                yield fold
                break


def _results(shape: TileShape, site: Site, storage: Storage) -> Memory:
    """What holds the results of tiles until it is their turn."""
    return Memory("results", shape.result_words, shape.piece_lanes * site.result.bits, storage,
                  shape.pe)


@lru_cache(maxsize=1024)
def _result_memories(site: Site, fold: Fold, fabric: Fabric) -> tuple[tuple[int, Storage], ...]:
    """In how many pieces results may come in, and where they may live: those of which no other has
    both fewer block RAMs and less of all else."""
    found = []
    pieces, most = 1, min(_store(site).walk.lengths)
    while pieces <= most and fold.lanes % pieces == 0:
        shape = _shape(site, fold, pieces=pieces)
        for storage in memories.ram_storages(fabric):
            cells = _results_cells(fabric, shape, site, storage)
            found.append((fabric.price(replace(cells, brams=0)), cells.brams, pieces, storage))
        pieces *= 2
    found.sort(key=lambda one: one[:3])
    return tuple((pieces, storage) for n, (_, brams, pieces, storage) in enumerate(found)
                 if all(brams < other for _, other, *_ in found[:n]))


def _buffer_cells(fabric: Fabric, shape: TileShape, bits: int, storage: Storage) -> Resources:
    """Cells of the banks, their addresses, and the choice of inputs of ``bits`` bits."""
    logic, lanes, (banks, columns) = fabric.logic, shape.lanes, shape.banks
    address, count = index_bits(shape.bank_words), shape.count_bits
    turns = len({offset.turn for offset in shape.offsets})
    moves = shape.column_words > 1 and len({(offset.word, offset.turn)
                                            for offset in shape.offsets}) > 1
    # Of each element: tap, row and column word; of each lane: its address, or the choice of one of
    # two memories, its input, its padding.
    chosen = (shape.parity_bits * bits * shape.word if shape.wide
              else moves * index_bits(shape.column_words))
    element = Resources(
        luts=round(fabric.sums(index_bits(shape.rows)) + 2 * fabric.sums(
            index_bits(shape.column_words))
            + lanes * (chosen * logic.mux + shape.parity_bits
                       + bits * logic.mux * (shape.word - 1 + turns - 1)
                       + bits * logic.pad * any(shape.padding))),
        ffs=shape.place_bits + 2 * address + lanes * (bits + 4 + 2 * shape.parity_bits))
    copies = memories.ram(fabric, storage, shape.bank_words, bits * shape.word, columns) * banks
    counters = sum(map(index_bits, (shape.pixel_words, shape.size[1], lanes, shape.column_words,
                                    *shape.positions)))
    return (fabric.control.window.cells + (element + copies) * shape.pe
            + Resources(luts=round(fabric.sums(count, 6) + fabric.counters(2 * counters)),
                        ffs=6 * count + 2 * counters + address + bits * shape.word
                        + (lanes << shape.parity_bits)))


def _sum_cells(fabric: Fabric, shape: TileShape, site: Site, dsps: int) -> Resources:
    """Cells of the multipliers, of which ``dsps`` are DSP blocks, and of the sums."""
    a_bits, weights = site.source.widened.bits, multiplies(site).weights
    total, products = site.result.bits, shape.pe * shape.lanes
    bias_bits = min(total, signed_bits(biases(site)))
    bias = constants.in_order(fabric, Storage.LOGIC, shape.slots, bias_bits)
    sums = fabric.sums(total, products) + products * total * fabric.logic.mux
    ffs = (products * total + dsps * (a_bits + weights.bits) + (products - dsps) * 2 * a_bits
           + shape.pe * (READ_STAGES + WAY_LATENCY) * (weights.bits + 3))
    return (bias * shape.pe + Resources(luts=round(sums), ffs=ffs, dsps=dsps)
            + arithmetic.multiplier(fabric, a_bits, weights.bits) * (products - dsps))


def _results_cells(fabric: Fabric, shape: TileShape, site: Site, storage: Storage) -> Resources:
    """Cells of what puts results in order."""
    memory, total = _results(shape, site, storage), site.result.bits
    choice = (shape.pe * (shape.piece_lanes - 1) + shape.o_lanes * (shape.pe - 1)) * total
    order = index_bits(shape.pixel_beats), index_bits(shape.lanes), index_bits(shape.tiles)
    # What waits to come in is loaded, or moves up.
    waiting = shape.lanes * total if shape.pieces > 1 else 0
    moved = (waiting - waiting // shape.pieces) * shape.pe
    tables = memories.rom(fabric, Storage.LOGIC, shape.pixel_beats,
                          shape.o_lanes * index_bits(shape.pe) + shape.pe * index_bits(shape.slots))
    depth, counters = shape.results.queue_depth, sum(order) + shape.pe * index_bits(shape.slots)
    return (memories.ram(fabric, storage, memory.words, memory.width) * shape.pe
            + (tables if shape.pe > 1 else Resources())
            + streams.queue(fabric, depth, shape.o_lanes * total + 1)
            + streams.admission(fabric, depth=shape.results.depth, room=depth)
            + fabric.control.engine.cells
            + Resources(luts=round((choice + moved) * fabric.logic.mux
                                   + fabric.counters(counters)),
                        ffs=(shape.pe + shape.o_lanes) * total + counters + waiting * shape.pe
                        + (shape.pieces > 1) * shape.pe * index_bits(shape.result_words)))
