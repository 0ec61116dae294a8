# amaranth: UnusedElaboratable=no
"""Multi-threshold activations: the layer, and the hardware against its golden twin."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from networks import run_block
from penjing.compiler import file, ir
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.threshold import Thresholder, ThresholdShape
from penjing.sim import golden
from penjing.sim.oracles import torch as pytorch

COUNTS = (1, 15, 3, 63, 4, 255)


def random_layer(rng: np.random.Generator, count: int) -> tuple[ir.Threshold, TensorType]:
    """A layer with thresholds at, beyond and between the values of its input."""
    channels = int(rng.integers(1, 8))
    kind = TensorType((3, 1, channels), int(rng.integers(1, 24)), bool(rng.integers(2)))
    rows = int(rng.choice([1, channels]))
    near = max(kind.low, -int(rng.choice([2, 200, 1 << 30])))
    thresholds = rng.integers(near - 1, min(kind.high, -2 * near + 9) + 3, (rows, count))
    thresholds[rng.integers(rows), 0] = kind.low - 5  # always reached
    if rng.integers(2):
        thresholds[rng.integers(rows), -1] = kind.high + int(rng.integers(1, 9))  # never
    step = int(rng.integers(1, 3))
    base = int(rng.integers(-8, 3))
    bits = ir.signed_bits(base, base + step * count)
    falling = rng.integers(0, 2, rows) if rng.integers(4) else np.full(rows, rng.integers(2))
    return ir.Threshold("threshold", "x", np.sort(thresholds, 1), falling, bits, True, base,
                        step), kind


def images(layer: ir.Threshold, kind: TensorType, rng: np.random.Generator) -> Integers:
    """Both extremes, values at the thresholds and beside them, and random ones."""
    x = rng.integers(kind.low, kind.high + 1, (8, *kind.shape))
    x[0], x[1] = kind.low, kind.high
    beside = rng.choice(layer.thresholds.reshape(-1), (4, *kind.shape))
    x[2:6] = np.clip(beside + rng.integers(-1, 2, beside.shape), kind.low, kind.high)
    return x


def block(layer: ir.Threshold, kind: TensorType, lanes: int, style: MemoryStyle) -> Thresholder:
    return Thresholder(
        signed(kind.bits) if kind.signed else unsigned(kind.bits), signed(layer.bits), lanes=lanes,
        group=kind.shape[2], thresholds=layer.thresholds.tolist(),
        falling=layer.falling.astype(bool).tolist(), base=layer.base, step=layer.step, style=style,
        technology=Generic())


@pytest.mark.parametrize("seed", range(6))
def test_thresholder_equals_golden_in_every_style(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer, kind = random_layer(rng, COUNTS[seed % len(COUNTS)])
    lanes = int(rng.integers(1, 4))
    style = list(MemoryStyle)[seed % 3]
    x = images(layer, kind, rng)
    port = Port(lanes, kind.shape[2])
    result = TensorType(kind.shape, layer.bits, True)
    dut = block(layer, kind, lanes, style)
    shape = ThresholdShape.of(
        range(kind.low, kind.high + 1), lanes=lanes, group=kind.shape[2],
        thresholds=layer.thresholds.tolist(), block=style is MemoryStyle.BLOCK)
    assert dut.latency == shape.latency
    ends = run_block(dut, x, golden.execute(layer, x), (kind, port), (result, port))
    beats = 3 * -(-kind.shape[2] // lanes)
    assert set(np.diff(ends)) == {beats}
    assert ends[0] - 1 == dut.latency + beats - 1


def test_golden_counts_as_the_definition_says() -> None:
    rng = np.random.default_rng(5)
    for count in (1, 4, 15):
        layer, kind = random_layer(rng, count)
        x = images(layer, kind, rng)
        got = golden.execute(layer, x)
        for place in np.ndindex(*x.shape):
            row = place[3] % len(layer.thresholds)
            reached = [t for t in layer.thresholds[row]
                       if (x[place] < t if layer.falling[row] else x[place] >= t)]
            assert got[place] == layer.base + layer.step * len(reached)


def test_a_negative_scale_falls_exactly() -> None:
    # sign(7 - 2 x): what falls from +1 to -1 between 3 and 4 counts the values below 4.
    layer = ir.Threshold("sign", "x", np.array([[4]]), np.array([1]), 2, True, -1, 2)
    x = np.arange(-8, 8).reshape(1, 1, -1, 1)
    assert np.array_equal(golden.execute(layer, x), np.where(7 - 2 * x >= 0, 1, -1))


def test_pytorch_computes_the_same(tmp_path: object) -> None:
    rng = np.random.default_rng(9)
    for count in (1, 3, 12):
        layer, kind = random_layer(rng, count)
        network = Network("net", "x", kind, (layer,))
        x = images(layer, kind, rng)
        assert np.array_equal(pytorch.run(network, x), golden.run(network, x))
        path = f"{tmp_path}/net.penjing"
        file.save(network, path)
        assert file.load(path) == network


@pytest.mark.parametrize(("changes", "message"), [
    ({"thresholds": np.array([[3, 1]])}, "must ascend"),
    ({"thresholds": np.array([1, 3])}, "must have 2 axes, not 1"),
    ({"thresholds": np.zeros((1, 256), np.int64)}, "1 to 255 thresholds, not 256"),
    ({"thresholds": np.array([[1.5]])}, "must be an integer array"),
    ({"falling": np.array([2])}, "within 0 and 1"),
    ({"falling": np.array([0, 1])}, r"falling must have shape \(1,\)"),
    ({"step": 0}, "step must be an integer of at least 1, not 0"),
    ({"base": -2, "step": 4}, r"bounds \(-2, 6\)"),
    ({"base": 0.5}, "base must be an integer")])
def test_what_is_wrong_is_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"thresholds": np.array([[1, 3]]), "falling": np.array([0]),
                                 "bits": 3, "signed": True}
    with pytest.raises(PenjingError, match=message):
        ir.Threshold("t", "x", **{**fields, **changes})


def test_rows_must_be_those_of_the_channels() -> None:
    layer = ir.Threshold("t", "x", np.array([[1], [2]]), np.array([0, 1]), 1, False)
    with pytest.raises(PenjingError, match="thresholds for 1 or 3 channels, not 2"):
        layer.output_type(TensorType((1, 1, 3), 8, True))


def test_block_refuses_what_does_not_fit() -> None:
    layer, kind = random_layer(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        block(layer, kind, 0, MemoryStyle.LOGIC)
    with pytest.raises(ValueError, match="thresholds must ascend"):
        Thresholder(8, 1, lanes=1, group=1, thresholds=[[2, 1]], falling=[False], base=0, step=1,
                    style=MemoryStyle.LOGIC, technology=Generic())
    with pytest.raises(ValueError, match=r"base and base \+ step \* 2 must fit"):
        Thresholder(8, 1, lanes=1, group=1, thresholds=[[1, 2]], falling=[False], base=0, step=1,
                    style=MemoryStyle.LOGIC, technology=Generic())


# --- the tests can fail; test_mutations has a reader that never waits
@pytest.mark.parametrize("changes", [
    {}, {"base": -2}, {"falling": np.zeros(3, np.int64)},
    {"thresholds": np.array([[-1, 0, 2], [-3, 0, 3], [-2, 1, 3]])}])
def test_a_fault_is_seen(changes: dict[str, Any]) -> None:
    layer = ir.Threshold("threshold", "x", np.array([[-2, 1, 3], [-1, 0, 2], [-3, 0, 3]]),
                         np.array([0, 1, 0]), 3, True, -3)
    kind, port = TensorType((8, 3, 3), 3, True), Port(2, 3)
    x = images(layer, kind, np.random.default_rng(1))
    dut = block(replace(layer, **changes), kind, 2, MemoryStyle.LOGIC)
    with pytest.raises(AssertionError, match=r"^frame") if changes else nullcontext():
        run_block(dut, x, golden.execute(layer, x), (kind, port),
                  (TensorType(kind.shape, 3, True), port))
