"""Where the entries come from that an engine walks: weights that are not zero, and their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .counter import counter
from .fill import chain, fill_members
from .joined_words import JoinedWords
from .sequencer import SEQUENCER_LATENCY, AnySequencer
from .steady import delay, join
from .tech import MemoryStyle, Technology

__all__ = ["GAPS_LATENCY", "EntrySource", "KernelEntries",
           "RelativeEntries", "Weighing"]

_WORDS_LATENCY = SEQUENCER_LATENCY + 1
"""Cycles from a step to its word: the memory, and a register behind the choice of its banks, which
lie far apart where they are many."""
GAPS_LATENCY = _WORDS_LATENCY + 1
"""Cycles from a step to its entries: its word, and the sum of the gaps."""


class EntrySource(Protocol):
    """Gives each processing element the entry that ``step`` has come to, ``latency`` cycles later.

    It is a component with the members of `RelativeEntries`.
    """

    step: Any
    places: Any
    weights: Any
    takes: Any
    firsts: Any
    lasts: Any

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""


def entry_members(elements: int, place_bits: int, weight_bits: int) -> dict[str, Any]:
    """The members of an `EntrySource` of so many processing elements."""
    return {"step": In(1), "places": Out(elements * place_bits),
            "weights": Out(elements * weight_bits),
            **dict.fromkeys(("takes", "firsts", "lasts"), Out(elements))}


class Weighing:
    """What is stored of a weight: itself, or its index in a codebook of 1 to 256 values.

    Parameters
    ----------
    weight_bits : width of a weight, two's complement.
    codebook : the values, none where weights are stored as they are.
    """

    def __init__(self, weight_bits: int, codebook: Sequence[int] = ()) -> None:
        at_least(1, weight_bits=weight_bits)
        low, high = -(1 << weight_bits - 1), (1 << weight_bits - 1) - 1
        if not all(low <= value <= high for value in codebook):
            raise ValueError(f"codebook must lie within {low} and {high}")
        self.weight_bits = weight_bits
        self.codebook = tuple(codebook)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weighing) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.weight_bits, self.codebook))

    @property
    def bits(self) -> int:
        """Bits that are stored."""
        return ceil_log2(len(self.codebook)) if self.codebook else self.weight_bits

    def weight(self, m: Module, name: str, stored: Value, technology: Technology) -> Value:
        """The weight of what is ``stored``, a cycle later."""
        if not self.codebook:
            return delay(m, name, stored, 1)
        table = technology.rom([join([value], self.weight_bits) for value in self.codebook],
                               self.weight_bits, MemoryStyle.LOGIC)
        m.submodules[name] = table
        m.d.comb += table.address.eq(stored)
        return table.data


class RelativeEntries(Block):
    """Entries whose places are told by the gaps between them.

    ``GAPS_LATENCY`` cycles after a step come the entries, one of each processing element, a
    step a cycle. An entry's place is behind that of the entry before it by one and its gap; the
    first one of an output begins before place 0. After ``lengths`` entries, an element takes none
    until all have come to their end, and then all begin again.

    Parameters
    ----------
    words : gives the entries that all elements take at once, side by side: of each whether it is
        its output's last, its gap, and what is stored of its weight.
    lengths : entries of each element.
    gap_bits : width of a gap.
    weighing : what is stored of a weight.
    place_bits : width of a place.
    technology : supplies tables.

    Members
    -------
    step : In(1).
    places : Out(elements * place_bits).
    weights : Out(elements * weight_bits).
    takes, firsts, lasts : Out(elements), of an entry: whether there is one, and whether it is its
        output's first or last; those two say nothing where there is none.
    load, loaded : see `penjing.hdl.fill.Filler`; where a stream brings the words.
    """

    def __init__(self, words: AnySequencer | JoinedWords, lengths: Sequence[int], *, gap_bits: int,
                 weighing: Weighing, place_bits: int, technology: Technology) -> None:
        at_least(1, gap_bits=gap_bits, place_bits=place_bits)
        if max(lengths) != words.length or min(lengths) < 1:
            raise ValueError(f"lengths must be from 1 to {words.length}, the most of them that")
        elements = len(lengths)
        self._entry_bits = 1 + gap_bits + weighing.bits
        if len(words.data) != elements * self._entry_bits:
            raise ValueError(f"words must be of {elements * self._entry_bits} bits, "
                             f"not {len(words.data)}")
        self._words = words
        self._lengths = tuple(lengths)
        self._gap_bits = gap_bits
        self._weighing = weighing
        self._technology = technology
        super().__init__({**entry_members(elements, place_bits, weighing.weight_bits),
                          **fill_members([words])})

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""
        return GAPS_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = self._words
        chain(m, self, [words])
        m.d.comb += words.step.eq(self.step)
        come = delay(m, "come", self.step, _WORDS_LATENCY, reset_less=False)
        count, _ = counter(m, "count", come, words.length)
        elements, word = len(self._lengths), delay(m, "word", words.data, 1)
        for n, length in enumerate(self._lengths):
            entry = word.word_select(n, self._entry_bits)
            last, gap, stored = entry[0], entry[1:1 + self._gap_bits], entry[1 + self._gap_bits:]
            place = Signal(len(self.places) // elements, name=f"place_{n}", reset_less=True)
            fresh, first, take = (Signal(name=f"{what}_{n}", init=what == "fresh")
                                  for what in ("fresh", "first", "take"))
            is_there = come if length == words.length else come & (count < length)
            m.d.sync += take.eq(is_there)
            with m.If(is_there):
                m.d.sync += [place.eq(Mux(fresh, gap, place + gap + 1)), first.eq(fresh),
                             fresh.eq(last)]
            weight = self._weighing.weight(m, f"weight_{n}", stored, self._technology)
            m.d.comb += [
                self.places.word_select(n, len(place)).eq(place),
                self.weights.word_select(n, self._weighing.weight_bits).eq(weight),
                self.takes[n].eq(take), self.firsts[n].eq(first),
                # What begins next is fresh.
                self.lasts[n].eq(fresh),
            ]
        return m


class KernelEntries(Block):
    """Entries of whole slices: all taps of a channel, one after the other.

    ``GAPS_LATENCY`` cycles after a step come the entries, one of each processing element, a step a
    cycle. A slice's channel is behind that of the slice before it by one and its gap; the first one
    of an output begins before channel 0. After ``lengths`` slices, an element takes none until all
    have come to their end, and then all begin again.

    Parameters
    ----------
    slices : gives those that all elements take at once, side by side: of each whether it is its
        output's last, and its gap.
    weights : gives what is stored of the weights that all elements take at once, side by side, tap
        by tap of each slice.
    lengths : slices of each element.
    taps : entries of a slice.
    gap_bits : width of a gap.
    weighing : what is stored of a weight.
    channel_bits, place_bits : width of a place's channel, and of the place with its tap.
    technology : supplies tables.

    Members
    -------
    See `RelativeEntries`.
    """

    def __init__(self, slices: AnySequencer, weights: AnySequencer, lengths: Sequence[int], *,
                 taps: int, gap_bits: int, weighing: Weighing, channel_bits: int, place_bits: int,
                 technology: Technology) -> None:
        at_least(1, gap_bits=gap_bits, place_bits=place_bits, taps=taps)
        if max(lengths) != slices.length or min(lengths) < 1:
            raise ValueError(f"lengths must be from 1 to {slices.length}, the most of them that")
        if weights.length != slices.length * taps:
            raise ValueError(f"weights must be {taps} words a slice")
        elements = len(lengths)
        # Of a codebook of one value, nothing is stored.
        for name, words, bits in (("slices", slices, elements * (1 + gap_bits)),
                                  ("weights", weights, max(1, elements * weighing.bits))):
            if len(words.data) != bits:
                raise ValueError(f"{name} must be of {bits} bits, not {len(words.data)}")
        self._slices = slices
        self._weights = weights
        self._lengths = tuple(lengths)
        self._taps = taps
        self._gap_bits = gap_bits
        self._weighing = weighing
        self._channel_bits = channel_bits
        self._technology = technology
        super().__init__({**entry_members(elements, place_bits, weighing.weight_bits),
                          **fill_members([slices, weights])})

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""
        return GAPS_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slices = slices = self._slices
        m.submodules.weights = weights = self._weights
        chain(m, self, [slices, weights])
        # What is read is three cycles behind what is asked for.
        _, ends = counter(m, "next_tap", self.step, self._taps)
        m.d.comb += [weights.step.eq(self.step), slices.step.eq(ends)]
        come = delay(m, "come", self.step, _WORDS_LATENCY, reset_less=False)
        slice_word = delay(m, "slice_word", slices.data, 1)
        weight_word = delay(m, "weight_word", weights.data, 1)
        tap, end = counter(m, "tap", come, self._taps)
        count, _ = counter(m, "slice", end, slices.length)
        tap_now = delay(m, "tap_now", tap, 1)
        elements, width = len(self._lengths), 1 + self._gap_bits
        for n, length in enumerate(self._lengths):
            last, gap = (part := slice_word.word_select(n, width))[0], part[1:]
            channel = Signal(self._channel_bits, name=f"channel_{n}", reset_less=True)
            fresh, first, take, ends_output = (Signal(name=f"{what}_{n}", init=what == "fresh")
                                               for what in ("fresh", "first", "take", "last"))
            is_there = come if length == slices.length else come & (count < length)
            m.d.sync += [take.eq(is_there), ends_output.eq(last & end)]
            with m.If(is_there):
                m.d.sync += first.eq(fresh)
                with m.If(tap == 0):
                    m.d.sync += channel.eq(Mux(fresh, gap, channel + gap + 1))
                m.d.sync += fresh.eq(last & end)
            stored = weight_word[n * self._weighing.bits:(n + 1) * self._weighing.bits]
            weight = self._weighing.weight(m, f"weight_{n}", stored, self._technology)
            m.d.comb += [
                self.places.word_select(n, len(self.places) // elements).eq(Cat(channel, tap_now)),
                self.weights.word_select(n, self._weighing.weight_bits).eq(weight),
                self.takes[n].eq(take), self.firsts[n].eq(first), self.lasts[n].eq(ends_output),
            ]
        return m
