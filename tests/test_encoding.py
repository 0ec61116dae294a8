"""How weights are stored changes what memory they take, and no value."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from choices import choices
from hypothesis import given, settings
from hypothesis import strategies as st
from penjing.compiler import file, ir
from penjing.compiler.ir import (
    Bitmap,
    BitmapWalk,
    Codebook,
    GapWalk,
    Integers,
    KernelList,
    PenjingError,
    Plain,
    RelativeIndex,
    Sparse,
    TensorType,
    ValueEncoding,
    Weights,
)
from penjing.sim import golden

SPARSE = (RelativeIndex, Bitmap, KernelList)


def values(count: int, shape: tuple[int, ...] = (4, 80)) -> np.ndarray:
    """An array of ``count`` different values, far apart and of both signs."""
    rng = np.random.default_rng(count)
    distinct = rng.choice(np.arange(-(1 << 15), 1 << 15), count, replace=False)
    chosen = rng.choice(distinct, shape)
    chosen.reshape(-1)[:count] = distinct
    return chosen


@pytest.mark.parametrize(("count", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5),
                                             (255, 8), (256, 8)])
def test_a_codebook_stores_indices(count: int, bits: int) -> None:
    weights = Weights(values(count), 16, encoding=Codebook())
    assert (weights.bits, weights.memory_bits) == (16, 320 * bits + count * 16)
    book = Codebook()
    entries, indices = book.entries(weights.values), book.indices(weights.values)
    assert len(entries) == count and (np.diff(entries) > 0).all()
    assert indices.shape == weights.values.shape and indices.max() < 1 << bits
    assert np.array_equal(entries[indices], weights.values)


def test_plain_weights_store_themselves() -> None:
    weights = Weights(values(7), 16)
    assert weights.encoding == Plain()
    assert weights.memory_bits == 320 * 16
    assert weights != Weights(values(7), 16, encoding=Codebook())


@pytest.mark.parametrize("count", [1, 257])
def test_a_codebook_has_limits(count: int) -> None:
    with pytest.raises(PenjingError, match=f"2 to 256 different values, not {count}; share"):
        Weights(values(count), 16, encoding=Codebook())


def test_an_encoding_is_one() -> None:
    with pytest.raises(PenjingError, match="weights: encoding must be an Encoding, not 'codebook'"):
        Weights(values(3), 16, encoding="codebook")  # type: ignore[arg-type]


def test_an_encoding_changes_no_value() -> None:
    def network(encoding: ir.Encoding) -> ir.Network:
        net = ir.Builder(TensorType((1, 1, 80), 8, True))
        net.add(ir.Dense("dense", "x", Weights(values(9), 16, encoding=encoding),
                         np.zeros(4, np.int64)))
        return net.network()

    plain, coded = network(Plain()), network(Codebook())
    x = np.random.default_rng(0).integers(-128, 128, (5, 1, 1, 80))
    assert np.array_equal(golden.run(plain, x), golden.run(coded, x))
    assert plain.output_type == coded.output_type
    assert plain != coded
    # Files of plain weights are as they were before there were encodings.
    assert b"encoding" not in file.to_bytes(plain)
    assert b"codebook" in file.to_bytes(coded)


class Memory:
    """Bits in order, as a program of any other language would read them."""

    def __init__(self) -> None:
        self.bits = ""
        self.position = 0

    def put(self, value: int, width: int) -> None:
        assert 0 <= value < 1 << width
        self.bits += f"{value:0{width}b}" if width else ""

    def take(self, width: int) -> int:
        taken = self.bits[self.position:self.position + width]
        self.position += width
        assert len(taken) == width
        return int(taken or "0", 2)


class Values:
    """How one weight is put into a memory and taken out of it, and the bits of what it needs."""

    def __init__(self, encoding: ValueEncoding, stored: Integers, bits: int) -> None:
        self.bits, self.table = bits, sorted({*stored.tolist()}) or [0]
        self.width = bits
        if isinstance(encoding, Codebook):
            assert encoding.entries(stored).tolist() == self.table
            self.width = next(n for n in range(9) if len(self.table) <= 2**n)
            self.codes = encoding.indices(stored).tolist()
            self.table_bits = len(self.table) * bits
        else:
            self.codes, self.table_bits = (stored % 2**bits).tolist(), 0
            self.table = [n - 2**bits * (n >= 2**bits / 2) for n in range(2**bits)]

    def take(self, memory: Memory) -> int:
        return self.table[memory.take(self.width)]


def gaps_in_memory(walk: GapWalk, gap_bits: int, values: Values) -> Memory:
    memory, run = Memory(), len(walk.values) // len(walk.gaps)
    for n, (last, gap) in enumerate(zip(walk.last.tolist(), walk.gaps.tolist(), strict=True)):
        memory.put(last, 1)
        memory.put(gap, gap_bits)
        for code in values.codes[n * run:(n + 1) * run]:
            memory.put(code, values.width)
    return memory


def rows_of_gaps(memory: Memory, shape: tuple[int, ...], gap_bits: int, values: Values,
                 slices: bool) -> Integers:
    """What a list of gaps, one by one or of whole slices, says of the weights."""
    outputs, taps, channels = shape
    pitch = next(2**n for n in range(30) if 2**n >= channels)
    rows = np.zeros((outputs, taps, pitch), np.int64)
    for output in range(outputs):
        place, last = -1, 0
        while not last:
            last = memory.take(1)
            place += memory.take(gap_bits) + 1
            if slices:
                rows[output, :, place] = [values.take(memory) for _ in range(taps)]
            else:
                rows[output, place // pitch, place % pitch] = values.take(memory)
    assert not rows[:, :, channels:].any()
    return rows[:, :, :channels]


def bitmap_in_memory(walk: BitmapWalk, segment: int, values: Values) -> tuple[Memory, Memory]:
    bitmap, weights = Memory(), Memory()
    for mask in walk.masks.reshape(-1).tolist():
        for n in range(segment):
            bitmap.put(mask >> n & 1, 1)
    for code in values.codes:
        weights.put(code, values.width)
    return bitmap, weights


def rows_of_bitmap(bitmap: Memory, weights: Memory, shape: tuple[int, ...], segment: int,
                   values: Values) -> Integers:
    outputs, taps, channels = shape
    pitch = next(2**n for n in range(30) if 2**n >= channels)
    rows = np.zeros((outputs, -(-taps * pitch // segment) * segment), np.int64)
    for output, place in np.ndindex(rows.shape):
        if bitmap.take(1):
            rows[output, place] = values.take(weights)
    assert not rows[:, taps * pitch:].any()
    split = rows[:, :taps * pitch].reshape(outputs, taps, pitch)
    assert not split[:, :, channels:].any()
    return split[:, :, :channels]


def check_memory(encoding: Sparse, rows: Integers, bits: int) -> None:
    """What memory holds means the ``rows``, and has as many bits as the encoding says."""
    encoding.check(rows)
    walk = encoding.walk(rows)
    values = Values(encoding.values, walk.stored, bits)
    if isinstance(encoding, Bitmap):
        assert isinstance(walk, BitmapWalk)
        memories = bitmap_in_memory(walk, encoding.segment, values)
        found = rows_of_bitmap(*memories, rows.shape, encoding.segment, values)
    else:
        assert isinstance(encoding, RelativeIndex | KernelList) and isinstance(walk, GapWalk)
        memories = (gaps_in_memory(walk, encoding.gap_bits, values),)
        found = rows_of_gaps(*memories, rows.shape, encoding.gap_bits, values,
                             isinstance(encoding, KernelList))
    assert np.array_equal(found, rows)
    assert all(memory.position == len(memory.bits) for memory in memories), "nothing is left over"
    used = sum(memory.position for memory in memories) + values.table_bits
    assert encoding.memory_bits(rows, bits) == used


def check_walk(encoding: Sparse, rows: Integers) -> None:
    """The entries add up to the ``rows``, in the order of places, or of slices and taps."""
    walk, (outputs, taps, channels) = encoding.walk(rows), rows.shape
    pitch = ir.pitch_of(channels)
    assert len(walk.lengths) == outputs and walk.lengths.min() >= 1
    assert walk.lengths.sum() == len(walk.places) == len(walk.values)
    found = np.zeros((outputs, taps * pitch), np.int64)
    owners = np.repeat(np.arange(outputs), walk.lengths)
    np.add.at(found, (owners, walk.places), walk.values)
    assert np.array_equal(found.reshape(outputs, taps, pitch)[:, :, :channels], rows)
    order = walk.places % pitch * taps + walk.places // pitch if isinstance(
        encoding, KernelList) else walk.places
    assert (np.diff(owners * (taps * pitch) + order) > 0).all(), "no place comes twice"


@st.composite
def sparse_rows(draw: Any) -> tuple[Integers, int]:
    """Weights of any density (outputs, taps, channels), some outputs empty, and their bits."""
    rng = draw(choices())
    shape = tuple(draw(st.integers(1, most)) for most in (5, 9, 40))
    bits = draw(st.integers(2, 16))
    few = draw(st.sampled_from([1, 2, 3, 16, 256]))
    values = rng.integers(-(1 << bits - 1), 1 << bits - 1, min(few, 1 << bits))
    rows = rng.choice(values, shape)
    density = draw(st.sampled_from([0, 0.01, 0.1, 0.5, 0.9, 1]))
    rows = rows * (rng.random(shape) < density) * (rng.random((shape[0], 1, 1)) < 0.8)
    if draw(st.booleans()):  # whole slices
        rows = rows * (rng.random((shape[0], 1, shape[2])) < density)
    return rows, bits


@given(sparse_rows(), st.sampled_from([Plain(), Codebook()]), st.integers(1, 16),
       st.sampled_from([8, 16, 32]))
@settings(deadline=None, max_examples=150, database=None)
def test_memory_means_the_weights(drawn: tuple[Integers, int], values: ValueEncoding,
                                  gap_bits: int, segment: int) -> None:
    rows, bits = drawn
    if isinstance(values, Codebook) and len(np.unique(rows)) > 255:
        return
    for encoding in (RelativeIndex(gap_bits, values), KernelList(gap_bits, values),
                     Bitmap(segment, values)):
        check_memory(encoding, rows, bits)
        check_walk(encoding, rows)
    cheapest = {cls: cls.best(rows, bits, values).memory_bits(rows, bits) for cls in SPARSE}
    for cls, choices_ in ((RelativeIndex, range(1, 17)), (KernelList, range(1, 17)),
                          (Bitmap, (8, 16, 32))):
        # Filling costs cycles: of all entries it may be one in 65, unless an output is empty.
        frugal = [n for n in choices_ if cls is Bitmap or n == 16 or filling(cls(n, values), rows)
                  * 64 <= len(cls(16, values).walk(rows).gaps)]
        assert cheapest[cls] == min(cls(n, values).memory_bits(rows, bits) for n in frugal)


def filling(encoding: RelativeIndex | KernelList, rows: Integers) -> int:
    """Entries that only fill gaps."""
    longest = dataclasses.replace(encoding, gap_bits=16)
    return len(encoding.walk(rows).gaps) - len(longest.walk(rows).gaps)


def one_output(places: dict[int, int], channels: int, taps: int = 1) -> Integers:
    rows = np.zeros((1, taps, channels), np.int64)
    for place, value in places.items():
        rows[0, place // channels, place % channels] = value
    return rows


def test_gaps_that_do_not_fit_are_filled() -> None:
    walk = RelativeIndex(2).walk(one_output({3: 5, 4: -1, 9: 2, 18: 7}, 20))
    assert walk.gaps.tolist() == [3, 0, 3, 0, 3, 3, 0]
    assert walk.places.tolist() == [3, 4, 8, 9, 13, 17, 18]
    assert walk.values.tolist() == [5, -1, 0, 2, 0, 0, 7]
    assert walk.last.tolist() == [False] * 6 + [True]
    assert walk.lengths.tolist() == [7]


def test_a_place_skips_to_the_next_pitch() -> None:
    """Three channels have a pitch of four; filling may be on the fourth."""
    walk = RelativeIndex(2).walk(one_output({0: 1, 5: 2}, 3, 2))
    assert walk.places.tolist() == [0, 4, 6] and walk.gaps.tolist() == [0, 3, 1]
    walk = RelativeIndex(1).walk(one_output({1: 1, 3: 2}, 3, 2))
    assert walk.places.tolist() == [1, 3, 4] and walk.values.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("encoding", "places"), [
    (RelativeIndex(3), [0]), (Bitmap(32), [0, 32]), (KernelList(2), [0, 16, 32, 48])])
def test_an_output_without_weights_has_filling(encoding: Sparse, places: list[int]) -> None:
    walk = encoding.walk(np.zeros((2, 4, 9), np.int64))
    assert walk.lengths.tolist() == [len(places)] * 2
    assert walk.places.tolist() == places * 2
    assert not walk.values.any()


def test_slices_are_stored_whole() -> None:
    rows = np.zeros((1, 2, 8), np.int64)
    rows[0, 1, 1], rows[0, 0, 7] = 3, -2
    walk = KernelList(2).walk(rows)
    assert walk.gaps.tolist() == [1, 3, 1] and walk.last.tolist() == [False, False, True]
    assert walk.places.tolist() == [1, 9, 5, 13, 7, 15]
    assert walk.values.tolist() == [0, 3, 0, 0, -2, 0]
    assert KernelList(2).memory_bits(rows, 5) == 3 * (1 + 2 + 2 * 5)
    # Of 0, 3 and -2 a code has two bits.
    assert KernelList(2, Codebook()).memory_bits(rows, 5) == 3 * (1 + 2 + 2 * 2) + 3 * 5


def test_empty_segments_are_filling() -> None:
    walk = Bitmap(8).walk(one_output({1: 4, 7: 5, 30: 6}, 32))
    assert walk.masks.tolist() == [[0b10000010, 0, 0, 0b01000000]]
    assert walk.places.tolist() == [1, 7, 8, 16, 30]
    assert walk.values.tolist() == [4, 5, 0, 0, 6] and walk.stored.tolist() == [4, 5, 6]


def test_a_table_of_one_entry_takes_no_bits_of_an_entry() -> None:
    rows = np.full((3, 1, 4), 7)
    assert RelativeIndex(1, Codebook()).memory_bits(rows, 8) == 12 * 2 + 8
    assert Bitmap(8, Codebook()).memory_bits(rows, 8) == 3 * 8 + 8
    with pytest.raises(PenjingError, match="holds 2 to 256 different values, not 1"):
        Codebook().check(rows)


def test_filling_takes_a_code() -> None:
    """256 different weights fill a table, so that there is no code for a gap that must be filled.
    """
    rows = np.zeros((1, 1, 1024), np.int64)
    rows[0, 0, ::4] = np.arange(1, 257)
    RelativeIndex(2, Codebook()).check(rows)
    Bitmap(8, Codebook()).check(rows)
    with pytest.raises(PenjingError, match="holds 1 to 256 different values, not 257; share"):
        RelativeIndex(1, Codebook()).check(rows)
    assert RelativeIndex.best(rows, 10, Codebook()).gap_bits == 2


@pytest.mark.parametrize(("shape", "rows"), [
    ((4, 3, 2, 5), (4, 6, 5)), ((4, 3, 2), (4, 6, 1)), ((4, 7), (4, 1, 7))])
def test_weights_are_rows(shape: tuple[int, ...], rows: tuple[int, ...]) -> None:
    weights = Weights(np.arange(np.prod(shape)).reshape(shape) % 7, 4, encoding=RelativeIndex(3))
    assert weights.rows.shape == rows
    assert np.array_equal(weights.rows.reshape(-1), weights.values.reshape(-1))
    assert weights.nonzeros == np.count_nonzero(weights.values)
    assert weights.memory_bits == RelativeIndex(3).memory_bits(weights.rows, 4)


@pytest.mark.parametrize(("make", "match"), [
    (lambda: RelativeIndex(0), "^weights: gap bits of the encoding relative must be .* not 0$"),
    (lambda: RelativeIndex(17), "from 1 to 16, not 17"),
    (lambda: KernelList(True), "^weights: gap bits of the encoding kernels .* not True$"),
    (lambda: Bitmap(64), "^weights: the segment of a bitmap must be one of 32, 16, 8, not 64$"),
    (lambda: Bitmap(8.0), "not 8.0"),
    (lambda: Bitmap(8, RelativeIndex(2)), "values of the encoding bitmap must be stored plain or "),
    (lambda: KernelList(8, None), "stored plain or by a codebook, not as None$")])
def test_encodings_that_cannot_be(make: Any, match: str) -> None:
    with pytest.raises(PenjingError, match=match):
        make()


def test_names_of_encodings() -> None:
    assert [encoding.name for encoding in (
        Plain(), Codebook(), RelativeIndex(3), RelativeIndex(3, Codebook()), Bitmap(8),
        KernelList(1, Codebook()))] == ["plain", "codebook", "relative", "relative+codebook",
                                        "bitmap", "kernels+codebook"]


def test_a_transposed_convolution_is_not_sparse() -> None:
    weights = Weights(np.eye(4, dtype=np.int64).reshape(2, 2, 2, 2), 4, encoding=Bitmap(8))
    with pytest.raises(PenjingError, match="layer up: weights of a transposed convolution cannot "
                                           "have the encoding bitmap; store them plain or by a"):
        ir.TransposedConvolution("up", "x", weights, np.zeros(2, np.int64))
