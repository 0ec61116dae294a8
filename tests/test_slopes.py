# amaranth: UnusedElaboratable=no
"""Slope requantization: the layer, the search for its constants, and the hardware's golden twin."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from networks import (
    PLENTY,
    Builder,
    check_network,
    random_plan,
    random_sign,
    random_slopes,
    random_weights,
    run_block,
)
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import plan_file
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.hdl.slope import SlopeRequantizer, SlopeShape
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden
from penjing.sim.oracles import torch as pytorch

torch = pytest.importorskip("torch")

from penjing.compiler.compress.slopes import Levels  # noqa: E402

Layer = ir.SlopeRequantize


def random_layer(rng: np.random.Generator) -> tuple[Layer, TensorType]:
    """A layer of any widths, its breakpoints within its input's values and at their ends."""
    channels, bits = int(rng.integers(1, 8)), int(rng.integers(2, 13))
    kind = TensorType((3, 1, channels), int(rng.integers(1, 21)), bool(rng.integers(2)))
    rows = int(rng.choice([1, channels]))
    most, far = 1 << int(rng.choice([2, 8, 17])), 1 << int(rng.choice([3, 12, 30]))
    multipliers = rng.integers(-most, most, (rows, 2))
    offsets = rng.integers(-far, far, (rows, 2))
    multipliers[rng.integers(rows)] = -most, most - 1
    if rng.integers(3) == 0:
        multipliers, offsets = multipliers[:, [0, 0]], offsets[:, [1, 1]]
    limit = 1 << bits - 1
    low, high = sorted(int(v) for v in rng.integers(-limit, limit, 2))
    if rng.integers(2):
        low, high = -limit, limit - 1
    return Layer("slopes", "x", multipliers, offsets,
                 rng.integers(kind.low - 1, kind.high + 3, rows), int(rng.integers(0, 24)), bits,
                 True, low, high), kind


def images(layer: Layer, kind: TensorType, rng: np.random.Generator) -> Integers:
    """Both extremes, values at the breakpoints and beside them, and random ones."""
    x = rng.integers(kind.low, kind.high + 1, (6, *kind.shape))
    x[0], x[1] = kind.low, kind.high
    x[2] = np.clip(layer.breakpoints + rng.integers(-1, 2, kind.shape), kind.low, kind.high)
    return x


def test_golden_is_what_the_definition_says() -> None:
    rng = np.random.default_rng(3)
    for _ in range(8):
        layer, kind = random_layer(rng)
        x = images(layer, kind, rng)
        got = golden.execute(layer, x)
        low, high = layer.bounds
        for place in np.ndindex(*x.shape):
            row, value = place[3] % len(layer.breakpoints), int(x[place])
            side = int(value >= layer.breakpoints[row])
            exact = int(layer.multipliers[row, side]) * value + int(layer.offsets[row, side])
            steps = 1 << layer.shift
            rounded = (2 * exact + steps) // (2 * steps) if layer.shift else exact
            assert got[place] == min(max(rounded, low), high)


def test_pytorch_and_files_know_it(tmp_path: object) -> None:
    rng = np.random.default_rng(9)
    for _ in range(6):
        layer, kind = random_layer(rng)
        network = Network("net", "x", kind, (layer,))
        x = images(layer, kind, rng)
        assert np.array_equal(pytorch.run(network, x), golden.run(network, x))
        path = f"{tmp_path}/net.penjing"
        file.save(network, path)
        assert file.load(path) == network


@pytest.mark.parametrize(("changes", "message"), [
    ({"multipliers": np.array([[1 << 17, 0]])}, "multipliers: values must lie within -131072 and"),
    ({"multipliers": np.array([1, 0])}, "multipliers must have 2 axes, not 1"),
    ({"multipliers": np.array([[1, 0, 2]])}, r"multipliers must have shape \(1, 2\), not \(1, 3\)"),
    ({"offsets": np.array([[1, 0], [1, 0]])}, r"offsets must have shape \(1, 2\), not \(2, 2\)"),
    ({"breakpoints": np.array([0.5])}, "must be an integer array"),
    ({"shift": -1}, "shift must be an integer from 0 to 31, not -1"),
    ({"low": -9}, r"bounds \(-9, 7\) must be ordered and within \(-8, 7\)")])
def test_what_is_wrong_is_refused(changes: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {
        "multipliers": np.array([[1, -2]]), "offsets": np.array([[0, 3]]),
        "breakpoints": np.array([0]), "shift": 2, "bits": 4, "signed": True}
    with pytest.raises(PenjingError, match=message):
        Layer("s", "x", **{**fields, **changes})


def test_rows_must_be_those_of_the_channels_and_sums_fit() -> None:
    two = np.array([[1, 2], [3, 4]])
    with pytest.raises(PenjingError, match="slopes for 1 or 3 channels, not 2"):
        Layer("s", "x", two, two, np.array([0, 1]), 0, 8, True).output_type(
            TensorType((1, 1, 3), 8, True))
    with pytest.raises(PenjingError, match="its sums may need 66 bits, more than 48; narrow its"):
        Layer("s", "x", np.array([[-1 << 17, 1]]), np.array([[0, 0]]), np.array([0]), 0, 8, True
              ).output_type(TensorType((1, 1, 1), 48, True))


# --- the hardware
def made(layer: Layer, kind: TensorType, lanes: int, style: MemoryStyle, dsps: int = 0
          ) -> SlopeRequantizer:
    low, high = layer.bounds
    return SlopeRequantizer(
        signed(kind.bits) if kind.signed else unsigned(kind.bits), signed(layer.bits), lanes=lanes,
        group=kind.shape[2], multipliers=layer.multipliers.tolist(),
        offsets=layer.offsets.tolist(), breakpoints=layer.breakpoints.tolist(), shift=layer.shift,
        low=low, high=high, dsp_multipliers=dsps, style=style, technology=Generic())


@pytest.mark.parametrize("seed", range(3))
def test_requantizer_equals_golden_in_every_style(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer, kind = random_layer(rng)
    lanes = int(rng.integers(1, 4))
    x = images(layer, kind, rng)
    port = Port(lanes, kind.shape[2])
    result = TensorType(kind.shape, layer.bits, True)
    dut = made(layer, kind, lanes, list(MemoryStyle)[seed % 3], int(rng.integers(lanes + 1)))
    shape = SlopeShape.of(
        range(kind.low, kind.high + 1), lanes=lanes, group=kind.shape[2],
        multipliers=layer.multipliers.tolist(), offsets=layer.offsets.tolist(),
        breakpoints=layer.breakpoints.tolist(), shift=layer.shift)
    assert shape.bent == layer.is_bent
    assert dut.latency == shape.latency
    ends = run_block(dut, x, golden.execute(layer, x), (kind, port), (result, port))
    beats = 3 * -(-kind.shape[2] // lanes)
    assert set(np.diff(ends)) == {beats}
    assert ends[0] - 1 == dut.latency + beats - 1


def test_block_refuses_what_does_not_fit() -> None:
    layer, kind = random_layer(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        made(layer, kind, 0, MemoryStyle.LOGIC)
    fields: dict[str, Any] = {"lanes": 1, "group": 1, "shift": 0, "low": 0, "high": 1,
                              "style": MemoryStyle.LOGIC, "technology": Generic()}
    with pytest.raises(ValueError, match="at least one breakpoint, and for each a pair"):
        SlopeRequantizer(8, 1, multipliers=[[2, 1]], offsets=[[0]], breakpoints=[3], **fields)
    with pytest.raises(ValueError, match=r"bounds must be ordered and fit 1, not \(0, 2\)"):
        SlopeRequantizer(8, 1, multipliers=[[2, 1]], offsets=[[0, 0]], breakpoints=[3],
                         **{**fields, "high": 2})


def reactnet(seed: int) -> Network:
    """Two blocks of ReActNet: the second halves the map and doubles the channels."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((4, 4, 1), (7, 7, 4)))
    grow = Builder(TensorType((height, width, 2), 4, False))
    grow.add(ir.Convolution("conv", "x", random_weights(rng, (channels, 3, 3, 2)),
                            np.zeros(channels, np.int64), (1, 1), (1, 1, 1, 1)))
    grow.add(random_slopes(rng, "stream", "conv", grow.type))
    block(grow, rng, "one", channels, (1, 1))
    block(grow, rng, "two", 2 * channels, (2, 2))
    grow.add(ir.Flatten("flatten", grow.tail))
    grow.add(ir.Dense("dense", grow.tail, random_weights(rng, (3, grow.type.elements)),
                      np.zeros(3, np.int64)))
    return grow.network()


def block(grow: Builder, rng: np.random.Generator, name: str, outputs: int,
          stride: tuple[int, int]) -> None:
    """A convolution of signs, a shortcut beside it, and two slopes behind their sum."""
    source, kind = grow.tail, grow.type
    grow.add(random_sign(rng, f"{name}_sign", source, kind))
    weights = rng.choice([-1, 1], (outputs, 3, 3, kind.shape[2]))
    grow.add(ir.Convolution(f"{name}_conv", grow.tail, ir.Weights(weights, 2),
                            np.zeros(outputs, np.int64), stride, (1, 1, 1, 1), -1))
    grow.add(random_slopes(rng, f"{name}_act", grow.tail, grow.type))
    body, shortcut = grow.tail, source
    if stride != (1, 1):
        grow.add(ir.SumPool(f"{name}_pool", source, (2, 2), stride, (0, kind.shape[0] % 2,
                                                                   0, kind.shape[1] % 2)))
        grow.add(ir.ShiftRequantize(f"{name}_mean", grow.tail, 2, 6, True))
        grow.add(ir.Repeat(f"{name}_repeat", grow.tail, outputs // kind.shape[2]))
        shortcut = grow.tail
    grow.add(ir.Add(f"{name}_add", body, shortcut))
    grow.add(random_slopes(rng, f"{name}_prelu", grow.tail, grow.type))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 6, *(pytest.param(n, marks=pytest.mark.slow)
                                           for n in range(1, 4))])
def test_a_reactnet_equals_golden_in_the_predicted_cycles(seed: int) -> None:
    network = reactnet(seed)
    plan = random_plan(network, seed)
    assert all(plan.layer(f"{name}_act").work("multipliers") for name in ("one", "two"))
    check_network(network, plan, frames=3, seed=seed)


def test_multipliers_of_slopes_count(tmp_path: Path) -> None:
    network = reactnet(1)
    few, many = (schedule(network, Budget(ECP5, replace(PLENTY, dsps=dsps), 10**6),
                          Goal(1000)) for dsps in (0, 10**4))
    for plan, wanted in ((few, 0), (many, many.multipliers)):
        assert plan.resources.dsps == wanted
        assert plan.multipliers == sum(layer.work("multipliers") for layer in plan.layers)
        acts = [layer for layer in plan.layers if layer.kind == "sloperequantize"]
        assert [layer.work("multipliers") for layer in acts] == [layer.i.lanes for layer in acts]
    with pytest.raises(PenjingError, match=r"it needs \d+ multipliers"):
        schedule(network, Budget(ECP5, PLENTY, 5))
    path = tmp_path / "plan.json"
    plan_file.save(many, network, path)
    assert plan_file.load(path, network) == many


# --- the tests can fail; test_mutations has a reader that never waits
SLOPES = Layer("slopes", "x", np.array([[1, 4], [-2, 3], [5, 5]]),
               np.array([[0, 0], [8, 0], [-4, 0]]), np.array([0, -1, 2]), 2, 5, True)


@pytest.mark.parametrize("changes", [
    {}, {"multipliers": SLOPES.multipliers[:, ::-1]}, {"offsets": SLOPES.offsets - 1},
    {"breakpoints": np.roll(SLOPES.breakpoints, 1)}])
def test_a_fault_is_seen(changes: dict[str, Any]) -> None:
    kind, port = TensorType((8, 3, 3), 4, True), Port(2, 3)
    x = images(SLOPES, kind, np.random.default_rng(1))
    dut = made(replace(SLOPES, **changes), kind, 2, MemoryStyle.LOGIC)
    with pytest.raises(AssertionError, match=r"^frame") if changes else nullcontext():
        run_block(dut, x, golden.execute(SLOPES, x), (kind, port),
                  (TensorType(kind.shape, 5, True), port))


# --- the search
def levels(x: Integers, low: int, high: int, *lines: tuple[float, float], bend: float = -1e9
           ) -> Levels:
    """Slope and offset of one line for all ``x``, or of two that meet at ``bend``; one row."""
    upper = x >= bend
    values = np.where(upper, lines[-1][0] * x + lines[-1][1], lines[0][0] * x + lines[0][1])
    return Levels(x, np.clip(np.floor(values + 0.5), low, high).astype(np.int64)[None],
                  upper[None], low, high)


def found(wanted: Levels) -> Layer | None:
    """The layer, which must be the function."""
    layer = wanted.layer("s", "x", TensorType((1, 1, 1), 9, True, 3))
    if layer is None:
        return None
    got = golden.execute(layer, wanted.x[:, None, None, None]).reshape(1, -1)
    assert np.array_equal(got, wanted.values)
    assert isinstance(layer, Layer)
    return layer


def test_few_bits_are_found_where_they_are_enough() -> None:
    x = np.arange(-256, 256)
    layer = found(levels(x, -128, 127, (0.375, 3), (1, -17.2), bend=31.5))
    assert layer is not None
    assert (layer.shift, layer.multipliers.tolist(), layer.breakpoints.tolist()) == (
        3, [[3, 8]], [32])
    assert layer.fraction == 3
    assert not found(levels(x, -128, 127, (-0.75, 3))).is_bent  # type: ignore[union-attr]
    constant = found(levels(x, -128, 127, (0, 77)))
    assert constant is not None
    assert (constant.shift, constant.multipliers.tolist(), constant.offsets.tolist()) == (
        0, [[0, 0]], [[77, 77]])


@pytest.mark.parametrize("signs", [144, 576, 4000])
def test_any_line_behind_sums_of_signs_is_found(signs: int) -> None:
    rng = np.random.default_rng(signs)
    x = np.arange(-signs, signs + 1, 2)
    for factor in (0.01, 0.3, 1.7, -0.6, 40.0):
        layer = found(levels(x, -128, 127, (factor * rng.uniform(0.7, 1.3), rng.normal(0, 30))))
        assert layer is not None
        assert layer.shift <= 18


def test_a_shift_is_no_multiplication() -> None:
    x = np.arange(-500, 500)
    layer = levels(x, -100, 90, (0.25, 0)).layer("s", "x", TensorType((1, 1, 1), 8, True))
    assert layer == ir.ShiftRequantize("s", "x", 2, 8, True, -100, 90)


def test_what_is_no_line_is_not_found() -> None:
    x = np.arange(-100, 100)
    curve = Levels(x, (x * x // 100)[None], np.ones((1, 200), np.bool_), -128, 127)
    assert found(curve) is None
    assert found(levels(x, -128, 127, (0, 0), (1, 0), bend=0)) is not None
    kink = levels(x, -128, 127, (0, 0), (1, 0), bend=0)
    assert found(Levels(x, kink.values, np.ones((1, 200), np.bool_), -128, 127)) is None


def test_channels_have_lines_of_their_own() -> None:
    x = np.arange(-60, 61)
    values = np.stack([x, np.clip(-x, -40, 40), np.full_like(x, 7)])
    layer = Levels(x, values, np.ones(values.shape, np.bool_), -64, 63).layer(
        "s", "x", TensorType((1, 1, 1), 7, True))
    assert layer is None  # 40 is no bound of the type
    layer = Levels(x, np.clip(values, -40, 40), np.ones(values.shape, np.bool_), -40, 40).layer(
        "s", "x", TensorType((1, 1, 1), 7, True))
    assert isinstance(layer, Layer)
    assert layer.multipliers[:, 1].tolist() == [1, -1, 0]
