"""Winograd's form of convolutions: the same integers, exact cycles and latency, and the choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import check
from networks import PLENTY, random_images, random_requantization
from penjing import flow
from penjing.__main__ import main
from penjing.compiler import file, ir, winograd
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Dot, Transform
from penjing.compiler.dataflow.search import Candidate, Goal, search
from penjing.compiler.ir import Builder, Network, PenjingError, TensorType
from penjing.flow.compile import in_winograd_form
from penjing.hdl.combine import CombinerShape
from penjing.hdl.window_geometry import WindowGeometry
from penjing.sim import golden

TILES = ir.WINOGRAD_TILES
Padding = tuple[int, int, int, int]


def convolved(seed: int, size: tuple[int, int], padding: Padding, *, residual: bool = False
              ) -> Network:
    """A convolution of extreme weights, of an input with any zero point, and a requantization;
    maybe a branch beside it."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 5))
    kind = TensorType((*size, channels), 4, bool(rng.integers(2)))
    outputs = channels if residual else int(rng.integers(1, 5))
    values = rng.choice([-8, 7, 0, 3], (outputs, 3, 3, channels))
    values.flat[:3] = -8, 7, 3
    net = Builder(kind)
    net.add(ir.Convolution("conv", "x", ir.Weights(values, 4), rng.integers(-99, 99, outputs),
                           padding=padding, pad_value=int(rng.choice([kind.low, kind.high, 0]))))
    if residual:
        net.add(ir.Add("sum", "conv", "x"))
    net.add(random_requantization(rng, "scale", net.tail, net.type))
    return net.network()


def sizes() -> Iterator[tuple[tuple[int, int], Padding]]:
    """Maps of 1 to 5 rows and columns, with and without a border."""
    paddings: list[Padding] = [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 2, 1)]
    for *size, padding in product(range(1, 6), range(1, 6), paddings):
        height, width = size
        if height + sum(padding[:2]) >= 3 and width + sum(padding[2:]) >= 3:
            yield (height, width), padding


def found(network: Network, cycles: int | None = None) -> Candidate:
    return search(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))


# --- what it computes
def test_the_transforms_by_hand() -> None:
    row = np.array([10, 1, 4, 7])
    assert golden.winograd_input(row[None, None, :, None], (1, 2)).reshape(-1).tolist() == [
        10 - 4, 1 + 4, 4 - 1, 1 - 7]
    # Counted from 3, only the sum of two elements changes; what lies beyond the edge is 3, too.
    assert golden.winograd_input(row[None, None, :3, None], (1, 2), (0, 0, 0, 1), 3, 3
                                 ).reshape(-1).tolist() == [6, 5 - 6, 3, 1 - 3]
    corner = np.zeros((1, 4, 4, 1), np.int64)
    corner[0, 1, 2, 0] = 1
    wanted = np.outer([0, 1, -1, 1], [-1, 1, 1, 0]).reshape(-1)
    assert golden.winograd_input(corner, (2, 2)).reshape(-1).tolist() == wanted.tolist()
    products = np.array([3, 5, 2, 8])[None, None, :, None]
    # (3 + 5 + 2) / 2 and (5 - 2 - 9) / 2
    products[0, 0, 3] = 9
    assert golden.winograd_output(products, (1, 2), np.array([100]), -999, 999).reshape(
        -1).tolist() == [100 + 5, 100 - 3]


def test_products_take_turns_by_column() -> None:
    x = np.arange(1, 7).reshape(1, 1, 6, 1)
    weights = np.array([1, 10, 100]).reshape(3, 1, 1, 1)
    assert golden.winograd_products(x, weights, np.array([0, 0, 7]), turns=3).reshape(
        -1).tolist() == [1, 20, 307, 4, 50, 607]


def test_a_kernel_of_ones_by_hand() -> None:
    """Of 1, 1, 1 the doubled transform is 2, 3, 1, 2, in rows and columns."""
    values = np.ones((2, 3, 3, 1), np.int64) * np.array([1, 5]).reshape(2, 1, 1, 1)
    layer = ir.Convolution("conv", "x", ir.Weights(values, 4), np.array([3, -4]))
    network = Network("net", "x", TensorType((4, 4, 1), 4, False, 1), (layer,))
    tiles, products, outputs = winograd.rewritten(network, {"conv": (2, 2)}).layers
    assert isinstance(products, ir.WinogradProducts)
    assert isinstance(outputs, ir.WinogradOutput)
    wanted = np.outer([2, 3, 1, 2], [2, 3, 1, 2]).reshape(-1, 1) * [1, 5]
    np.testing.assert_array_equal(products.weights.values.reshape(16, 2), wanted)
    assert (products.turns, products.weights.bits, products.weights.fraction) == (16, 7, 2)
    assert (outputs.bias.tolist(), outputs.bits) == ([3, -4], network.output_type.bits)
    names = ["conv_tiles", "conv_products", "conv"]
    assert [one.name for one in (tiles, products, outputs)] == names
    # 4 tiles of 4 outputs by 16 products each, in place of 9 an output
    form = winograd.rewritten(network, {"conv": (2, 2)})
    assert (form.macs, network.macs) == (16 * 2, 36 * 2)
    assert winograd.rewritten(network, {"conv": (1, 2)}).macs == 24 * 2


@pytest.mark.parametrize("tile", TILES)
def test_all_sizes_compute_the_same(tile: tuple[int, int]) -> None:
    for seed, (size, padding) in enumerate(sizes()):
        network = convolved(seed, size, padding, residual=padding == (1, 1, 1, 1))
        form = winograd.rewritten(network, {"conv": tile})
        assert form.type_of("conv") == network.type_of("conv")
        x = random_images(network.input_type, 6, seed)
        np.testing.assert_array_equal(golden.run(form, x), golden.run(network, x))


@pytest.mark.parametrize("tile", TILES)
def test_pytorch_computes_likewise(tile: tuple[int, int]) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install penjing[torch]")
    from penjing.sim.oracles import torch as oracle

    for seed, (size, padding) in enumerate(sizes()):
        form = winograd.rewritten(convolved(seed, size, padding), {"conv": tile})
        form = Network("net", "x", form.input_type, form.layers[:-1])
        x = random_images(form.input_type, 3, seed)
        np.testing.assert_array_equal(oracle.run(form, x), golden.run(form, x))


def test_what_has_no_such_form() -> None:
    def layer(shape: tuple[int, ...] = (2, 3, 3, 2), bits: int = 8, most: int = 5, *,
              encoding: ir.Encoding = ir.Plain(), loadable: bool = False, **more: Any  # noqa: B008
              ) -> ir.Layer:
        values = np.full(shape, -(1 << bits - 1))
        values.flat[:3] = 0, 5, most
        weights = ir.Weights(values, bits, encoding=encoding, loadable=loadable)
        return ir.Convolution("conv", "x", weights, np.zeros(shape[0], np.int64), **more)

    assert winograd.eligible(layer(most=4))
    assert winograd.eligible(layer(most=4, bits=12))
    for other in (layer((2, 3, 2, 2), most=4), layer(most=4, stride=(2, 1)),
                  layer((2, 3, 3, 1), most=4, groups=2), layer(most=4, encoding=ir.Codebook()),
                  layer(most=4, loadable=True), layer(), layer(most=4, bits=13)):
        assert not winograd.eligible(other)
    kind = TensorType((5, 5, 2), 4, True)
    network = Network("net", "x", kind, (layer(most=4, stride=(2, 2)),))
    with pytest.raises(PenjingError, match=r"'conv' is no dense .*; the network has none$"):
        winograd.rewritten(network, {"conv": (2, 2)})
    network = Network("net", "x", kind, (layer(most=4),))
    with pytest.raises(PenjingError, match=r"'other' is no dense .*; name one of conv$"):
        winograd.rewritten(network, {"other": (2, 2)})


@pytest.mark.parametrize(("make", "reason"), [
    (lambda: ir.WinogradInput("a", "x", (2, 1)), r"tile must be one of \(2, 2\), \(1, 2\), not"),
    (lambda: ir.WinogradInput("a", "x", (1, 2), (1, 0, 0, 0)), "padding .* must be smaller than"),
    (lambda: ir.WinogradInput("a", "x", (2, 2), zero=99), "zero must lie within"),
    (lambda: ir.WinogradInput("a", "x", (2, 2), pad_value=99, padding=(1, 1, 1, 1)),
     "pad value must lie within"),
    (lambda: ir.WinogradInput("a", "x", (2, 2), zero="1"), "zero must be an integer"),
    (lambda: products((4, 1, 2, 3), 2), r"its kernel must have one column"),
    (lambda: products((4, 1, 1, 3), 3), "turns must be an integer that divides its 4 rows"),
    (lambda: products((4, 1, 1, 2), 2), "weights take 2 channels, its input has 3"),
    (lambda: products((5, 1, 1, 3), 5), "has 4 columns, which must be a multiple of the 5 turns"),
    (lambda: products((4, 1, 1, 3), 2, loadable=True), "its weights cannot be loadable"),
    (lambda: ir.WinogradOutput("a", "x", (2, 2), 8, np.zeros(3, np.int64)),
     "has 4 columns, which must be a multiple of the 16 products"),
    (lambda: ir.WinogradOutput("a", "x", (1, 2), 1, np.zeros(3, np.int64)), "bits must be"),
    (lambda: ir.WinogradOutput("a", "x", (1, 2), 8, np.array([128, 0, 0])), "values must lie"),
    (lambda: ir.WinogradOutput("a", "x", (1, 2), 8, np.zeros(2, np.int64)),
     r"must have shape \(3,\)"),
])
def test_layers_that_are_refused(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(PenjingError, match=f"^layer a: .*{reason}"):
        Network("net", "x", TensorType((4, 4, 3), 4, True), (make(),))


def products(shape: tuple[int, ...], turns: int, *, loadable: bool = False) -> ir.WinogradProducts:
    return ir.WinogradProducts("a", "x", ir.Weights(np.ones(shape, np.int64), 2, loadable=loadable),
                               np.zeros(shape[0], np.int64), turns=turns)


def test_products_of_other_kernels_are_refused() -> None:
    layer = ir.WinogradOutput("out", "x", (1, 2), 4, np.zeros(1, np.int64))
    for values in ([1, 0, 0, 0], [16, 0, 0, 0]):
        with pytest.raises(PenjingError, match="sums must be 2 times integers from -8 to 7"):
            golden.execute(layer, np.array(values).reshape(1, 1, 4, 1))


# --- hardware
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_hardware_takes_its_predicted_cycles(seed: int) -> None:
    """Any border and size, at any pace, alone or with a branch beside it."""
    rng = np.random.default_rng((7, seed))
    p = rng.integers(0, 3, 4)
    padding = (1, 1, 1, 1) if seed % 4 == 0 else tuple(p.tolist())
    size = [int(rng.integers(max(1, 3 - a - b), 6)) for a, b in (padding[:2], padding[2:])]
    network = convolved(seed, (size[0], size[1]), padding, residual=padding == (1, 1, 1, 1))
    tile = TILES[seed % 2 if seed % 4 else seed // 4 % 2]
    form = winograd.rewritten(network, {"conv": tile})
    fewest = max(int(np.prod(form.type_of(layer.name).shape[:2])) * (
        (3 if layer is form.layers[2] else 2) ** tile.count(2)) for layer in form.layers[:3])
    check(form, found(form, int(fewest * rng.uniform(1, 8)) + 8))


@pytest.mark.slow
def test_two_in_a_row_are_exact() -> None:
    """The second begins with what the first has of a row."""
    rng = np.random.default_rng(3)
    net = Builder(TensorType((5, 4, 2), 3, True))
    for n, outputs in enumerate((4, 2)):
        values = rng.integers(-8, 8, (outputs, 3, 3, net.type.shape[2]))
        net.add(ir.Convolution(f"conv{n}", net.tail, ir.Weights(values, 4),
                               rng.integers(-9, 9, outputs), padding=(1, 1, 1, 1)))
        net.add(ir.ShiftRequantize(f"shift{n}", net.tail, 4, 4, True))
    form = winograd.rewritten(net.network(), {"conv0": (2, 2), "conv1": (1, 2)})
    candidate = found(form, 400)
    check(form, candidate)
    kinds = {layer.name: type(layer.kind) for layer in candidate.plan.layers}
    assert {kinds["conv0_tiles"], kinds["conv0_whole"], kinds["conv1_tiles"]} == {Transform}
    assert kinds["conv0_products"] is kinds["conv1_products"] is Dot


def test_lanes_divide_the_channels() -> None:
    channels = 6
    layer = ir.WinogradInput("tiles", "x", (2, 2), (1, 1, 1, 1))
    network = Network("net", "x", TensorType((4, 4, channels), 4, True), (layer,))
    reads = 4 * 16 * 4  # 4 tiles of 16 sums of 4 elements
    for cycles, lanes in ((reads * 6, 1), (reads * 3, 2), (reads * 2, 3), (reads * 2 - 1, 6),
                          (reads, 6)):
        plan = found(network, cycles).plan
        assert plan.layer("tiles").o.lanes == lanes
        assert plan.cycles_per_frame == reads * channels // lanes


TAPS = (((0, 0), (0, 2)), ((0, 1), (0, 2)))


@pytest.mark.parametrize(("change", "reason"), [
    ({"gathers": (TAPS, TAPS)}, "gathers must be per channel, for each pass"),
    ({"per_channel": False}, "gathers must be per channel"),
    ({"gathers": ((((0, 0),), ((0, 1), (0, 2))),)}, "equally many taps"),
    ({"gathers": ((((0, 1), (0, 2)), ((0, 0), (0, 2))),)}, "the tap that comes first"),
    ({"lanes": 2}, "lanes must divide the 3 channels")])
def test_windows_that_gather_otherwise_are_refused(change: dict[str, object], reason: str) -> None:
    usual = {"size": (2, 6, 3), "kernel": (1, 4), "stride": (1, 2), "padding": (0, 0, 0, 0),
             "lanes": 1, "per_channel": True, "gathers": (TAPS,)}
    assert WindowGeometry(**usual).reads == 2 * 2 * 3  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        WindowGeometry(**{**usual, **change})  # type: ignore[arg-type]


def test_moves_of_a_window_that_gathers() -> None:
    """Of 3 channels by 1 lane: to the next tap, slice, output, column, row and frame."""
    window = WindowGeometry((2, 6, 3), (1, 4), (1, 2), (0, 0, 0, 0), 1, per_channel=True,
                            gathers=(TAPS,))
    assert window.moves[0, 0, 0][0] == 2 * 3
    assert window.moves[0, 0, 1][1:3] == (1 - 2 * 3, 3 - 2 * 3 - 2)
    assert window.moves[0, 1, 1][3:] == (2 * 3 - 2 * 3 - 2, 6 * 3 - 2 * 3 - 2 - 2 * 3,
                                         36 - 18 - 2 * 3 - 2 - 2 * 3)


@pytest.mark.parametrize(("signs", "constants", "reason"), [
    ((((False,), (True, False)),), ((0,),), "signs must be of equally many"),
    ((((False,),), ((False,), (True,))), ((0,),), "signs must be of equally many"),
    ((((False,), (True,)),), ((0,),), "signs must begin with an element that is added"),
    ((((False,), (False,)),), ((0,), (1,), (2,)), "constants must be of beats")])
def test_sums_that_are_refused(signs: tuple[tuple[tuple[bool, ...], ...], ...],
                               constants: tuple[tuple[int, ...], ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CombinerShape(4, True, 6, 0, signs, constants, 1, 2)


# --- the choice
def test_one_layer_after_the_other_is_asked() -> None:
    """All have the form at first if that is less; each keeps what makes the sum less."""
    rng = np.random.default_rng(2)
    net = Builder(TensorType((7, 7, 2), 4, True))
    for n, outputs in enumerate((5, 3, 2)):
        net.add(ir.Convolution(f"c{n}", net.tail, ir.Weights(rng.integers(-8, 8, (
            outputs, 3, 3, net.type.shape[2])), 4), rng.integers(-9, 9, outputs)))
        net.add(ir.ShiftRequantize(f"s{n}", net.tail, 4, 4, True))
    network, asked = net.network(), []
    best = {"c0": (1, 2), "c1": (2, 2), "c2": None}

    def worth(form: Network) -> tuple[int, ...] | None:
        tiles = {layer.name.removesuffix("_tiles"): layer.tile for layer in form.layers
                 if isinstance(layer, ir.WinogradInput)}
        asked.append(tiles)
        wrong = [name for name, tile in best.items() if tiles.get(name) != tile]
        return None if len(tiles) == 1 else (len(wrong) + ("c1" in wrong),)

    form = winograd.improved(network, worth)
    assert form == winograd.rewritten(network, {"c0": (1, 2), "c1": (2, 2)})
    assert asked[:2] == [{}, dict.fromkeys(best, (2, 2))]
    assert len(asked) == 2 + 2 + 2 + 3
    assert winograd.improved(network, worth, best) == network


def test_what_users_write() -> None:
    assert flow.parse_winograd("auto") is None
    assert flow.parse_winograd("off") == {}
    assert flow.parse_winograd("a, b=1x2,a=2x2") == {"a": (2, 2), "b": (1, 2)}
    for text, reason in (("a=3x3", "'a=3x3' does not name"), ("", "'' does not name"),
                         ("a,a=1x2", "a is to have two tiles")):
        with pytest.raises(PenjingError, match=f"^winograd: {reason}"):
            flow.parse_winograd(text)


def test_the_plan_takes_it_where_it_is_faster() -> None:
    """16 channels on 12×12: fewer cycles by the multipliers that there are; at a frame rate, fewer
    multipliers; with folds by hand, or as it stands, nothing."""
    rng = np.random.default_rng(4)
    layer = ir.Convolution("conv", "x", ir.Weights(rng.integers(-99, 99, (16, 3, 3, 16)), 8),
                           rng.integers(-999, 999, 16), padding=(1, 1, 1, 1))
    network = Network("net", "x", TensorType((12, 12, 16), 8, True), (layer,))
    target = flow.Target("ulx3s-85f", budget={"multipliers": 24})
    form = in_winograd_form(network, target, None)
    plans = [flow.plan(one, target) for one in (network, form)]
    assert [type(one).__name__ for one in form.layers[:2]] == ["WinogradInput", "WinogradProducts"]
    assert plans[1].cycles_per_frame < 0.6 * plans[0].cycles_per_frame
    assert in_winograd_form(network, target, {}) == network
    assert in_winograd_form(network, target, {"conv": (1, 2)}) == winograd.rewritten(
        network, {"conv": (1, 2)})


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "net.penjing", tmp_path / "out"
    file.save(convolved(1, (4, 4), (1, 1, 1, 1)), path)
    usual = ["compile", str(path), "-b", "generic", "-o", str(out), "--json",
             "--encoding", "conv=plain"]
    assert main([*usual, "--winograd", "conv=1x2"]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]] == [
        "conv_tiles", "conv_products", "conv", "scale"]
    project = flow.Project.open(out)
    assert isinstance(project.network.layers[2], ir.WinogradOutput)
    assert project.plan.layer("conv").kind == next(
        layer.kind for layer in flow.plan(project.network, flow.Target("generic")).layers
        if layer.name == "conv")
    assert main([*usual, "--winograd", "scale"]) == 2
    assert capsys.readouterr().err == (
        "penjing: error: winograd: 'scale' is no dense 3×3 convolution of stride 1 with plain "
        "weights; name one of conv\n")
    assert main([*usual, "--winograd", "conv", "--loadable"]) == 2
    assert capsys.readouterr().err.endswith("with plain weights; the network has none\n")
    folds = tmp_path / "folds.json"
    folds.write_text('{"conv": {"pe": 1, "simd": 1}}')
    assert main([*usual, "--winograd", "auto", "--folds", str(folds)]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]] == [
        "conv", "scale"]
