"""Weights of three values: which layers add and subtract, and that hardware equals golden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from choices import choices
from hypothesis import given, settings
from networks import PLENTY, random_images, random_sign, run_block
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.kinds import Binary, Ternary
from penjing.compiler.dataflow.kinds.window import Windowed
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.report import plan_json
from penjing.compiler.dataflow.search import Budget, Goal, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Builder, Network, TensorType
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
        grow.add(random_sign(rng, "signs", grow.tail, grow.type))
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
            int(rng.choice([grow.type.low, 0, grow.type.high])), groups))
    else:
        grow.add(ir.Flatten("flatten", grow.tail))
        grow.add(ir.Dense("layer", grow.tail, ternary_weights(rng, (outputs, grow.type.elements)),
                          bias))
    return grow.network()


def folded(network: Network, rng: np.random.Generator) -> Plan:
    """The layer under any fold, or under the schedule's."""
    layer = network.layers[-1]
    shape = sites(network)[layer.name].geometry
    folds = {}
    if rng.integers(4):
        folds["layer"] = Fold(*(int(rng.integers(1, most + 1)) for most in (
            len(layer.bias), shape.kernel[0], min(shape.run, 16))))
    return schedule(network, Budget(ECP5, PLENTY, int(rng.integers(1, 60))
                                    + sum(fold.products for fold in folds.values())),
                    Goal(folds=folds))


def check_ternary_layer(seed: Any, folds: Any, pauses: int = 0) -> None:
    network = ternary_layer(seed)
    plan = folded(network, np.random.default_rng(folds))
    planned, layer = plan.layer("layer"), network.layers[-1]
    assert planned.fold is not None
    adds = isinstance(planned.kind, Binary | Ternary)
    assert adds or layer.groups > 1
    assert (planned.work("additions") + planned.work("xors") if adds
            else planned.work("multipliers")) == planned.products
    images = random_images(network.input_type, FRAMES, pauses)
    wanted = golden.run(network, images)
    for stalls in Stalls:
        ends = run_block(accelerator.whole(network, plan, Generic()), images, wanted,
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
    told = plan_json(many, None)
    assert told["additions"] == told["layers"][0]["additions"] == many.layers[0].products
    assert told["layers"][0]["hardware"] == "Ternary"
