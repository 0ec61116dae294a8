"""TensorFlow Lite import against LiteRT's reference kernels: every value equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.sim import golden
from penjing.sim.softmax import Softmax

pytest.importorskip("ai_edge_litert")

from penjing.compiler.load import litert, tflite
from tflite_files import OPERATORS, READERS_OF_PADDING, WEIGHTED, Draw, Drawn, padded

SEEDS = range(30)


def frames(kind: ir.TensorType, rng: np.random.Generator, count: int = 24) -> ir.Integers:
    """Extreme inputs, then random ones."""
    x = rng.integers(kind.low, kind.high + 1, (count, *kind.shape))
    x[0], x[1], x[2] = kind.low, kind.high, kind.zero_point
    x[3] = np.where(rng.random(kind.shape) < 0.5, kind.low, kind.high)
    return x


def agree(path: Path, x: ir.Integers | None = None,
          rng: np.random.Generator | None = None) -> ir.Network:
    """Load the file and require that the golden model equals LiteRT in every value."""
    network = tflite.load(path, "net")
    x = frames(network.input_type, rng or np.random.default_rng(0)) if x is None else x
    logits, probabilities = litert.run(path, x)
    outputs = np.concatenate([golden.run(network, x[i:i + 64]) for i in range(0, len(x), 64)])
    np.testing.assert_array_equal(outputs, logits.reshape(outputs.shape))
    if probabilities is not None:
        scale, beta = network.output_type.scale, tflite.softmax_beta(path)
        assert scale is not None and beta is not None
        made = Softmax.of(scale, beta)(outputs)
        np.testing.assert_array_equal(made, probabilities.reshape(outputs.shape))
    return network


def check(draw: Draw, seed: int, tmp_path: Path) -> ir.Network:
    """`agree` on the file that ``draw`` makes."""
    file = Drawn(np.random.default_rng(seed))
    draw(file)
    return agree(file.write(tmp_path / "net.tflite"), rng=file.rng)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", OPERATORS)
def test_operator(draw: Draw, seed: int, tmp_path: Path) -> None:
    check(draw, seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", WEIGHTED)
def test_int4(draw: Callable[[Drawn, str], None], seed: int, tmp_path: Path) -> None:
    check(lambda file: draw(file, "INT4"), seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reader", READERS_OF_PADDING)
def test_padding(reader: str, seed: int, tmp_path: Path) -> None:
    check(lambda file: padded(file, reader), seed, tmp_path)
