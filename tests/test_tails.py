"""Networks that end on the host: what is left to it, what it makes of that, how it is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from others import shared
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.ir import Builder, Network, PenjingError, Tail, TailFunction, TensorType
from penjing.sim import golden, halves, tail
from penjing.sim.oracles import Answers

pytest.importorskip("onnxruntime")

import onnx_files
from onnx_files import FLOAT, INT8, INT32, INT64, Model
from penjing.compiler.load import onnx as importer
from penjing.sim.oracles import onnxruntime as oracle

SCALES = np.float32(np.linspace(0.011, 0.037, 4))


def logits(model: Model, scales: np.ndarray = SCALES, bias: object = None) -> str:
    """Four outputs of a matrix product that nothing quantizes, of six inputs."""
    affine = model.constant(0.1, FLOAT), model.constant(3, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", "x", *affine), *affine)
    weights = model.constant(np.random.default_rng(0).integers(-128, 128, (4, 6)), INT8)
    matrix = model.node("DequantizeLinear", weights, model.constant(scales, FLOAT),
                        model.constant(np.zeros(scales.size, int), INT8), axis=0)
    biases = () if bias is None else (model.constant(bias, FLOAT),)
    return model.node("Gemm", x, matrix, *biases, transB=1)


def agrees(data: bytes, path: Path) -> Network:
    """Require that the integers are ONNX Runtime's, and what the host makes of them its answer."""
    path.write_bytes(data)
    network = importer.load(path, "net")
    x = onnx_files.images(network.input_type, 40, 0)
    found, = oracle.batches(path, x)
    outputs = golden.run(network, x)
    np.testing.assert_array_equal(outputs, found.outputs)
    assert found.final is not None
    np.testing.assert_allclose(tail.answers(network.tail, outputs), found.final, 1e-4, 1e-4)
    return network


@pytest.mark.parametrize("operator", ["", "Softmax", "LogSoftmax", "Sigmoid", "ArgMax"])
@pytest.mark.parametrize("scales", [SCALES, SCALES[:1]])
def test_float_biases_are_exact_in_the_offsets(operator: str, scales: np.ndarray,
                                               tmp_path: Path) -> None:
    model = Model(("n", 6))
    bias = np.float32([0.123, -4.5, 0.0071, 1.0])
    last = logits(model, scales, bias)
    attributes = {"": {}, "Sigmoid": {}, "ArgMax": {"axis": 1, "keepdims": 0}}.get(
        operator, {"axis": 1})
    if operator:
        last = model.node(operator, last, **attributes)
    network = agrees(model.bytes(last, INT64 if operator == "ArgMax" else FLOAT),
                     tmp_path / "net.onnx")
    assert network.tail is not None and network.layers[-1].kind == "dense"
    assert network.tail.function.value == {"": "none", "LogSoftmax": "log_softmax"}.get(
        operator, operator.lower())
    layer = network.layers[-1]
    assert isinstance(layer, ir.Dense)
    weights = layer.weights.values.sum(1)
    assert np.allclose(network.tail.reals(layer.bias + 3 * weights), bias, rtol=1e-6, atol=0)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 3])
def test_a_softmax_of_a_map_leaves_its_logits(operator: str, axis: int, tmp_path: Path) -> None:
    """They are what is compared, not the softmax."""
    model = Model((1, 3, 4, 5))
    affine = model.constant(0.1, FLOAT), model.constant(3, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", "x", *affine), *affine)
    pooled = model.node("MaxPool", x, kernel_shape=(2, 2))
    real = model.node("DequantizeLinear", model.node("QuantizeLinear", pooled, *affine), *affine)
    network = agrees(model.bytes(model.node(operator, real, axis=axis)), tmp_path / "net.onnx")
    assert network.tail is not None and network.tail.function is TailFunction.NONE


@pytest.mark.parametrize(("scales", "bias", "in_hardware"), [
    (SCALES, None, False), (SCALES[:1], None, True), (SCALES[:1], 7, True),
    (SCALES[:1], 0.25, False)])
def test_argmax_compares_what_is_comparable(scales: np.ndarray, bias: float | None,
                                            in_hardware: bool, tmp_path: Path) -> None:
    model = Model(("n", 6))
    steps = np.array([1, 0, -2, 5]) * (bias or 0)
    reals = (steps * np.float64(np.float32(0.1) * scales[0])).astype(np.float32)
    y = logits(model, scales)
    if bias is not None and float(bias).is_integer():
        y = model.node("Add", y, model.node(
            "DequantizeLinear", model.constant(steps, INT32),
            model.constant(np.float32(0.1) * scales[0], FLOAT)))
    elif bias is not None:
        y = model.node("Add", y, model.constant(reals, FLOAT))
    data = model.bytes(model.node("ArgMax", y, axis=1), INT64)
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    network = importer.load(path, "net")
    assert (network.layers[-1].kind == "argmax") == in_hardware
    x = onnx_files.images(network.input_type, 60, 0)
    found, = oracle.batches(path, x)
    theirs = found.outputs if in_hardware else found.final
    np.testing.assert_array_equal(tail.answers(network.tail, golden.run(network, x)), theirs)


def test_qonnx_ends_in_scales_and_biases(tmp_path: Path) -> None:
    for operator in ("", "ArgMax"):
        model = Model((1, 3), FLOAT, 13)
        number = model.constant
        x = model.node("Quant", "x", number(0.3, FLOAT), number(0, FLOAT), number(4, FLOAT))
        weights = model.node("Quant", number(np.random.default_rng(1).normal(size=(5, 3)), FLOAT),
                             number(np.linspace(0.1, 0.2, 5).reshape(5, 1), FLOAT),
                             number(0, FLOAT), number(6, FLOAT))
        y = model.node("Gemm", x, weights, number([0.1, 0.2, -0.3, 0, 1], FLOAT), transB=1)
        y = model.node("Mul", y, number([1, 2, -1, 3, 0.5], FLOAT))
        if operator:
            y = model.node(operator, y, axis=1)
        network = agrees(model.bytes(y, INT64 if operator else FLOAT), tmp_path / "net.onnx")
        assert network.tail is not None
        falling = [scale < 0 for scale in network.tail.scales]
        assert falling == [not operator and n == 2 for n in range(5)]


def pooled(gain: float = 0.25) -> Network:
    """Means of 2×2 between integers of one scale, then sums with weights."""
    builder = Builder(TensorType((4, 4, 2), 8, True))
    builder.add(ir.SumPool("pool", builder.input, (2, 2), (2, 2)))
    multiplier = np.array([round(gain * 2 ** 32)])
    builder.add(ir.ScaleRequantize("mean", "pool", multiplier, np.array([-1]), 8, True,
                                   rounding=ir.ScaleRounding.EVEN))
    builder.add(ir.Flatten("flat", "mean"))
    weights = np.random.default_rng(0).integers(-9, 10, (3, 8))
    builder.add(ir.Dense("dense", "flat", ir.Weights.narrowest(weights), np.zeros(3, np.int64)))
    return builder.network()


def test_halves_are_told_from_faults() -> None:
    network = pooled()
    x = onnx_files.images(network.input_type, 20, 0)
    exact = golden.run_all(network, x)["pool"] / 4
    up = np.floor(exact + 0.5).astype(np.int64)  # halves up, where the network has them to even

    def answers(means: np.ndarray) -> Answers:
        flat = means.reshape(len(x), 1, 1, 8)
        return Answers(golden.execute(network.layers[-1], flat), None, {"mean": means})

    found = halves.count(network, x, answers(up))
    assert found.values == 20 * (8 + 3)
    assert found.others == 0 and found.halves == np.count_nonzero(up != np.rint(exact)) > 10
    wrong = up.copy()
    wrong[3, 0, 0, 0] += 1
    found = halves.count(network, x, answers(wrong))
    assert found.others == 1
    assert halves.count(pooled(0.26), x, answers(up)).others > 20
    outside = answers(up)
    outside.inner["mean"][0] = 1000
    assert halves.count(network, x, outside).others >= 8


def pool_of_one_scale(zero: int) -> bytes:
    """As `pooled`, quantized around ``zero``."""
    model = Model(("n", 2, 4, 4), INT8)
    affine = model.constant(0.03, FLOAT), model.constant(4, INT8)
    x = model.node("AveragePool", model.node("DequantizeLinear", "x", *affine),
                   kernel_shape=(2, 2), strides=(2, 2))
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    weights = model.node("DequantizeLinear", model.constant(
        np.random.default_rng(0).integers(-128, 128, (8, 3)), INT8), model.constant(0.1, FLOAT))
    y = model.node("Gemm", model.node("Flatten", x), weights)
    return model.bytes(model.node("QuantizeLinear", y, model.constant(0.05, FLOAT),
                                  model.constant(zero, INT8)), INT8)


def test_a_pool_of_one_scale_is_judged_layer_by_layer(tmp_path: Path) -> None:
    path, images, out = tmp_path / "net.onnx", tmp_path / "x.npz", tmp_path / "out"
    path.write_bytes(pool_of_one_scale(0))
    np.savez(images, x=np.random.default_rng(0).integers(-128, 128, (100, 4, 4, 2)))
    flow.compile_model(path, out, flow.Target("generic"))
    found = flow.evaluate(out, images)
    assert found.passed and found.layer_mismatches == 0
    assert found.halves > 10 and (found.oracle_largest or 0) > 1
    # Another network in its place is told from halves.
    (out / "model.onnx").write_bytes(pool_of_one_scale(1))
    found = flow.evaluate(out, images)
    assert not found.passed and found.layer_mismatches > 50


def test_tails_are_saved_and_checked(tmp_path: Path) -> None:
    network = pooled()
    assert b"tail" not in file.to_bytes(network)
    ended = replace(network, tail=Tail((0.5, -1e-9, 3.0), (0.1,), TailFunction.SIGMOID))
    file.save(ended, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == ended != network
    for bad, reason in ((Tail((1.0, 2.0)), "1 entry or 3 in scales"),
                        (Tail(offsets=(1.0, 2.0)), "1 entry or 3 in offsets"),
                        ("softmax", "must be a Tail")):
        with pytest.raises(PenjingError, match=reason):
            replace(network, tail=bad)
    for wrong, reason in (({"scales": ()}, "at least one"), ({"scales": (np.nan,)}, "finite"),
                          ({"offsets": (1,)}, "finite"), ({"function": "softmax"}, "a TailFunc"),
                          ({"function": TailFunction.INT8_SOFTMAX, "scales": (0.0,)}, "positive")):
        with pytest.raises(PenjingError, match=reason):
            Tail(**wrong)


def test_the_host_computes_functions() -> None:
    q = np.array([[[[2, -1, 0]]], [[[-2000, 2000, 1]]]])
    reals = 0.5 * q + [1, 2, 3]
    ends = {function: tail.answers(Tail((0.5,), (1.0, 2.0, 3.0), function), q)
            for function in TailFunction if function is not TailFunction.INT8_SOFTMAX}
    assert tail.answers(None, q) is q
    np.testing.assert_array_equal(ends[TailFunction.NONE], reals)
    np.testing.assert_array_equal(ends[TailFunction.ARGMAX][..., 0].reshape(-1), [2, 1])
    np.testing.assert_allclose(ends[TailFunction.SOFTMAX].sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(ends[TailFunction.LOG_SOFTMAX]),
                               ends[TailFunction.SOFTMAX], rtol=1e-12)
    sigmoid = ends[TailFunction.SIGMOID]
    np.testing.assert_allclose(sigmoid[0], 1 / (1 + np.exp(-reals[0])), rtol=1e-12)
    np.testing.assert_allclose(ends[TailFunction.TANH][0], 2 / (1 + np.exp(-2 * reals[0])) - 1,
                               rtol=1e-12)
    assert sigmoid[1, ..., :2].reshape(-1).tolist() == [0, 1]


@pytest.mark.parametrize("name", [
    "onnx_pt2e_x86_float_output", "onnx_floatout", "qonnx_brevitas_float_bias_last",
    "qonnx_brevitas_int32_bias_last", "onnx_uint4_activation", "ort_tanh"])
def test_file_of_today(name: str) -> None:
    path = shared("cases", "formats", f"{name}.onnx")
    network = importer.load(path, "net")
    x = onnx_files.images(network.input_type, 60, 0)
    found, = oracle.batches(path, x)
    outputs = golden.run(network, x)
    if found.inner:
        assert halves.count(network, x, found).others == 0
    else:
        np.testing.assert_array_equal(outputs, found.outputs)
    assert found.final is not None
    equal = (outputs == found.outputs).all((1, 2, 3))
    assert equal.mean() > 0.8
    np.testing.assert_allclose(tail.answers(network.tail, outputs)[equal], found.final[equal],
                               rtol=1e-4, atol=1e-5)
