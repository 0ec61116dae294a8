# amaranth: UnusedElaboratable=no
"""Layers that skip inputs which are 0: what memory holds, cycles at most, and networks of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from cases import values
from graphs import check, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PLENTY, check_cycles, random_candidate, random_images, run_network
from penjing import flow
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.cost import Fabric, Memory
from penjing.compiler.cost.families import ECP5, ICE40
from penjing.compiler.dataflow import control, plan_file
from penjing.compiler.dataflow.broadcast import Broadcast, frame_ends
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.column_control import Broadcasts
from penjing.compiler.dataflow.fold import Fold
from penjing.compiler.dataflow.kinds import Columnwise
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.dataflow.search import Goal, schedule, search
from penjing.compiler.dataflow.site import sites
from penjing.compiler.encode import encode
from penjing.compiler.ir import Builder, Integers, Network, PenjingError, TensorType
from penjing.hdl.broadcast import BroadcastEngine
from penjing.hdl.drain import DrainShape
from penjing.hdl.tech import Generic
from penjing.sim.streams import Stalls

BUDGET = Budget(ECP5, PLENTY, 1000)
LAYER = "layer"


def sparse(rng: np.random.Generator, shape: tuple[int, ...], density: float, bits: int = 6
           ) -> ir.Weights:
    """Random weights, so many of which are not 0; those of an output and of an input all are."""
    high = 1 << bits - 1
    drawn = rng.integers(-high, high, shape) * (rng.random(shape) < density)
    drawn[rng.integers(shape[0])] = drawn[:, rng.integers(shape[1])] = 0
    return ir.Weights(drawn, bits, encoding=ir.Columns())


def dense(weights: ir.Weights, kind: TensorType, bias: int = 0) -> Network:
    """A layer of ``weights`` behind a tensor of that ``kind``."""
    grow = Builder(kind)
    grow.add(ir.Dense(LAYER, "x", weights, np.full(len(weights.values), bias)))
    return grow.network()


def some_zeros(images: Integers, zero: int, share: float) -> Integers:
    """``images`` of which a ``share`` of the elements is ``zero``; one image, all."""
    kept = np.random.default_rng(len(images)).random(images.shape) >= share
    kept[-1] = False
    found: Integers = np.where(kept, images, zero)
    return found


# --- what memory holds
def decoded(rows: Integers, encoding: ir.Columns, bits: int) -> tuple[Integers, int]:
    """The rows that one element's memory means, read word by word, and the bits of that memory."""
    columns = rows.transpose(2, 1, 0)
    index = ir.best_index(columns, bits, encoding.values)
    walk = ir.gap_walk(index, columns)
    table = np.unique(walk.stored) if isinstance(encoding.values, ir.Codebook) else None
    found = np.zeros_like(rows)
    start = 0
    for column, length in enumerate(walk.lengths.tolist()):
        row = -1
        for entry in range(start, start + length):
            row += int(walk.gaps[entry]) + 1
            assert walk.gaps[entry] < 1 << index.gap_bits
            found[row, 0, column] = walk.stored[entry]
        start += length
    each = bits if table is None else (max(1, len(table)) - 1).bit_length()
    pointer = max(1, int(walk.lengths.max()).bit_length()) + max(0, start - 1).bit_length()
    codebook = 0 if table is None else max(1, len(table)) * bits
    return found, start * (index.gap_bits + each) + codebook + len(walk.lengths) * pointer


@given(st.data())
@settings(deadline=None, max_examples=100, database=None)
def test_memory_means_the_weights(data: st.DataObject) -> None:
    bits = data.draw(st.integers(2, 16))
    shape = data.draw(st.integers(1, 40)), 1, data.draw(st.integers(1, 9))
    high = 1 << min(bits, 7) - 1
    rows = data.draw(values(shape, -high, high - 1)) * (
        data.draw(values(shape, 0, 7)) >= data.draw(st.integers(0, 8)))
    for encoding in (ir.Columns(), ir.Columns(ir.Codebook())):
        found, memory_bits = decoded(rows, encoding, bits)
        assert np.array_equal(found, rows)
        weights = ir.Weights(rows[:, 0], bits, encoding=encoding)
        assert weights.memory_bits == memory_bits
        assert np.array_equal(np.sort(weights.stored.values), np.sort(rows[rows != 0]))


def test_a_codebook_has_room_for_filling() -> None:
    rows = np.arange(1, 257).reshape(16, 16)
    ir.Weights(rows * (rows < 256), 10, encoding=ir.Columns(ir.Codebook()))
    with pytest.raises(PenjingError, match="holds 1 to 256 different values, not 257; share"):
        ir.Weights(rows, 10, encoding=ir.Columns(ir.Codebook()))


# --- one layer
def kind_of(plan: Plan) -> Columnwise:
    """That of the layer."""
    kind = plan.layer(LAYER).kind
    assert isinstance(kind, Columnwise)
    return kind


@pytest.mark.parametrize("seed", [
    pytest.param(seed, marks=[pytest.mark.slow] * (seed > 5)) for seed in range(24)])
def test_the_cycles_of_a_layer_are_those_of_its_data(seed: int) -> None:
    """Exactly those that are counted for what comes in, and none beyond the plan's."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 20)), int(rng.integers(1, 30))
    bits, is_signed = int(rng.integers(1, 17)), bool(rng.integers(2))
    weights = sparse(rng, shape, rng.choice([0, 0.1, 0.5, 1]), int(rng.integers(2, 17)))
    if rng.integers(2):
        shared = np.sign(weights.values) * 1
        weights = replace(weights, values=shared * (shared < 1), encoding=ir.Columns(
            ir.Codebook()))
    kind = TensorType((1, 1, shape[1]), bits, is_signed)
    zero = int(rng.choice([0, 0, kind.low, rng.integers(kind.low, kind.high + 1)]))
    network = dense(weights, replace(kind, zero_point=zero), int(rng.integers(-99, 99)))
    fold = {LAYER: Fold(int(rng.integers(1, shape[0] + 1)), 1, 1)} if rng.integers(2) else {}
    plan = schedule(network, BUDGET, Goal(folds=fold))
    images = some_zeros(random_images(network.input_type, 6, seed), zero, rng.choice([0, 0.5, 0.9]))
    ends = run_network(network, plan, images, seed=seed)
    check_cycles(plan, ends)
    flow = kind_of(plan).flow(sites(network)[LAYER])
    assert [end - 1 for end in ends] == frame_ends(flow, images.reshape(6, -1) != zero)


@pytest.mark.parametrize("seed", [
    pytest.param(seed, marks=[pytest.mark.slow] * (seed > 2)) for seed in range(12)])
def test_pixels_are_vectors(seed: int) -> None:
    """A 1×1 convolution does as a dense layer does, pixel by pixel."""
    rng = np.random.default_rng(seed)
    outputs, channels = int(rng.integers(1, 12)), int(rng.integers(1, 12))
    kind = TensorType((int(rng.integers(1, 4)), int(rng.integers(1, 4)), channels), 5, True)
    weights = sparse(rng, (outputs, channels), rng.choice([0.1, 0.5, 1]))
    weights = replace(weights, values=weights.values.reshape(outputs, 1, 1, channels))
    network = Network("net", "x", kind, (
        ir.Convolution(LAYER, "x", weights, rng.integers(-9, 9, outputs)),))
    pixels = kind.shape[0] * kind.shape[1]
    plan = schedule(network, BUDGET, Goal(int(rng.integers(2, 6)) * pixels * (channels + outputs)
                                          + 40 * pixels))
    images = some_zeros(random_images(kind, 5, seed), 0, rng.choice([0, 0.5, 0.9]))
    ends = run_network(network, plan, images, seed=seed)
    check_cycles(plan, ends)
    flow = kind_of(plan).flow(sites(network)[LAYER])
    counted = frame_ends(flow, images.reshape(5 * pixels, -1) != 0)
    assert [end - 1 for end in ends] == counted[pixels - 1 :: pixels]


def built_memories(block: BroadcastEngine, patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(words, width) of all memories of the ``block``, those with one word among them."""
    found = []
    rom, ram = Generic.rom, Generic.ram

    def count_rom(self: Generic, words: Any, width: int, *args: Any, **options: Any) -> Any:
        found.append((len(words), width))
        return rom(self, words, width, *args, **options)

    def count_ram(self: Generic, width: int, depth: int, *args: Any, **options: Any) -> Any:
        found.append((depth, width))
        return ram(self, width, depth, *args, **options)

    patch.setattr(Generic, "rom", count_rom)
    patch.setattr(Generic, "ram", count_ram)
    # Our own writer of Verilog makes one module of equal blocks.
    rtlil.convert(block, emit_src=False)
    return found


@pytest.mark.parametrize("values_by", [ir.Plain(), ir.Codebook()], ids=["plain", "codebook"])
@pytest.mark.parametrize("fabric", [ECP5, ICE40], ids=["ecp5", "ice40"])
def test_memories_are_those_that_are_built(values_by: ir.ValueEncoding, fabric: Fabric) -> None:
    rng = np.random.default_rng(3)
    weights = sparse(rng, (30, 64), 0.3, 4)
    network = dense(replace(weights, encoding=ir.Columns(values_by)),
                    TensorType((1, 1, 64), 5, True))
    plan = schedule(network, Budget(fabric, PLENTY, 1000), Goal(folds={LAYER: Fold(3, 1, 1)}))
    site, kind = sites(network)[LAYER], kind_of(plan)
    told: list[Memory] = [*kind.memories(site)]
    wanted = sorted((one.words, one.width) for one in told for _ in range(one.copies))
    block = kind.blocks(site, Generic())[-1][1]
    assert isinstance(block, BroadcastEngine)
    with pytest.MonkeyPatch.context() as patch:
        built = built_memories(block, patch)
    for one in wanted:
        built.remove(one)
    assert len(built) == 1, "the order in which results leave"
    assert kind.all_weight_bits(site) == block.weight_bits
    assert plan.layers[0].memory_bits == sum(one.bits for one in told)


def test_folds_and_refusals() -> None:
    rng = np.random.default_rng(1)
    network = dense(sparse(rng, (9, 40), 0.3), TensorType((1, 1, 40), 4, False))
    fast = schedule(network, BUDGET, Goal(60))
    slow = schedule(network, BUDGET, Goal(110))
    assert slow.layers[0].fold.pe < fast.layers[0].fold.pe
    assert slow.cycles_per_frame <= 110 and fast.cycles_per_frame <= 60
    with pytest.raises(PenjingError, match="no fold reaches 39 cycles a frame"):
        schedule(network, BUDGET, Goal(39))
    for fold in (Fold(10, 1, 1), Fold(1, 2, 1), Fold(1, 1, 2)):
        with pytest.raises(PenjingError, match=r"^layer layer: fold \w+ must be "):
            schedule(network, BUDGET, Goal(folds={LAYER: fold}))
    weights = ir.Weights(np.ones((3, 1, 1, 2), np.int64), 2, encoding=ir.Columns())
    strided = Network("net", "x", TensorType((2, 2, 2), 3, True), (
        ir.Convolution("conv", "x", weights, np.zeros(3, np.int64), (2, 1)),))
    with pytest.raises(PenjingError, match=r"^layer conv: only a dense layer, or a 1×1 convolution "
                                           r"in one group, can have the encoding columns; store"):
        schedule(strided, BUDGET, Goal(60))
    with pytest.raises(PenjingError, match="only those of a dense layer or a 1×1 convolution can"):
        ir.Weights(np.ones((3, 2, 1, 2), np.int64), 2, encoding=ir.Columns())
    plain = dense(replace(sparse(rng, (9, 40), 0.05), encoding=ir.Plain()),
                  TensorType((1, 1, 40), 4, False))
    (layer,) = encode(plain, {}).layers
    assert not isinstance(layer.weights.encoding, ir.Columns), "only who asks for it has it"


def test_a_file_and_a_plan_keep_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    network = encode(dense(replace(sparse(rng, (9, 40), 0.3), encoding=ir.Plain()),
                           TensorType((1, 1, 40), 4, False)), {LAYER: "columns+codebook"})
    file.save(network, tmp_path / "one.penjing")
    assert file.load(tmp_path / "one.penjing") == network
    plan = schedule(network, BUDGET, Goal(100))
    assert not plan.exact
    plan_file.save(plan, network, tmp_path / "plan.json")
    assert plan_file.load(tmp_path / "plan.json", network) == plan


@pytest.mark.slow
def test_commands_tell_what_no_frame_exceeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                             ) -> None:
    """The Verilog takes fewer cycles than are predicted, and that is as predicted."""
    rng = np.random.default_rng(4)
    weights = replace(sparse(rng, (12, 40), 0.3), encoding=ir.Plain())
    file.save(dense(weights, TensorType((1, 1, 40), 4, False)), path := tmp_path / "one.penjing")
    folder = str(tmp_path / "build")
    assert main(["compile", str(path), "-b", "generic", "-o", folder, "--encoding",
                 f"{LAYER}=columns+codebook", "--budget", "4"]) == 0
    shown = capsys.readouterr().out
    plan = flow.Project.open(folder).plan
    assert shown.count("at most") == 3 and "frames per second, at least" in shown
    np.savez(tmp_path / "images.npz", x=some_zeros(random_images(
        TensorType((1, 1, 40), 4, False), 6, 1), 0, 0.8))
    found = flow.simulate(folder, images=tmp_path / "images.npz")
    assert found.passed and found.as_predicted and not found.exact
    assert found.report.cycles_per_frame < plan.cycles_per_frame
    assert found.report.latency_cycles < plan.latency_cycles
    assert not replace(found, exact=True).as_predicted


# --- its cycles at most
@pytest.mark.parametrize("seed", range(80))
def test_nothing_exceeds_the_slowest(seed: int) -> None:
    """Whatever comes whenever, a vector ends at the latest when it would at its slowest."""
    rng = np.random.default_rng(seed)
    inputs, outputs, pes = (int(n) for n in rng.integers(1, (30, 40, 6)))
    lengths = rng.integers(0, rng.choice([2, 3, 8]), (pes, inputs))
    lanes = int(rng.choice([n for n in range(1, pes + 1) if pes % n == 0]))
    engine = Broadcast(lengths * (rng.random(lengths.shape) < rng.choice([0.2, 0.6, 1])),
                       int(rng.choice([2, 3, 8])), int(rng.integers(1, 6)),
                       DrainShape(pes, outputs, lanes, 2, int(rng.integers(1, 9))))
    beats, vectors = -(-inputs // engine.lanes), 8
    late = rng.random(beats * vectors) < rng.choice([0.1, 0.5, 1])
    offers = np.cumsum(rng.integers(0, rng.choice([1, 2, 4, 12, 40]), late.shape) * late).tolist()
    given = frame_ends(engine, rng.random((vectors, inputs)) < rng.choice([1, 0.9, 0.4, 0]), offers)
    assert np.all(np.array(given) <= slowest(engine, offers, vectors))


def slowest(engine: Broadcast, offers: list[int], vectors: int) -> list[int]:
    """When vectors end whose beats are offered so, by the control that plans have."""
    links = [control.Link() for _ in range(3)]
    links[0].offered.extend(offers)
    costs = np.add.reduceat(engine.costs, np.arange(0, len(engine.costs), engine.lanes))
    drain, size = engine.drain, engine.drain.frame_beats
    processes = (Broadcasts(costs, drain).run(links[0], links[1], len(costs), vectors),
                 control.Delay(drain.latency, drain.queue_depth - 1).run(*links[1:], size, vectors))
    control.run([*(control.Task(process, (i, o)) for process, i, o in
                   zip(processes, links, links[1:], strict=False)),
                 control.Task(control.drain(links[2], size * vectors), (links[2],))])
    return links[2].taken[size - 1 :: size]


# --- networks
def test_a_branch_waits_for_it() -> None:
    """What meets its results again must wait for a whole vector, however fast or slow it is."""
    rng = np.random.default_rng(5)
    grow = Builder(TensorType((1, 1, 12), 4, False))
    grow.add(ir.Clamp("fork", "x", 0, 9))
    grow.add(ir.Dense(LAYER, "fork", sparse(rng, (12, 12), 0.4), np.arange(12)))
    grow.add(ir.ShiftRequantize("narrow", LAYER, 3, 5, True))
    grow.add(ir.Add("join", "narrow", "fork"))
    grow.add(ir.Dense("again", "join", sparse(rng, (5, 12), 0.4), np.zeros(5, np.int64)))
    network = grow.network()
    images = np.concatenate([some_zeros(random_images(network.input_type, 4, 1), 0, share)
                             for share in (0, 0.5)])
    for pes in (1, 12):
        found = search(network, BUDGET, Goal(folds={LAYER: Fold(pes, 1, 1)}))
        plan = found.timed()
        assert [queue is not None for queue in plan.layer("join").queues] == [True, True]
        ends = run_network(network, plan, images)
        check_cycles(plan, ends)
        assert np.all(np.array(ends) - 1 <= found.finished.frame_ends(len(images)))


def with_columns(network: Network) -> Network:
    """The same ``network`` with the weights of all dense layers so."""
    layers = [replace(layer, weights=replace(layer.weights, encoding=ir.Columns()))
              if isinstance(layer, ir.Dense) else layer for layer in network.layers]
    return replace(network, layers=tuple(layers))


@pytest.mark.parametrize("seed", [
    pytest.param(seed, marks=[pytest.mark.slow] * (n > 2)) for n, seed in enumerate(
        seed for seed in range(60) if any(
            isinstance(layer, ir.Dense) for layer in random_graph(seed, steps=4).layers))])
def test_random_graphs(seed: int) -> None:
    network = with_columns(random_graph(seed, steps=4))
    found = random_candidate(network, seed)
    assert not found.plan.exact
    check(network, found, (Stalls.NONE, Stalls.BOTH) if seed % 2 else Stalls)
