"""Fixed point: exact where it must be, close to the float network where it may round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from penjing.compiler import ir
from penjing.compiler.compress.fixed_point import (
    Mode,
    StaticPair,
    input_code,
    quantize,
    quantize_input,
    static_pairs,
)
from penjing.compiler.ir import PenjingError, TensorType
from penjing.compiler.load import float_kernels, floats
from penjing.compiler.load.floats import (
    FloatAdd,
    FloatArgMax,
    FloatAveragePool,
    FloatClamp,
    FloatConcatenation,
    FloatConvolution,
    FloatCrop,
    FloatDense,
    FloatFlatten,
    FloatLayer,
    FloatMaxPool,
    FloatNetwork,
    FloatPad,
    FloatPermutation,
    FloatProduct,
    FloatReshape,
    FloatSlice,
    FloatSubtract,
    FloatTransposed,
    FloatUnary,
    FloatUpsample,
    FloatZeros,
)
from penjing.compiler.load.unary import Unary
from penjing.sim import golden

RNG = np.random.default_rng


def conv(name: str, inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3), seed: int = 0,
         stride: tuple[int, int] = (1, 1),
         padding: tuple[int, int, int, int] = (1, 1, 1, 1)) -> FloatConvolution:
    rng = RNG(seed)
    weights = rng.normal(size=(outputs, *kernel, inputs)) / np.sqrt(inputs * kernel[0] * kernel[1])
    return FloatConvolution(name, weights, rng.normal(size=outputs) * 0.1, stride, padding)


def dense(name: str, inputs: int, outputs: int, seed: int = 0) -> FloatDense:
    rng = RNG(seed)
    return FloatDense(name, rng.normal(size=(outputs, inputs)) / np.sqrt(inputs),
                      rng.normal(size=outputs) * 0.1)


def cnn() -> FloatNetwork:
    """Shapes that divide nothing, asymmetric padding, ReLUs before and after pools."""
    return FloatNetwork((12, 11, 3), (
        conv("conv1", 3, 6, (5, 3), 1, (2, 1), (2, 1, 0, 1)), FloatClamp("relu1", 0.0),
        FloatMaxPool("pool1", (2, 3), (2, 2), (0, 1, 1, 0)),
        conv("conv2", 6, 9, seed=2), FloatMaxPool("pool2", (2, 2), (1, 1)),
        FloatClamp("relu2", 0.0, 6.0),
        conv("conv3", 9, 8, (1, 1), 3, padding=(0, 0, 0, 0)),
        FloatAveragePool("mean", (2, 2), (1, 1), (1, 0, 0, 1)), FloatClamp("relu3", 0.0),
        FloatFlatten("flat"), dense("fc", 64, 10, 4)))


def images(count: int = 32, seed: int = 5) -> np.ndarray:
    return RNG(seed).integers(0, 256, (count, 12, 11, 3), dtype=np.uint8)


def real_output(network: ir.Network, x: np.ndarray) -> np.ndarray:
    return golden.run(network, x) * 2.0 ** -network.output_type.fraction


def kinds(network: ir.Network) -> list[tuple[str, str]]:
    return [(layer.name, layer.kind) for layer in network.layers]


def test_structure() -> None:
    network = quantize(cnn(), images(), 8, 7, "net")
    assert network.name == "net"
    assert kinds(network) == [
        ("conv1", "convolution"), ("relu1", "shiftrequantize"), ("pool1", "maxpool"),
        ("conv2", "convolution"), ("relu2", "shiftrequantize"), ("pool2", "maxpool"),
        ("conv3", "convolution"), ("conv3_requantize", "shiftrequantize"),
        ("mean", "averagepool"), ("relu3", "clamp"), ("flat", "flatten"), ("fc", "dense")]
    relu1, relu2, signed = (network.type_of(n) for n in ("relu1", "relu2", "conv3_requantize"))
    assert (relu1.bits, relu1.signed) == (relu2.bits, relu2.signed) == (7, False)
    assert (signed.bits, signed.signed) == (7, True)
    assert network.type_of("relu3").bits == 6  # a clamp to 0..63
    assert network.input_type == TensorType((12, 11, 3), 8, False, 8, scale=1 / 255)
    assert all(layer.weights.bits == 8 for layer in network.layers
               if isinstance(layer, ir.Convolution | ir.Dense))


def test_relu6_bound() -> None:
    floating = FloatNetwork((1, 1, 4), (dense("fc", 4, 8), FloatClamp("relu", 0.0, 0.75)))
    x = RNG(0).normal(size=(50, 4)) * 3
    network = quantize(floating, x, 8, 8)
    layer = network.layers[-1]
    assert isinstance(layer, ir.ShiftRequantize)
    assert layer.bounds == (0, round(0.75 * 2 ** network.output_type.fraction))


NONE = (0, 0, 0, 0)


def graph() -> FloatNetwork:
    """Branches, joins of what is divided by the input's scale and what is not, and functions."""
    return FloatNetwork((12, 11, 3), (
        conv("a", 3, 4, padding=(1, 1, 1, 1)), FloatClamp("relu_a", 0.0),
        replace(conv("b", 1, 8, seed=2, padding=(1, 1, 1, 1)), groups=4),
        FloatUnary("silu", Unary.SILU),
        FloatSlice("low", 0, 3), FloatSlice("high", 3, 8, inputs=("silu",)),
        FloatZeros("zeros", inputs=("low",)),
        FloatAdd("sum", inputs=("low", "input")), FloatClamp("relu_sum", 0.0, 1.5),
        FloatSubtract("difference", inputs=("sum", "zeros")),
        FloatProduct("square", inputs=("input", "input")),
        FloatAveragePool("all", (12, 11), (12, 11)), FloatUpsample("factors", (12, 11)),
        FloatProduct("weighed", inputs=("difference", "factors")),
        FloatConcatenation("cat", inputs=("high", "relu_sum", "relu_a", "weighed")),
        FloatUpsample("larger", (1, 2)), FloatCrop("crop", (1, 12, 1), (0, 22, 2)),
        FloatPermutation("mixed", (*range(3, 15), 0, 2, 1)), FloatPad("pad", (0, 1, 2, 0)),
        FloatReshape("turned", (13, 12, 15)), FloatCrop("less", (1, 13, 1), (0, 11, 1)),
        FloatMaxPool("pool", (2, 2), (2, 2)), FloatClamp("relu_cat", 0.0),
        FloatAveragePool("mean", (3, 3), (1, 1), (1, 1, 1, 1), count_padding=False),
        replace(conv("c", 3, 10, seed=3), groups=5),
        FloatUnary("prelu", Unary.LEAKY_RELU, np.linspace(-0.2, 0.7, 10)),
        conv("d", 10, 6, (1, 1), seed=4, padding=NONE),
        FloatTransposed("up", RNG(5).normal(size=(4, 3, 2, 3)) / 4, np.full(4, 0.1), (2, 3),
                        (1, 0, 0, -1), 2),
        FloatAdd("twice", inputs=("up", "up"))))


def random_graph(seed: int) -> FloatNetwork:
    """Layers of 4 channels that keep size, each reading any before it, all read in the end."""
    rng = np.random.default_rng(seed)
    layers: list[FloatLayer] = [conv("first", 3, 4, padding=(1, 1, 1, 1), seed=seed)]

    def pick() -> str:
        return str(rng.choice([layer.name for layer in layers]))

    for n in range(7):
        name, source, other = f"l{n}", pick(), pick()
        layers.append([
            FloatAdd(name, inputs=(source, other)), FloatClamp(name, 0.0, inputs=(source,)),
            replace(conv(name, 4, 4, padding=(1, 1, 1, 1), seed=n), inputs=(source,)),
            replace(conv(name, 1, 4, (1, 1), n, padding=NONE), groups=4, inputs=(source,)),
            FloatUnary(name, list(Unary)[int(rng.integers(6))], inputs=(source,)),
            FloatMaxPool(name, (3, 3), (1, 1), (1, 1, 1, 1), inputs=(source,)),
            FloatProduct(name, inputs=(source, other))][rng.integers(7)])
    read = {name for layer in layers for name in layer.inputs}
    rest = tuple(layer.name for layer in layers if layer.name not in read)
    return FloatNetwork((12, 11, 3), (*layers, FloatConcatenation("end", inputs=(*rest, "input"))))


@pytest.mark.parametrize("mode", Mode)
def test_graphs_are_close_to_float(mode: Mode) -> None:
    x = images()
    wanted = floats.run(graph(), x / 255)
    network = quantize(graph(), x, 8, 8, mode=mode)
    error = np.abs(real_output(network, x) - wanted).mean() / np.abs(wanted).mean()
    assert error < (0.12 if mode is Mode.STATIC else 0.03), error


def test_a_table_of_wide_maps_is_refused() -> None:
    with pytest.raises(PenjingError, match="layer silu: silu is a table of an input of up to 8"):
        quantize(graph(), images(), 8, 9)


@pytest.mark.parametrize(("bits", "most"), [(16, 2e-4), (12, 4e-3), (8, 0.06)])
def test_close_to_float(bits: int, most: float) -> None:
    x = images()
    network = quantize(cnn(), x, bits, bits)
    wanted = floats.run(cnn(), x / 255)
    error = np.abs(real_output(network, x) - wanted).max() / np.abs(wanted).max()
    assert error < most


def test_more_bits_are_closer() -> None:
    x = images()
    wanted = floats.run(cnn(), x / 255)
    errors = [np.abs(real_output(quantize(cnn(), x, bits, bits), x) - wanted).mean()
              for bits in (3, 4, 6, 8, 12)]
    assert errors == sorted(errors, reverse=True)


def test_dynamic_is_closer_than_static() -> None:
    """Layers of very different ranges are what one fraction length for all cannot serve."""
    first, last = conv("conv1", 3, 6, seed=1), dense("fc", 6, 4)
    layers = (replace(first, weights=first.weights * 30, bias=first.bias * 30),
              FloatClamp("relu", 0.0), FloatAveragePool("mean", (12, 11), (12, 11)),
              replace(last, weights=last.weights / 50))
    floating, x = FloatNetwork((12, 11, 3), layers), images()
    wanted = floats.run(floating, x / 255)

    def error(mode: Mode) -> float:
        network = quantize(floating, x, 5, 5, mode=mode)
        return float(np.abs(real_output(network, x) - wanted).mean())

    assert error(Mode.DYNAMIC) < 0.8 * error(Mode.STATIC)


def test_judging_by_the_output_brings_it_closer() -> None:
    """What one layer's weights and map lose need not matter behind it, and the other way round."""
    x = images()
    wanted = floats.run(cnn(), x / 255)

    def error(bits: int, mode: Mode) -> float:
        network = quantize(cnn(), x, bits, bits, mode=mode)
        return float(np.abs(real_output(network, x) - wanted).sum())

    for bits in (3, 4, 5):
        assert error(bits, Mode.OUTPUT) < error(bits, Mode.DYNAMIC)
    assert error(4, Mode.OUTPUT) < 0.9 * error(4, Mode.DYNAMIC)


def test_an_index_is_no_measure_of_the_output() -> None:
    x, last = images(), FloatArgMax("best")
    bare = quantize(cnn(), x, 4, 4, mode=Mode.OUTPUT)
    whole = quantize(FloatNetwork(cnn().input_shape, (*cnn().layers, last)), x, 4, 4,
                     mode=Mode.OUTPUT)
    assert whole.layers[:-1] == bare.layers


def test_the_search_sees_what_the_golden_model_computes() -> None:
    """The private executor's last tensor is the golden model's: else the greedy search is blind."""
    from penjing.compiler.compress import fixed_point

    x = images()
    for floating in (cnn(), graph(), *(random_graph(seed) for seed in range(12))):
        made = fixed_point.build(fixed_point.prepare(
            floating, x, fixed_point.Precisions(5, 6), images=64))
        np.testing.assert_array_equal(made.output, real_output(made.network, x))


def test_weights_fraction_is_the_best() -> None:
    floating = FloatNetwork((1, 1, 30), (dense("fc", 30, 20, 3),))
    (layer,) = quantize(floating, RNG(0).normal(size=(9, 30)), 4, 8).layers
    assert isinstance(layer, ir.Dense)
    wanted = floating.layers[0].weights  # type: ignore[attr-defined]

    def error(fraction: int) -> float:
        q = np.clip(np.floor(wanted * 2.0 ** fraction + 0.5), -8, 7)
        return float(np.abs(wanted - q * 2.0 ** -fraction).sum())

    assert layer.weights.fraction == min(range(-8, 16), key=error)
    assert layer.weights.fraction != 3 or error(3) < error(2)


def test_fractions_may_be_negative_or_exceed_the_width() -> None:
    for factor, check in ((1000.0, lambda f: f < 0), (1e-5, lambda f: f > 8)):
        floating = FloatNetwork((1, 1, 4), (replace(dense("fc", 4, 3), weights=np.full(
            (3, 4), factor), bias=np.zeros(3)), FloatClamp("r", 0.0)))
        network = quantize(floating, RNG(0).uniform(0, 1, (20, 4)), 8, 8)
        (fc, _) = network.layers
        assert isinstance(fc, ir.Dense)
        assert check(fc.weights.fraction)
        assert check(network.output_type.fraction)


def test_pixels_are_the_hardware_input() -> None:
    """The pixel 255 stands for 1.0, although 255 * 2**-8 does not."""
    floating = FloatNetwork((1, 1, 1), (FloatDense("fc", np.array([[1.0]]), np.array([0.5])),))
    network = quantize(floating, np.array([[0], [255]], np.uint8), 16, 8)
    output = real_output(network, np.array([0, 51, 255]).reshape(3, 1, 1, 1)).ravel()
    np.testing.assert_allclose(output, [0.5, 0.7, 1.5], atol=1e-3)


def test_input_scale() -> None:
    floating = FloatNetwork((1, 1, 1), (FloatClamp("clip", 0.0, 3.0),
                                        FloatDense("fc", np.array([[1.0]]), np.array([0.0])),))
    data = np.arange(-8, 8).reshape(-1, 1)
    network = quantize(floating, data, 16, 8, input_bits=5, input_scale=0.5)
    assert (network.input_type.bits, network.input_type.signed) == (5, True)
    output = real_output(network, data.reshape(-1, 1, 1, 1)).ravel()
    np.testing.assert_allclose(output, np.clip(data.ravel() * 0.5, 0, 3), atol=1e-3)


def test_padding_stays_zero() -> None:
    layer = FloatConvolution("c", np.ones((1, 3, 3, 1)), np.array([0.25]), (1, 1), (2, 1, 0, 2))
    network = quantize(FloatNetwork((4, 4, 1), (layer,)), np.zeros((2, 4, 4, 1), np.uint8), 8, 8)
    assert (real_output(network, np.zeros((1, 4, 4, 1), np.int64)) == 0.25).all()


def test_relu_moves_only_where_it_is_exact() -> None:
    layers: tuple[FloatLayer, ...] = (
        FloatClamp("r0", 0.0), conv("c", 3, 4), FloatMaxPool("p", (2, 2), (2, 2)),
        FloatFlatten("f"), FloatClamp("r1", 0.0), FloatClamp("r2", 0.0, 0.5), dense("d", 120, 3),
        FloatClamp("r3", 0.0))
    network = quantize(FloatNetwork((12, 11, 3), layers), images(), 8, 8)
    assert kinds(network) == [
        ("c", "convolution"), ("r1", "shiftrequantize"), ("p", "maxpool"), ("f", "flatten"),
        ("d", "dense"), ("r3", "shiftrequantize")]
    wanted = floats.run(FloatNetwork((12, 11, 3), layers), images() / 255)
    assert np.abs(real_output(network, images()) - wanted).max() < 0.05


def test_a_factor_of_the_input_is_in_one_side_of_a_product() -> None:
    """Pixels stand for parts of 255, and no shift divides by that."""
    x = images()
    layers: tuple[FloatLayer, ...] = (
        FloatProduct("square", inputs=("input", "input")), FloatAveragePool("p", (3, 3), (1, 1)),
        FloatCrop("crop", (1, 11, 1), (1, 10, 1), inputs=("input",)),
        FloatProduct("cube", inputs=("crop", "p")), conv("c", 3, 4))
    floating = FloatNetwork((12, 11, 3), layers)
    wanted = floats.run(floating, x / 255)
    error = np.abs(real_output(quantize(floating, x, 12, 12), x) - wanted)
    assert error.mean() < 0.002 * np.abs(wanted).mean()


def test_relu_on_signed_input() -> None:
    layers = (FloatMaxPool("p", (2, 2), (1, 1)), FloatClamp("r", 0.0, 1.0), FloatFlatten("f"),
              dense("d", 9, 2))
    x = RNG(1).normal(size=(40, 4, 4, 1))
    network = quantize(FloatNetwork((4, 4, 1), layers), x, 8, 8)
    assert kinds(network)[:2] == [("r", "clamp"), ("p", "maxpool")]
    q = quantize_input(x, network.input_type)
    wanted = floats.run(FloatNetwork((4, 4, 1), layers), x)
    assert np.abs(real_output(network, q) - wanted).max() < 0.05


def test_exact_accumulators_at_the_end() -> None:
    layers = (conv("c", 3, 4), FloatAveragePool("mean", (12, 11), (12, 11)), FloatFlatten("f"),
              FloatArgMax("best"))
    network = quantize(FloatNetwork((12, 11, 3), layers), images(), 8, 8)
    assert kinds(network) == [("c", "convolution"), ("mean", "averagepool"), ("f", "flatten"),
                              ("best", "argmax")]
    assert network.output_type.fraction == 0


def test_names_do_not_collide() -> None:
    layers = (conv("c", 3, 4), conv("c_requantize", 4, 4))
    network = quantize(FloatNetwork((12, 11, 3), layers), images(), 8, 8)
    assert [layer.name for layer in network.layers] == ["c", "c_requantize_2", "c_requantize"]


def test_vectors_and_gray_images() -> None:
    x = RNG(0).normal(size=(20, 7))
    vector = FloatNetwork((1, 1, 7), (dense("d", 7, 3),))
    assert quantize(vector, x) == quantize(vector, x.reshape(20, 1, 1, 7))
    gray = FloatNetwork((4, 5, 1), (conv("c", 1, 2),))
    pixels = RNG(0).integers(0, 256, (9, 4, 5), dtype=np.uint8)
    assert quantize(gray, pixels) == quantize(gray, pixels[..., None])


def test_quantize_input() -> None:
    kind = TensorType((1, 1, 5), 4, True, 1)
    x = np.array([[-0.25, -0.26, 0.25, 3.24, 99]])
    np.testing.assert_array_equal(quantize_input(x, kind).ravel(), [0, -1, 1, 6, 7])
    scaled = TensorType((1, 1, 5), 4, True, 1, 1, 0.25)  # halves away from zero, plus 1
    x[0, 0] = -0.375
    np.testing.assert_array_equal(quantize_input(x, scaled).ravel(), [-1, 0, 2, 7, 7])
    np.testing.assert_array_equal(quantize_input(np.array([[-8, 7, 0, 1, 2]]), kind).ravel(),
                                  [-8, 7, 0, 1, 2])
    with pytest.raises(PenjingError, match="holds integers from -9 to 2, the network takes -8"):
        quantize_input(np.array([[-9, 2, 0, 1, 2]]), kind)


def test_input_code() -> None:
    pixels = input_code(images(), (12, 11, 3))
    assert (pixels.type.fraction, pixels.type.scale) == (8, 1 / 255)
    # Floats of the same meaning become the same pixels.
    np.testing.assert_array_equal(pixels.integers(images() / 255), images())
    np.testing.assert_allclose(pixels.real(images()), images() / 255, rtol=1e-15)
    reals = input_code(RNG(0).normal(size=(30, 12, 11, 3)), (12, 11, 3), 6)
    assert reals.type.signed
    assert reals.type.scale is None
    signed = input_code(images().astype(int) - 128, (12, 11, 3))
    assert (signed.type.signed, signed.type.fraction, signed.type.step) == (True, 7, 2.0 ** -7)
    binary = input_code(images() // 128, (12, 11, 3), 1)
    assert (binary.type.bits, binary.type.fraction, binary.type.step) == (1, 1, 1.0)


def test_static() -> None:
    x = images()
    pairs = list(static_pairs(cnn(), x, 6, 6))
    assert len(set(pairs)) == len(pairs) > 3
    network = quantize(cnn(), x, 6, 6, mode=Mode.STATIC, static=pairs[2])
    for layer in network.layers:
        if isinstance(layer, ir.Convolution | ir.Dense):
            assert layer.weights.fraction == pairs[2].weights
        if isinstance(layer, ir.ShiftRequantize):
            assert network.type_of(layer.name).fraction == pairs[2].activations
    wanted = floats.run(cnn(), x / 255).argmax(-1)

    def agreement(network: ir.Network) -> int:
        return int((golden.run(network, x).argmax(-1) == wanted).sum())

    best = max(agreement(quantize(cnn(), x, 6, 6, mode=Mode.STATIC, static=p)) for p in pairs)
    assert agreement(quantize(cnn(), x, 6, 6, mode=Mode.STATIC)) == best


def test_deterministic_and_progress() -> None:
    calls: list[tuple[int, int, str]] = []
    first = quantize(cnn(), images(), 8, 8, progress=lambda *call: calls.append(call))
    assert first == quantize(cnn(), images(), 8, 8)
    assert calls[0] == (0, 9, "conv1")
    assert calls[-1] == (9, 9, "")


def test_only_some_images_are_searched() -> None:
    x = images(500)
    few = x[np.linspace(0, 499, 10).astype(int)]
    assert quantize(cnn(), x, images=10) == quantize(cnn(), few)


@pytest.mark.parametrize("bits", [-8, 0, 1, 17, 2.0, True])
def test_widths(bits: int) -> None:
    with pytest.raises(PenjingError, match="weight bits: must be an integer from 2 to 16"):
        quantize(cnn(), images(), bits, 8)
    with pytest.raises(PenjingError, match="activation bits: must be an integer from 2 to 16"):
        quantize(cnn(), images(), 8, bits)
    if bits is not True and bits != 1:
        with pytest.raises(PenjingError, match="input bits: must be an integer from 1 to 16"):
            quantize(cnn(), images(), 8, 8, input_bits=bits)


@pytest.mark.parametrize("bits", [(2, 2), (2, 16), (16, 2), (3, 5)])
def test_extreme_widths(bits: tuple[int, int]) -> None:
    network = quantize(cnn(), images(), *bits)
    assert golden.run(network, images()).shape == (32, 1, 1, 10)


@pytest.mark.parametrize(("x", "match"), [
    (np.zeros((0, 12, 11, 3)), "holds no image"),
    (np.zeros((4, 3, 12, 11)), r"the network takes \(N, 12, 11, 3\); reshape or transpose"),
    (np.zeros((4, 396)), "reshape or transpose"),
    (np.zeros((12, 11, 3)), "reshape or transpose"),
    (np.array(3.0), "reshape or transpose"),
    (np.full((2, 12, 11, 3), np.nan), "NaN or infinite"),
    (np.full((2, 12, 11, 3), np.inf), "NaN or infinite"),
    (np.zeros((2, 12, 11, 3), complex), "give integers or floats"),
    (np.zeros((2, 12, 11, 3), object), "give integers or floats"),
    (np.full((2, 12, 11, 3), 256), "holds integers from 256 to 256, the network takes 0 to 255"),
    (np.full((2, 12, 11, 3), 1e30), "layer input: values up to 1e\\+30 exceed"),
    ([[1]], "x must be an array, not list"),
])
def test_bad_calibration(x: np.ndarray, match: str) -> None:
    with pytest.raises(PenjingError, match=match):
        quantize(cnn(), x)


def test_bad_settings() -> None:
    with pytest.raises(PenjingError, match="at least 1 is needed, not 0"):
        quantize(cnn(), images(), images=0)
    with pytest.raises(PenjingError, match="they need the static mode"):
        quantize(cnn(), images(), static=StaticPair(3, 3))
    with pytest.raises(PenjingError, match="within ±31, not 40"):
        StaticPair(40, 3)
    with pytest.raises(PenjingError, match="it applies to integer data only"):
        quantize(cnn(), images() / 255, input_scale=0.5)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(PenjingError, match="must be positive and finite"):
            quantize(cnn(), images(), input_scale=scale)
    with pytest.raises(PenjingError, match="negative data need at least 2 bits"):
        quantize(cnn(), images() / 255 - 0.5, input_bits=1)
    with pytest.raises(PenjingError, match="nothing is left of it"):
        quantize(FloatNetwork((12, 11, 3), (FloatClamp("r", 0.0),)), images())


def test_extreme_values() -> None:
    def one(weight: float, bias: float, relu: bool = True) -> ir.Network:
        layers: tuple[FloatLayer, ...] = (
            FloatDense("fc", np.full((2, 3), weight), np.full(2, bias)),)
        layers += (FloatClamp("r", 0.0), dense("last", 2, 2)) if relu else ()
        return quantize(FloatNetwork((1, 1, 3), layers), RNG(0).uniform(0, 1, (8, 3)), 8, 8)

    for weight, bias in ((0.0, 0.0), (0.0, 1.0), (1e-30, 1.0), (1e-30, 0.0), (1e-6, 1e6),
                         (1e6, 0.0), (-1.0, 0.0), (1e6, -1e9)):
        network = one(weight, bias)
        assert golden.run(network, np.full((1, 1, 1, 3), 3)).shape == (1, 1, 1, 2)
    with pytest.raises(PenjingError, match="layer fc: values up to 1e\\+30 exceed"):
        one(1e30, 0.0)
    with pytest.raises(PenjingError, match="layer fc: its float output overflows"):
        one(1.7e308, 1.7e308)


# The float network itself


def test_float_convolution_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG(0).normal(size=(7, 12, 11, 3))
    whole = floats.run(cnn(), x)
    monkeypatch.setattr(float_kernels, "_COLUMNS", 1)
    np.testing.assert_allclose(floats.run(cnn(), x), whole, rtol=1e-12)


def test_float_tensors_by_name() -> None:
    tensors = floats.run_all(cnn(), RNG(0).normal(size=(2, 12, 11, 3)))
    assert {name: value.shape[1:] for name, value in tensors.items()} == cnn().shapes
    assert list(tensors) == ["input", *(layer.name for layer in cnn().layers)]


@pytest.mark.parametrize(("layers", "match"), [
    ((), "it has no layers"),
    ((FloatClamp("a", 0.0), FloatClamp("a", 0.0)), "layer a: its name is used twice"),
    ((FloatClamp("input", 0.0),), "layer input: its name is used twice"),
    ((conv("c", 4, 2),), "layer c: weights take 4 channels, its input has 3"),
    ((dense("d", 3, 2),), "layer d: weights take 3 inputs, its input has shape"),
    ((FloatMaxPool("p", (13, 2), (1, 1)),), r"layer p: kernel \(13, 2\) .* exceeds its input"),
])
def test_bad_float_networks(layers: tuple[FloatLayer, ...], match: str) -> None:
    with pytest.raises(PenjingError, match=match):
        FloatNetwork((12, 11, 3), layers)


def test_bad_float_layers() -> None:
    with pytest.raises(PenjingError, match="layer d: its weights hold NaN"):
        FloatDense("d", np.array([[np.nan]]), np.zeros(1))
    with pytest.raises(PenjingError, match="layer d: its bias hold NaN or infinite"):
        FloatDense("d", np.ones((1, 1)), np.array([np.inf]))
    with pytest.raises(PenjingError, match=r"bias must have shape \(2,\), not \(1,\)"):
        FloatDense("d", np.ones((2, 1)), np.zeros(1))
    with pytest.raises(PenjingError, match="must be a float array"):
        FloatDense("d", np.ones((2, 1), int), np.zeros(2))
    with pytest.raises(PenjingError, match="must be smaller than the kernel"):
        conv("c", 1, 1, padding=(3, 0, 0, 0))
    with pytest.raises(PenjingError, match=r"its minimum 0.0 must be below"):
        FloatClamp("r", 0.0, 0.0)
