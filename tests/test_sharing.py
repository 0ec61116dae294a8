"""Weight sharing: the optimum, by comparison with every choice of centroids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.fixed_point import quantize
from penjing.compiler.compress.sharing import share, shared
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.floats import FloatClamp, FloatConvolution, FloatDense, FloatNetwork

RNG = np.random.default_rng


def least_error(weights: np.ndarray, codes: int, bits: int) -> float:
    """The least squared error of any codebook, tried one by one."""
    used = weights[weights != 0]
    high = (1 << bits - 1) - 1
    grid = [value for value in range(-high, high + 1) if value]
    first = int(np.floor(np.log2(high / np.abs(used).max())))
    books = itertools.combinations(grid, min(codes - int(used.size < weights.size), len(grid)))
    return min(float((np.abs(used[:, None] - np.array(book) * 2.0 ** -fraction).min(1) ** 2).sum())
               for book in books for fraction in range(first, first + 3))


@pytest.mark.parametrize(("codes", "bits", "zeros"), [(2, 4, 0.5), (3, 4, 0.5), (3, 4, 0.0),
                                                      (4, 4, 0.9), (5, 3, 0.5), (9, 3, 0.2)])
def test_no_codebook_is_better(codes: int, bits: int, zeros: float) -> None:
    for seed in range(5):
        rng = RNG(seed)
        weights = rng.normal(0.1, 1, (6, 2, 10)) * (rng.random((6, 2, 10)) >= zeros)
        made = shared(weights, codes, bits)
        assert np.array_equal(made == 0, weights == 0)
        assert len(np.unique(made)) <= codes
        error = float(((made - weights) ** 2).sum())
        assert error == pytest.approx(least_error(weights, codes, bits), rel=1e-9)


def test_few_values_are_left_as_they_are() -> None:
    weights = np.array([[0.1, 0.0], [-0.3, 0.1]])
    assert shared(weights, 3) is weights
    assert shared(np.zeros((2, 2)), 2).any() == 0


@pytest.mark.parametrize(("codes", "bits", "what"), [(1, 8, "codes"), (257, 8, "codes"),
                                                     (16.0, 8, "codes"), (16, 9, "bits"),
                                                     (16, 1, "bits")])
def test_settings_out_of_range_are_named(codes: int, bits: int, what: str) -> None:
    with pytest.raises(PenjingError, match=f"weight sharing: {what} must be an integer"):
        shared(np.ones(4), codes, bits)


def test_fixed_point_keeps_what_is_shared() -> None:
    rng = RNG(1)
    floats = FloatNetwork((6, 6, 3), (
        FloatConvolution("conv", rng.normal(size=(8, 3, 3, 3)), rng.normal(size=8)),
        FloatClamp("relu", 0.0),
        FloatConvolution("deep", rng.normal(size=(8, 4, 4, 8)) * (rng.random((8, 4, 4, 8)) > 0.8),
                         rng.normal(size=8)),
        FloatDense("dense", rng.normal(size=(5, 8)) * 0.01, rng.normal(size=5))))
    small = share(floats, 16)
    network = quantize(small, rng.integers(0, 256, (32, 6, 6, 3), np.uint8), input_scale=1 / 256)
    layers = [layer for layer in network.layers if isinstance(layer, ir.MultiplyAccumulate)]
    for layer, original, given in zip(layers, (floats.layers[n] for n in (0, 2, 3)),
                                      (small.layers[n] for n in (0, 2, 3)), strict=True):
        reals = layer.weights.values * 2.0 ** -layer.weights.fraction
        assert np.array_equal(reals, given.weights)  # type: ignore[attr-defined]
        assert np.array_equal(reals == 0, original.weights == 0)  # type: ignore[attr-defined]
        assert len(layer.weights.codebook) <= 16
