"""The board's end of the link: requests out of bytes, answers into bytes (see `protocol`).

Checksums are computed a bit at a time: a byte takes 10 bits on the line anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..hdl.checks import at_least
from ..hdl.tech import MemoryStyle, Technology
from . import protocol
from .protocol import HEADER_BYTES, SYNC, Fault, Kind, Status

__all__ = ["Crc32", "Deframer", "FrameBuffer", "Framer", "Octet", "Reply"]


Octet = data.StructLayout({"data": 8, "last": 1})
"""A byte of a payload; ``last`` marks the final one."""

Reply = data.StructLayout({"kind": 8, "sequence": 8, "fault": 8})
"""An answer that is no result: ``kind`` is IDENTITY or ERROR, the latter with a ``fault``."""


class _State(enum.Enum):
    IDLE = 0
    HEADER = 1
    PAYLOAD = 2
    CHECKSUM = 3


class Crc32(wiring.Component):
    """CRC-32 over bytes, 9 cycles each: ``crc`` is the register, not inverted.

    Members
    -------
    start : makes the register that of an empty message; only while ``i.ready``.
    i : stream of bytes; ready when ``crc`` covers all bytes taken before.
    crc : the register.
    """

    def __init__(self) -> None:
        super().__init__({"start": In(1), "i": In(stream.Signature(8)),
                          "crc": Out(32, init=protocol.CRC_INIT)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(9))
        bits = Signal(8, reset_less=True)
        feedback = Mux(self.crc[0] ^ bits[0], protocol.CRC_POLYNOMIAL, 0)
        with m.If(left == 0):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [bits.eq(self.i.payload), left.eq(8)]
            with m.If(self.start):
                m.d.sync += self.crc.eq(protocol.CRC_INIT)
        with m.Else():
            m.d.sync += [self.crc.eq((self.crc >> 1) ^ feedback), bits.eq(bits >> 1),
                         left.eq(left - 1)]
        return m


class FrameBuffer(wiring.Component):
    """One frame of bytes: written at any address, then played out, 1 byte a cycle, latency 3.

    Parameters
    ----------
    size : bytes of the frame.
    technology : supplies the memory.

    Members
    -------
    address, octet, write : the write port.
    start : play the frame out once.
    o : stream of `Octet`.
    """

    def __init__(self, size: int, technology: Technology) -> None:
        at_least(1, size=size)
        self._size = size
        self._technology = technology
        super().__init__({"address": In(range(size)), "octet": In(8), "write": In(1),
                          "start": In(1), "o": Out(stream.Signature(Octet))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = self._technology.ram(
            8, self._size, MemoryStyle.BLOCK, registered=True)
        playing, fetched, fetched_last, ends = Signal(), Signal(), Signal(), Signal()
        position = Signal(range(self._size))
        last = position == self._size - 1
        step = ~self.o.valid | self.o.ready
        m.d.comb += [
            memory.write_address.eq(self.address), memory.write_data.eq(self.octet),
            memory.write_enable.eq(self.write), memory.read_address.eq(position),
            memory.read_enable.eq(step), self.o.p.data.eq(memory.read_data), self.o.p.last.eq(ends),
        ]
        with m.If(step):
            m.d.sync += [self.o.valid.eq(fetched), ends.eq(fetched_last),
                         fetched.eq(playing), fetched_last.eq(last)]
            with m.If(playing):
                m.d.sync += [position.eq(Mux(last, 0, position + 1)), playing.eq(~last)]
        with m.If(self.start):
            m.d.sync += playing.eq(1)
        return m


class Deframer(wiring.Component):
    """Requests out of bytes: ``o`` is the payload of each good image, 1 byte a cycle.

    Nothing of an image leaves before its checksum was right, 15 cycles after its final byte. All
    other requests, and all that is wrong, become a ``reply``; a reply that finds the one before it
    still waiting is lost.

    Parameters
    ----------
    size : bytes of an image.
    timeout : cycles without a byte after which a message counts as cut off, at least 100.
    technology : supplies the memory of an image.
    loads : whether weights are loaded.

    Members
    -------
    i : stream of bytes that cannot wait; at most one in 10 cycles.
    o : stream of `Octet`.
    sequence : sequence byte of the image that is worked on.
    done : the result of that image has been sent: there is room for the next.
    reply : stream of `Reply`.
    load : stream of bytes, those of weights; one that is not taken before the next comes is lost.
    quiet : In(1), a byte of weights is taken at once.
    status : In(Status), of the accelerator. These three if it ``loads``.
    """

    def __init__(self, size: int, timeout: int, technology: Technology, *, loads: bool = False
                 ) -> None:
        at_least(1, size=size)
        at_least(100, timeout=timeout)
        self._technology = technology
        self._size = size
        self._timeout = timeout
        self._loads = loads
        members = {"load": Out(stream.Signature(8)), "quiet": In(1), "status": In(Status)}
        super().__init__({
            **(members if loads else {}),
            "i": In(stream.Signature(8, always_ready=True)),
            "o": Out(stream.Signature(Octet)),
            "sequence": Out(8),
            "done": In(1),
            "reply": Out(stream.Signature(Reply)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32()
        m.submodules.buffer = buffer = FrameBuffer(self._size, self._technology)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        octet, step = self._steps(m, crc)

        state, count = Signal(_State), Signal(range(max(self._size, HEADER_BYTES)))
        kind, sequence, busy = Signal(8), Signal(8), Signal()
        fault, failed, identify, accept = Signal(Fault), Signal(), Signal(), Signal()
        left, wrong = Signal(32), Signal()
        # The checksum stands still in the cycle before a step.
        m.d.sync += [failed.eq(0), identify.eq(0), accept.eq(0),
                     wrong.eq(crc.crc != protocol.CRC_RESIDUE)]
        if self._loads:
            with m.If(self.load.ready):
                m.d.sync += self.load.valid.eq(0)

        def fail(why: ValueLike) -> list[Statement]:
            return [failed.eq(1), fault.eq(why)]

        m.d.comb += [buffer.address.eq(count), buffer.octet.eq(octet), buffer.start.eq(accept)]
        with m.If(step):
            m.d.sync += count.eq(count + 1)
            with m.Switch(state):
                with m.Case(_State.IDLE):
                    with m.If(octet == SYNC[0]):
                        m.d.sync += [state.eq(_State.HEADER), count.eq(1)]
                with m.Case(_State.HEADER):
                    self._header(m, crc.start, state, count, octet, kind, sequence, busy, left,
                                 fail)
                with m.Case(_State.PAYLOAD):
                    self._payload(m, buffer.write, state, count, octet, kind, left)
                with m.Case(_State.CHECKSUM), m.If(count == protocol.CRC_BYTES - 1):
                    m.d.sync += state.eq(_State.IDLE)
                    with m.If(wrong):
                        m.d.sync += fail(Fault.CHECKSUM)
                    with m.Elif(kind == Kind.IMAGE):
                        m.d.sync += [accept.eq(1), busy.eq(1), self.sequence.eq(sequence)]
                    with m.Else():
                        m.d.sync += identify.eq(1)

        expired = self._expired(m)
        with m.If(expired & (state != _State.IDLE)):
            m.d.sync += state.eq(_State.IDLE)
            # Before its sequence byte a message has nothing that an answer could name.
            with m.If((state != _State.HEADER) | (count > 3)):
                m.d.sync += fail(Fault.CUT)

        with m.If(self.done):
            m.d.sync += busy.eq(0)
        with m.If(self.reply.ready):
            m.d.sync += self.reply.valid.eq(0)
        with m.If((failed | identify) & (~self.reply.valid | self.reply.ready)):
            m.d.sync += [self.reply.valid.eq(1), self.reply.p.sequence.eq(sequence),
                         self.reply.p.kind.eq(Mux(identify, self._answer(kind), Kind.ERROR)),
                         self.reply.p.fault.eq(fault)]
        return m

    def _answer(self, kind: Signal) -> ValueLike:
        """The kind of the answer to a request that brings no frame."""
        return Mux(kind == Kind.LOAD, Kind.LOADED, Kind.IDENTITY) if self._loads else Kind.IDENTITY

    def _payload(self, m: Module, write: Signal, state: Signal, count: Signal, octet: Signal,
                 kind: Signal, left: Signal) -> None:
        """A byte of the payload: of an image into its memory, of weights to whom they are for."""
        ends = count == self._size - 1
        if not self._loads:
            m.d.comb += write.eq(1)
        else:
            loads = kind == Kind.LOAD
            m.d.comb += write.eq(~loads)
            ends = Mux(loads, left == 1, ends)
            m.d.sync += left.eq(left - 1)
            with m.If(loads):
                m.d.sync += [self.load.valid.eq(1), self.load.payload.eq(octet)]
        with m.If(ends):
            m.d.sync += [state.eq(_State.CHECKSUM), count.eq(0)]

    def _steps(self, m: Module, crc: Crc32) -> tuple[Signal, Signal]:
        """The byte that is worked on, and a pulse for it once the checksum covers it."""
        octet, fresh, step = Signal(8), Signal(), Signal()
        m.d.comb += [crc.i.payload.eq(self.i.payload), crc.i.valid.eq(self.i.valid)]
        m.d.sync += step.eq(fresh & crc.i.ready)
        with m.If(self.i.valid):
            m.d.sync += [octet.eq(self.i.payload), fresh.eq(1)]
        with m.Elif(crc.i.ready):
            m.d.sync += fresh.eq(0)
        return octet, step

    def _expired(self, m: Module) -> Value:
        # Counting from 0 keeps the carry chain of an iCE40 whole: cells of one tile are all set or
        # all cleared. The counter may wrap, since without a byte no message begins.
        idle, expired = Signal(range(self._timeout)), Signal()
        m.d.sync += [idle.eq(idle + 1), expired.eq(idle == self._timeout - 1)]
        with m.If(self.i.valid):
            m.d.sync += [idle.eq(0), expired.eq(0)]
        return expired

    def _header(self, m: Module, start: Signal, state: Signal, count: Signal, octet: Signal,
                kind: Signal, sequence: Signal, busy: Signal, left: Signal,
                fail: Callable[[ValueLike], list[Statement]]) -> None:
        """The header's bytes, ``count`` from 1: sync, kind, sequence, length (low byte first)."""
        matches = Signal()
        with m.Switch(count):
            with m.Case(1):
                m.d.comb += start.eq(1)
                with m.If(octet == SYNC[0]):
                    m.d.sync += count.eq(1)
                with m.Elif(octet != SYNC[1]):
                    m.d.sync += state.eq(_State.IDLE)
            with m.Case(2):
                m.d.sync += kind.eq(octet)
                with m.If(octet == SYNC[0]):
                    m.d.sync += count.eq(1)
            with m.Case(3):
                m.d.sync += [sequence.eq(octet), matches.eq(1)]
            with m.Default():
                image = kind == Kind.IMAGE
                length = Mux(image, C(self._size, 32), 0)
                match = matches & (octet == length.word_select(count[:2], 8))
                m.d.sync += matches.eq(match)
                unknown, is_long, occupied = ~image & (kind != Kind.IDENTIFY), image, image & busy
                if self._loads:
                    loads, bytes_left = kind == Kind.LOAD, Cat(left, octet)[8:]
                    m.d.sync += left.eq(bytes_left)
                    unknown, is_long = unknown & ~loads, image | loads
                    match = Mux(loads, bytes_left != 0, match)
                    occupied = occupied | (loads & (busy | ~self.quiet))
                with m.If(count == HEADER_BYTES - 1):
                    m.d.sync += [state.eq(_State.IDLE), count.eq(0)]
                    with m.If(unknown):
                        m.d.sync += fail(Fault.KIND)
                    with m.Elif(~match):
                        m.d.sync += fail(Fault.LENGTH)
                    with m.Elif(occupied):
                        m.d.sync += fail(Fault.BUSY)
                    if self._loads:
                        with m.Elif(image & (self.status != Status.READY)):
                            m.d.sync += fail(Fault.EMPTY)
                    with m.Else():
                        m.d.sync += state.eq(Mux(is_long, _State.PAYLOAD, _State.CHECKSUM))


class Framer(wiring.Component):
    """Answers into bytes: replies first, then results as they come.

    Parameters
    ----------
    size : bytes of a result.
    identity : payload of an IDENTITY message.
    loads : whether weights are loaded.

    Members
    -------
    i : stream of `Octet`, the results' bytes.
    sequence : sequence byte of the result.
    reply : stream of `Reply`.
    o : stream of bytes; the checksum limits it to one in 9 cycles.
    done : the final byte of a result has been taken, 1 cycle.
    status : In(Status), what LOADED tells; if it ``loads``.
    """

    def __init__(self, size: int, identity: bytes, *, loads: bool = False) -> None:
        at_least(1, size=size)
        if not identity:
            raise ValueError("identity must not be empty")
        self._size = size
        self._identity = identity
        self._loads = loads
        super().__init__({
            **({"status": In(Status)} if loads else {}),
            "i": In(stream.Signature(Octet)),
            "sequence": In(8),
            "reply": In(stream.Signature(Reply)),
            "o": Out(stream.Signature(8)),
            "done": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32()
        state, count = Signal(_State), Signal(range(max(HEADER_BYTES, len(self._identity))))
        kind, sequence = Signal(8), Signal(8)
        have, take, last, replied = Signal(), Signal(), Signal(), Signal()
        # A reply is let go a cycle late, long before the next answer begins: whoever has another
        # one need not wait for what becomes of this byte.
        m.d.sync += self.reply.ready.eq(replied)
        summed = state != _State.CHECKSUM
        m.d.comb += [
            self.o.valid.eq(have & crc.i.ready),
            take.eq(self.o.valid & self.o.ready),
            crc.i.payload.eq(self.o.payload),
            crc.i.valid.eq(take & summed & ~crc.start),
        ]
        with m.If(take):
            m.d.sync += count.eq(Mux(last, 0, count + 1))

        with m.Switch(state):
            with m.Case(_State.IDLE):
                with m.If(self.reply.valid):
                    m.d.sync += [kind.eq(self.reply.p.kind), sequence.eq(self.reply.p.sequence),
                                 state.eq(_State.HEADER)]
                with m.Elif(self.i.valid):
                    m.d.sync += [kind.eq(Kind.RESULT), sequence.eq(self.sequence),
                                 state.eq(_State.HEADER)]
            with m.Case(_State.HEADER):
                m.d.comb += [have.eq(1), last.eq(count == HEADER_BYTES - 1),
                             crc.start.eq(count < len(SYNC)),
                             self.o.payload.eq(self._header(kind, sequence)[count[:3]])]
                with m.If(take & last):
                    m.d.sync += state.eq(_State.PAYLOAD)
            with m.Case(_State.PAYLOAD):
                self._payload(m, kind, count, have, take, last, replied)
                with m.If(take & last):
                    m.d.sync += state.eq(_State.CHECKSUM)
            with m.Case(_State.CHECKSUM):
                m.d.comb += [have.eq(1), last.eq(count == protocol.CRC_BYTES - 1),
                             self.o.payload.eq(~crc.crc.word_select(count[:2], 8))]
                with m.If(take & last):
                    m.d.comb += self.done.eq(kind == Kind.RESULT)
                    m.d.sync += state.eq(_State.IDLE)
        return m

    def _header(self, kind: Signal, sequence: Signal) -> Array[ValueLike]:
        length = Mux(kind == Kind.RESULT, C(self._size, 32),
                     Mux(kind == Kind.IDENTITY, len(self._identity), 1))
        return Array([C(SYNC[0], 8), C(SYNC[1], 8), kind, sequence,
                      *(length.word_select(n, 8) for n in range(4))])

    def _payload(self, m: Module, kind: Signal, count: Signal, have: Signal, take: Signal,
                 last: Signal, replied: Signal) -> None:
        """One byte of the payload; with its last one a reply is ``replied``."""
        with m.If(kind == Kind.RESULT):
            m.d.comb += [have.eq(self.i.valid), self.i.ready.eq(take), last.eq(self.i.p.last),
                         self.o.payload.eq(self.i.p.data)]
        with m.Elif(kind == Kind.IDENTITY):
            m.d.comb += [have.eq(1), last.eq(count == len(self._identity) - 1),
                         self.o.payload.eq(Array(C(n, 8) for n in self._identity)[count]),
                         replied.eq(take & last)]
        with m.Else():
            told = self.reply.p.fault
            if self._loads:
                told = Mux(kind == Kind.LOADED, self.status, told)
            m.d.comb += [have.eq(1), last.eq(1), self.o.payload.eq(told),
                         replied.eq(take)]
