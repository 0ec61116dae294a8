"""The cost oracle: for every network what a schedule of it alone says, whatever it saw before."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import PLENTY, mixed_network, random_network, residual, table_network, wide_and_deep
from others import shared
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import kinds
from penjing.compiler.dataflow.budget import Budget, TooSmall
from penjing.compiler.dataflow.geometry import Waits
from penjing.compiler.dataflow.kinds.ask import Ask, Span
from penjing.compiler.dataflow.options import Catalogue
from penjing.compiler.dataflow.plan import Fold, Port
from penjing.compiler.dataflow.pricing import Cost, CostOracle
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.encode import encode
from penjing.compiler.ir import Builder, Network, PenjingError, TensorType
from penjing.compiler.reduce import without
from penjing.flow.load import Quantization, load
from penjing.sim import golden

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"


def told(price: Callable[[], Cost]) -> Cost | str:
    """The cost, or why there is none."""
    try:
        return price()
    except PenjingError as error:
        return f"{type(error).__name__}: {error}"


def check(oracle: CostOracle, budget: Budget, networks: Iterable[Network],
          goal: Goal | None = None) -> int:
    """Compare every answer with that of a schedule; how many costs there were."""
    found = 0
    for network in networks:
        wanted = told(lambda network=network: Cost.of(  # type: ignore[misc]
            network, schedule(network, budget, goal), budget))
        assert told(lambda network=network: oracle.cost(network, goal)) == wanted  # type: ignore[misc]
        found += isinstance(wanted, Cost)
    return found


def pruned(network: Network, layers: Iterable[str], rng: np.random.Generator) -> Network:
    """Without the last channels of some of the ``layers``, up to half."""
    gone = {}
    for name in layers:
        channels = network.type_of(name).shape[2]
        count = int(rng.integers(0, channels // 2 + 1))
        gone[name] = range(channels - count, channels)
    return without(network, gone)


def of_bits(network: Network, weights: int, maps: int) -> Network:
    """Each layer's weights, and the maps behind its shifts, in so many bits."""
    made = Builder(network.input_type, network.input)
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            low = -(1 << weights - 1)
            values = np.clip(layer.weights.values, low, -low - 1)
            layer = replace(layer, weights=replace(layer.weights, values=values, bits=weights))
        elif isinstance(layer, ir.ShiftRequantize):
            layer = replace(layer, bits=maps, low=None, high=None)
        made.add(layer)
    return made.network(network.name, tail=network.tail)


BUDGETS = {"plenty": Budget(ECP5, PLENTY, 40),
           "little": Budget(ECP5, Resources(6000, 6000, 8, 8), 8),
           "soft": Budget(ICE40, Resources(20_000, 20_000, 8, 30), 100)}


@pytest.mark.parametrize("name", BUDGETS)
def test_one_network_after_the_other(name: str) -> None:
    budget, network = BUDGETS[name], residual(3)
    assert check(CostOracle(budget), budget, [mixed_network(4), network, network]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", BUDGETS)
def test_it_says_what_a_schedule_says(name: str) -> None:
    budget = BUDGETS[name]
    oracle, found = CostOracle(budget), 0
    for seed in range(12):
        networks = [random_network(seed), mixed_network(seed), residual(seed), table_network(seed),
                    wide_and_deep(seed)]
        # Asked twice, the second time all is known.
        found += check(oracle, budget, [*networks, *networks])
    assert found >= 80


def test_candidates_of_one_network() -> None:
    rng, budget = np.random.default_rng(2), Budget(ECP5, Resources(9000, 9000, 24, 20), 24)
    oracle, whole = CostOracle(budget), wide_residual()
    networks = [pruned(whole, rng.permutation(["a", "b", "c"])[:2], rng) for _ in range(3)]
    networks += [of_bits(whole, *rng.integers(2, 9, 2).tolist()) for _ in range(3)]
    assert check(oracle, budget, networks) == 6
    assert check(oracle, budget, networks[::3], Goal(15_000)) == 2
    assert check(oracle, budget, networks[:1], Goal(folds={"a": Fold(2, 1, 3)})) == 1


def wide_residual() -> Network:
    """Two layers beside each other in a sum, of 16 channels on 6×6 positions, and a dense one."""
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> ir.Weights:
        return ir.Weights(rng.integers(-128, 128, shape), 8)

    made = Builder(TensorType((6, 6, 3), 8, False))
    for name, source, channels in (("a", "x", 3), ("b", "a_q", 16), ("c", "x", 3)):
        made.add(ir.Convolution(name, source, weights(16, 3, 3, channels),
                                rng.integers(-99, 99, 16), padding=(1, 1, 1, 1)))
        made.add(ir.ShiftRequantize(f"{name}_q", name, 9, 7, False))
    made.add(ir.Add("sum", "b_q", "c_q"))
    made.add(ir.MaxPool("pool", "sum", (2, 2), (2, 2)))
    made.add(ir.Flatten("flat", "pool"))
    made.add(ir.Dense("dense", "flat", weights(10, 3 * 3 * 16), rng.integers(-99, 99, 10)))
    return made.network("wide")


def test_other_weights_in_the_same_form() -> None:
    """Values that hardware does not depend on leave a layer the one that it was."""
    network, catalogue = wide_residual(), Catalogue(ECP5)
    options = {name: catalogue.options(site) for name, site in sites(network).items()}

    def of(changed: ir.Layer) -> object:
        site = sites(network)[changed.name]
        return catalogue.options(replace(site, layer=changed))

    conv = network.layers[0]
    assert isinstance(conv, ir.Convolution)
    assert of(replace(conv, weights=replace(conv.weights, values=conv.weights.values[::-1]))
              ) is options["a"]
    for other in (replace(conv, bias=conv.bias << 4), replace(conv, pad_value=1),
                  replace(conv, weights=replace(conv.weights, loadable=True)),
                  replace(conv, weights=replace(conv.weights, values=conv.weights.values % 2)),
                  replace(conv, weights=replace(
                      conv.weights, values=conv.weights.values.clip(-20, 20),
                      encoding=ir.Codebook()))):
        assert of(other) is not options["a"]


def test_sparse_weights_are_what_they_are() -> None:
    """Cells of an engine that walks entries depend on where zeros are."""
    rng, budget = np.random.default_rng(3), Budget(ECP5, PLENTY, 20)
    networks = []
    for _ in range(2):
        made = Builder(TensorType((5, 5, 8), 8, False))
        values = rng.integers(-128, 128, (16, 3, 3, 8)) * (rng.random((16, 3, 3, 8)) < 0.2)
        made.add(ir.Convolution("a", "x", ir.Weights(values, 8), rng.integers(-9, 9, 16)))
        networks += [encode(made.network(), {"a": name}) for name in ("bitmap", "relative")]
    assert check(CostOracle(budget), budget, networks) == len(networks)


def test_what_it_forgets_it_works_out_again() -> None:
    budget = Budget(ECP5, PLENTY, 30)
    catalogue, network = Catalogue(ECP5, capacity=2), wide_residual()
    first = [catalogue.options(site) for site in sites(network).values()]
    assert catalogue.options(sites(network)["dense"]) is first[-1]
    assert catalogue.options(sites(network)["a"]) is not first[0]
    oracle = CostOracle(budget, "some", 50.0)
    cost = oracle.cost(network)
    assert cost.frames_per_second == 50e6 / cost.cycles
    assert cost.weight_bits == 8 * (16 * 27 + 16 * 144 + 16 * 27 + 10 * 144)
    assert pickle.loads(pickle.dumps(oracle)).cost(network) == cost  # noqa: S301


def test_where_nothing_fits() -> None:
    oracle = CostOracle(Budget(ECP5, Resources(900, 900, 1, 1), 1))
    with pytest.raises(TooSmall, match=r"^network wide: it needs 4 multipliers on generic, where"):
        oracle.cost(wide_residual())


def test_an_oracle_of_a_target() -> None:
    """A board's serial link counts, and it travels to other processes."""
    network = wide_residual()
    target = flow.Target("ulx3s-12f")
    oracle, goal = flow.cost_oracle(network, target)
    cost = pickle.loads(pickle.dumps(oracle)).cost(network, goal)  # noqa: S301
    assert cost == Cost.of(network, flow.compile.plan(network, target), oracle.budget)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "kws_ref_model", "example"])
@pytest.mark.parametrize("board", ["ulx3s-85f", "ulx3s-25f"])
def test_trained_networks(name: str, board: str) -> None:
    if name == "example":
        network = load(EXAMPLE / "fashion_mnist.pt2",
                       Quantization(EXAMPLE / "calibration.npz")).network
    else:
        network = load(shared("models", "mlperf_tiny", f"{name}.tflite"), Quantization()).network
    target = flow.Target(board)
    oracle, goal = flow.cost_oracle(network, target)
    rng = np.random.default_rng(0)
    layers = [layer.name for layer in network.layers[:-2]
              if isinstance(layer, ir.Convolution)]
    for trial in range(5):
        one = pruned(network, rng.permutation(layers)[:trial], rng)
        wanted = told(lambda one=one: Cost.of(  # type: ignore[misc]
            one, flow.compile.plan(one, target), oracle.budget))
        assert told(lambda one=one: oracle.cost(one, goal)) == wanted  # type: ignore[misc]


# --- how far answers hold
def test_how_far_lanes_hold() -> None:
    """10 elements at 20 cycles a beat, in 130 cycles: 6 beats, so 2 lanes; as for 5 to 9 beats."""
    ask = Ask(ECP5, (), 130, 4)
    assert ask.lanes(10, 20) == 2
    assert ask.span == Span(100, 199)
    assert ask.steps(50, 3) == 2
    assert ask.span == Span(100, 149)
    assert ask.steps(10, 5) == 5
    assert ask.span == Span(100, 149)
    assert ask.allows(120) and not ask.allows(141)
    assert ask.span == Span(120, 140)
    assert ask.lanes(10, 131) == 0 and ask.port(10, 131) == Port(10, 10)
    assert ask.span == Span(120, 130)
    assert ask.blocks(3) == 3
    assert ask.span == Span(120, 130, 3)
    assert ask.blocks(5) == 4
    assert ask.span == Span(120, 130, 4, 4)


def test_kinds_ask_by_methods_alone() -> None:
    """A number that is read unheard would make answers hold where they do not."""
    for path in Path(kinds.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "ask" or node.attr not in ("cycles", "dsps"), path


def test_reads_that_others_hide_behind() -> None:
    """In the first position, reads 0 and 1 hide behind read 2, for words come a cycle apart, and so
    do reads; read 3 waits for no later word. In the last, read 2 comes a cycle after its word
    could, and read 0 does not hide behind it."""
    waits = Waits.of(np.array([[4, 5, 6, 6], [-1, 7, 7, 6], [-1, -1, -1, -1], [2, 2, 3, 9]]))
    assert waits.words.tolist() == [[6], [7], [-1], [9]]
    assert waits.reads.tolist() == [[2], [1], [0], [3]]
    assert waits.first.tolist() == [0, 1, 4, 0]
    assert waits.last.tolist() == [6, 7, -1, 9]
    waits = Waits.of(np.array([[8, 8, 9]]))
    assert waits.words.tolist() == [[8, 9]] and waits.reads.tolist() == [[0, 2]]


# --- channels that are chosen
def test_channels_go_wherever_they_are_added() -> None:
    network = wide_residual()
    smaller = without(network, {"b": [0, 5]})
    kept = [n for n in range(16) if n not in (0, 5)]
    for name in ("b", "c", "sum", "pool"):
        assert smaller.type_of(name).shape[2] == 14
    assert smaller.type_of("flat").shape == (1, 1, 9 * 14)
    assert smaller.type_of("a").shape[2] == 16
    old, new = ({layer.name: layer for layer in one.layers} for one in (network, smaller))
    for name in ("b", "c"):
        assert np.array_equal(new[name].weights.values, old[name].weights.values[kept])
        assert np.array_equal(new[name].bias, old[name].bias[kept])
    dense = old["dense"].weights.values.reshape(10, 9, 16)[..., kept]
    assert np.array_equal(new["dense"].weights.values, dense.reshape(10, -1))
    with pytest.raises(PenjingError, match=r"^layer dense: its channels must stay"):
        without(network, {"dense": [1]})
    with pytest.raises(PenjingError, match=r"^layer a: it would lose all channels; leave one$"):
        without(network, {"a": range(16)})
    with pytest.raises(PenjingError, match=r"^layer d: the network has no such layer$"):
        without(network, {"d": [1]})


def padded_shortcut() -> Network:
    """A map of four channels with ten zeros around them, added to fourteen of a convolution."""
    rng = np.random.default_rng(0)
    made = Builder(TensorType((5, 5, 2), 8, False))
    for name, source, outputs in (("a", "x", 4), ("b", "a", 14)):
        weights = ir.Weights(rng.integers(-9, 9, (outputs, 1, 1, made.types[source].shape[2])), 8)
        made.add(ir.Convolution(name, source, weights, np.zeros(outputs, np.int64)))
    made.add(ir.Clamp("zeros", "a", 0, 0))
    made.add(ir.Slice("few", "zeros", 0, 2))
    made.add(ir.Concatenation("joined", "zeros", ("few", "a", "zeros")))
    made.add(ir.Add("sum", "joined", "b"))
    made.add(ir.Clamp("zeros_2", "sum", -9, 9))
    made.add(ir.Convolution("d", "zeros_2", ir.Weights(rng.integers(-9, 9, (3, 1, 1, 14)), 8),
                            np.zeros(3, np.int64)))
    return made.network("net")


@pytest.mark.parametrize(("gone", "inputs"), [
    ([0, 1], ("2", "2", "a", "4")), ([4, 5], ("4", "a", "4")),
    ([0, 1, 2, 3, 4, 5], ("a", "4")), ([0, 7], ("3", "2", "a", "3", "1"))])
def test_zeros_around_a_shortcut_hang_on_nothing(gone: list[int], inputs: tuple[str, ...]) -> None:
    network = padded_shortcut()
    smaller = without(network, {"b": gone})
    layers = {layer.name: layer for layer in smaller.layers}
    assert smaller.type_of("a").shape[2] == 4 - (7 in gone)
    assert smaller.type_of("sum").shape[2] == 14 - len(gone)
    found = layers["joined"].inputs
    assert tuple(name if name == "a" else str(smaller.type_of(name).shape[2])
                 for name in found) == inputs
    # What is gone is as if nobody read it.
    unread = {"b": [channel - 6 for channel in gone if 6 <= channel < 10], "d": gone}
    whole = []
    for layer in network.layers:
        if isinstance(layer, ir.Convolution) and layer.name in unread:
            values = layer.weights.values.copy()
            values[..., unread[layer.name]] = 0
            layer = replace(layer, weights=ir.Weights(values, 8))
        whole.append(layer)
    x = np.random.default_rng(1).integers(0, 256, (4, 5, 5, 2))
    before = replace(network, layers=tuple(whole))
    assert np.array_equal(golden.run(smaller, x), golden.run(before, x))


def test_a_group_goes_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    made = Builder(TensorType((5, 5, 2), 8, False))
    made.add(ir.Convolution("a", "x", ir.Weights(rng.integers(-9, 9, (6, 1, 1, 2)), 8),
                            np.zeros(6, np.int64)))
    made.add(ir.Depthwise("b", "a", ir.Weights(rng.integers(-9, 9, (6, 3, 3)), 8),
                          np.zeros(6, np.int64)))
    made.add(ir.Convolution("c", "b", ir.Weights(rng.integers(-9, 9, (3, 1, 1, 6)), 8),
                            np.zeros(3, np.int64)))
    smaller = without(made.network(), {"b": [1, 2]})
    assert [smaller.type_of(name).shape[2] for name in "abc"] == [4, 4, 3]
