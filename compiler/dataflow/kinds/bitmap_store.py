"""Entries that a bitmap tells of, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ....hdl.bitmap_entries import BITMAP_LATENCY, MASKS_AHEAD, BitmapEntries, BitmapWalker
from ....hdl.entries import EntrySource
from ....hdl.sequencer import AnySequencer
from ....hdl.tech import Technology
from ....hdl.tile_shape import TileShape
from ... import ir
from ...cost import Fabric, Resources, streams
from ...ir import Integers
from .entry_store import FixedStore, Outputs, Part


@dataclass(frozen=True, kw_only=True, eq=False)
class BitmapStore(FixedStore):
    """Masks of ``segment`` places, and the weights of their bits, of each element by itself."""

    walk: ir.BitmapWalk
    segment: int

    @property
    def latency(self) -> int:
        """That of masks, weights and codebook."""
        return BITMAP_LATENCY

    @property
    def segments(self) -> int:
        """Masks of an output."""
        return self.walk.masks.shape[1]

    @property
    def least(self) -> int:
        """One for each mask."""
        return self.segments

    @property
    def step(self) -> int:
        """One."""
        return 1

    def most(self, outputs: int) -> int | None:
        """All places."""
        return outputs * self.segments * self.segment

    def filled(self, outputs: Outputs, slots: int, entries: int) -> Self:
        """See `FixedStore`: bits of zeros, the first ones of masks without any among them."""
        walk, size = self.walk, self.segments * self.segment
        rows = np.zeros((len(walk.lengths) + 1, size), np.int64)
        rows[np.repeat(np.arange(len(walk.lengths)), walk.lengths), walk.places] = walk.values
        # The row behind the last one is that of nobody.
        taken = np.array([[*some, *[len(rows) - 1] * (slots - len(some))] for some in outputs])
        values = rows[taken].reshape(len(outputs), -1)
        kept = values != 0
        masks = kept.reshape(-1, self.segment)
        masks[~masks.any(1), 0] = True
        for element in kept:
            element[np.flatnonzero(~element)[:entries - int(element.sum())]] = True
        bits = kept.reshape(-1, self.segments, self.segment)
        by_slot = kept.reshape(-1, size)
        return replace(self, walk=ir.FilledBitmapWalk(
            by_slot.sum(1), np.nonzero(by_slot)[1], values[kept],
            (bits << np.arange(self.segment)).sum(2)))

    def parts(self, shape: TileShape) -> tuple[Part, ...]:
        """Masks and weights of each element."""
        found = []
        for some, turns, entries in zip(shape.outputs, shape.turns, shape.lengths, strict=True):
            # Of a memory that is filled, each entry has a weight.
            weights = entries if shape.loaded else int(self._weights[list(some)].sum())
            found += [Part("index", turns * self.segments, 1, self.segment),
                      Part("weights", max(1, weights), 1, self.weighing.bits)]
        return tuple(found)

    def contents(self, outputs: Outputs) -> Iterable[list[int]]:
        """Masks, and what is stored of their weights."""
        rows = np.split(self.stored, np.cumsum(self._weights)[:-1])
        for some in outputs:
            yield self.walk.masks[list(some)].reshape(-1).tolist()
            yield [int(one) for output in some for one in rows[output]] or [0]

    def logic(self, shape: TileShape, fabric: Fabric) -> Resources:
        """Of each element the queue of its masks, and the search for a bit."""
        search = Resources(luts=round(2 * fabric.sums(self.segment)
                                      + self.segment * (2 * fabric.logic.mux + 1)),
                           ffs=3 * self.segment)
        return (self.element_cells(max(shape.lengths), fabric) + search
                + streams.queue(fabric, MASKS_AHEAD, self.segment)) * shape.pe

    def joined(self, given: Sequence[AnySequencer], shape: TileShape, technology: Technology
               ) -> EntrySource:
        """A walker for each element."""
        return BitmapEntries(
            [BitmapWalker(masks, weights, segments=self.segments, weighing=self.weighing,
                          place_bits=self.place_bits, technology=technology)
             for masks, weights in zip(given[::2], given[1::2], strict=True)], shape.lengths)

    @cached_property
    def _weights(self) -> Integers:
        """(outputs,) weights of each."""
        places = self.walk.masks[:, :, None] >> np.arange(self.segment) & 1
        return np.asarray(places.sum((1, 2)))
