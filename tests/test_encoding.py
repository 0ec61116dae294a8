"""How weights are stored changes what memory they take, and no value."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler import file, ir
from penjing.compiler.ir import Codebook, PenjingError, Plain, TensorType, Weights
from penjing.sim import golden


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
    assert weights.bits == 16
    assert weights.memory_bits == 320 * bits + count * 16
    book = Codebook()
    entries, indices = book.entries(weights.values), book.indices(weights.values)
    assert len(entries) == count and (np.diff(entries) > 0).all()
    assert indices.shape == weights.values.shape and indices.max() < 1 << bits
    assert np.array_equal(entries[indices], weights.values)


def test_plain_weights_store_themselves() -> None:
    weights = Weights(values(7), 16)
    assert weights.encoding == Plain()
    assert weights.memory_bits == 320 * weights.bits == 320 * 16
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
