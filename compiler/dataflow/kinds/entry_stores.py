"""What holds the entries of each sparse encoding in memory."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from ....hdl.entries import Weighing
from ... import ir
from ...cost import memories
from .bitmap_store import BitmapStore
from .entry_store import EntryStore, FixedStore
from .gap_stores import KernelStore, RelativeStore
from .grouped_store import GroupedStore
from .loadable_entries import LoadableStore, index_bits


def entry_store(weights: ir.Weights, channels: int, group: tuple[int, int],
                codes: int | None = None) -> EntryStore:
    """The store of the entries of ``weights``, which read so many ``channels`` in all.

    Those of a ``group`` of channels make so many outputs. Of loadable weights, indices have as many
    bits as ``codes`` says, or as these weights need.
    """
    encoding, (outputs, taps, within) = weights.encoding, weights.rows.shape
    assert isinstance(encoding, ir.Sparse)
    walk, bits = encoding.walk(weights.rows), _place_bits(taps, within)
    shared = isinstance(encoding.values, ir.Codebook)
    store: EntryStore
    if weights.loadable:
        if codes is None:
            codes = index_bits(walk.stored) if shared else 0
        stored = _store(encoding, walk, Weighing(codes or weights.bits), *bits)
        store = LoadableStore(walk=walk, weighing=Weighing(weights.bits), place_bits=bits[0],
                              channel_bits=bits[1], within=stored.parted, index_bits=codes)
    else:
        codebook = tuple(np.unique(walk.stored).tolist()) or (0,) if shared else ()
        store = _store(encoding, walk, Weighing(weights.bits, codebook), *bits)
    if group[1] == outputs:
        return store
    place_bits, channel_bits = _place_bits(taps, channels)
    return GroupedStore(walk=walk, weighing=store.weighing, place_bits=place_bits,
                        channel_bits=channel_bits, within=store, group=group)


def _place_bits(taps: int, channels: int) -> tuple[int, int]:
    """Bits of a place, and of its channel."""
    bits = memories.index_bits(channels)
    return max(1, memories.index_bits(taps) + bits), bits


@singledispatch
def _store(encoding: ir.Encoding, walk: ir.Walk, weighing: Weighing, place_bits: int,
           channel_bits: int) -> FixedStore:
    raise ir.PenjingError(f"weights: there is no hardware for their encoding, {encoding.name}; "
                          "store them plain")


@_store.register
def _(encoding: ir.RelativeIndex, walk: ir.Walk, weighing: Weighing, place_bits: int,
      channel_bits: int) -> FixedStore:
    assert isinstance(walk, ir.GapWalk)
    return RelativeStore(walk=walk, weighing=weighing, place_bits=place_bits,
                         channel_bits=channel_bits, gap_bits=encoding.gap_bits)


@_store.register
def _(encoding: ir.KernelList, walk: ir.Walk, weighing: Weighing, place_bits: int,
      channel_bits: int) -> FixedStore:
    assert isinstance(walk, ir.GapWalk)
    return KernelStore(walk=walk, weighing=weighing, place_bits=place_bits,
                       channel_bits=channel_bits, gap_bits=encoding.gap_bits)


@_store.register
def _(encoding: ir.Bitmap, walk: ir.Walk, weighing: Weighing, place_bits: int, channel_bits: int
      ) -> FixedStore:
    assert isinstance(walk, ir.BitmapWalk)
    return BitmapStore(walk=walk, weighing=weighing, place_bits=place_bits,
                       channel_bits=channel_bits, segment=encoding.segment)
