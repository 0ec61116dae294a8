# amaranth: UnusedElaboratable=no
"""Weights that are constants in logic: the additions, their pipeline, and what is known behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import values
from graphs import check, random_graph, with_constants
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PLENTY, run_network
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import plan_file
from penjing.compiler.dataflow.adders import adder_graph
from penjing.compiler.dataflow.adders.digits import signed_digits
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.reach import reaches
from penjing.compiler.dataflow.search import Goal, schedule, search
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Builder, Integers, Network, PenjingError, TensorType
from penjing.hdl.adder_graph import AdderGraph, Addition, Term
from penjing.hdl.constant_matrix import ConstantMatrix
from penjing.hdl.ranges import width
from penjing.sim import golden
from penjing.sim.streams import Stalls

BUDGET = Budget(ECP5, PLENTY, 1000)
RNG = np.random.default_rng(3)


# --- digits
@given(st.integers(-(1 << 16), 1 << 16))
def test_digits_add_up_and_none_stand_side_by_side(value: int) -> None:
    digits = signed_digits(value)
    assert sum(digit << place for place, digit in digits.items()) == value
    assert set(digits.values()) <= {-1, 1}
    assert all(after - before > 1 for before, after in pairwise(sorted(digits)))
    # No more digits than bits that are set, in the integer or in what makes a power of two of it.
    assert len(digits) <= abs(value).bit_count()


# --- graphs
@st.composite
def matrices(draw: Callable[[Any], Any]) -> tuple[Integers, list[int], list[range]]:
    """A matrix with zeros, biases, and the values of each input."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    most = 1 << draw(st.integers(1, 9))
    matrix = draw(values(shape, -most, most)) * draw(values(shape, 0, 1))
    bounds = [sorted(draw(st.tuples(*[st.integers(-300, 300)] * 2))) for _ in range(shape[1])]
    return matrix, draw(values((shape[0],), -99, 99)).tolist(), [range(a, b + 1) for a, b in bounds]


@settings(deadline=None)
@given(matrices(), st.integers(1, 3), st.integers(0, 3), st.data())
def test_a_graph_is_its_matrix(drawn: tuple[Integers, list[int], list[range]], chained: int,
                               slack: int, data: st.DataObject) -> None:
    matrix, biases, inputs = drawn
    graph = adder_graph(matrix, biases, inputs, chained=chained, slack=slack)
    unit = [[one[0 if n == k else -1] for n, one in enumerate(inputs)] for k in range(len(inputs))]
    drawn_inputs = [data.draw(st.sampled_from(one)) for one in inputs]
    for vector in (*unit, [one[0] for one in inputs], [one[-1] for one in inputs], drawn_inputs):
        assert graph.results(vector) == (matrix @ vector + biases).tolist()
    assert graph == adder_graph(matrix, biases, inputs, chained=chained, slack=slack)


@settings(deadline=None)
@given(matrices())
def test_bounds_are_exact(drawn: tuple[Integers, list[int], list[range]]) -> None:
    """Of every node, which is a line of the inputs: both bounds occur, at corners that it tells."""
    matrix, biases, inputs = drawn
    graph = adder_graph(matrix, biases, inputs)
    every = AdderGraph(graph.inputs, graph.constants, graph.additions, tuple(
        Term(node) for node in range(len(graph.values))))
    nothing = np.array(every.results([0] * len(inputs)))
    lines = np.array([every.results(unit.tolist()) for unit in np.eye(len(inputs), dtype=np.int64)])
    lines -= nothing
    for line, origin, bounds in zip(lines.T, nothing, graph.values, strict=True):
        low, high = (origin + sum(slope * one[end if slope > 0 else -1 - end]
                                  for slope, one in zip(line, inputs, strict=True))
                     for end in (0, -1))
        assert (bounds[0], bounds[-1]) == (low, high)


@settings(deadline=None, max_examples=30)
@given(matrices(), st.integers(1, 3))
def test_no_more_additions_share_a_stage(drawn: tuple[Integers, list[int], list[range]],
                                         chained: int) -> None:
    graph = adder_graph(*drawn, chained=chained)
    levels = [0] * graph.first_addition
    for addition in graph.additions:
        levels.append(1 + max(levels[term.node] if graph.stage(term.node) == addition.stage else 0
                              for term in (addition.low, addition.high)))
    assert max(levels) <= chained


def test_zeros_cost_nothing_and_sums_share() -> None:
    assert adder_graph(np.zeros((3, 4), np.int64), [0, 5, -8], [range(9)] * 4).additions == ()
    powers = adder_graph(np.array([[4, 0], [0, 64]]), [0, 0], [range(9)] * 2)
    assert (powers.additions, powers.depth) == ((), 1)
    twice = adder_graph(np.array([[5, 3, 1], [5, 3, -1], [20, 12, 64]]), [0] * 3, [range(16)] * 3)
    assert len(twice.additions) <= 7  # of 13 without


def test_a_dense_matrix_takes_far_fewer_additions_than_digits() -> None:
    matrix = RNG.integers(-31, 32, (32, 32))
    graph = adder_graph(matrix, [0] * 32, [range(-128, 128)] * 32)
    digits = sum(len(signed_digits(int(value))) for value in matrix.reshape(-1))
    assert len(graph.additions) < 0.65 * digits
    vectors = RNG.integers(-128, 128, (20, 32))
    for vector in vectors:
        assert graph.results(vector.tolist()) == (matrix @ vector).tolist()


def test_a_graph_refuses_what_cannot_be_built() -> None:
    one = Addition(Term(0), Term(1), range(5), 1)
    with pytest.raises(ValueError, match="must come after its terms"):
        AdderGraph((range(3),), (), (one,), ())
    with pytest.raises(ValueError, match="must have a positive term"):
        AdderGraph((range(3),) * 2, (), (Addition(Term(0, 0, True), Term(1, 1, True), range(5), 1),
                                         ), ())
    with pytest.raises(ValueError, match="must not be negative"):
        AdderGraph((range(3),) * 2, (), (one,), (Term(2, 0, True),))
    with pytest.raises(ValueError, match="inputs of the graph must fit"):
        ConstantMatrix(1, 8, AdderGraph((range(3),) * 2, (), (one,), (Term(2),)))
    with pytest.raises(ValueError, match="outputs of the graph must fit"):
        ConstantMatrix(2, 3, AdderGraph((range(3),) * 2, (), (one,), (Term(2, 1),)))


# --- networks
def perceptron(zeros: float, encoding: ir.Encoding) -> Network:
    """Three dense layers with requantizations between."""
    grow = Builder(TensorType((1, 1, 12), 8, True))
    for n, outputs in enumerate((16, 8, 5)):
        shape = outputs, grow.type.elements
        weights = RNG.integers(-31, 32, shape) * (RNG.random(shape) >= zeros)
        grow.add(ir.Dense(f"dense{n}", grow.tail, ir.Weights(weights, 6, encoding=encoding),
                          RNG.integers(-99, 99, outputs)))
        if n < 2:
            grow.add(ir.ShiftRequantize(f"shift{n}", grow.tail, 6, 8, False))
    return grow.network()


@pytest.mark.parametrize("zeros", [0, 0.5, 0.9, 1])
def test_a_frame_a_cycle_and_no_memory(zeros: float) -> None:
    network = perceptron(zeros, ir.Constant())
    found = search(network, BUDGET, Goal(1))
    plan = found.timed()
    images = RNG.integers(-128, 128, (6, 1, 1, 12))
    ends = run_network(network, plan, images, Stalls)
    assert [end - 1 for end in ends] == found.finished.frame_ends(6)
    assert np.diff(ends).tolist() == [1] * 5
    assert plan.cycles_per_frame == 1
    assert sum(layer.memory_bits + layer.resources.brams + layer.resources.dsps
               for layer in plan.layers) == 0


def test_a_file_and_a_plan_keep_it(tmp_path: Path) -> None:
    network = perceptron(0.5, ir.Constant())
    file.save(network, tmp_path / "one.penjing")
    assert file.load(tmp_path / "one.penjing") == network
    plan = schedule(network, BUDGET, Goal(1))
    plan_file.save(plan, network, tmp_path / "plan.json")
    assert plan_file.load(tmp_path / "plan.json", network) == plan
    assert network.layers[0].weights.memory_bits == 0


def test_narrow_ports_are_collected() -> None:
    network = perceptron(0.5, ir.Constant())
    plan = schedule(network, BUDGET, Goal(4))
    assert (plan.layers[0].i.lanes, plan.cycles_per_frame) == (3, 4)
    run_network(network, plan, RNG.integers(-128, 128, (3, 1, 1, 12)), Stalls)


def test_what_is_known_of_channels_is_so() -> None:
    network = perceptron(0.8, ir.Constant())
    known = reaches(network)
    images = RNG.integers(-128, 128, (200, 1, 1, 12))
    for name, reach in known.items():
        assert (reach is None) == (name == "x")
        if reach is not None:
            tensor = golden.run_all(network, images)[name].reshape(200, -1)
            assert all(set(one.tolist()) <= set(values)
                       for one, values in zip(tensor.T, reach, strict=True))
    narrow = sites(network)["dense1"].adders.inputs
    assert min(map(width, narrow)) < 8
    assert not any(reaches(perceptron(0.8, ir.Plain())).values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 5, 13])
def test_random_graphs_with_constants(seed: int) -> None:
    network = with_constants(random_graph(seed, steps=4))
    check(network, search(network, BUDGET, Goal(4000)), (Stalls.NONE, Stalls.BOTH))


def test_a_fold_is_refused() -> None:
    with pytest.raises(PenjingError, match="dense0: it makes all products at once"):
        schedule(perceptron(0, ir.Constant()), BUDGET, Goal(folds={"dense0": Fold(1, 1, 1)}))


def test_other_layers_are_refused() -> None:
    kind = TensorType((3, 3, 2), 4, False)
    weights = ir.Weights(np.ones((2, 3, 3, 2), np.int64), 2, encoding=ir.Constant())
    layer = ir.Convolution("conv", "x", weights, np.zeros(2, np.int64))
    with pytest.raises(PenjingError, match="conv: only a dense layer, or a 1×1 convolution"):
        schedule(Network("net", "x", kind, (layer,)), BUDGET, Goal(99))
