"""The encoding of each layer's weights: that of fewest bits, or the one asked for."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from networks import random_images
from penjing.compiler import ir
from penjing.compiler.encode import MAKERS, NAMES, encode, grouped
from penjing.compiler.ir import Builder, Codebook, Network, PenjingError, Plain, TensorType
from penjing.sim import golden


def sparse(shape: tuple[int, ...], density: float, values: int = 100, seed: int = 1
           ) -> ir.Weights:
    """Exactly so many weights of up to so many ``values`` are not 0."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    flat = np.zeros(size, np.int64)
    nonzeros = round(size * density)
    flat[:nonzeros] = 1 + rng.integers(0, values, nonzeros)
    return ir.Weights(rng.permutation(flat).reshape(shape), 9)


def pruned(shape: tuple[int, ...], n: int, m: int, values: int = 100) -> ir.Weights:
    """Of each ``m`` channels, ``n`` weights of up to so many ``values`` are not 0."""
    rng = np.random.default_rng(4)
    groups = *shape[:-1], -(-shape[-1] // m), m
    kept = np.argsort(rng.random(groups), -1) < n
    drawn = rng.integers(1, values + 1, groups) * kept
    return ir.Weights(drawn.reshape(*shape[:-1], -1)[..., :shape[-1]], 9)


def network(weights: ir.Weights) -> Network:
    net = Builder(TensorType((1, 1, weights.values.shape[1]), 8, True))
    net.add(ir.Dense("dense", "x", weights, np.zeros(len(weights.values), np.int64)))
    return net.network()


def encoding(found: Network) -> ir.Encoding:
    """That of the first layer with weights."""
    return next(layer.weights.encoding for layer in found.layers
                if isinstance(layer, ir.MultiplyAccumulate))


def automatic(weights: ir.Weights) -> ir.Encoding:
    """What a dense layer of ``weights`` gets without being asked."""
    return encoding(encode(network(weights), {}))


@pytest.mark.parametrize(("density", "values", "name"), [
    (0.02, 200, "relative"), (0.02, 4, "relative+codebook"), (0.3, 200, "bitmap"),
    (0.3, 4, "bitmap+codebook")])
def test_the_cheapest_is_taken(density: float, values: int, name: str) -> None:
    weights = sparse((40, 128), density, values)
    found = automatic(weights)
    assert found.name == name
    bits = {other: MAKERS[other](weights.rows, 9).memory_bits(weights.rows, 9)
            for other in MAKERS if other != "constant"}
    assert bits[name] == min(bits.values())


@pytest.mark.parametrize(("n", "values", "name"), [
    (2, 200, "2:4"), (2, 4, "2:4+codebook"), (1, 200, "1:4"), (1, 4, "1:4+codebook")])
def test_n_of_m_is_taken_where_it_fits(n: int, values: int, name: str) -> None:
    assert automatic(pruned((20, 128), n, 4, values)).name == name
    parted = automatic(pruned((20, 126), n, 4, values))
    assert not isinstance(parted, ir.NofM), "the last group is no whole one"
    dense = Codebook() if values == 4 else Plain()
    assert (parted == dense) is (n == 2), "half of them are too many for other encodings"


def test_n_of_m_alone_is_chosen_before_channels_go() -> None:
    assert encoding(grouped(network(pruned((20, 128), 2, 4, 200)))).name == "2:4"
    for density in (0.3, 1.0):
        assert encoding(grouped(network(sparse((20, 128), density, 200)))) == Plain()


def test_n_of_m_is_not_taken_where_it_cannot_be() -> None:
    weights = pruned((8, 3, 3, 8), 1, 4)
    net = Builder(TensorType((5, 5, 16), 8, True))
    net.add(ir.Convolution("conv", "x", weights, np.zeros(8, np.int64), groups=2))
    found = encoding(encode(net.network(), {}))
    assert found != Plain() and not isinstance(found, ir.NofM)
    with pytest.raises(PenjingError, match=r"^layer conv: weights of a convolution in groups "
                                           r"cannot have the encoding 1:4; store them plain or"):
        encode(net.network(), {"conv": "1:4"})


def test_slices_are_taken_where_they_are_whole() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(1, 200, (16, 3, 3, 32)) * (rng.random((16, 1, 1, 32)) < 0.1)
    net = Builder(TensorType((5, 5, 32), 8, True))
    net.add(ir.Convolution("conv", "x", ir.Weights(values, 9), np.zeros(16, np.int64)))
    found = encode(net.network(), {})
    assert encoding(found).name == "kernels"
    assert encoding(encode(found, {}, ("plain",))).name == "kernels", "it is encoded already"


def test_what_is_too_dense_or_small_stays() -> None:
    assert automatic(sparse((10, 100), 0.4)) != Plain()
    assert automatic(sparse((10, 100), 0.401)) == Plain()
    assert automatic(sparse((4, 16), 0.1)) != Plain()
    assert automatic(sparse((3, 21), 0.1)) == Plain(), "63 weights"


@pytest.mark.parametrize(("values", "name"), [(32, "codebook"), (33, "plain")])
def test_few_values_get_a_codebook_whatever_their_zeros(values: int, name: str) -> None:
    rows = 1 + np.arange(40 * 128).reshape(40, 128) % values
    assert automatic(ir.Weights(rows, 9)).name == name


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (4, 8), (8, 16)])
def test_half_of_the_channels_are_n_of_m(n: int, m: int) -> None:
    assert automatic(pruned((20, 128), n, m, 200)).name == f"{n}:{m}"


def test_weights_of_two_and_three_values_stay() -> None:
    rng = np.random.default_rng(3)
    assert automatic(ir.Weights(rng.choice([-1, 1], (10, 100)), 2)) == Plain()
    thin = rng.choice([-3, 0, 5], (10, 100), p=[0.05, 0.9, 0.05])
    assert automatic(ir.Weights(thin, 4)) == Plain()
    assert automatic(ir.Weights(np.zeros((10, 100), np.int64), 4)) == Plain()
    coded = ir.Weights(sparse((10, 100), 0.1, 5).values, 9, encoding=Codebook())
    assert automatic(coded) == Codebook(), "somebody has chosen it"


def test_encodings_that_cannot_be_are_not_taken() -> None:
    values = np.zeros((4, 1024), np.int64)
    values[:, ::8] = np.arange(1, 513).reshape(4, 128)
    found = automatic(ir.Weights(values, 12))
    assert found.name == "relative", "512 different ones are too many for a codebook"


def test_a_transposed_convolution_stays() -> None:
    net = Builder(TensorType((4, 4, 16), 8, True))
    weights = ir.Weights(np.pad(np.arange(1, 9).reshape(2, 2, 2, 1), ((0, 0),) * 3 + ((0, 15),)), 8)
    net.add(ir.TransposedConvolution("up", "x", weights, np.zeros(2, np.int64)))
    made = net.network()
    assert encode(made, {}) == made
    assert encoding(encode(made, {"up": "codebook"})) == Codebook()
    with pytest.raises(PenjingError, match=r"^layer up: weights of a transposed convolution cannot "
                                           r"have the encoding bitmap"):
        encode(made, {"up": "bitmap"})


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (3, 4), (5, 16), (7, 15)])
@pytest.mark.parametrize("suffix", ["", "+codebook"])
def test_n_of_m_can_be_asked_for(n: int, m: int, suffix: str) -> None:
    made = network(pruned((20, 30), n, m, 50))
    found = encode(made, {"dense": f"{n}:{m}{suffix}"})
    values = Codebook() if suffix else Plain()
    assert encoding(found) == ir.NofM(n, m, values)
    assert encoding(found).name == f"{n}:{m}{suffix}"
    images = random_images(made.input_type, 3, 0)
    assert np.array_equal(golden.run(made, images), golden.run(found, images))


@pytest.mark.parametrize("name", MAKERS)
def test_the_one_asked_for_is_taken(name: str) -> None:
    made = network(sparse((20, 30), 0.9, 50))
    found = encode(made, {"dense": name})
    assert encoding(found).name == name
    images = random_images(made.input_type, 3, 0)
    assert np.array_equal(golden.run(made, images), golden.run(found, images))


def test_plain_can_be_asked_for() -> None:
    coded = encode(network(sparse((20, 30), 0.1, 5)), {"dense": "codebook"})
    assert encode(coded, {"dense": "plain"}) == network(sparse((20, 30), 0.1, 5))


def test_what_is_not_asked_for_takes_the_fewest_bits() -> None:
    made = network(sparse((20, 30), 0.1))
    (layer,) = encode(made, {}).layers
    assert isinstance(layer, ir.Dense)
    taken = layer.weights.memory_bits
    for name in MAKERS:
        if name == "constant":  # it has no memory
            continue
        (other,) = encode(made, {"dense": name}).layers
        assert isinstance(other, ir.Dense) and taken <= other.weights.memory_bits
    assert taken < made.layers[0].weights.memory_bits


NONE = Builder(TensorType((2, 2, 2), 8, True))
NONE.add(ir.Clamp("clamp", "x", 0, 9))


@pytest.mark.parametrize(("made", "chosen", "match"), [
    (network(sparse((9, 9), 0.5)), {"dens": "plain"},
     "^encoding: 'dens' is no layer with weights; name one of dense$"),
    (NONE.network(), {"clamp": "plain"},
     "^encoding: 'clamp' is no layer with weights; the network has none$"),
    (network(sparse((9, 9), 0.5)), {"dense": "zip"},
     r"^layer dense: 'zip' is no encoding; .* relative, relative\+codebook, bitmap, bitmap\+code"),
    (network(sparse((9, 9), 0.5)), {"dense": "4:4"},
     "^layer dense: weights: n of m must be integers with 1 <= n < m <= 16, not 4 of 4$"),
    (network(sparse((9, 9), 0.5)), {"dense": "relative:17"},
     "^layer dense: weights: gap bits of the encoding relative must be an integer from 1 to 16, "),
    (network(sparse((9, 9), 0.5)), {"dense": "kernels:0+codebook"}, "from 1 to 16, not 0$"),
    (network(sparse((9, 9), 0.5)), {"dense": "2:17"}, "1 <= n < m <= 16, not 2 of 17$"),
    (network(sparse((9, 9), 0.5)), {"dense": "1:4"},
     "^layer dense: weights: 1 of 4 may differ from 0, but . do among the channels . to . of outp"),
    (network(ir.Weights(np.arange(300).reshape(3, 100), 12)), {"dense": "bitmap+codebook"},
     "^layer dense: weights: a codebook holds 1 to 256 different values, not 299; share values, "),
    (network(ir.Weights(np.full((3, 10), 4), 12)), {"dense": "codebook"},
     "^layer dense: weights: a codebook holds 2 to 256 different values, not 1; share values, or")])
def test_what_cannot_be_is_refused(made: Network, chosen: dict[str, str], match: str) -> None:
    with pytest.raises(PenjingError, match=match):
        encode(made, chosen)


@pytest.mark.parametrize("stem", ["relative", "kernels"])
def test_gaps_have_the_bits_that_are_asked_for(stem: str) -> None:
    made = network(sparse((20, 300), 0.03))
    best, = encode(made, {"dense": stem}).layers
    entries = {}
    for bits in (2, 5, 9):
        layer, = encode(made, {"dense": f"{stem}:{bits}+codebook"}).layers
        assert isinstance(layer, ir.Dense) and isinstance(best, ir.Dense)
        encoding = layer.weights.encoding
        assert isinstance(encoding, ir.RelativeIndex | ir.KernelList)
        assert (encoding.stem, encoding.gap_bits, encoding.values) == (stem, bits, ir.Codebook())
        walk = encoding.walk(layer.weights.rows)
        entries[bits] = len(walk.values)
        assert walk.values[walk.values != 0].tolist() == best.weights.rows[
            best.weights.rows != 0].tolist()
    assert entries[2] > entries[5] >= entries[9] >= np.count_nonzero(best.weights.values)


@pytest.mark.parametrize("name", ["2:", ":4", "2:4:8", "2:4+zip", "2:4+", "-2:4", "N:M", "²:4",
                                  "relative:", "relative:BITS", "relative:-2", "bitmap:8"])
def test_names_that_are_none(name: str) -> None:
    names = re.escape(', '.join(NAMES))
    with pytest.raises(PenjingError, match=f"^layer dense: {re.escape(repr(name))} is no encoding; "
                                           f"name one of {names}$"):
        encode(network(sparse((9, 9), 0.5)), {"dense": name})


def test_what_is_asked_for_of_one_layer_changes_no_other() -> None:
    net = Builder(TensorType((6, 6, 8), 8, True))
    values: Any = sparse((12, 3, 3, 8), 0.1).values
    net.add(ir.Convolution("conv", "x", ir.Weights(values, 9), np.zeros(12, np.int64)))
    net.add(ir.Clamp("clamp", "conv", 0, 99))
    net.add(ir.Depthwise("deep", "clamp", ir.Weights(values[:, :, :, 0], 9),
                         np.zeros(12, np.int64)))
    before = net.network()
    after = encode(before, {"deep": "bitmap"})
    conv, clamp, deep = after.layers
    assert isinstance(conv, ir.Convolution) and isinstance(deep, ir.Depthwise)
    assert deep.weights.encoding.name == "bitmap" and conv.weights.encoding.name == "relative"
    assert clamp is before.layers[1]
