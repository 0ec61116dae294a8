"""Optimal Brain Surgeon by numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler.compress.surgeon import Normal, Removal, rounded
from penjing.compiler.load.floats import Floats

ALIKE = np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""The first two of three inputs are nearly the same; the last one is that of the bias."""


def normal(gram: Floats, weights: Floats) -> Normal:
    """That of outputs which ``weights`` make exactly."""
    return Normal(gram[None], weights @ gram, damping=0)


def error(sums: Normal, weights: Floats, wanted: Floats) -> float:
    """The mean squared error of ``weights`` where others are ``wanted``."""
    missing = weights - wanted
    return float(np.einsum("oi,ij,oj->", missing, sums.gram[0], missing))


def test_what_others_make_up_for_goes_first() -> None:
    """Taking out one of the alike costs 4 · (1 - 0.81) = 0.76, less than the 1 of the smallest."""
    weights = np.array([[2.0, 2.0, 1.0, 0.5]])
    found = Removal(normal(ALIKE, weights), weights).keep(2)
    np.testing.assert_allclose(found, [[0, 2 + 0.9 * 2, 1, 0.5]])
    # Of the two that are left, 3.8² is more than 1.
    np.testing.assert_allclose(Removal(normal(ALIKE, weights), weights).keep(1), [[0, 3.8, 0, 0.5]])


def test_outputs_share_what_is_left_but_none_is_empty() -> None:
    weights = np.array([[5.0, 0, 4.0, 0], [0.1, 0, 0.2, 0]])
    gram = np.eye(4)
    np.testing.assert_array_equal(Removal(normal(gram, weights), weights).keep(3) != 0,
                                  [[1, 0, 1, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(Removal(normal(gram, weights), weights, least=0).keep(3),
                                  [[5, 0, 4, 0], [0, 0, 0.2, 0]])
    np.testing.assert_array_equal(Removal(normal(gram, weights), weights, least=0).keep(2) != 0,
                                  [[1, 0, 1, 0], [0, 0, 0, 0]])


def test_groups_have_inputs_of_their_own() -> None:
    """Of the first group's inputs, which are alike, one makes up for the other; not of the second.
    """
    weights = np.array([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0], [2.0, 3.0]])
    grams = np.array([[[1, 0.9], [0.9, 1]], np.eye(2)])
    products = np.concatenate([weights[:2] @ grams[0], weights[2:] @ grams[1]])
    found = Removal(Normal(grams, products, free=0, damping=0), weights).keep(4)
    np.testing.assert_allclose(found, [[2.9, 0], [0, 2.9], [2, 0], [0, 3]])


def test_what_is_left_makes_up_for_roundings() -> None:
    """1.3 becomes 1, so the other one should be 1.45 + 0.9 · 0.3, which is nearer to 2."""
    weights = np.array([[1.3, 1.45, 0, 0.3]])
    found = rounded(normal(ALIKE, weights), weights, np.array([-1.0, 1, 2]))
    np.testing.assert_allclose(found, [[1, 2, 0, 0.3]])


def test_the_cheapest_rounding_comes_first() -> None:
    weights = np.array([[1.4, 1.1, 0, 0]])
    found = rounded(normal(ALIKE, weights), weights, np.array([1.0, 2]))
    # First 1.1, by 0.1; then 1.4 + 0.09 is still nearer to 1.
    np.testing.assert_allclose(found, [[1, 1, 0, 0]])
    np.testing.assert_allclose(rounded(normal(ALIKE, weights), np.array([[1.4, 1.1, 0, 0.0]]),
                                       np.array([1.0, 1.45, 2]))[0, 0], 1.45)


def test_biases_move_but_are_not_rounded() -> None:
    """An input that is always 1 is the bias: it takes all of what is taken out."""
    gram = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1.0]]) + np.diag([1e-9, 0, 0])
    weights = np.array([[0.5, 3.0, 0.25]])
    np.testing.assert_allclose(Removal(normal(gram, weights), weights).keep(1), [[0, 3, 0.75]],
                               atol=1e-6)
    np.testing.assert_allclose(rounded(normal(gram, weights), weights, np.array([1.0, 3])),
                               [[1, 3, -0.25]], atol=1e-6)


def test_damping_holds_on_to_what_was() -> None:
    """Where the inputs say nothing, weights stay."""
    gram = np.diag([1.0, 0, 1])
    found = Removal(Normal(gram[None], np.zeros((1, 3)), damping=1e-3),
                    np.array([[4.0, 3.0, 0]])).keep(2)
    assert found[0, 1] == pytest.approx(3)
    assert found[0, 0] == pytest.approx(0, abs=0.01)


def test_inputs_that_are_always_0_are_no_trouble() -> None:
    gram = np.diag([0.0, 0, 1])
    found = Removal(Normal(gram[None], np.array([[0, 0, 5.0]])), np.array([[4.0, 3, 5]])).keep(1)
    np.testing.assert_allclose(found, [[4, 0, 5]], rtol=1e-3)


@pytest.mark.parametrize("count", [5, 9, 14])
def test_it_beats_the_smallest_weights(count: int) -> None:
    rng = np.random.default_rng(count)
    x = np.hstack([rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), np.ones((200, 1))])
    weights = rng.normal(size=(3, 7))
    sums = normal(x.T @ x / 200, weights)
    found = Removal(sums, weights).keep(count)
    assert np.count_nonzero(found[:, :-1]) == count
    limit = np.sort(np.abs(weights[:, :-1]).ravel())[-count]
    smallest = np.where(np.abs(weights) >= limit, weights, 0)
    smallest[:, -1] = weights[:, -1]
    assert error(sums, found, weights) < error(sums, smallest, weights)
    # All that is left is as good as can be: the error's slope is 0.
    slope = (found - weights) @ sums.gram[0]
    np.testing.assert_allclose(slope[found != 0], 0, atol=1e-9)
    values = np.array([-2, -1, -0.5, 0.5, 1, 2])
    plain = np.where(found != 0, values[np.abs(found[..., None] - values).argmin(-1)], 0)
    plain[:, -1] = found[:, -1]
    assert error(sums, rounded(sums, found, values), weights) <= error(sums, plain, weights)
