"""Symbols out of bytes: sections, each in a canonical Huffman code of its own."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .huffman_code import MAX_LENGTH, Code, chosen_of
from .tech import MemoryStyle, Technology

__all__ = ["DECODER_LATENCY", "HuffmanDecoder", "Symbol", "decoder_capacity"]

DECODER_LATENCY = 4
"""Cycles from the beat that completes a code to its symbol."""
COUNT_BYTES = 4
SYMBOLS = 256

Symbol = data.StructLayout({"data": 8, "last": 1})
"""A symbol; ``last`` marks the final one of a section."""


class _State(enum.Enum):
    """What the bits in front are."""

    COUNT = 0
    LENGTHS = 1
    LISTED = 2
    CODES = 3
    ALIGN = 4
    FAULTY = 5


class HuffmanDecoder(Block):
    """Sections of symbols, see `penjing.compiler.huffman`, one after the other, endlessly.

    A symbol a cycle, while the bits of its code are there: with two bytes a beat always, with one
    as long as codes have eight bits on average. From the beat that completes a code to its symbol
    it is ``DECODER_LATENCY`` cycles. A section's head takes a cycle a byte, and the zeros behind
    its codes one.

    A code is as long as the first length whose limit is above the bits in front, all lengths being
    compared at once; one sum takes it to the place of its symbol in a table.

    Parameters
    ----------
    octets : bytes of an input beat, the first one lowest; 1 or 2.
    technology : supplies the table of symbols.

    Members
    -------
    i : stream of ``octets`` bytes.
    o : stream of `Symbol`.
    restart : In(1), forgets all that has come in, but a symbol that waits: the next byte is a
        section's first.
    between : Out(1), no byte of a section has come in since the last one ended. Bits that no code
        begins with are no section's end: then all that comes in is dropped.
    """

    def __init__(self, octets: int, technology: Technology) -> None:
        at_least(1, octets=octets)
        if octets > 2:
            raise ValueError(f"octets must be 1 or 2, not {octets!r}")
        self._octets = octets
        self._technology = technology
        super().__init__({"i": In(stream.Signature(8 * octets)), "o": Out(stream.Signature(Symbol)),
                          "restart": In(1), "between": Out(1)})

    @property
    def capacity(self) -> int:
        """Bits that it holds: while there is no room for a beat, there are those of a code."""
        return decoder_capacity(self._octets)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state, code = Signal(_State), Code()
        front, have, used = self._bits(m, (state == _State.FAULTY) | self.restart)
        found, none = code.found(m, front)
        octet, is_octet = front[-8:], have >= 8
        left, octets = Signal(8 * COUNT_BYTES), Signal(range(2 * MAX_LENGTH))
        low, listed = Signal(8, reset_less=True), Signal(range(SYMBOLS))
        chosen = Signal(MAX_LENGTH)
        m.submodules.table = table = self._technology.ram(
            8, SYMBOLS, MemoryStyle.BLOCK, registered=True)
        advance, is_read = self._look_up(m, table, code, front, chosen, left == 1)
        m.d.comb += [table.write_address.eq(listed), table.write_data.eq(octet),
                     self.between.eq((state == _State.COUNT) & (octets == 0) & (have == 0))]

        with m.Switch(state):
            with m.Case(_State.COUNT), m.If(is_octet):
                m.d.comb += used[8].eq(1)
                m.d.sync += [left.eq(Cat(left, octet)[8:]), octets.eq(octets + 1)]
                with m.If(octets == COUNT_BYTES - 1):
                    m.d.sync += [state.eq(_State.LENGTHS), octets.eq(0), *code.clear()]
            with m.Case(_State.LENGTHS), m.If(is_octet):
                m.d.comb += used[8].eq(1)
                m.d.sync += [low.eq(octet), octets.eq(octets + 1)]
                with m.If(octets[0]):
                    m.d.sync += code.longer(Cat(low, octet))
                with m.If(octets == 2 * MAX_LENGTH - 1):
                    m.d.sync += [state.eq(_State.LISTED), octets.eq(0), listed.eq(0)]
            with m.Case(_State.LISTED), m.If(is_octet):
                m.d.comb += [used[8].eq(1), table.write_enable.eq(1)]
                m.d.sync += listed.eq(listed + 1)
                with m.If(listed + 1 == code.symbols):
                    m.d.sync += state.eq(_State.CODES)
            with m.Case(_State.CODES):
                # All bits of the code must be there.
                there = found & Cat(have > n for n in range(MAX_LENGTH))
                m.d.comb += [chosen.eq(Mux(advance, there, 0)), used[1:].eq(chosen)]
                with m.If(none):
                    m.d.sync += state.eq(_State.FAULTY)
                with m.If(chosen.any()):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.sync += state.eq(_State.ALIGN)
            # The next table must not overwrite a symbol that is yet to be read.
            with m.Case(_State.ALIGN), m.If(~is_read):
                m.d.comb += used.eq(1 << have[:3])
                m.d.sync += state.eq(_State.COUNT)
        with m.If(self.restart):
            m.d.sync += [state.eq(_State.COUNT), octets.eq(0)]
        return m

    def _bits(self, m: Module, drop: Value) -> tuple[Value, Signal, Signal]:
        """The bits that the longest code may have, the first one highest and zeros behind the last;
        how many bits there are; and how many of them are taken, as the place of a 1, which the
        caller drives. To ``drop`` takes all."""
        beat, room = 8 * self._octets, self.capacity - 8 * self._octets
        buffer, have = Signal(self.capacity), Signal(range(self.capacity + 1))
        used, taken = Signal(MAX_LENGTH + 1), Signal()
        m.d.comb += [self.i.ready.eq(have <= room), taken.eq(self.i.valid & self.i.ready)]
        # The first byte is the lowest of a beat, and its highest bit the first.
        octets = Cat(self.i.payload.word_select(n, 8) for n in reversed(range(self._octets)))
        whole = Signal.like(buffer, name="whole")
        m.d.comb += whole.eq(buffer | Mux(taken, Cat(Const(0, room), octets) >> have, 0))
        following = Signal.like(have, name="following")
        m.d.comb += following.eq(have + Mux(taken, beat, 0))
        takes = Cat(~used[1:].any(), used[1:])
        with m.If(drop):
            m.d.sync += [buffer.eq(0), have.eq(0)]
        with m.Else():
            m.d.sync += [buffer.eq(chosen_of(takes, (whole << n for n in range(MAX_LENGTH + 1)))),
                         have.eq(following - chosen_of(takes, map(Const, range(MAX_LENGTH + 1))))]
        return buffer[-MAX_LENGTH:], have, used

    def _look_up(self, m: Module, table: Any, code: Code, front: Value, chosen: Signal,
                 last: Value) -> tuple[Signal, Signal]:
        """Symbols of the codes that are ``chosen`` go to ``o``.

        What comes out is whether there is room for one, and whether one is read from the table.
        """
        advance, is_read = Signal(), Signal()
        place, base = Signal(8, reset_less=True), Signal(8, reset_less=True)
        stages = [data.View(data.StructLayout({"valid": 1, "last": 1}), Signal(2, name=name))
                  for name in ("read", "held")]
        ends = Signal(reset_less=True)
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), is_read.eq(stages[0].valid),
                     table.read_address.eq(place + base), table.read_enable.eq(advance),
                     self.o.p.data.eq(table.read_data), self.o.p.last.eq(ends)]
        with m.If(advance):
            m.d.sync += [
                place.eq(chosen_of(
                    chosen, (front >> MAX_LENGTH - 1 - n for n in range(MAX_LENGTH)))),
                base.eq(chosen_of(chosen, code.bases)),
                stages[0].valid.eq(chosen.any()), stages[0].last.eq(last),
                stages[1].eq(stages[0]), self.o.valid.eq(stages[1].valid),
                ends.eq(stages[1].last)]
        with m.If(self.restart):
            m.d.sync += [stage.valid.eq(0) for stage in stages]
            with m.If(advance):
                m.d.sync += self.o.valid.eq(0)
        return advance, is_read


def decoder_capacity(octets: int) -> int:
    """Bits that a decoder of so many ``octets`` a beat holds.

    While there is no room for a beat, those of the longest code are there, and so they are behind
    the next code.
    """
    return 16 * octets + MAX_LENGTH
