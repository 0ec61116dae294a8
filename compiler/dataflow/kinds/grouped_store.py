"""Entries of groups of channels, in memory."""

from __future__ import annotations

from dataclasses import dataclass

from ....hdl.entries import EntrySource
from ....hdl.fill import Spelling
from ....hdl.grouped_entries import GROUPED_LATENCY, GroupedEntries
from ....hdl.slots import LoadableSlots
from ....hdl.tech import Technology
from ....hdl.tile_shape import TileShape
from ...cost import Fabric, Resources
from . import constants
from .entry_store import EntryMemory, EntryStore, Outputs, Part, Room
from .words import packed, slot_words


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

    @property
    def apart(self) -> int:
        """As of the entries."""
        return self.within.apart

    def columns(self, shape: TileShape, fabric: Fabric) -> tuple[int, ...]:
        """Those of the entries."""
        return self.within.columns(shape, fabric)

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """Those of the entries."""
        return self.within.parts(shape)

    def dealt(self, pe: int, o_lanes: int) -> Outputs:
        """As of the entries."""
        return self.within.dealt(pe, o_lanes)

    def lengths(self, outputs: Outputs) -> tuple[int, ...]:
        """Those of the entries."""
        return self.within.lengths(outputs)

    def room(self, shape: TileShape) -> Room | None:
        """That of the entries."""
        return self.within.room(shape)

    def cells(self, shape: TileShape, place: EntryMemory, fabric: Fabric) -> Resources:
        """Those of the entries; of each element the channels of its groups, and a sum."""
        element = Resources(luts=round(fabric.sums(self.channel_bits)),
                            ffs=GROUPED_LATENCY * self.place_bits)
        return (self.within.cells(shape, place, fabric) + element * shape.pe
                + constants.in_slots(fabric, shape, self.channel_bits))

    def source(self, shape: TileShape, place: EntryMemory, technology: Technology) -> EntrySource:
        """The entries, and what adds their groups' channels."""
        bases = LoadableSlots(shape.slots, shape.pe, self.channel_bits, technology=technology
                              ) if shape.loaded else self._bases(shape.outputs)
        return GroupedEntries(
            self.within.source(shape, place, technology), bases,
            source_bits=self.within.channel_bits, channel_bits=self.channel_bits,
            place_bits=self.place_bits, technology=technology)

    def fillings(self, shape: TileShape) -> tuple[bytes, ...]:
        """Those of the entries, and of their groups' channels."""
        found = self.within.fillings(shape)
        if not shape.loaded:
            return found
        words = slot_words(self._bases(self.dealt(shape.pe, shape.o_lanes)), shape.slots)
        bits = self.channel_bits
        return (*found, Spelling(shape.pe, bits).spelled(packed(words, bits)))

    def _bases(self, outputs: Outputs) -> list[list[int]]:
        """The first channel of the group of each of ``outputs``."""
        channels, each = self.group
        return [[output // each * channels for output in some] for some in outputs]
