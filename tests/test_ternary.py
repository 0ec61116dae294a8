"""Weights of three values: which layers add and subtract, and what that takes."""

from __future__ import annotations

import numpy as np
import pytest
from networks import PLENTY, Builder
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Ternary
from penjing.compiler.dataflow.kinds.window import Windowed
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.report import plan_json
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType


@pytest.mark.parametrize(("values", "wanted"), [
    ([-3, 0, 5], (5, 3)), ([-1, 1], (1, 1)), ([0, 4], (4, 4)), ([-2, 0], (2, 2)), ([0], (1, 1)),
    ([-128], (128, 128)), ([1, 2], None), ([-3, -2, 0, 1], None)])
def test_scales_of_weights(values: list[int], wanted: tuple[int, int] | None) -> None:
    assert ir.Weights(np.array([values]), 8).ternary == wanted


def dense(values: np.ndarray, bits: int = 4) -> Network:
    grow = Builder(TensorType((1, 1, values.shape[1]), bits, False))
    grow.add(ir.Dense("layer", "x", ir.Weights(values, 8), np.zeros(len(values), np.int64)))
    return grow.network()


def test_bits_of_a_weight() -> None:
    rng = np.random.default_rng(3)
    for values, lanes, wanted in (([-3, 0, 5], 4, 2), ([-1, 1], 4, 1), ([-1, 1], 5, 2),
                                   ([-7, 0, 7], 4, 2), ([-3, 5], 4, 2), ([-1, 2, 3], 4, 0)):
        network = dense(rng.choice(values, (6, 12)))
        fold = Fold(3, 1, lanes)
        plan = schedule(network, Budget(ECP5, PLENTY, 50), Goal(folds={"layer": fold}))
        words = plan.layer("layer").cycles * fold.products
        kind = plan.layer("layer").kind
        assert isinstance(kind, Windowed) and kind.buffer is not None
        assert isinstance(kind, Ternary) is (wanted > 0)
        # Weights, biases, and the vector in its buffer.
        stored = plan.layer("layer").memory_bits - 6 * network.output_type.bits
        assert stored - kind.buffer.words * lanes * 4 == words * (wanted or 8)


def test_three_values_need_no_multipliers_and_luts_bound_them() -> None:
    rng = np.random.default_rng(4)
    network = dense(rng.choice([-45, 0, 77], (256, 96)))
    few, many = (schedule(network, Budget(ECP5, Resources(luts, 10**6, 0, 10**3), 1))
                 for luts in (2_000, 20_000))
    assert few.multipliers == many.multipliers == 0
    assert few.resources.luts <= 2_000 < many.resources.luts <= 20_000
    assert many.cycles_per_frame < few.cycles_per_frame
    told = plan_json(many, None, network)
    assert told["additions"] == told["layers"][0]["additions"] == many.layers[0].products
    assert told["layers"][0]["hardware"] == "Ternary"
