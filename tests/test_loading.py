# amaranth: UnusedElaboratable=no
"""Weights that come at run time: images fill memories, and only good ones let frames in."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest
from amaranth.sim import Simulator
from loading import Frames, Load, image_of, loadable, retrained, run_loadable, small_network
from networks import PLENTY, random_images, random_network
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.hdl.crc import CRC_INIT, Crc32, crc32
from penjing.hdl.fill import Filler, Spelling
from penjing.hdl.loader import MAGIC, Loadable, Status
from penjing.hdl.tech import Generic
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_networks_one_after_the_other(seed: int) -> None:
    drawn = (random_network((seed, n), layers=2) for n in itertools.count())
    network = loadable(next(one for one in drawn if one.macs))
    plan = planned(network, 3000)
    others = [network, retrained(network, seed), retrained(network, seed + 100)]
    x = random_images(network.input_type, 2, seed)
    steps = [step for one in others for step in
             (Load(image_of(one, plan), Status.READY), Frames(one, x))]
    run_loadable(made(network, plan), plan, steps, Stalls.BOTH if seed % 2 else Stalls.NONE)


def damaged(good: bytes, foreign: list[bytes], generator: random.Random) -> bytes:
    """What is no good image: bits are wrong, bytes are missing, are too many or are swapped, or it
    is one for another shape."""
    octets = bytearray(good)
    kind = generator.randrange(8)
    if kind < 4:
        for _ in range(generator.choice((1, 1, 1, 2, 3, 32))):
            octets[generator.randrange(len(octets))] ^= 1 << generator.randrange(8)
    elif kind == 4:
        del octets[generator.randrange(len(octets)):]
    elif kind == 5:
        start = generator.randrange(len(octets))
        del octets[start:start + generator.randrange(1, 9)]
    elif kind == 6:
        place = generator.randrange(len(octets))
        octets[place:place] = generator.randbytes(generator.randrange(1, 9))
    else:
        return generator.choice(foreign)
    return bytes(octets)


def resealed(octets: bytes) -> bytes:
    """``octets`` with a checksum that is right."""
    return octets[:-4] + struct.pack("<I", zlib.crc32(octets[:-4]))


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_damaged_image_runs(count: int) -> None:
    """A frame that is on offer all the time comes in behind the good image, and not before."""
    network = small_network(5, coded=True)
    plan = planned(network, 12)
    good = image_of(network, plan)
    wider = replace(network, layers=(*network.layers[:2], replace(
        network.layers[2], weights=replace(network.layers[2].weights, bits=5))))
    foreign = [image_of(network, planned(network, 30)), image_of(wider, planned(wider, 12))]
    generator = random.Random(count)
    images = [damaged(good, foreign, generator) for _ in range(count)]
    images = [image for image in images if good not in image]
    # Those that only what they hold tells from a good one: too few symbols, and too many.
    start, end = len(MAGIC) + 13, len(good) - 4
    images += [resealed(good[:start - 4] + struct.pack("<I", size) + body + bytes(4))
               for body in (good[start:end] * 2, good[start:end - 40], good[start:end] + bytes(60))
               for size in [len(body)]]
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
                    assert n == len(images) or (status is not Status.READY and not came)
                seen.add(ctx.get(dut.status))
        assert ctx.get(dut.status) is Status.READY
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
            assert ctx.get(dut.status) is Status.READY

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
        assert ctx.get(dut.status) is Status.LOADING
        ctx.set(dut.i.valid, 0)
        await load()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
