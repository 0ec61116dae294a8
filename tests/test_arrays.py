"""Networks given as plain arrays, among them two that others trained and published that way."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import penjing
import pytest
from choices import choices
from hypothesis import given, settings
from others import shared
from penjing import ArrayNetwork, PenjingError, TensorType, matching
from penjing.compiler import file, ir
from penjing.flow.compile import Target, compile_model
from penjing.sim import golden

ROOT = Path(penjing.__file__).resolve().parent
BITS = TensorType((1, 1, 12), 1, False)


def signs(rng: np.random.Generator, *shape: int) -> ir.Integers:
    return rng.choice([-1, 1], shape)


@given(choices())
@settings(deadline=None, max_examples=50)
def test_counts_of_matching_bits(rng: np.random.Generator) -> None:
    strict, falling = bool(rng.integers(2)), rng.integers(0, 2, 5)
    weights, thresholds = rng.integers(0, 2, (5, 12)), rng.integers(-1, 14, 5)
    net = ArrayNetwork("net", BITS)
    net.sign(1)
    net.dense(2 * weights - 1)
    net.sign(matching(thresholds, inputs=12, strict=strict), falling=falling)
    x = rng.integers(0, 2, (40, 1, 1, 12))
    matches = (x.reshape(-1, 1, 12) == weights).sum(-1)
    reached = matches > thresholds if strict else matches >= thresholds
    wanted = np.where(reached != (falling == 1), 1, -1)
    assert np.array_equal(golden.run(net.network(), x).reshape(-1, 5), wanted)


def test_every_layer() -> None:
    rng = np.random.default_rng(1)
    net = ArrayNetwork("net", TensorType((7, 6, 2), 4, True))
    net.convolution(rng.integers(-3, 4, (4, 3, 2, 2)), rng.integers(-9, 9, 4), stride=(2, 1),
                    padding=(1, 1, 0, 1), pad_value=-2)
    net.threshold(np.sort(rng.integers(-40, 40, (4, 3)), 1), falling=[True, False, False, True],
                  base=-2, step=3, name="levels")
    net.depthwise(np.ones((8, 2, 2)), padding=1, stride=2)
    net.sign(2.0)
    net.max_pool(2, 1)
    net.convolution(signs(rng, 6, 2, 2, 4), padding=1, pad_value=-1, groups=2)
    net.threshold([[-3, 0, 5]], base=1)
    net.dense(rng.integers(-1, 2, (3, net.type.elements)))
    net.argmax()
    network = net.network()
    assert [layer.name for layer in network.layers] == [
        "conv1", "levels", "depthwise1", "sign1", "pool1", "conv2", "threshold2", "flatten1",
        "dense1", "argmax1"]
    kinds = {layer.name: network.type_of(layer.name) for layer in network.layers}
    assert (kinds["levels"].bits, kinds["levels"].signed) == (4, True)
    assert (kinds["threshold2"].bits, kinds["threshold2"].signed) == (3, False)
    assert golden.run(network, rng.integers(-8, 8, (5, 7, 6, 2))).max() <= 2


def test_whole_floats_are_integers_and_a_file_keeps_the_network(tmp_path: Path) -> None:
    net = ArrayNetwork("net", BITS)
    net.dense(np.linspace(-6, 6, 13, dtype=np.float32)[:12].reshape(1, 12), [3.0])
    network = net.network()
    assert isinstance(network.layers[0], ir.Dense)
    assert network.layers[0].weights.bits == 4
    file.save(network, tmp_path / "net.penjing")
    assert penjing.load(tmp_path / "net.penjing").network == network
    project = compile_model(tmp_path / "net.penjing", tmp_path / "build", Target("ulx3s-85f"))
    assert project.network == network


# --- what is refused, in one line that names the layer
ONES = np.ones((3, 12))


@pytest.mark.parametrize(("build", "message"), [
    (lambda n: n.dense(ONES * 0.5), "layer dense1: weights must be whole numbers, not 0.5; quant"),
    (lambda n: n.dense(ONES * np.nan), "layer dense1: weights hold NaN or infinite values"),
    (lambda n: n.dense(ONES * 1e30), r"layer dense1: weights must lie within ±32767, not 1e\+30"),
    (lambda n: n.dense(np.full((3, 12), 1 << 63, np.uint64)), "not 9223372036854775808; narrow"),
    (lambda n: n.dense(ONES > 0, name="fc"), "layer fc: weights must be an array of numbers, not"),
    (lambda n: n.dense([[1, 2], [3]]), "layer dense1: weights must be .*rows that differ"),
    (lambda n: n.dense(np.ones(12)), r"layer dense1: weights must be \(outputs, inputs\), not of"),
    (lambda n: n.dense(np.ones((0, 12))), "layer dense1: weights have 0 values"),
    (lambda n: n.dense(np.ones((3, 11))), "layer dense1: weights take 11 inputs, its input has"),
    (lambda n: n.dense(ONES, [1, 2]), r"layer dense1: bias must have shape \(3,\), not \(2,\)"),
    (lambda n: n.dense(ONES, [1, 2, 0.5]), "layer dense1: bias must be whole numbers, not 0.5"),
    (lambda n: n.dense(ONES, name="clk!"), "layer 'clk!': name must be letters"),
    (lambda n: n.dense(ONES, name="x"), "layer x: its name is used twice"),
    (lambda n: n.convolution(ONES), r"layer conv1: weights must be \(outputs, height, width, inp"),
    (lambda n: n.convolution(np.ones((1, 3, 3, 12))), "layer conv1: kernel .* exceeds its input"),
    (lambda n: n.convolution(np.ones((1, 1, 1, 12)), stride=0), "layer conv1: stride must be"),
    (lambda n: n.convolution(np.ones((1, 1, 1, 12)), padding=1), "layer conv1: padding .* smaller"),
    (lambda n: n.convolution(np.ones((1, 1, 1, 5)), groups=2), "layer conv1: groups must be an"),
    (lambda n: n.depthwise(np.ones((7, 1, 1))), "layer depthwise1: its 7 outputs are no multiple"),
    (lambda n: n.sign([1, 2]), "layer sign1: it must have thresholds for 1 or 12 channels, not 2"),
    (lambda n: n.sign(1.5), "layer sign1: thresholds must be whole numbers, not 1.5"),
    (lambda n: n.sign(np.inf), "layer sign1: thresholds hold NaN or infinite values"),
    (lambda n: n.sign(1 << 50), "layer sign1: thresholds must lie within"),
    (lambda n: n.sign([[1, 2]]), r"layer sign1: thresholds must be one, .* not of shape \(1, 2\)"),
    (lambda n: n.sign(1, falling=2), "layer sign1: falling must lie within ±1, not 2"),
    (lambda n: n.sign(1, falling=-1), "layer sign1: falling must be 0 or 1"),
    (lambda n: n.sign(np.ones(12), falling=[0, 1]), "falling must be .* not 2 for 12 channels"),
    (lambda n: n.threshold([1, 2]), r"layer threshold1: thresholds must be \(channels, T\)"),
    (lambda n: n.threshold([[2, 1]]), "layer threshold1: the thresholds of a channel must ascend"),
    (lambda n: n.threshold([[1]], step=0), "layer threshold1: step must be an integer of at least"),
    (lambda n: n.threshold([[1]], base=0.5), "layer threshold1: base and step must be integers"),
    (lambda n: n.max_pool((2, 2)), "layer pool1: kernel .* exceeds its input"),
    (lambda n: None, "network: it has no layers")])
def test_refusals(build: Callable[[ArrayNetwork], None], message: str) -> None:
    def whole() -> None:
        net = ArrayNetwork("net", BITS)
        build(net)
        net.network()

    with pytest.raises(PenjingError, match=message) as caught:
        whole()
    assert "\n" not in str(caught.value)


def test_signs_are_padded_as_they_were_trained() -> None:
    net = ArrayNetwork("net", TensorType((4, 4, 1), 1, False))
    net.sign(1)
    net.max_pool(2)
    with pytest.raises(PenjingError, match="layer conv1: a map of signs has no 0 to pad it with"):
        net.convolution(np.ones((1, 3, 3, 1)), padding=1)


@pytest.mark.parametrize("inputs", [0, 2.0, True])
def test_matching_needs_the_number_of_products(inputs: int) -> None:
    with pytest.raises(PenjingError, match="matching: inputs must be an integer from 1 to"):
        matching([3], inputs=inputs)


# --- networks that others trained
@pytest.fixture
def bnn_pynq(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "examples" / "binary")
    return importlib.import_module("bnn_pynq")


NETWORKS = {"lfc_w1a1": (300, 299, 9840), "cnv_w1a1": (200, 172, 7922)}
"""Of the first so many test images, how many are classified correctly; and of all 10,000, which
`examples/binary/bnn_pynq.py` counts of both."""


@pytest.mark.parametrize(("name", "whole"), [
    ("lfc_w1a1", False), ("cnv_w1a1", False), pytest.param("lfc_w1a1", True,
                                                           marks=pytest.mark.slow)])
def test_accuracy_is_the_one_on_their_board(bnn_pynq: ModuleType, name: str, whole: bool) -> None:
    build, read, images = bnn_pynq.NETWORKS[name]
    count, some, all_ = NETWORKS[name]
    network = build(shared("models", "bnn", f"{name}.npz"))
    test = read(shared("data", images), None if whole else count)
    assert bnn_pynq.correct(network, test) == (all_ if whole else some)


def test_labels_of_lfc_are_those_of_its_bits(bnn_pynq: ModuleType) -> None:
    path = shared("models", "bnn", "lfc_w1a1.npz")
    images = bnn_pynq.mnist(shared("data", "mnist.npz"), 100).x.reshape(100, 784)
    noise = np.random.default_rng(1).integers(0, 256, images.shape)  # where often no bit is set
    for x in (images, noise):
        bits = np.pad(x >= 128, ((0, 0), (0, 832 - 784)))
        for weights, thresholds in zip(*(
                [bnn_pynq.arrays(path)[f"layer{n}_{what}"] for n in range(4)]
                for what in ("weights", "thresholds")), strict=True):
            bits = np.stack([(row == (weights > 0)).sum(1) > thresholds for row in bits])
        set_ = np.where(bits[:, :10], np.arange(10), 0)
        outputs = golden.run(bnn_pynq.lfc(path), x.reshape(100, 1, 1, 784))
        assert np.array_equal(outputs.reshape(-1), set_.max(1))
