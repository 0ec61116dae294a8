"""Pruning and sharing of integer networks: by hand, and what a zero point asks of the biases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.integers import prune, share
from penjing.compiler.ir import PenjingError, Weights
from penjing.sim import golden

ZERO_POINT = -3


def network(values: np.ndarray, multipliers: list[int] | None = None) -> ir.Network:
    """One dense layer, and a requantization with a multiplier for each output."""
    outputs, inputs = values.shape
    dense = ir.Dense("dense", "input", weights=Weights(values, 8),
                     bias=-ZERO_POINT * values.sum(1) + 7)
    layers: tuple[ir.Layer, ...] = (dense,)
    if multipliers is not None:
        layers += (ir.ScaleRequantize(
            "scale", "dense", np.array(multipliers) << 20, np.zeros(outputs, np.int64), 8, True),)
    return ir.Network("net", "input", ir.TensorType((1, 1, inputs), 8, True,
                                                    zero_point=ZERO_POINT), layers)


def weights(made: ir.Network) -> list[list[int]]:
    (layer,) = (layer for layer in made.layers if isinstance(layer, ir.Dense))
    return layer.weights.values.tolist()


def test_the_smallest_go_and_the_biases_follow_the_zero_point() -> None:
    made = prune(network(np.array([[1, -5, 3], [4, 2, -6]])), 0.5)
    assert weights(made) == [[0, -5, 0], [4, 0, -6]]
    x = np.array([10, 20, 30]).reshape(1, 1, 1, 3)
    # A real input is x + 3; biases are 7.
    assert golden.run(made, x).reshape(-1).tolist() == [-5 * 23 + 7, 4 * 13 - 6 * 33 + 7]


def test_magnitudes_are_compared_in_what_they_are_worth() -> None:
    values = np.array([[1, -5, 3], [4, 2, -6]])
    # The first output's weights are worth 8 times as much.
    made = prune(network(values, [8, 1]), 0.5)
    assert weights(made) == [[1, -5, 3], [0, 0, 0]]
    made = prune(network(values, [1, 8]), {"dense": 0.5})
    assert weights(made) == [[0, 0, 0], [4, 2, -6]]


def test_what_is_shared_has_the_least_error() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(-8, 8, (3, 4))
    values[0, 0] = 0
    made = np.array(weights(share(network(values), 4)))
    assert np.array_equal(made == 0, values == 0)
    assert len(np.unique(made)) <= 4
    used = values[values != 0]
    best = min(int((np.abs(used[:, None] - np.array(book)).min(1) ** 2).sum())
               for book in itertools.combinations([*range(-8, 0), *range(1, 9)], 3))
    assert int(((made - values) ** 2).sum()) == best


def test_shared_weights_leave_the_biases_right() -> None:
    values = np.random.default_rng(2).integers(-128, 128, (4, 30))
    made = share(network(values), 8)
    x = np.full((1, 1, 1, 30), ZERO_POINT)
    assert golden.run(made, x).reshape(-1).tolist() == [7] * 4


def test_few_values_stay_as_they_are() -> None:
    made = network(np.array([[-128, 0], [127, 0]]))
    assert share(made, 3) == made


def test_layers_may_differ_from_the_others() -> None:
    values = np.array([[1, -5, 3], [4, 2, -6]])
    net = network(values)
    assert prune(net, 0.5, {"dense": 0}) == net
    assert prune(net, 0, {"dense": 0.5}) == prune(net, 0.5)
    assert share(net, 2, {"dense": 6}) == net
    assert share(net, 6, {"dense": 4}) == share(net, 4)
    with pytest.raises(PenjingError, match="'other' is no layer with weights"):
        prune(net, 0.5, {"other": 0})


def test_the_other_layers_stay() -> None:
    made = network(np.array([[1, 2], [3, 4]]), [1, 1])
    after = prune(made, {})
    assert after == made
    assert prune(made, 0.5).layers[1] == made.layers[1]


@pytest.mark.parametrize(("ratios", "message"), [
    ({"dense": 1.0}, "layer dense: a ratio to prune must be at least 0 and below 1, not 1.0"),
    ({"other": 0.5}, "'other' is no layer with weights; name one of dense"),
    (0.99, "layer dense: none of its 4 weights would be left"),
])
def test_bad_ratios_are_named(ratios: float | dict[str, float], message: str) -> None:
    with pytest.raises(PenjingError, match=message):
        prune(network(np.array([[1, 2], [3, 4]])), ratios)


@pytest.mark.parametrize("codes", [1, 257, 2.5])
def test_bad_codes_are_named(codes: float) -> None:
    with pytest.raises(PenjingError, match="layer dense: codes must be an integer from 2 to 256"):
        share(network(np.array([[1, 2], [3, 4]])), codes)
