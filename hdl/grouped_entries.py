"""Entries of groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import wiring

from .block import Block
from .entries import EntrySource, entry_members
from .fill import chain, fill_members
from .sequencer import SEQUENCER_LATENCY
from .slots import LoadableSlots, in_slots
from .steady import delay
from .tech import Technology

__all__ = ["GROUPED_LATENCY", "GroupedEntries"]

GROUPED_LATENCY = SEQUENCER_LATENCY + 1
"""Cycles more where channels are counted in groups: the memory, and the sum."""


class GroupedEntries(Block):
    """The entries of ``source``, whose channels are counted within a group, among all channels.

    Each output of a processing element has its group; that of an element's first output comes
    first, and the next one with the entry behind an output's last. Latency is GROUPED_LATENCY more
    than the source's.

    Parameters
    ----------
    source : gives the entries.
    bases : of each element, the first channel of each of its outputs' group, or what a stream
        brings them to.
    source_bits, channel_bits : width of a place's channel within a group, and among all.
    place_bits : width of a place among all.
    technology : supplies memories.

    Members
    -------
    See `RelativeEntries`.
    """

    def __init__(self, source: EntrySource, bases: Sequence[Sequence[int]] | LoadableSlots, *,
                 source_bits: int, channel_bits: int, place_bits: int, technology: Technology
                 ) -> None:
        self._source = source
        self._bases = (bases if isinstance(bases, LoadableSlots) else tuple(map(tuple, bases)))
        self._source_bits = source_bits
        self._channel_bits = channel_bits
        self._place_bits = place_bits
        self._technology = technology
        elements = len(source.takes)
        super().__init__({**entry_members(elements, place_bits, len(source.weights) // elements),
                          **fill_members(self._parts)})

    @property
    def _parts(self) -> tuple[wiring.Component, ...]:
        """What may have memories that are filled, in the order in which they are."""
        assert isinstance(self._source, wiring.Component)
        bases = (self._bases,) if isinstance(self._bases, LoadableSlots) else ()
        return (self._source, *bases)

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""
        return self._source.latency + GROUPED_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.source = source = self._source
        lasts = source.takes & source.lasts
        m.d.comb += [
            source.step.eq(self.step),
            self.weights.eq(delay(m, "weights", source.weights, GROUPED_LATENCY)),
            self.takes.eq(delay(m, "takes", source.takes, GROUPED_LATENCY, reset_less=False)),
            self.firsts.eq(delay(m, "firsts", source.firsts, GROUPED_LATENCY)),
            self.lasts.eq(delay(m, "lasts", source.lasts, GROUPED_LATENCY)),
        ]
        width = len(source.places) // len(source.takes)
        places = delay(m, "places", source.places, SEQUENCER_LATENCY)
        bases = in_slots(m, "bases", self._bases, self._channel_bits, lasts, self._technology)
        chain(m, self, self._parts)
        for n, base in enumerate(bases):
            place = places.word_select(n, width)
            channel = Signal(self._channel_bits, name=f"channel_{n}", reset_less=True)
            tap = delay(m, f"tap_{n}", place[self._source_bits:], 1)
            m.d.sync += channel.eq(base + place[:self._source_bits])
            m.d.comb += self.places.word_select(n, self._place_bits).eq(Cat(channel, tap))
        return m
