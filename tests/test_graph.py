# amaranth: UnusedElaboratable=no
"""Branching networks: values, exact cycles, and queues that are deep enough and not deeper."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.sim import Simulator
from networks import (
    PLENTY,
    check_network,
    convolution,
    graph_plan,
    random_images,
    residual,
    run_block,
    run_network,
    wide_and_deep,
)
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Nonzeros
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.add import Adder
from penjing.hdl.emit import emit, module_name
from penjing.hdl.graph import READY_GATES, Graph, Pipeline, Stage
from penjing.hdl.multiply import StreamMultiplier
from penjing.hdl.repeat import Repeater
from penjing.hdl.skip import SkipBuffer
from penjing.hdl.stream import Beat, Buffer
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.sim import golden
from penjing.sim.streams import Stalls, pack

FRAMES = 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_branches_equal_golden(seed: int) -> None:
    network = (wide_and_deep if seed % 3 == 2 else residual)(seed)
    check_network(network, graph_plan(network, seed), seed=seed)


@pytest.mark.slow
def test_a_sparse_shortcut_takes_inputs_while_its_results_wait() -> None:
    # Else the other branch, which sees rows before it puts anything out, would come to no inputs.
    rng = np.random.default_rng(1)
    layers = (*convolution(rng, "stem", "x", 2, 1), *convolution(rng, "wide", "stem_q", 2, 2, 3, 2),
              *convolution(rng, "deep", "wide_q", 2, 2),
              *convolution(rng, "short", "stem_q", 2, 2, 1, 2),
              ir.Add("sum", "short_q", "deep_q"), ir.ShiftRequantize("relu", "sum", 1, 6, False))
    network = encode(Network("shortcut", "x", TensorType((24, 24, 1), 6, True), layers),
                     {"short": "relative"})
    plan = schedule(network, Budget(ECP5, PLENTY, 40), Goal())
    assert isinstance(plan.layer("short").kind, Nonzeros)
    check_network(network, plan, frames=3)


def without_room(plan: Plan, cut: int) -> Plan:
    """The plan with every deep queue cut to ``1/cut`` of its beats."""
    layers = tuple(replace(layer, queues=tuple(
        replace(queue, words=max(4, queue.words // cut)) if queue and queue.words > 16 else queue
        for queue in layer.queues)) for layer in plan.layers)
    return replace(plan, layers=layers)


@pytest.mark.slow
def test_the_depth_is_what_the_interval_needs() -> None:
    # A 5×5 window must see two lines before the sum of it and the input can begin.
    network = wide_and_deep(2)
    plan = schedule(network, Budget(ECP5, PLENTY, 75), Goal())
    deepest = max(queue.words for layer in plan.layers for queue in layer.queues if queue)
    row = 6 * -(-3 // plan.layers[0].i.lanes)
    assert 2 * row <= deepest <= 5 * row
    with pytest.raises((TimeoutError, AssertionError)):
        check_network(network, without_room(plan, 4))


def test_a_tensor_that_nobody_reads_is_refused() -> None:
    network = residual(1)
    unread = Network("n", "x", network.input_type, (*network.layers[:4],
                                                    ir.Clamp("last", "a_q", 0, 3)))
    with pytest.raises(PenjingError, match=r"^layer b_q: no layer reads it"):
        schedule(unread, Budget(ECP5, PLENTY, 30))


def passing(count: int) -> Graph:
    """So many buffers in a row."""
    return Pipeline([(f"b{n}", Buffer(Beat(4, 1))) for n in range(count)])


def test_skid_buffers_part_a_long_row_and_cost_no_cycle() -> None:
    kind, port = TensorType((9, 1, 1), 4, False), Port(1, 1)
    x = random_images(kind, 5, 3)
    block = passing(11)
    assert block.parted == ["b2", "b6"]
    ends = run_block(block, x, x, (kind, port), (kind, port))
    assert ends[0] - 1 == 8 + 11
    assert set(np.diff(ends)) == {9}


def test_ready_is_followed_through_branches_and_layers() -> None:
    assert passing(READY_GATES).parted == []
    assert (passing(3).ready_gates, passing(9).ready_gates) == (3, None)
    queue = SkipBuffer(Beat(4, 1), 4, style=MemoryStyle.LOGIC, technology=Generic())
    assert Pipeline([("b", Buffer(Beat(4, 1))), ("queue", queue)]).ready_gates is None
    # A layer has the gates of its blocks, and a fork is another; a queue ends what comes to it.
    add = Adder(unsigned(4), unsigned(4), unsigned(5), lanes=1)
    layers = [Stage("a", passing(1), {"i": "i"}), Stage("b", passing(1), {"i": "a"}),
              Stage("queue", queue, {"i": "a"}),
              Stage("add", add, {"i": "b", "other": "queue"})]
    assert Graph(layers).parted == []
    longer = [*layers, Stage("c", Buffer(Beat(5, 1)), {"i": "add"})]
    assert Graph(longer).parted == ["a"]


def test_graph_refuses_what_it_cannot_wire() -> None:
    with pytest.raises(ValueError, match=r"^stages must not be empty$"):
        Graph([])
    with pytest.raises(ValueError, match=r"^every stream must have a reader, 'a' has none$"):
        Graph([Stage("a", Buffer(Beat(4, 1)), {"i": "i"}),
               Stage("b", Buffer(Beat(4, 1)), {"i": "i"})])


@pytest.mark.parametrize("depth", [4, 5, 33])
def test_skip_buffer(depth: int) -> None:
    kind, port = TensorType((9, 1, 3), 5, True), Port(2, 3)
    x = random_images(kind, 6, depth)
    block = SkipBuffer(Beat(signed(5), 2), depth, style=MemoryStyle.DISTRIBUTED,
                       technology=Generic())
    ends = run_block(block, x, x, (kind, port), (kind, port), seed=depth)
    if depth > 8:
        assert set(np.diff(ends)) == {18}


@pytest.mark.parametrize("times", [1, 3])
def test_repeater(times: int) -> None:
    kind, port = TensorType((3, 2, 5), 4, True), Port(2, 5)
    layer = ir.Repeat("repeat", "x", times)
    x = random_images(kind, 4, times)
    assert golden.execute(layer, x)[0, 0, 0, :4].tolist() == x[0, 0, 0].repeat(times)[:4].tolist()
    # It has no clock of its own, but the simulation needs one.
    block = Pipeline([("repeat", Repeater(signed(4), lanes=2, times=times)),
                      ("buffer", Buffer(Beat(signed(4), 2 * times)))])
    run_block(block, x, golden.execute(layer, x), (kind, port),
              (layer.output_type(kind), Port(2 * times, 5 * times)))


def test_times_must_be_a_number_of_copies() -> None:
    with pytest.raises(PenjingError, match="times must be an integer of at least 1, not 0"):
        ir.Repeat("repeat", "x", 0)
    with pytest.raises(ValueError, match="times must be at least 1, not 0"):
        Repeater(8, lanes=1, times=0)


@pytest.mark.parametrize("stalls", Stalls)
@pytest.mark.parametrize("bits", [(4, 7, True, False), (8, 8, True, True), (1, 3, False, False)])
@pytest.mark.parametrize("layer", [
    ir.Add("join", "a", "b"), ir.Subtract("join", "a", "b"), ir.Multiply("join", "a", "b"),
    ir.Multiply("join", "a", "b", (-7, 130)), ir.Multiply("join", "a", "b", (0, -1))],
    ids=["add", "subtract", "multiply", "multiply_offsets", "multiply_offset"])
def test_what_takes_two_beats_at_once(layer: ir.Elementwise, stalls: Stalls,
                                      bits: tuple[int, int, bool, bool]) -> None:
    a, b = (TensorType((5, 1, 3), n, is_signed) for n, is_signed in zip(bits[:2], bits[2:],
                                                                       strict=True))
    total = layer.output_type(a, b)
    x, y = random_images(a, 6, 1), random_images(b, 6, 2)
    y[:2] = y[1::-1]  # both extremes of each with both of the other
    x[2:4], y[2:4] = x[:2], y[1::-1]
    shapes = [signed(k.bits) if k.signed else unsigned(k.bits) for k in (a, b, total)]
    if isinstance(layer, ir.Multiply):
        joint: Adder | StreamMultiplier = StreamMultiplier(
            *shapes, lanes=3, offsets=layer.offsets, dsp_multipliers=1, technology=Generic())
    else:
        joint = Adder(*shapes, lanes=3, subtracts=isinstance(layer, ir.Subtract))
    # Both operands side by side in one stream, which a fork takes apart: the two come by turns.
    block = Graph([Stage("first", Buffer(Beat(shapes[0], 3)), {"i": "i_0"}),
                   Stage("second", Buffer(Beat(shapes[1], 3)), {"i": "i_1"}),
                   Stage("join", joint, {"i_0": "first", "i_1": "second"})],
                  ("i_0", "i_1"))
    got = transfer_two(block, [p for f in x.reshape(6, -1).tolist() for p in pack(f, a.bits, 3, 3)],
                       [p for f in y.reshape(6, -1).tolist() for p in pack(f, b.bits, 3, 3)],
                       stalls)
    wanted = [p for f in golden.execute(layer, x, y).reshape(6, -1).tolist()
              for p in pack(f, total.bits, 3, 3)]
    assert got == wanted


def test_a_difference_has_the_narrowest_type_that_holds_it() -> None:
    few, signs = TensorType((1, 1, 2), 4, False, 3), ir.Bipolar((1, 1, 2))
    layer = ir.Subtract("less", "a", "b")
    assert layer.inputs == ("a", "b")
    assert layer.output_type(few, few) == TensorType((1, 1, 2), 5, True, 3)  # -15 to 15
    assert layer.output_type(few, TensorType((1, 1, 2), 5, True)).bits == 6  # -15 to 31
    assert layer.output_type(signs, signs) == TensorType((1, 1, 2), 3, True)  # -2 to 2
    with pytest.raises(PenjingError, match=r"^layer less: its inputs must have one shape, not \(1, "
                                           r"1, 2\) and \(1, 1, 3\)$"):
        layer.output_type(few, TensorType((1, 1, 3), 4, False))
    with pytest.raises(PenjingError, match=r"^layer less: its results need 49 bits, more than 48"):
        layer.output_type(TensorType((1, 1, 2), 48, True), few)
    with pytest.raises(PenjingError, match="other must be a name, not 3"):
        ir.Subtract("less", "a", 3)


def test_a_product_has_the_narrowest_type_that_holds_it() -> None:
    few, signs = TensorType((1, 1, 2), 4, False, 3), ir.Bipolar((1, 1, 2))
    wide = TensorType((1, 1, 2), 24, True, -1)
    assert ir.Multiply("x", "a", "b").output_type(few, few) == TensorType((1, 1, 2), 9, True, 6)
    assert ir.Multiply("x", "a", "b", (15, 0)).output_type(few, few).bits == 9  # -225 to 0
    assert ir.Multiply("x", "a", "b", (8, 8)).output_type(few, few).bits == 8  # -56 to 64
    assert ir.Multiply("x", "a", "b").output_type(signs, signs) == TensorType((1, 1, 2), 2, True)
    assert ir.Multiply("x", "a", "b").output_type(wide, wide).bits == 48
    with pytest.raises(PenjingError, match=r"^layer x: what it multiplies, b, has 25 bits, more "
                                           r"than 24; requantize it"):
        ir.Multiply("x", "a", "b", (0, 1)).output_type(wide, wide)
    with pytest.raises(PenjingError, match="offsets must be 2 integers from"):
        ir.Multiply("x", "a", "b", (0, 1 << 25))


def transfer_two(dut: Graph, first: list[int], second: list[int], stalls: Stalls) -> list[int]:
    """Feed both inputs, each at its own pace, and collect as many beats."""
    rng = np.random.default_rng(7)
    got: list[int] = []

    def source(port: object, payloads: list[int]) -> object:
        async def feed(ctx: object) -> None:
            for payload in payloads:
                while stalls.at_input and rng.integers(2):
                    await ctx.tick()
                ctx.set(port.payload.as_value(), payload)
                ctx.set(port.valid, 1)
                taken = False
                while not taken:
                    _, _, taken = await ctx.tick().sample(port.ready)
                ctx.set(port.valid, 0)
        return feed

    async def sink(ctx: object) -> None:
        for _ in range(2000):
            if len(got) == len(first):
                return
            ctx.set(dut.o.ready, not (stalls.at_output and rng.integers(2)))
            _, _, valid, ready, payload = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload.as_value())
            if valid and ready:
                got.append(payload)
        raise TimeoutError(f"{len(got)} of {len(first)} beats came out")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source(dut.i_0, first), background=True)
    simulator.add_testbench(source(dut.i_1, second), background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return got


@pytest.mark.parametrize("readers", [2, 3])
def test_fork_serves_each_reader_once(readers: int) -> None:
    # Each reader holds its beats in a buffer of its own before sums join them again.
    def buffer() -> SkipBuffer:
        return SkipBuffer(Beat(unsigned(4), 1), 8, style=MemoryStyle.DISTRIBUTED,
                          technology=Generic())

    kind, port = TensorType((6, 1, 1), 4, False), Port(1, 1)
    stages = [Stage(f"held{n}", buffer(), {"i": "i"}) for n in range(readers)]
    total = "held0"
    for n in range(1, readers):
        adder = Adder(unsigned(3 + n), unsigned(4), unsigned(4 + n), lanes=1)
        stages.append(Stage(f"sum{n}", adder, {"i_0": total, "i_1": f"held{n}"}))
        total = f"sum{n}"
    x = random_images(kind, 4, readers)
    run_block(Graph(stages), x, readers * x, (kind, port),
              (TensorType((6, 1, 1), 3 + readers, False), port))


@pytest.mark.parametrize("names", [
    ("i", "b", "c"), ("a", "i", "i_"), ("i_", "i__", "i"), ("a", "a_fork", "a_fork_"),
    ("clk", "rst", "sync"), ("module", "begin", "end"), ("o", "i_0", "i_1"),
    ("conv", "Conv", "i__valid")])
def test_any_name_of_a_layer_is_free_in_hardware(names: tuple[str, str, str]) -> None:
    """Those of ports, of forks, of keywords, and those that differ in case only."""
    first, second, third = names
    kind = TensorType((3, 3, 2), 4, True)
    network = Network("net", "x", kind, (
        ir.Clamp(first, "x", -3, 4), ir.Clamp(second, first, -2, 3), ir.Add(third, first, second)))
    plan = schedule(network, Budget(ECP5, PLENTY, 8), Goal())
    images = random_images(kind, FRAMES, 0)
    run_network(network, plan, images, [Stalls.BOTH])
    text = emit(accelerator.whole(network, plan, Generic()), "net").text
    assert len(set(re.findall(r"^module (\S+)", text, re.MULTILINE))) == text.count("\nendmodule")


def test_a_module_is_not_called_as_its_ports() -> None:
    layer = ir.Clamp("clk", "x", -3, 4)
    network = Network("net", "x", TensorType((3, 3, 2), 4, True), (layer,))
    plan = schedule(network, Budget(ECP5, PLENTY, 8), Goal())
    alone = emit(accelerator.layer(network, plan, "clk", Generic()), module_name("clk")).text
    assert "module clk_(" in alone
    with pytest.raises(PenjingError, match=r"name must not be clk, .*; give it another"):
        replace(network, name="clk")


def test_what_is_only_wiring_has_a_clock_all_the_same() -> None:
    """So that whoever instantiates or simulates a whole need not know."""
    network = Network("net", "x", TensorType((2, 2, 3), 4, True), (ir.Repeat("twice", "x", 2),))
    plan = schedule(network, Budget(ECP5, PLENTY, 8), Goal())
    text = emit(accelerator.whole(network, plan, Generic()), "net").text
    assert re.match(r"module net\(.*input clk, input rst\);", text, re.DOTALL)
    assert text.count("clk") == 1
