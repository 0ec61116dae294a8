"""The engine that skips zeros of weights and of activations: values, and cycles one by one."""

from __future__ import annotations

import numpy as np
import pytest
from networks import random_images, run_block
from penjing.compiler import ir
from penjing.compiler.dataflow.broadcast import Broadcast, bounds, frame_ends
from penjing.compiler.dataflow.kinds.columns import Columns, balanced, interleaved
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Integers, TensorType
from penjing.hdl.broadcast import BroadcastEngine
from penjing.hdl.drain import DrainShape
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden


def sparse(rng: np.random.Generator, shape: tuple[int, ...], density: float, low: int, high: int
           ) -> Integers:
    """Random integers from ``low`` to ``high``, of which about ``density`` are not zero."""
    kept: Integers = np.where(rng.random(shape) < density, rng.integers(low, high + 1, shape), 0)
    return kept


def engine(layer: ir.Dense, kind: TensorType, columns: Columns, *, queue: int = 8, lanes: int = 2,
           o_lanes: int = 1, banks: int = 2, dsp: bool = True) -> BroadcastEngine:
    return columns.engine(layer, kind, queue=queue, lanes=lanes, o_lanes=o_lanes, banks=banks,
                          dsp=dsp, style=MemoryStyle.LOGIC, technology=Generic())


@pytest.mark.parametrize("seed", range(20))
def test_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, outputs, pes = (int(n) for n in rng.integers(1, (30, 30, 8)))
    bits, is_signed = int(rng.integers(1, 9)), bool(rng.integers(2))
    kind = TensorType((1, 1, inputs), bits, is_signed)
    density, active = rng.choice([0, 0.1, 0.5, 1], 2)
    values = sparse(rng, (outputs, inputs), density, -128, 127)
    values[rng.integers(outputs)] = 0
    values[:, rng.integers(inputs)] = 0
    layer = ir.Dense("dense", "x", ir.Weights(values, 8), rng.integers(-999, 999, outputs))
    order = balanced(values, pes) if rng.integers(2) else interleaved(outputs, pes)
    columns = Columns(layer.weights, order, int(rng.integers(1, 5)), bool(rng.integers(2)))
    x = np.concatenate([random_images(kind, 3, seed),
                        sparse(rng, (3, *kind.shape), active, kind.low, kind.high)])
    x[4] = 0
    lanes = int(rng.integers(1, 6))
    o_lanes = int(rng.choice([n for n in range(1, pes + 1) if pes % n == 0]))
    queue = int(rng.choice([1, 2, 3, 8]))
    block = engine(layer, kind, columns, queue=queue, lanes=lanes,
                   o_lanes=o_lanes, banks=int(rng.integers(1, 3)), dsp=bool(rng.integers(2)))
    ends = run_block(block, x, golden.dense(x, values, layer.bias), (kind, Port(lanes, inputs)),
                     (layer.output_type(kind), Port(o_lanes, outputs)), seed=seed)
    cycles = Broadcast(columns.lengths(), queue, lanes, block.drain_shape)
    assert [end - 1 for end in ends] == frame_ends(cycles, x.reshape(len(x), -1) != 0)


@pytest.mark.parametrize("seed", range(60))
def test_bounds(seed: int) -> None:
    """No data exceed the bounds, those that are never zero come near them."""
    rng = np.random.default_rng(seed)
    inputs, outputs, pes = (int(n) for n in rng.integers(1, (60, 60, 9)))
    values = sparse(rng, (outputs, inputs), rng.choice([0, 0.05, 0.3, 1]), 1, 1)
    columns = Columns(ir.Weights(values, 2), interleaved(outputs, pes), 3)
    o_lanes = int(rng.choice([n for n in range(1, pes + 1) if pes % n == 0]))
    drain = DrainShape(pes, outputs, o_lanes, int(rng.integers(1, 3)), 6)
    engine = Broadcast(columns.lengths(), int(rng.choice([1, 2, 3, 8])), int(rng.integers(1, 9)),
                       drain)
    first, interval = bounds(engine)
    for density in (1, 0.4, 0):
        ends = frame_ends(engine, rng.random((9, inputs)) < density)
        assert np.all(ends <= first + interval * np.arange(len(ends))), (ends, first, interval)
