"""Symbols out of bytes: sections, each in a canonical Huffman code of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .huffman_code import MAX_LENGTH, Code
from .huffman_steps import PLACES, Steps, picked
from .tech import MemoryStyle, Technology

__all__ = ["DECODER_LATENCY", "HuffmanDecoder", "Symbol"]

DECODER_LATENCY = 9
"""Cycles from the beat that completes a code to its symbol; one more behind a pause of bytes."""
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
    it is ``DECODER_LATENCY`` cycles, and a cycle more behind a pause. A section's head takes a
    cycle a byte, and the zeros behind its codes one.

    Where the next code begins is known for each bit before it is asked for, see `Steps`: so from a
    code to the next is one look-up, and no length is found on the way. One sum takes a code to the
    place of its symbol in a table.

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
        """Bits that it holds."""
        return PLACES * self._octets

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state, code = Signal(_State), Code()
        is_code, restart = state == _State.CODES, self.restart
        steps = Steps(m, code, self._octets, is_code)
        place, following = steps.place, steps.following
        octet, is_octet = picked(place[3:], steps.octets), place[3:] != steps.end
        left, octets = Signal(8 * COUNT_BYTES), Signal(range(2 * MAX_LENGTH))
        low, listed = Signal(8, reset_less=True), Signal(range(SYMBOLS))
        moves, moved, is_last = Signal(), Signal(), Signal()
        m.submodules.table = table = self._technology.ram(
            8, SYMBOLS, MemoryStyle.BLOCK, registered=True)
        advance, is_read = self._look_up(m, table, code, steps, moves, is_last)
        m.d.comb += [
            steps.beat.eq(self.i.payload), steps.taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(steps.room), following.eq(place),
            table.write_address.eq(listed), table.write_data.eq(octet),
            self.between.eq((state == _State.COUNT) & (octets == 0) & ~is_octet),
            # What is known of bits that have not come is what was before them in their place.
            moves.eq(is_code & advance & is_octet & steps.is_known),
        ]
        # Symbols that are left are counted a cycle late: the count is wide.
        m.d.comb += is_last.eq(Mux(moved, left == 2, left == 1))
        m.d.sync += [place.eq(following), moved.eq(moves)]
        with m.If(moved):
            m.d.sync += left.eq(left - 1)
        with m.Switch(state):
            with m.Case(_State.COUNT), m.If(is_octet):
                m.d.comb += following.eq(place + 8)
                m.d.sync += [left.eq(Cat(left, octet)[8:]), octets.eq(octets + 1)]
                with m.If(octets == COUNT_BYTES - 1):
                    m.d.sync += [state.eq(_State.LENGTHS), octets.eq(0), *code.clear()]
            with m.Case(_State.LENGTHS), m.If(is_octet):
                m.d.comb += following.eq(place + 8)
                m.d.sync += [low.eq(octet), octets.eq(octets + 1)]
                with m.If(octets[0]):
                    m.d.sync += code.longer(Cat(low, octet))
                with m.If(octets == 2 * MAX_LENGTH - 1):
                    m.d.sync += [state.eq(_State.LISTED), octets.eq(0), listed.eq(0)]
            with m.Case(_State.LISTED), m.If(is_octet):
                m.d.comb += [following.eq(place + 8), table.write_enable.eq(1)]
                m.d.sync += listed.eq(listed + 1)
                with m.If(listed + 1 == code.symbols):
                    m.d.sync += state.eq(_State.CODES)
            with m.Case(_State.CODES):
                with m.If(steps.is_none & is_octet):
                    m.d.sync += state.eq(_State.FAULTY)
                with m.If(moves):
                    m.d.comb += following.eq(steps.step)
                    with m.If(is_last):
                        m.d.sync += state.eq(_State.ALIGN)
            # The next table must not overwrite a symbol that is yet to be read.
            with m.Case(_State.ALIGN), m.If(~is_read):
                m.d.comb += following.eq(Cat(Const(0, 3), place[3:] + place[:3].any()))
                m.d.sync += state.eq(_State.COUNT)
            with m.Case(_State.FAULTY):
                m.d.comb += following.eq(Cat(Const(0, 3), steps.end))
        with m.If(restart):
            m.d.sync += [state.eq(_State.COUNT), octets.eq(0), place.eq(0), steps.end.eq(0)]
        return m

    def _look_up(self, m: Module, table: Any, code: Code, steps: Steps, chosen: Value, last: Value
                 ) -> tuple[Signal, Signal]:
        """The symbol of the code at the steps' place goes to ``o``, if one is ``chosen``.

        What comes out is whether there is room for one, and whether one is yet to be read from the
        table.
        """
        advance, is_read = Signal(), Signal()
        bits, length = Signal(MAX_LENGTH, reset_less=True), Signal(4, reset_less=True)
        place, base = Signal(8, reset_less=True), Signal(8, reset_less=True)
        stages = [data.View(data.StructLayout({"valid": 1, "last": 1}), Signal(2, name=name))
                  for name in ("found", "read", "held")]
        ends = Signal(reset_less=True)
        m.d.comb += [advance.eq(~self.o.valid | self.o.ready),
                     is_read.eq(stages[0].valid | stages[1].valid),
                     table.read_address.eq(place + base), table.read_enable.eq(advance),
                     self.o.p.data.eq(table.read_data), self.o.p.last.eq(ends)]
        with m.If(advance):
            m.d.sync += [
                bits.eq(steps.front), length.eq(steps.step - steps.place),
                place.eq(picked(length, [Const(0, 8), *(
                    bits[MAX_LENGTH - 1 - n:][:8] for n in range(MAX_LENGTH))])),
                base.eq(picked(length, [Const(0, 8), *code.bases])),
                stages[0].valid.eq(chosen), stages[0].last.eq(last),
                *(after.eq(before) for before, after in pairwise(stages)),
                self.o.valid.eq(stages[-1].valid), ends.eq(stages[-1].last)]
        with m.If(self.restart):
            m.d.sync += [stage.valid.eq(0) for stage in stages]
            with m.If(advance):
                m.d.sync += self.o.valid.eq(0)
        return advance, is_read
