"""`penjing check`: all obstacles of a file and no others, the host's part, the smallest board."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_files
import others
import pt2_files
import pytest
import qonnx_files
import tflite_files
from penjing import boards, flow
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import aten, onnx, pt2, pt2e, tflite
from penjing.compiler.load.aten.graph import place
from penjing.compiler.load.refusal import Refused
from penjing.flow.check import Check

FORMATS = (".tflite", ".onnx", ".pt2")
Damage = Callable[[Any], Any]


# --- which obstacles are found
def onnx_parts(data: bytes) -> tuple[Sequence[Any], Callable[[Any], object], Damage, Damage]:
    """The nodes of a file, what reads them, what makes one unknown, and how one is called."""
    graph = onnx.parse(data)
    return (graph.nodes, lambda nodes: onnx.convert(replace(graph, nodes=nodes), "net"),
            lambda node: replace(node, operator="Unheard", domain=""), lambda node: node.place)


def pt2_parts(data: bytes) -> tuple[Sequence[Any], Callable[[Any], object], Damage, Damage]:
    program = pt2.parse(data, "file")
    read = ((lambda nodes: pt2e.convert(replace(program, nodes=nodes), "file", "net"))
            if pt2e.is_quantized(program)
            else lambda nodes: aten.convert(replace(program, nodes=nodes), "file"))
    return program.nodes, read, lambda node: replace(node, target="aten.unheard.default"), place


def tflite_parts(data: bytes) -> tuple[Sequence[Any], Callable[[Any], object], Damage, Damage]:
    model = tflite.parse(data)
    return (model.operators, lambda nodes: tflite.convert(replace(model, operators=nodes), "net"),
            lambda node: replace(node, kind="UNHEARD"), lambda node: f"operator {node.index}")


def with_shapes(data: bytes) -> bytes:
    """The model with the shapes of all tensors, as exporters write them."""
    model = onnx_files.onnx.load_model_from_string(data)
    return onnx_files.onnx.shape_inference.infer_shapes(model).SerializeToString()


def tflite_file(seed: int) -> bytes:
    drawn = tflite_files.Drawn(np.random.default_rng(seed))
    (tflite_files.residual, tflite_files.flatten)[seed % 2](drawn)
    return drawn.bytes()


def onnx_file(seed: int) -> bytes:
    style = onnx_files.Style(qlinear=seed == 1)
    return onnx_files.residual_network(np.random.default_rng(seed), style)


PARTS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "tflite": lambda seed: tflite_parts(tflite_file(seed)),
    "onnx": lambda seed: onnx_parts(onnx_file(seed)),
    "onnx with shapes": lambda seed: onnx_parts(with_shapes(onnx_file(seed))),
    "qonnx": lambda seed: onnx_parts(qonnx_files.random_model(np.random.default_rng(seed))),
    "pt2": lambda seed: pt2_parts(pt2_files.float_network(np.random.default_rng(seed)).bytes()),
    "pt2e": lambda seed: pt2_parts(
        pt2_files.residual_network(np.random.default_rng(seed)).bytes()),
}


def found(read: Callable[[Any], object], nodes: Sequence[Any]) -> list[str]:
    """The places of the obstacles, each with its reason and way out."""
    with pytest.raises(Refused) as caught:
        read(tuple(nodes))
    for one in caught.value.obstacles:
        assert one.operator.upper().endswith(("UNHEARD", "UNHEARD.DEFAULT"))
        assert "supported" in one.reason
        assert one.way_out
    assert str(caught.value).endswith(str(caught.value.obstacles[0]))
    return [one.node for one in caught.value.obstacles]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", PARTS)
def test_each_unknown_operator_is_found_and_no_other(name: str, seed: int) -> None:
    nodes, read, damage, called = PARTS[name](seed)
    read(nodes)  # nothing else stands in the way
    rng = np.random.default_rng(seed)
    # A softmax with something unknown behind it is an obstacle, as it is not at the end.
    most = next((n + 1 for n, node in enumerate(nodes) if getattr(node, "kind", "") == "SOFTMAX"),
                len(nodes))
    for count in (1, 2, 2, 3, most):
        chosen = {int(n) for n in rng.choice(most, min(count, most), replace=False)}
        damaged = [damage(node) if n in chosen else node for n, node in enumerate(nodes)]
        assert sorted(found(read, damaged)) == sorted(called(nodes[n]) for n in chosen)


# What a known operator is refused for is told where the file says what it reads.
def obstacles(read: Callable[[], object]) -> list[tuple[str, str, str]]:
    with pytest.raises(Refused) as caught:
        read()
    return [(one.operator, one.reason, one.way_out) for one in caught.value.obstacles]


@pytest.mark.parametrize("dialect", ["qdq", "qlinear", "qonnx"])
def test_refusals_behind_a_refused_node_are_found(dialect: str) -> None:
    net = onnx_files.Model((1, 2, 4, 4))
    scale, zero = net.constant(0.5, onnx_files.FLOAT), net.constant(0, onnx_files.INT8)
    zeros, bits = (net.constant(value, onnx_files.FLOAT) for value in (0, 8))

    def quantized(name: str) -> str:
        if dialect == "qonnx":
            return net.node("Quant", name, scale, zeros, bits, signed=1)
        return net.node("DequantizeLinear", net.node("QuantizeLinear", name, scale, zero), scale,
                        zero)

    name = quantized(net.node("Foo", quantized("x")))
    if dialect == "qlinear":
        made = net.node("QuantizeLinear", name, scale, zero)
        name = net.node("QLinearConv", made, scale, zero, net.constant(
            np.ones((2, 2, 1, 1)), onnx_files.INT8), scale, zero, scale, zero, strides=[0, 1])
        name = net.node("DequantizeLinear", name, scale, zero)
    name = quantized(net.node("MaxPool", name, kernel_shape=[2, 2], dilations=[2, 2]))
    name = net.node("Bar", name)
    graph = onnx.parse(net.bytes(quantized(name)))
    shapes = {tensor: (1, 2, 4, 4) for node in graph.nodes for tensor in node.outputs}
    found = obstacles(lambda: onnx.convert(replace(graph, dims=shapes), "net"))
    assert [operator for operator, *_ in found] == [
        "Foo", *["QLinearConv"] * (dialect == "qlinear"), "MaxPool", "Bar"]
    assert [operator for operator, *_ in obstacles(lambda: onnx.convert(graph, "net"))] == [
        "Foo", "Bar"]  # without shapes nothing is known of what the pool reads


def test_refusals_behind_a_refused_operator_of_tflite_are_found() -> None:
    net = tflite_files.File()
    size = net.tensor((2,), "INT32", data=np.array([7, 7]))
    maps = [net.tensor((1, 4, 4, 2), scale=0.5) for _ in range(2)]
    large, last = (net.tensor((1, 7, 7, 2), scale=0.5) for _ in range(2))
    net.operator("ABS", maps[:1], maps[1:])
    net.operator("RESIZE_NEAREST_NEIGHBOR", [maps[1], size], [large],
                 "ResizeNearestNeighborOptions", alignCorners=True)
    net.operator("SIN", [large], [last])
    net.graph.inputs, net.graph.outputs = maps[:1], [last]
    found = obstacles(lambda: tflite.convert(tflite.parse(net.bytes()), "net"))
    assert [operator for operator, *_ in found] == ["ABS", "RESIZE_NEAREST_NEIGHBOR", "SIN"]
    assert found[0][1:] == ("it is not supported", "replace it, or cut the network there")


def test_refusals_behind_a_refused_operator_of_pytorch_are_found() -> None:
    net = pt2_files.File((3, 8, 8))
    weight = net.weight(np.ones((4, 3, 1, 1), np.float32))
    x = net.node("foo.default", (3, 8, 8), self=pt2.Reference("x"))
    x = net.node("conv2d.default", (4, 8, 8), input=x, weight=weight, stride=[1, 1])
    x = net.node("max_pool2d.default", (4, 4, 4), self=x, kernel_size=[2, 2], stride=[],
                 padding=[0, 0], dilation=[2, 2])
    x = net.node("bar.default", (4, 4, 4), self=x)
    net.node("relu.default", (4, 4, 4), self=x)
    assert obstacles(lambda: aten.convert(pt2.parse(net.bytes(), "net"), "net")) == [
        ("aten.foo.default", "not supported", "replace it"),
        ("aten.max_pool2d.default", "a dilated max pool is not supported", "use dilation = 1"),
        ("aten.bar.default", "not supported", "replace it")]


def test_what_follows_from_a_refused_operator_does_not_hide_it() -> None:
    net = pt2_files.File((4, 8))
    x = net.node("foo.default", (4, 8), self=pt2.Reference("x"))
    net.node("add.Tensor", (4, 8), self=pt2.Reference("x"), other=x)
    assert obstacles(lambda: aten.convert(pt2.parse(net.bytes(), "net"), "net")) == [
        ("aten.foo.default", "not supported", "replace it")]


def test_a_float_file_is_one_obstacle() -> None:
    """Each of its operators could be refused for the reals that it reads."""
    net = onnx_files.Model((1, 2, 4, 4))
    name = "x"
    for _ in range(3):
        name = net.node("Conv", name, net.constant(np.ones((2, 2, 1, 1)), onnx_files.FLOAT))
    with pytest.raises(Refused) as caught:
        onnx.convert(onnx.parse(net.bytes(name)), "net")
    assert [one.node for one in caught.value.obstacles] == ["conv0"]


# --- the command
def written(folder: Path, suffix: str) -> Path:
    """A small network of the kind that ``suffix`` tells."""
    rng = np.random.default_rng(3)
    path = folder / f"net{suffix}"
    if suffix == ".penjing":
        file.save(ir.Network("net", "x", ir.TensorType((4, 4, 2), 8, True), (
            ir.Convolution("conv", "x", ir.Weights(rng.integers(-7, 8, (3, 3, 3, 2)), 4),
                           np.zeros(3, np.int64)),)), path)
        return path
    path.write_bytes({".tflite": lambda: tflite_file(0), ".onnx": lambda: onnx_file(0),
                      ".pt2": lambda: pt2_files.float_network(rng).bytes()}[suffix]())
    return path


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    status = main(["check", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix", [*FORMATS, ".penjing"])
def test_the_smallest_board_is_one_that_compile_accepts(
        suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, suffix)
    status, told = checked(capsys, path)
    assert status == 0
    assert told["obstacles"] == []
    result = flow.check(path)
    assert result.model is not None
    network = result.model.network
    assert [one["name"] for one in told["layers"]] == [layer.name for layer in network.layers]
    assert told["macs"] == network.macs == sum(one["macs"] for one in told["layers"])
    for one, layer in zip(told["layers"], network.layers, strict=True):
        weights = layer.weights if isinstance(layer, ir.MultiplyAccumulate) else None
        assert (one["weights"], one["bits"]) == (
            (None, None) if weights is None else (weights.values.size, weights.bits))
        assert tuple(one["shape"]) == network.type_of(layer.name).shape
    assert flow.plan(network, flow.Target(told["board"])).board == told["board"]
    for name, reason in told["too_small"].items():
        with pytest.raises(PenjingError) as caught:
            flow.plan(network, flow.Target(name))
        assert str(caught.value) == reason


def test_one_board_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "wide.penjing"
    file.save(ir.Network("wide", "x", ir.TensorType((1, 1, 512), 8, True), (
        ir.Dense("dense", "x", ir.Weights(rng.integers(-99, 99, (512, 512)), 8),
                 np.zeros(512, np.int64)),)), path)
    status, told = checked(capsys, path, "--board", "icebreaker")
    assert status == 2
    assert told["board"] is None
    assert "block RAMs" in told["too_small"]["icebreaker"]
    assert main(["check", str(path), "--board", "icebreaker"]) == 2
    captured = capsys.readouterr()
    assert "not on icebreaker" in captured.out
    assert captured.err.endswith("see docs/place_and_route.md\n")
    status, told = checked(capsys, path)
    assert status == 0
    sizes = [one.budget.luts for one in boards.boards() if one.name in told["too_small"]]
    assert max(sizes) <= boards.find(told["board"]).budget.luts
    assert checked(capsys, path, "--board", told["board"])[1]["too_small"] == {}


def test_obstacles_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                          ) -> None:
    net = pt2_files.File((3, 8, 8))
    for name in ("foo", "bar"):
        net.node(f"{name}.default", (3, 8, 8), self=pt2.Reference(net.output))
    path = tmp_path / "net.pt2"
    path.write_bytes(net.bytes())
    status, told = checked(capsys, path)
    assert status == 2
    assert (told["layers"], told["board"], told["host"]) == ([], None, None)
    assert [one["operator"] for one in told["obstacles"]] == [
        "aten.foo.default", "aten.bar.default"]
    assert all(one["reason"] and one["way_out"] and one["node"] for one in told["obstacles"])
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("not supported") == 2
    assert captured.err.endswith("see docs/operators.md\n")
    with pytest.raises(PenjingError, match=r"net\.pt2: node foo_0 .* not supported; replace it"):
        flow.load(path)


def test_a_damaged_file_is_one_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("net.tflite", "net.onnx", "net.pt2", "net.penjing"):
        (tmp_path / name).write_bytes(b"PK nothing of that kind")
        status, told = checked(capsys, tmp_path / name)
        assert status == 2
        assert len(told["obstacles"]) == 1
        assert str(tmp_path) not in told["obstacles"][0]["reason"]


def test_what_is_left_to_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = pt2_files.File((4,))
    x = net.node("linear.default", (3,), input=pt2.Reference("x"),
                 weight=net.weight(np.eye(3, 4, dtype=np.float32)), bias=None)
    net.node("softmax.int", (3,), self=x, dim=-1)
    path = tmp_path / "net.pt2"
    path.write_bytes(net.bytes())
    assert checked(capsys, path)[1]["host"]["function"] == "softmax"
    model = onnx_files.Model((1, 4))
    scale, zero = model.constant(0.5, onnx_files.FLOAT), model.constant(3, onnx_files.INT8)
    q = model.node("QuantizeLinear", "x", scale, zero)
    half = model.constant(0.25, onnx_files.FLOAT)
    made = model.node("MatMul", model.node("DequantizeLinear", q, scale, zero), model.node(
        "DequantizeLinear", model.constant(np.eye(4), onnx_files.INT8), half))
    q = model.node("QuantizeLinear", made, scale, zero)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.bytes(model.node("Softmax", model.node(
        "DequantizeLinear", q, scale, zero))))
    assert checked(capsys, path)[1]["host"] == {
        "function": "softmax", "scales": [0.5], "offsets": [-1.5]}
    assert main(["check", str(path)]) == 0
    assert "0.5 × q + -1.5, then softmax" in capsys.readouterr().out


def test_no_stand_in_is_larger_than_a_tensor_may_be(tmp_path: Path) -> None:
    net = pt2_files.File((3, 8, 8))
    x = net.node("unheard_of.default", (2**31 - 1, 3, 3), self=pt2.Reference("x"))
    net.node("flatten.using_ints", (9 * (2**31 - 1),), self=x, start_dim=1)
    path = tmp_path / "net.pt2"
    path.write_bytes(net.bytes())
    assert [one.operator for one in flow.check(path).obstacles] == ["aten.unheard_of.default"]


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                              ) -> None:
    for suffix in FORMATS:
        assert main(["check", str(tmp_path / f"net{suffix}")]) == 2
        captured = capsys.readouterr()
        assert "check the path" in captured.err and captured.err.count("\n") == 1
        assert not captured.out


def test_files_of_others() -> None:
    """Whatever cannot be read names a reason; whatever can has a board."""
    paths = sorted(path for path in others.shared("cases").rglob("*")
                   if path.suffix in FORMATS and "keras_mb" not in path.name)
    assert len(paths) > 50
    for path in paths:
        result = flow.check(path)
        assert isinstance(result, Check)
        assert result.passed != bool(result.obstacles), path
        assert all(one.reason for one in result.obstacles)
