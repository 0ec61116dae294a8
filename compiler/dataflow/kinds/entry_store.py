"""How the memory of an engine that walks entries holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ....hdl.entries import EntrySource, Weighing
from ....hdl.sequencer import AnySequencer, Sequencer
from ....hdl.tech import Technology
from ....hdl.tile_shape import TileShape
from ... import ir
from ...cost import Fabric, Memory, Resources, Storage, memories
from ...ir import Integers
from . import constants
from .balance import balanced
from .kind import style

Outputs = tuple[tuple[int, ...], ...]
"""The outputs of each processing element."""


@dataclass(frozen=True)
class EntryMemory:
    """Where entries live: in ``storage``, and in block RAM of so wide ``columns`` if there are any
    (see `EntryStore.columns`)."""

    storage: Storage
    columns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Room:
    """What entries of other weights go into: so many ``entries`` of each processing element.

    Weights are indices of ``index_bits``, or stored as they are, if these are 0.
    """

    entries: int
    index_bits: int


class Part(NamedTuple):
    """A memory of so many ``words``, each of so many ``elements`` of ``bits``, which may be 0."""

    role: str
    words: int
    elements: int
    bits: int

    @property
    def width(self) -> int:
        """Bits of a word; there is one at least."""
        return max(1, self.elements * self.bits)


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

    @property
    @abstractmethod
    def apart(self) -> int:
        """Cycles from the results of an element's output to those of its next one, at least."""

    @abstractmethod
    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """The memories of the entries."""

    @abstractmethod
    def cells(self, shape: TileShape, place: EntryMemory, fabric: Fabric) -> Resources:
        """Cells of the source, whose entries are at ``place``."""

    @abstractmethod
    def source(self, shape: TileShape, place: EntryMemory, technology: Technology) -> EntrySource:
        """What gives the elements their entries."""

    def columns(self, shape: TileShape, fabric: Fabric) -> tuple[int, ...]:
        """Widths of the columns in which block RAM should hold a word of the only memory; none to
        leave it whole, or where there are several."""
        return ()

    def memories(self, shape: TileShape, place: EntryMemory) -> tuple[Memory, ...]:
        """What holds the entries, at ``place``."""
        return tuple(Memory(part.role, part.words, bits, place.storage)
                     for part in self.parts(shape) if part.bits
                     for bits in place.columns or (part.width,))

    def dealt(self, pe: int, o_lanes: int) -> Outputs:
        """The outputs that each of ``pe`` elements makes, where they leave by ``o_lanes``."""
        return balanced(tuple(self.walk.lengths.tolist()), pe, o_lanes)

    def lengths(self, outputs: Outputs) -> tuple[int, ...]:
        """Entries of each element."""
        return tuple(int(self.walk.lengths[list(some)].sum()) for some in outputs)

    def room(self, shape: TileShape) -> Room | None:
        """What entries of other weights go into; None where these stay."""
        return None

    def fillings(self, shape: TileShape) -> tuple[bytes, ...]:
        """The symbols of each memory that a stream fills, in their order; raises `PenjingError`
        where the entries do not go into it."""
        return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedStore(EntryStore):
    """One whose memories hold what they have from the beginning; but there may be more of it."""

    @property
    @abstractmethod
    def least(self) -> int:
        """The fewest entries of an output."""

    @property
    @abstractmethod
    def step(self) -> int:
        """The entries of an output are a multiple of it."""

    @abstractmethod
    def most(self, outputs: int) -> int | None:
        """The most entries of so many outputs, if there is an end to them."""

    @abstractmethod
    def filled(self, outputs: Outputs, slots: int, entries: int) -> Self:
        """That of elements which make ``slots`` outputs each, one element after the other: at first
        those of ``outputs``, then some without a weight, so that each has as many ``entries``.

        What it has more is zeros. No element may have more already; see `most`, too.
        """

    @property
    def parted(self) -> FixedStore:
        """The same with memories each of whose words are of one sort, which codes well."""
        return self

    @abstractmethod
    def contents(self, outputs: Outputs) -> Iterable[list[int]]:
        """The words of each of the memories, of elements that make ``outputs``."""

    @abstractmethod
    def logic(self, shape: TileShape, fabric: Fabric) -> Resources:
        """Cells of the source beside its memories."""

    @abstractmethod
    def joined(self, given: Sequence[AnySequencer], shape: TileShape, technology: Technology
               ) -> EntrySource:
        """What gives the elements their entries, of memories that are ``given``."""

    @property
    def apart(self) -> int:
        """The fewest entries of an output: each takes a cycle."""
        return int(self.walk.lengths.min())

    def columns(self, shape: TileShape, fabric: Fabric) -> tuple[int, ...]:
        """Those that take the fewest block RAMs."""
        part, *others = self.parts(shape)
        found = memories.rom_columns(fabric, part.words, part.width)
        return found if len(found) > 1 and not others else ()

    def cells(self, shape: TileShape, place: EntryMemory, fabric: Fabric) -> Resources:
        """The memories, and what is beside them."""
        return sum((constants.in_order(fabric, place.storage, part.words, part.width,
                                       columns=place.columns)
                    for part in self.parts(shape) if part.bits), self.logic(shape, fabric))

    def source(self, shape: TileShape, place: EntryMemory, technology: Technology) -> EntrySource:
        """The memories, and what is behind them."""
        return self.joined(
            [Sequencer(words, part.width, style=style(place.storage), technology=technology,
                       columns=place.columns)
             for part, words in zip(self.parts(shape), self.contents(shape.outputs), strict=True)],
            shape, technology)

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
