"""Constants in the order in which they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .counter import counter_end
from .fill import FILL, Filler, Spelling, chain
from .tech import BANK_WORDS, MemoryStyle, Technology

__all__ = ["ONCE", "SEQUENCER_LATENCY", "AnySequencer", "LoadableSequencer", "Rounds", "Sequencer",
           "SequencerShape"]

SEQUENCER_LATENCY = 2
"""Cycles from a step to its word."""
PART_BITS = 64
SHARED_WORDS = 4
PART_TABLES = 2048
"""Of 16 words and a bit each, behind one counter, where there are more than a bank of words."""


@dataclass(frozen=True)
class Rounds:
    """How words follow each other: in ``parts``, each of which is read ``turns`` times before the
    next."""

    parts: int = 1
    turns: int = 1

    def __post_init__(self) -> None:
        at_least(1, parts=self.parts, turns=self.turns)


ONCE = Rounds()
"""All words one after the other."""


@dataclass(frozen=True)
class SequencerShape:
    """Structure of a `Sequencer`: so many ``words`` of ``width`` bits, in block RAM or not, read in
    ``rounds``; ``columns`` are the widths of its block RAM's memories, none for a single one."""

    words: int
    width: int
    block: bool
    rounds: Rounds = ONCE
    columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.columns and sum(self.columns) != self.width:
            raise ValueError(f"columns must be {self.width} bits, not {self.columns!r}")
        if self.words % self.rounds.parts:
            raise ValueError(f"words must be {self.rounds.parts} equal parts, not {self.words!r}")

    @property
    def parts(self) -> tuple[int, ...]:
        """Bits of the memories, each of which has a counter of its own outside block RAM."""
        if self.block and self.columns:
            return self.columns
        if self.block or self.words <= SHARED_WORDS:
            return (self.width,)
        bits = max(1, 16 * PART_TABLES // self.words) if self.registered else PART_BITS
        return tuple(min(bits, self.width - low) for low in range(0, self.width, bits))

    @property
    def registered(self) -> bool:
        """Whether the memories take both cycles: otherwise the first is the step's, on its way to
        the counters."""
        return self.block or self.words > BANK_WORDS

    @property
    def counts(self) -> tuple[int, ...]:
        """What each counter counts: words and, where parts of them are read again, those of a part
        and its turns."""
        parts, turns = self.rounds.parts, self.rounds.turns
        again = (self.words // parts, turns) if parts > 1 and turns > 1 else ()
        return (self.words, *again)


class Sequencer(Block):
    """The words of a read-only memory in ``rounds``, endlessly; the first comes first.

    Two cycles after a cycle ``data`` is the word that ``step`` had come to in that cycle, and
    ``step`` takes it to the next. In front of block RAM there is one counter. A wide word of
    look-up tables belongs to multipliers all over the chip, and a wire to all of its tables would
    be the slowest one: each part of ``PART_BITS`` has a counter of its own, or of ``PART_TABLES``
    where words are more than a bank. (Copies of one counter would be merged by synthesis; counters
    that each count for themselves are not.) Up to ``SHARED_WORDS`` words have few different
    columns, which are better shared.

    Parameters
    ----------
    words : contents, each within ``range(2**width)``; at least one.
    width : bits a word.
    style : where they live.
    technology : supplies the memory.
    rounds : how they follow each other; one after the other unless it says otherwise.
    columns : widths of the memories that hold them side by side in block RAM, each in blocks of a
        shape of its own; none for a single one.

    Members
    -------
    step : In(1).
    data : Out(width).
    """

    def __init__(self, words: Sequence[int], width: int, *, style: MemoryStyle,
                 technology: Technology, rounds: Rounds = ONCE, columns: tuple[int, ...] = ()
                 ) -> None:
        self._words = words
        self._shape = SequencerShape(len(words), width, style is MemoryStyle.BLOCK, rounds,
                                     columns)
        self._style = style
        self._technology = technology
        super().__init__({"step": In(1), "data": Out(width)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return SEQUENCER_LATENCY

    @property
    def length(self) -> int:
        """How many words there are."""
        return len(self._words)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        is_block, parts = self._shape.block, self._shape.parts
        step = _stepped(m, self.step, self._shape)
        if is_block:
            address = counted(m, "address", step, self._shape)
        for low, part in zip(accumulate(parts, initial=0), parts, strict=False):
            mask = (1 << part) - 1
            rom = self._technology.rom([word >> low & mask for word in self._words], part,
                                       self._style, registered=self._shape.registered)
            m.submodules["rom" if is_block and len(parts) == 1 else f"rom_{low}"] = rom
            if not is_block:
                address = counted(m, f"address_{low}", step, self._shape)
            m.d.comb += [rom.address.eq(address), rom.enable.eq(1),
                         self.data[low : low + part].eq(rom.data)]
        return m


class LoadableSequencer(Block):
    """A `Sequencer` whose words come in a stream; what it gives before they are in is undefined.

    Parameters
    ----------
    words : how many.
    spelling : how they come.
    style, technology, rounds : those of a `Sequencer`.

    Members
    -------
    step : In(1).
    data : Out(spelling.width).
    load, loaded : see `Filler`.
    """

    def __init__(self, words: int, spelling: Spelling, *, style: MemoryStyle,
                 technology: Technology, rounds: Rounds = ONCE) -> None:
        self._shape = SequencerShape(words, spelling.width, style is MemoryStyle.BLOCK, rounds)
        self._filler = Filler(words, spelling)
        self._style = style
        self._technology = technology
        super().__init__({"step": In(1), "data": Out(spelling.width), "load": In(FILL),
                          "loaded": Out(FILL)})

    @property
    def latency(self) -> int:
        """Cycles from a step to its word."""
        return SEQUENCER_LATENCY

    @property
    def length(self) -> int:
        """How many words there are."""
        return self._shape.words

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.filler = filler = self._filler
        chain(m, self, [filler])
        step = _stepped(m, self.step, self._shape)
        for low, part in zip(accumulate(self._shape.parts, initial=0), self._shape.parts,
                             strict=False):
            ram = self._technology.ram(part, self._shape.words, self._style,
                                       registered=self._shape.registered)
            m.submodules[f"ram_{low}"] = ram
            m.d.comb += [
                ram.write_address.eq(filler.address), ram.write_enable.eq(filler.write),
                ram.write_data.eq(filler.word[low : low + part]),
                ram.read_address.eq(counted(m, f"address_{low}", step, self._shape)),
                ram.read_enable.eq(1), self.data[low : low + part].eq(ram.read_data)]
        return m


AnySequencer: TypeAlias = Sequencer | LoadableSequencer
"""Words in their order, whoever brings them."""


def _stepped(m: Module, step: Value, shape: SequencerShape) -> Value:
    """What steps the counters: a cycle later where memories take but one."""
    if shape.registered:
        return step
    stepped = Signal()
    m.d.sync += stepped.eq(step)
    return stepped


def counted(m: Module, name: str, step: Value, shape: SequencerShape) -> Signal:
    """The address of the word that so many steps have come to."""
    words, *again = shape.counts
    count = Signal(range(words), name=name)
    following = Mux(count == words - 1, 0, count + 1)
    if again:
        part, turns = again
        ends = Value.cast(counter_end(m, f"{name}_part", step, part))
        turned = Value.cast(counter_end(m, f"{name}_turn", step & ends, turns))
        following = Mux(ends & ~turned, count - (part - 1), following)
    with m.If(step):
        m.d.sync += count.eq(following)
    return count
