"""Entries whose weights are few different values, which a stream brings."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import wiring

from .block import Block
from .checks import at_least
from .entries import EntrySource, entry_members
from .fill import Filler, Spelling, chain, fill_members
from .steady import delay
from .tech import MEMORY_LATENCY, MemoryStyle, Technology

__all__ = ["CODES_LATENCY", "CodedEntries"]

CODES_LATENCY = MEMORY_LATENCY
"""Cycles from an index to its weight."""


class CodedEntries(Block):
    """The entries of ``source``, whose weights are indices, with the weights of these.

    Each processing element has a table; they are all the same, and a stream brings the values, 2 to
    256 of them. Latency is CODES_LATENCY more than the source's.

    Parameters
    ----------
    source : gives the entries; a stream brings them.
    weight_bits : width of a weight, two's complement.
    technology : supplies the tables.

    Members
    -------
    See `penjing.hdl.entries.RelativeEntries`.
    """

    def __init__(self, source: EntrySource, *, weight_bits: int, technology: Technology) -> None:
        at_least(1, weight_bits=weight_bits)
        elements = len(source.takes)
        self._source = source
        self._index_bits = len(source.weights) // elements
        self._values = Filler(1 << self._index_bits, Spelling(1, weight_bits))
        self._technology = technology
        super().__init__({
            **entry_members(elements, len(source.places) // elements, weight_bits),
            **fill_members([self._values])})

    @property
    def latency(self) -> int:
        """Cycles from a step to its entries."""
        return self._source.latency + CODES_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.source = source = self._source
        m.submodules.values = values = self._values
        assert isinstance(source, wiring.Component)
        chain(m, self, [source, values])
        m.d.comb += [
            source.step.eq(self.step),
            self.places.eq(delay(m, "places", source.places, CODES_LATENCY)),
            self.takes.eq(delay(m, "takes", source.takes, CODES_LATENCY, reset_less=False)),
            self.firsts.eq(delay(m, "firsts", source.firsts, CODES_LATENCY)),
            self.lasts.eq(delay(m, "lasts", source.lasts, CODES_LATENCY)),
        ]
        bits = len(values.word)
        for n in range(len(self.takes)):
            table = self._technology.ram(bits, 1 << self._index_bits, MemoryStyle.DISTRIBUTED)
            m.submodules[f"table_{n}"] = table
            m.d.comb += [
                table.write_address.eq(values.address), table.write_data.eq(values.word),
                table.write_enable.eq(values.write), table.read_enable.eq(1),
                table.read_address.eq(source.weights.word_select(n, self._index_bits)),
                self.weights.word_select(n, bits).eq(table.read_data)]
        return m
