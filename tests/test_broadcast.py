# amaranth: UnusedElaboratable=no
"""The engine that skips zeros of weights and of activations: values, and cycles one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import random_images, run_block
from penjing.compiler import ir
from penjing.compiler.dataflow.broadcast import GAPS, Broadcast, frame_ends
from penjing.compiler.dataflow.columns import Columns, dealt, interleaved
from penjing.compiler.dataflow.kinds import column_engine
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Integers, TensorType
from penjing.hdl.broadcast import BroadcastEngine
from penjing.hdl.column_pe import ColumnPe
from penjing.hdl.column_shape import PeShape
from penjing.hdl.drain import Drain, DrainShape
from penjing.hdl.entries import Weighing
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden


def sparse(rng: np.random.Generator, shape: tuple[int, ...], density: float, low: int, high: int
           ) -> Integers:
    """Random integers from ``low`` to ``high``, of which about ``density`` are not zero."""
    kept: Integers = np.where(rng.random(shape) < density, rng.integers(low, high + 1, shape), 0)
    return kept


def engine(layer: ir.Dense, kind: TensorType, columns: Columns, *, queue: int = 8, lanes: int = 2,
           o_lanes: int = 1, banks: int = 2, dsps: int = 99) -> BroadcastEngine:
    return column_engine.engine(
        columns, layer, kind, layer.output_type(kind).bits, queue=queue, lanes=lanes,
        o_lanes=o_lanes, banks=banks, dsps=dsps, style=MemoryStyle.LOGIC, technology=Generic())


@pytest.mark.parametrize("seed", [
    pytest.param(seed, marks=[pytest.mark.slow] * (seed > 4)) for seed in range(20)])
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
    order = dealt(values, pes) if rng.integers(2) else interleaved(outputs, pes)
    columns = Columns(layer.weights, order, ir.RelativeIndex(int(rng.integers(1, 5)),
                      ir.Codebook() if rng.integers(2) else ir.Plain()))
    x = np.concatenate([random_images(kind, 3, seed),
                        sparse(rng, (3, *kind.shape), active, kind.low, kind.high)])
    x[4] = 0
    lanes = int(rng.integers(1, 6))
    o_lanes = int(rng.choice([n for n in range(1, pes + 1) if pes % n == 0]))
    queue = int(rng.choice([1, 2, 3, 8]))
    block = engine(layer, kind, columns, queue=queue, lanes=lanes,
                   o_lanes=o_lanes, banks=int(rng.integers(1, 3)), dsps=int(rng.integers(pes + 1)))
    ends = run_block(block, x, golden.dense(x, values, layer.bias), (kind, Port(lanes, inputs)),
                     (layer.output_type(kind), Port(o_lanes, outputs)), seed=seed)
    cycles = Broadcast(columns.lengths, queue, lanes, block.drain_shape)
    assert [end - 1 for end in ends] == frame_ends(cycles, x.reshape(len(x), -1) != 0)


@pytest.mark.parametrize("seed", range(60))
def test_the_interval_is_never_exceeded(seed: int) -> None:
    """By no data; those that are never zero take as much, but for what late ones may lose."""
    rng = np.random.default_rng(seed)
    inputs, outputs, pes = (int(n) for n in rng.integers(1, (60, 60, 9)))
    values = sparse(rng, (outputs, inputs), rng.choice([0, 0.05, 0.3, 1]), 1, 1)
    columns = Columns(ir.Weights(values, 2), interleaved(outputs, pes), ir.RelativeIndex(3))
    o_lanes = int(rng.choice([n for n in range(1, pes + 1) if pes % n == 0]))
    drain = DrainShape(pes, outputs, o_lanes, int(rng.integers(1, 3)), 6)
    engine = Broadcast(columns.lengths, int(rng.choice([1, 2, 3, 8])), int(rng.integers(1, 9)),
                       drain)
    for density in (1, 0.4, 0):
        ends = frame_ends(engine, rng.random((9, inputs)) < density)
        assert ends[-1] - ends[0] <= engine.interval * (len(ends) - 1)
    lone = Broadcast(np.maximum(columns.lengths[:1], 1), 8, 4,
                     DrainShape(1, len(columns.order), 1, 1, 6))
    ends = frame_ends(lone, np.ones((6, inputs), bool))
    assert np.all(np.diff(ends) == lone.interval - GAPS)


@pytest.mark.parametrize("encoding", [
    ir.RelativeIndex(1), ir.RelativeIndex(2, ir.Codebook()), ir.RelativeIndex(5)])
def test_gaps_are_filled(encoding: ir.RelativeIndex) -> None:
    """A lone weight far down a column, and what stands for the rows before it."""
    values = np.zeros((12, 3), np.int64)
    values[11, 0], values[[0, 4], 1] = 7, 5
    columns = Columns(ir.Weights(values, 4), interleaved(12, 1), encoding)
    code = {value: n if columns.codebook else value for n, value in enumerate([0, 5, 7])}
    step = 1 << encoding.gap_bits
    assert columns.entries() == [[
        [(step - 1, code[0])] * (11 // step) + [(11 % step, code[7])],
        [(0, code[5]), *[(step - 1, code[0])] * (3 // step), (3 % step, code[5])], []]]


def test_dealt_rows() -> None:
    """Every slot's rows are in different elements, which wait for each other less."""
    rng = np.random.default_rng(3)
    values = sparse(rng, (50, 200), 0.1, 1, 1) * (rng.random((50, 1)) < 0.7)
    order = dealt(values, 8)
    assert all(sorted(slot) == [*range(8)] for slot in order.tolist())
    loads = Columns(ir.Weights(values, 2), order, ir.RelativeIndex(6)).lengths
    turns = Columns(ir.Weights(values, 2), interleaved(50, 8), ir.RelativeIndex(6)).lengths
    assert loads.sum() == turns.sum() == np.count_nonzero(values)
    assert np.ptp(loads.sum(1)) < 0.5 * np.ptp(turns.sum(1))
    assert loads.max(0).sum() < 0.95 * turns.max(0).sum()


def test_best_gaps() -> None:
    """As wide as little filling wants; where there are no weights, any."""
    rng = np.random.default_rng(5)
    values = sparse(rng, (64, 50), 0.1, -9, 9)
    best = Columns.best(ir.Weights(values, 8), dealt(values, 2), ir.Codebook())
    assert best.lengths.sum() <= 1.02 * np.count_nonzero(values)
    narrower = ir.RelativeIndex(best.encoding.gap_bits - 1)
    assert Columns(best.weights, best.order, narrower).lengths.sum() > best.lengths.sum()
    none = ir.Weights(0 * values, 8)
    assert not Columns.best(none, interleaved(64, 2), ir.Plain()).lengths.any()


@pytest.mark.parametrize(("density", "active"), [(0, 1), (1, 0), (1, 1), (0.05, 0.05)])
@pytest.mark.parametrize("outputs", [1, 9])
def test_extremes(outputs: int, density: float, active: float) -> None:
    """One row, whose sum every product is added to; 16-bit weights; the lowest and the highest."""
    rng = np.random.default_rng(outputs)
    kind = TensorType((1, 1, 11), 8, True)
    values = np.where(rng.random((outputs, 11)) < density, -(1 << 15), 0)
    layer = ir.Dense("dense", "x", ir.Weights(values, 16), np.full(outputs, -3))
    x = np.where(rng.random((5, *kind.shape)) < active, kind.low, 0)
    x[0], x[1, ..., :5] = kind.high, kind.low
    columns = Columns(layer.weights, interleaved(outputs, 2), ir.RelativeIndex(
        2, ir.Codebook() if density else ir.Plain()))
    block = engine(layer, kind, columns, queue=2, lanes=4, o_lanes=2)
    run_block(block, x, golden.dense(x, values, layer.bias), (kind, Port(4, 11)),
              (layer.output_type(kind), Port(2, outputs)))


def test_refusals() -> None:
    pe = PeShape(rows=3, places=2, queue=2, gap_bits=1, weighing=Weighing(4), sum_bits=9)
    choices: dict[str, Any] = {"bias": [0] * 3, "dsp": True, "style": MemoryStyle.LOGIC,
                               "technology": Generic()}
    for columns in ([[(2, 1)], []], [[(1, 1), (1, 1)], []], [[(0, 8)], []], [[]]):
        with pytest.raises(ValueError, match="column"):
            ColumnPe(8, pe, columns, **choices)
    with pytest.raises(ValueError, match="o_lanes must divide 4"):
        DrainShape(4, 9, 3, 2, 6)
    with pytest.raises(ValueError, match="order must name 2 elements once each"):
        Drain(8, DrainShape(2, 2, 1, 1, 6), [[0, 0]], technology=Generic())
