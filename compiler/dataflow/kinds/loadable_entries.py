"""Entries that a stream brings: memories with room for those of other weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ....hdl.coded_entries import CODES_LATENCY, CodedEntries
from ....hdl.entries import EntrySource
from ....hdl.fill import Spelling
from ....hdl.sequencer import LoadableSequencer
from ....hdl.tech import Technology
from ....hdl.tile_shape import TileShape
from ...cost import Fabric, Resources, memories
from ...ir import MAX_CODES, Integers, PenjingError
from . import constants
from .balance import evenly
from .entry_store import EntryMemory, EntryStore, FixedStore, Outputs, Part, Room
from .kind import style
from .words import packed

MARGIN = 8
"""Of so many entries, there is room for one more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadableStore(EntryStore):
    """The entries of ``within``, whose weights are indices of ``index_bits``, or stored as they
    are, if these are 0.

    All elements walk as many entries and make as many outputs; what weights do not need, zeros
    fill up. So cycles do not depend on what has come in.
    """

    within: FixedStore
    index_bits: int

    @property
    def latency(self) -> int:
        """That of the entries, and of the table."""
        return self.within.latency + (CODES_LATENCY if self.index_bits else 0)

    @property
    def apart(self) -> int:
        """The fewest entries that an output may come in with."""
        return self.within.least

    def dealt(self, pe: int, o_lanes: int) -> Outputs:
        """As many for each, but for those that the last ones miss."""
        return evenly(tuple(self.walk.lengths.tolist()), pe, o_lanes)

    def lengths(self, outputs: Outputs) -> tuple[int, ...]:
        """What the longest element needs and an eighth more: every entry takes a cycle."""
        within, slots = self.within, max(map(len, outputs))
        steps = max(self._needed(outputs)) // within.step
        entries = (steps + -(-steps // MARGIN)) * within.step
        most = within.most(slots)
        return (entries if most is None else min(entries, most),) * len(outputs)

    def _needed(self, outputs: Outputs) -> list[int]:
        """Entries that each element has at least, those of outputs of nobody too."""
        slots = max(map(len, outputs))
        return [int(self.walk.lengths[list(some)].sum())
                + (slots - len(some)) * self.within.least for some in outputs]

    def room(self, shape: TileShape) -> Room:
        """As much in each element."""
        return Room(max(shape.lengths), self.index_bits)

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """Those of the entries."""
        return self.within.parts(shape)

    def cells(self, shape: TileShape, place: EntryMemory, fabric: Fabric) -> Resources:
        """The memories and what fills them, the tables, and what is beside them."""
        cells = sum((constants.filled(fabric, place.storage, part.words, _spelling(part))
                     for part in self.parts(shape)), self.within.logic(shape, fabric))
        if self.index_bits:
            bits, codes = self.weighing.weight_bits, 1 << self.index_bits
            table = memories.ram(fabric, constants.loose(fabric), codes, bits)
            cells += constants.filler(fabric, codes, Spelling(1, bits)) + (
                table + Resources(ffs=CODES_LATENCY * (self.place_bits + 3))) * shape.pe
        return cells

    def source(self, shape: TileShape, place: EntryMemory, technology: Technology) -> EntrySource:
        """The memories and the tables, and what is behind them."""
        given = [LoadableSequencer(part.words, _spelling(part), style=style(place.storage),
                                   technology=technology)
                 for part in self.parts(shape)]
        source = self.within.joined(given, shape, technology)
        return CodedEntries(source, weight_bits=self.weighing.weight_bits, technology=technology
                            ) if self.index_bits else source

    def fillings(self, shape: TileShape) -> tuple[bytes, ...]:
        """Those of the memories, and of the table."""
        outputs, entries = self.dealt(shape.pe, shape.o_lanes), max(shape.lengths)
        needed = max(self._needed(outputs))
        if needed > entries:
            raise PenjingError(
                f"weights: they have {int(self.walk.lengths.sum())} entries, {needed} of them in "
                f"one of {shape.pe} processing elements, and {entries} fit; prune more of them, or "
                "compile for them")
        store = self.within.filled(outputs, shape.slots, entries)
        codebook = np.union1d(store.walk.values, [0])
        if self.index_bits:
            indices = np.searchsorted(codebook, store.walk.values)
            store = replace(store, walk=replace(store.walk, values=indices))
        turns = np.arange(shape.pe * shape.slots).reshape(shape.pe, -1)
        found = [_spelling(part).spelled(words) for part, words in zip(
            self.parts(shape), store.contents(tuple(map(tuple, turns.tolist()))), strict=True)]
        return (*found, self._table(codebook)) if self.index_bits else tuple(found)

    def _table(self, codebook: Integers) -> bytes:
        """The symbols of the ``codebook``."""
        codes, bits = 1 << self.index_bits, self.weighing.weight_bits
        if len(codebook) > codes:
            raise PenjingError(
                f"weights: they are of {len(codebook)} different values, 0 among them, and the "
                f"tables that they go into have {codes}; share values, or compile for more")
        return Spelling(1, bits).spelled(packed(np.pad(codebook, (0, codes - len(codebook))), bits))


def index_bits(values: Integers) -> int:
    """Bits of an index of ``values`` and of 0, which fills up; 0 where a codebook cannot hold them.
    """
    count = len(np.union1d(values, [0]))
    return max(1, (count - 1).bit_length()) if count <= MAX_CODES else 0


def _spelling(part: Part) -> Spelling:
    return Spelling(part.elements, part.bits)
