"""Entries that a bitmap tells of."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .counter import counter
from .entries import Weighing, entry_members
from .fill import chain, fill_members
from .sequencer import SEQUENCER_LATENCY, AnySequencer
from .steady import delay, has_credit
from .stream import Queue
from .tech import Technology

__all__ = ["BITMAP_LATENCY", "MASKS_AHEAD", "BitmapEntries", "BitmapWalker"]

MASKS_AHEAD = 6
"""Segments on their way: enough for one a cycle."""
FILL_CYCLES = 4
"""Cycles from a step to the search for its entry: the first segment comes meanwhile."""
WALK_LATENCY = SEQUENCER_LATENCY + 1
"""Cycles from the search for an entry to the entry: its weight, and the codebook."""
BITMAP_LATENCY = FILL_CYCLES + WALK_LATENCY
"""Cycles from a step to its entries."""


class BitmapWalker(Block):
    """The entries of one processing element: each set bit of its masks, and each mask without any.

    ``WALK_LATENCY`` cycles after a step comes its entry, a step a cycle. A step takes the lowest
    bit that is left of a mask, whose weight is the next one; a mask without any is filling, of
    weight 0 at its first place. An output has ``segments`` masks. Masks are read ahead, so that
    steps must not begin before some `FILL_CYCLES` cycles after reset.

    Parameters
    ----------
    masks : gives those of all outputs in a row.
    weights : gives what is stored of each weight; at least one.
    segments : masks of an output.
    weighing : what is stored of a weight.
    place_bits : width of a place.
    technology : supplies tables.

    Members
    -------
    step : In(1).
    place : Out(place_bits).
    weight : Out(weight_bits).
    first, last : Out(1), of the entry: whether it is its output's first or last.
    load, loaded : see `penjing.hdl.fill.Filler`; where a stream brings masks and weights.
    """

    def __init__(self, masks: AnySequencer, weights: AnySequencer, *, segments: int,
                 weighing: Weighing, place_bits: int, technology: Technology) -> None:
        at_least(1, segments=segments, place_bits=place_bits)
        if masks.length % segments:
            raise ValueError(f"masks must be {segments} an output")
        if len(weights.data) != (bits := max(1, weighing.bits)):
            raise ValueError(f"weights must be of {bits} bits, not {len(weights.data)}")
        self._masks = masks
        self._weights = weights
        self._segments = segments
        self._weighing = weighing
        self._technology = technology
        super().__init__({"step": In(1), "place": Out(place_bits),
                          "weight": Out(weighing.weight_bits), "first": Out(1), "last": Out(1),
                          **fill_members([masks, weights])})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head, pop = self._read_ahead(m)
        left, fresh = Signal(len(head)), Signal(init=1)
        mask, lowest, rest = (Signal(len(head), name=name) for name in ("mask", "lowest", "rest"))
        m.d.comb += [mask.eq(Mux(fresh, head, left)), lowest.eq(mask & -mask),
                     rest.eq(mask & (mask - 1)), pop.eq(self.step & fresh)]
        done, first = self.step & (rest == 0), Signal(init=1)
        segment, output_end = counter(m, "segment", done, self._segments)
        with m.If(self.step):
            m.d.sync += [left.eq(rest), fresh.eq(done), first.eq(output_end)]
        is_empty = mask == 0
        m.submodules.weights = weights = self._weights
        chain(m, self, [self._masks, weights])
        m.d.comb += weights.step.eq(self.step & ~is_empty)
        weight = self._weighing.weight(m, "weight", weights.data[:self._weighing.bits],
                                       self._technology)
        m.d.comb += [
            self.weight.eq(Mux(delay(m, "is_empty", is_empty, WALK_LATENCY), 0, weight)),
            self.place.eq(Cat(self._index(m, lowest), delay(m, "place", segment, WALK_LATENCY))),
            self.first.eq(delay(m, "first", first, WALK_LATENCY)),
            self.last.eq(delay(m, "last", output_end, WALK_LATENCY))]
        return m

    def _read_ahead(self, m: Module) -> tuple[Value, Signal]:
        """The next mask, which is there, and what takes it."""
        m.submodules.masks = masks = self._masks
        m.submodules.queue = queue = Queue(unsigned(len(masks.data)), MASKS_AHEAD)
        pop, read = Signal(), Signal()
        m.d.comb += [
            read.eq(has_credit(m, queue.o, read, MASKS_AHEAD)), masks.step.eq(read),
            queue.i.valid.eq(delay(m, "read", read, SEQUENCER_LATENCY, reset_less=False)),
            queue.i.payload.eq(masks.data), queue.o.ready.eq(pop)]
        return queue.o.payload, pop

    def _index(self, m: Module, lowest: Value) -> Value:
        """Which bit is ``lowest``, WALK_LATENCY cycles later; 0 where there is none."""
        held = delay(m, "lowest", lowest, 1)
        bits = ceil_log2(len(lowest))
        index = Cat(Cat(held[n] for n in range(len(lowest)) if n >> bit & 1).any()
                    for bit in range(bits))
        return delay(m, "index", index, WALK_LATENCY - 1)


class BitmapEntries(Block):
    """Entries of bitmaps: a `BitmapWalker` for each processing element.

    ``BITMAP_LATENCY`` cycles after a step come the entries, one of each element, a step a cycle.
    After ``lengths`` entries, an element takes none until all have come to their end, and then all
    begin again.

    Parameters
    ----------
    walkers : one for each element.
    lengths : entries of each element.

    Members
    -------
    See `penjing.hdl.entries.RelativeEntries`.
    """

    def __init__(self, walkers: Sequence[BitmapWalker], lengths: Sequence[int]) -> None:
        if len(walkers) != len(lengths) or min(lengths) < 1:
            raise ValueError("there must be as many walkers as lengths, each at least 1")
        self._walkers = tuple(walkers)
        self._lengths = tuple(lengths)
        first = walkers[0]
        super().__init__({**entry_members(len(walkers), len(first.place), len(first.weight)),
                          **fill_members(walkers)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""
        return BITMAP_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        come = delay(m, "come", self.step, FILL_CYCLES, reset_less=False)
        most = max(self._lengths)
        count, _ = counter(m, "count", come, most)
        for n, (walker, length) in enumerate(zip(self._walkers, self._lengths, strict=True)):
            m.submodules[f"walker_{n}"] = walker
            step = come if length == most else come & (count < length)
            m.d.comb += [
                walker.step.eq(step), self.firsts[n].eq(walker.first),
                self.places.word_select(n, len(walker.place)).eq(walker.place),
                self.weights.word_select(n, len(walker.weight)).eq(walker.weight),
                self.lasts[n].eq(walker.last),
                self.takes[n].eq(delay(m, f"take_{n}", step, WALK_LATENCY, reset_less=False))]
        chain(m, self, self._walkers)
        return m
