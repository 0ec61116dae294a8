"""Entries that are told by the gaps between them, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ....hdl.entries import GAPS_LATENCY, EntrySource, KernelEntries, RelativeEntries
from ....hdl.joined_words import JoinedWords
from ....hdl.sequencer import AnySequencer
from ....hdl.tech import Technology
from ....hdl.tile_shape import TileShape
from ... import ir
from ...cost import Fabric, Resources, memories
from ...ir import Integers
from .entry_store import FixedStore, Outputs, Part
from .words import packed


@dataclass(frozen=True, kw_only=True, eq=False)
class GapStore(FixedStore):
    """Runs of so many weights, each with the gap before it, of ``gap_bits``, and whether it is the
    last."""

    walk: ir.GapWalk
    gap_bits: int

    @property
    def latency(self) -> int:
        """The memory's, and that of the sum of gaps."""
        return GAPS_LATENCY

    @property
    def run(self) -> int:
        """Weights of a run."""
        return len(self.walk.values) // len(self.walk.gaps)

    @property
    def least(self) -> int:
        """A run."""
        return self.run

    @property
    def step(self) -> int:
        """A run."""
        return self.run

    def most(self, outputs: int) -> int | None:
        """None: places beyond the last one begin anew."""
        return None

    def filled(self, outputs: Outputs, slots: int, entries: int) -> Self:
        """See `FixedStore`: runs without a gap before them."""
        runs, walk = self.walk.lengths // self.run, self.walk
        ends = np.cumsum(runs)
        nothing = [len(walk.gaps)]
        taken, lengths = [], []
        for some in outputs:
            rows = [np.arange(ends[output] - runs[output], ends[output]) for output in some]
            rows += [np.array(nothing)] * (slots - len(some))
            spare = entries // self.run - sum(map(len, rows))
            rows[-1] = np.append(rows[-1], np.repeat(nothing, spare))
            taken += rows
            lengths += [len(row) for row in rows]
        at = np.concatenate(taken)
        values = np.append(walk.values, np.zeros(self.run, np.int64)).reshape(-1, self.run)
        return replace(self, walk=ir.GapWalk.of(
            np.array(lengths), np.append(walk.gaps, 0)[at], values[at], 1 << self.channel_bits))

    def word_bits(self, shape: TileShape) -> int:
        """Bits of a word of all memories, which wait in registers."""
        return sum(part.width for part in self.parts(shape))

    def by_element(self, values: Integers, outputs: Outputs) -> Integers:
        """(words, elements) what the elements take of ``values``, as many for each run."""
        each = len(values) // len(self.walk.gaps)
        lengths = self.walk.lengths // self.run * each
        rows = np.split(values, np.cumsum(lengths)[:-1])
        words = np.zeros((max(int(lengths[list(some)].sum()) for some in outputs), len(outputs)),
                         np.int64)
        for n, some in enumerate(outputs):
            taken = np.concatenate([rows[output] for output in some])
            words[:len(taken), n] = taken
        return words


@dataclass(frozen=True, kw_only=True, eq=False)
class RelativeStore(GapStore):
    """A weight with each gap."""

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """A word has an entry of each element."""
        return (Part("weights", max(shape.lengths), shape.pe,
                     1 + self.gap_bits + self.weighing.bits),)

    def contents(self, outputs: Outputs) -> Iterable[list[int]]:
        """Of each entry whether it is the last, its gap, and its weight."""
        entries = self.walk.last | self.walk.gaps << 1 | self.stored << 1 + self.gap_bits
        yield packed(self.by_element(entries, outputs), 1 + self.gap_bits + self.weighing.bits)

    def logic(self, shape: TileShape, fabric: Fabric) -> Resources:
        """The elements."""
        words = max(shape.lengths)
        count = memories.index_bits(words)
        return (self.element_cells(words, fabric) * shape.pe
                + Resources(luts=round(fabric.counters(count)), ffs=count + self.word_bits(shape)))

    def joined(self, given: Sequence[AnySequencer], shape: TileShape, technology: Technology
               ) -> EntrySource:
        """What adds the gaps up."""
        (words,) = given
        return self.behind(words, shape, technology)

    def behind(self, words: AnySequencer | JoinedWords, shape: TileShape, technology: Technology
               ) -> EntrySource:
        """What adds the gaps up that are among ``words``."""
        return RelativeEntries(words, shape.lengths, gap_bits=self.gap_bits,
                               weighing=self.weighing, place_bits=self.place_bits,
                               technology=technology)

    @property
    def parted(self) -> FixedStore:
        """That of gaps, and of weights."""
        return PartedRelativeStore(
            walk=self.walk, weighing=self.weighing, place_bits=self.place_bits,
            channel_bits=self.channel_bits, gap_bits=self.gap_bits)


@dataclass(frozen=True, kw_only=True, eq=False)
class PartedRelativeStore(RelativeStore):
    """A weight with each gap, in a memory of its own."""

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """Words have a gap, or a weight, of each element."""
        words = max(shape.lengths)
        return (Part("index", words, shape.pe, 1 + self.gap_bits),
                Part("weights", words, shape.pe, self.weighing.bits))

    def contents(self, outputs: Outputs) -> Iterable[list[int]]:
        """Of each entry whether it is the last, and its gap; its weight."""
        index = self.walk.last | self.walk.gaps << 1
        yield packed(self.by_element(index, outputs), 1 + self.gap_bits)
        yield packed(self.by_element(self.stored, outputs), self.weighing.bits)

    def joined(self, given: Sequence[AnySequencer], shape: TileShape, technology: Technology
               ) -> EntrySource:
        """What adds the gaps up."""
        return self.behind(JoinedWords(given, shape.pe), shape, technology)


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelStore(GapStore):
    """The weights of a whole kernel with each gap."""

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """Words of a slice, or of a weight, of each element."""
        words = max(shape.lengths)
        return (Part("index", words // self.run, shape.pe, 1 + self.gap_bits),
                Part("weights", words, shape.pe, self.weighing.bits))

    def contents(self, outputs: Outputs) -> Iterable[list[int]]:
        """Of each slice whether it is the last, and its gap; of each weight what is stored."""
        slices = self.by_element(self.walk.last | self.walk.gaps << 1, outputs)
        yield packed(slices, 1 + self.gap_bits)
        yield packed(self.by_element(self.stored, outputs), self.weighing.bits)

    def logic(self, shape: TileShape, fabric: Fabric) -> Resources:
        """The elements."""
        slices = max(shape.lengths) // self.run
        counts = memories.index_bits(slices) + 2 * memories.index_bits(self.run)
        return (self.element_cells(slices, fabric) * shape.pe
                + Resources(luts=round(fabric.counters(counts)),
                            ffs=counts + self.word_bits(shape)))

    def joined(self, given: Sequence[AnySequencer], shape: TileShape, technology: Technology
               ) -> EntrySource:
        """What adds the gaps up."""
        slices, weights = given
        return KernelEntries(
            slices, weights, tuple(length // self.run for length in shape.lengths),
            taps=self.run, gap_bits=self.gap_bits, weighing=self.weighing,
            channel_bits=self.channel_bits, place_bits=self.place_bits, technology=technology)
