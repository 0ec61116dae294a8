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
    """Transmitter and receiver on one line, which may be broken."""

    def __init__(self, divider: int) -> None:
        self.transmitter = UartTransmitter(divider)
        self.receiver = UartReceiver(divider)
        super().__init__({"i": Out(self.transmitter.i.signature).flip(),
                          "o": Out(self.receiver.o.signature), "damage": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules += [self.transmitter, self.receiver]
        wiring.connect(m, wiring.flipped(self.i), self.transmitter.i)
        wiring.connect(m, self.receiver.o, wiring.flipped(self.o))
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx ^ self.damage)
        return m
