"""Where an engine's weights come from: encodings of the words that its array is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .fill import FILL, Filler, Spelling, chain
from .sequencer import ONCE, SEQUENCER_LATENCY, LoadableSequencer, Rounds, Sequencer
from .steady import delay, join
from .tech import MEMORY_LATENCY, MemoryStyle, Technology

__all__ = ["CODEBOOK_LATENCY", "CodebookWeights", "LoadableCodebook", "WeightSource"]

_WAY = 1
"""Cycles of the indices on their way from one memory to tables all over the chip."""
CODEBOOK_LATENCY = SEQUENCER_LATENCY + _WAY + MEMORY_LATENCY
"""Cycles from a step to its word of weights that are looked up."""
MOST_ENTRIES = 256


class WeightSource(Protocol):
    """Gives the word of weights that each ``step`` has come to, ``latency`` cycles later.

    It is a component with members ``step``, In(1), and ``data``, Out; the words follow each other
    in rounds, endlessly. A `Sequencer`, which stores the words as they are, is one.
    """

    step: Any
    data: Any

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""

    @property
    def length(self) -> int:
        """How many words there are."""


class CodebookWeights(Block):
    """Weights of few different values: a memory of indices, and behind it a table for each weight.

    ``CODEBOOK_LATENCY`` cycles after a step, ``data`` is its word; a word a cycle. A register takes
    the indices from their memory to tables that lie beside multipliers. A table is made of look-up
    tables, one with up to 16 entries takes one of four inputs a bit. What is stored beside the
    indices comes out as it is.

    Parameters
    ----------
    words : indices of the weights of each word, side by side, and what is above them.
    weights : how many a word has.
    codebook : 1 to 256 values; of one, the indices have no bits.
    weight_bits : width of a weight, two's complement.
    style : where the indices live.
    technology : supplies memories.
    rounds : how the words follow each other.
    beside : bits of a word above its indices; 1 at least of a codebook of one value.

    Members
    -------
    step : In(1).
    data : Out(weights * weight_bits + beside), the weights lowest.
    """

    def __init__(self, words: Sequence[int], weights: int, *, codebook: Sequence[int],
                 weight_bits: int, style: MemoryStyle, technology: Technology,
                 rounds: Rounds = ONCE, beside: int = 0) -> None:
        at_least(1, weights=weights, weight_bits=weight_bits)
        if not 1 <= len(codebook) <= MOST_ENTRIES:
            raise ValueError(f"codebook must have 1 to {MOST_ENTRIES} values, not {len(codebook)}")
        at_least(int(len(codebook) == 1), beside=beside)
        low, high = -(1 << weight_bits - 1), (1 << weight_bits - 1) - 1
        if not all(low <= value <= high for value in codebook):
            raise ValueError(f"codebook must lie within {low} and {high}")
        self._index_bits = ceil_log2(len(codebook))
        self._indices = Sequencer(words, weights * self._index_bits + beside, style=style,
                                  technology=technology, rounds=rounds)
        self._table = [join([value], weight_bits) for value in codebook]
        self._weights = weights
        self._weight_bits = weight_bits
        self._technology = technology
        super().__init__({"step": In(1), "data": Out(weights * weight_bits + beside)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return CODEBOOK_LATENCY

    @property
    def length(self) -> int:
        """How many words there are."""
        return self._indices.length

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.indices = indices = self._indices
        m.d.comb += indices.step.eq(self.step)
        word = delay(m, "word", indices.data, _WAY)
        for n in range(self._weights):
            table = self._technology.rom(self._table, self._weight_bits, MemoryStyle.LOGIC)
            m.submodules[f"table_{n}"] = table
            m.d.comb += [table.address.eq(word.word_select(n, self._index_bits)),
                         self.data.word_select(n, self._weight_bits).eq(table.data)]
        beside = word[self._weights * self._index_bits :]
        if len(beside):
            m.d.comb += self.data[self._weights * self._weight_bits :].eq(
                delay(m, "beside", beside, MEMORY_LATENCY))
        return m


class LoadableCodebook(Block):
    """A `CodebookWeights` whose words and then values, 2 to 256 of them, come in a stream.

    Parameters
    ----------
    words : how many.
    weights : how many a word has.
    index_bits : of a weight's index; there are values for all of them.
    weight_bits : width of a weight, two's complement.
    style, technology, rounds, beside : those of `CodebookWeights`.

    Members
    -------
    step : In(1).
    data : Out(weights * weight_bits + beside), the weights lowest.
    load, loaded : see `Filler`.
    """

    def __init__(self, words: int, weights: int, *, index_bits: int, weight_bits: int,
                 style: MemoryStyle, technology: Technology, rounds: Rounds = ONCE, beside: int = 0
                 ) -> None:
        at_least(1, weights=weights, index_bits=index_bits, weight_bits=weight_bits)
        self._indices = LoadableSequencer(words, Spelling(weights, index_bits, beside), style=style,
                                          technology=technology, rounds=rounds)
        self._values = Filler(1 << index_bits, Spelling(1, weight_bits))
        self._weights = weights
        self._technology = technology
        super().__init__({"step": In(1), "data": Out(weights * weight_bits + beside),
                          "load": In(FILL), "loaded": Out(FILL)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return CODEBOOK_LATENCY

    @property
    def length(self) -> int:
        """How many words there are."""
        return self._indices.length

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.indices = indices = self._indices
        m.submodules.values = values = self._values
        chain(m, self, [indices, values])
        m.d.comb += indices.step.eq(self.step)
        word = delay(m, "word", indices.data, _WAY)
        index_bits, weight_bits = len(values.address), len(values.word)
        for n in range(self._weights):
            table = self._technology.ram(weight_bits, 1 << index_bits, MemoryStyle.DISTRIBUTED)
            m.submodules[f"table_{n}"] = table
            m.d.comb += [
                table.write_address.eq(values.address), table.write_data.eq(values.word),
                table.write_enable.eq(values.write), table.read_enable.eq(1),
                table.read_address.eq(word.word_select(n, index_bits)),
                self.data.word_select(n, weight_bits).eq(table.read_data)]
        beside = word[self._weights * index_bits :]
        if len(beside):
            m.d.comb += self.data[self._weights * weight_bits :].eq(
                delay(m, "beside", beside, MEMORY_LATENCY))
        return m
