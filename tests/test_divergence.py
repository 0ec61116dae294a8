"""Clipping by divergence, with numbers by hand and by another way."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.divergence import by_divergence, divergence
from penjing.compiler.compress.fixed_point import Mode, quantize
from penjing.compiler.compress.fractions import Grid
from penjing.compiler.load.floats import FloatDense, FloatNetwork
from test_fixed_point import cnn, images


def of(counts: list[int], levels: list[int], high: int) -> float:
    return divergence(np.array(counts), np.array(levels), high)


def test_by_hand() -> None:
    # P = (4, 2, 1, 1) / 8, Q = (3, 3, 1, 1) / 8
    assert of([4, 2, 1, 1], [0, 0, 1, 1], 1) == pytest.approx(
        math.log(4 / 3) / 2 + math.log(2 / 3) / 4)
    # Two are beyond: P = (4, 2 + 2) / 8, Q = (4, 2) / 6
    assert of([4, 2, 1, 1], [0, 1, 2, 3], 1) == pytest.approx(math.log(9 / 8) / 2)
    # An empty bin takes no part, so that nothing is spread.
    assert of([4, 0, 2], [0, 0, 1], 1) == 0
    # The last bin takes what is beyond, even if it was empty: P = (3, 2) / 5, Q = (2, 2) / 4
    assert of([3, 0, 2], [1, 1, 2], 1) == pytest.approx(
        3 / 5 * math.log(6 / 5) + 2 / 5 * math.log(4 / 5))
    assert of([0, 3], [0, 5], 1) == math.inf
    assert of([3], [2], 1) == math.inf


def slowly(values: np.ndarray, grid: Grid) -> float:
    """The same, value by value."""
    magnitudes = [abs(float(value)) for value in values.ravel() if value]
    bins, peak = len(magnitudes) // 8 + 1, max(magnitudes)
    counts: dict[int, int] = defaultdict(int)
    for magnitude in magnitudes:
        counts[min(int(magnitude / peak * bins), bins - 1)] += 1
    levels = {one: math.floor((one + 0.5) * peak / bins * 2 ** grid.fraction + 0.5)
              for one in range(bins)}
    kept = {one: counts[one] for one in range(bins) if levels[one] <= grid.high}
    last, beyond = max(kept), len(magnitudes) - sum(kept.values())
    if beyond:
        kept[last] = max(kept[last], 1)
    used = [one for one in kept if kept[one]]
    total = 0.0
    for one in used:
        same = [other for other in used if levels[other] == levels[one]]
        p = (counts[one] + (beyond if one == last else 0)) / len(magnitudes)
        q = sum(kept[other] for other in same) / len(same) / sum(kept.values())
        total += p * math.log(p / q)
    return total


@pytest.mark.parametrize("high", [1, 3, 7, 127])
def test_of_a_distribution(high: int) -> None:
    values = np.random.default_rng(high).standard_t(4, 1600)
    cost = by_divergence(values, Grid(-high - 1, high))
    start = math.floor(math.log2(high / np.abs(values).max()))
    for fraction in range(start, start + 4):
        assert cost(fraction) == pytest.approx(
            slowly(values, Grid(-high - 1, high, fraction)), rel=1e-9)
    assert cost(start - 1) == math.inf


def test_zeros_and_signs() -> None:
    values = np.random.default_rng(0).normal(size=400)
    grid = Grid(-4, 3)
    assert by_divergence(np.concatenate((values, np.zeros(900))), grid)(1) == by_divergence(
        values, grid)(1)
    assert by_divergence(-np.abs(values), grid)(1) == by_divergence(values, grid)(1)
    assert by_divergence(np.zeros(5), grid)(0) == 0


def test_a_rare_value_is_clipped() -> None:
    """Of 4 bits, one value of 8 among thousands within ±1 would leave ±1 to all others."""
    values = np.random.default_rng(3).uniform(-1, 1, (40, 100))
    values[0, 0] = 8.0
    floats = FloatNetwork((1, 1, 100), (FloatDense("d", values, np.zeros(40)),))
    found = {}
    for mode in (Mode.DYNAMIC, Mode.DIVERGENCE):
        (layer,) = quantize(floats, np.eye(100), 4, mode=mode).layers
        assert isinstance(layer, ir.Dense)
        found[mode] = layer.weights.fraction
    cost = by_divergence(values, Grid(-8, 7))
    assert found[Mode.DIVERGENCE] == min(range(-1, 4), key=cost)
    assert found[Mode.DIVERGENCE] > -1


def test_a_network() -> None:
    """At 4 bits, each layer's weights and map have the range that changes them least."""
    network = quantize(cnn(), images(), 4, 4, mode=Mode.DIVERGENCE)
    wanted = {layer.name: layer for layer in cnn().layers}
    for layer in network.layers:
        if isinstance(layer, ir.Convolution) and layer.name != "conv1":
            weights = wanted[layer.name].weights  # type: ignore[attr-defined]
            cost = by_divergence(weights, Grid(-8, 7))
            start = math.floor(math.log2(7 / np.abs(weights).max()))
            assert layer.weights.fraction == min(range(start, start + 4), key=cost)
