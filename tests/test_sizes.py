"""What compressed weights take, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.sizes import coded_bits, sizes
from penjing.compiler.ir import Codebook, Plain, RelativeIndex, Weights


def test_a_dense_layer_counts_its_values_and_biases() -> None:
    layer = ir.Dense("dense", "input", weights=Weights(np.array([[1, 2], [3, 1]]), 4),
                     bias=np.array([0, 1]))
    network = ir.Network("net", "input", ir.TensorType((1, 1, 2), 4, True), (layer,))
    (size,) = sizes(network)
    total = network.type_of("dense").bits
    assert (size.weights, size.nonzeros, size.float_bits) == (4, 4, 32 * 6)
    assert size.stored_bits == 4 * 4 + 2 * total
    # Values 1, 1, 2, 3: codes of 1, 2 and 2 bits; the table has the lengths of 1, 2 and 3.
    assert size.coded_bits == 2 * 1 + 2 + 2 + 3 * 4 + 2 * total


def test_a_codebook_counts_its_entries() -> None:
    values = np.array([[5, 5, -7, 5]])
    coded = coded_bits(Weights(values, 4, encoding=Codebook()))
    # One bit each, 13 lengths from -7 to 5, two entries of 4 bits.
    assert coded == 4 + 13 * 4 + 2 * 4


def test_gaps_values_and_flags_are_coded_each_by_itself() -> None:
    values = np.zeros((1, 16), np.int64)
    values[0, [0, 1, 2, 3, 9]] = 3
    weights = Weights(values, 4, encoding=RelativeIndex(4, Plain()))
    # With gaps of 3 bits: 0, 0, 0, 0, 5, a bit each, and lengths of 0 to 5; five flags; one value,
    # a bit each, and one length. Gaps of 2 bits would need two fillings.
    assert coded_bits(weights) == 5 + (5 + 6 * 4) + (5 + 4)


@pytest.mark.parametrize("seed", range(3))
def test_the_code_is_never_far_above_the_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.geometric(0.5, 4000).clip(max=8)[None]
    counts = np.bincount(values[0])
    share = counts[counts > 0] / 4000
    entropy = float(-(share * np.log2(share)).sum()) * 4000
    assert entropy <= coded_bits(Weights(values, 5)) <= 1.05 * entropy + 9 * 4
