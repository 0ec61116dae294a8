"""Layers that hold each other up, though each of them alone is fast enough."""

from __future__ import annotations

import numpy as np
from networks import PLENTY, check_cycles, random_images, run_network
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.search import Goal, schedule, search
from penjing.compiler.ir import Builder, Network, TensorType
from penjing.sim.streams import Stalls

CYCLES, WAITING = 256, 264
BUDGET = Budget(ECP5, PLENTY, PLENTY.dsps)


def sparse(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    """Weights a tenth of which are not 0, for engines that skip the others."""
    values = rng.integers(1, 15, shape) * (rng.random(shape) < 0.1)
    values.flat[0] = 1
    return ir.Weights(values, 8, encoding=ir.RelativeIndex(6, ir.Codebook()))


def tiles_before_a_dense_layer() -> Network:
    """Four tiles of a convolution, whose results a dense layer reads more slowly than they come."""
    rng = np.random.default_rng(2)
    grow = Builder(TensorType((8, 8, 14), 8, False))
    grow.add(ir.Convolution("conv", grow.tail, sparse(rng, (32, 3, 3, 14)), np.zeros(32, int),
                            (2, 2), (1, 1, 1, 1)))
    grow.add(ir.ShiftRequantize("relu", grow.tail, 4, 8, False))
    grow.add(ir.Flatten("flat", grow.tail))
    grow.add(ir.Dense("dense", grow.tail, sparse(rng, (10, 512)), np.zeros(10, int)))
    return grow.network()


def test_what_waits_counts() -> None:
    network = tiles_before_a_dense_layer()
    found = search(network, BUDGET, Goal(CYCLES))
    assert max(layer.cycles for layer in found.plan.layers) == CYCLES
    plan = found.timed()
    assert plan.cycles_per_frame == WAITING
    images = random_images(network.input_type, 4, 0)
    check_cycles(plan, run_network(network, plan, images, (Stalls.NONE,)))


def test_a_rate_that_is_asked_for_is_kept() -> None:
    plan = schedule(tiles_before_a_dense_layer(), BUDGET, Goal(CYCLES))
    assert plan.cycles_per_frame <= CYCLES
