"""Signs and mixed widths: which layers count signs, and that hardware equals the golden model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed
from choices import choices
from hypothesis import example, given, settings
from hypothesis import strategies as st
from networks import PLENTY, mixed_network, random_images, random_plan, run_block, run_network
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Binary
from penjing.compiler.dataflow.plan import Fold, Port
from penjing.compiler.dataflow.search import ROUTABLE, Goal, fold_of_simd, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Bipolar, Network, PenjingError, TensorType
from penjing.hdl.bipolar import BipolarToInteger
from penjing.hdl.graph import Pipeline
from penjing.hdl.stream import Beat, Buffer
from penjing.sim.streams import Stalls

FRAMES = 4


def check_mixed_network(seed: Any, pauses: int = 0) -> None:
    network = mixed_network(seed)
    plan = random_plan(network, seed)
    images = random_images(network.input_type, FRAMES, pauses)
    ends = run_network(network, plan, images, [Stalls.NONE, list(Stalls)[1 + pauses % 3]], pauses)
    assert np.diff(ends)[-1] == plan.cycles_per_frame
    assert ends[0] - 1 == plan.latency_cycles


# 180: a requantizer as slow as the slowest layer keeps what a pool before it wants to be rid of.
@given(choices(), st.integers(0, 2))
@example(180, 180)
@settings(deadline=None, max_examples=6, database=None)
def test_network_of_mixed_widths_equals_golden(drawn: Any, pauses: int) -> None:
    check_mixed_network(drawn, pauses)


@pytest.mark.slow
def test_many_networks_of_mixed_widths_equal_golden() -> None:
    for seed in range(24):
        check_mixed_network(seed, seed)


def test_bipolar_to_integer_makes_integers_of_signs() -> None:
    kind = Bipolar((3, 2, 5))
    x = random_images(kind, 4, 1)
    port = Port(3, 5)
    # It has no clock of its own, but the simulation needs one.
    block = Pipeline([("integers", BipolarToInteger(3)), ("buffer", Buffer(Beat(signed(2), 3)))])
    run_block(block, x, x, (kind, port), (kind.widened, port))


# --- types
def sign(name: str, source: str, **changes: object) -> ir.Threshold:
    fields = {"thresholds": np.zeros((1, 1), np.int64), "falling": np.zeros(1, np.int64),
              "bits": 2, "signed": True, "base": -1, "step": 2, **changes}
    return ir.Threshold(name, source, **fields)


def grown(*layers: ir.Layer, bits: int = 8) -> Network:
    """A network of ``layers``, the first of which reads signs of an input of ``bits`` bits."""
    last = ir.Clamp("end", layers[-1].name if layers else "signs", -100, 100)
    return Network("net", "x", TensorType((4, 4, 6), bits, True),
                   (sign("signs", "x"), *layers, last))


def test_a_threshold_to_two_signs_is_one_bit_within_a_network() -> None:
    network = Network("net", "x", TensorType((2, 2, 3), 8, True),
                      (sign("a", "x", fraction=3), ir.Flatten("b", "a")))
    assert network.type_of("a") == Bipolar((2, 2, 3), fraction=3)
    assert network.output_type == TensorType((1, 1, 12), 2, True, 3)
    for changes in ({"base": 0, "step": 1}, {"step": 1}, {"bits": 3, "zero_point": 2},
                    {"bits": 3, "thresholds": np.zeros((1, 2), np.int64)}):
        assert not isinstance(sign("a", "x", **changes).output_type(network.input_type),
                              Bipolar)


def test_bits_are_kept_by_what_only_selects_and_moves() -> None:
    network = grown(ir.MaxPool("max", "signs", (2, 2), (1, 1), (1, 0, 0, 1)),
                    ir.Pad("one", "max", (1, 1, 0, 0), -1), ir.Reshape("r", "one", (6, 4, 6)),
                    ir.Pad("zero", "r", (0, 1, 0, 0), 0))
    for name in ("max", "one", "r"):
        assert isinstance(network.type_of(name), Bipolar)
    assert network.type_of("zero") == TensorType((7, 4, 6), 2, True)
    for layer in (ir.AveragePool("a", "x", (2, 2), (1, 1)), ir.SumPool("a", "x", (2, 2), (1, 1)),
                  ir.Clamp("a", "x", -1, 1)):
        assert not isinstance(layer.output_type(Bipolar((4, 4, 2))), Bipolar)


def test_accumulators_of_signs_are_as_narrow_as_their_sums() -> None:
    layer = ir.Dense("dense", "x", ir.Weights(np.ones((2, 15), np.int64), 2),
                     np.zeros(2, np.int64))
    assert layer.output_type(Bipolar((1, 1, 15))).bits == 5  # -15 to 15
    assert layer.output_type(Bipolar((1, 1, 15)).widened).bits == 6  # -30 to 15


def test_an_input_of_signs_is_one_bit_without_a_sign() -> None:
    with pytest.raises(PenjingError, match="input must not be bipolar; declare one bit") as caught:
        Network("net", "x", Bipolar((1, 1, 3)), (ir.Flatten("f", "x"),))
    assert "\n" not in str(caught.value)
    with pytest.raises(PenjingError, match="a bipolar one has 1 bit and a sign, not 2 bits"):
        Bipolar((1, 1, 3), 2)


# --- which layers count signs
def convolution(weights: ir.Weights, padding: tuple[int, int, int, int] = (0, 0, 0, 0),
                pad_value: int = 0, groups: int = 1) -> ir.Convolution:
    return ir.Convolution("conv", "signs", weights, np.zeros(len(weights.values), np.int64), (1, 1),
                          padding, pad_value, groups)


ONES = ir.Weights(np.ones((4, 3, 2, 6), np.int64), 2)


@pytest.mark.parametrize(("layer", "wanted"), [
    (convolution(ONES), True), (convolution(ONES, (1, 0, 0, 0), -1), True),
    (convolution(ONES, (1, 0, 0, 0), 0), False), (convolution(ONES, pad_value=0), True),
    (convolution(ir.Weights(np.ones((4, 3, 2, 3), np.int64), 2), groups=2), False),
    (convolution(ir.Weights(ONES.values * 2, 3)), False),
    (convolution(ir.Weights(ONES.values * 0, 2)), False),
    (ir.Depthwise("conv", "signs", ir.Weights(np.ones((6, 2, 2), np.int64), 2),
                  np.zeros(6, np.int64)), False)])
def test_products_of_signs_alone_are_counted(layer: ir.Layer, wanted: bool) -> None:
    network = grown(layer)
    assert Binary.suits(sites(network)["conv"]) is wanted
    plan = schedule(network, Budget(ECP5, PLENTY, 10)).layer("conv")
    assert isinstance(plan.kind, Binary) is wanted
    assert plan.work("xors") == (plan.products if wanted else 0)
    assert plan.work("multipliers") == 0 or layer.kind == "depthwise" or layer.groups > 1


def test_a_fold_with_spare_lanes_adds() -> None:
    network = grown(convolution(ONES))
    for fold, wanted in ((Fold(3, 3, 4), True), (Fold(4, 1, 12), True), (Fold(1, 2, 4), False),
                         (Fold(1, 1, 5), False)):
        plan = schedule(network, Budget(ECP5, PLENTY, 100), Goal(folds={"conv": fold}))
        assert isinstance(plan.layer("conv").kind, Binary) is wanted
        assert plan.layer("conv").work("additions") == (0 if wanted else fold.products)
        assert plan.layer("conv").kind.dsps == 0
    assert fold_of_simd(network, network.layers[1], 2, 5) == Fold(2, 1, 4)
    assert fold_of_simd(network, network.layers[1], 2, 13) == Fold(2, 1, 12)
    assert fold_of_simd(network, network.layers[1], 2, 35) == Fold(2, 3, 6)


def test_signs_need_no_multipliers_and_luts_bound_them() -> None:
    layer = ir.Dense("dense", "flat", ir.Weights(np.ones((256, 96), np.int64), 2),
                     np.zeros(256, np.int64))
    network = grown(ir.Flatten("flat", "signs"), layer)
    few, many = (schedule(network, Budget(ECP5, Resources(luts, 10**6, 0, 10**3), 1))
                 for luts in (2_000, 20_000))
    assert few.multipliers == many.multipliers == 0
    assert few.resources.luts <= 2_000 < many.resources.luts <= 20_000
    assert many.cycles_per_frame < few.cycles_per_frame
    assert few.utilization <= 1


def test_speed_leaves_room_for_the_router_unless_it_is_asked_for() -> None:
    layer = ir.Dense("dense", "flat", ir.Weights(np.ones((256, 96), np.int64), 2),
                     np.zeros(256, np.int64))
    network = grown(ir.Flatten("flat", "signs"), layer)
    large = schedule(network, Budget(ECP5, Resources(20_000, 10**6, 0, 10**3), 1))
    tight = Budget(ECP5, replace(large.resources, brams=10**3), 1)
    assert schedule(network, tight).resources.luts <= ROUTABLE * large.resources.luts
    asked = schedule(network, tight, Goal(large.cycles_per_frame))
    assert asked.resources == large.resources
