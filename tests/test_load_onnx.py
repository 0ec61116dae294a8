"""Networks from ``.onnx`` files: the golden model against ONNX Runtime.

Accumulators must be equal; what is requantized may differ by one step, since ONNX rounds a float.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnx_files
import pytest
from choices import choices
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_files import FLOAT, INT8, INT32, INT64, STYLES, UINT8, Grow, Model, Style, images
from onnx_oracle import steps
from others import shared
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import onnx as importer
from penjing.sim import golden, halves, tail
from penjing.sim.oracles import onnxruntime as oracle

ROUNDINGS = (ir.ScaleRounding.DOUBLE, ir.ScaleRounding.SINGLE, ir.ScaleRounding.EVEN)


def layers(data: bytes) -> tuple[ir.Layer, ...]:
    return importer.convert(importer.parse(data), "net").network.layers


@pytest.mark.parametrize("weight", [INT8, UINT8])
@pytest.mark.parametrize("activation", [INT8, UINT8])
@pytest.mark.parametrize("kind", ["ConvInteger", "MatMulInteger"])
def test_accumulators_are_equal(kind: str, activation: int, weight: int, tmp_path: Path) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        data = onnx_files.integer_model(rng, kind, activation, weight)
        assert not steps(tmp_path, data, seed).any(), seed


@pytest.mark.parametrize("kind", onnx_files.LAYERS)
@pytest.mark.parametrize("style", STYLES)
def test_layer(kind: str, style: Style, tmp_path: Path) -> None:
    for seed in range(4):
        rng = np.random.default_rng([seed, STYLES.index(style), onnx_files.LAYERS.index(kind)])
        data = onnx_files.random_layer(rng, style, kind)
        for rounding in ROUNDINGS:
            far = steps(tmp_path, data, seed, rounding=rounding)
            assert far.max() <= oracle.ALLOWED_STEPS, (seed, rounding)
            assert (far > 0).mean() < (0.001 if rounding is ir.ScaleRounding.EVEN else 0.02)


@settings(max_examples=60, deadline=None)
@given(rng=choices(), kind=st.sampled_from(onnx_files.LAYERS),
       style=st.sampled_from(STYLES), rounding=st.sampled_from(ROUNDINGS))
def test_any_layer(rng: np.random.Generator, kind: str, style: Style, rounding: ir.ScaleRounding,
                   tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = onnx_files.random_layer(rng, style, kind)
    assert steps(folder, data, 0, rounding=rounding).max() <= oracle.ALLOWED_STEPS


def test_a_network_that_onnxruntime_quantized(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    quantization = pytest.importorskip("onnxruntime.quantization")
    del torch
    rng = np.random.default_rng(5)
    model = Model((1, 2, 8, 8))
    floats = [model.constant(rng.normal(0, 0.3, shape), FLOAT)
              for shape in ((4, 2, 3, 3), (4,), (4, 4, 3, 3), (4,), (64, 5), (5,))]
    x = model.node("Relu", model.node("Conv", "x", floats[0], floats[1], pads=(1, 1, 1, 1)))
    y = model.node("Conv", x, floats[2], floats[3], pads=(1, 1, 1, 1))
    x = model.node("MaxPool", model.node("Relu", model.node("Add", x, y)), kernel_shape=(2, 2),
                   strides=(2, 2))
    x = model.node("Gemm", model.node("Flatten", x), floats[4], floats[5])
    model.opset = 17
    (tmp_path / "float.onnx").write_bytes(model.bytes(x))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter([{"x": rng.normal(0, 1, (1, 2, 8, 8)).astype(np.float32)}
                              for _ in range(8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    for style in (quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator):
        for kind in (quantization.QuantType.QInt8, quantization.QuantType.QUInt8):
            for per_channel in (False, True):
                path = tmp_path / "quantized.onnx"
                quantization.quantize_static(
                    tmp_path / "float.onnx", path, Reader(), quant_format=style,
                    activation_type=kind, weight_type=quantization.QuantType.QInt8,
                    per_channel=per_channel)
                assert steps(tmp_path, path.read_bytes(), count=32).max() <= 1


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
def test_functions_that_onnxruntime_quantized(kind: str, tmp_path: Path) -> None:
    """Its QLinear operators: tables, and at the end the host's probabilities."""
    pytest.importorskip("torch")
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(6)
    model = Model((1, 2, 6, 6))
    x = model.node("Conv", "x", model.constant(rng.normal(0, 0.5, (4, 2, 3, 3)), FLOAT))
    y = model.node("Concat", model.node("Sigmoid", x), x, model.node("LeakyRelu", x, alpha=0.1),
                   axis=1)
    y = model.node("MatMul", model.node("Flatten", y), model.constant(
        rng.normal(0, 0.2, (192, 5)), FLOAT))
    model.opset = 17
    (tmp_path / "float.onnx").write_bytes(model.bytes(model.node("Softmax", y, axis=1)))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        left = iter([{"x": rng.normal(0, 1, (1, 2, 6, 6)).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    path = tmp_path / "net.onnx"
    quantization.quantize_static(
        tmp_path / "float.onnx", path, Reader(), quant_format=quantization.QuantFormat.QOperator,
        activation_type=quantization.QuantType[kind], weight_type=quantization.QuantType.QInt8)
    data = path.read_bytes()
    assert all(name in data for name in (b"QLinearConcat", b"QLinearSigmoid", b"QLinearLeakyRelu",
                                         b"QLinearSoftmax"))
    network = importer.load(path, "net")
    assert sum(isinstance(layer, ir.Table) for layer in network.layers) >= 4
    x = images(network.input_type, 20, 0)
    found, = oracle.batches(path, x)
    count = halves.count(network, x, found)
    assert count.others == 0 and count.halves < 10
    outputs = golden.run(network, x)
    equal = (outputs == found.outputs).all((1, 2, 3))
    assert equal.mean() > 0.5 and found.final is not None
    np.testing.assert_allclose(tail.answers(network.tail, outputs)[equal], found.final[equal],
                               rtol=1e-5, atol=1e-6)


def test_halves_that_a_concatenation_passes_on_are_told(tmp_path: Path) -> None:
    """Every second value of an input is a half or all but one, which floats round either way."""
    model = Model((1, 2, 3, 4))
    x = quantized_input(model, scale=0.3)
    parts = [model.node("Slice", x, *(model.constant([n], INT64) for n in ends))
             for ends in ((0, 1, 1), (1, 2, 1))]
    affine = model.constant(0.6, FLOAT), model.constant(0, INT8)
    parts[1] = model.node("DequantizeLinear", model.node("QuantizeLinear", parts[1], *affine),
                          *affine)
    data = quantized_output(model, model.node("Concat", *parts, axis=1), scale=0.2)
    (tmp_path / "net.onnx").write_bytes(data)
    network = importer.load(tmp_path / "net.onnx", "net")
    x = images(network.input_type, 64, 0)
    found, = oracle.batches(tmp_path / "net.onnx", x)
    count = halves.count(network, x, found)
    assert count.halves > 0 and count.others == 0
    for values in (found.outputs, *found.inner.values()):
        values += 2
    assert halves.count(network, x, found).others > 0


def test_layers_that_lost_channels_are_compared(tmp_path: Path) -> None:
    """ONNX Runtime still has the channels that nobody reads."""
    model = Model((1, 2, 5, 4))
    first = model.node("Conv", quantized_input(model), real_weights(model, (3, 2, 3, 3)),
                       pads=[1, 1, 1, 1])
    affine = model.constant(0.5, FLOAT), model.constant(-7, INT8)
    middle = model.node("DequantizeLinear", model.node("QuantizeLinear", first, *affine), *affine)
    values = np.random.default_rng(1).integers(-128, 128, (4, 3, 3, 3))
    values[:, 1] = 0
    weights = model.node("DequantizeLinear", model.constant(values, INT8),
                         model.constant(0.02, FLOAT), model.constant(0, INT8))
    data = quantized_output(model, model.node("Conv", middle, weights, pads=[1, 1, 1, 1]))
    (tmp_path / "net.onnx").write_bytes(data)
    made = flow.compile_model(tmp_path / "net.onnx", tmp_path / "out", flow.Target("generic"))
    assert [(one.channels, one.of) for one in made.removed] == [(1, 3)] * 2
    x = images(made.network.input_type, 20, 0)
    np.savez(tmp_path / "x.npz", x=x)
    found = flow.evaluate(tmp_path / "out", tmp_path / "x.npz")
    assert found.passed and found.layer_values == 20 * 5 * 4 * (2 + 4)
    assert not found.layer_mismatches


@pytest.mark.parametrize("kind", [INT8, UINT8])
def test_qlinear_concat(kind: int, tmp_path: Path) -> None:
    """Three scales, one of which is the result's: two tables."""
    rng = np.random.default_rng(kind)
    model = Model((1, 2, 3, 4))

    def affine(scale: float, zero: int) -> tuple[str, str]:
        return model.constant(scale, FLOAT), model.constant(zero, kind)

    pairs = [affine(0.1, 3), affine(float(rng.uniform(0.05, 0.2)), 100), affine(0.7, 9)]
    x = model.node("QuantizeLinear", "x", *pairs[0])
    parts = [model.node("MaxPool", x, kernel_shape=[1, n], pads=[0, 0, 0, n - 1])
             for n in (1, 2, 3)]
    data = model.bytes(model.node("QLinearConcat", *pairs[0], *(
        name for part, pair in zip(parts, pairs, strict=True) for name in (part, *pair)), axis=1),
        kind)
    assert sum(isinstance(layer, ir.Table) for layer in layers(data)) == 2
    assert not steps(tmp_path, data, count=40).any()


# --- what graphs look like
def quantized_input(model: Model, kind: int = INT8, scale: float = 0.1, zero: int = 3) -> str:
    """The network's float input, quantized and dequantized."""
    affine = model.constant(scale, FLOAT), model.constant(zero, kind)
    return model.node("DequantizeLinear", model.node("QuantizeLinear", "x", *affine), *affine)


def quantized_output(model: Model, real: str, kind: int = INT8, scale: float = 0.7,
                     zero: int = -5) -> bytes:
    affine = model.constant(scale, FLOAT), model.constant(zero, kind)
    return model.bytes(model.node("DequantizeLinear",
                                  model.node("QuantizeLinear", real, *affine), *affine))


def real_weights(model: Model, shape: tuple[int, ...], axis: int = 0, seed: int = 0) -> str:
    values = np.random.default_rng(seed).integers(-128, 128, shape)
    scales = np.linspace(0.01, 0.03, shape[axis])
    return model.node("DequantizeLinear", model.constant(values, INT8),
                      model.constant(scales, FLOAT),
                      model.constant(np.zeros(shape[axis]), INT8), axis=axis)


def test_types_carry_scales_and_zero_points(tmp_path: Path) -> None:
    model = Model(("n", 2, 4, 5))
    data = quantized_output(model, model.node("Conv", quantized_input(model),
                                              real_weights(model, (3, 2, 1, 1))))
    network = importer.convert(importer.parse(data), "net").network
    entry, end = network.input_type, network.output_type
    assert (entry.shape, entry.bits, entry.signed, entry.zero_point) == ((4, 5, 2), 8, True, 3)
    assert math.isclose(entry.step, 0.1, rel_tol=1e-6)
    assert (end.shape, end.zero_point) == ((4, 5, 3), -5)
    assert math.isclose(end.step, 0.7, rel_tol=1e-6)
    assert not steps(tmp_path, data).any()


def test_channels_last_at_the_ends(tmp_path: Path) -> None:
    model = Model(("n", 4, 5, 2))
    x = model.node("Transpose", "x", perm=(0, 3, 1, 2))
    affine = model.constant(0.1, FLOAT), model.constant(3, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    y = model.node("Conv", x, real_weights(model, (3, 2, 2, 2)))
    data = quantized_output(model, model.node("Transpose", y, perm=(0, 2, 3, 1)))
    network = importer.convert(importer.parse(data), "net").network
    assert network.input_type.shape == (4, 5, 2)
    assert [layer.kind for layer in network.layers] == ["convolution", "scalerequantize"]
    assert not steps(tmp_path, data).any()


def test_dense_layer_after_a_flatten_of_either_order(tmp_path: Path) -> None:
    for last in (False, True):
        model = Model((1, 3, 4, 5))
        x = quantized_input(model)
        if last:
            x = model.node("Transpose", x, perm=(0, 2, 3, 1))
        x = model.node("Flatten", x)
        y = model.node("MatMul", x, real_weights(model, (60, 7), axis=1))
        y = model.node("Add", y, model.constant(np.arange(7) / 3, FLOAT))
        assert steps(tmp_path, quantized_output(model, y)).max() <= 1


def test_reshape_at_the_input(tmp_path: Path) -> None:
    model = Model(("n", 24))
    x = model.node("Reshape", quantized_input(model), model.constant([-1, 2, 3, 4], INT64))
    data = quantized_output(model, model.node("Conv", x, real_weights(model, (3, 2, 2, 2))))
    assert importer.convert(importer.parse(data), "net").network.input_type.shape == (3, 4, 2)
    assert not steps(tmp_path, data).any()


RESHAPES = {  # of (2, 3, 4); behind it, the weights of a convolution
    "height and width joined": ((2, 12), (3, 2, 2)),
    "height and width divided anew": ((2, 6, 2), (3, 2, 2, 2)),
    "a column": ((2, 12, 1), (3, 2, 2, 1)),
}


@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool", "Pad", "Add"])
@pytest.mark.parametrize("which", RESHAPES)
def test_reshape_inside(which: str, operator: str, tmp_path: Path) -> None:
    """Any reshape of a frame is wiring if the elements keep their order."""
    dims, weights = RESHAPES[which]
    model = Model(("n", 2, 3, 4))
    x = model.node("Relu", quantized_input(model))
    affine = model.constant(0.1, FLOAT), model.constant(-3, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    y = model.node("Reshape", x, model.constant([-1, *dims], INT64))
    kernel = weights[2:]
    if operator == "Conv":
        y = model.node("Conv", y, real_weights(model, weights))
    elif operator == "Pad":
        value = model.node("DequantizeLinear", model.constant(5, INT8), *affine)
        y = model.node("Pad", y, model.constant([0, 0, *kernel, 0, 0, *kernel], INT64), value)
    elif operator == "Add":
        first = model.node("Conv", y, real_weights(model, (2, 2, *[1] * len(kernel))))
        y = model.node("Add", first, y)
    else:
        y = model.node(operator, y, kernel_shape=kernel)
    data = quantized_output(model, y)
    assert sum(isinstance(layer, ir.Reshape) for layer in layers(data)) == (
        2 if operator == "Add" else 1)
    assert steps(tmp_path, data).max() <= 1


def test_reshape_of_a_vector(tmp_path: Path) -> None:
    """Twelve outputs as a row of one channel."""
    model = Model(("n", 6))
    x = model.node("Gemm", quantized_input(model), real_weights(model, (12, 6)), transB=1)
    affine = model.constant(0.5, FLOAT), model.constant(0, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    rows = model.node("Reshape", x, model.constant([-1, 1, 12], INT64))
    data = quantized_output(model, model.node("Conv", rows, real_weights(model, (3, 1, 4))))
    assert [layer.kind for layer in layers(data)][2] == "reshape"
    assert steps(tmp_path, data).max() <= 1


def test_reshape_that_moves_elements_is_refused() -> None:
    model = Model(("n", 2, 3, 4))
    x = model.node("Relu", quantized_input(model))
    affine = model.constant(0.1, FLOAT), model.constant(-3, INT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    x = model.node("Reshape", x, model.constant([-1, 4, 3, 2], INT64))
    assert "another order of axes" in refusal(quantized_output(
        model, model.node("Conv", x, real_weights(model, (2, 4, 1, 1)))))


def shuffle(model: Model, x: str, *, groups: int, dims: tuple[int, ...],
            order: tuple[int, ...] | None = None) -> str:
    """A channel shuffle as exporters write it."""
    channels, *size = dims
    axes = order or (0, 2, 1, *range(3, 3 + len(size)))
    x = model.node("Reshape", x, model.constant([0, groups, channels // groups, *size], INT64))
    x = model.node("Transpose", x, perm=axes)
    return model.node("Reshape", x, model.constant([0, -1, *size], INT64))


@pytest.mark.parametrize("dims", [(6, 3, 4), (6, 5), (6,)])
@pytest.mark.parametrize("real", [True, False])
def test_channel_shuffle(dims: tuple[int, ...], real: bool, tmp_path: Path) -> None:
    """It is wiring, of reals and of integers, of maps, lines and vectors."""
    model = Model((1, *dims), FLOAT if real else INT8)
    affine = model.constant(0.25, FLOAT), model.constant(-5, INT8)
    x = model.node("Relu", model.node("QuantizeLinear", "x", *affine) if real else "x")
    x = model.node("DequantizeLinear", x, *affine) if real else x
    shuffled = shuffle(model, x, groups=2, dims=dims)
    if not real:
        shuffled = model.node("DequantizeLinear", shuffled, *affine)
    data = model.bytes(model.node("QuantizeLinear", model.node("Mul", shuffled, model.constant(
        -0.5, FLOAT)), *affine), INT8)
    _, layer, _ = layers(data)
    assert isinstance(layer, ir.Permutation) and layer.order == (0, 3, 1, 4, 2, 5)
    assert steps(tmp_path, data).max() == 0


def test_shuffles_in_channels_last_order(tmp_path: Path) -> None:
    """Of axes that were moved before, and of a map whose rows are divided meanwhile."""
    model = Model((1, 6, 4, 5))
    x = model.node("Transpose", quantized_input(model), perm=[0, 2, 3, 1])
    x = model.node("Reshape", x, model.constant([0, 2, 2, 5, 3, 2], INT64))
    x = model.node("Transpose", x, perm=[0, 5, 4, 1, 2, 3])
    x = model.node("Reshape", x, model.constant([0, 6, 4, 5], INT64))
    data = quantized_output(model, model.node("Conv", x, real_weights(model, (3, 6, 2, 2))))
    assert [layer.kind for layer in layers(data)] == ["permutation", "convolution",
                                                      "scalerequantize"]
    assert steps(tmp_path, data).max() <= 1


@pytest.mark.parametrize(("order", "reason"), [
    ((0, 3, 1, 4, 2), "moves more than channels"), ((0, 2, 1, 4, 3), "another order of axes")])
def test_what_moves_more_than_channels_is_refused(order: tuple[int, ...], reason: str) -> None:
    model = Model((1, 6, 4, 5))
    x = shuffle(model, quantized_input(model), groups=2, dims=(6, 4, 5), order=order)
    assert reason in refusal(quantized_output(
        model, model.node("Conv", x, real_weights(model, (2, 6, 1, 1)))))


def test_shape_computed_by_the_graph(tmp_path: Path) -> None:
    model = Model(("n", 2, 3, 4))
    x = quantized_input(model)
    batch = model.node("Gather", model.node("Shape", x), model.constant(0, INT64))
    batch = model.node("Unsqueeze", batch, model.constant([0], INT64))
    shape = model.node("Concat", batch, model.constant([-1], INT64), axis=0)
    x = model.node("Reshape", x, shape)
    data = quantized_output(model, model.node("Gemm", x, real_weights(model, (5, 24)), transB=1))
    assert not steps(tmp_path, data).any()


def test_weights_quantized_in_the_graph(tmp_path: Path) -> None:
    model = Model((1, 2, 4, 4))
    weights = np.random.default_rng(0).normal(0, 1, (3, 2, 2, 2))
    affine = (model.constant([0.02, 0.03, 0.01], FLOAT), model.constant([0, 0, 0], INT8))
    w = model.node("QuantizeLinear", model.constant(weights, FLOAT), *affine, axis=0)
    w = model.node("DequantizeLinear", w, *affine, axis=0)
    x = quantized_input(model)
    # The same constants twice: shared initializers are read twice.
    y = model.node("Add", model.node("Conv", x, w), model.node("Conv", x, w))
    assert steps(tmp_path, quantized_output(model, y)).max() <= 1


@pytest.mark.parametrize("kind", [INT8, UINT8, TensorProto.INT16])
def test_the_type_may_be_an_attribute(kind: int, tmp_path: Path) -> None:
    """Operator set 21: a QuantizeLinear without a zero point names what it makes."""
    model = Model((1, 2, 4, 4))
    weights = np.random.default_rng(0).normal(0, 1, (3, 2, 2, 2))
    size, wide = model.constant(0.02, FLOAT), model.constant(2.0 ** -13, FLOAT)
    w = model.node("QuantizeLinear", model.constant(weights, FLOAT), size, output_dtype=INT8)
    w = model.node("DequantizeLinear", w, size)
    y = model.node("Conv", quantized_input(model), w)
    step = wide if kind == TensorProto.INT16 else model.constant(0.25, FLOAT)
    y = model.node("DequantizeLinear", model.node("QuantizeLinear", y, step, output_dtype=kind),
                   step)
    data = quantized_output(model, model.node("Relu", y))
    assert steps(tmp_path, data).max() <= 1
    made = next(layer for layer in layers(data) if isinstance(layer, ir.ScaleRequantize))
    assert (made.bits, made.signed) == (16 if kind == TensorProto.INT16 else 8, kind != UINT8)


def test_dynamic_style_with_static_scales(tmp_path: Path) -> None:
    """ConvInteger, Cast, Mul, Add, Relu, QuantizeLinear."""
    model = Model((1, 2, 5, 5), UINT8)
    weights = np.random.default_rng(0).integers(0, 128, (4, 2, 3, 3))
    acc = model.node("ConvInteger", "x", model.constant(weights, UINT8),
                     model.constant(7, UINT8), model.constant(60, UINT8))
    real = model.node("Mul", model.node("Cast", acc, to=FLOAT),
                      model.constant(np.linspace(0.001, 0.004, 4).reshape(4, 1, 1), FLOAT))
    real = model.node("Add", real, model.constant(np.linspace(-3, 3, 4).reshape(1, 4, 1, 1),
                                                  FLOAT))
    data = quantized_output(model, model.node("Relu", real), UINT8, 0.3, 5)
    assert steps(tmp_path, data).max() <= 1


def test_integer_bias_on_accumulators(tmp_path: Path) -> None:
    model = Model(("n", 6), INT8)
    weights = np.random.default_rng(0).integers(-128, 128, (6, 5))
    acc = model.node("MatMulInteger", "x", model.constant(weights, INT8))
    acc = model.node("Add", acc, model.constant(np.arange(5) * 1000 - 2000, INT32))
    data = model.bytes(acc, INT32)
    assert [layer.kind for layer in layers(data)] == ["dense"]
    assert not steps(tmp_path, data).any()


def test_float_logits_are_accumulators(tmp_path: Path) -> None:
    model = Model(("n", 6))
    y = model.node("Gemm", quantized_input(model), model.node(
        "DequantizeLinear", model.constant(np.arange(24).reshape(6, 4) - 12, INT8),
        model.constant(0.02, FLOAT)))
    assert not steps(tmp_path, model.bytes(y)).any()


@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_sum_of_what_nothing_quantized(operator: str, tmp_path: Path) -> None:
    """Convolutions whose sum or difference is the first to be quantized, twice nested."""
    model = Model((1, 3, 6, 6))
    x = quantized_input(model)
    a, b, c = (model.node("Conv", x, real_weights(model, (3, 3, 1, 1), seed=seed))
               for seed in range(3))
    total = model.node("Relu", model.node(operator, model.node("Relu", a), b))
    total = model.node("Add", total, model.node(operator, c, x))
    data = quantized_output(model, total, scale=1.5)
    kinds = [layer.kind for layer in layers(data) if isinstance(layer, ir.Elementwise)]
    other = "add" if operator == "Add" else "subtract"
    assert kinds == [other, other, "add"]
    for rounding in ROUNDINGS:
        assert steps(tmp_path, data, rounding=rounding).max() <= 1


def sliced(model: Model, real: str, starts: list[int], ends: list[int], axes: list[int],
           by: list[int]) -> str:
    return model.node("Slice", real, *(model.constant(values, INT64)
                                       for values in (starts, ends, axes, by)))


def test_slice_of_accumulators_with_a_scale_for_each_channel(tmp_path: Path) -> None:
    model = Model((1, 3, 6, 5))
    a = model.node("Conv", quantized_input(model), real_weights(model, (6, 3, 1, 1)))
    data = quantized_output(model, sliced(model, a, [2, 1], [5, 9], [1, 2], [1, 2]))
    assert [layer.kind for layer in layers(data)] == ["convolution", "crop", "slice",
                                                      "scalerequantize"]
    assert steps(tmp_path, data).max() <= oracle.ALLOWED_STEPS


@pytest.mark.parametrize(("starts", "ends", "axes", "by", "reason"), [
    ([3], [0], [2], [-1], "it goes backwards; take"), ([0], [3], [1], [2], "by steps of 2; take a"),
    ([3], [2], [3], [1], "it leaves nothing of an input of shape"),
    ([0], [1], [4], [1], "its bounds do not fit"), ([0, 1], [1], [2], [1], "its bounds do not fit"),
    ([0], [130], [2], [65], "by steps of 65; take steps of at most 64")])
def test_slices_that_are_refused(starts: list[int], ends: list[int], axes: list[int], by: list[int],
                                 reason: str) -> None:
    model = Model((1, 3, 130, 4))
    x = sliced(model, quantized_input(model), starts, ends, axes, by)
    assert reason in refusal(quantized_output(model, x))


def test_what_is_not_quantized_is_neither_cut_nor_subtracted() -> None:
    model = Model((1, 3, 4, 4))
    cut = sliced(model, "x", [0], [1], [1], [1])
    assert "it cuts what is not quantized" in refusal(quantized_output(model, cut))
    model = Model((1, 3, 4, 4))
    real = model.node("Sub", "x", model.constant([[[1.0]], [[2.0]], [[1.0]]], FLOAT))
    assert "let the graph take uint8" in refusal(quantized_output(model, real))


@pytest.mark.parametrize("name", [
    "formats/onnx_bn", "formats/onnx_matmuladd", "formats/onnx_mulneg", "formats/onnx_u8castdiv",
    "formats/onnx_scalenode", "formats/onnx_uint4_activation", "formats/onnx_w2",
    "formats/onnx_gmp", "formats/onnx_clipw", "formats/ort_addconst", "formats/ort_cat",
    "formats/ort_prelu", "formats/ort_hswish", "formats/ort_split", "formats/ort_gelu",
    "formats/ort_mul", "formats/ort_slice", "formats/ort_sub", "files/qcdq_44_script",
    "files/trunc_brevitas", "formats/qcdq_brevitas", "formats/qonnx_brevitas_gap_then_linear",
    "formats/qonnx_brevitas_reducemean", "formats/qonnx_brevitas_sigmoid",
    "formats/qonnx_brevitas_trunc_v2"])
def test_file_of_today(name: str) -> None:
    path = shared("cases", f"{name}.onnx")
    network = importer.load(path, "net")
    x = onnx_files.images(network.input_type, 40, 0)
    far = np.abs(golden.run(network, x) - oracle.run(path, x))
    assert far.max() <= oracle.ALLOWED_STEPS
    assert (far > 0).mean() < 0.001


@pytest.mark.parametrize(("name", "images", "most"), [
    ("onnx_float_bias_po2_8x8", "onnx_float_bias_po2", 0),
    ("onnx_ort_float_bias", "onnx_float_bias", 6), ("onnx_pt2e_float_bias", "onnx_float_bias", 7)])
def test_float_biases_of_today(name: str, images: str, most: int) -> None:
    """Of 16,384 and 640 values; all that differ follow from one or two halves in front."""
    folder = shared("cases", "formats")
    network = importer.load(folder / f"{name}.onnx", "net")
    kind = network.input_type
    reals = np.load(folder / f"{images}.npz")["x"].transpose(0, 2, 3, 1).reshape(-1, *kind.shape)
    x = np.clip(np.rint(reals / kind.step) + kind.zero_point, kind.low, kind.high).astype(np.int64)
    far = np.abs(golden.run(network, x) - oracle.run(folder / f"{name}.onnx", x))
    assert far.max() <= oracle.ALLOWED_STEPS
    assert np.count_nonzero(far) <= most


@pytest.mark.parametrize("rounding", [ir.ScaleRounding.EVEN, ir.ScaleRounding.SINGLE])
@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_a_bias_is_as_fine_as_a_float(kind: str, rounding: ir.ScaleRounding, tmp_path: Path
                                      ) -> None:
    """Scales are powers of two and sums small, so that floats are exact; no sum is a half."""
    model = Model(("n", 2, 3, 3))
    rng = np.random.default_rng(4)
    x = quantized_input(model, scale=2.0 ** -4)
    shape = (3, 2, 2, 2) if kind == "Conv" else (18, 3)
    w = model.node("DequantizeLinear", model.constant(rng.integers(-20, 21, shape), INT8),
                   model.constant(2.0 ** -4, FLOAT))
    bias = model.constant(np.array([-117.75, 300 + 1 / 64, 61 - 1 / 512]) / 256, FLOAT)
    x = model.node("Flatten", x) if kind == "Gemm" else x
    data = quantized_output(model, model.node(kind, x, w, bias), scale=2.0 ** -4)
    assert not steps(tmp_path, data, count=200, rounding=rounding).any()
    whole = next(layer for layer in layers(data) if isinstance(layer, ir.ScaleRequantize))
    assert whole.addends is not None


FUNCTIONS = {
    "Sigmoid": {}, "Tanh": {}, "HardSwish": {}, "HardSigmoid": {}, "Elu": {}, "Softplus": {},
    "LeakyRelu": {"alpha": 0.3}, "Gelu": {"approximate": "tanh"}, "Erf": {}}


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_a_function_of_one_tensor_is_a_table(operator: str, tmp_path: Path) -> None:
    """Also where its product with that tensor is quantized, as a SiLU is."""
    model = Model((1, 3, 8, 8))
    x = quantized_input(model, scale=0.04)
    y = model.node(operator, x, **FUNCTIONS[operator])
    data = quantized_output(model, y, scale=0.011)
    assert [layer.kind for layer in layers(data)] == ["table"]
    assert steps(tmp_path, data, count=4).mean() < 0.01
    affine = model.constant(0.01, FLOAT), model.constant(-100, INT8)
    y = model.node("DequantizeLinear", model.node("QuantizeLinear", y, *affine), *affine)
    data = quantized_output(model, model.node("Mul", y, x), scale=0.03)
    assert [layer.kind for layer in layers(data)] == ["table"]
    assert steps(tmp_path, data, count=4).mean() < 0.01


def test_a_function_of_accumulators_is_thresholds(tmp_path: Path) -> None:
    model = Model((1, 2, 6, 6))
    y = model.node("Conv", quantized_input(model), real_weights(model, (3, 2, 3, 3)),
                   model.constant([0.3, -0.2, 0.1], FLOAT))
    data = quantized_output(model, model.node("Sigmoid", y), UINT8, 1 / 255, 0)
    assert [layer.kind for layer in layers(data)] == ["convolution", "threshold"]
    assert steps(tmp_path, data, count=8).max() <= 1


@pytest.mark.parametrize("pool", ["GlobalMaxPool", "MaxPool", None])
def test_a_function_that_nothing_has_quantized(pool: str | None, tmp_path: Path) -> None:
    """As `quantize_static` leaves it before a pool or a difference: what rises, pools may precede.
    """
    model = Model((1, 3, 4, 4))
    x = quantized_input(model)
    y = model.node("Conv", x, real_weights(model, (3, 3, 1, 1)))
    affine = model.constant(0.3, FLOAT), model.constant(4, INT8)
    y = model.node("DequantizeLinear", model.node("QuantizeLinear", y, *affine), *affine)
    if pool is None:
        y = model.node("Sub", model.node("Gelu", y), x)
    else:
        more = {"kernel_shape": (2, 2)} if pool == "MaxPool" else {}
        y = model.node(pool, model.node("Softplus", y), **more)
    far = steps(tmp_path, quantized_output(model, y, scale=0.1317), count=20)
    assert far.max() <= 1 and (far > 0).mean() < 0.003


@pytest.mark.parametrize("pool", ["MaxPool", "GlobalMaxPool"])
@pytest.mark.parametrize("of", ["Add", "Concat", "Gelu"])
def test_maxima_are_found_behind_the_quantizer(of: str, pool: str, tmp_path: Path) -> None:
    """Of what no integers are greatest of yet; a Relu may follow, and a Flatten."""
    model = Model((1, 3, 4, 4))
    x = quantized_input(model)
    operands = [x] if of == "Gelu" else [x, model.node("Conv", x, real_weights(
        model, (3, 3, 1, 1)))]
    y = model.node(of, *operands, **{"axis": 1} if of == "Concat" else {})
    y = model.node(pool, y, **{"kernel_shape": (2, 3), "strides": (2, 1)} if pool == "MaxPool"
                   else {})
    data = quantized_output(model, model.node("Flatten", model.node("Relu", y)), scale=0.1317)
    assert layers(data)[-1].kind in ("maxpool", "flatten", "reshape")
    far = steps(tmp_path, data, count=20)
    assert far.max() <= 1 and (far > 0).mean() < 0.003


def test_a_function_of_maxima_that_nothing_has_quantized_is_refused() -> None:
    model = Model((1, 3, 4, 4))
    x = model.node("GlobalMaxPool", model.node("Neg", quantized_input(model)))
    for operator in ("Sigmoid", "GlobalMaxPool", "GlobalAveragePool"):
        assert "; put QuantizeLinear" in refusal(quantized_output(model, model.node(operator, x)))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "BatchNormalization"])
def test_constants_of_either_sign(operator: str, wide: bool, tmp_path: Path) -> None:
    """One a channel, of what is quantized and of accumulators, from either side."""
    for reverse in (False, True)[:2 if operator != "Div" and operator[0] != "B" else 1]:
        model = Model((1, 3, 5, 5))
        x = quantized_input(model)
        if wide:
            x = model.node("Conv", x, real_weights(model, (3, 3, 2, 2)))
        if operator == "BatchNormalization":
            y = model.node(operator, x, *(model.constant(values, FLOAT) for values in (
                [0.5, -0.7, 0.0], [1.0, 0.0, -2.0], [0.3, 2.0, 1.0], [0.5, 2.0, 1.0])))
        else:
            given = model.constant(np.array([0.7313, -1.9171, 3.3092]).reshape(3, 1, 1), FLOAT)
            y = model.node(operator, *((given, x) if reverse else (x, given)))
        data = quantized_output(model, y, scale=0.2137)
        assert "table" not in {layer.kind for layer in layers(data)}
        far = steps(tmp_path, data, count=20)
        assert far.max() <= 1 and (far > 0).mean() < 0.003


def test_concatenation_of_other_scales_and_split(tmp_path: Path) -> None:
    model = Model((1, 4, 3, 5))
    x = quantized_input(model)
    a, b = "", ""
    a = model.node("Split", x, model.constant([1, 3], INT64), outputs=2, axis=1)
    b = a.replace("_0", "_1")
    wide = model.node("Conv", x, real_weights(model, (2, 4, 1, 1)))
    y = model.node("Concat", b, model.node("Relu", wide), model.node("Tanh", a), axis=1)
    assert not steps(tmp_path, quantized_output(model, y, scale=0.15), count=12).any()
    same = model.node("Concat", b, a, axis=-3)
    data = quantized_output(model, same, scale=0.15)
    assert [layer.kind for layer in layers(data)].count("scalerequantize") == 1
    assert not steps(tmp_path, data).any()
    model.node("Concat", b, a, axis=2)
    assert "it concatenates along the axis 2" in refusal(quantized_output(model, model.node(
        "Concat", b, a, axis=2)))


def test_input_that_is_scaled_and_moved_by_whole_steps(tmp_path: Path) -> None:
    """(x - 8) / 16 in steps of 1/32 are the integers of 2 · x - 16."""
    model = Model((1, 2, 3, 3))
    x = model.node("Sub", "x", model.constant(8.0, FLOAT))
    x = model.node("Div", x, model.constant(16.0, FLOAT))
    affine = model.constant(1 / 32, FLOAT), model.constant(10, UINT8)
    x = model.node("DequantizeLinear", model.node("QuantizeLinear", x, *affine), *affine)
    data = quantized_output(model, model.node("Conv", x, real_weights(model, (3, 2, 2, 2))))
    assert "no whole step" in refusal(data)
    model.constants[0].raw_data = np.float32(2.0).tobytes()
    data = quantized_output(model, x)
    network = importer.convert(importer.parse(data), "net").network
    assert (network.input_type.step, network.input_type.zero_point) == (0.5, 6)
    assert not steps(tmp_path, data).any()


def test_weights_of_few_bits(tmp_path: Path) -> None:
    """Elements of 2 and 4 bits, several a byte, are those that a byte each would be."""
    for kind, low, high, name in ((TensorProto.INT4, -8, 7, "int4"), (25, 0, 3, "uint2"),
                                  (TensorProto.UINT4, 0, 15, "uint4"), (26, -2, 1, "int2")):
        values = np.random.default_rng(3).integers(low, high + 1, (3, 1, 3, 3))
        found = []
        for stored in (kind, INT8):
            model = Model((1, 1, 5, 5), opset=25 if kind > 22 else 21)
            if stored == INT8:
                w = model.constant(values, INT8)
            else:
                bits = 2 if "2" in name else 4
                w = f"w{name}"
                flat = np.resize(values.reshape(-1) & (1 << bits) - 1, -(-values.size * bits // 8)
                                 * 8 // bits).reshape(-1, 8 // bits)
                data = (flat << np.arange(0, 8, bits)).sum(1).astype(np.uint8).tobytes()
                model.constants.append(TensorProto(name=w, data_type=kind, dims=values.shape,
                                                   raw_data=data))
            y = model.node("Conv", quantized_input(model), model.node(
                "DequantizeLinear", w, model.constant(0.1, FLOAT)))
            found.append(layers(quantized_output(model, y)))
        first, second = (layer for made in found for layer in made if layer.kind == "convolution")
        assert (first.weights.values == second.weights.values).all(), name


def test_data_in_another_file_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    model = Model((1, 2, 3, 3))
    data = quantized_output(model, model.node("Conv", quantized_input(model),
                                              real_weights(model, (3, 2, 2, 2))))
    proto = onnx.load_model_from_string(data)
    weights = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (folder / "deeper" / "w.bin").write_bytes(b"12345" + weights.raw_data + b"67")
    (tmp_path / "w.bin").write_bytes(b"12345" + weights.raw_data + b"67")
    (folder / "out.bin").symlink_to(tmp_path / "w.bin")
    size = len(weights.raw_data)

    def stored(location: str, offset: object = 5, length: object = size) -> Path:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.ClearField("external_data")
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            weights.external_data.add(key=key, value=str(value))
        path = folder / "net.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    assert importer.load(stored("deeper/w.bin"), "net").layers == layers(data)
    for location, offset, length, why in (
            ("../w.bin", 5, size, "no file of the model's folder"),
            ("out.bin", 5, size, "no file of the model's folder"),
            (str(tmp_path / "w.bin"), 5, size, "no file of the model's folder"),
            ("deeper", 5, size, "no file of the model's folder"),
            ("", 5, size, "no file of the model's folder"), ("a.bin", 5, size, "is not there"),
            ("deeper/w.bin", 8, size, "of a file of"), ("deeper/w.bin", 5, size - 1, "it needs"),
            ("deeper/w.bin", -5, size, "is no number"), ("deeper/w.bin", 5, "9" * 40, "no number")):
        with pytest.raises(PenjingError, match=f"net.onnx: constant .*{why}.*; save the model"):
            importer.load(stored(location, offset, length), "net")


@pytest.mark.parametrize("operator", ["Relu", "Clip"])
def test_activation_on_integers(operator: str, tmp_path: Path) -> None:
    model = Model(("n", 3, 2, 2), INT8)
    bounds = () if operator == "Relu" else (model.constant(-9, INT8), model.constant(77, INT8))
    data = model.bytes(model.node(operator, "x", *bounds), INT8)
    assert [layer.kind for layer in layers(data)] == ["clamp"]
    if operator == "Clip":  # ONNX Runtime has no Relu of int8
        assert not steps(tmp_path, data).any()


@pytest.mark.parametrize("zero", [0, 20])
def test_clips_narrow_weights_and_activations(zero: int, tmp_path: Path) -> None:
    """As Brevitas' export_onnx_qcdq writes networks of 4 bits."""
    model = Model((1, 3, 4, 4))
    bounds = [model.constant(n, INT8) for n in (-7, 7)]
    affine = model.constant(0.1, FLOAT), model.constant(0, INT8)
    w = model.constant(np.random.default_rng(0).normal(size=(5, 3, 2, 2)), FLOAT)
    w = model.node("Clip", model.node("QuantizeLinear", w, *affine), *bounds)
    y = model.node("Conv", quantized_input(model), model.node("DequantizeLinear", w, *affine))
    affine = model.constant(0.25, FLOAT), model.constant(zero, UINT8)
    y = model.node("QuantizeLinear", model.node("Relu", y), *affine)
    y = model.node("Clip", y, *(model.constant(n, UINT8) for n in (0, 15)))
    data = model.bytes(model.node("DequantizeLinear", y, *affine))
    conv, requantize = layers(data)
    assert isinstance(conv, ir.Convolution) and conv.weights.bits == 4
    assert isinstance(requantize, ir.ScaleRequantize)
    assert (requantize.bits, requantize.signed) == (5 if zero else 4, False)
    assert requantize.bounds == (min(zero, 15), 15)
    assert not steps(tmp_path, data).any()


def test_a_clip_of_what_is_dequantized_is_refused() -> None:
    model = Model((1, 3, 4, 4))
    w = model.node("Clip", real_weights(model, (3, 3, 2, 2)), model.constant(-1, FLOAT))
    assert "it clips a dequantized constant; clip its integers" in refusal(
        quantized_output(model, model.node("Conv", quantized_input(model), w)))


def test_pads_beyond_the_kernel_and_pad(tmp_path: Path) -> None:
    model = Model((1, 2, 3, 3))
    x = model.node("Pad", quantized_input(model),
                   model.constant([0, 0, 1, 0, 0, 0, 2, 3], INT64))
    y = model.node("Conv", x, real_weights(model, (3, 2, 2, 2)), pads=(3, 0, 2, 4))
    data = quantized_output(model, y)
    assert [layer.kind for layer in layers(data)][:2] == ["pad", "pad"]
    assert not steps(tmp_path, data).any()


def test_four_bit_weights(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    model = Model((1, 3, 4, 4))
    values = np.random.default_rng(0).integers(-8, 8, (5, 3, 2, 2))
    model.constants.append(helper.make_tensor("w", TensorProto.INT4, values.shape,
                                              values.reshape(-1).tolist()))
    w = model.node("DequantizeLinear", "w", model.constant(0.1, FLOAT))
    data = quantized_output(model, model.node("Conv", quantized_input(model), w))
    conv = layers(data)[0]
    assert isinstance(conv, ir.Convolution) and conv.weights.bits == 4
    assert steps(tmp_path, data).max() <= 1


def test_softmax_is_left_to_the_host_and_argmax_is_not(tmp_path: Path) -> None:
    for operator in ("Softmax", "ArgMax"):
        model = Model((1, 6))
        y = model.node("Gemm", quantized_input(model), model.node(
            "DequantizeLinear", model.constant(np.arange(24).reshape(6, 4) - 12, INT8),
            model.constant(0.02, FLOAT)))
        affine = model.constant(0.05, FLOAT), model.constant(3, INT8)
        y = model.node("DequantizeLinear", model.node("QuantizeLinear", y, *affine), *affine)
        data = model.bytes(model.node(operator, y, axis=1), FLOAT if operator == "Softmax"
                           else INT64)
        kinds = [layer.kind for layer in layers(data)]
        assert ("argmax" in kinds) == (operator == "ArgMax")
        assert not steps(tmp_path, data).any()


def test_names_are_valid_and_unique() -> None:
    model = Model((1, 3, 4, 4))
    x = quantized_input(model)
    for _ in range(3):
        x = model.node("MaxPool", x, kernel_shape=(2, 2), pads=(1, 0, 0, 1))
    data = model.proto(x)
    for node in data.graph.node:
        node.name = "/层/input"
    kinds = layers(data.SerializeToString())
    assert len({layer.name.lower() for layer in kinds}) == len(kinds) == 3


# --- what is refused, each in one line that names node, reason and way out
def refusal(data: bytes) -> str:
    with pytest.raises(PenjingError) as caught:
        importer.convert(importer.parse(data), "net")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the way out is missing"
    return str(caught.value)


REFUSED = {
    "Einsum": "node 2 (Einsum",
    "LSTM": "node 2 (LSTM",
    "DynamicQuantizeLinear": "node 2 (DynamicQuantizeLinear",
}


@pytest.mark.parametrize("operator", REFUSED)
def test_unsupported_operator(operator: str) -> None:
    model = Model((1, 3, 4, 4))
    text = refusal(model.bytes(model.node(operator, quantized_input(model))))
    assert REFUSED[operator] in text


def test_what_cannot_be_exact_is_refused() -> None:
    def conv(model: Model, x: str, **more: object) -> str:
        return model.node("Conv", x, real_weights(model, (3, 3, 2, 2)), **more)

    def pool(model: Model) -> str:
        return model.node("AveragePool", quantized_input(model), kernel_shape=(2, 3),
                          strides=(3, 3), ceil_mode=1, count_include_pad=1)

    model = Model((1, 3, 4, 4))
    assert "without ceil_mode" in refusal(quantized_output(model, pool(model)))
    model = Model((1, 3, 4, 4))
    assert "floats that nothing has quantized" in refusal(quantized_output(model, model.node(
        "Conv", quantized_input(model), model.constant(np.ones((2, 3, 1, 1)), FLOAT))))
    model = Model((1, 3, 4, 4))
    assert "before that is quantized" in refusal(quantized_output(model, conv(model, "x")))
    model = Model((1, 3, 4, 4))
    deep = conv(model, conv(model, quantized_input(model)))
    assert "was not quantized after the layer before" in refusal(quantized_output(model, deep))
    model = Model((1, 3, 4, 4))
    assert "has bounds" in refusal(model.bytes(model.node("Relu", conv(
        model, quantized_input(model)))))
    model = Model((1, 3, 4, 4))
    x = model.node("Transpose", quantized_input(model), perm=(0, 1, 3, 2))
    assert "another order of axes" in refusal(quantized_output(model, conv(model, x)))
    model = Model((1, 3, 4, 4))
    x = model.node("Softmax", quantized_input(model), axis=1)
    assert "not at the end" in refusal(quantized_output(model, conv(model, x)))
    model = Model((4, 3, 4, 4))
    assert "shape (4, 3, 4, 4)" in refusal(quantized_output(model, quantized_input(model)))


def test_every_error_names_the_file(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b""), ("b.onnx", b"hello" * 99), ("c.onnx", b"\x08\x07")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PenjingError, match=name):
            importer.load(tmp_path / name, "net")
    with pytest.raises(PenjingError, match="No such file"):
        importer.load(tmp_path / "none.onnx", "net")


def test_grow_makes_what_it_claims() -> None:
    grow = Grow(np.random.default_rng(0), STYLES[0], (2, 6, 6))
    last = grow.average_pool(grow.start, (3, 3), (2, 2))
    network = importer.convert(importer.parse(grow.finish(last)), "net").network
    assert network.output_type.shape == (*last.shape[1:], last.shape[0])


@pytest.mark.parametrize("dead", [True, False])
def test_a_channel_of_large_scale_beside_large_sums(dead: bool, tmp_path: Path) -> None:
    # What tools make of a channel without weights: a scale of 1. The other case is hardly alive.
    model = Model((1, 8192))
    weights = np.full((2, 8192), 127)
    weights[1] = 0
    weights[1, 5] = 0 if dead else 100
    y = model.node("Gemm", quantized_input(model, UINT8), model.node(
        "DequantizeLinear", model.constant(weights, INT8), model.constant([1e-4, 1], FLOAT),
        model.constant([0, 0], INT8), axis=0), model.constant([3, 0.0517], FLOAT), transB=1)
    data = quantized_output(model, y, scale=1 / 512)
    dense, scale = layers(data)[-2:]
    assert isinstance(dense, ir.Dense) and isinstance(scale, ir.ScaleRequantize)
    assert scale.shifts[1] > 0 and (dense.weights.bits == 8) == dead
    assert not steps(tmp_path, data, count=40).any()
