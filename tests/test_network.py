"""Random networks in hardware against the golden model, whole and layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
from networks import random_images, random_network, random_plan, run_block
from penjing.compiler import ir, lower
from penjing.compiler.ir import PenjingError, TensorType
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.streams import Stalls

FRAMES = 5
NETWORKS = [*((seed, False) for seed in range(24)), *((seed, True) for seed in range(12))]


@pytest.mark.parametrize(("seed", "thresholds"), NETWORKS)
def test_network_equals_golden_under_every_stall(seed: int, thresholds: bool) -> None:
    network = random_network(seed, thresholds=thresholds)
    plan = random_plan(network, seed)
    images = random_images(network.input_type, FRAMES, seed)
    wanted = golden.run(network, images)
    i = network.input_type, plan.layers[0].i
    o = network.output_type, plan.layers[-1].o
    for stalls in Stalls:
        ends = run_block(lower.accelerator(network, plan, Generic()), images, wanted, i, o, stalls,
                         seed)
        if stalls is Stalls.NONE:
            assert np.diff(ends)[-1] == plan.cycles_per_frame
            assert abs(ends[0] - 1 - plan.latency_cycles) <= max(3, 0.02 * ends[0])


@pytest.mark.parametrize(("seed", "thresholds"), NETWORKS)
def test_each_layer_takes_its_predicted_cycles(seed: int, thresholds: bool) -> None:
    network = random_network(seed, thresholds=thresholds)
    plan = random_plan(network, seed)
    tensors = golden.run_all(network, random_images(network.input_type, FRAMES, seed))
    compared = 0
    for layer in network.layers:
        if isinstance(layer, ir.Rewiring):
            continue
        planned = plan.layer(layer.name)
        ends = run_block(lower.layer(network, plan, layer.name, Generic()), tensors[layer.input],
                         tensors[layer.name], (network.source_type(layer), planned.i),
                         (network.type_of(layer.name), planned.o), Stalls.NONE)
        assert np.diff(ends)[-1] == planned.cycles, layer.name
        compared += 1
    assert compared


def test_reshape_keeps_the_number_of_elements() -> None:
    kind = TensorType((2, 3, 4), 8, True)
    assert ir.output_type(ir.Reshape("r", "x", (4, 1, 6)), kind).shape == (4, 1, 6)
    with pytest.raises(PenjingError, match="has 25 elements"):
        ir.output_type(ir.Reshape("r", "x", (5, 5, 1)), kind)
    with pytest.raises(PenjingError, match="shape must be 3 integers"):
        ir.Reshape("r", "x", (24, 1, 0))
