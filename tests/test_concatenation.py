# amaranth: UnusedElaboratable=no
"""Concatenations: values under all stall patterns, exact cycles and latency, queues, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.sim import Simulator
from networks import (
    PLENTY,
    Builder,
    check_network,
    codes,
    random_images,
    random_sign,
    random_weights,
)
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Union
from penjing.compiler.dataflow.plan import Plan, Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Bipolar, Network, PenjingError, TensorType
from penjing.hdl.concatenate import Concatenator, ConcatenatorShape
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.streams import Stalls, pack, pauses, unpack

FRAMES = 5


def run_join(dut: object, inputs: Sequence[tuple[np.ndarray, TensorType, Port]],
             wanted: np.ndarray, o: tuple[TensorType, Port], stalls: Stalls) -> list[int]:
    """Send frames into each of ``i_0``, ``i_1``, ... at its own pace; returns the frames' ends."""
    kind, port = o
    frames = codes(kind, wanted.reshape(len(wanted), -1)).tolist()
    per_frame = port.beats(kind.elements)
    got: list[int] = []
    ends: list[int] = []

    def source(n: int) -> object:
        values, taken, i = inputs[n]
        stream = getattr(dut, f"i_{n}")
        payloads = [payload for frame in codes(taken, values.reshape(len(values), -1))
                    for payload in pack(frame.tolist(), taken.bits, i.lanes, i.group)]

        async def feed(ctx: object) -> None:
            pattern = pauses(stalls.at_input, n)
            for payload in payloads:
                while next(pattern):
                    await ctx.tick()
                ctx.set(stream.payload.as_value(), payload)
                ctx.set(stream.valid, 1)
                moved = False
                while not moved:
                    _, _, moved = await ctx.tick().sample(stream.ready)
                ctx.set(stream.valid, 0)
        return feed

    async def sink(ctx: object) -> None:
        pattern = pauses(stalls.at_output, 99)
        for cycle in range(20_000):
            ready = not next(pattern)
            ctx.set(dut.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload.as_value())
            if valid and ready:
                got.append(payload)
                if len(got) % per_frame == 0:
                    ends.append(cycle)
                if len(ends) == len(frames):
                    return
        raise TimeoutError(f"{len(got)} beats came out")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for n in range(len(inputs)):
        simulator.add_testbench(source(n), background=True)
    simulator.add_testbench(sink)
    simulator.run()
    is_signed = kind.signed and not isinstance(kind, Bipolar)
    for n, frame in enumerate(frames):
        assert unpack(got[n * per_frame : (n + 1) * per_frame], kind.elements, kind.bits, is_signed,
                      port.lanes, port.group) == frame, f"frame {n}"
    return ends


@pytest.mark.parametrize("stalls", Stalls)
@pytest.mark.parametrize(("channels", "lanes", "types"), [
    ((2, 4), 2, [(4, True), (6, False)]),  # by turns
    ((1, 1, 1), 1, [(3, False), (3, False), (5, False)]),
    ((4, 2, 5), 2, [(2, True), (7, True), (4, False)]),  # a tail
    ((3, 2), 5, [(8, True), (8, True)]),  # at once
    ((1, 2, 4), 7, [(1, False), (3, True), (2, False)])])
def test_concatenator(channels: tuple[int, ...], lanes: int, types: list[tuple[int, bool]],
                      stalls: Stalls) -> None:
    sources = [TensorType((3, 2, count), bits, is_signed)
               for count, (bits, is_signed) in zip(channels, types, strict=True)]
    layer = ir.Concatenation("join", "a", tuple(f"b{n}" for n in range(len(channels) - 1)))
    result = layer.output_type(*sources)
    values = [random_images(source, FRAMES, n) for n, source in enumerate(sources)]
    shapes = [(signed if kind.signed else unsigned)(kind.bits) for kind in (*sources, result)]
    shape = ConcatenatorShape(channels, lanes)
    block = Concatenator(shapes[:-1], shapes[-1], channels=channels, lanes=lanes)
    ends = run_join(block, [(value, source, Port(i_lanes, source.shape[2])) for
                            value, source, i_lanes in
                            zip(values, sources, shape.i_lanes, strict=True)],
                    golden.concatenate(*values), (result, Port(lanes, sum(channels))), stalls)
    if stalls is Stalls.NONE:
        per_frame = Port(lanes, sum(channels)).beats(result.elements)
        assert set(np.diff(ends)) == {per_frame}
        assert ends[0] == per_frame - 1 + shape.latency


def activated(grow: Builder, rng: np.random.Generator, name: str, source: str, outputs: int,
              kernel: int, bits: int = 6, is_signed: bool = True) -> str:
    """A convolution that keeps size and step, and its requantization."""
    low, inputs = (kernel - 1) // 2, grow.types[source].shape[2]
    weights = replace(random_weights(rng, (outputs, kernel, kernel, inputs)), fraction=6)
    grow.add(ir.Convolution(name, source, weights, rng.integers(-50, 50, outputs), (1, 1),
                            (low, kernel - 1 - low) * 2))
    return grow.add(ir.ShiftRequantize(f"{name}_q", name, 6, bits, is_signed))


def fire(seed: int) -> Network:
    """SqueezeNet's module, of odd channels and kernels; the input may be one more branch."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((3, 3, 1), (7, 7, 5)))
    grow = Builder(TensorType((height, width, channels), 6, True))
    squeezed = activated(grow, rng, "squeeze", "x", int(rng.integers(1, 5)), 1)
    names = [activated(grow, rng, "one", squeezed, int(rng.integers(1, 7)), 1),
             activated(grow, rng, "three", squeezed, int(rng.integers(1, 7)),
                       int(rng.integers(3, 6)), int(rng.integers(2, 8)), bool(rng.integers(2)))]
    if rng.integers(2):
        names.insert(int(rng.integers(3)), "x")
    grow.add(ir.Concatenation("join", names[0], tuple(names[1:])))
    if rng.integers(2):
        activated(grow, rng, "out", "join", 3, 3)
    return grow.network()


def dense_block(seed: int) -> Network:
    """DenseNet's: each convolution reads all that is before it."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers((3, 3, 1), (6, 6, 4)))
    grow = Builder(TensorType((height, width, channels), 6, True))
    for n in range(3):
        grow.add(ir.Concatenation(f"join{n}", grow.tail, (activated(
            grow, rng, f"conv{n}", grow.tail, int(rng.integers(1, 4)),
            int(rng.choice([1, 3, 5]))),)))
    return grow.network()


def planned(network: Network, seed: int) -> Plan:
    """From a few to many multipliers."""
    return schedule(network, Budget(ECP5, PLENTY, int(np.random.default_rng(seed).choice(
        [40, 100, 400, 1000]))), Goal())


@pytest.mark.slow
@pytest.mark.parametrize("make", [fire, dense_block])
@pytest.mark.parametrize("seed", [0, 1, 3, 5])
def test_branches_of_different_length(make: object, seed: int) -> None:
    network = make(seed)
    plan = planned(network, seed)
    check_network(network, plan, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("make", [fire, dense_block])
def test_the_queues_are_not_deeper_than_the_interval_needs(make: object) -> None:
    network = make(1)
    plan = planned(network, 3)
    layers = tuple(replace(layer, queues=tuple(
        replace(queue, words=max(4, queue.words // 3)) if queue and queue.words > 16 else queue
        for queue in layer.queues)) for layer in plan.layers)
    assert layers != plan.layers
    with pytest.raises((TimeoutError, AssertionError)):
        check_network(network, replace(plan, layers=layers))


def copies(kind: TensorType, counts: Sequence[int]) -> Network:
    """The input and several shapes of it, clamped to itself, whose pixels have ``counts`` channels.
    """
    grow, names = Builder(kind), []
    for n, count in enumerate(counts):
        grow.add(ir.Clamp(f"clamp{n}", "x", kind.low + n, kind.high))
        names.append(grow.add(ir.Repeat(f"repeat{n}", grow.tail, count // kind.shape[2])))
    grow.add(ir.Concatenation("join", names[0], tuple(names[1:])))
    return grow.network()


@pytest.mark.slow
@pytest.mark.parametrize("stalls", Stalls)
@pytest.mark.parametrize(("channels", "counts", "pace", "lanes"), [
    (8, (8, 8), 16, 1), (8, (8, 8), 8, 2), (8, (8, 8, 8), 12, 2), (6, (6, 6, 6), 9, 2),
    (4, (4, 8, 4), 4, 4), (3, (3, 6), 3, 3), (3, (3, 6), 2, 9), (2, (2, 2), 1, 4),
    (5, (5, 10, 5), 4, 5)])
def test_a_turn_takes_as_many_cycles_as_beats(channels: int, counts: tuple[int, ...], pace: int,
                                              lanes: int, stalls: Stalls) -> None:
    """Inputs that come by fewer lanes than they leave are gathered; no cycle is left to spare."""
    network = copies(TensorType((3, 4, channels), 4, True), counts)
    plan = schedule(network, Budget(ECP5, PLENTY, 1), Goal(cycles=12 * pace))
    planned = plan.layer("join")
    assert planned.o == Port(lanes, sum(counts))
    beats = -(-channels // plan.layers[0].i.lanes)
    assert planned.cycles == 12 * max(-(-sum(counts) // lanes), beats)
    if stalls is Stalls.NONE:
        check_network(network, plan)
    tensors = golden.run_all(network, random_images(network.input_type, FRAMES, 0))
    join = network.layers[-1]
    alone = run_join(accelerator.layer(network, plan, "join", Generic()),
                     [(tensors[name], network.type_of(name), port)
                      for name, port in zip(join.inputs, planned.kind.inputs, strict=True)],
                     tensors["join"], (network.output_type, planned.o), stalls)
    if stalls is Stalls.NONE:
        assert np.diff(alone)[-1] == planned.cycles


@pytest.mark.parametrize("bits", [1, 3])
def test_signs_stay_bits_unless_integers_come_beside_them(bits: int) -> None:
    rng = np.random.default_rng(bits)
    grow = Builder(TensorType((3, 3, 3), 4, True))
    for name in ("a", "b"):
        grow.add(random_sign(rng, name, "x", grow.types["x"]))
    if bits > 1:
        grow.add(ir.Clamp("c", "x", -4, 3))
    grow.add(ir.Concatenation("join", "a", ("b", "c") if bits > 1 else ("b",)))
    grow.add(ir.MaxPool("pool", "join", (2, 2), (1, 1)))
    network = grow.network()
    assert isinstance(network.type_of("join"), Bipolar) == (bits == 1)
    assert network.type_of("join").bits == bits
    plan = schedule(network, Budget(ECP5, PLENTY, 1), Goal())
    check_network(network, plan)


def test_the_type_holds_the_values_of_all() -> None:
    def joined(*kinds: TensorType) -> TensorType:
        return ir.Concatenation("join", "a", ("b",) * (len(kinds) - 1)).output_type(*kinds)

    shape = (2, 3, 4)
    for first, second, wanted in (
            ((4, True), (4, False), (5, True)), ((6, True), (4, False), (6, True)),
            ((3, False), (7, False), (7, False)), ((2, True), (7, True), (7, True))):
        kind = joined(TensorType(shape, *first, 3), TensorType((2, 3, 1), *second, 3))
        assert kind == TensorType((2, 3, 5), *wanted, 3)
    signs = Bipolar(shape)
    assert joined(signs, signs, signs) == Bipolar((2, 3, 12))
    assert joined(signs, TensorType(shape, 1, False)) == TensorType((2, 3, 8), 2, True)
    affine = [TensorType(shape, 8, is_signed, 0, 7, 0.1) for is_signed in (False, True)]
    assert joined(*affine) == TensorType((2, 3, 8), 9, True, 0, 7, 0.1)
    # What is worth as much is the same, however it is told.
    assert joined(TensorType(shape, 4, True, 2), TensorType(shape, 4, True, 0, 0, 0.25)).bits == 4


def test_what_does_not_fit_is_refused() -> None:
    shape = (2, 3, 4)
    kind, join = TensorType(shape, 8, True, 2), ir.Concatenation("join", "a", ("b",))
    for other, reason in (
            (replace(kind, shape=(2, 4, 4)),
             r"one height and width, not \(2, 3, 4\) of a and \(2, 4, 4\) of b"),
            (replace(kind, fraction=3), "worth 0.25 with the zero point 0, of b 0.125 with 0;"),
            (replace(kind, zero_point=1), "of b 0.25 with 1; requantize"),
            (replace(kind, scale=0.3), "of b 0.3 with 0; requantize")):
        with pytest.raises(PenjingError, match=rf"^layer join: its inputs must .*{reason}"):
            join.output_type(kind, other)
    with pytest.raises(PenjingError, match=r"^layer join: its results need 49 bits, more than"):
        join.output_type(replace(kind, bits=48), replace(kind, bits=48, signed=False))
    for others in ((), "b", ("b", 3), ("b", "c d")):
        with pytest.raises(PenjingError, match=r"^layer join: others must be the names of one"):
            ir.Concatenation("join", "a", others)
    for channels, lanes, reason in (((), 1, "channels must not be empty"),
                                    ((2, 3), 4, "or divide those of every input but the last"),
                                    ((2, 0), 2, "channels_1 must be at least 1")):
        with pytest.raises(ValueError, match=reason):
            ConcatenatorShape(channels, lanes)
    with pytest.raises(ValueError, match="equally many, not 1 and 2"):
        Concatenator([4], 4, channels=(1, 1), lanes=1)


def test_a_file_holds_it(tmp_path: object) -> None:
    network = dense_block(0)
    file.save(network, tmp_path / "net.penjing")
    assert file.load(tmp_path / "net.penjing") == network


def test_few_lanes_are_taken_where_there_is_time() -> None:
    network = copies(TensorType((3, 4, 8), 4, True), (8, 8))
    lanes = []
    for cycles in (192, 96, 48, 24, 12):
        kind = schedule(network, Budget(ECP5, PLENTY, 1), Goal(cycles)).layer("join").kind
        assert isinstance(kind, Union)
        lanes.append(kind.o.lanes)
    assert lanes == [1, 2, 4, 8, 16]
    with pytest.raises(PenjingError, match="no fold reaches 11 cycles"):
        schedule(network, Budget(ECP5, PLENTY, 1), Goal(11))
