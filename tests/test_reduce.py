"""Channels that nobody reads, or that are constant, go; no integer of what stays changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import penjing
import pytest
from choices import Choices
from graphs import random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import mixed_network, random_images, random_network, residual, table_network
from penjing import flow
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.compiler.reduce import Reduction, bounds, channels, kernels, reduce
from penjing.flow.project import Settings
from penjing.sim import golden

EXAMPLES = sorted((Path(penjing.__file__).parent / "examples" / "binary").glob("*.penjing"))
MAKERS: tuple[Callable[[Any], Network], ...] = (random_graph, random_network, mixed_network)


def leaves(kind: type = ir.Layer) -> Iterator[type[ir.Layer]]:
    """Classes of the package that no other is derived from."""
    below = [one for one in kind.__subclasses__() if one.__module__.startswith("penjing.")]
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


def compare(network: Network, images: int = 6) -> Reduction:
    """Reduce ``network``, and require each tensor to be what it was, but for channels."""
    found = reduce(network, golden.execute)
    x = random_images(network.input_type, images, 0)
    before, after = golden.run_all(network, x), golden.run_all(found.network, x)
    assert before.keys() == after.keys()
    for name, values in before.items():
        gone = found.removed.get(name, ())
        assert sorted(set(gone)) == list(gone)
        np.testing.assert_array_equal(np.delete(values, gone, -1), after[name])
    last = network.layers[-1].name
    assert not found.removed.keys() & {network.input, last}
    assert found.network.output_type == network.output_type
    assert found.network.input_type == network.input_type
    for layer, smaller in zip(network.layers, found.network.layers, strict=True):
        assert type(layer) is type(smaller) and layer.inputs == smaller.inputs
        if isinstance(layer, ir.MultiplyAccumulate):
            assert isinstance(smaller, ir.MultiplyAccumulate)
            kept = ("bits", "fraction", "encoding")
            assert [getattr(layer.weights, one) for one in kept] == [
                getattr(smaller.weights, one) for one in kept]
    assert (found.network is network) is (not found.removed)
    assert reduce(found.network, golden.execute).network is found.network
    return found


# --- random networks
def pruned(network: Network, rng: np.random.Generator) -> Network:
    """``network`` with weights of 0 for some outputs and some inputs, and biases that saturate."""
    build = ir.Builder(network.input_type, network.input)
    try:
        for layer in network.layers:
            if isinstance(layer, ir.MultiplyAccumulate):
                layer = with_zeros(layer, network.type_of(layer.name), rng)
            build.add(layer)
        return build.network(network.name)
    except PenjingError:
        return network  # other weights make other types, which what follows may refuse


def with_zeros(layer: ir.MultiplyAccumulate, kind: TensorType, rng: np.random.Generator
               ) -> ir.MultiplyAccumulate:
    values, bias = layer.weights.values.copy(), layer.bias.copy()
    share = rng.choice([0, 0.3, 0.7])
    rows = np.random.default_rng(len(bias)).random(len(bias)) < share
    values[rows] = 0
    if rng.integers(2):
        bias[rows] = 0
    if values.ndim % 2 == 0:
        columns = np.random.default_rng(values.size).random(values.shape[-1]) < share
        values[..., columns] = 0
    if rng.integers(4) == 0:
        bias[-1] -= kind.high
    return replace(layer, weights=replace(layer.weights, values=values), bias=bias)


@st.composite
def drawn(draw: Callable[[Any], Any]) -> Network:
    choices = Choices(draw)
    network = MAKERS[int(choices.integers(len(MAKERS)))](choices)
    return pruned(network, choices) if choices.integers(4) else network


@given(drawn())
@settings(deadline=None, max_examples=80, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
def test_what_stays_is_what_it_was(network: Network) -> None:
    compare(network)


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_graph, random_network, mixed_network, table_network,
                                  residual])
def test_what_stays_of_many_is_what_it_was(make: Callable[[Any], Network]) -> None:
    lost = 0
    for seed in range(100):
        network = pruned(make(seed), np.random.default_rng(seed))
        lost += bool(compare(network).removed)
    assert lost >= 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_trained_networks(path: Path) -> None:
    """All but one need all that they have; that one has an output whose sign is always the same."""
    found = compare(file.load(path), 2)
    assert found.removed.keys() == ({"conv3", "act3", "flatten"} if path.stem == "bnn" else set())


# --- layers, one by one
def test_every_layer_is_known() -> None:
    """Where none has said anything of a layer, it loses nothing: only right for `ArgMax`, and for
    layers that are made when a network is reduced already."""
    later = {ir.WinogradInput, ir.WinogradProducts, ir.WinogradOutput}
    weighted = {kind for kind in leaves() if issubclass(kind, ir.MultiplyAccumulate)} - later
    assert known(kernels.kernel) == known(kernels.with_kernel) == weighted
    assert known(bounds._bounds) == known(channels.widen) | weighted
    assert set(leaves()) - known(bounds._bounds) == {ir.ArgMax, *later}


def known(function: Any) -> set[type[ir.Layer]]:
    """Layers of which ``function`` has an implementation."""
    return {kind for kind in leaves() if function.dispatch(kind) is not function.dispatch(object)}


@dataclass(frozen=True)
class Negative(ir.Layer):
    """A layer that the package does not know."""

    def output_type(self, *sources: TensorType) -> TensorType:
        return replace(sources[0], bits=sources[0].bits + 1, signed=True)


def test_a_layer_that_nobody_knows_loses_nothing() -> None:
    def meaning(layer: ir.Layer, *inputs: Any) -> Any:
        return -inputs[0] if isinstance(layer, Negative) else golden.execute(layer, *inputs)

    network = chain((3, 3, 2), convolution("a", [1, 0, 2, 0]), Negative("n", "a"),
                    convolution("b", [3, 3], "n", 4, zero=(0, 1, 2)))
    assert reduce(network, meaning).network is network


def chain(shape: tuple[int, int, int], *layers: ir.Layer, bits: int = 4) -> Network:
    return Network("chain", "x", TensorType(shape, bits, False), layers)


def convolution(name: str, sizes: Sequence[int], source: str = "x", inputs: int = 2, *,
                kernel: int = 1, pad: int = 0, pad_value: int = 0, zero: Sequence[int] = (),
                bias: int = 5) -> ir.Convolution:
    """Weights of output n are about ``sizes[n]``, those by the inputs ``zero`` are 0."""
    values = np.multiply.outer(np.array(sizes), np.arange(1, kernel * kernel * inputs + 1))
    values = values.reshape(len(sizes), kernel, kernel, inputs)
    values[..., list(zero)] = 0
    return ir.Convolution(name, source, ir.Weights(values, 12, 3), np.full(len(sizes), bias),
                          (1, 1), (pad,) * 4, pad_value)


def relu(name: str, source: str, bits: int = 8) -> ir.ShiftRequantize:
    return ir.ShiftRequantize(name, source, 0, bits, False)


def test_what_nobody_reads_goes_all_the_way_up() -> None:
    network = chain((4, 4, 2), convolution("a", [1, 1, 1, 1]), relu("ra", "a"),
                    convolution("b", [1, 1, 2, 3, 4], "ra", 4, zero=[1]), relu("rb", "b"),
                    ir.MaxPool("pool", "rb", (2, 2), (2, 2)), ir.Flatten("flat", "pool"),
                    ir.Dense("dense", "flat", ir.Weights(np.tile([1, 0, 1, 0, 1], (3, 4)), 4),
                             np.zeros(3, int)))
    found = compare(network)
    assert found.removed == {"a": (1,), "ra": (1,), "b": (1, 3), "rb": (1, 3), "pool": (1, 3),
                             "flat": (1, 3, 6, 8, 11, 13, 16, 18)}


@pytest.mark.parametrize(("pad", "pad_value", "gone"), [
    (0, 0, True),   # without a border, the bias takes it
    (1, 0, False),  # the border would be another
    (1, 9, True),   # the border is the same
    (1, 8, False)])
def test_constants_go_into_biases_up_to_the_borders(pad: int, pad_value: int, gone: bool) -> None:
    network = chain((5, 4, 2), convolution("a", [1, 0, 2], bias=9), relu("r", "a"),
                    convolution("b", [3, 1], "r", 3, kernel=3, pad=pad, pad_value=pad_value),
                    relu("last", "b"))
    found = compare(network)
    assert found.removed == ({"a": (1,), "r": (1,)} if gone else {})
    if gone:
        (_, _, last, _), (_, _, before, _) = found.network.layers, network.layers
        assert isinstance(last, ir.Convolution) and isinstance(before, ir.Convolution)
        np.testing.assert_array_equal(
            last.bias, before.bias + 9 * before.weights.values[..., 1].sum((1, 2)))


def test_a_constant_goes_whose_weights_meet_no_border() -> None:
    layer = convolution("b", [3, 1], "r", 3, kernel=3, pad=1)
    values = layer.weights.values.copy()
    values[:, [0, 2], :, 1], values[:, :, [0, 2], 1] = 0, 0
    layer = replace(layer, weights=replace(layer.weights, values=values))
    found = compare(chain((5, 4, 2), convolution("a", [1, 0, 2], bias=9), relu("r", "a"), layer,
                          relu("last", "b")))
    assert found.removed == {"a": (1,), "r": (1,)}


@pytest.mark.parametrize(("kernel", "stride", "pad_value", "gone"), [
    (2, 2, 0, False), (2, 2, 9, True), (1, 1, 0, True), (4, 2, 9, True), (3, 1, 0, False)])
def test_constants_of_a_transposed_convolution(kernel: int, stride: int, pad_value: int,
                                               gone: bool) -> None:
    layer = convolution("b", [3, 1], "r", 3, kernel=kernel)
    found = compare(chain(
        (3, 4, 2), convolution("a", [1, 0, 2], bias=9), relu("r", "a"),
        ir.TransposedConvolution("b", "r", layer.weights, layer.bias, (stride, stride),
                                 pad_value=pad_value), relu("last", "b")))
    assert found.removed == ({"a": (1,), "r": (1,)} if gone else {})


def test_what_saturates_is_constant() -> None:
    """A ReLU of what is never positive, and a clamp that all values exceed."""
    low = convolution("a", [1, 1, 1, 1])
    low = replace(low, bias=np.array([0, -46, 45, 100]))  # at most 45 comes of the weights
    network = chain((3, 3, 2), low, ir.ShiftRequantize("r", "a", 0, 6, False, 0, 45),
                    convolution("b", [1], "r", 4), relu("last", "b"))
    assert compare(network).removed == {"a": (1, 2, 3), "r": (1, 2, 3)}


@pytest.mark.parametrize("layer", [
    ir.Threshold("q", "a", np.array([[0], [5], [99], [-1]]), np.array([0, 1, 0, 1]), 2, False),
    ir.SlopeRequantize("q", "a", np.array([[1, 2], [0, 0], [0, 0], [0, 0]]),
                       np.array([[0, 0], [3, 3], [0, 0], [-4, -4]]), np.zeros(4, int), 0, 6,
                       True),
    ir.ScaleRequantize("q", "a", np.array([1 << 30, 0, 0, 0]), np.zeros(4, int), 8, True,
                       zero_point=3)])
def test_constants_of_single_channels(layer: ir.Layer) -> None:
    """What a requantization has for each channel goes with it."""
    made = convolution("a", [1, 1, 1, 1])
    made = replace(made, bias=np.array([0, 9, -50, 9]))
    network = chain((3, 3, 2), made, layer, convolution("b", [1, 2], "q", 4), relu("last", "b"))
    assert compare(network).removed == {"a": (1, 2, 3), "q": (1, 2, 3)}


def test_tables_are_looked_through() -> None:
    values = np.array([[0, 1, 2, 3] * 2, [7] * 4 + [1] * 4])
    made = replace(convolution("a", [1, 0]), bias=np.array([0, 2]))
    network = chain((3, 3, 2), made, ir.ShiftRequantize("r", "a", 0, 3, False),
                    ir.Table("q", "r", values, 3, False), convolution("b", [1, 2], "q", 2),
                    relu("last", "b"))
    assert compare(network).removed == {"a": (1,), "r": (1,), "q": (1,)}


def test_a_tensor_keeps_a_channel() -> None:
    network = chain((3, 3, 2), convolution("a", [0, 0, 0], bias=7), relu("r", "a"),
                    convolution("b", [1, 2], "r", 3), relu("last", "b"))
    assert compare(network).removed == {"a": (1, 2), "r": (1, 2)}


def test_groups_stay_regular() -> None:
    def grouped(zero: Sequence[int]) -> Network:
        weights = np.ones((6, 1, 1, 2), int)
        return chain((3, 3, 2), convolution("a", range(1, 7)), relu("r", "a"),
                     ir.Convolution("g", "r", ir.Weights(weights, 4), np.zeros(6, int), groups=3),
                     relu("s", "g"), convolution("b", [1, 1], "s", 6, zero=zero),
                     relu("last", "b"))

    assert compare(grouped([2, 3])).removed == {"a": (2, 3), "r": (2, 3), "g": (2, 3), "s": (2, 3)}
    assert compare(grouped([0, 2, 5])).removed == {"g": (0, 2, 5), "s": (0, 2, 5)}
    assert not compare(grouped([0, 2])).removed
    lonely = compare(grouped([0, 1, 2, 3, 4]))
    grown = lonely.network.layers[2]
    assert isinstance(grown, ir.Convolution) and grown.groups == 1
    assert grown.weights.values.shape == (1, 1, 1, 2)


def test_depthwise_channels_go_with_those_that_they_read() -> None:
    network = chain((4, 4, 2), convolution("a", [1, 2, 3]), relu("r", "a"),
                    ir.Depthwise("d", "r", ir.Weights(np.ones((6, 2, 2), int), 3),
                                 np.zeros(6, int)), relu("s", "d"),
                    convolution("b", [1], "s", 6, zero=[1, 2, 3, 5]), relu("last", "b"))
    assert compare(network).removed == {"a": (1,), "r": (1,), "d": (1, 2, 3, 5),
                                        "s": (1, 2, 3, 5)}


def test_channels_move_with_what_moves_them() -> None:
    """A shuffle, a range, copies, and channels behind others, of which a convolution reads few."""
    network = chain(
        (4, 4, 2), convolution("a", [1, 2, 3, 4]), relu("r", "a"),
        ir.Permutation("p", "r", (2, 0, 3, 1)), ir.Slice("s", "p", 1, 4),
        ir.Repeat("t", "s", 2), ir.Concatenation("c", "t", ("p",)),
        convolution("b", [1, 1], "c", 10, zero=[0, 1, 4, 5, 6, 9]), relu("last", "b"))
    found = compare(network)
    # Of p, the channels 2 (in copies), 1 and 2 (behind) are read: 0 and 3 of r.
    assert found.removed == {"a": (1, 2), "r": (1, 2), "p": (0, 3), "s": (2,), "t": (4, 5),
                             "c": (4, 5, 6, 9)}


def test_sums_lose_what_both_lose() -> None:
    network = chain((3, 3, 2), convolution("a", [1, 2, 3]), relu("ra", "a"),
                    convolution("b", [1, 2, 3]), relu("rb", "b"), ir.Add("add", "ra", "rb"),
                    convolution("c", [1], "add", 3, zero=[0, 2]),
                    convolution("d", [1], "ra", 3, zero=[0]), ir.Add("last", "c", "d"))
    assert compare(network).removed == dict.fromkeys(("a", "ra", "b", "rb", "add"), (0,))


def test_the_output_keeps_its_type() -> None:
    """Constants leave sums narrower, unless a requantization is behind them."""
    layers = (convolution("a", [1, 0], bias=30), relu("r", "a"), convolution("b", [1, 9], "r"))
    assert not compare(chain((3, 3, 2), *layers)).removed
    assert compare(chain((3, 3, 2), *layers, relu("q", "b"))).removed == {"a": (1,), "r": (1,)}
    assert compare(chain((3, 3, 2), *layers[:2], convolution("b", [1, 9], "r", zero=[1]))).removed


def test_a_slice_of_sums_keeps_its_type() -> None:
    network = chain((3, 3, 2), convolution("a", [1, 2, 90]), ir.Slice("s", "a", 0, 2))
    assert not compare(network).removed
    assert compare(chain((3, 3, 2), *network.layers, relu("q", "s"))).removed == {"a": (2,)}


def test_an_encoding_stays() -> None:
    """A codebook has two entries at least, so what would leave one stays."""
    def coded(values: Sequence[Sequence[int]]) -> Network:
        weights = ir.Weights(np.array(values)[:, None, None], 4, 2, ir.Codebook())
        return chain((3, 3, 2), convolution("a", [1, 2, 3]), relu("r", "a"),
                     ir.Convolution("b", "r", weights, np.zeros(2, int)), relu("last", "b"))

    assert compare(coded([[3, 1, 0], [1, 3, 0]])).removed == {"a": (2,), "r": (2,)}
    assert not compare(coded([[3, 3, 0], [3, 3, 0]])).removed


def test_groups_of_n_of_m_go_whole() -> None:
    """Channels 2 and 3 are not read, but 0 and 1 are; of 4 to 9, nothing is, and 8 and 9 are all of
    the last group."""
    values = np.zeros((2, 10), int)
    values[0, :2], values[1, 0] = (1, 2), 3

    def removed(encoding: ir.Encoding) -> tuple[int, ...]:
        weights = ir.Weights(values[:, None, None], 4, 2, encoding)
        return compare(chain((3, 3, 2), convolution("a", range(1, 11)), relu("r", "a"),
                             ir.Convolution("b", "r", weights, np.zeros(2, int)),
                             relu("last", "b"))).removed["a"]

    assert removed(ir.Plain()) == (2, 3, 4, 5, 6, 7, 8, 9)
    assert removed(ir.NofM(2, 4)) == (4, 5, 6, 7, 8, 9)
    values[0, 9] = 1
    assert removed(ir.NofM(2, 4)) == (4, 5, 6, 7)


# --- in the flow
def test_two_of_four_stay_so() -> None:
    """Channel 1 is dead, yet two of four are stored, which takes fewer bits than seven channels."""
    values = np.tile([[1, 0, 3, 0, 7, 0, 0, 5], [2, 0, 0, 4, 0, -3, 6, 0]], (8, 1))
    network = chain((3, 3, 2), convolution("a", range(1, 9)), relu("r", "a"), ir.Convolution(
        "b", "r", ir.Weights(values[:, None, None], 4, 2), np.zeros(16, int)), relu("last", "b"))
    model = flow.Model(network, Settings())
    _, _, before, _ = encode(reduce(network, golden.execute).network, {}).layers
    _, _, after, _ = encode(model.reduced.network, {}).layers
    assert isinstance(before, ir.Convolution) and isinstance(after, ir.Convolution)
    assert not isinstance(before.weights.encoding, ir.NofM)
    assert isinstance(after.weights.encoding, ir.NofM)
    assert after.weights.values.shape[3] == 8
    assert not model.reduced.settings.removed


def dead_network(name: str = "net") -> Network:
    """Channel 1 of three is not read."""
    return replace(chain((4, 4, 2), convolution("a", [1, 2, 3]), relu("r", "a"),
                         convolution("b", [1, 2], "r", 3, kernel=3, zero=[1])), name=name)


def test_a_compiled_network_tells_what_it_lost(tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "net.penjing", tmp_path / "out"
    file.save(dead_network(), path)
    command = ["compile", str(path), "-b", "generic", "-o", str(out)]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"] == [{"layer": "a", "channels": 1, "of": 3},
                               {"layer": "r", "channels": 1, "of": 3}]
    opened = flow.Project.open(out)
    assert opened.settings.removed == {"a": (1,), "r": (1,)}
    assert opened.network == compare(dead_network()).network
    assert main(command) == 0
    assert "Channels not needed" in capsys.readouterr().out
    assert main(["check", str(path), "--json"]) == 0
    checked = {layer["name"]: layer["shape"] for layer in json.loads(
        capsys.readouterr().out)["layers"]}
    assert checked == {"a": [4, 4, 2], "r": [4, 4, 2], "b": [2, 2, 2]}


def test_nothing_is_told_where_nothing_went(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.penjing"
    file.save(chain((4, 4, 2), convolution("a", [1, 2])), path)
    command = ["compile", str(path), "-b", "generic", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert "Channels not needed" not in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == []


@pytest.mark.parametrize("removed", ['{"none": [1]}', '{"a": [2, 1]}', '{"a": [-1]}', '{"a": 1}',
                                     '{"a": [true]}', "[]"])
def test_a_damaged_project_is_refused(removed: str, tmp_path: Path) -> None:
    file.save(dead_network(), tmp_path / "net.penjing")
    flow.compile_model(tmp_path / "net.penjing", tmp_path / "out", flow.Target("generic"))
    mark = tmp_path / "out" / "penjing.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "removed": json.loads(removed)}))
    with pytest.raises(PenjingError, match=r"penjing.json: .*; compile the network again"):
        flow.Project.open(tmp_path / "out")


@pytest.mark.slow
def test_hardware_without_them_is_exact(tmp_path: Path) -> None:
    file.save(dead_network(), tmp_path / "net.penjing")
    flow.compile_model(tmp_path / "net.penjing", tmp_path / "out", flow.Target("generic"))
    assert flow.simulate(tmp_path / "out", frames=4).passed
