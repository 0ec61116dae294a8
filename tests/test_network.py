"""Random networks in hardware against the golden model."""

from __future__ import annotations

import numpy as np
import pytest
from networks import (
    PLENTY,
    Builder,
    check_network,
    random_images,
    random_network,
    random_plan,
    random_weights,
    run_network,
)
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.gears import gears
from penjing.compiler.dataflow.plan import Fold, Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import PenjingError, TensorType
from penjing.sim.streams import Stalls

FRAMES = 5
NETWORKS = [*((seed, False) for seed in range(12)), *((seed, True) for seed in (0, 2, 4, 5, 6, 8))]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "thresholds"), NETWORKS)
def test_network_equals_golden_under_every_stall(seed: int, thresholds: bool) -> None:
    network = random_network(seed, thresholds=thresholds)
    plan = random_plan(network, seed)
    check_network(network, plan, seed=seed)


@pytest.mark.parametrize("cycles", [1, 3, 7])
def test_several_positions_come_in_at_once(cycles: int) -> None:
    rng = np.random.default_rng(cycles)
    grow = Builder(TensorType((4, 3, 2), 4, True))
    grow.add(ir.Threshold("levels", "x", np.sort(rng.integers(-8, 8, (2, 3)), 1), np.array([0, 1]),
                          2, False))
    grow.add(ir.Flatten("flatten", "levels"))
    grow.add(ir.Dense("dense", "flatten", random_weights(rng, (3, 24)), rng.integers(-9, 9, 3)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))
    assert plan.layers[0].i == Port(-(-24 // cycles), 24)
    assert plan.cycles_per_frame <= cycles
    check_network(network, plan, frames=6, seed=1)


@pytest.mark.parametrize(("inputs", "fold", "wanted"), [
    (20, Fold(2, 1, 10), [(5, False), (10, True)]),  # 3 elements a beat
    (24, Fold(2, 1, 12), [(12, True)]),  # 4
    (22, Fold(2, 1, 11), [(11, False)])])  # 4, and no divisor of 11
def test_wide_words_are_made_in_two_steps(inputs: int, fold: Fold, wanted: list[tuple[int, bool]]
                                          ) -> None:
    rng = np.random.default_rng(inputs)
    grow = Builder(TensorType((1, 1, inputs), 4, True))
    grow.add(ir.Dense("dense", "x", random_weights(rng, (6, inputs)), rng.integers(-9, 9, 6)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 1000), Goal(7, {"dense": fold}))
    port = plan.layers[0].i
    assert [(gear.o.lanes, gear.collects) for gear in gears(port, fold.lanes, inputs)] == wanted
    check_network(network, plan, frames=6, seed=1)


def test_a_pool_takes_the_lanes_that_come_in_rather_than_a_few_less() -> None:
    grow = Builder(TensorType((4, 4, 8), 4, True))
    grow.add(ir.MaxPool("pool", "x", (3, 3), (2, 2), (0, 0, 0, 0)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 1), Goal(32))
    # Three would do for nine taps of one position.
    assert plan.layers[0].i.lanes == plan.layers[0].o.lanes == 4
    assert plan.cycles_per_frame == 32
    check_network(network, plan, seed=1)


def test_what_is_read_at_once_is_there_in_time() -> None:
    # The pool takes four cycles an element, the first pass of the dense layer one.
    rng = np.random.default_rng(0)
    grow = Builder(TensorType((6, 5, 1), 4, False))
    grow.add(ir.MaxPool("pool", "x", (2, 2), (1, 2), (1, 0, 0, 1)))
    grow.add(ir.Flatten("flatten", "pool"))
    grow.add(ir.Dense("dense", "flatten", random_weights(rng, (5, 18)), rng.integers(-9, 9, 5)))
    network = grow.network()
    plan = schedule(network, Budget(ECP5, PLENTY, 1), Goal(90, {"dense": Fold(1, 1, 1)}))
    images = random_images(network.input_type, FRAMES, 1)
    ends = run_network(network, plan, images, [Stalls.NONE])
    assert np.diff(ends).tolist() == [plan.cycles_per_frame] * (FRAMES - 1) == [90] * (FRAMES - 1)


def test_reshape_keeps_the_number_of_elements() -> None:
    kind = TensorType((2, 3, 4), 8, True)
    assert ir.Reshape("r", "x", (4, 1, 6)).output_type(kind).shape == (4, 1, 6)
    with pytest.raises(PenjingError, match="has 25 elements"):
        ir.Reshape("r", "x", (5, 5, 1)).output_type(kind)
    with pytest.raises(PenjingError, match="shape must be 3 integers"):
        ir.Reshape("r", "x", (24, 1, 0))
