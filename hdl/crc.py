"""The checksum of bytes that come one a cycle."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block

__all__ = ["CRC_INIT", "CRC_POLYNOMIAL", "CRC_RESIDUE", "Crc32", "crc32"]

CRC_INIT = 0xFFFFFFFF
"""What the register holds before the first byte."""
CRC_POLYNOMIAL = 0xEDB88320
"""Reversed: the register shifts right, the least significant bit first."""
CRC_RESIDUE = 0xDEBB20E3
"""What the register holds behind bytes whose last four are their checksum."""


def crc32(octets: bytes, register: int = CRC_INIT) -> int:
    """The register behind ``octets``, of which the inverse is their CRC-32/ISO-HDLC."""
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (CRC_POLYNOMIAL if register & 1 else 0)
    return register


class Crc32(Block):
    """CRC-32/ISO-HDLC, that of zlib: ``crc`` is the register behind the bytes, latency 1, one byte
    a cycle.

    Each bit of the register is the exclusive or of those bits of the register before it, and of the
    byte, that `crc32` says it follows from.

    Parameters
    ----------
    init : what ``start`` makes of the register; that of a message whose first bytes are known.

    Members
    -------
    start : In(1), makes the register ``init``; no byte counts in that cycle.
    take : In(1), a byte counts.
    octet : In(8).
    crc : Out(32), the register, not inverted.
    """

    def __init__(self, init: int = CRC_INIT) -> None:
        if not 0 <= init < 1 << 32:
            raise ValueError(f"init must be within range(2**32), not {init!r}")
        self._init = init
        super().__init__({"start": In(1), "take": In(1), "octet": In(8),
                          "crc": Out(32, init=init)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mixed = self.crc[:8] ^ self.octet
        # What each bit of the byte alone makes of an empty register: the whole is linear.
        columns = [crc32(bytes(1), 1 << n) for n in range(8)]
        folded = Cat(Cat(bit for bit, column in zip(mixed, columns, strict=True)
                         if column >> n & 1).xor() for n in range(32))
        with m.If(self.start):
            m.d.sync += self.crc.eq(self._init)
        with m.Elif(self.take):
            m.d.sync += self.crc.eq(self.crc >> 8 ^ folded)
        return m
