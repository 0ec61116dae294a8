"""What compressed weights take, by numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.sizes import coded_bits, sizes, stored_bits
from penjing.compiler.ir import Codebook, Plain, RelativeIndex, Weights


def test_a_dense_layer_counts_its_values_and_biases() -> None:
    layer = ir.Dense("dense", "input", weights=Weights(np.array([[1, 2], [3, 1]]), 4),
                     bias=np.array([0, 1]))
    network = ir.Network("net", "input", ir.TensorType((1, 1, 2), 4, True), (layer,))
    (size,) = sizes(network)
    total = network.type_of("dense").bits
    assert (size.weights, size.nonzeros, size.float_bits) == (4, 4, 32 * 6)
    assert size.stored_bits == 4 * 4 + 2 * total
    # Values 1, 1, 2, 3 have codes of 1, 2 and 2 bits; with a table they are no shorter than 16.
    assert size.coded_bits == 1 + 16 + 2 * total


def test_a_codebook_counts_its_entries() -> None:
    values = np.array([[5] * 60 + [-7] * 20 + [1] * 20])
    coded = coded_bits(Weights(values, 4, encoding=Codebook()))
    # Codes of 1, 2 and 2 bits, their lengths, three entries of 4 bits.
    assert coded == 1 + (60 + 40 + 40 + 3 * 4) + 3 * 4


def test_gaps_values_and_flags_are_coded_each_by_itself() -> None:
    values = np.zeros((1, 256), np.int64)
    values[0, :100] = 3
    values[0, 105] = 3
    weights = Weights(values, 4, encoding=RelativeIndex(4, Plain()))
    # 101 flags. Gaps are 0 but for one of 5: a bit each, and lengths of 0 to 5. One value, a bit
    # each, and one length.
    assert coded_bits(weights) == 101 + (1 + 101 + 6 * 4) + (1 + 101 + 4)


def test_signs_and_three_values_are_stored_as_their_engines_do() -> None:
    assert stored_bits(Weights(np.array([[1, -1, 1]]), 8)) == 3
    assert stored_bits(Weights(np.array([[5, 0, -2]]), 8)) == 6
    assert stored_bits(Weights(np.array([[5, 1, -2]]), 8)) == 24


@pytest.mark.parametrize("seed", range(3))
def test_the_code_is_never_far_above_the_entropy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.geometric(0.5, 4000).clip(max=8)[None]
    counts = np.bincount(values[0])
    share = counts[counts > 0] / 4000
    entropy = float(-(share * np.log2(share)).sum()) * 4000
    assert entropy <= coded_bits(Weights(values, 5)) <= 1.05 * entropy + 9 * 4 + 1
