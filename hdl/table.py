"""A table: any function of few bits, one for all channels or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .requantize import range_of
from .steady import channel_beats, channel_words, next_word
from .stream import Beat, PassesReady
from .tech import MEMORY_LATENCY, REGISTERED_LATENCY, MemoryStyle, Technology

__all__ = ["LookupTable", "TableShape"]


@dataclass(frozen=True)
class TableShape:
    """Structure of a `LookupTable`.

    Parameters
    ----------
    lanes : elements a beat.
    words : beats until the tables begin again.
    i_bits, o_bits : of an element that comes in, and of an entry.
    block : whether the tables live in block RAM, whose output register is then used.
    """

    lanes: int
    words: int
    i_bits: int
    o_bits: int
    block: bool = False

    @classmethod
    def of(cls, tables: int, *, lanes: int, group: int, i_bits: int, o_bits: int,
           block: bool = False) -> TableShape:
        """The structure for so many ``tables``; for the others, see `LookupTable`."""
        at_least(1, tables=tables, lanes=lanes, group=group)
        return cls(lanes, channel_beats(tables, group, lanes), i_bits, o_bits, block)

    @property
    def entries(self) -> int:
        """Words of each lane's memory."""
        return self.words << self.i_bits

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result: those of the memory."""
        return REGISTERED_LATENCY if self.block else MEMORY_LATENCY


class LookupTable(PassesReady):
    """``o = tables[c][i - low]`` in every lane, c being its channel and low the least ``i``.

    One beat a cycle, latency ``latency``. Each lane has a memory, which the value addresses and,
    where there are several tables, the beat's place among the channels. The stages are those of the
    memory, and hold while the output waits.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    lanes : elements a beat.
    group : elements after which a fresh beat starts.
    tables : an entry for each value of ``i_shape``, the least first; each fits ``o_shape``. One
        table stands for all channels; channels follow each other endlessly.
    style : where the tables live.
    technology : supplies memory.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, *, lanes: int, group: int,
                 tables: Sequence[Sequence[int]], style: MemoryStyle, technology: Technology
                 ) -> None:
        given, limits = range_of(Shape.cast(i_shape)), range_of(Shape.cast(o_shape))
        self._shape = TableShape.of(
            len(tables), lanes=lanes, group=group, i_bits=Shape.cast(i_shape).width,
            o_bits=Shape.cast(o_shape).width, block=style is MemoryStyle.BLOCK)
        for table in tables:
            if len(table) != len(given):
                raise ValueError(f"a table must have an entry for each of {len(given)} values, "
                                 f"not {len(table)}")
            for entry in (min(table), max(table)):
                if entry not in limits:
                    raise ValueError(f"entries must fit {o_shape!r}, not {entry}")
        zero, mask = -given[0], (1 << self._shape.o_bits) - 1
        # In a memory the entry of the value 0 comes first, those of negative values last.
        self._tables = [[entry & mask for entry in (*table[zero:], *table[:zero])]
                        for table in tables]
        self._words = channel_words(len(tables), group, lanes)
        self._style = style
        self._technology = technology
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self._shape.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        flow = Signal()
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(flow)]
        valid, last = self.i.valid, self.i.p.last
        for stage in range(shape.latency):
            held_valid = Signal(name=f"valid{stage}")
            held_last = Signal(name=f"last{stage}", reset_less=True)
            with m.If(flow):
                m.d.sync += [held_valid.eq(valid), held_last.eq(last)]
            valid, last = held_valid, held_last
        m.d.comb += [self.o.valid.eq(valid), self.o.p.last.eq(last)]
        word = next_word(m, self.i.valid & flow, shape.words)
        for lane in range(shape.lanes):
            contents = [entry for channels in self._words for entry in self._tables[channels[lane]]]
            m.submodules[f"table{lane}"] = rom = self._technology.rom(
                contents, shape.o_bits, self._style, registered=shape.block)
            m.d.comb += [rom.address.eq(Cat(self.i.p.data[lane], word)), rom.enable.eq(flow),
                         self.o.p.data[lane].eq(rom.data)]
        return m
