"""Weights of three values: which layers add and subtract, and that hardware equals golden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from choices import choices
from hypothesis import given, settings
from networks import PLENTY, Builder, random_images, random_sign, run_block
from penjing.compiler import ir, lower
from penjing.compiler.geometry import sliding
from penjing.compiler.ir import Network, TensorType
from penjing.compiler.plan import Fold, Plan, Resources
from penjing.compiler.planning import ternary_bits
from penjing.compiler.report import plan_json
from penjing.compiler.resources import Family
from penjing.compiler.schedule import Budget, Goal, schedule
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.streams import Stalls

FRAMES = 4


def ternary_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> ir.Weights:
    """Two scales, equal or not, with or without zeros, all of one side now and then."""
    positive, negative = (int(n) for n in rng.choice([1, 1, 2, 45, 127], 2))
    choices = [[-negative, 0, positive], [-positive, positive], [-positive, 0, positive],
               [0, positive]][rng.integers(4)]
    values = rng.choice(choices, shape)
    # Outputs at both extremes: all -Wn and all +Wp.
    values[0], values[-1] = min(choices), positive
    return ir.Weights(values, 8)


def ternary_layer(seed: Any) -> Network:
    """One layer of three values, of an input of any width and sign, or of signs."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((1, 1, 1), (7, 7, 9)))
    grow = Builder(TensorType((height, width, channels), int(rng.integers(1, 9)),
                              bool(rng.integers(2))))
    if rng.integers(3) == 0:
        grow.add(random_sign(rng, "signs", grow.tail, grow.kind))
    outputs = int(rng.integers(1, 9))
    bias = rng.integers(-9, 9, outputs) if rng.integers(2) else np.full(outputs, 2)
    if rng.integers(3):
        kernel = tuple(int(rng.integers(1, min(4, size) + 1)) for size in (height, width))
        padding = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1],
                                                          kernel[1]))
        groups = 1 if channels % 2 or outputs % 2 else int(rng.choice([1, 2]))
        grow.add(ir.Convolution(
            "layer", grow.tail, ternary_weights(rng, (outputs, *kernel, channels // groups)), bias,
            (int(rng.integers(1, 3)), int(rng.integers(1, 3))), padding,
            int(rng.choice([grow.kind.low, 0, grow.kind.high])), groups))
    else:
        grow.add(ir.Flatten("flatten", grow.tail))
        grow.add(ir.Dense("layer", grow.tail, ternary_weights(rng, (outputs, grow.kind.elements)),
                          bias))
    return grow.network()


def folded(network: Network, rng: np.random.Generator) -> Plan:
    """The layer under any fold, or under the schedule's."""
    layer = network.layers[-1]
    shape = sliding(network, layer)
    folds = {}
    if rng.integers(4):
        folds["layer"] = Fold(*(int(rng.integers(1, most + 1)) for most in (
            len(layer.bias), shape.kernel[0], min(shape.run, 16))))
    return schedule(network, Budget(Family.ECP5, PLENTY, int(rng.integers(1, 60))
                                    + sum(fold.products for fold in folds.values())),
                    Goal(folds=folds))


def check_ternary_layer(seed: Any, folds: Any, pauses: int = 0) -> None:
    network = ternary_layer(seed)
    plan = folded(network, np.random.default_rng(folds))
    planned, layer = plan.layer("layer"), network.layers[-1]
    assert planned.fold is not None
    assert planned.ternary != planned.binary or layer.groups > 1
    assert (planned.multipliers, planned.additions + planned.xors)[
        planned.takes_bits] == planned.products
    images = random_images(network.input_type, FRAMES, pauses)
    wanted = golden.run(network, images)
    for stalls in Stalls:
        ends = run_block(lower.accelerator(network, plan, Generic()), images, wanted,
                         (network.input_type, plan.layers[0].i),
                         (network.output_type, planned.o), stalls, pauses)
        if stalls is Stalls.NONE:
            assert np.diff(ends)[-1] == plan.cycles_per_frame
            assert ends[0] - 1 == plan.latency_cycles


@given(choices())
@settings(deadline=None, max_examples=8, database=None)
def test_ternary_layer_equals_golden(drawn: Any) -> None:
    check_ternary_layer(drawn, drawn)


@pytest.mark.slow
def test_many_ternary_layers_equal_golden() -> None:
    for seed in range(80):
        check_ternary_layer(seed, seed + 1, seed)


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
        fold, layer = Fold(3, 1, lanes), network.layers[-1]
        assert isinstance(layer, ir.MultiplyAccumulate)
        assert ternary_bits(layer, sliding(network, layer), fold) == wanted
        plan = schedule(network, Budget(Family.ECP5, PLENTY, 50), Goal(folds={"layer": fold}))
        words = plan.layer("layer").cycles * fold.products
        assert plan.layer("layer").ternary is (wanted > 0)
        # Weights, biases, and the vector in its buffer.
        stored = plan.layer("layer").memory_bits - 6 * network.output_type.bits
        assert stored - plan.layer("layer").buffer_words * lanes * 4 == words * (wanted or 8)


def test_three_values_need_no_multipliers_and_luts_bound_them() -> None:
    rng = np.random.default_rng(4)
    network = dense(rng.choice([-45, 0, 77], (256, 96)))
    few, many = (schedule(network, Budget(Family.ECP5, Resources(luts, 10**6, 0, 10**3), 1))
                 for luts in (2_000, 20_000))
    assert few.multipliers == many.multipliers == 0
    assert few.resources.luts <= 2_000 < many.resources.luts <= 20_000
    assert many.cycles_per_frame < few.cycles_per_frame
    told = plan_json(many, None)
    assert told["additions"] == told["layers"][0]["additions"] == many.layers[0].products
    assert told["layers"][0]["ternary"] is True
