"""Weights that are loaded: bytes of an image, and cycles until it is in.

A dense network in the shape of LeNet-300-100, with weights of 16 values, of which 9 in 10 are 0,
stored dense in 4 bits. The image goes through the loader as it is in the accelerator, a byte on
offer in each cycle; the decoder alone takes its sections two bytes a cycle. Then, in the Verilog of
one accelerator, the two networks of ``examples/sparse`` in that shape: the image of the one and
digits, the image of the other and the same digits, all results compared with the golden model. That
is done twice: with dense layers, and with sparse ones, which take a cycle for each weight that is
not 0. Without an option it prints the stored results; ``--data DIR``, the folder of ``mnist.npz``,
simulates anew (some minutes), ``--only sparse_pair`` the sparse layers alone; ``--route`` places
and routes the loader alone.

    python bench/loading.py --data DIR
    python bench/loading.py --route
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np
from amaranth.sim import Simulator
from penjing import boards, flow
from penjing.boards.measure import measure
from penjing.compiler import file, huffman, ir
from penjing.compiler.dataflow.design import Design
from penjing.compiler.dataflow.filling import Filling
from penjing.compiler.image import image
from penjing.compiler.ir import Integers, Network, TensorType
from penjing.flow import Target, plan
from penjing.hdl.huffman import HuffmanDecoder
from penjing.hdl.loader import Loader, Status
from penjing.hdl.tech import Generic
from penjing.sim import golden
from penjing.sim.cosim import Job, Source, StreamFormat
from penjing.sim.cosim import simulate as cosim
from penjing.sim.streams import Stalls

FILE = "loading.json"
BOARD = "ulx3s-85f"
SIZES = (784, 300, 100, 10)
DENSITY = 0.1
VALUES, BITS = 16, 8
SHIFT = 9
EXAMPLES = Path(__file__).parents[1] / "examples" / "sparse"
PAIR = ("lenet_300_100_a", "lenet_300_100_b")
"""What was trained twice, from different seeds."""
DIGITS = 100
CLOCK_MHZ = 85.0
"""What the router aims at: for a path that is too slow for its aim it goes on without end."""
PATTERNS = (Stalls.NONE, Stalls.BOTH)
PAIRS = {"pair": None, "sparse_pair": "relative+codebook"}
"""The results of both, and the encoding that is asked for."""
STAMP = ("python bench/loading.py --data DIR", "amaranth", "numpy", "cocotb")


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


def of_one_shape(networks: Sequence[Network]) -> list[Network]:
    """``networks`` of the same layers with weights of the same bits and fraction lengths.

    It changes no result: where weights become so many times as large, so do biases, and the shift
    behind them is by as much more.
    """
    columns = list(zip(*(network.layers for network in networks), strict=True))
    made: list[list[ir.Layer]] = [[] for _ in networks]
    added = [0] * len(networks)
    for column in columns:
        layers = [layer for layer in column if isinstance(layer, ir.MultiplyAccumulate)]
        fraction = max((layer.weights.fraction for layer in layers), default=0)
        wider = [ir.Weights.narrowest(layer.weights.values << fraction - layer.weights.fraction)
                 for layer in layers]
        bits = max([2, *(weights.bits for weights in wider)])
        for n, layer in enumerate(column):
            if isinstance(layer, ir.MultiplyAccumulate):
                added[n] = fraction - layer.weights.fraction
                layer = replace(layer, bias=layer.bias << added[n], weights=replace(
                    wider[n], bits=bits, fraction=fraction))
            elif isinstance(layer, ir.ShiftRequantize):
                layer = replace(layer, shift=layer.shift + added[n])
            made[n].append(layer)
    return [replace(network, layers=tuple(layers))
            for network, layers in zip(networks, made, strict=True)]


def digits_in(networks: Sequence[Network], x: Integers, folder: Path, encoding: str | None
              ) -> dict[str, Any]:
    """Load one after the other into the accelerator of the first, and send ``x`` through each.

    All layers of the accelerator are of the ``encoding``, if one is named.
    """
    for network in networks:
        file.save(network, folder / f"{network.name}.penjing")
    project = flow.compile_model(
        folder / f"{networks[0].name}.penjing", folder / "made",
        Target(BOARD, multipliers=flow.Multipliers.DSP), loadable=True, encodings={
            layer.name: encoding for layer in networks[0].layers
            if isinstance(layer, ir.MultiplyAccumulate) and encoding})
    images = [flow.load_weights(project.path, folder / f"{network.name}.penjing").path.read_bytes()
              for network in networks]
    i, o = project.design.i, project.design.o
    kind, result = project.network.input_type, project.network.output_type
    frames = np.concatenate([x] * len(networks)).reshape(-1, kind.elements)
    wanted = np.concatenate([golden.run(network, x) for network in networks])
    report = cosim(
        project.read_verilog(), project.network.name,
        Job((Source(StreamFormat(kind.bits, kind.signed, i.lanes, i.group), frames),),
            StreamFormat(result.bits, result.signed, o.lanes, o.group),
            wanted.reshape(len(frames), -1), PATTERNS,
            images={n * len(x): octets for n, octets in enumerate(images)}),
        cache=folder / "simulator")
    return {"networks": [network.name for network in networks],
            "image_bytes": [len(octets) for octets in images],
            "encodings": [layer.weights.encoding.name for layer in project.network.layers
                          if isinstance(layer, ir.MultiplyAccumulate)],
            "multipliers": project.design.plan.multipliers, "digits": len(x),
            "patterns": [one.value for one in PATTERNS],
            "frames_compared": sum(len(one.frame_ends) for one in report.patterns),
            "values_compared": report.values_compared, "mismatches": report.mismatches,
            "faults": len(report.faults), "cycles": [one.cycles for one in report.patterns],
            "cycles_per_frame": project.design.cycles}


def pair(data: Path, encoding: str | None) -> dict[str, Any]:
    """The two networks of the examples, on the first test digits of MNIST."""
    given = [file.load(EXAMPLES / f"{name}.penjing") for name in PAIR]
    networks = of_one_shape(given)
    with np.load(data / "mnist.npz") as arrays:
        kind = given[0].input_type
        x = arrays["x_test"].astype(np.int64).reshape(-1, *kind.shape)
        labels = arrays["y_test"]
    right = []
    for one, other in zip(given, networks, strict=True):
        answers = golden.run(other, x)
        right.append(int((answers.reshape(len(x), -1).argmax(1) == labels).sum()))
        if not np.array_equal(golden.run(one, x).argmax(-1), answers.argmax(-1)):
            raise AssertionError("another fraction length must not change an answer")
    with tempfile.TemporaryDirectory() as folder:
        return {**digits_in(networks, x[:DIGITS], Path(folder), encoding), "right": right,
                "samples": len(x), **common.stamp(*STAMP)}


def run(data: Path, only: str | None) -> dict[str, Any]:
    """Make the images, and simulate; of what is not asked for, take what is stored."""
    known = common.read(FILE)
    kept = {name: known[name] for name in ("routed", "damaged") if name in known}
    result = known if only else {**loaded(), **kept}
    for name, encoding in PAIRS.items():
        if only in (None, name):
            result[name] = pair(data, encoding)
            common.write(FILE, result)
    return result


def filled() -> tuple[Design, Filling]:
    """The network's hardware, and what fills it."""
    network = lenet()
    design = Design(network, plan(network, Target(BOARD, multipliers=flow.Multipliers.DSP)))
    filling = design.filling()
    assert filling is not None
    return design, filling


def route(clock_mhz: float) -> dict[str, Any]:
    """Place and route the loader alone, aiming at a clock; all else keeps its results."""
    (_, filling), board = filled(), boards.find(BOARD)
    loader = Loader(filling.digest, symbols=filling.symbols, memories=len(filling.memories),
                    technology=board.technology)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(loader, board, Path(folder), clock_mhz=clock_mhz)
    result = common.read(FILE)
    result["routed"] = {
        "memories": len(filling.memories), "luts": found.luts, "ffs": found.ffs,
        "brams": found.brams, "aim_mhz": clock_mhz, "fmax_mhz": round(found.fmax_mhz, 1),
        **common.stamp("python bench/loading.py --route", *found.versions)}
    common.write(FILE, result)
    return result


def loaded() -> dict[str, Any]:
    """What an image takes, and how long."""
    design, filling = filled()
    octets = image(filling)
    raw, first = sum(map(len, filling.memories)), filling.memories[0]
    cycles, decoded = load_cycles(filling, octets), decode_cycles(first)
    weights = sum(a * b for a, b in pairwise(SIZES))
    return {
        "weights": weights, "density": DENSITY, "values": VALUES,
        "float_bytes": 4 * (weights + sum(SIZES[1:])), "raw_bytes": raw,
        "image_bytes": len(octets), "bits_per_weight": round(8 * len(octets) / weights, 3),
        "symbols": filling.symbols, "load_cycles": cycles,
        "symbols_per_cycle": round(filling.symbols / cycles, 4),
        "decoder": {"symbols": len(first), "cycles": decoded,
                    "symbols_per_cycle": round(len(first) / decoded, 4)},
        "multipliers": design.plan.multipliers, "cycles_per_frame": design.cycles,
        **common.stamp(*STAMP)}


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
    if "routed" in result:
        routed = result["routed"]
        common.show("Its loader alone on ULX3S-85F, placed and routed", (
            "memories", "LUTs", "FFs", "BRAMs", "MHz"), [tuple(routed[name] for name in (
                "memories", "luts", "ffs", "brams", "fmax_mhz"))])
    for kind in PAIRS:
        both = result[kind]
        title = f"Two networks, one after the other in one accelerator: {both['encodings'][0]}"
        common.show(title, ("", "value"), [
            ("multipliers", both["multipliers"]), ("cycles a frame", both["cycles_per_frame"]),
            *((f"bytes of the image of {name}", size) for name, size in zip(
                both["networks"], both["image_bytes"], strict=True)),
            ("digits through each", both["digits"]),
            ("patterns of pauses", len(both["patterns"])),
            ("frames compared", both["frames_compared"]),
            ("values compared", both["values_compared"]),
            ("  that differ", both["mismatches"]), ("broken rules of streams", both["faults"]),
            *((f"right of {both['samples']} digits, {name}", right) for name, right in zip(
                both["networks"], both["right"], strict=True))])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of mnist.npz: simulate anew")
    parser.add_argument("--only", choices=[*PAIRS], help="simulate these alone anew")
    parser.add_argument("--route", action="store_true", help="place and route the loader")
    parser.add_argument("--clock", type=float, default=CLOCK_MHZ, metavar="MHZ",
                        help="what the router aims at")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(
        FILE, lambda: route(args.clock) if args.route else run(args.data, args.only), table,
        anew=args.route or args.data is not None, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
