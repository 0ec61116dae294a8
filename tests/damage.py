"""Images of weights that are no good ones, drawn at random."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

from penjing.hdl.loader import DIGEST_BYTES, LENGTH_BYTES, MAGIC

BODY = len(MAGIC) + 1 + DIGEST_BYTES + LENGTH_BYTES
"""Where the body of an image begins."""
CHECKSUM = 4
"""The bytes behind it."""


def damaged_images(good: bytes, foreign: Sequence[bytes], count: int, generator: random.Random
                   ) -> list[bytes]:
    """So many of them; the last three have a right checksum, and too few or too many symbols."""
    images: list[bytes] = []
    while len(images) < count - 3:
        image = _damaged(good, foreign, generator)
        if good not in image:
            images.append(image)
    body = good[BODY:-CHECKSUM]
    return images + [_resealed(good, other) for other in (body * 2, body[:-40], body + bytes(60))]


def _damaged(good: bytes, foreign: Sequence[bytes], generator: random.Random) -> bytes:
    """Bits are wrong, bytes are missing, are too many or are swapped, or it is one for another
    shape. Few of them are none: then the good image is in it."""
    octets = bytearray(good)
    kind = generator.randrange(8)
    if kind < 4:
        for _ in range(generator.choice((1, 1, 1, 2, 3, 32))):
            octets[generator.randrange(len(octets))] ^= 1 << generator.randrange(8)
    elif kind == 4:
        del octets[generator.randrange(len(octets)):]
    elif kind == 5:
        start = generator.randrange(len(octets))
        del octets[start:start + generator.randrange(1, 9)]
    elif kind == 6:
        place = generator.randrange(len(octets))
        octets[place:place] = generator.randbytes(generator.randrange(1, 9))
    else:
        return generator.choice(foreign)
    return bytes(octets)


def _resealed(good: bytes, body: bytes) -> bytes:
    """The image of another ``body``, with the checksum of that."""
    octets = good[:BODY - LENGTH_BYTES] + struct.pack("<I", len(body)) + body
    return octets + struct.pack("<I", zlib.crc32(octets))
