"""Images in, byte by byte; symbols for memories out, and what has become of an image."""

from __future__ import annotations

import enum

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .crc import CRC_RESIDUE, Crc32, crc32
from .fill import FILL
from .huffman import DECODER_LATENCY, HuffmanDecoder
from .tech import Technology

__all__ = ["DIGEST_BYTES", "LENGTH_BYTES", "MAGIC", "VERSION", "Loader", "Status"]

MAGIC = b"\x93PENJING"
"""How an image begins. Its first byte is not in it again, so a search need not go back."""
VERSION = 1
DIGEST_BYTES = 8
LENGTH_BYTES = 4
CHECKSUM_BYTES = 4
RESET_CYCLES = 4


class Status(enum.IntEnum):
    """What an accelerator holds: no image yet, a part of one, a good one; or, refused, one that is
    damaged or cut off, or one for another shape."""

    EMPTY = 0
    LOADING = 1
    READY = 2
    DAMAGED = 3
    MISMATCHED = 4


class _State(enum.Enum):
    """What the next byte of an image is."""

    MAGIC = 0
    HEAD = 1
    BODY = 2
    CHECKSUM = 3
    SETTLE = 4
    REFUSED = 5


class Loader(Block):
    """Images out of bytes, symbols into memories: ``status`` tells what has become of the last one.

    An image is `MAGIC`, a byte `VERSION`, the digest of the shape that it is for, the length of its
    body, the body (sections as `HuffmanDecoder` takes them), and the CRC-32 of all before; numbers
    are little-endian. It takes a byte a cycle while the decoder does. All bytes between images are
    damage. The magic begins a new image wherever it stands, so that one that was cut off is given
    up.

    Parameters
    ----------
    digest : of the shape, DIGEST_BYTES.
    symbols : of all memories together.
    memories : how many there are.
    technology : supplies the decoder's table.

    Members
    -------
    load : stream of bytes.
    permit : In(1), memories may change: nothing comes in while it is 0.
    fill : Out, the stream `FILL`, to the first of the memories.
    status : Out(Status).
    reset : Out(1), before an image may become good: what has begun with other words in the memories
        must begin anew.
    """

    def __init__(self, digest: bytes, *, symbols: int, memories: int, technology: Technology
                 ) -> None:
        at_least(1, symbols=symbols, memories=memories)
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"digest must have {DIGEST_BYTES} bytes, not {len(digest)}")
        self._digest = digest
        self._symbols = symbols
        self._memories = memories
        self._technology = technology
        super().__init__({"load": In(stream.Signature(8)), "permit": In(1), "fill": Out(FILL),
                          "status": Out(Status, init=Status.EMPTY), "reset": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32(crc32(MAGIC))
        m.submodules.decoder = decoder = HuffmanDecoder(1, self._technology)
        head = bytes([VERSION]) + self._digest
        state, take, octet = Signal(_State), Signal(), self.load.payload
        count, same = Signal(range(len(head) + LENGTH_BYTES)), Signal()
        length = Signal(8 * LENGTH_BYTES)
        # A decoder never waits for memories, so what has come in is through after so many cycles:
        # it takes one a bit, a memory one to pass a symbol on, and one more to write its own word.
        settled = decoder.capacity + 8 + DECODER_LATENCY + self._memories + 3 + RESET_CYCLES
        wait = Signal(range(settled + 1))
        begins, follows = self._magic(m, take)
        is_body = state == _State.BODY
        whole = self._fill(m, decoder, begins)
        m.d.comb += [
            self.load.ready.eq(self.permit & (state != _State.SETTLE)
                               & (decoder.i.ready | ~decoder.i.valid | ~is_body)),
            take.eq(self.load.valid & self.load.ready),
            crc.start.eq(begins), crc.take.eq(take), crc.octet.eq(octet),
        ]
        # A byte waits in front of the decoder, whose bits go round in a cycle as it is.
        with m.If(decoder.restart):
            m.d.sync += decoder.i.valid.eq(0)
        with m.Elif(decoder.i.ready | ~decoder.i.valid):
            m.d.sync += [decoder.i.valid.eq(take & is_body), decoder.i.payload.eq(octet)]

        def refuse(why: Status) -> list[Statement]:
            return [state.eq(_State.REFUSED), self.status.eq(why)]

        with m.Switch(state):
            with m.Case(_State.MAGIC), m.If(take):
                m.d.sync += self.status.eq(Status.LOADING)
                with m.If(~follows):
                    m.d.sync += refuse(Status.DAMAGED)
            with m.Case(_State.HEAD), m.If(take):
                wanted = Array(Const(value, 8) for value in head)[count]
                m.d.sync += [count.eq(count + 1), length.eq(Cat(length, octet)[8:])]
                with m.If((count < len(head)) & (octet != wanted)):
                    m.d.sync += same.eq(0)
                with m.If(count == len(head) + LENGTH_BYTES - 1):
                    m.d.sync += [state.eq(_State.BODY), count.eq(0)]
                    with m.If(~same):
                        m.d.sync += refuse(Status.MISMATCHED)
            with m.Case(_State.BODY), m.If(take):
                m.d.sync += length.eq(length - 1)
                with m.If(length == 1):
                    m.d.sync += state.eq(_State.CHECKSUM)
            with m.Case(_State.CHECKSUM), m.If(take):
                m.d.sync += count.eq(count + 1)
                with m.If(count == CHECKSUM_BYTES - 1):
                    m.d.sync += [state.eq(_State.SETTLE), wait.eq(settled)]
            with m.Case(_State.SETTLE):
                m.d.sync += [wait.eq(wait - 1), self.reset.eq((wait <= RESET_CYCLES) & (wait > 0))]
                with m.If(wait == 0):
                    m.d.sync += refuse(Status.DAMAGED)
                    with m.If((crc.crc == CRC_RESIDUE) & decoder.between & whole):
                        m.d.sync += [state.eq(_State.MAGIC), self.status.eq(Status.READY)]
        with m.If(begins):
            m.d.sync += [state.eq(_State.HEAD), count.eq(0), same.eq(1),
                         self.status.eq(Status.LOADING)]
        return m

    def _magic(self, m: Module, take: Value) -> tuple[Signal, Signal]:
        """Whether the byte that is taken ends the magic, and whether it is the next one of it."""
        matched = Signal(range(len(MAGIC)))
        begins, follows = Signal(), Signal()
        octet = self.load.payload
        m.d.comb += [follows.eq(octet == Array(Const(value, 8) for value in MAGIC)[matched]),
                     begins.eq(take & follows & (matched == len(MAGIC) - 1))]
        with m.If(begins):
            m.d.sync += matched.eq(0)
        with m.Elif(take):
            m.d.sync += matched.eq(Mux(follows, matched + 1, octet == MAGIC[0]))
        return begins, follows

    def _fill(self, m: Module, decoder: HuffmanDecoder, begins: Signal) -> Signal:
        """Give the decoder's symbols to the memories; whether there were as many as they take."""
        left, excess, restart = Signal(range(self._symbols + 1)), Signal(), Signal()
        whole = Signal()
        # A cycle late, since the bytes of a head are not for the decoder; a symbol that comes out
        # just then is of the image before.
        m.d.sync += restart.eq(begins)
        m.d.comb += [decoder.restart.eq(restart), decoder.o.ready.eq(1),
                     self.fill.valid.eq(decoder.o.valid | restart),
                     self.fill.p.symbol.eq(decoder.o.p.data), self.fill.p.restart.eq(restart),
                     whole.eq((left == 0) & ~excess)]
        with m.If(restart):
            m.d.sync += [left.eq(self._symbols), excess.eq(0)]
        with m.Elif(decoder.o.valid):
            m.d.sync += [left.eq(Mux(left == 0, 0, left - 1)), excess.eq(excess | (left == 0))]
        return whole
