"""Winograd's form of convolutions: the same integers, exact cycles and latency, and the choice."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import check
from networks import PLENTY, random_images, random_requantization
from penjing.compiler import ir, winograd
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.search import Candidate, Goal, search
from penjing.compiler.ir import Builder, Network, TensorType
from penjing.sim import golden

TILES = ir.WINOGRAD_TILES


def found(network: Network, cycles: int | None = None) -> Candidate:
    return search(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))


def convolved(seed: int, size: tuple[int, int], padding: tuple[int, int, int, int], *,
              behind: bool = True, residual: bool = False) -> Network:
    """A convolution of extreme weights, of an input with any zero point; maybe a requantization
    behind it, and maybe a branch beside it."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 5))
    kind = TensorType((*size, channels), 4, bool(rng.integers(2)))
    outputs = channels if residual else int(rng.integers(1, 5))
    values = rng.choice([-8, 7, 0, 3], (outputs, 3, 3, channels))
    values.flat[:3] = -8, 7, 3
    weights = ir.Weights(values, 4)
    net = Builder(kind)
    net.add(ir.Convolution("conv", "x", weights, rng.integers(-99, 99, outputs), padding=padding,
                           pad_value=int(rng.choice([kind.low, kind.high, 0]))))
    if residual:
        net.add(ir.Add("sum", "conv", "x"))
    if behind:
        net.add(random_requantization(rng, "scale", net.tail, net.type))
    return net.network()


@pytest.mark.parametrize("seed", range(int(__import__("os").environ.get("LO","0")), int(__import__("os").environ.get("HI","6"))))
def test_try(seed):
    rng = np.random.default_rng((7, seed))
    p = rng.integers(0, 3, 4)
    size = [int(rng.integers(max(1, 3 - a - b), 6)) for a, b in (p[:2], p[2:])]
    network = convolved(seed, tuple(size), tuple(p.tolist()), residual=tuple(p) == (1, 1, 1, 1))
    tile = TILES[seed % 2]
    form = winograd.rewritten(network, {"conv": tile})
    x = random_images(network.input_type, 4, seed)
    np.testing.assert_array_equal(golden.run(form, x), golden.run(network, x))
    fewest = max(np.prod(form.type_of(layer.name).shape[:2]) * (
        (3 if layer is form.layers[2] else 2) ** tile.count(2)) for layer in form.layers[:3])
    check(form, found(form, int(fewest * rng.uniform(1, 8)) + 8))
