# amaranth: UnusedElaboratable=no
"""Huffman codes: optimal under every limit, canonical, and the block that decodes them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from penjing.compiler.huffman import (
    MAX_LENGTH,
    SYMBOLS,
    canonical,
    code_lengths,
    decoded,
    encoded,
)
from penjing.hdl.huffman import DECODER_LATENCY, HuffmanDecoder
from penjing.hdl.tech import Ecp5, Generic
from penjing.sim.streams import Stalls, transfer, transfers

FIBONACCI = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181]
"""Without a limit, the longest of their codes has 18 bits."""


def fewest_bits(counts: list[int], limit: int) -> int:
    """By trying all lengths that leave room for all codes."""
    used = [count for count in counts if count]
    return min(sum(count * length for count, length in zip(used, lengths, strict=True))
               for lengths in itertools.product(range(1, limit + 1), repeat=len(used))
               if sum(2 ** (limit - length) for length in lengths) <= 2 ** limit)


def cost(counts: list[int], lengths: list[int]) -> int:
    return sum(count * length for count, length in zip(counts, lengths, strict=True))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("symbols", [1, 2, 3, 4, 5, 6])
def test_lengths_are_optimal(symbols: int, limit: int) -> None:
    rng = np.random.default_rng(10 * symbols + limit)
    if symbols > 1 << limit:
        with pytest.raises(ValueError, match=rf"^symbols that occur must be 1 to {1 << limit} for "
                                             rf"codes of {limit} bits, not {symbols}$"):
            code_lengths([1] * symbols, limit)
        return
    draws = [rng.integers(0, 9, symbols), rng.integers(1, 1000, symbols), [1] * symbols,
             [2 ** n for n in range(symbols)], FIBONACCI[:symbols]]
    for counts in ([int(count) for count in draw] for draw in draws if any(draw)):
        lengths = code_lengths(counts, limit)
        assert max(lengths) <= limit
        assert [length > 0 for length in lengths] == [count > 0 for count in counts]
        assert cost(counts, lengths) == fewest_bits(counts, limit), counts


def test_no_symbol_has_no_code() -> None:
    with pytest.raises(ValueError, match=r"must be 1 to 8 for codes of 3 bits, not 0$"):
        code_lengths([0, 0], 3)


@pytest.mark.parametrize("limit", [6, 8, 12, 15, 18])
def test_a_longer_limit_costs_no_more(limit: int) -> None:
    lengths = code_lengths(FIBONACCI, limit)
    assert max(lengths) == limit
    assert sum(2.0 ** -length for length in lengths) == 1
    others = [cost(FIBONACCI, code_lengths(FIBONACCI, other)) for other in (limit - 1, limit, 18)]
    assert others[0] >= others[1] >= others[2]


def test_codes_are_canonical() -> None:
    assert canonical([2, 1, 3, 3]) == {1: 0b0, 0: 0b10, 2: 0b110, 3: 0b111}
    assert canonical([0, 4, 0, 2]) == {3: 0b00, 1: 0b0100}
    with pytest.raises(ValueError, match=r"^lengths must leave room for all codes$"):
        canonical([1, 1, 2])


@pytest.mark.parametrize("seed", range(12))
def test_an_oracle_agrees(seed: int) -> None:
    """`bitarray` finds codes of the same cost, and reads the codes of this module."""
    bitarray = pytest.importorskip("bitarray")
    util = pytest.importorskip("bitarray.util")
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 1 << int(rng.integers(1, 12)), int(rng.integers(3, 257))).tolist()
    counts[0] = 1
    counts[1] = 2
    lengths = code_lengths(counts)
    theirs, of_length, _ = util.canonical_huffman(
        {symbol: count for symbol, count in enumerate(counts) if count})
    if len(of_length) <= MAX_LENGTH + 1:
        assert cost(counts, lengths) == sum(
            count * len(theirs[symbol]) for symbol, count in enumerate(counts) if count)
    symbols = rng.choice(np.flatnonzero(counts), 500)
    codes = canonical(lengths)
    bits = bitarray.bitarray()
    for symbol in symbols.tolist():
        bits += util.int2ba(codes[symbol], lengths[symbol])
    of_length = [lengths.count(length) if length else 0 for length in range(MAX_LENGTH + 1)]
    assert list(util.canonical_decode(bits, of_length, list(codes))) == symbols.tolist()


def drawn(seed: int) -> np.ndarray:
    """Symbols of one of many distributions."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 400))
    kind = seed % 5
    if kind == 0:
        return np.full(size, rng.integers(SYMBOLS), np.uint8)
    if kind == 1:
        return rng.integers(0, SYMBOLS, size).astype(np.uint8)
    if kind == 2:
        return np.minimum(rng.geometric(0.4, size) - 1, SYMBOLS - 1).astype(np.uint8)
    if kind == 3:
        return np.where(rng.random(size) < 0.9, 0, rng.integers(0, 16, size)).astype(np.uint8)
    return np.repeat(np.arange(12), FIBONACCI[:12]).astype(np.uint8)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("limit", [8, 11, 15])
def test_sections_are_read_back(seed: int, limit: int) -> None:
    symbols = drawn(seed)
    section = encoded(symbols, limit)
    read, used = decoded(section + b"\xff\x00")
    assert used == len(section)
    assert read.tolist() == symbols.tolist()
    entropy = -sum(share * math.log2(share) for share in
                   np.unique(symbols, return_counts=True)[1] / len(symbols))
    head = 4 + 2 * MAX_LENGTH + len(set(symbols.tolist()))
    assert len(section) >= head + entropy * len(symbols) / 8
    assert len(section) <= head + 1 + len(symbols)
    for cut in {0, 3, 20, head - 1, len(section) - 1}:
        with pytest.raises(ValueError, match=r"^section must "):
            decoded(section[:cut])


def beats_of(octets: bytes, lanes: int) -> list[int]:
    """Payloads of so many bytes each, with zeros behind the last one."""
    padded = octets + bytes(-len(octets) % lanes)
    return [int.from_bytes(padded[n:n + lanes], "little") for n in range(0, len(padded), lanes)]


def symbols_of(sections: list[np.ndarray]) -> list[int]:
    """Payloads that a decoder makes of ``sections``."""
    return [int(symbol) | (n == len(section) - 1) << 8
            for section in sections for n, symbol in enumerate(section)]


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("limit", [8, 15])
def test_the_decoder_reads_sections(lanes: int, limit: int) -> None:
    """Of all kinds, one after the other, so that each code replaces another."""
    sections = [drawn(seed) for seed in (4, 0, 2, 1, 5, 3, 7)]
    octets = b"".join(encoded(section, limit) for section in sections)
    wanted = symbols_of(sections)
    dut = HuffmanDecoder(lanes, Generic())
    for stalls, got, _ in transfers(dut, beats_of(octets, lanes), len(wanted), Stalls):
        assert got == wanted, stalls


@pytest.mark.parametrize("seed", range(10))
def test_a_symbol_a_cycle(seed: int) -> None:
    """With two bytes a beat, whatever the codes: after the first symbol there is no gap."""
    symbols = drawn(seed)
    if seed % 5 == 4:
        symbols = np.append(symbols, np.repeat([0, 11, 5], 40)).astype(np.uint8)  # long and short
    beats = beats_of(encoded(symbols), 2)
    _, times = transfer(HuffmanDecoder(2, Generic()), beats, len(symbols))
    assert np.unique(np.diff(times)).tolist() in ([1], [])


def test_the_latency_of_the_decoder() -> None:
    """From the byte with the code of the first symbol, after a head of a cycle a byte."""
    symbols = np.array([7, 7, 9], np.uint8)
    section = encoded(symbols)
    got, times = transfer(HuffmanDecoder(1, Generic()), list(section), 3)
    assert got == symbols_of([symbols])
    # The first beat moves in cycle 1.
    assert times[0] == len(section) + DECODER_LATENCY


def test_the_decoder_takes_one_or_two_bytes() -> None:
    with pytest.raises(ValueError, match=r"^octets must be 1 or 2, not 3$"):
        HuffmanDecoder(3, Ecp5())
