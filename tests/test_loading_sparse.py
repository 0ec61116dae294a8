# amaranth: UnusedElaboratable=no
"""Sparse and n of m weights that come at run time: other zeros into one accelerator."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import LAYER, Case, n_of_m, walked
from engines import most_pieces
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from loading import Frames, Load, image_of, run_loadable
from networks import PLENTY, random_images
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.cost import Storage
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.kinds import Nonzeros
from penjing.compiler.dataflow.kinds.balance import balanced, evenly
from penjing.compiler.dataflow.kinds.entry_store import EntryMemory, Room
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.dataflow.report import weight_facts
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.image import image
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.hdl.loadable import Loadable
from penjing.hdl.loader import Status
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Source, StreamFormat
from penjing.sim.cosim import simulate as cosim
from penjing.sim.streams import Stalls

MAP = TensorType((4, 3, 4), 4, True)
BROAD = TensorType((4, 8, 4), 4, True)
CODES = ir.Codebook()
ENCODINGS = [ir.RelativeIndex(2), ir.RelativeIndex(1, CODES), ir.KernelList(1),
             ir.KernelList(2, CODES), ir.Bitmap(8), ir.Bitmap(16, CODES), ir.NofM(2, 4),
             ir.NofM(2, 4, CODES)]
FOLDS = {Stalls.NONE: Fold(2, 1, 3), Stalls.INPUT: Fold(1, 1, 1), Stalls.OUTPUT: Fold(6, 1, 3),
         Stalls.BOTH: Fold(3, 1, 1)}


def network_of(values: Integers, encoding: ir.Encoding, seed: int = 0, groups: int = 1,
               name: str = "few", size: TensorType = MAP) -> Network:
    """A 3×2 convolution of a map of a ``size`` with weights of five bits."""
    bias = np.random.default_rng(seed).integers(-9, 9, len(values))
    layer = ir.Convolution("conv", "x", ir.Weights(values, 5, encoding=encoding), bias, (1, 1),
                           (1, 1, 0, 1), 2, groups)
    return ir.with_loadable_weights(Network(name, "x", size, (layer,)))


def drawn(seed: int, density: float, groups: int = 1) -> Integers:
    """Few weights of few values, of which two of each four channels are 0."""
    rng = np.random.default_rng(seed)
    shape = 6, 3, 2, 4 // groups
    values = rng.choice([-16, -7, -1, 2, 9, 15], shape) * (rng.random(shape) < density)
    return values * np.resize([1, 0, 0, 1], shape[-1]) if groups == 1 else values


def others(first: Integers) -> list[Integers]:
    """A single weight; those of ``first`` elsewhere, fewer, and outputs without any."""
    single = np.zeros_like(first)
    single[-1, -1, -1, 0] = -16
    moved = first[::-1, ::-1] * (np.random.default_rng(1).random(first.shape) < 0.8)
    return [single, moved * np.resize([1, 1, 0], len(first))[:, None, None, None]]


def planned(network: Network, folds: dict[str, Fold] | None = None) -> Plan:
    return schedule(network, Budget(ECP5, PLENTY, 1000), Goal(None if folds else 4000, folds or {}))


def made(network: Network, plan: Plan) -> Loadable:
    dut = accelerator.whole(network, plan, Generic())
    assert isinstance(dut, Loadable)
    return dut


def run_all(networks: list[Network], plan: Plan, stalls: Stalls) -> list[int]:
    """One after the other in the accelerator of the first; the cycles of each one's frames."""
    x = random_images(networks[0].input_type, 2, 1)
    steps = [step for one in networks for step in
             (Load(image_of(one, plan), Status.READY), Frames(one, x))]
    return run_loadable(made(networks[0], plan), plan, steps, stalls)[1::2]


@pytest.mark.parametrize("stalls", [
    Stalls.BOTH, *(pytest.param(one, marks=pytest.mark.slow) for one in Stalls
                   if one is not Stalls.BOTH)])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: one.name)
def test_networks_one_after_the_other(encoding: ir.Encoding, stalls: Stalls) -> None:
    """Other places, other numbers of weights, outputs without any; cycles are always the plan's."""
    first = drawn(3, 0.7)
    fold = FOLDS[stalls]
    if isinstance(encoding, ir.NofM):
        fold = Fold(fold.pe, 1, 4)
    networks = [network_of(values, encoding, n) for n, values in enumerate(
        [first, *others(first)])]
    plan = planned(networks[0], {"conv": fold})
    taken = run_all(networks, plan, stalls)
    if stalls is Stalls.NONE:
        assert set(taken) == {plan.latency_cycles + plan.cycles_per_frame + 1}


@pytest.mark.parametrize("encoding", [ir.RelativeIndex(1, CODES), ir.KernelList(1), ir.Bitmap(8)],
                         ids=lambda one: one.name)
def test_groups_of_channels(encoding: ir.Encoding) -> None:
    """Which group an element's output belongs to comes with the weights."""
    first = drawn(4, 0.5, 2)
    networks = [network_of(values, encoding, n, 2) for n, values in enumerate(
        [first, *others(first)])]
    plan = planned(networks[0], {"conv": Fold(4, 1, 1)})
    taken = run_all(networks, plan, Stalls.NONE)
    assert set(taken) == {plan.latency_cycles + plan.cycles_per_frame + 1}


@pytest.mark.parametrize("stalls", [Stalls.BOTH, pytest.param(Stalls.NONE, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("encoding", "pieces"), [
    (ir.RelativeIndex(1, CODES), 1), (ir.KernelList(1), 4), (ir.Bitmap(8), 2)],
    ids=lambda one: getattr(one, "name", None))
def test_whatever_the_memories(encoding: ir.Encoding, pieces: int, stalls: Stalls) -> None:
    """Columns side by side, results in as many pieces as any weights allow, entries in blocks."""
    first = drawn(3, 0.7)
    networks = [network_of(values, encoding, n, size=BROAD) for n, values in enumerate(
        [first, *others(first)])]
    plan, site = planned(networks[0], {"conv": Fold(3, 1, 4)}), sites(networks[0])["conv"]
    layer = plan.layer("conv")
    kind = layer.kind
    assert isinstance(kind, Nonzeros)
    assert most_pieces(site, kind) == pieces
    kind = replace(kind, wide=True, pieces=pieces, entries=EntryMemory(Storage.BLOCK))
    assert kind.shape(site).parity_bits == 1
    plan = replace(plan, layers=(replace(layer, kind=kind),))
    taken = run_all(networks, plan, stalls)
    if stalls is Stalls.NONE:
        assert set(taken) == {plan.latency_cycles + plan.cycles_per_frame + 1}


def test_several_outputs_leave_at_once() -> None:
    """Then those of a beat come from different elements, whatever has come in."""
    first = drawn(5, 0.15)
    networks = [network_of(values, ir.RelativeIndex(3), n) for n, values in enumerate(
        [first, *others(first)])]
    plan = planned(networks[0], {"conv": Fold(3, 1, 3)})
    assert plan.layer("conv").o.lanes > 1
    taken = run_all(networks, plan, Stalls.NONE)
    assert set(taken) == {plan.latency_cycles + plan.cycles_per_frame + 1}


@pytest.mark.slow
@pytest.mark.parametrize("draw", [walked(), n_of_m()], ids=["walked", "n_of_m"])
def test_random_layers_one_after_the_other(draw: st.SearchStrategy[Case]) -> None:
    """Outputs change places, and some weights go; the folds are any."""
    compared = 0

    @settings(deadline=None, max_examples=25, database=None, derandomize=True,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(draw, st.integers(0, 2**20), st.sampled_from(list(Stalls)))
    def check(case: Case, seed: int, stalls: Stalls) -> None:
        nonlocal compared
        try:
            first = ir.with_loadable_weights(case.network)
        except PenjingError:
            assume(False)
        folds = {LAYER: case.fold} if case.fold else None
        plan = planned(first, folds)
        networks = [first]
        for n in range(2):
            found = changed(first, np.random.default_rng((seed, n)))
            # With other zeros, outputs balance less well, and some may need a 0 in the table.
            with contextlib.suppress(PenjingError):
                image_of(found, plan)
                networks.append(found)
        taken = run_all(networks, plan, stalls)
        if stalls is Stalls.NONE:
            assert len(set(taken)) == 1
        compared += len(networks) - 1

    check()
    assert compared > 20


def changed(network: Network, rng: np.random.Generator) -> Network:
    """Rows of the layer's weights in another order, without some of them, and other biases."""
    layers = list(network.layers)
    at = next(n for n, layer in enumerate(layers) if layer.name == LAYER)
    layer = layers[at]
    assert isinstance(layer, ir.MultiplyAccumulate)
    values = rng.permutation(layer.weights.values)
    values = values * (rng.random(values.shape) < rng.choice([0, 0.5, 0.9, 1]))
    layers[at] = replace(layer, weights=replace(layer.weights, values=values),
                         bias=rng.permutation(layer.bias))
    return replace(network, layers=tuple(layers))


@pytest.mark.parametrize("encoding", ENCODINGS[:6], ids=lambda one: one.name)
def test_what_does_not_fit_is_refused(encoding: ir.Encoding) -> None:
    first = network_of(drawn(3, 0.3), encoding)
    plan = planned(first, {"conv": Fold(3, 1, 1)})
    kind = plan.layer("conv").kind
    assert isinstance(kind, Nonzeros) and kind.room is not None
    full = network_of(np.full((6, 3, 2, 4), 2), encoding)
    with pytest.raises(PenjingError, match=(
            rf"^layer conv: weights: they have \d+ entries, \d+ of them in one of 3 processing "
            rf"elements, and {kind.room.entries} fit; prune more of them, or compile for them$")):
        image_of(full, plan)


def test_more_values_than_a_table_has_are_refused() -> None:
    first = network_of(drawn(3, 0.7), ir.RelativeIndex(2, CODES))
    plan = planned(first, {"conv": Fold(3, 1, 1)})
    values = drawn(3, 0.7)
    values[values != 0] = np.resize(np.arange(1, 16), np.count_nonzero(values))
    with pytest.raises(PenjingError, match=r"^layer conv: weights: they are of 16 different values,"
                                           r" 0 among them, and the tables that they go into have "
                                           r"8; share values, or compile for more$"):
        image_of(network_of(values, ir.RelativeIndex(2, CODES)), plan)


def test_weights_that_are_not_n_of_m_are_refused() -> None:
    first = network_of(drawn(3, 0.7), ir.NofM(2, 4))
    design = Design(first, planned(first, {"conv": Fold(3, 1, 4)}))
    full = network_of(np.full((6, 3, 2, 4), 2), ir.Plain())
    with pytest.raises(PenjingError, match=r"^layer conv: weights: 2 of 4 may differ from 0, but "):
        design.filling(full)


def test_constants_stay() -> None:
    layer = ir.Dense("dense", "x", ir.Weights(np.ones((3, 4), np.int64), 3,
                                              encoding=ir.Constant()), np.zeros(3, np.int64))
    with pytest.raises(PenjingError, match=r"^layer dense: its weights are constants in logic, "
                                           r"which no stream can change; compile it with "
                                           r"--encoding dense=plain$"):
        ir.with_loadable_weights(Network("net", "x", TensorType((1, 1, 4), 4, True), (layer,)))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: one.name)
def test_an_image_is_for_one_encoding(encoding: ir.Encoding) -> None:
    """Whatever encoding its file has, a network goes in as that of the design; another design is
    another shape."""
    values = drawn(3, 0.7)
    first = network_of(values, encoding)
    fold = Fold(2, 1, 4) if isinstance(encoding, ir.NofM) else Fold(2, 1, 1)
    design = Design(first, planned(first, {"conv": fold}))
    wanted = design.filling()
    assert wanted is not None
    for other in ENCODINGS:
        assert design.filling(network_of(values, other)) == wanted
        if other != encoding:
            same = isinstance(encoding, ir.NofM) is isinstance(other, ir.NofM)
            again = network_of(values, other)
            folds = {"conv": fold} if same else {"conv": Fold(2, 1, 4 * isinstance(
                other, ir.NofM) or 1)}
            digest = Design(again, planned(again, folds)).filling()
            assert digest is not None and digest.digest != wanted.digest


@pytest.mark.parametrize("encoding", ENCODINGS[:6], ids=lambda one: one.name)
def test_the_room_is_what_memory_holds(encoding: ir.Encoding) -> None:
    """An eighth more than the first weights need, counted in the bits of their layer."""
    first = network_of(drawn(3, 0.7), encoding)
    plan = planned(first, {"conv": Fold(2, 1, 1)})
    site, planned_layer = sites(first)["conv"], plan.layer("conv")
    kind = planned_layer.kind
    assert isinstance(kind, Nonzeros) and kind.room is not None
    weights = site.layer.weights
    lengths = encoding.walk(weights.rows).lengths
    most = max(int(lengths[list(some)].sum()) for some in evenly(
        tuple(lengths.tolist()), 2, kind.o.lanes))
    step = 6 if isinstance(encoding, ir.KernelList) else 1
    steps = most // step
    assert kind.room.entries == (steps + -(-steps // 8)) * step
    coded = encoding.values == CODES
    assert kind.room == Room(kind.room.entries, 3 * coded)
    bits = 3 if coded else 5
    entries, table = 2 * kind.room.entries, 8 * 5 * coded
    held = {ir.RelativeIndex: lambda: entries * (1 + encoding.gap_bits + bits),
            ir.KernelList: lambda: entries * bits + entries // 6 * (1 + encoding.gap_bits),
            # Of its three taps of two columns and four channels, an output has whole segments.
            ir.Bitmap: lambda: entries * bits + 6 * {8: 24, 16: 32}[encoding.segment]
            }[type(encoding)]()
    facts = weight_facts(site, planned_layer)
    assert facts is not None and facts.memory_bits == held + table
    assert kind.cycles(site) == 12 * kind.room.entries


@pytest.mark.parametrize("pe", [1, 2, 3, 5, 8, 13])
def test_outputs_are_dealt_evenly(pe: int) -> None:
    generator = random.Random(pe)
    for outputs in (pe, pe + 1, 3 * pe - 1, 4 * pe):
        lengths = tuple(generator.randrange(1, 200) for _ in range(outputs))
        for o_lanes in range(1, pe + 1):
            dealt = evenly(lengths, pe, o_lanes)
            assert sorted(sum(dealt, ())) == list(range(outputs))
            counts = list(map(len, dealt))
            assert max(counts) == -(-outputs // pe) and max(counts) - min(counts) <= 1
            for some in dealt:
                beats = [output // o_lanes for output in some]
                assert beats == sorted(set(beats))
    lengths = tuple(generator.randrange(1, 200) for _ in range(8 * pe))
    loads = [sum(lengths[n] for n in some) for some in evenly(lengths, pe, 1)]
    best = max(sum(lengths[n] for n in some) for some in balanced(lengths, pe, 1))
    assert max(loads) <= 1.1 * best


def test_no_damaged_image_runs() -> None:
    """Of entries, too: a bit that is wrong anywhere, and bytes that are missing."""
    network = network_of(drawn(3, 0.7), ir.RelativeIndex(2, CODES))
    plan = planned(network, {"conv": Fold(2, 1, 1)})
    good, generator = image_of(network, plan), random.Random(3)
    x = random_images(MAP, 2, 1)
    steps: list[Load | Frames] = []
    for _ in range(5):
        broken = bytearray(good)
        broken[generator.randrange(9, len(good))] ^= 1 << generator.randrange(8)
        steps.append(Load(bytes(broken) + good[:9], Status.LOADING))
        steps.append(Load(good[9:-generator.randrange(1, 60)], Status.LOADING))
    steps += [Load(good, Status.READY), Frames(network, x)]
    broken = bytearray(good)
    broken[-20] ^= 16
    other = network_of(drawn(3, 0.7), ir.RelativeIndex(1, CODES))
    wrong = image_of(other, planned(other, {"conv": Fold(2, 1, 1)}))
    steps += [Load(bytes(broken), Status.DAMAGED), Load(wrong, Status.MISMATCHED),
              Load(good, Status.READY), Frames(network, x)]
    run_loadable(made(network, plan), plan, steps)


@pytest.mark.slow
def test_one_verilog_runs_several_networks(tmp_path: Path) -> None:
    """Compiled with encodings, loaded and simulated as a user does."""
    rng = np.random.default_rng(3)
    kind = TensorType((5, 4, 4), 5, True)

    def weights(shape: tuple[int, ...], density: float) -> ir.Weights:
        values = rng.choice([-7, -3, 2, 6], shape) * (rng.random(shape) < density)
        return ir.Weights(values * np.resize([1, 0, 0, 1], shape[-1]), 4)

    def network(name: str, density: float) -> Network:
        return Network(name, "x", kind, (
            ir.Convolution("conv", "x", weights((6, 3, 3, 4), density), rng.integers(-9, 9, 6),
                           padding=(1, 1, 1, 1), pad_value=-3),
            ir.ShiftRequantize("shift", "conv", 2, 5, True),
            ir.Convolution("group", "shift", weights((4, 2, 2, 3), density),
                           rng.integers(-9, 9, 4), groups=2),
            ir.ShiftRequantize("again", "group", 2, 5, True),
            ir.Convolution("two", "again", weights((3, 1, 1, 4), 0.9), rng.integers(-9, 9, 3))))

    networks = [network("one", 0.6), network("other", 0.4)]
    for one in networks:
        file.save(one, tmp_path / f"{one.name}.penjing")
    encodings = {"conv": "relative+codebook", "group": "bitmap", "two": "2:4+codebook"}
    project = flow.compile_model(
        tmp_path / "one.penjing", tmp_path / "made",
        flow.Target("ulx3s-85f", budget={"multipliers": 12}), loadable=True, encodings=encodings)
    assert [layer.weights.encoding.name for layer in project.network.layers
            if isinstance(layer, ir.MultiplyAccumulate)] == [*encodings.values()]
    images = [flow.load_weights(project.path, tmp_path / f"{one.name}.penjing").path.read_bytes()
              for one in networks]
    filled = project.design.filling()
    assert filled is not None and images[0] == image(filled)
    x = random_images(kind, 4, 1)
    i, o = project.design.i, project.design.o
    frames = np.concatenate([x, x]).reshape(8, -1)
    wanted = [golden.run(ir.with_loadable_weights(one), x) for one in networks]
    result = project.network.output_type
    job = Job((Source(StreamFormat(5, True, i.lanes, i.group), frames),),
              StreamFormat(result.bits, result.signed, o.lanes, o.group),
              np.concatenate(wanted).reshape(8, -1),
              images={4 * n: octets for n, octets in enumerate(images)})
    report = cosim(project.read_verilog(), "one", job, cache=project.path / "simulator")
    assert report.passed
    assert report.latency_cycles == project.plan.latency_cycles
