"""Weights that are loaded: bytes of an image, and cycles until it is in.

A dense network in the shape of LeNet-300-100, with weights of 16 values, of which 9 in 10 are 0,
stored dense in 4 bits. The image goes through the loader as it is in the accelerator, a byte on
offer in each cycle; the decoder alone takes its sections two bytes a cycle. Without an option it
prints the stored results; ``--run`` simulates anew (some minutes).

    python bench/loading.py --run
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from typing import Any

import common
import numpy as np
from amaranth.sim import Simulator
from penjing.compiler import huffman, ir
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.filling import Filling
from penjing.compiler.image import image
from penjing.compiler.ir import Network, TensorType
from penjing.flow import Target, plan
from penjing.hdl.huffman import HuffmanDecoder
from penjing.hdl.loader import Loader, Status
from penjing.hdl.tech import Generic

FILE = "loading.json"
BOARD = "ulx3s-85f"
SIZES = (784, 300, 100, 10)
DENSITY = 0.1
VALUES, BITS = 16, 8
SHIFT = 9


def lenet(seed: int = 1) -> Network:
    """The network, of random weights and biases."""
    rng = np.random.default_rng(seed)
    layers: list[ir.Layer] = []
    name = "x"
    for n, (inputs, outputs) in enumerate(pairwise(SIZES), 1):
        values = np.append(0, rng.choice(np.delete(np.arange(-128, 128), 128), VALUES - 1,
                                         replace=False))
        kept = rng.random((outputs, inputs)) < DENSITY
        weights = np.where(kept, rng.choice(values[1:], kept.shape), 0)
        layers.append(ir.Dense(f"dense{n}", name, ir.Weights(weights, BITS, encoding=ir.Codebook()),
                               rng.integers(-2000, 2000, outputs)))
        name = f"dense{n}"
        if outputs != SIZES[-1]:
            layers.append(ir.ShiftRequantize(f"relu{n}", name, SHIFT, 8, False))
            name = f"relu{n}"
    return ir.with_loadable_weights(
        Network("lenet_300_100", "x", TensorType((1, 1, SIZES[0]), 8, False), tuple(layers)))


def load_cycles(filling: Filling, octets: bytes) -> int:
    """Cycles from the first byte of an image until frames may come."""
    dut = Loader(filling.digest, symbols=filling.symbols, memories=len(filling.memories),
                 technology=Generic())
    cycles = 0

    async def bench(ctx: Any) -> None:
        nonlocal cycles
        ctx.set(dut.permit, 1)
        ctx.set(dut.load.valid, 1)
        for octet in octets:
            ctx.set(dut.load.payload, octet)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.load.ready)
                cycles += 1
        ctx.set(dut.load.valid, 0)
        while ctx.get(dut.status) != Status.READY:
            await ctx.tick()
            cycles += 1
            if ctx.get(dut.status) == Status.DAMAGED:
                raise AssertionError("a good image was refused")

    _simulate(dut, bench)
    return cycles


def decode_cycles(symbols: bytes) -> int:
    """Cycles from the first symbol of a section to its last, two bytes a cycle."""
    section = huffman.encoded(np.frombuffer(symbols, np.uint8))
    dut, times, wanted = HuffmanDecoder(2, Generic()), list[int](), len(symbols)
    beats = [int.from_bytes(section[n:n + 2], "little") for n in range(0, len(section), 2)]

    async def source(ctx: Any) -> None:
        ctx.set(dut.i.valid, 1)
        for beat in beats:
            ctx.set(dut.i.payload, beat)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def sink(ctx: Any) -> None:
        ctx.set(dut.o.ready, 1)
        cycle = 0
        while len(times) < wanted:
            _, _, valid = await ctx.tick().sample(dut.o.valid)
            cycle += 1
            if valid:
                times.append(cycle)

    _simulate(dut, source, sink)
    return times[-1] - times[0] + 1


def _simulate(dut: Any, *benches: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def run() -> dict[str, Any]:
    """Make the image, and simulate."""
    network = lenet()
    design = Design(network, plan(network, Target(BOARD)))
    filling = design.filling()
    assert filling is not None
    octets = image(filling)
    raw, first = sum(map(len, filling.memories)), filling.memories[0]
    cycles, decoded = load_cycles(filling, octets), decode_cycles(first)
    weights = sum(a * b for a, b in pairwise(SIZES))
    result = {
        "weights": weights, "density": DENSITY, "values": VALUES,
        "float_bytes": 4 * (weights + sum(SIZES[1:])), "raw_bytes": raw,
        "image_bytes": len(octets), "bits_per_weight": round(8 * len(octets) / weights, 3),
        "symbols": filling.symbols, "load_cycles": cycles,
        "symbols_per_cycle": round(filling.symbols / cycles, 4),
        "decoder": {"symbols": len(first), "cycles": decoded,
                    "symbols_per_cycle": round(len(first) / decoded, 4)},
        "multipliers": design.plan.multipliers, "cycles_per_frame": design.cycles,
        **common.stamp("python bench/loading.py --run", "amaranth", "numpy")}
    common.write(FILE, result)
    return result


def table(result: dict[str, Any]) -> None:
    """Print them."""
    decoder = result["decoder"]
    common.show("LeNet-300-100, a tenth of its weights, 16 values, loaded", ("", "value"), [
        ("weights", result["weights"]), ("bytes as floats", result["float_bytes"]),
        ("bytes of symbols, not coded", result["raw_bytes"]),
        ("bytes of the image", result["image_bytes"]),
        ("  bits a weight", result["bits_per_weight"]),
        ("symbols", result["symbols"]), ("cycles to load them", result["load_cycles"]),
        ("  symbols a cycle, a byte a cycle on offer", result["symbols_per_cycle"]),
        ("  of the decoder alone, two bytes a cycle", decoder["symbols_per_cycle"])])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate anew")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, run, table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
