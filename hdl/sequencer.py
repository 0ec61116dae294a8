"""Constants in the order in which they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .tech import MemoryStyle, Technology

__all__ = ["SEQUENCER_LATENCY", "Sequencer", "SequencerShape"]

SEQUENCER_LATENCY = 2
"""Cycles from a step to its word."""
PART_BITS = 64
SHARED_WORDS = 4


@dataclass(frozen=True)
class SequencerShape:
    """Structure of a `Sequencer`: so many ``words`` of ``width`` bits, in block RAM or not."""

    words: int
    width: int
    block: bool

    @property
    def parts(self) -> tuple[int, ...]:
        """Bits of the memories, each of which has a counter of its own."""
        if self.block or self.words <= SHARED_WORDS:
            return (self.width,)
        return tuple(min(PART_BITS, self.width - low) for low in range(0, self.width, PART_BITS))

    @property
    def counter_bits(self) -> int:
        """Bits of a counter."""
        return (self.words - 1).bit_length()


class Sequencer(Block):
    """The words of a read-only memory one after the other, endlessly; the first comes first.

    Two cycles after a cycle ``data`` is the word that ``step`` had come to in that cycle, and
    ``step`` takes it to the next. In front of block RAM there is one counter. A wide word of
    look-up tables belongs to multipliers all over the chip, and a wire to all of its tables would
    be the slowest one: each part of ``PART_BITS`` has a counter of its own. (Copies of one counter
    would be merged by synthesis; counters that each count for themselves are not.) Up to
    ``SHARED_WORDS`` words have few different columns, which are better shared.

    Parameters
    ----------
    words : contents, each within ``range(2**width)``; at least one.
    width : bits a word.
    style : where they live.
    technology : supplies the memory.

    Members
    -------
    step : In(1).
    data : Out(width).
    """

    def __init__(self, words: Sequence[int], width: int, *, style: MemoryStyle,
                 technology: Technology) -> None:
        self._words = words
        self._shape = SequencerShape(len(words), width, style is MemoryStyle.BLOCK)
        self._style = style
        self._technology = technology
        super().__init__({"step": In(1), "data": Out(width)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return SEQUENCER_LATENCY

    @property
    def length(self) -> int:
        """Words until they begin again."""
        return len(self._words)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(self.data)
        if self._style is MemoryStyle.BLOCK:
            m.submodules.rom = rom = self._technology.rom(
                self._words, width, self._style, registered=True)
            m.d.comb += [rom.address.eq(self._count(m, "address", self.step)), rom.enable.eq(1),
                         self.data.eq(rom.data)]
            return m
        stepped = Signal()
        m.d.sync += stepped.eq(self.step)
        for low, part in zip(accumulate(self._shape.parts, initial=0), self._shape.parts,
                             strict=False):
            data = self.data[low : low + part]
            mask = (1 << len(data)) - 1
            rom = self._technology.rom([word >> low & mask for word in self._words], len(data),
                                       self._style)
            m.submodules[f"rom_{low}"] = rom
            m.d.comb += [rom.address.eq(self._count(m, f"address_{low}", stepped)),
                         rom.enable.eq(1), data.eq(rom.data)]
        return m

    def _count(self, m: Module, name: str, step: Value) -> Signal:
        """How many steps there were, modulo the number of words."""
        count = Signal(range(len(self._words)), name=name)
        with m.If(step):
            m.d.sync += count.eq(Mux(count == len(self._words) - 1, 0, count + 1))
        return count
