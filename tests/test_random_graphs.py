"""Random networks that are graphs, and of every generator: values, and the cycle of every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from graphs import STEPS, Web, check, planned, random_graph
from hypothesis import HealthCheck, Phase, given, settings
from networks import random_candidate
from penjing.compiler import ir
from penjing.compiler.dataflow.search import Candidate
from penjing.compiler.ir import Network
from penjing.sim.streams import Stalls

EXAMPLES = 12
GROUPS, GROUP = 10, 50
"""So many times so many small graphs."""


@given(planned(random_graph))
@settings(deadline=None, max_examples=EXAMPLES, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
def test_graph_equals_golden_in_the_predicted_cycles(drawn: tuple[Network, Candidate]) -> None:
    check(*drawn)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_many_small_graphs_equal_golden_in_the_predicted_cycles(group: int) -> None:
    """By a seed each, which is told; `bench/graphs.py` draws larger ones likewise."""
    for seed in range(group * GROUP, (group + 1) * GROUP):
        network = random_graph(seed, steps=3)
        try:
            check(network, random_candidate(network, seed), (Stalls.NONE, Stalls.BOTH))
        except Exception as error:
            error.add_note(f"the graph of seed {seed}")
            raise


def kinds(network: Network) -> Iterable[str]:
    return (layer.kind for layer in network.layers)


@pytest.mark.parametrize("wanted", [
    lambda n: sum(kind == "add" for kind in kinds(n)) > 2,
    lambda n: sum("x" in layer.inputs for layer in n.layers) > 2,
    lambda n: any(layer.inputs == (layer.inputs[0],) * 2 for layer in n.layers)])
def test_graphs_are_drawn_with_sums_within_sums(wanted: Callable[[Network], bool]) -> None:
    assert any(wanted(random_graph(seed)) for seed in range(60))


def test_all_kinds_of_layers_are_drawn() -> None:
    drawn = {kind for seed in range(150) for kind in kinds(random_graph(seed))}
    concrete = {leaf.__name__.lower() for leaf in leaves(ir.layers.Layer)}
    # Winograd's form is drawn by its own tests, since its layers are of use together only.
    assert drawn == {one for one in concrete if not one.startswith("winograd")}


def leaves(kind: type) -> Iterable[type]:
    """Classes of the package that no other is derived from."""
    below = [one for one in kind.__subclasses__() if one.__module__.startswith("penjing.")]
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


@pytest.mark.slow
def test_what_is_drawn_shrinks() -> None:
    """A failure is told by the smallest network that has it, not by a seed."""
    smallest: list[Network] = []

    @given(planned(random_graph, lambda network, choices: None))
    @settings(deadline=None, max_examples=300, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])
    def fails(drawn: tuple[Network, Any]) -> None:
        if "add" in kinds(drawn[0]) and "depthwise" in kinds(drawn[0]):
            smallest.append(drawn[0])
            raise AssertionError

    with pytest.raises(AssertionError):
        fails()
    # Where it ends depends on what it begins with, that on the modules that are loaded.
    assert len(smallest[-1].layers) <= 9


def test_steps_are_all_that_grows_a_graph() -> None:
    grow = Web(ir.TensorType((2, 2, 1), 4, True))
    assert grow.unread == ["x"]
    assert len(set(STEPS)) >= 9
