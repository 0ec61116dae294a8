"""How the memory of an engine that walks entries holds them: a store for each sparse encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, singledispatch

import numpy as np

from ....hdl.bitmap_entries import (
    BITMAP_LATENCY,
    MASKS_AHEAD,
    BitmapEntries,
    BitmapWalker,
)
from ....hdl.entries import (
    GAPS_LATENCY,
    GROUPED_LATENCY,
    EntrySource,
    GroupedEntries,
    KernelEntries,
    RelativeEntries,
    Weighing,
)
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories, streams
from ...ir import Integers
from . import constants
from .kind import style
from .words import packed

Outputs = tuple[tuple[int, ...], ...]
"""The outputs of each processing element."""


@dataclass(frozen=True)
class EntryMemory:
    """Where entries live: in ``storage``, and in block RAM of so wide ``columns`` if there are any
    (see `EntryStore.columns`)."""

    storage: Storage
    columns: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class EntryStore(ABC):
    """The entries of a ``walk``, and what is stored of their weights (see ``weighing``).

    A place has ``place_bits``, of which so many tell the channel.
    """

    walk: ir.Walk
    weighing: Weighing
    place_bits: int
    channel_bits: int

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from a step to its entries."""

    def columns(self, outputs: Outputs, fabric: Fabric) -> tuple[int, ...]:
        """Widths of the columns in which block RAM should hold a word; none to leave it whole."""
        return ()

    @abstractmethod
    def memories(self, outputs: Outputs, place: EntryMemory) -> tuple[Memory, ...]:
        """What holds the entries of the elements that make ``outputs``, at ``place``."""

    @abstractmethod
    def cells(self, outputs: Outputs, place: EntryMemory, fabric: Fabric) -> Resources:
        """Cells of the source."""

    @abstractmethod
    def source(self, outputs: Outputs, place: EntryMemory, technology: Technology) -> EntrySource:
        """What gives the elements their entries."""

    def lengths(self, outputs: Outputs) -> tuple[int, ...]:
        """Entries of each element."""
        return tuple(int(self.walk.lengths[list(some)].sum()) for some in outputs)

    def element_cells(self, steps: int, fabric: Fabric) -> Resources:
        """Cells of an element: its codebook, where it is, and how far of so many ``steps``."""
        weighing = self.weighing
        weight = (memories.rom(fabric, Storage.LOGIC, len(weighing.codebook), weighing.weight_bits)
                  if weighing.codebook else Resources(ffs=weighing.weight_bits))
        return weight + Resources(
            luts=round(fabric.sums(self.place_bits) + fabric.sums(memories.index_bits(steps))),
            ffs=self.place_bits + 3)

    @property
    def stored(self) -> Integers:
        """What memory holds of each of `Walk.stored`."""
        values, codebook = self.walk.stored, self.weighing.codebook
        if not codebook:
            return values & (1 << self.weighing.weight_bits) - 1
        return np.searchsorted(np.array(codebook), values).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class GapStore(EntryStore):
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

    @property
    def entry_bits(self) -> int:
        """Bits of an entry."""
        return 1 + self.gap_bits + self.weighing.bits

    def memories(self, outputs: Outputs, place: EntryMemory) -> tuple[Memory, ...]:
        """A word has an entry of each element."""
        words = max(self.lengths(outputs))
        columns = place.columns or (len(outputs) * self.entry_bits,)
        return tuple(Memory("weights", words, bits, place.storage) for bits in columns)

    def columns(self, outputs: Outputs, fabric: Fabric) -> tuple[int, ...]:
        """Those that take the fewest block RAMs."""
        found = memories.rom_columns(fabric, max(self.lengths(outputs)),
                                     len(outputs) * self.entry_bits)
        return found if len(found) > 1 else ()

    def cells(self, outputs: Outputs, place: EntryMemory, fabric: Fabric) -> Resources:
        """The memory, and the elements."""
        words = max(self.lengths(outputs))
        count = memories.index_bits(words)
        return (constants.in_order(fabric, place.storage, words, len(outputs) * self.entry_bits,
                                   columns=place.columns)
                + self.element_cells(words, fabric) * len(outputs)
                + Resources(luts=round(fabric.counters(count)), ffs=count))

    def source(self, outputs: Outputs, place: EntryMemory, technology: Technology) -> EntrySource:
        """The memory, and what adds the gaps up."""
        entries = self.walk.last | self.walk.gaps << 1 | self.stored << 1 + self.gap_bits
        return RelativeEntries(
            packed(self.by_element(entries, outputs), self.entry_bits), self.lengths(outputs),
            gap_bits=self.gap_bits, weighing=self.weighing, place_bits=self.place_bits,
            style=style(place.storage), columns=place.columns, technology=technology)


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelStore(GapStore):
    """The weights of a whole kernel with each gap."""

    def memories(self, outputs: Outputs, place: EntryMemory) -> tuple[Memory, ...]:
        """Words of a slice, or of a weight, of each element."""
        words = max(self.lengths(outputs))
        index = Memory("index", words // self.run, len(outputs) * (1 + self.gap_bits),
                       place.storage)
        bits = len(outputs) * self.weighing.bits
        return (index, Memory("weights", words, bits, place.storage)) if bits else (index,)

    def cells(self, outputs: Outputs, place: EntryMemory, fabric: Fabric) -> Resources:
        """The memories, and the elements."""
        found = self.memories(outputs, place)
        counts = memories.index_bits(found[0].words) + 2 * memories.index_bits(self.run)
        return sum((constants.in_order(fabric, place.storage, one.words, one.width)
                    for one in found),
                   self.element_cells(found[0].words, fabric) * len(outputs)
                   + Resources(luts=round(fabric.counters(counts)), ffs=counts))

    def source(self, outputs: Outputs, place: EntryMemory, technology: Technology) -> EntrySource:
        """The memories, and what adds the gaps up."""
        slices = self.by_element(self.walk.last | self.walk.gaps << 1, outputs)
        lengths = tuple(length // self.run for length in self.lengths(outputs))
        weights = packed(self.by_element(self.stored, outputs), self.weighing.bits)
        return KernelEntries(
            packed(slices, 1 + self.gap_bits), weights, lengths, taps=self.run,
            gap_bits=self.gap_bits, weighing=self.weighing, channel_bits=self.channel_bits,
            place_bits=self.place_bits, style=style(place.storage), technology=technology)


@dataclass(frozen=True, kw_only=True, eq=False)
class BitmapStore(EntryStore):
    """Masks of ``segment`` places, and the weights of their bits, of each element by itself."""

    walk: ir.BitmapWalk
    segment: int

    @property
    def latency(self) -> int:
        """That of masks, weights and codebook."""
        return BITMAP_LATENCY

    def memories(self, outputs: Outputs, place: EntryMemory) -> tuple[Memory, ...]:
        """Masks and weights of each element."""
        found = []
        for some in outputs:
            found.append(Memory("index", len(some) * self.walk.masks.shape[1], self.segment,
                                place.storage))
            if self.weighing.bits:
                weights = int(self._weights[list(some)].sum())
                found.append(Memory("weights", max(1, weights), self.weighing.bits,
                                    place.storage))
        return tuple(found)

    def cells(self, outputs: Outputs, place: EntryMemory, fabric: Fabric) -> Resources:
        """The memories, and of each element the queue of its masks, and the search for a bit."""
        search = Resources(luts=round(2 * fabric.sums(self.segment)
                                      + self.segment * (2 * fabric.logic.mux + 1)),
                           ffs=3 * self.segment)
        walker = (self.element_cells(max(self.lengths(outputs)), fabric) + search
                  + streams.queue(fabric, MASKS_AHEAD, self.segment))
        return sum((constants.in_order(fabric, place.storage, one.words, one.width)
                    for one in self.memories(outputs, place)), walker * len(outputs))

    def source(self, outputs: Outputs, place: EntryMemory, technology: Technology) -> EntrySource:
        """A walker for each element."""
        walkers = []
        for some in outputs:
            masks = self.walk.masks[list(some)]
            walkers.append(BitmapWalker(
                masks.reshape(-1).tolist(), self._stored(some) or [0], segment=self.segment,
                segments=masks.shape[1], weighing=self.weighing, place_bits=self.place_bits,
                style=style(place.storage), technology=technology))
        return BitmapEntries(walkers, self.lengths(outputs))

    @cached_property
    def _weights(self) -> Integers:
        """(outputs,) weights of each."""
        places = self.walk.masks[:, :, None] >> np.arange(self.segment) & 1
        return np.asarray(places.sum((1, 2)))

    def _stored(self, outputs: tuple[int, ...]) -> list[int]:
        """What is stored of the weights of ``outputs``."""
        rows = np.split(self.stored, np.cumsum(self._weights)[:-1])
        return [int(one) for output in outputs for one in rows[output]]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedStore(EntryStore):
    """The entries of ``within``, whose channels are counted within groups of so many ``channels``
    and ``outputs``."""

    within: EntryStore
    group: tuple[int, int]

    @property
    def latency(self) -> int:
        """That of the entries, and of the sum with their group's channel."""
        return self.within.latency + GROUPED_LATENCY

    def memories(self, outputs: Outputs, place: EntryMemory) -> tuple[Memory, ...]:
        """Those of the entries."""
        return self.within.memories(outputs, place)

    def cells(self, outputs: Outputs, place: EntryMemory, fabric: Fabric) -> Resources:
        """Those of the entries; of each element the channels of its groups, and a sum."""
        slots = max(map(len, outputs))
        element = constants.in_order(fabric, Storage.LOGIC, slots, self.channel_bits) + Resources(
            luts=round(fabric.sums(self.channel_bits)), ffs=GROUPED_LATENCY * self.place_bits)
        return self.within.cells(outputs, place, fabric) + element * len(outputs)

    def source(self, outputs: Outputs, place: EntryMemory, technology: Technology) -> EntrySource:
        """The entries, and what adds their groups' channels."""
        channels, each = self.group
        bases = [[output // each * channels for output in some] for some in outputs]
        return GroupedEntries(
            self.within.source(outputs, place, technology), bases,
            source_bits=self.within.channel_bits, channel_bits=self.channel_bits,
            place_bits=self.place_bits, technology=technology)


def entry_store(weights: ir.Weights, channels: int, group: tuple[int, int]) -> EntryStore:
    """The store of the entries of ``weights``, which read so many ``channels`` in all.

    Those of a ``group`` of channels make so many outputs.
    """
    encoding, (outputs, taps, within) = weights.encoding, weights.rows.shape
    assert isinstance(encoding, ir.Sparse)
    walk = encoding.walk(weights.rows)
    shared = isinstance(encoding.values, ir.Codebook)
    codebook = tuple(np.unique(walk.stored).tolist()) or (0,) if shared else ()
    weighing = Weighing(weights.bits, codebook)
    store = _store(encoding, walk, weighing, *_place_bits(taps, within))
    if group[1] == outputs:
        return store
    place_bits, channel_bits = _place_bits(taps, channels)
    return GroupedStore(walk=walk, weighing=weighing, place_bits=place_bits,
                        channel_bits=channel_bits, within=store, group=group)


def _place_bits(taps: int, channels: int) -> tuple[int, int]:
    """Bits of a place, and of its channel."""
    bits = memories.index_bits(channels)
    return max(1, memories.index_bits(taps) + bits), bits


@singledispatch
def _store(encoding: ir.Encoding, walk: ir.Walk, weighing: Weighing, place_bits: int,
           channel_bits: int) -> EntryStore:
    raise ir.PenjingError(f"weights: there is no hardware for their encoding, {encoding.name}; "
                          "store them plain")


@_store.register
def _(encoding: ir.RelativeIndex, walk: ir.Walk, weighing: Weighing, place_bits: int,
      channel_bits: int) -> EntryStore:
    assert isinstance(walk, ir.GapWalk)
    return RelativeStore(walk=walk, weighing=weighing, place_bits=place_bits,
                         channel_bits=channel_bits, gap_bits=encoding.gap_bits)


@_store.register
def _(encoding: ir.KernelList, walk: ir.Walk, weighing: Weighing, place_bits: int,
      channel_bits: int) -> EntryStore:
    assert isinstance(walk, ir.GapWalk)
    return KernelStore(walk=walk, weighing=weighing, place_bits=place_bits,
                       channel_bits=channel_bits, gap_bits=encoding.gap_bits)


@_store.register
def _(encoding: ir.Bitmap, walk: ir.Walk, weighing: Weighing, place_bits: int, channel_bits: int
      ) -> EntryStore:
    assert isinstance(walk, ir.BitmapWalk)
    return BitmapStore(walk=walk, weighing=weighing, place_bits=place_bits,
                       channel_bits=channel_bits, segment=encoding.segment)
