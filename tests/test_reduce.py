"""Channels that nobody reads, or that are constant, go; no integer of what stays changes."""

from __future__ import annotations

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
from penjing.compiler import file, ir
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.compiler.reduce import Reduction, bounds, channels, kernels, reduce
from penjing.sim import golden

EXAMPLES = sorted((Path(penjing.__file__).parent / "examples" / "binary").glob("*.penjing"))
MAKERS: tuple[Callable[[Any], Network], ...] = (
    random_graph, random_network, mixed_network, random_graph, residual_of_any := (
        lambda choices: residual(int(choices.integers(0, 99)))))


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
@pytest.mark.parametrize("make", [random_graph, random_network, mixed_network, table_network])
def test_what_stays_of_many_is_what_it_was(make: Callable[[Any], Network]) -> None:
    lost = 0
    for seed in range(250):
        network = pruned(make(seed), np.random.default_rng(seed))
        lost += bool(compare(network).removed)
    assert 60 < lost < 250


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_network_that_needs_all_is_left_alone(path: Path) -> None:
    network = file.load(path)
    found = reduce(network, golden.execute)
    if not found.removed:
        assert found.network is network
    else:
        compare(network, 2)
