"""Canonical Huffman codes of limited length, and the sections of symbols that are written in them.

A section tells its own code, so that whoever reads it needs no other; numbers are little-endian:

    count 4 | for each length from 1 to 15, how many symbols have it, 2 | these symbols, 1 each |
    the codes of ``count`` symbols, highest bit first | zeros up to a whole byte

The symbols with codes are listed by length and, of equal length, in ascending order. The code of
the first one is 0; each other is the code before it, plus one, with zeros behind it up to its own
length (D. S. Hirschberg and D. A. Lelewer, Efficient decoding of prefix codes, 1990).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_LENGTH", "SYMBOLS", "canonical", "code_lengths", "decoded", "encoded"]

MAX_LENGTH = 15
"""The longest code of a section."""
SYMBOLS = 256
"""A symbol is below that."""
_HEAD = struct.Struct(f"<I{MAX_LENGTH}H")


def code_lengths(counts: Sequence[int], limit: int = MAX_LENGTH) -> list[int]:
    """Bits of each symbol's code, at most ``limit``, for the fewest bits in all; 0 for no code.

    ``counts`` tells how often each symbol occurs; one that never does has no code. A single symbol
    has a code of one bit. Found by package-merge (L. L. Larmore and D. S. Hirschberg, A fast
    algorithm for optimal length-limited Huffman codes, 1990). Raises `ValueError` where there is no
    symbol, or too many for ``limit`` bits.
    """
    used = [symbol for symbol, count in enumerate(counts) if count]
    if not used or len(used) > 1 << limit:
        raise ValueError(f"symbols that occur must be 1 to {1 << limit} for codes of {limit} bits, "
                         f"not {len(used)}")
    lengths = [0] * len(counts)
    if len(used) == 1:
        lengths[used[0]] = 1
        return lengths
    # A coin for each symbol and each length; its worth halves with each bit, its weight does not.
    coins = sorted((counts[symbol], (symbol,)) for symbol in used)
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(limit):
        merged = sorted([*coins, *packages], key=lambda coin: coin[0])
        packages = [(low[0] + high[0], low[1] + high[1])
                    for low, high in zip(merged[::2], merged[1::2], strict=False)]
    for _, symbols in packages[:len(used) - 1]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def canonical(lengths: Sequence[int]) -> dict[int, int]:
    """The code of each symbol that has one, in the order in which a section lists them.

    Raises `ValueError` where ``lengths`` leave no room for all codes.
    """
    order = sorted((symbol for symbol, length in enumerate(lengths) if length),
                   key=lambda symbol: (lengths[symbol], symbol))
    codes = dict.fromkeys(order[:1], 0)
    for before, symbol in pairwise(order):
        codes[symbol] = codes[before] + 1 << lengths[symbol] - lengths[before]
    if any(code >> lengths[symbol] for symbol, code in codes.items()):
        raise ValueError("lengths must leave room for all codes")
    return codes


def encoded(symbols: NDArray[np.uint8], limit: int = MAX_LENGTH) -> bytes:
    """The section of ``symbols`` (n,), in codes of at most ``limit`` bits; see `code_lengths`."""
    lengths = code_lengths(np.bincount(symbols, minlength=SYMBOLS).tolist(), limit)
    codes = canonical(lengths)
    of_length = np.bincount(lengths, minlength=MAX_LENGTH + 1)[1:]
    # All codes at their left in a row of bits each; of a row, so many are taken.
    left = np.zeros(SYMBOLS, np.uint16)
    for symbol, code in codes.items():
        left[symbol] = code << MAX_LENGTH - lengths[symbol]
    places = np.arange(MAX_LENGTH)
    bits = left[symbols, None] >> (MAX_LENGTH - 1 - places).astype(np.uint16) & 1
    taken = bits[places < np.array(lengths)[symbols, None]]
    return (_HEAD.pack(len(symbols), *of_length.tolist()) + bytes(codes)
            + np.packbits(taken.astype(np.uint8)).tobytes())


def decoded(section: bytes) -> tuple[NDArray[np.uint8], int]:
    """The symbols of the section that ``section`` begins with, and how many bytes it takes.

    Raises `ValueError` where it is damaged or cut off.
    """
    if len(section) < _HEAD.size:
        raise ValueError("section must have a head")
    count, *of_length = _HEAD.unpack_from(section)
    start = _HEAD.size + sum(of_length)
    listed = section[_HEAD.size:start]
    lengths = [0] * SYMBOLS
    for symbol, length in zip(listed, np.repeat(np.arange(1, MAX_LENGTH + 1), of_length).tolist(),
                              strict=False):
        lengths[symbol] = length
    symbol_of = {(lengths[symbol], code): symbol for symbol, code in canonical(lengths).items()}
    if list(symbol_of.values()) != list(listed) or len(listed) < sum(of_length):
        raise ValueError("section must list its symbols in order")
    bits = iter(np.unpackbits(np.frombuffer(section, np.uint8)[start:]).tolist())
    symbols, used = np.zeros(count, np.uint8), 0
    for n in range(count):
        code, length = 0, 0
        while (length, code) not in symbol_of:
            bit = next(bits, None)
            if bit is None or length == MAX_LENGTH:
                raise ValueError(f"section must have codes of {count} symbols, not of {n}")
            code, length = 2 * code + bit, length + 1
        symbols[n] = symbol_of[length, code]
        used += length
    return symbols, start + -(-used // 8)
