"""TensorFlow Lite import against LiteRT's reference kernels: every value equal."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from others import shared
from penjing.compiler import ir
from penjing.compiler.ir import PenjingError
from penjing.sim import golden, tail

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from penjing.compiler.load import tflite
from penjing.flow.simulate import sample_frames
from penjing.sim.oracles import litert
from tflite_files import (
    OF_16_BITS,
    OPERATORS,
    READERS_OF_PADDING,
    SAME,
    VALID,
    WEIGHTED,
    Draw,
    Drawn,
    File,
    dense,
    elu,
    padded,
    residual,
    silu,
    sizes,
)

SEEDS = range(30)
NETWORKS = {  # images and what is taken from them, where there are any; how many must be equal
    "pretrainedResnet_quant.tflite": ("cifar10_test.npz", 128, 1000),
    "kws_ref_model.tflite": ("kws01.npz", 0, 1000),
    "vww_96_int8.tflite": (None, 0, 200),
    "ad01_int8.tflite": (None, 0, 200),
}
"""The networks of MLPerf Tiny."""


def frames(kind: ir.TensorType, rng: np.random.Generator, count: int = 24) -> ir.Integers:
    """Extreme inputs, then random ones."""
    x = rng.integers(kind.low, kind.high + 1, (count, *kind.shape))
    x[0], x[1], x[2] = kind.low, kind.high, kind.zero_point
    x[3] = np.where(rng.random(kind.shape) < 0.5, kind.low, kind.high)
    return x


def agree(path: Path, x: ir.Integers | None = None,
          rng: np.random.Generator | None = None) -> ir.Network:
    """Load the file and require that the golden model equals LiteRT in every value."""
    network = tflite.load(path, "net")
    x = frames(network.input_type, rng or np.random.default_rng(0)) if x is None else x
    logits, probabilities = litert.run(path, x)
    outputs = np.concatenate([golden.run(network, x[i:i + 64]) for i in range(0, len(x), 64)])
    np.testing.assert_array_equal(outputs, logits.reshape(outputs.shape))
    if probabilities is not None:
        check = (np.testing.assert_array_equal if probabilities.dtype == np.int8 else
                 partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6))
        check(tail.answers(network.tail, outputs), probabilities.reshape(outputs.shape))
    return network


def check(draw: Draw, seed: int, tmp_path: Path, kind: str = "INT8") -> ir.Network:
    """`agree` on the file that ``draw`` makes, its activations of ``kind``."""
    file = Drawn(np.random.default_rng(seed), kind)
    draw(file)
    return agree(file.write(tmp_path / "net.tflite"), rng=file.rng)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", OPERATORS)
def test_operator(draw: Draw, seed: int, tmp_path: Path) -> None:
    check(draw, seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_elu_between_reals(seed: int, tmp_path: Path) -> None:
    """The reference kernels have no ELU: LiteRT's only one, and its QUANTIZE of the reference."""
    file = Drawn(np.random.default_rng(seed))
    elu(file)
    network = tflite.load(file.write(tmp_path / "net.tflite"), "net")
    assert [layer.kind for layer in network.layers] == ["table"]
    x = frames(network.input_type, file.rng)
    last = file.graph.operators.pop()
    entry = file.graph.inputs[0]
    file.ends(entry, last.inputs[0])
    reals = run_one(file.bytes(), x, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    file.graph.operators, last.opcodeIndex = [last], 0
    file.model.operatorCodes = file.model.operatorCodes[-1:]  # the reference knows the others not
    file.ends(last.inputs[0], last.outputs[0])
    wanted = run_one(file.bytes(), reals, OpResolverType.BUILTIN_REF)
    np.testing.assert_array_equal(golden.run(network, x), wanted)


def run_one(content: bytes, x: np.ndarray, resolver: OpResolverType) -> np.ndarray:
    """What LiteRT makes of the frames ``x``."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for frame in x.astype(entry["dtype"]):
        interpreter.set_tensor(entry["index"], frame[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(end["index"])[0])
    return np.stack(results)


def test_what_lies_between_a_tensor_and_a_function_of_it_is_one_table(tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0))
    silu(file)
    network = tflite.load(file.write(tmp_path / "net.tflite"), "net")
    assert [layer.kind for layer in network.layers] == ["table"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", WEIGHTED)
def test_int4(draw: Callable[[Drawn, str], None], seed: int, tmp_path: Path) -> None:
    check(lambda file: draw(file, "INT4"), seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_int2(seed: int, tmp_path: Path) -> None:
    check(lambda file: dense(file, "INT2"), seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS[:6])
@pytest.mark.parametrize("draw", OF_16_BITS)
def test_int16(draw: Draw, seed: int, tmp_path: Path) -> None:
    """Their sums have 64 bits in the reference; convolutions take half of a multiplier's bits."""
    check(draw, seed, tmp_path, "INT16")


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("reader", READERS_OF_PADDING)
def test_padding_of_int16(reader: str, seed: int, tmp_path: Path) -> None:
    check(lambda file: padded(file, reader), seed, tmp_path, "INT16")


@pytest.mark.parametrize("scale", [2.0 ** -12, 3e-4])
@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_sigmoids_of_all_values_of_int16(kind: str, scale: float, tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0), "INT16")
    x, y = (file.activation((1, 256, 256, 1), scale=each) for each in (scale, 2.0 ** -15))
    file.operator(kind, [x], [y])
    file.ends(x, y)
    every = np.arange(-(1 << 15), 1 << 15).reshape(1, 256, 256, 1)
    network = agree(file.write(tmp_path / "net.tflite"), every)
    assert network.output_type.step == 2.0 ** -15


@pytest.mark.parametrize("exponent", [12, 25])
def test_a_constant_minus_int16_by_shifts(exponent: int, tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0), "INT16")
    x, y = (file.activation((1, 4, 4, 2), scale=2.0 ** -10) for _ in range(2))
    constant = file.tensor((2,), "INT16", 2.0 ** -exponent, 0, np.array([78, -30000]))
    file.operator("SUB", [constant, x], [y], "SubOptions", potScaleInt16=True)
    file.ends(x, y)
    layer, _ = agree(file.write(tmp_path / "net.tflite")).layers
    assert isinstance(layer, ir.Depthwise)
    assert layer.bias.tolist() == ([20, -7500] if exponent == 12 else [0, -1])


def test_what_the_reference_cannot_compute_of_int16_is_refused() -> None:
    def reason(kind: str, table: str | None = None, source: float = 0.1, target: float = 0.1,
               other: float = 0.1, **options: object) -> str:
        file = Drawn(np.random.default_rng(0), "INT16")
        x, y = (file.activation((1, 4, 4, 2), scale=scale) for scale in (source, target))
        operands = [x]
        if table in ("AddOptions", "MaximumMinimumOptions"):
            operands.append(file.tensor((2,), "INT16", other, 0, np.array([3, 4])))
        file.operator(kind, operands, [y], table, **options)
        file.ends(x, y)
        return refusal(file)

    assert "between two QUANTIZE" in reason("HARD_SWISH")
    assert "between two QUANTIZE" in reason("RELU_N1_TO_1")
    assert "between two QUANTIZE" in reason("GELU", "GeluOptions")
    assert "must be worth 1/32768 a step" in reason("TANH")
    assert "more than the reference's 32 bits" in reason("TANH", source=3.0, target=2.0 ** -15)
    assert "another one for each channel" in reason("MINIMUM", "MaximumMinimumOptions")
    assert "pot_scale_int16 off" in reason("ADD", "AddOptions", 0.5, 1.0, 0.25)


def test_reals_are_the_hosts_where_a_softmax_is_of_int16(tmp_path: Path) -> None:
    """LiteRT's own has tables of its own; the host's is exact."""
    file = Drawn(np.random.default_rng(0), "INT16")
    x, y = (file.activation((1, 6), scale=scale) for scale in (1e-3, 2e-3))
    file.operator("RELU", [x], [y])
    probabilities = file.activation((1, 6), scale=2.0 ** -15)
    file.operator("SOFTMAX", [y], [probabilities], "SoftmaxOptions", beta=1.0)
    file.ends(x, probabilities)
    network = agree(file.write(tmp_path / "net.tflite"))
    assert network.tail is not None and network.tail.function is ir.TailFunction.SOFTMAX
    values = frames(network.input_type, file.rng)
    wanted = run_one(file.bytes(), values.reshape(-1, 6), OpResolverType.BUILTIN_REF)
    found = tail.answers(network.tail, golden.run(network, values)).reshape(-1, 6)
    np.testing.assert_allclose(found, wanted / (1 << 15), atol=2.0 ** -11)


@pytest.mark.parametrize("extreme", [-(1 << 15), (1 << 15) - 1])
def test_sums_of_int16_may_have_more_than_32_bits(extreme: int, tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0), "INT16")
    x, y = file.activation((1, 600), scale=1.0), file.activation((1, 2), scale=2.0 ** 17)
    weights = file.tensor((2, 600), "INT8", [1.0, 1.5], 0, np.full((2, 600), (127, )))
    file.operator("FULLY_CONNECTED", [x, weights], [y], "FullyConnectedOptions")
    file.ends(x, y)
    network = agree(file.write(tmp_path / "net.tflite"), np.array([[[[extreme] * 600]]]))
    assert network.type_of(network.layers[-2].name).bits == 33


def test_16_bits_and_8_do_not_meet_in_a_layer() -> None:
    for kinds in (("INT16", "INT8"), ("INT8", "INT16")):
        file = Drawn(np.random.default_rng(0))
        x, y = (file.tensor((1, 4), kind, 0.1, 0) for kind in kinds)
        weights = file.tensor((4, 4), "INT8", 0.1, 0, np.ones((4, 4)))
        file.operator("FULLY_CONNECTED", [x, weights], [y], "FullyConnectedOptions")
        file.ends(x, y)
        assert re.search(r"its input has \d+ bits, its output \d+;", refusal(file))


def test_2_bits_are_for_matrices() -> None:
    file, x = small()
    weights = file.tensor((3, 1, 1, 2), "INT2", 0.1, 0, np.ones((3, 1, 1, 2)))
    file.operator("CONV_2D", [x, weights], [y := file.activation((1, 4, 4, 3))], "Conv2DOptions",
                  padding=SAME, strideH=1, strideW=1)
    file.ends(x, y)
    assert "is INT2, not INT8 or INT4" in refusal(file)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reader", READERS_OF_PADDING)
def test_padding(reader: str, seed: int, tmp_path: Path) -> None:
    check(lambda file: padded(file, reader), seed, tmp_path)


def whole_network(name: str, count: int) -> None:
    """`agree` on a network of MLPerf Tiny and so many images, extremes and random ones if none."""
    path = shared("models", "mlperf_tiny", name)
    images, offset, _ = NETWORKS[name]
    if images is None:
        agree(path, sample_frames(tflite.load(path, "net").input_type, count, 1))
        return
    with np.load(shared("data", images), allow_pickle=False) as data:
        agree(path, data["x"][:count].astype(np.int64) - offset)


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_network(name: str) -> None:
    whole_network(name, 8)


CASES = ("files/f12_dynamic", "formats/kf_act__w8a8", "formats/kf_cnn__w8a8s",
         "formats/kf_flat__w8a16", "formats/l1_cnn__w8a8", "formats/l6_kf_flat_w2a8_fc",
         "formats/op_crop", "formats/op_gelu", "formats/op_gmax", "formats/op_hswish",
         "formats/op_leaky", "formats/op_logistic", "formats/op_normz", "formats/op_perm",
         "formats/op_tanh", "formats/op_tconv", "formats/op_upnn", "formats/tf_addscalar",
         "formats/tf_argmax", "formats/tf_bnlast", "formats/tf_i16", "formats/tf_relu1",
         "formats/tf_scaleadd", "networks/keras_autoenc", "networks/keras_conv1d",
         "networks/keras_crop", "networks/keras_flatten", "networks/keras_leaky",
         "networks/keras_se", "networks/keras_unet")
"""Files of today's converters."""


@pytest.mark.parametrize("name", CASES)
def test_file_of_today(name: str) -> None:
    path = shared("cases", f"{name}.tflite")
    kind = tflite.load(path, "net").input_type
    agree(path, frames(kind, np.random.default_rng(0), 200))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_network_on_all_images(name: str) -> None:
    whole_network(name, NETWORKS[name][2])


# --- what the network is
def residual_file(tmp_path: Path) -> Path:
    file = Drawn(np.random.default_rng(3))
    residual(file)
    return file.write(tmp_path / "net.tflite")


def test_the_host_keeps_the_ends(tmp_path: Path) -> None:
    """Reals are quantized and a SOFTMAX computed outside: integers go in, logits come out."""
    path = residual_file(tmp_path)
    network = tflite.load(path, "net")
    assert [layer.kind for layer in network.layers] == [
        "convolution", "scalerequantize", "scalerequantize", "scalerequantize", "add",
        "scalerequantize", "averagepool", "dense", "scalerequantize"]
    assert network.input_type.shape == (5, 4, 3) and network.input_type.bits == 8
    assert math.isclose(network.input_type.step, 0.02, rel_tol=1e-6)
    assert network.output_type.shape == (1, 1, 4)
    assert network.tail == ir.Tail((network.output_type.step,),
                                   function=ir.TailFunction.INT8_SOFTMAX)


@pytest.mark.parametrize("size", [(7, 5), (1, 6), (4, 9)])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (5, 4), (8, 7)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_mean_of_what_lies_inside(size: tuple[int, int], kernel: tuple[int, int],
                                  stride: tuple[int, int], tmp_path: Path) -> None:
    """With SAME, windows at the edges divide by the number of elements that they have."""
    file = Drawn(np.random.default_rng([*size, *kernel, *stride]))
    x = file.activation((1, *size, 3), scale=0.1, zero_point=-5)
    shape = sizes(*size, kernel, stride, SAME)
    y = file.activation((1, *shape, 3), scale=0.1, zero_point=-5)
    file.operator("AVERAGE_POOL_2D", [x], [y], "Pool2DOptions", padding=SAME, strideH=stride[0],
                  strideW=stride[1], filterHeight=kernel[0], filterWidth=kernel[1])
    file.ends(x, y)
    layer = agree(file.write(tmp_path / "net.tflite"), rng=file.rng).layers[0]
    assert isinstance(layer, ir.AveragePool)
    assert layer.count_padding != any(layer.padding)


def test_layers_are_called_as_in_the_file() -> None:
    path = shared("models", "mlperf_tiny", "pretrainedResnet_quant.tflite")
    names = [layer.name for layer in tflite.load(path, "net").layers]
    assert len({name.lower() for name in names}) == len(names)
    assert sum(name.startswith("conv2d") for name in names) > 9


@pytest.mark.parametrize(("channels", "kind"), [(1, ir.Convolution), (4, ir.Convolution),
                                               (5, ir.Depthwise)])
def test_a_depthwise_layer_of_few_channels_is_a_convolution(
        channels: int, kind: type[ir.Layer]) -> None:
    file = Drawn(np.random.default_rng(0))
    x = file.activation((1, 8, 8, channels))
    weights = file.weights((1, 7, 7, channels), 3, "INT8", 0.01)
    y = file.activation((1, 2, 2, channels))
    file.operator("DEPTHWISE_CONV_2D", [x, weights], [y], "DepthwiseConv2DOptions", padding=VALID,
                  strideH=1, strideW=1, depthMultiplier=1, dilationHFactor=1, dilationWFactor=1)
    file.ends(x, y)
    layer, _ = tflite.convert(tflite.parse(file.bytes()), "net").layers
    assert isinstance(layer, kind)
    assert isinstance(layer, ir.Depthwise) or layer.groups == channels


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.1, 2, 7, 1000])
def test_a_map_minus_itself_has_any_scale(ratio: float, tmp_path: Path) -> None:
    """Keras gives what is always 0 the least scale there is, of which LiteRT makes 1."""
    path = of_itself("SUB", ratio).write(tmp_path / "net.tflite")
    (layer,) = agree(path).layers
    assert isinstance(layer, ir.Table)
    assert set(layer.values.flat) == {6 if ratio > 1 else 5}
    (layer,) = tflite.load(path, "net", ir.ScaleRounding.SINGLE).layers
    assert isinstance(layer, ir.Table)
    assert set(layer.values.flat) == {5}


def of_itself(kind: str, ratio: float) -> Drawn:
    """A map plus or minus itself; at a ``ratio`` of 1, the last spare bit is the output's step."""
    file, x = small()
    y = file.activation((1, 4, 4, 2), scale=0.1 / (1 << 19) / ratio, zero_point=5)
    file.operator(kind, [x, x], [y], f"{kind.title()}Options")
    file.ends(x, y)
    return file


@pytest.mark.parametrize(("kind", "ratio"), [("SUB", 1), ("ADD", 1), ("ADD", 1.1), ("ADD", 9)])
def test_scales_at_which_litert_aborts_are_refused(kind: str, ratio: float) -> None:
    assert "the scale of its output is too small for its inputs" in refusal(of_itself(kind, ratio))


# --- what is refused, each in one line that names operator, reason and way out
def refusal(file: File) -> str:
    with pytest.raises(PenjingError) as caught:
        tflite.convert(tflite.parse(file.bytes()), "net")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the way out is missing"
    return str(caught.value)


def small() -> tuple[Drawn, int]:
    """A file with an input map of 4×4×2."""
    file = Drawn(np.random.default_rng(0))
    x = file.activation((1, 4, 4, 2), scale=0.1, zero_point=3)
    file.ends(x, x)
    return file, x


@pytest.mark.parametrize("kind", ["COS", "LSTM", "UNPACK"])
def test_unsupported_operator(kind: str) -> None:
    file, x = small()
    first = file.activation((1, 4, 4, 2), scale=0.2)
    file.operator("QUANTIZE", [x], [first], "QuantizeOptions")
    last = file.activation((1, 4, 4, 2), scale=1 / 256, zero_point=-128)
    file.operator(kind, [first], [last])
    file.ends(x, last)
    assert re.match(rf"operator 1 \({kind}\): it is not supported; use CONV_2D, ", refusal(file))


def test_what_cannot_be_exact_is_refused() -> None:
    file, x = small()
    y = file.activation((1, 3, 3, 2), scale=0.3, zero_point=3)
    file.operator("AVERAGE_POOL_2D", [x], [y], "Pool2DOptions", padding=VALID, strideH=1,
                  strideW=1, filterHeight=2, filterWidth=2)
    file.ends(x, y)
    assert "one width, scale and zero point" in refusal(file)

    file, x = small()
    probabilities = file.tensor((1, 4, 4, 2), "INT8", 1 / 256, -128)
    file.operator("SOFTMAX", [x], [probabilities], "SoftmaxOptions", beta=1.0)
    file.operator("RELU", [probabilities], [file.activation((1, 4, 4, 2))])
    file.ends(x, probabilities)
    assert "not the last one" in refusal(file)

    for beta in (0.0, -1.0, math.inf, math.nan):
        file, x = small()
        probabilities = file.tensor((1, 4, 4, 2), "INT8", 1 / 256, -128)
        file.operator("SOFTMAX", [x], [probabilities], "SoftmaxOptions", beta=beta)
        file.ends(x, probabilities)
        assert "its beta" in refusal(file)

    for shape in ([2, 1, 4, 4], [1, 8, 4], None):
        file, x = small()
        y = file.activation((1, 2, 4, 4), scale=0.1, zero_point=3)
        new = -1 if shape is None else file.tensor((len(shape),), "INT32", data=np.array(shape))
        file.operator("RESHAPE", [x, new], [y])
        file.operator("RELU", [y], [file.activation((1, 2, 4, 4))])
        assert "(RESHAPE)" in refusal(file)

    file, x = small()
    assert "nothing is computed" in refusal(file)


def refused_shape(kind: str, values: tuple[int, ...], out: tuple[int, ...]) -> str:
    """Why a FILL or its kin of constants is refused."""
    file, x = small()
    shape = file.tensor(out, "INT32")
    seven = file.tensor((), "INT32", data=np.array(7))
    operands = {"FILL": [file.numbers(*values), seven],
                "BROADCAST_TO": [seven, file.numbers(*values)],
                "TILE": [file.numbers(1, 2), file.numbers(*values)],
                "FLOOR_DIV": [seven, file.numbers(*values)]}[kind]
    file.operator(kind, operands, [shape])
    y = file.activation((1, 4, 4, 2), scale=0.1, zero_point=3)
    file.operator("RESHAPE", [x, shape], [y])
    file.ends(x, y)
    return refusal(file)


@pytest.mark.parametrize(("kind", "values", "out", "reason"), [
    ("FILL", (1 << 30, 1 << 30), (4,), "do not fit each other"),
    ("FILL", (-1,), (4,), "do not fit each other"), ("FILL", (3,), (4,), r"of shape \(3,\)"),
    ("FILL", (5000,), (5000,), "more than 4096 elements"),
    ("BROADCAST_TO", (1 << 30,), (4,), "do not fit"), ("TILE", (1 << 30,), (4,), "do not fit"),
    ("TILE", (1, -1), (4,), "do not fit"), ("FLOOR_DIV", (1, 0), (2,), "do not fit")])
def test_shapes_that_cannot_be_computed(kind: str, values: tuple[int, ...], out: tuple[int, ...],
                                        reason: str) -> None:
    assert re.search(rf"^operator 0 \({kind}\): .*{reason}", refused_shape(kind, values, out))


def refused_operator(kind: str, table: str | None = None, first: Any = (), then: Any = (), *,
                     out: tuple[int, ...] = (1, 4, 4, 2), scale: float = 0.1,
                     **options: object) -> str:
    """Why an operator of a map of 4×4×2 and constants before and after it is refused."""
    file, x = small()
    y = file.activation(out, scale=scale, zero_point=3)
    file.operator(kind, [*(file.numbers(*values) for values in first), x,
                         *(file.numbers(*values) for values in then)], [y], table, **options)
    file.operator("RELU", [y], [z := file.activation(out, scale=scale, zero_point=3)])
    file.ends(x, z)
    return refusal(file)


def test_what_moves_elements_is_refused_where_no_hardware_does_it() -> None:
    axis = {"axis": 1}
    assert "only channels" in refused_operator("CONCATENATION", "ConcatenationOptions", **axis)
    assert "fused activation" in refused_operator(
        "CONCATENATION", "ConcatenationOptions", axis=3, fusedActivationFunction=1)
    assert "one width, scale and zero point" in refused_operator(
        "CONCATENATION", "ConcatenationOptions", axis=3, scale=0.3)
    assert "axis 7 is none of 4" in refused_operator(
        "CONCATENATION", "ConcatenationOptions", axis=7)
    assert "only channels" in refused_operator("SPLIT", "SplitOptions", [(1,)], numSplits=1)
    assert "outside its input" in refused_operator(
        "SLICE", "SliceOptions", (), [(0, 0, 0, 1), (1, 4, 4, 2)])
    assert "not those of 4 axes" in refused_operator("SLICE", "SliceOptions", (), [(0,), (1,)])
    for mask in ("ellipsisMask", "newAxisMask", "shrinkAxisMask"):
        assert "adds or removes axes" in refused_operator(
            "STRIDED_SLICE", "StridedSliceOptions", (),
            [(0, 0, 0, 0), (1, 4, 4, 2), (1, 1, 1, 1)], **{mask: 1})
    for steps, reason in (((1, -1, 1, 1), "backwards"), ((1, 0, 1, 1), "backwards"),
                          ((1, 1, 1), "not those of 4 axes")):
        assert reason in refused_operator("STRIDED_SLICE", "StridedSliceOptions", (),
                                          [(0,) * 4, (1, 4, 4, 2), steps])
    assert "outside its input" in refused_operator(
        "STRIDED_SLICE", "StridedSliceOptions", (), [(0, 3, 0, 0), (1, 2, 4, 2), (1,) * 4])


def cut(begin: tuple[int, ...], end: tuple[int, ...], steps: tuple[int, ...]) -> File:
    """A STRIDED_SLICE of a map of 70×1×4."""
    file = Drawn(np.random.default_rng(0))
    x = file.activation((1, 70, 1, 4), scale=0.1, zero_point=3)
    shape = [len(range(*each)) for each in zip(begin, end, steps, strict=True)]
    y = file.activation(shape, scale=0.1, zero_point=3)
    file.operator("STRIDED_SLICE", [x, *(file.numbers(*each) for each in (begin, end, steps))],
                  [y], "StridedSliceOptions")
    file.ends(x, y)
    return file


def test_steps_have_limits() -> None:
    """They have none where one row or channel alone is taken."""
    assert "rows or columns by steps of 65; take steps of at most 64" in refusal(
        cut((0, 0, 0, 0), (1, 70, 1, 4), (1, 65, 1, 1)))
    assert "channels by steps of 2; take a range of channels" in refusal(
        cut((0, 0, 0, 0), (1, 70, 1, 4), (1, 1, 1, 2)))
    single = tflite.convert(tflite.parse(
        cut((0, 65, 0, 2), (1, 70, 1, 4), (1, 65, 1, 2)).bytes()), "net")
    crop, part = single.layers
    assert isinstance(crop, ir.Crop) and crop.rows == (65, 66, 1) and crop.columns == (0, 1, 1)
    assert isinstance(part, ir.Slice) and (part.start, part.stop) == (2, 3)


def test_functions_that_are_no_table_are_refused() -> None:
    file, x = small()
    y, z = (file.activation((1, 4, 4, 2), scale=0.1, zero_point=3) for _ in range(2))
    file.operator("MAX_POOL_2D", [x], [y], "Pool2DOptions", padding=SAME, strideH=1, strideW=1,
                  filterHeight=2, filterWidth=2)
    file.operator("PRELU", [x, y], [z])
    file.ends(x, z)
    assert "neither a function of the other or a constant" in refusal(file)

    file, x = small()
    y, z = (file.activation(shape, scale=0.1, zero_point=3)
            for shape in ((1, 1, 1, 32), (1, 4, 4, 2)))
    file.operator("RESHAPE", [x, file.numbers(1, 1, 1, 32)], [y])
    file.operator("MUL", [x, y], [z], "MulOptions")
    file.ends(x, z)
    assert "its inputs are (4, 4, 2) and (1, 1, 32)" in refusal(file)

    file, x = small()
    slopes = file.tensor((4, 4, 2), "INT8", 0.1, 0, np.ones((4, 4, 2)))
    file.operator("PRELU", [x, slopes], [y := file.activation((1, 4, 4, 2))])
    file.ends(x, y)
    assert "one for each of 2 channels" in refusal(file)

    file, x = small()
    real = file.tensor((1, 4, 4, 2), "FLOAT32")
    file.operator("DEQUANTIZE", [x], [real], "DequantizeOptions")
    file.operator("COS", [real], [after := file.tensor((1, 4, 4, 2), "FLOAT32")])
    file.operator("QUANTIZE", [after], [y := file.activation((1, 4, 4, 2))], "QuantizeOptions")
    file.ends(x, y)
    assert "operator 1 (COS): it is not supported" in refusal(file)


def test_several_signatures_are_refused() -> None:
    file, x = small()
    file.operator("RELU", [x], [y := file.activation((1, 4, 4, 2))])
    file.ends(x, y)
    file.model.signatureDefs = [schema.SignatureDefT() for _ in range(2)]
    assert "it holds 2 signatures" in refusal(file)


def test_a_softmax_of_tiny_steps_leaves_logits(tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0))
    x, y = (file.activation((1, 4, 4, 2), scale=1e-9, zero_point=3) for _ in range(2))
    probabilities = file.tensor((1, 4, 4, 2), "INT8", 1 / 256, -128)
    file.operator("RELU", [x], [y])
    file.operator("SOFTMAX", [y], [probabilities], "SoftmaxOptions", beta=1.0)
    file.ends(x, probabilities)
    path = file.write(tmp_path / "net.tflite")
    assert agree(path).output_type.scale == pytest.approx(1e-9)
    assert litert.run(path, np.zeros((1, 4, 4, 2), np.int64))[1] is None


def test_names_in_a_file_cannot_break_a_line() -> None:
    file = Drawn(np.random.default_rng(0))
    x = file.tensor((2, 4), scale=0.1, name="a\nb\x1b[2J\x00网")
    file.ends(x, x)
    assert "(a?b?[2J?\\xe7" in refusal(file)


@pytest.mark.parametrize(("tensor", "reason"), [
    ({"kind": "FLOAT32"}, "quantize"), ({"shape": (2, 4, 4, 2)}, "batch of 1"),
    ({"shape": (1, 4, 4, -1)}, "negative"), ({"shape": (1, 4096, 4096, 4096)}, "elements"),
    ({"scale": 0.0}, "scale"), ({"scale": math.nan}, "scale"), ({"scale": math.inf}, "scale"),
    ({"scale": [0.1, 0.2]}, "2 scales"), ({"zero_point": 200}, "zero point"),
    ({"kind": "INT16"}, "INT16")])
def test_input_that_cannot_be(tensor: dict[str, Any], reason: str) -> None:
    file = Drawn(np.random.default_rng(0))
    real = tensor.get("kind") == "FLOAT32"
    x = file.tensor(**{"shape": (1, 4, 4, 2), "kind": "INT8", "zero_point": 3,
                       "scale": None if real else 0.1, **tensor})
    y = file.activation((1, 4, 4, 2))
    file.operator("RELU", [x], [y])
    file.ends(x, y)
    assert reason in refusal(file)


def test_a_channel_of_large_scale_beside_large_sums(tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0))
    x = file.activation((1, 8192), scale=0.1, zero_point=-3)
    y = file.activation((1, 2), scale=1 / 512, zero_point=4)
    weights = np.full((2, 8192), 127)
    weights[1] = 0
    scales = np.float32([1e-4, 1])
    w = file.tensor(weights.shape, "INT8", scales, 0, weights)
    bias = file.tensor((2,), "INT32", np.float32(0.1) * scales, 0, np.array([90, 1]))
    file.operator("FULLY_CONNECTED", [x, w, bias], [y], "FullyConnectedOptions")
    file.ends(x, y)
    network = agree(file.write(tmp_path / "net.tflite"))
    dense, scale = network.layers
    assert isinstance(dense, ir.Dense) and isinstance(scale, ir.ScaleRequantize)
    assert dense.weights.bits == 8 and dense.bias[1] > 1 and scale.shifts[1] > 0


def test_a_transposed_convolution_is_refused_with_the_reason() -> None:
    def reason(shape: tuple[int, ...], filter_shape: tuple[int, ...], stride: int) -> str:
        file, x = small()
        weights = file.weights(filter_shape, 0, "INT8", 0.5)
        y = file.activation((1, 8, 8, 2))
        file.operator("TRANSPOSE_CONV", [file.numbers(*shape), weights, x], [y],
                      "TransposeConvOptions", padding=SAME, strideH=stride, strideW=stride)
        file.ends(x, y)
        return refusal(file)

    assert "does not take the 2 channels" in reason((1, 8, 8, 2), (2, 3, 3, 5), 2)
    assert "is declared as another shape than [1, 9, 8, 2]" in reason((1, 9, 8, 2), (2, 3, 3, 2), 2)
    assert "its stride is 0×0" in reason((1, 8, 8, 2), (2, 3, 3, 2), 0)


@pytest.mark.parametrize(("kind", "options"), [
    ("SOFTMAX", {"beta": 0.5}), ("LOG_SOFTMAX", {}), ("LOGISTIC", {}), ("", {})])
def test_reals_at_the_end_are_the_hosts(kind: str, options: dict[str, float],
                                        tmp_path: Path) -> None:
    file = Drawn(np.random.default_rng(0))
    x, y = (file.activation((1, 6), scale=0.07, zero_point=point) for point in (5, -9))
    file.operator("RELU", [x], [y])
    real = file.tensor((1, 6), "FLOAT32")
    file.operator("DEQUANTIZE", [y], [real])
    last = real
    if kind:
        last = file.tensor((1, 6), "FLOAT32")
        more = ("SoftmaxOptions",) if options else ()
        file.operator(kind, [real], [last], *more, **options)
    file.ends(x, last)
    network = agree(file.write(tmp_path / "net.tflite"))
    wanted = {"": "none", "LOGISTIC": "sigmoid"}.get(kind, kind.lower())
    assert network.tail is not None and network.tail.function.value == wanted
    assert [layer.kind for layer in network.layers] == ["scalerequantize"]
