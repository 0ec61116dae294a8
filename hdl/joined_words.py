"""Words of several memories, element by element side by side."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .fill import chain, fill_members
from .sequencer import SEQUENCER_LATENCY, AnySequencer

__all__ = ["JoinedWords"]


class JoinedWords(Block):
    """A `Sequencer` of which each element of a word has its parts in memories of their own.

    A stream codes each memory by itself, so that what has other values has other codes.

    Parameters
    ----------
    parts : give the words of ``elements`` parts, the lowest part first.
    elements : of a word.

    Members
    -------
    step : In(1).
    data : Out(bits of all parts).
    load, loaded : see `penjing.hdl.fill.Filler`; where a stream brings the parts, one after the
        other.
    """

    def __init__(self, parts: Sequence[AnySequencer], elements: int) -> None:
        at_least(1, elements=elements)
        if len({part.length for part in parts}) != 1 or any(
                len(part.data) % elements for part in parts):
            raise ValueError(f"parts must be as many words each, of {elements} elements")
        self._parts = tuple(parts)
        self._elements = elements
        super().__init__({"step": In(1), "data": Out(sum(len(part.data) for part in parts)),
                          **fill_members(parts)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return SEQUENCER_LATENCY

    @property
    def length(self) -> int:
        """How many words there are."""
        return self._parts[0].length

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for n, part in enumerate(self._parts):
            m.submodules[f"part_{n}"] = part
            m.d.comb += part.step.eq(self.step)
        chain(m, self, self._parts)
        m.d.comb += self.data.eq(Cat(
            part.data.word_select(n, len(part.data) // self._elements)
            for n in range(self._elements) for part in self._parts))
        return m
