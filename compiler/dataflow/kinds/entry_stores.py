"""How the memory of an engine that walks entries holds them: a store for each sparse encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from ....hdl.entries import RELATIVE_LATENCY, EntrySource, RelativeEntries, Weighing
from ....hdl.tech import MemoryStyle, Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...ir import Integers
from . import constants
from .words import packed

Outputs = tuple[tuple[int, ...], ...]
"""The outputs of each processing element."""


@dataclass(frozen=True)
class EntryStore(ABC):
    """The entries of a ``walk``, whose weights have so many bits, and what is stored of these."""

    walk: ir.Walk
    weighing: Weighing

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a step to its entries."""

    @abstractmethod
    def memories(self, outputs: Outputs, storage: Storage) -> tuple[Memory, ...]:
        """What holds the entries of the elements that make ``outputs``, in ``storage``."""

    @abstractmethod
    def cells(self, outputs: Outputs, place_bits: int, storage: Storage, fabric: Fabric
              ) -> Resources:
        """Cells of the source."""

    @abstractmethod
    def source(self, outputs: Outputs, place_bits: int, style: MemoryStyle, technology: Technology
               ) -> EntrySource:
        """What gives the elements their entries."""

    def lengths(self, outputs: Outputs) -> tuple[int, ...]:
        """Entries of each element."""
        return tuple(int(self.walk.lengths[list(some)].sum()) for some in outputs)

    def table(self, fabric: Fabric) -> Resources:
        """Cells of the codebook of each element."""
        weighing = self.weighing
        if not weighing.codebook:
            return Resources(ffs=weighing.weight_bits)
        return memories.rom(fabric, Storage.LOGIC, len(weighing.codebook), weighing.weight_bits)

    @property
    def stored(self) -> Integers:
        """What memory holds of each of `Walk.stored`."""
        values, codebook = self.walk.stored, self.weighing.codebook
        if not codebook:
            return values & (1 << self.weighing.weight_bits) - 1
        return np.searchsorted(np.array(codebook), values).astype(np.int64)


@dataclass(frozen=True)
class RelativeStore(EntryStore):
    """Each entry with the gap before it, of ``gap_bits``, and whether it is the last."""

    walk: ir.GapWalk
    gap_bits: int

    @property
    def latency(self) -> int:
        """The memory's, and that of the sum of gaps."""
        return RELATIVE_LATENCY

    @property
    def entry_bits(self) -> int:
        """Bits of an entry."""
        return 1 + self.gap_bits + self.weighing.bits

    def memories(self, outputs: Outputs, storage: Storage) -> tuple[Memory, ...]:
        """A word has an entry of each element."""
        words, width = max(self.lengths(outputs)), len(outputs) * self.entry_bits
        return (Memory("weights", words, width, storage),)

    def cells(self, outputs: Outputs, place_bits: int, storage: Storage, fabric: Fabric
              ) -> Resources:
        """The memory; of each element, where it is, and how far it has come."""
        (memory,) = self.memories(outputs, storage)
        count = memories.index_bits(memory.words)
        element = self.table(fabric) + Resources(
            luts=round(fabric.sums(place_bits) + fabric.sums(count)), ffs=place_bits + 3)
        return (constants.in_order(fabric, memory.storage, memory.words, memory.width)
                + element * len(outputs) + Resources(luts=round(fabric.counters(count)), ffs=count))

    def source(self, outputs: Outputs, place_bits: int, style: MemoryStyle, technology: Technology
               ) -> EntrySource:
        """The memory, and what adds the gaps up."""
        entries = self.walk.last | self.walk.gaps << 1 | self.stored << 1 + self.gap_bits
        lengths = self.lengths(outputs)
        words = np.zeros((max(lengths), len(outputs)), np.int64)
        rows = np.split(entries, np.cumsum(self.walk.lengths)[:-1])
        for n, some in enumerate(outputs):
            words[:lengths[n], n] = np.concatenate([rows[output] for output in some])
        return RelativeEntries(packed(words, self.entry_bits), lengths, gap_bits=self.gap_bits,
                               weighing=self.weighing, place_bits=place_bits, style=style,
                               technology=technology)


def entry_store(weights: ir.Weights, walk: ir.Walk) -> EntryStore:
    """The store of the entries of ``weights``."""
    encoding = weights.encoding
    assert isinstance(encoding, ir.Sparse)
    shared = isinstance(encoding.values, ir.Codebook)
    codebook = tuple(np.unique(walk.stored).tolist()) or (0,) if shared else ()
    return _store(encoding, walk, Weighing(weights.bits, codebook))


@singledispatch
def _store(encoding: ir.Encoding, walk: ir.Walk, weighing: Weighing) -> EntryStore:
    raise ir.PenjingError(f"weights: there is no hardware for their encoding, {encoding.kind}; "
                          "store them plain")


@_store.register
def _(encoding: ir.RelativeIndex, walk: ir.Walk, weighing: Weighing) -> EntryStore:
    assert isinstance(walk, ir.GapWalk)
    return RelativeStore(walk, weighing, encoding.gap_bits)
