# amaranth: UnusedElaboratable=no
"""Weights that come at run time: images fill memories, and only good ones let frames in."""

from __future__ import annotations

import contextlib
import itertools
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator
from damage import damaged_images
from loading import Frames, Load, image_of, retrained, run_loadable, small_network
from networks import PLENTY, random_images, random_network, random_weights
from penjing import flow
from penjing.boards.protocol import Decoder, Fault, Identity, Kind, Message, encode_tensor
from penjing.boards.wrapper import Wrapper
from penjing.compiler import file, ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.filling import Filling
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.encode import LOADABLE, encode
from penjing.compiler.image import image
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.crc import CRC_INIT, Crc32, crc32
from penjing.hdl.fill import Filler, Spelling
from penjing.hdl.loadable import Loadable
from penjing.hdl.loader import MAGIC, Status
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Source, StreamFormat
from penjing.sim.cosim import simulate as cosim
from penjing.sim.streams import Stalls


def planned(network: Any, cycles: int) -> Any:
    return schedule(network, Budget(ECP5, PLENTY, 1000), Goal(cycles))


def made(network: Any, plan: Any) -> Loadable:
    dut = accelerator.whole(network, plan, Generic())
    assert isinstance(dut, Loadable)
    return dut


@pytest.mark.parametrize("init", [CRC_INIT, crc32(MAGIC)])
def test_checksums_are_those_of_zlib(init: int) -> None:
    octets = random.Random(init).randbytes(300)
    dut = Crc32(init)
    head = b"" if init == CRC_INIT else MAGIC
    assert crc32(octets, init) ^ 0xFFFFFFFF == zlib.crc32(head + octets)

    async def bench(ctx: Any) -> None:
        for start in (0, 100):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for n in range(start, len(octets)):
                ctx.set(dut.take, 1)
                ctx.set(dut.octet, octets[n])
                await ctx.tick()
                ctx.set(dut.take, 0)
                ctx.set(dut.octet, 0x5A)
                if n % 7 == 0:
                    await ctx.tick()
                assert ctx.get(dut.crc) ^ 0xFFFFFFFF == zlib.crc32(head + octets[start:n + 1])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_checksum_starts_within_its_register() -> None:
    with pytest.raises(ValueError, match=r"^init must be within range\(2\*\*32\), not -1$"):
        Crc32(-1)


@pytest.mark.parametrize(("elements", "bits"), [
    (1, 1), (5, 1), (9, 1), (3, 2), (7, 3), (4, 4), (5, 4), (1, 4), (3, 5), (2, 8), (3, 9), (1, 12),
    (2, 13), (3, 16), (2, 25)])
@pytest.mark.parametrize("words", [1, 2, 5])
def test_symbols_fill_a_memory(elements: int, bits: int, words: int) -> None:
    """Each takes its own and passes the others on; a restart begins anew."""
    generator = random.Random(elements * bits * words)
    spelling, dut = Spelling(elements, bits), Filler(words, Spelling(elements, bits))
    contents = [generator.getrandbits(spelling.width) for _ in range(words)]
    symbols = spelling.spelled(contents)
    assert len(symbols) == words * spelling.symbols
    assert max(symbols) < 1 << spelling.symbol_bits <= 256
    sent: list[int | None] = [*symbols[:2], None, *symbols, 1, 2, None, *symbols, 3]
    memory: dict[int, int] = {}
    passed: list[int | None] = []

    async def bench(ctx: Any) -> None:
        waiting = list(sent)
        for _ in range(3 * len(sent) + 10):
            offer = bool(waiting) and generator.random() < 0.7
            ctx.set(dut.load.valid, offer)
            if offer:
                symbol = waiting.pop(0)
                ctx.set(dut.load.p.restart, symbol is None)
                ctx.set(dut.load.p.symbol, symbol or 0)
            await ctx.tick()
            if ctx.get(dut.write):
                memory[ctx.get(dut.address)] = ctx.get(dut.word)
            if ctx.get(dut.loaded.valid):
                passed.append(None if ctx.get(dut.loaded.p.restart)
                              else ctx.get(dut.loaded.p.symbol))
        assert not waiting

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert [memory[n] for n in range(words)] == contents
    excess = list(symbols[:2][words * spelling.symbols:])
    assert passed == [*excess, None, 1, 2, None, 3]


@pytest.mark.parametrize("stalls", Stalls)
@pytest.mark.parametrize("coded", [False, True])
def test_networks_one_after_the_other(coded: bool, stalls: Stalls) -> None:
    """Of one shape, into one running accelerator; between them, images that are refused."""
    network = small_network(1, coded=coded)
    plan = planned(network, 12)
    x = random_images(network.input_type, 4, 3)
    others = [retrained(network, seed) for seed in (2, 3)]
    images = [image_of(one, plan) for one in (network, *others)]
    broken = bytearray(images[1])
    broken[len(broken) // 2] ^= 4
    other_shape = small_network(1, coded=not coded)
    wrong = image_of(other_shape, planned(other_shape, 12))
    steps = [Load(images[0], Status.READY), Frames(network, x),
             Load(images[1], Status.READY), Frames(others[0], x),
             Load(bytes(broken), Status.DAMAGED), Load(wrong, Status.MISMATCHED),
             Load(images[2][:70], Status.LOADING), Load(images[2], Status.READY),
             Frames(others[1], x)]
    run_loadable(made(network, plan), plan, steps, stalls)


def random_loadable(seed: int) -> Network:
    """The first network that has weights, and no bias beyond what products reach."""
    for n in itertools.count():
        drawn = random_network((seed, n), layers=2)
        with contextlib.suppress(PenjingError):
            if drawn.macs:
                return ir.with_loadable_weights(drawn)
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_networks_one_after_the_other(seed: int) -> None:
    network = random_loadable(seed)
    plan = planned(network, 3000)
    others = [network, retrained(network, seed), retrained(network, seed + 100)]
    x = random_images(network.input_type, 2, seed)
    steps = [step for one in others for step in
             (Load(image_of(one, plan), Status.READY), Frames(one, x))]
    run_loadable(made(network, plan), plan, steps, Stalls.BOTH if seed % 2 else Stalls.NONE)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_damaged_image_runs(count: int) -> None:
    """A frame that is on offer all the time comes in behind the good image, and not before."""
    network = small_network(5, coded=True)
    plan = planned(network, 12)
    good = image_of(network, plan)
    wider = replace(network, layers=(*network.layers[:2], replace(
        network.layers[2], weights=replace(network.layers[2].weights, bits=5))))
    foreign = [image_of(network, planned(network, 30)), image_of(wider, planned(wider, 12))]
    images = damaged_images(good, foreign, count, random.Random(count))
    dut = made(network, plan)
    seen = set()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i.valid, 1)
        for n, octets in enumerate([*images, good]):
            for octet in octets:
                ctx.set(dut.load.payload, octet)
                ctx.set(dut.load.valid, 1)
                ready = False
                while not ready:
                    _, _, ready, came = await ctx.tick().sample(dut.load.ready, dut.i.ready)
                    assert not came
            ctx.set(dut.load.valid, 0)
            if n % 3 == 0 or n >= len(images) - 3:  # else the next follows at once
                for _ in range(80):
                    _, _, status, came = await ctx.tick().sample(dut.status, dut.i.ready)
                    assert n == len(images) or (status != Status.READY and not came)
                seen.add(ctx.get(dut.status))
        assert ctx.get(dut.status) == Status.READY
        assert ctx.get(dut.i.ready)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == {Status.LOADING, Status.DAMAGED, Status.MISMATCHED, Status.READY}


def test_an_image_waits_for_frames_on_their_way() -> None:
    """No byte is taken before the last result has left, and no frame begins meanwhile."""
    network = small_network(7)
    plan = planned(network, 12)
    dut, good = made(network, plan), image_of(network, plan)

    async def bench(ctx: Any) -> None:
        async def load() -> None:
            for octet in good:
                ctx.set(dut.load.payload, octet)
                ctx.set(dut.load.valid, 1)
                await ctx.tick().until(dut.load.ready)
            ctx.set(dut.load.valid, 0)
            await ctx.tick().repeat(100)
            assert ctx.get(dut.status) == Status.READY

        await load()
        beats = -(-network.input_type.elements // plan.layers[0].i.lanes)
        ctx.set(dut.i.valid, 1)
        for n in range(beats):
            ctx.set(dut.i.p.last, n == beats - 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.load.payload, MAGIC[0])
        ctx.set(dut.load.valid, 1)
        for _ in range(300):  # the sink takes nothing
            _, _, taken, came = await ctx.tick().sample(dut.load.ready, dut.i.ready)
            assert not taken and not came
        assert ctx.get(dut.o.valid)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid & dut.o.p.last)
        await ctx.tick().until(dut.load.ready)
        assert ctx.get(dut.status) == Status.LOADING
        ctx.set(dut.i.valid, 0)
        await load()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.slow
def test_weights_come_over_the_serial_line() -> None:
    """A board without weights says so; then it runs one network, and another one."""
    network = small_network(9)
    plan = planned(network, 12)
    other = retrained(network, 1)
    first, second = (image_of(one, plan) for one in (network, other))
    (x,) = random_images(network.input_type, 1, 4)
    frame = encode_tensor(x, network.input_type)
    results = [encode_tensor(golden.run(one, x[None])[0], network.output_type)
               for one in (network, other)]
    broken = second[:-9] + bytes([second[-9] ^ 1]) + second[-8:]
    talk = [(Kind.IMAGE, frame, Kind.ERROR, bytes([Fault.EMPTY])),
            (Kind.LOAD, b"", Kind.ERROR, bytes([Fault.LENGTH])),
            (Kind.LOAD, first, Kind.LOADED, bytes([Status.READY])),
            (Kind.IMAGE, frame, Kind.RESULT, results[0]),
            (Kind.LOAD, broken, Kind.LOADED, bytes([Status.DAMAGED])),
            (Kind.IMAGE, frame, Kind.ERROR, bytes([Fault.EMPTY])),
            (Kind.LOAD, second, Kind.LOADED, bytes([Status.READY])),
            (Kind.IMAGE, frame, Kind.RESULT, results[1])]
    identity = Identity(b"loadable", network.input_type, network.output_type)
    dut = Wrapper(made(network, plan), identity, i_port=plan.layers[0].i, o_port=plan.layers[-1].o,
                  divider=4, timeout=400, technology=Generic())
    answers: list[Message] = []

    async def host(ctx: Any) -> None:
        for n, (kind, payload, answer, told) in enumerate(talk):
            for octet in Message(kind, n, payload).encode():
                for bit in (0, *(octet >> place & 1 for place in range(8)), 1):
                    ctx.set(dut.rx, bit)
                    await ctx.tick().repeat(4)
            for _ in range(3000):
                if answers:
                    break
                await ctx.tick()
            assert answers.pop() == Message(answer, n, told)

    async def line(ctx: Any) -> None:
        decoder = Decoder(100)
        while True:
            await ctx.negedge(dut.tx)
            await ctx.tick().repeat(2)
            octet = 0
            for place in range(8):
                await ctx.tick().repeat(4)
                octet |= ctx.get(dut.tx) << place
            await ctx.tick().repeat(4)
            answers.extend(decoder.feed(bytes([octet])))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.add_testbench(line, background=True)
    simulator.run()


def test_networks_of_one_shape() -> None:
    """Other weights are the same shape, whatever the network is called; anything else is not."""
    network = small_network(1)
    design = Design(network, planned(network, 12))
    renamed = replace(retrained(network, 2), name="other")
    assert design.filling(renamed) is not None
    wider = replace(network.layers[1], shift=4)
    for name, layers in ((wider.name, (network.layers[0], wider, network.layers[2])),
                         (network.layers[2].name, network.layers[:2])):
        with pytest.raises(PenjingError, match=rf"^network small: from layer {name} on it differs "
                                               r"from small in more than weights and biases; "
                                               r"compile it for itself$"):
            design.filling(replace(network, layers=layers))


def test_encodings_that_hold_for_any_weights() -> None:
    """Unless it is asked for, zeros are stored as all else is: others may take their place."""
    values = np.zeros((8, 32), np.int64)
    values[::2, ::8] = [[5, -9, 100, 7]] * 4
    sparse = Network("sparse", "x", TensorType((1, 1, 32), 4, True), (
        ir.Dense("dense", "x", ir.Weights.narrowest(values), np.zeros(8, np.int64)),))
    network = ir.with_loadable_weights(encode(sparse, {}, LOADABLE))
    (layer,) = network.layers
    assert isinstance(layer, ir.Dense)
    assert layer.weights.encoding == ir.Codebook()
    (made_of,) = planned(network, 300).layers
    assert made_of.kind.all_weight_bits(sites(network)["dense"]) == 8 * 32 * 3 + 8 * 8


def test_tables_have_an_end() -> None:
    """A network that shares fewer values goes in, one that shares more does not."""
    network = small_network(1, coded=True)
    plan = planned(network, 12)
    first = network.layers[0]
    few = replace(first.weights, values=np.where(first.weights.values > 0, 3, -2))
    many = replace(first.weights, values=np.arange(24).reshape(4, 6) - 12)
    assert image_of(replace(network, layers=(replace(first, weights=few), *network.layers[1:])),
                    plan)
    with pytest.raises(PenjingError, match=r"^layer first: weights: they are of 2[45] different "
                                           r"values, and the tables that they go into have 8; "):
        image_of(replace(network, layers=(replace(first, weights=many), *network.layers[1:])), plan)


def test_the_accumulators_are_those_of_the_types() -> None:
    """Whatever the weights, and biases within what products reach."""
    network = small_network(1)
    extreme = replace(network.layers[2], weights=replace(
        network.layers[2].weights, values=np.full((3, 4), -8)))
    assert replace(network, layers=(*network.layers[:2], extreme)).output_type == (
        network.output_type)
    # 4 products up to 8 * 16, and as much again: 1,024.
    assert network.output_type.bits == 12
    far = replace(network.layers[2], bias=np.array([0, 0, 513]))
    with pytest.raises(PenjingError, match=r"^layer second: its bias is not within -480 and 512, "):
        replace(network, layers=(*network.layers[:2], far))


def test_a_magic_in_the_codes_is_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes of another limit are taken."""
    counts = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]
    filled = Filling(bytes(8), (bytes(np.repeat(np.arange(12), counts).astype(np.uint8)),))
    plain = image(filled)
    monkeypatch.setattr("penjing.compiler.image.MAGIC", plain[-40:-32])
    other = image(filled)
    assert other.rfind(plain[-40:-32]) == 0
    assert len(other) >= len(plain)


@pytest.mark.slow
def test_one_verilog_runs_several_networks(tmp_path: Path) -> None:
    """Compiled, loaded and simulated as a user does; padding makes blocks begin before a frame."""
    rng = np.random.default_rng(3)
    kind = TensorType((5, 4, 2), 5, True)
    plain = Network("padded", "x", kind, (
        ir.Convolution("conv", "x", random_weights(rng, (3, 3, 3, 2)), rng.integers(-9, 9, 3),
                       padding=(1, 1, 1, 1), pad_value=-3),
        ir.ShiftRequantize("shift", "conv", 4, 5, True),
        ir.Depthwise("depthwise", "shift", random_weights(rng, (3, 3, 3)), rng.integers(-9, 9, 3),
                     padding=(2, 0, 0, 1), pad_value=5)))
    other = retrained(plain, 5)
    for name, network in (("one", plain), ("other", other)):
        file.save(network, tmp_path / f"{name}.penjing")
    target = flow.Target("ulx3s-85f", budget={"multipliers": 8})
    flow.compile_model(tmp_path / "one.penjing", tmp_path / "fixed", target)
    with pytest.raises(PenjingError, match=r"fixed: its weights are not loaded; compile it with "):
        flow.load_weights(tmp_path / "fixed", tmp_path / "other.penjing")
    project = flow.compile_model(tmp_path / "one.penjing", tmp_path / "made", target, loadable=True)
    assert flow.simulate(project.path, frames=4).passed
    assert flow.simulate(project.path, frames=4, layer="depthwise", stalls=[Stalls.BOTH]).passed
    made = flow.load_weights(project.path, tmp_path / "other.penjing", output=tmp_path / "x.image")
    again = ir.with_loadable_weights(other)
    x = random_images(kind, 4, 1)
    i, o, result = project.design.i, project.design.o, again.output_type
    frames = np.concatenate([x, x]).reshape(8, -1)
    wanted = [golden.run(one, x) for one in (project.network, again)]
    filled = project.design.filling()
    assert filled is not None
    job = Job((Source(StreamFormat(5, True, i.lanes, i.group), frames),),
              StreamFormat(result.bits, True, o.lanes, o.group),
              np.concatenate(wanted).reshape(8, -1),
              images={0: image(filled), 4: made.path.read_bytes()})
    report = cosim(project.read_verilog(), "padded", job, cache=project.path / "simulator")
    assert report.passed
    assert report.latency_cycles == project.plan.latency_cycles
    sparse = replace(plain.layers[0], weights=replace(
        plain.layers[0].weights, encoding=ir.Bitmap(8)))
    file.save(replace(plain, layers=(sparse, *plain.layers[1:])), tmp_path / "sparse.penjing")
    assert flow.load_weights(project.path, tmp_path / "sparse.penjing").size
    file.save(replace(other, layers=other.layers[:2]), tmp_path / "short.penjing")
    with pytest.raises(PenjingError, match=r"^network padded: from layer \w+ on it differs from"):
        flow.load_weights(project.path, tmp_path / "short.penjing")
