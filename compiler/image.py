"""The bytes that fill an accelerator's memories, as `penjing.hdl.loader` takes them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ..hdl.loader import MAGIC, VERSION
from .dataflow.filling import Filling
from .huffman import MAX_LENGTH, encoded

__all__ = ["image"]

LEAST_LIMIT = 8
"""Codes of so many bits can tell all symbols apart."""


def image(filling: Filling) -> bytes:
    """The image of ``filling``: a head, a section for each memory, and a checksum.

    The magic is in its head only. It would be in codes by accident; then other codes are taken.
    """
    for limit in range(MAX_LENGTH, LEAST_LIMIT - 1, -1):
        body = b"".join(encoded(np.frombuffer(symbols, np.uint8), limit)
                        for symbols in filling.memories)
        head = MAGIC + bytes([VERSION]) + filling.digest + struct.pack("<I", len(body))
        whole = head + body
        whole += struct.pack("<I", zlib.crc32(whole))
        if whole.rfind(MAGIC) == 0:
            break
    return whole
