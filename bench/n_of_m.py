"""What weights of which n of m are stored take: cycles at equal multipliers, and cells on an ECP5.

Three layers of 8 bits are simulated as Verilog, dense and with 2 of 4 and 1 of 4 weights, each with
as many multipliers. A smaller one is placed and routed on the ULX3S-85F with the multipliers of a
dense one, and beside it that dense one and the one of equal cycles. Without an option it prints the
stored results; ``--run`` makes all of them anew, ``--only`` some.

    python bench/n_of_m.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import simulation
from layers import NAME, Case, Half
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.ir import Integers, TensorType

FILE = "n_of_m.json"
BOARD = "ulx3s-85f"
FRAMES = 3
DENSE = "dense"


@dataclass(frozen=True)
class Layer:
    """A layer of ``inputs`` channels and so many ``outputs``; without a kernel it is dense.

    ``folds`` are those of each way to store its weights, all of as many multipliers; of a frame's
    time no more is told than the engine needs.
    """

    title: str
    size: tuple[int, int]
    inputs: int
    outputs: int
    kernel: int | None
    padding: int
    folds: dict[str, Fold]

    def case(self, stored: str, fold: Fold, dsps: int) -> Case:
        """The layer with random weights ``stored`` so, under a ``fold``."""
        shape = (self.outputs, *([self.kernel] * 2 if self.kernel else []), self.inputs)
        rng = np.random.default_rng(7)
        weights = _weights(rng.integers(-128, 128, shape), stored)
        bias = rng.integers(-4096, 4096, self.outputs)
        layer: ir.Layer = (
            ir.Convolution(NAME, "x", weights, bias, padding=(self.padding,) * 4) if self.kernel
            else ir.Dense(NAME, "x", weights, bias))
        runs, beats = fold.steps(self.outputs, self.kernel or 1, (self.kernel or 1) * self.inputs)
        height, width = (side + 2 * self.padding - (self.kernel or 1) + 1 for side in self.size)
        return Case("n_of_m", Half.JUDGED, f"{self.title}, {stored}",
                    TensorType((*self.size, self.inputs), 8, False), layer,
                    height * width * runs * beats, fold, dsps)


LAYERS = {
    "conv3x3": Layer("3×3, 32→32 on 16×16", (16, 16), 32, 32, 3, 1, {
        DENSE: Fold(8, 1, 8), "2:4": Fold(8, 1, 16), "1:4": Fold(8, 1, 32)}),
    "lenet_300": Layer("LeNet-300-100, 784→300", (1, 1), 784, 300, None, 0, {
        DENSE: Fold(4, 1, 4), "2:4": Fold(4, 1, 8), "1:4": Fold(4, 1, 16)}),
    "lenet5_conv2": Layer("LeNet-5's second, 5×5, 20→50 on 12×12", (12, 12), 20, 50, 5, 0, {
        DENSE: Fold(5, 1, 10), "2:4": Fold(5, 1, 20), "1:4": Fold(10, 1, 20)}),
}
SMALL = Layer("3×3, 16→16 on 10×10", (10, 10), 16, 16, 3, 1, {})
ROUTED = {
    "dense_16": (DENSE, Fold(4, 1, 4)), "2:4_16": ("2:4", Fold(4, 1, 8)),
    "1:4_16": ("1:4", Fold(4, 1, 16)), "dense_32": (DENSE, Fold(4, 1, 8)),
    "dense_64": (DENSE, Fold(4, 1, 16)),
}
"""The engines that are routed, each named by its multipliers, which are DSP blocks."""


def _weights(values: Integers, stored: str) -> ir.Weights:
    """The ``values``, of which those of each group stay that are largest."""
    if stored == DENSE:
        return ir.Weights(values, 8)
    n, m = (int(part) for part in stored.split(":"))
    groups = values.reshape(-1, m)
    order = np.argsort(-np.abs(groups), -1, kind="stable")
    pruned = groups * (np.argsort(order, -1) < n)
    return ir.Weights(pruned.reshape(values.shape), 8, encoding=ir.NofM(n, m))


def simulated(layer: Layer, cache: Path) -> dict[str, Any]:
    """Cycles of a frame of the ``layer``, predicted and of its Verilog, for each way to store it.
    """
    found = {}
    for stored, fold in layer.folds.items():
        case = layer.case(stored, fold, 10**4)
        network, plan = case.network, case.plan(boards.find(BOARD))
        report = simulation.simulated(network, plan, cache, frames=FRAMES)
        free = report.patterns[0]
        weights = case.layer.weights
        found[stored] = {
            "multipliers": plan.multipliers, "fold": [fold.pe, fold.rows, fold.lanes],
            "predicted_cycles": plan.cycles_per_frame, "cycles": free.cycles_per_frame,
            "predicted_latency": plan.latency_cycles,
            "ideal_cycles": -(-plan.macs * int(np.count_nonzero(weights.values))
                              // (weights.values.size * plan.multipliers)),
            "weight_bits": weights.memory_bits,
            "mismatches": sum(pattern.mismatches for pattern in report.patterns),
            "faults": sum(len(pattern.faults) for pattern in report.patterns)}
    return {"description": layer.title, "engines": found,
            **common.stamp("python bench/n_of_m.py --run", "amaranth", "cocotb", "verilator")}


def routed(name: str, folder: Path) -> dict[str, Any]:
    """Cells and speed of an engine of the small layer."""
    stored, fold = ROUTED[name]
    board = boards.find(BOARD)
    case = SMALL.case(stored, fold, 156)
    plan = case.plan(board)
    found = measure(accelerator.layer(case.network, plan, NAME, board.technology), board, folder)
    predicted = plan.layer(NAME).resources
    return {"stored": stored, "multipliers": plan.multipliers, "cycles": plan.cycles_per_frame,
            "predicted": {"luts": predicted.luts, "ffs": predicted.ffs, "brams": predicted.brams},
            "luts": found.luts, "ffs": found.ffs, "dsps": found.dsps, "brams": found.brams,
            "fmax_mhz": round(found.fmax_mhz, 1),
            **common.stamp("python bench/n_of_m.py --run", *found.versions)}


def run(names: list[str]) -> dict[str, Any]:
    """Simulate and route what is named, or all; the others keep their results."""
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        chosen = [name for name in (*LAYERS, *ROUTED) if not names or name in names]
        task = bar.add_task("", total=len(chosen))
        for name in chosen:
            bar.update(task, description=name)
            part = "layers" if name in LAYERS else "routed"
            entry = (simulated(LAYERS[name], Path(folder, "cache")) if name in LAYERS
                     else routed(name, Path(folder, name.replace(":", "of"))))
            known = {"layers": {}, "routed": {}, **common.read(FILE)}
            known[part][name] = entry
            common.write(FILE, {part: {one: known[part][one] for one in order
                                       if one in known[part]}
                                for part, order in (("layers", LAYERS), ("routed", ROUTED))})
            bar.advance(task)
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print both tables."""
    common.show("Cycles a frame at equal multipliers", (
        "layer", "stored", "multipliers", "predicted", "simulated", "ideal", "of dense",
        "weight bits", "differ"), [
        (layer["description"], stored, one["multipliers"], one["predicted_cycles"], one["cycles"],
         one["ideal_cycles"], f"{one['cycles'] / layer['engines'][DENSE]['cycles']:.3f}",
         one["weight_bits"], one["mismatches"])
        for layer in result["layers"].values() for stored, one in layer["engines"].items()])
    common.show(f"{SMALL.title}, 8 bits, on ULX3S-85F, predicted / placed and routed", (
        "engine", "multipliers", "cycles", "LUTs", "FFs", "DSPs", "BRAMs", "MHz"), [
        (one["stored"], one["multipliers"], one["cycles"],
         *(f"{one['predicted'][cell]:,} / {one[cell]:,}" for cell in ("luts", "ffs")), one["dsps"],
         f"{one['predicted']['brams']} / {one['brams']}", one["fmax_mhz"])
        for one in result["routed"].values()])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate and route anew")
    parser.add_argument("--only", nargs="*", default=[], choices=[*LAYERS, *ROUTED],
                        help="only these")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.only), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
