"""The serial link, from a byte on the line to the whole board with the real host driver."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Elaboratable, Module, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from penjing.boards.link import Crc32, Deframer, Framer
from penjing.boards.protocol import (
    Decoder,
    Fault,
    Identity,
    Kind,
    Message,
    decode_tensor,
    encode_tensor,
)
from penjing.boards.uart import UartReceiver, UartTransmitter, divider
from penjing.boards.wrapper import ElementsToOctets, OctetsToElements
from penjing.compiler.ir import PenjingError, TensorType
from penjing.hdl.tech import Generic
from penjing.sim.streams import Stalls, transfer

TIMEOUT = 400
"""Cycles of silence that end a message in these tests."""
GAP = 12
"""Cycles between two bytes where no UART paces them."""


def identity(i_type: TensorType, o_type: TensorType) -> Identity:
    return Identity(b"\x01\xa5\x5a\x00\xff\x80\x7f\x10", i_type, o_type)


PIXELS = TensorType((2, 3, 2), 8, False)
SCORES = TensorType((1, 1, 3), 12, True)


# ---- the protocol, pure Python


def test_message_is_what_the_documentation_says() -> None:
    body = b"\x01\x07\x03\x00\x00\x00abc"
    assert Message(Kind.IMAGE, 7, b"abc").encode() == (
        b"\xa5\x5a" + body + zlib.crc32(body).to_bytes(4, "little"))


def test_decoder_finds_messages_in_noise_at_any_chunking() -> None:
    generator = random.Random(1)
    messages = [Message(Kind.RESULT, n, generator.randbytes(n)) for n in range(20)]
    noise = [b"", b"\xa5", b"\xa5\x5a", b"\xa5\xa5", b"\xa5\x5a\x81\x00\x05\x00\x00\x00",
             Message(Kind.RESULT, 0, b"cut off").encode()[:-3]]
    line = b"".join(generator.choice(noise) + message.encode() for message in messages)
    line += bytes(50)
    for chunk in (1, 7, len(line)):
        decoder = Decoder(limit=32)
        found = [message for start in range(0, len(line), chunk)
                 for message in decoder.feed(line[start : start + chunk])]
        assert found == messages


@pytest.mark.parametrize("bits", [1, 4, 8, 9, 16, 17, 31, 48])
@pytest.mark.parametrize("is_signed", [False, True])
def test_tensor_survives_the_line(bits: int, is_signed: bool) -> None:
    tensor = TensorType((2, 3, 5), bits, is_signed)
    values = np.random.default_rng(bits).integers(tensor.low, tensor.high, tensor.shape,
                                                  endpoint=True)
    values[0, 0, :2] = tensor.low, tensor.high
    payload = encode_tensor(values, tensor)
    assert len(payload) == 30 * -(-bits // 8)
    assert np.array_equal(decode_tensor(payload, tensor), values)


def test_bad_images_are_refused() -> None:
    for values, pattern in (
        (np.zeros(PIXELS.shape), "quantize"),
        (np.zeros((3, 2, 2), np.int8), "shape"),
        (np.full(PIXELS.shape, 256), "0 to 255"),
        (np.full(PIXELS.shape, -1), "0 to 255"),
    ):
        with pytest.raises(PenjingError, match=pattern):
            encode_tensor(values, PIXELS)


def test_identity_round_trip() -> None:
    original = identity(PIXELS, SCORES)
    assert Identity.decode(original.encode()) == original
    with pytest.raises(PenjingError, match="version"):
        Identity.decode(original.encode()[:-1])


# ---- the blocks, in Amaranth's simulator


class Loop(wiring.Component):
    """Transmitter and receiver on one line."""

    def __init__(self, divider: int) -> None:
        self.transmitter = UartTransmitter(divider)
        self.receiver = UartReceiver(divider)
        super().__init__({"i": In(self.transmitter.i.signature.flip()),
                          "o": Out(self.receiver.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.transmitter, m.submodules.receiver = self.transmitter, self.receiver
        wiring.connect(m, wiring.flipped(self.i), self.transmitter.i)
        wiring.connect(m, self.receiver.o, wiring.flipped(self.o))
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx)
        return m


def simulate(dut: Elaboratable, testbench: Any, *monitors: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for monitor in monitors:
        simulator.add_testbench(monitor, background=True)
    simulator.add_testbench(testbench)
    simulator.run()


def monitor(source: Any, got: list[Any], pick: Any = None, ready: bool = True) -> Any:
    """A background testbench that takes all that comes out of the stream ``source``."""
    async def take(ctx: Any) -> None:
        if ready:
            ctx.set(source.ready, 1)
        async for _, _, valid, payload in ctx.tick().sample(source.valid, source.payload):
            if valid:
                got.append(pick(payload) if pick else payload)
    return take


def line_of(octets: Iterable[int]) -> Iterable[int]:
    """The line's levels, bit by bit."""
    for octet in octets:
        yield from (0, *((octet >> n & 1) for n in range(8)), 1)


@pytest.mark.parametrize("cycles", [4, 5, 8, 13])
def test_uart_carries_every_byte_back_to_back(cycles: int) -> None:
    loop = Loop(cycles)
    octets = random.Random(cycles).sample(range(256), 60)
    got: list[int] = []
    elapsed = 0

    async def send(ctx: Any) -> None:
        nonlocal elapsed
        for octet in octets:
            ctx.set(loop.i.payload, octet)
            ctx.set(loop.i.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(loop.i.ready)
                elapsed += 1
        ctx.set(loop.i.valid, 0)
        await ctx.tick().repeat(12 * cycles)

    simulate(loop, send, monitor(loop.o, got, ready=False))
    assert got == octets
    assert elapsed == (len(octets) - 1) * (10 * cycles + 1) + 1


@pytest.mark.parametrize("skew", [0.97, 1.03])
def test_receiver_bears_a_clock_that_is_off_and_spikes(skew: float) -> None:
    receiver = UartReceiver(40)
    octets = random.Random(2).randbytes(30)
    got: list[int] = []

    async def send(ctx: Any) -> None:
        owed = 0.0
        for level in line_of(octets):
            owed += 40 * skew
            for cycle in range(int(owed)):
                # One cycle out of twenty, the line has the wrong level.
                ctx.set(receiver.rx, level ^ (cycle % 20 == 10))
                await ctx.tick()
            owed -= int(owed)
        ctx.set(receiver.rx, 1)
        await ctx.tick().repeat(100)

    simulate(receiver, send, monitor(receiver.o, got, ready=False))
    assert bytes(got) == octets


def test_receiver_drops_broken_bytes() -> None:
    receiver = UartReceiver(8)
    got: list[int] = []
    stopless = [*line_of([0x55]), 1]
    stopless[9] = 0
    levels = [1, *line_of([0x11]), *stopless, *line_of([0x22]), *([0] * 35), 1, 1, *line_of([0x33])]

    async def send(ctx: Any) -> None:
        for level in levels:
            ctx.set(receiver.rx, level)
            await ctx.tick().repeat(8)
        ctx.set(receiver.rx, 0)  # too short for a start bit
        await ctx.tick().repeat(3)
        ctx.set(receiver.rx, 1)
        await ctx.tick().repeat(100)

    simulate(receiver, send, monitor(receiver.o, got, ready=False))
    assert got == [0x11, 0x22, 0x33]


def test_divider() -> None:
    assert divider(100.0, 1_000_000) == 100
    assert divider(19.875, 1_000_000) == 20
    for clock_mhz, baud in ((3.0, 1_000_000), (25.0, 3_000_000), (4.5, 1_000_000)):
        with pytest.raises(PenjingError, match="baud"):
            divider(clock_mhz, baud)


def test_crc_is_that_of_zlib() -> None:
    crc = Crc32()
    octets = random.Random(3).randbytes(20)

    async def check(ctx: Any) -> None:
        for start in (0, 7):  # the second time after a start
            ctx.set(crc.i.valid, 1)
            for octet in octets[start:]:
                ctx.set(crc.i.payload, octet)
                await ctx.tick().until(crc.i.ready)
            ctx.set(crc.i.valid, 0)
            await ctx.tick().until(crc.i.ready)
            assert ctx.get(crc.crc) ^ 0xFFFFFFFF == zlib.crc32(octets[start:])
            ctx.set(crc.start, 1)
            await ctx.tick()
            ctx.set(crc.start, 0)

    simulate(crc, check)


Replied = tuple[int, int, int]


def deframe(size: int, *pieces: bytes | int, done: bool = True) -> tuple[
        list[tuple[int, bytes]], list[Replied]]:
    """Images (sequence, payload) and replies (kind, sequence, fault) that come of ``pieces``.

    A piece is bytes, or a number of cycles of silence."""
    deframer = Deframer(size, TIMEOUT, Generic())
    images: list[tuple[int, bytes]] = []
    replies: list[Replied] = []
    octets: list[int] = []

    async def take(ctx: Any) -> None:
        ctx.set(deframer.o.ready, 1)
        async for _, _, valid, payload, sequence in ctx.tick().sample(
                deframer.o.valid, deframer.o.payload, deframer.sequence):
            if valid:
                octets.append(payload.data)
            if valid and payload.last:
                images.append((sequence, bytes(octets)))
                octets.clear()
            ctx.set(deframer.done, int(done and valid and payload.last))

    async def send(ctx: Any) -> None:
        for piece in pieces:
            if isinstance(piece, int):
                for _ in range(piece):
                    await ctx.tick()
                continue
            for octet in piece:
                ctx.set(deframer.i.payload, octet)
                ctx.set(deframer.i.valid, 1)
                await ctx.tick()
                ctx.set(deframer.i.valid, 0)
                await ctx.tick().repeat(GAP)
        await ctx.tick().repeat(size + 60)

    simulate(deframer, send, take, monitor(
        deframer.reply, replies, lambda p: (p.kind, p.sequence, p.fault * (p.kind == Kind.ERROR))))
    assert not octets
    return images, replies


def image(sequence: int, payload: bytes) -> bytes:
    return Message(Kind.IMAGE, sequence, payload).encode()


def test_deframer_passes_good_images_on() -> None:
    assert deframe(3, image(1, b"abc"), image(255, b"\xa5\x5a\x01")) == (
        [(1, b"abc"), (255, b"\xa5\x5a\x01")], [])
    assert deframe(1, image(1, b"a"), image(2, b"b")) == ([(1, b"a"), (2, b"b")], [])
    long = random.Random(4).randbytes(300)
    assert deframe(300, image(9, long)) == ([(9, long)], [])


def test_deframer_finds_an_image_behind_noise() -> None:
    for noise in (b"\x00\xff", b"\xa5", b"\xa5\xa5", b"\x5a\xa5", b"\xa5\x5a", b"\xa5\x5a\xa5"):
        assert deframe(3, noise, image(1, b"abc")) == ([(1, b"abc")], []), noise


def test_deframer_names_every_fault() -> None:
    good = image(7, b"abc")
    for damaged, fault in (
        (good[:-1] + bytes([good[-1] ^ 1]), Fault.CHECKSUM),
        (good[:9] + b"x" + good[10:], Fault.CHECKSUM),
        (good[:4] + b"\x04" + good[5:], Fault.LENGTH),
        (good[:7] + b"\x01" + good[8:], Fault.LENGTH),
        (image(7, b"abcd"), Fault.LENGTH),
        (Message(Kind.IDENTIFY, 7, b"x").encode(), Fault.LENGTH),
        (Message(Kind.RESULT, 7, b"abc").encode(), Fault.KIND),
    ):
        assert deframe(3, damaged, image(8, b"def")) == (
            [(8, b"def")], [(Kind.ERROR, 7, fault)]), damaged


def test_deframer_ends_a_message_that_is_cut_off() -> None:
    good = image(7, b"abc")
    for kept in range(1, len(good)):
        images, replies = deframe(3, good[:kept], TIMEOUT + 20, image(8, b"def"))
        assert images == [(8, b"def")]
        assert replies == ([(Kind.ERROR, 7, Fault.CUT)] if kept >= 4 else [])
    assert deframe(3, good[:9], TIMEOUT - 40, good[9:]) == ([(7, b"abc")], [])


def test_deframer_has_room_for_one_image() -> None:
    images, replies = deframe(3, image(1, b"abc"), image(2, b"def"),
                              Message(Kind.IDENTIFY, 3).encode(), done=False)
    assert images == [(1, b"abc")]
    assert replies == [(Kind.ERROR, 2, Fault.BUSY), (Kind.IDENTITY, 3, 0)]


def test_deframer_never_passes_a_damaged_image_on() -> None:
    generator = random.Random(5)
    good = image(7, b"abcdef")
    for _ in range(30):
        damaged = bytearray(good)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(2, len(good))] ^= generator.randint(1, 255)
        if damaged != good:
            images, _ = deframe(6, bytes(damaged), TIMEOUT + 20, image(8, b"ghijkl"))
            assert images == [(8, b"ghijkl")]


def test_framer_answers() -> None:
    framer = Framer(5, b"who I am")
    got: list[int] = []
    dones = 0

    async def drive(ctx: Any) -> None:
        ctx.set(framer.sequence, 0xA5)
        for offset in range(5):
            ctx.set(framer.i.p, {"data": 0xA5 + offset, "last": offset == 4})
            ctx.set(framer.i.valid, 1)
            await ctx.tick().until(framer.i.ready)
        ctx.set(framer.i.valid, 0)
        for kind, fault in ((Kind.IDENTITY, 0), (Kind.ERROR, Fault.BUSY)):
            ctx.set(framer.reply.p, {"kind": kind, "sequence": kind, "fault": fault})
            ctx.set(framer.reply.valid, 1)
            await ctx.tick().until(framer.reply.ready)
        ctx.set(framer.reply.valid, 0)
        await ctx.tick().repeat(300)

    async def take(ctx: Any) -> None:
        nonlocal dones
        pauses, held = random.Random(6), None
        while True:
            ready = pauses.random() < 0.3
            ctx.set(framer.o.ready, ready)
            _, _, valid, octet, done = await ctx.tick().sample(
                framer.o.valid, framer.o.payload, framer.done)
            assert held is None or (valid and octet == held), "a byte changed before it was taken"
            held = octet if valid and not ready else None
            dones += done
            if valid and ready:
                got.append(octet)

    simulate(framer, drive, take)
    assert bytes(got) == b"".join(message.encode() for message in (
        Message(Kind.RESULT, 0xA5, b"\xa5\xa6\xa7\xa8\xa9"),
        Message(Kind.IDENTITY, Kind.IDENTITY, b"who I am"),
        Message(Kind.ERROR, Kind.ERROR, bytes([Fault.BUSY]))))
    assert dones == 1


def octet_beats(payload: Sequence[int]) -> list[int]:
    return [octet | (n == len(payload) - 1) << 8 for n, octet in enumerate(payload)]


@pytest.mark.parametrize("stalls", Stalls)
@pytest.mark.parametrize(("bits", "is_signed"), [(1, False), (8, True), (12, True), (17, False)])
def test_elements_and_octets(bits: int, is_signed: bool, stalls: Stalls) -> None:
    tensor = TensorType((1, 2, 7), bits, is_signed)
    values = np.random.default_rng(bits).integers(tensor.low, tensor.high, 14, endpoint=True)
    values[:2] = tensor.low, tensor.high
    octets = octet_beats(encode_tensor(values, tensor))
    elements = [int(v) & (1 << bits) - 1 | (n == 13) << bits for n, v in enumerate(values)]
    shape = signed(bits) if is_signed else unsigned(bits)
    for block, inputs, outputs in ((OctetsToElements(shape), octets, elements),
                                   (ElementsToOctets(shape), elements, octets)):
        got, times = transfer(block, inputs, len(outputs), stalls=stalls)
        assert got == outputs
        if stalls is Stalls.NONE:
            assert times[-1] - times[0] == len(octets) - len(octets) // len(outputs)
