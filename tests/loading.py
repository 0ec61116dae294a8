"""Accelerators that are loaded, in Amaranth's simulator: images, then frames, then other images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from amaranth.sim import Simulator
from networks import codes, random_weights
from penjing.compiler import ir
from penjing.compiler.dataflow.filling import filling
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.image import image
from penjing.compiler.ir import Integers, Network
from penjing.hdl.loadable import Loadable
from penjing.hdl.loader import Status
from penjing.sim import golden
from penjing.sim.streams import Stalls, pack, pauses, unpack

LIMIT = 20_000
"""Cycles in which anything must have happened."""


def retrained(network: Network, seed: int) -> Network:
    """``network`` with other weights and biases, of the same types."""
    rng = np.random.default_rng(seed)

    def other(layer: ir.Layer) -> ir.Layer:
        if not isinstance(layer, ir.MultiplyAccumulate):
            return layer
        weights, half = layer.weights, 1 << layer.weights.bits - 1
        values = rng.integers(-half, half, weights.values.shape)
        if isinstance(weights.encoding, ir.Codebook):
            values = rng.choice(rng.integers(-half, half, len(weights.codebook) - 1), values.shape)
        bias = rng.integers(-half, half, layer.bias.shape)
        return replace(layer, weights=replace(weights, values=values), bias=bias)
    return replace(network, layers=tuple(map(other, network.layers)))


def image_of(network: Network, plan: Plan) -> bytes:
    filled = filling(network, plan)
    assert filled is not None
    return image(filled)


@dataclass(frozen=True)
class Load:
    """Bytes that are sent, and what has become of them in the end."""

    octets: bytes
    status: Status


@dataclass(frozen=True)
class Frames:
    """Frames that are sent, and the network that tells their results."""

    network: Network
    images: Integers


def run_loadable(dut: Loadable, plan: Plan, steps: Iterable[Load | Frames],
                 stalls: Stalls = Stalls.NONE, seed: int = 0) -> list[int]:
    """Send all ``steps``, one after the other, and require results and statuses.

    Returns the cycles that each took.
    """
    taken: list[int] = []

    async def bench(ctx: Any) -> None:
        at_source, at_sink = (pauses(active, seed + n) for n, active in
                              enumerate((stalls.at_input, stalls.at_output)))
        for step in steps:
            cycle = 0
            if isinstance(step, Load):
                cycle = await send(ctx, dut.load, step.octets, at_source)
                for _ in range(LIMIT):
                    if ctx.get(dut.status) == step.status:
                        break
                    await ctx.tick()
                    cycle += 1
                await ctx.tick().repeat(100)
                assert ctx.get(dut.status) == step.status
                taken.append(cycle)
                continue
            network, kind = step.network, step.network.input_type
            i, o, result = plan.layers[0].i, plan.layers[-1].o, step.network.output_type
            sent = iter([payload for frame in codes(kind, step.images.reshape(len(step.images), -1))
                         for payload in pack(frame.tolist(), kind.bits, i.lanes, i.group)])
            wanted = codes(result, golden.run(network, step.images).reshape(len(step.images), -1))
            per_frame = result.elements // o.group * -(-o.group // o.lanes)
            got: list[int] = []
            offered = False
            while len(got) < per_frame * len(wanted):
                if not offered and not next(at_source):
                    payload = next(sent, None)
                    if payload is not None:
                        ctx.set(dut.i.payload.as_value(), payload)
                        offered = True
                ctx.set(dut.i.valid, offered)
                ready = not next(at_sink)
                ctx.set(dut.o.ready, ready)
                _, _, came, valid, payload = await ctx.tick().sample(
                    dut.i.ready, dut.o.valid, dut.o.payload.as_value())
                offered = offered and not came
                if valid and ready:
                    got.append(payload)
                cycle += 1
                assert cycle < LIMIT, f"{len(got)} beats came out, then none"
            ctx.set(dut.i.valid, 0)
            is_signed = result.signed and not isinstance(result, ir.Bipolar)
            for n, frame in enumerate(wanted):
                assert unpack(got[n * per_frame:(n + 1) * per_frame], len(frame), result.bits,
                              is_signed, o.lanes, o.group) == frame.tolist(), f"frame {n}"
            taken.append(cycle)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return taken


async def send(ctx: Any, stream: Any, octets: Sequence[int], waits: Iterable[bool]) -> int:
    """Send ``octets``; returns the cycles that it took. No more than `LIMIT` go without a byte."""
    cycles, pause = 0, iter(waits)
    for octet in octets:
        while next(pause):
            await ctx.tick()
            cycles += 1
        ctx.set(stream.payload, octet)
        ctx.set(stream.valid, 1)
        for _ in range(LIMIT):
            _, _, ready = await ctx.tick().sample(stream.ready)
            cycles += 1
            if ready:
                break
        else:
            raise TimeoutError("a byte is not taken")
        ctx.set(stream.valid, 0)
    return cycles


def small_network(seed: int, *, coded: bool = False) -> Network:
    """Two dense layers of loadable weights, one of them with a codebook if ``coded``."""
    rng = np.random.default_rng(seed)
    kind = ir.TensorType((1, 1, 6), 4, True)
    first = random_weights(rng, (4, 6))
    if coded:
        first = ir.Weights(rng.choice([-7, -1, 0, 2, 9], (4, 6)), 5, encoding=ir.Codebook())
    layers = (ir.Dense("first", "x", first, rng.integers(-9, 9, 4)),
              ir.ShiftRequantize("shift", "first", 3, 5, True),
              ir.Dense("second", "shift", ir.Weights(rng.integers(-8, 8, (3, 4)), 4),
                       rng.integers(-9, 9, 3)))
    return ir.with_loadable_weights(Network("small", "x", kind, layers))
