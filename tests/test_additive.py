# amaranth: UnusedElaboratable=no
"""Weights of few values: what they are sums of, and the engine that multiplies these sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LAYER
from graphs import check, random_graph, with_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PLENTY, check_network, random_weights
from penjing import flow
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import plan_file
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.kinds import Additive, Ask, Dot, candidates
from penjing.compiler.dataflow.kinds.stores import CodebookStore, PlainStore
from penjing.compiler.dataflow.options import Catalogue
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.dataflow.report import weight_table
from penjing.compiler.dataflow.search import Goal, schedule, search
from penjing.compiler.dataflow.searching import Search
from penjing.compiler.dataflow.site import sites
from penjing.compiler.dataflow.summands import Summands, divided
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, PenjingError, TensorType, Weights
from penjing.hdl.engine import EngineShape
from penjing.hdl.select_array import SelectArray, SelectShape
from penjing.hdl.tech import Generic, Selection
from penjing.sim.streams import Stalls

BUDGET = Budget(ECP5, PLENTY, 1000)
ANY = [-128, -77, -60, -31, -9, -2, 0, 5, 12, 28, 41, 56, 70, 77, 101, 127]


def drawn(values: Sequence[int], shape: tuple[int, ...], encoding: ir.Encoding | None = None,
          bits: int = 8) -> Weights:
    """Weights of these values, each of them."""
    weights = np.random.default_rng(len(values)).choice(values, shape)
    weights.flat[:len(values)] = values
    return Weights(weights, bits, encoding=encoding or ir.Sums())


def convolution(weights: Weights, bits: int = 4, *, signed: bool = False, groups: int = 1,
                pad_value: int = 0, stride: tuple[int, int] = (1, 1)) -> Network:
    channels = weights.values.shape[3] * groups
    layer = ir.Convolution(LAYER, "x", weights, np.arange(len(weights.values)) - 3, stride,
                           (1, 1, 0, 1), pad_value, groups)
    return Network("net", "x", TensorType((4, 4, channels), bits, signed), (layer,))


def dense(weights: Weights, bits: int = 4, *, signed: bool = True) -> Network:
    outputs, inputs = weights.values.shape
    return Network("net", "x", TensorType((1, 1, inputs), bits, signed), (
        ir.Dense(LAYER, "x", weights, np.arange(outputs)),))


def plan_of(network: Network, fold: Fold) -> Plan:
    return schedule(network, BUDGET, Goal(10**5, {LAYER: fold}))


def additive(plan: Plan) -> Additive:
    kind = plan.layers[0].kind
    assert isinstance(kind, Additive)
    return kind


# --- summands
@settings(deadline=None)
@given(st.lists(st.integers(-500, 500), min_size=1, max_size=20, unique=True))
def test_every_value_is_a_sum(values: list[int]) -> None:
    least = (len(values) - 1).bit_length()
    for one in divided(tuple(sorted(values))):
        assert max(1, least) <= len(one.addends) <= 10 and 0 not in one.addends
        for value, choice in zip(values, one.choices(values), strict=True):
            assert value == one.common + sum(
                addend for n, addend in enumerate(one.addends) if choice >> n & 1)


@pytest.mark.parametrize(("values", "addends", "common"), [
    ([5], [5], 0), ([0], [1], 0), ([0, 9], [9], 0), ([3, 5], [2], 3), ([-3, 0, 5], [-3, 5], 0),
    ([-7, -2, 2, 7], [-5, 9], -2), (range(-8, 8), [-8, 1, 2, 4], 0),
    (range(0, 24, 3), [3, 6, 12], 0)])
def test_few_summands_are_found(values: Sequence[int], addends: list[int], common: int) -> None:
    """Of k values, as few as make all of them: log2(k) at least."""
    best = divided(tuple(values))[0]
    assert (sorted(best.addends), best.common) == (addends, common)


def test_summands_are_never_more_than_bits_nor_than_values() -> None:
    rng = np.random.default_rng(5)
    for count in (2, 3, 5, 9, 16):
        values = tuple(sorted(rng.choice(np.arange(-128, 128), count, replace=False).tolist()))
        found = divided(values)
        assert len(found[0].addends) <= min(count, 8)
        # The last one is the digits of the values, each a power of two.
        assert len(found[-1].addends) <= 8
        assert {abs(addend).bit_count() for addend in found[-1].addends} == {1} or count == 2
    assert divided(tuple(range(-128, 128))) == (
        Summands((1, 2, 4, 8, 16, 32, 64, -128)),), "those of many values are their digits"


# --- the encoding
def test_it_is_a_codebook_in_memory(tmp_path: Path) -> None:
    for values in ([3], [-7, 2], ANY):
        weights = drawn(values, (4, 3, 3, 5))
        table = replace(weights, encoding=ir.Plain() if len(values) == 1 else ir.Codebook())
        assert weights.encoding.name == "sums"
        assert weights.memory_bits == (8 if len(values) == 1 else table.memory_bits)
        network = convolution(weights)
        assert encode(convolution(table), {LAYER: "sums"}) == network
        file.save(network, path := tmp_path / "net.penjing")
        assert file.load(path) == network
    plan = plan_of(network, Fold(2, 1, 5))
    plan_file.save(plan, network, path := tmp_path / "plan.json")
    assert plan_file.load(path, network) == plan


def test_what_cannot_have_it_is_told() -> None:
    with pytest.raises(PenjingError, match=r"^weights: a codebook holds 1 to 256 different values, "
                                           r"not 300; share values, or store them plain$"):
        Weights(np.arange(300), 10, encoding=ir.Sums())
    weights = drawn(ANY, (4, 2, 2))
    with pytest.raises(PenjingError, match=r"^layer deep: weights of a depthwise convolution "
                                           r"cannot have the encoding sums; store them plain or "):
        ir.Depthwise("deep", "x", weights, np.zeros(4, np.int64))
    with pytest.raises(PenjingError, match=r"^layer up: weights of a transposed convolution "
                                           r"cannot have the encoding sums"):
        ir.TransposedConvolution("up", "x", drawn(ANY, (4, 2, 2, 3)), np.zeros(4, np.int64),
                                 (2, 2))
    with pytest.raises(PenjingError, match=r"^layer layer: what multiplies its sums is logic, "
                                           r"which no stream can change; compile it with "
                                           r"--encoding layer=codebook$"):
        ir.with_loadable_weights(dense(drawn(ANY, (3, 8))))


def test_structures_that_cannot_be() -> None:
    rules: dict[str, Any] = {"simd": 4, "folds": 2, "bits": 4, "signed": False,
                             "accumulator_bits": 12}
    with pytest.raises(ValueError, match=r"^of sums with a common one, codes must be gates, not "
                                         r"SIGN$"):
        SelectShape(scales=(3,), selection=Selection.SIGN, common=2, **rules)
    with pytest.raises(ValueError, match=r"^sums must be at least 1, not 0$"):
        SelectShape(scales=(), selection=Selection.GATE, common=2, **rules)
    array = SelectShape(scales=(3,), selection=Selection.GATE, common=2, **rules)
    with pytest.raises(ValueError, match=r"^a common sum must be of 1 group of channels, not 2$"):
        SelectArray(EngineShape(2, 4, 2, 4, 1, 9, channel_groups=2), array, constants=[0] * 4,
                    technology=Generic())


# --- what it becomes
def test_the_search_takes_it_where_it_costs_less() -> None:
    """It does for 16 codes, unless DSP blocks cost nothing; only who asks for it has no choice."""
    coded, asked = (dense(drawn(ANY, (8, 96), encoding))
                    for encoding in (ir.Codebook(), ir.Sums()))
    free = replace(ECP5, worth=replace(ECP5.worth, dsp=0))
    goal = Goal(48)
    for network, fabric, wanted in ((coded, ECP5, Additive), (coded, free, Dot),
                                    (asked, ECP5, Additive), (asked, free, Additive)):
        plan = schedule(network, Budget(fabric, replace(PLENTY, dsps=100), 1000), goal)
        assert type(plan.layers[0].kind) is wanted
        (row,) = weight_table(plan, network).rows
        assert row[1] == ("sums" if network is asked else
                          "codebook, by sums" if wanted is Additive else "codebook")
        assert plan.cycles_per_frame <= 48
        if wanted is Additive:
            assert (plan.multipliers, plan.resources.dsps) == (0, 0)
            assert plan.layers[0].work("additions") == plan.layers[0].products
    site = sites(asked)[LAYER]
    ask = Ask(ECP5, (Port(1, 96),), 48, 9)
    assert {type(kind) for kind in candidates(site.layer, site, ask)} == {Additive}
    loadable = ir.with_loadable_weights(coded)
    assert isinstance(schedule(loadable, BUDGET, goal).layers[0].kind, Dot)


def test_a_weight_is_stored_as_index_where_that_is_cheaper() -> None:
    """Five sums of 16 values: in few words as they are, in many a block RAM holds indices."""
    values = [-40, -31, -27, -18, -13, -9, -4, 0, 5, 9, 14, 18, 22, 31, 36, 40]
    few, many = (plan_of(dense(drawn(values, (outputs, inputs))), Fold(2, 1, 4))
                 for outputs, inputs in ((2, 8), (64, 256)))
    assert isinstance(additive(few).store, PlainStore)
    assert isinstance(additive(many).store, CodebookStore)
    assert additive(many).store.bits == 4
    site = sites(dense(drawn(values, (64, 256))))[LAYER]
    (memory,) = (one for one in additive(many).memories(site) if one.role == "weights")
    assert memory.bits == 64 * 256 * 4
    assert additive(many).all_weight_bits(site) == memory.bits + 16 * len(
        additive(many).array.scales)


# --- the engine
@pytest.mark.parametrize(("values", "fold", "summands"), [
    ([-7, -2, 2, 7], Fold(2, 1, 5), 2), ([5], Fold(2, 3, 4), 1), ([0], Fold(1, 1, 15), 1),
    (ANY, Fold(4, 1, 6), None)])
def test_engine(values: list[int], fold: Fold, summands: int | None) -> None:
    """Values under all stalls, cycles and latency."""
    network = convolution(drawn(values, (4, 3, 3, 5)), 3)
    plan = plan_of(network, fold)
    scales = additive(plan).array.scales
    assert summands is None or summands <= len(scales) <= max(1, len(values) - 1)
    check_network(network, plan, frames=3)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "signed"), [(1, False), (2, True), (7, True), (16, False)])
@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
def test_engine_of_any_input(bits: int, count: int, *, signed: bool) -> None:
    """Any width; strides; padding that is no zero; lanes and outputs to spare."""
    network = convolution(drawn(ANY[::16 // count][:count], (5, 3, 3, 3)), bits, signed=signed,
                          pad_value=1, stride=(2, 1))
    plan = plan_of(network, Fold(2, 2, 4))
    assert isinstance(plan.layers[0].kind, Additive)
    check_network(network, plan, frames=3)


def test_a_table_of_choices_in_hardware() -> None:
    network = dense(drawn([-9, -4, 1, 22], (4, 24)), 3)
    plan = plan_of(network, Fold(2, 1, 12))
    site, kind = sites(network)[LAYER], additive(plan)
    ask = Ask(ECP5, kind.inputs, 10**5, 0, kind.fold)
    forms = {type(one.store): one for one in Additive.forms(site, ask, kind.fold)}
    assert {*forms} == {PlainStore, CodebookStore}
    latencies = {}
    for store, form in forms.items():
        assert form.store.bits == (2 if store is CodebookStore else len(form.array.scales))
        trial = Search.of(network, BUDGET, Goal(), "generic", 100.0, Catalogue(ECP5))
        made = trial.planned({LAYER: trial.options[LAYER].of(form)}).timed()
        latencies[store] = made.latency_cycles
        check_network(network, made, frames=3)
    assert latencies[CodebookStore] == latencies[PlainStore] + 2, "a table, and the way to it"


def test_groups_keep_apart() -> None:
    """Products with other groups are zeros, which the sums leave out."""
    network = convolution(drawn([-6, 1, 5], (4, 2, 2, 2)), 3, groups=2)
    plan = plan_of(network, Fold(2, 1, 4))  # the fold of a whole group, too
    assert isinstance(plan.layers[0].kind, Additive)
    check_network(network, plan, frames=3)


def test_signs_are_added() -> None:
    """Inputs of -1 and 1, of which each is a bit."""
    weights = drawn([-9, -4, 1, 22], (4, 24))
    network = Network("net", "x", TensorType((1, 1, 24), 2, True), (
        ir.Threshold("signs", "x", np.ones((1, 1), np.int64), np.zeros(1, np.int64), 2, True, -1,
                     2),
        ir.Dense(LAYER, "signs", weights, np.arange(4))))
    assert isinstance(network.type_of("signs"), ir.Bipolar)
    plan = plan_of(network, Fold(2, 1, 6))
    kind = plan.layer(LAYER).kind
    assert isinstance(kind, Additive) and kind.array.bipolar
    check_network(network, plan, frames=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 5, 13])
def test_random_graphs_of_sums(seed: int) -> None:
    network = with_sums(random_graph(seed, steps=4))
    plan = search(network, BUDGET, Goal(4000))
    check(network, plan, (Stalls.NONE, Stalls.BOTH))


def test_the_command_makes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = dense(random_weights(np.random.default_rng(3), (6, 20)))
    file.save(network, path := tmp_path / "a.penjing")
    out = tmp_path / "out"
    assert main(["compile", str(path), "-b", "generic", "-o", str(out), "--encoding",
                 f"{LAYER}=sums", "--json"]) == 0
    assert '"hardware": "Additive"' in capsys.readouterr().out
    assert isinstance(flow.Project.open(out).plan.layers[0].kind, Additive)
