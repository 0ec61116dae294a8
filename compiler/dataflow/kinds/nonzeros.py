"""The engine that walks entries: weights that are zero take neither memory nor cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np

from ....hdl.fill import Spelling
from ....hdl.tech import Technology
from ....hdl.tile_engine import TileEngine
from ....hdl.tile_shape import TileShape
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from .. import control, geometry, timing
from ..fold import Fold
from ..gears import Gear, repacking
from ..port import Port
from ..site import Site
from .ask import Ask
from .engine import biases, channel_groups, dsp_blocks, multiplies, pad_code
from .entry_store import EntryMemory, EntryStore, Outputs, Room
from .entry_stores import entry_store
from .kind import Stages, shape_of, style
from .tile_cells import buffer_cells, results_cells, results_memory, sum_cells
from .weighted import Limits, Weighted
from .window import Buffer, Buffered
from .words import packed, slot_words


@dataclass(frozen=True, kw_only=True)
class Nonzeros(Buffered, Weighted):
    """``fold.pe`` outputs at ``fold.lanes`` neighbouring positions at once, which share entries.

    ``word`` channels come in a cycle. Entries live in ``entries``, results that wait for their turn
    in ``results``; ``wide`` and ``pieces`` are those of a `TileShape`. If there is ``room``, a
    stream brings entries and biases.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Sparse,)
    fold: Fold
    word: int
    entries: EntryMemory
    results: Storage
    wide: bool = False
    pieces: int = 1
    room: Room | None = None

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The engines that do what ``ask`` says; none for weights of other `encodings`."""
        if not isinstance(multiplies(site).weights.encoding, cls.encodings):
            return
        folds = _proposals(site, ask) if ask.fold is None else (ask.fold,)
        for fold in folds:
            yield from cls._made(site, ask, fold)

    @classmethod
    def _made(cls, site: Site, ask: Ask, fold: Fold) -> Iterator[Self]:
        """The engines under ``fold``, with each memory of results that may be the best."""
        height, width, channels = site.geometry.size
        shape = _shape(site, fold)
        word = 1
        while (words := height * width * -(-channels // word)) > shape.tiles * shape.steps and (
                word < channels) and not ask.allows(words):
            word *= 2
        weights, fabric = multiplies(site).weights, ask.fabric
        for pieces, results in _result_memories(site, fold, fabric):
            yield cls(inputs=ask.inputs, o=Port(shape.o_lanes, shape.channels), fold=fold,
                      word=word, entries=_entry_memory(site, fold, fabric), results=results,
                      pieces=pieces, room=_store(site).room(shape),
                      dsps=dsp_blocks(ask, site.source.widened.bits, weights.bits, fold.products))

    @classmethod
    def limits(cls, site: Site) -> Limits:
        """Outputs, and positions of a row."""
        return Limits((1, site.outputs), (1, 1), (1, site.result.shape[1]))

    @classmethod
    def check(cls, site: Site, fold: Fold) -> None:
        """Refuse one that leaves positions of a row over."""
        row = site.result.shape[1]
        if row % fold.lanes:
            raise ir.PenjingError(f"layer {site.name}: fold lanes must divide the {row} positions "
                                  f"of a row, not {fold.lanes}")

    @classmethod
    def of_simd(cls, site: Site, pe: int, simd: int) -> list[Fold]:
        """So many positions."""
        return [Fold(pe, 1, simd)]

    def shape(self, site: Site) -> TileShape:
        """The engine's structure."""
        _, width, _ = site.geometry.size
        rows = self.buffer.words // (width * self._pixel_words(site)) if self.buffer else 1
        return self._formed(site, rows, self.wide)

    def _formed(self, site: Site, rows: int, wide: bool) -> TileShape:
        """The structure with a buffer of so many ``rows``."""
        if self.room is None:
            found = _shape(site, self.fold)
        else:
            # Weights that come later are other ones.
            found = _tiles(site, self.fold, self.o.lanes, self.store(site),
                           (self.room.entries,) * self.fold.pe)
        return _with_memories(found, self.word, rows, wide, self.pieces)

    def sparing(self, site: Site, fabric: Fabric) -> Iterator[Self]:
        """Entries that never change, in look-up tables."""
        words = max(part.words for part in self.store(site).parts(self.shape(site)))
        storage = memories.spared_storage(fabric, words)
        if self.room is None and self.entries.storage is Storage.BLOCK is not storage:
            yield replace(self, entries=EntryMemory(storage))

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
        shape = self.shape(site)
        height, width, channels = site.geometry.size
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
            geometry.Waits.of(need[:, None]), shape.steps, freed, 1, outputs,
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
                shape = self._formed(site, rows, wide)
                storage = memories.ram_storage(fabric, shape.bank_words, self.word * bits,
                                               shape.banks[1])
                yield fabric.price(buffer_cells(fabric, shape, bits, storage)), wide, storage

        _, wide, storage = min(prices(), key=lambda found: found[0])
        return replace(self, buffer=Buffer(rows * row, storage), wide=wide)

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """Entries, biases, the map's rows, and results."""
        assert self.buffer is not None
        shape, (source,) = self.shape(site), self.carried(site)
        banks, columns = shape.banks
        return (*self.store(site).memories(shape, self.entries),
                Memory("bias", shape.channels, site.result.bits, Storage.LOGIC),
                Memory("window", shape.bank_words, columns * self.word * source.bits,
                       self.buffer.storage, self.fold.pe * banks),
                results_memory(shape, site, self.results))

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Entries, buffer, sums, and results."""
        buffered = self if self.buffer else self.buffered(
            site, fabric, site.geometry.kernel[0] * site.geometry.size[1] * self._pixel_words(site))
        assert buffered.buffer is not None
        shape, (source,) = buffered.shape(site), self.carried(site)
        gears = (gear.cells(fabric, source.bits) for gear in self.gears(site))
        return sum(gears, self.store(site).cells(shape, self.entries, fabric)
                   + buffer_cells(fabric, shape, source.bits, buffered.buffer.storage)
                   + sum_cells(fabric, shape, site, self.dsps)
                   + results_cells(fabric, shape, site, self.results))

    def all_weight_bits(self, site: Site) -> int:
        """Bits of all weights of the layer: of their encoding, or of what there is room for."""
        if self.room is None:
            return super().all_weight_bits(site)
        weights = multiplies(site).weights
        entries = self.store(site).memories(self.shape(site), self.entries)
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
        entries = self.store(site).source(shape, self.entries, technology)
        engine = TileEngine(
            element, shape, entries, weight_bits=multiplies(site).weights.bits,
            bias=None if self.room else biases(site), accumulator_bits=site.result.bits,
            dsp_multipliers=self.dsps, fill=pad_code(site, source),
            buffer=style(self.buffer.storage), results=style(self.results), technology=technology)
        return [*(gear.block(element) for gear in self.gears(site)), ("nonzeros", engine)]


@lru_cache(maxsize=256)
def _store(site: Site, codes: int | None = None) -> EntryStore:
    """The store of the layer's entries, with indices of so many bits, if it is said."""
    return entry_store(multiplies(site).weights, site.geometry.size[2], channel_groups(site),
                       codes)


@lru_cache(maxsize=1024)
def _entry_memory(site: Site, fold: Fold, fabric: Fabric) -> EntryMemory:
    """Where the entries live under ``fold``."""
    store, shape = _store(site), _shape(site, fold)
    largest = max(store.memories(shape, EntryMemory(Storage.BLOCK)),
                  key=lambda memory: memory.bits)
    choose = memories.ram_storage if shape.loaded else memories.rom_storage
    storage = choose(fabric, largest.words, largest.width)
    return EntryMemory(storage, store.columns(shape, fabric) if storage is Storage.BLOCK else ())


@lru_cache(maxsize=1024)
def _shape(site: Site, fold: Fold) -> TileShape:
    """The structure under ``fold``, with the fewest output lanes that keep up with the entries, and
    the least memories."""
    store = _store(site)
    for o_lanes in range(1, fold.pe + 1):
        shape = _tiles(site, fold, o_lanes, store,
                       store.lengths(store.dealt(fold.pe, o_lanes)))
        if shape.steps == max(shape.lengths):
            break
    return shape


def _tiles(site: Site, fold: Fold, o_lanes: int, store: EntryStore, lengths: tuple[int, ...]
           ) -> TileShape:
    """The structure under ``fold`` of elements with entries of a ``store``, so many of each, with
    the least memories.

    Where a stream says which outputs an element makes, those here stand for any.
    """
    geometry, loaded = site.geometry, multiplies(site).weights.loadable
    outputs = (tuple(tuple(range(n, site.result.shape[2], fold.pe)) for n in range(fold.pe))
               if loaded else store.dealt(fold.pe, o_lanes))
    return TileShape(geometry.size, geometry.kernel, geometry.stride, geometry.padding, fold.lanes,
                     1, 1, outputs, o_lanes, lengths, store.latency, loaded=loaded)


@lru_cache(maxsize=4096)
def _with_memories(shape: TileShape, word: int, rows: int, wide: bool, pieces: int) -> TileShape:
    """``shape`` with other memories."""
    return replace(shape, word=word, rows=rows, wide=wide, pieces=pieces)


@lru_cache(maxsize=1024)
def _result_memories(site: Site, fold: Fold, fabric: Fabric) -> tuple[tuple[int, Storage], ...]:
    """In how many pieces results may come in, and where they may live: those of which no other has
    both fewer block RAMs and less of all else."""
    found = []
    shape, most, pieces = _shape(site, fold), _store(site).apart, 1
    while pieces <= most and fold.lanes % pieces == 0:
        divided = replace(shape, pieces=pieces)
        for storage in memories.ram_storages(fabric):
            cells = results_cells(fabric, divided, site, storage)
            found.append((fabric.price(replace(cells, brams=0)), cells.brams, pieces, storage))
        pieces *= 2
    found.sort(key=lambda one: one[:3])
    return tuple((pieces, storage) for n, (_, brams, pieces, storage) in enumerate(found)
                 if all(brams < other for _, other, *_ in found[:n]))


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


def _proposals(site: Site, ask: Ask) -> Iterator[Fold]:
    """For each number of lanes, the fewest elements that are fast enough."""
    geometry = site.geometry
    row = site.result.shape[1]
    total = int(_store(site).walk.lengths.sum())
    for lanes in range(1, row + 1):
        if row % lanes:
            continue
        tiles = geometry.positions // lanes
        if not ask.allows(tiles):
            continue
        for pe in range(ask.lanes(max(1, total), tiles), site.result.shape[2] + 1):
            fold = Fold(pe, 1, lanes)
            if ask.allows(_shape(site, fold).steps * tiles):
                yield fold
                break
