"""Slope requantization: the layer, the search for its constants, and the hardware's golden twin."""

from __future__ import annotations

import numpy as np
import pytest
from penjing.compiler import file, ir
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.compiler.load import torch as pytorch
from penjing.sim import golden

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
        assert np.array_equal(pytorch.execute_integers(network, x), golden.run(network, x))
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
        ir.output_type(Layer("s", "x", two, two, np.array([0, 1]), 0, 8, True),
                       TensorType((1, 1, 3), 8, True))
    with pytest.raises(PenjingError, match="its sums may need 66 bits, more than 48; narrow its"):
        ir.output_type(Layer("s", "x", np.array([[-1 << 17, 1]]), np.array([[0, 0]]),
                             np.array([0]), 0, 8, True), TensorType((1, 1, 1), 48, True))


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
    for slope in (0.01, 0.3, 1.7, -0.6, 40.0):
        layer = found(levels(x, -128, 127, (slope * rng.uniform(0.7, 1.3), rng.normal(0, 30))))
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
