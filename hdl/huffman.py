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
    compared at once; one sum takes it to the place of its symbol in a table. From the bits in
    front to those behind the code is all that must be done in a cycle, so what of the bits is
    there is told by ones that move along with them, and nothing is counted on the way.

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
        # Bits that are taken, as the place of a 1: those of a code, or others.
        used, other, some = Signal(MAX_LENGTH), Signal(MAX_LENGTH), Signal()
        front, there = self._bits(m, used, some, (state == _State.FAULTY) | self.restart)
        beyond = Signal(MAX_LENGTH)
        octet, is_octet = front[-8:], there[7]
        left, octets = Signal(8 * COUNT_BYTES), Signal(range(2 * MAX_LENGTH))
        low, listed = Signal(8, reset_less=True), Signal(range(SYMBOLS))
        is_code, reads = state == _State.CODES, Signal()
        m.submodules.table = table = self._technology.ram(
            8, SYMBOLS, MemoryStyle.BLOCK, registered=True)
        advance, is_read, phase = self._look_up(m, table, code, front, used, is_code & some,
                                                left == 1)
        m.d.comb += [
            table.write_address.eq(listed), table.write_data.eq(octet),
            self.between.eq((state == _State.COUNT) & (octets == 0) & ~there[0]),
            beyond.eq(code.beyond(front)), reads.eq(is_code & advance),
            # All bits of the code must be there.
            used.eq(Mux(reads, Cat(Const(1, 1), beyond) & ~beyond & there, 0) | other),
            some.eq((reads & (~beyond & there).any()) | other.any()),
        ]
        with m.Switch(state):
            with m.Case(_State.COUNT), m.If(is_octet):
                m.d.comb += other[7].eq(1)
                m.d.sync += [left.eq(Cat(left, octet)[8:]), octets.eq(octets + 1)]
                with m.If(octets == COUNT_BYTES - 1):
                    m.d.sync += [state.eq(_State.LENGTHS), octets.eq(0), *code.clear()]
            with m.Case(_State.LENGTHS), m.If(is_octet):
                m.d.comb += other[7].eq(1)
                m.d.sync += [low.eq(octet), octets.eq(octets + 1)]
                with m.If(octets[0]):
                    m.d.sync += code.longer(Cat(low, octet))
                with m.If(octets == 2 * MAX_LENGTH - 1):
                    m.d.sync += [state.eq(_State.LISTED), octets.eq(0), listed.eq(0)]
            with m.Case(_State.LISTED), m.If(is_octet):
                m.d.comb += [other[7].eq(1), table.write_enable.eq(1)]
                m.d.sync += listed.eq(listed + 1)
                with m.If(listed + 1 == code.symbols):
                    m.d.sync += state.eq(_State.CODES)
            with m.Case(_State.CODES):
                with m.If(beyond[-1]):
                    m.d.sync += state.eq(_State.FAULTY)
                with m.If(some):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.sync += state.eq(_State.ALIGN)
            # The next table must not overwrite a symbol that is yet to be read.
            with m.Case(_State.ALIGN), m.If(~is_read):
                m.d.comb += other.eq((1 << (-phase)[:3]) >> 1)
                m.d.sync += [state.eq(_State.COUNT), phase.eq(0)]
        with m.If(self.restart):
            m.d.sync += [state.eq(_State.COUNT), octets.eq(0), phase.eq(0)]
        return m

    def _bits(self, m: Module, used: Value, some: Value, drop: Value) -> tuple[Value, Value]:
        """The bits that the longest code may have, the first one highest and zeros behind the last;
        and, for each from the first on, whether it is there. So many as ``used`` has its 1 at are
        taken, if ``some`` are. To ``drop`` takes all."""
        beat, room = 8 * self._octets, self.capacity - 8 * self._octets
        buffer, have = Signal(self.capacity), Signal(self.capacity)
        taken = Signal()
        m.d.comb += [self.i.ready.eq(~have[beat - 1]), taken.eq(self.i.valid & self.i.ready)]
        # The first byte is the lowest of a beat, and its highest bit the first.
        octets = Cat(self.i.payload.word_select(n, 8) & taken.replicate(8)
                     for n in reversed(range(self._octets)))
        whole, following = Signal.like(buffer), Signal.like(buffer)
        ends = Cat(have[1:], 1) & ~have
        m.d.comb += [
            whole.eq(buffer | chosen_of(ends[beat - 1:], (octets << n for n in range(room + 1)))),
            following.eq(Mux(taken, Cat(have[beat:], Const(-1, beat)), have))]
        with m.If(drop):
            m.d.sync += [buffer.eq(0), have.eq(0)]
        with m.Else():
            m.d.sync += [bits.eq(chosen_of(Cat(used, ~some), (
                *(after << n + 1 for n in range(MAX_LENGTH)), after)))
                for bits, after in ((buffer, whole), (have, following))]
        return buffer[-MAX_LENGTH:], have[-MAX_LENGTH:][::-1]

    def _look_up(self, m: Module, table: Any, code: Code, front: Value, used: Value, chosen: Value,
                 last: Value) -> tuple[Signal, Signal, Signal]:
        """The symbol of the code that has the ``used`` bits goes to ``o``, if one is ``chosen``.

        What comes out is whether there is room for one, whether one is read from the table, and the
        bits of all codes before that, modulo 8.
        """
        advance, is_read, phase = Signal(), Signal(), Signal(3)
        place, base = Signal(8, reset_less=True), Signal(8, reset_less=True)
        length = Signal(3, reset_less=True)
        stages = [data.View(data.StructLayout({"valid": 1, "last": 1}), Signal(2, name=name))
                  for name in ("read", "held")]
        ends = Signal(reset_less=True)
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready), is_read.eq(stages[0].valid),
                     table.read_address.eq(place + base), table.read_enable.eq(advance),
                     self.o.p.data.eq(table.read_data), self.o.p.last.eq(ends)]
        with m.If(advance):
            m.d.sync += [
                place.eq(chosen_of(used, (front >> MAX_LENGTH - 1 - n for n in range(MAX_LENGTH)))),
                base.eq(chosen_of(used, code.bases)),
                length.eq(chosen_of(used, (Const(n + 1 & 7, 3) for n in range(MAX_LENGTH)))),
                stages[0].valid.eq(chosen), stages[0].last.eq(last),
                stages[1].eq(stages[0]), self.o.valid.eq(stages[1].valid),
                ends.eq(stages[1].last)]
            with m.If(is_read):
                m.d.sync += phase.eq(phase + length)
        with m.If(self.restart):
            m.d.sync += [stage.valid.eq(0) for stage in stages]
            with m.If(advance):
                m.d.sync += self.o.valid.eq(0)
        return advance, is_read, phase


def decoder_capacity(octets: int) -> int:
    """Bits that a decoder of so many ``octets`` a beat holds.

    While there is no room for a beat, those of the longest code are there, and so they are behind
    the next code.
    """
    return 16 * octets + MAX_LENGTH
