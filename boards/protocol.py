"""The bytes on the serial link: one message format for both directions.

A message is, numbers little-endian:

    A5 5A | kind 1 | sequence 1 | length 4 | payload, length bytes | CRC-32 4

The checksum (CRC-32/ISO-HDLC, that of zlib) covers kind, sequence, length and payload. The host
asks, the board answers each request once and echoes its sequence byte:

    request           payload             answer             payload
    IMAGE     0x01    elements of a frame RESULT     0x81    elements of the result
    IDENTIFY  0x02    none                IDENTITY   0x82    an `Identity`
    LOAD      0x03    weights             LOADED     0x83    one byte, a `Status`
    anything                              ERROR      0xC3    one byte, a `Fault`

An element takes ceil(bits / 8) bytes of two's complement; elements travel in raster order (y, x,
channel). No kind equals A5, so a second A5 5A right after a first one starts a message.

The board hands an image on only after its checksum was right. It has room for one: from then until
its result has been sent, another image is answered by BUSY. A pause inside a message that is longer
than the board's time limit ends it (CUT). After any error the board hunts for the next A5 5A.

A board whose weights are loaded takes LOAD: an image of `penjing.compiler.image`, whose bytes go on
as they come, for it has a checksum of its own. As long as none is good, IMAGE is answered by EMPTY.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..compiler.ir import PenjingError, Tail, TensorType
from ..hdl.loader import Status

__all__ = ["CRC_BYTES", "CRC_INIT", "CRC_POLYNOMIAL", "CRC_RESIDUE", "HEADER_BYTES", "SYNC",
           "VERSION", "Decoder", "Fault", "Identity", "Kind", "Message", "Status", "decode_tensor",
           "element_bytes", "encode_tensor"]

SYNC = b"\xa5\x5a"
VERSION = 1
HEADER_BYTES = 8
"""Sync, kind, sequence and length."""
CRC_BYTES = 4
"""Bytes of the checksum."""
CRC_INIT = 0xFFFFFFFF
CRC_POLYNOMIAL = 0xEDB88320
"""Reversed: the register shifts right, the least significant bit first."""
CRC_RESIDUE = 0xDEBB20E3
"""What the register holds after a message whose checksum is right."""


class Kind(enum.IntEnum):
    """What a message is."""

    IMAGE = 0x01
    IDENTIFY = 0x02
    LOAD = 0x03
    RESULT = 0x81
    IDENTITY = 0x82
    LOADED = 0x83
    ERROR = 0xC3


class Fault(enum.IntEnum):
    """Why the board did not do what it was asked for."""

    CHECKSUM = 1
    LENGTH = 2
    KIND = 3
    CUT = 4
    BUSY = 5
    EMPTY = 6


@dataclass(frozen=True)
class Message:
    """One message; ``kind`` may be a number that is no `Kind`."""

    kind: int
    sequence: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line."""
        body = struct.pack("<BBI", self.kind, self.sequence, len(self.payload)) + self.payload
        return SYNC + body + struct.pack("<I", zlib.crc32(body))


class Decoder:
    """Finds the messages in a stream of bytes, whatever else the stream holds.

    A message that claims more than ``limit`` bytes of payload, or whose checksum is wrong, is taken
    for noise: the search goes on behind its first byte, so a good message inside it is still found.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = b""

    def feed(self, received: bytes) -> list[Message]:
        """The messages that ``received`` completes."""
        self._bytes += received
        messages: list[Message] = []
        while True:
            start = self._bytes.find(SYNC)
            if start < 0:
                self._bytes = self._bytes[-1:] if self._bytes[-1:] == SYNC[:1] else b""
                return messages
            self._bytes = self._bytes[start:]
            if len(self._bytes) < HEADER_BYTES:
                return messages
            kind, sequence, length = struct.unpack_from("<BBI", self._bytes, len(SYNC))
            end = HEADER_BYTES + length
            if length <= self._limit:
                if len(self._bytes) < end + CRC_BYTES:
                    return messages
                message = Message(kind, sequence, self._bytes[HEADER_BYTES:end])
                if self._bytes.startswith(message.encode()):
                    messages.append(message)
                    self._bytes = self._bytes[end + CRC_BYTES:]
                    continue
            self._bytes = self._bytes[1:]


@dataclass(frozen=True)
class Identity:
    """What a board tells about itself: the network's ``digest`` (8 bytes), and its two types.

    The network's ``tail`` is not sent: it is known to the host only.
    """

    digest: bytes
    input_type: TensorType
    output_type: TensorType
    tail: Tail | None = None

    _TENSOR = struct.Struct("<BBIII")

    def __post_init__(self) -> None:
        if len(self.digest) != 8:
            raise PenjingError(f"identity: the digest must have 8 bytes, not {len(self.digest)}; "
                               "take the first 8 of a longer one")

    @classmethod
    def size(cls) -> int:
        """Bytes of an encoded identity."""
        return 9 + 2 * cls._TENSOR.size

    def encode(self) -> bytes:
        """The payload of an IDENTITY message; fraction lengths are not sent."""
        tensors = b"".join(self._TENSOR.pack(t.bits, t.signed, *t.shape)
                           for t in (self.input_type, self.output_type))
        return bytes([VERSION]) + self.digest + tensors

    @classmethod
    def decode(cls, payload: bytes) -> Identity:
        """The inverse of `encode`, fraction lengths 0; raises `PenjingError` for anything else."""
        if len(payload) != cls.size() or payload[0] != VERSION:
            raise PenjingError("board: it speaks another version of the link; build its bitstream "
                               "with the Penjing that runs here")
        types = []
        for offset in (9, 9 + cls._TENSOR.size):
            bits, signed, *shape = cls._TENSOR.unpack_from(payload, offset)
            height, width, channels = shape
            types.append(TensorType((height, width, channels), bits, bool(signed)))
        return cls(payload[1:9], types[0], types[1])

    def matches(self, other: Identity) -> bool:
        """Whether both are of one network, fraction lengths not looked at."""
        return self.encode() == other.encode()


def element_bytes(tensor: TensorType) -> int:
    """Bytes that one element of ``tensor`` takes on the line."""
    return -(-tensor.bits // 8)


def encode_tensor(values: NDArray[np.integer], tensor: TensorType) -> bytes:
    """The payload that carries ``values``, integers of ``tensor.elements`` elements.

    Raises `PenjingError` where shape, kind or range do not fit ``tensor``.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise PenjingError(f"image: its elements are {values.dtype}; quantize them to integers")
    if values.shape not in (tensor.shape, (tensor.elements,)):
        raise PenjingError(f"image: its shape is {values.shape}; give {tensor.shape}")
    if values.min() < tensor.low or values.max() > tensor.high:
        raise PenjingError(f"image: its values reach from {values.min()} to {values.max()}; the "
                           f"network takes {tensor.low} to {tensor.high}")
    octets = values.astype("<i8").reshape(-1, 1).view(np.uint8)
    return octets[:, :element_bytes(tensor)].tobytes()


def decode_tensor(payload: bytes, tensor: TensorType) -> NDArray[np.int64]:
    """The integers that ``payload`` carries, in ``tensor.shape``; the inverse of `encode_tensor`.

    Raises `PenjingError` unless ``payload`` has exactly the bytes of ``tensor``.
    """
    width = element_bytes(tensor)
    if len(payload) != tensor.elements * width:
        raise PenjingError(f"board: a result of {len(payload)} bytes came, not of "
                           f"{tensor.elements * width}; is it another network?")
    octets = np.zeros((tensor.elements, 8), np.uint8)
    octets[:, :width] = np.frombuffer(payload, np.uint8).reshape(-1, width)
    values = octets.reshape(-1).view("<i8").astype(np.int64)
    if tensor.signed:
        values -= (values >> 8 * width - 1 & 1) << 8 * width
    return values.reshape(tensor.shape)
