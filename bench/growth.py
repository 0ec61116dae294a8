"""How what it takes to compile and to simulate grows with a network.

Chains of 3×3 convolutions, 16 channels on a 16×16 map with four multipliers each, are compiled to
Verilog. ResNet8 with soft multipliers on ULX3S-85F is simulated twice, the first time where nothing
of Verilator is compiled yet. Seconds are the processor's.

    python bench/growth.py --run --models FOLDER

FOLDER holds pretrainedResnet_quant.tflite.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing import flow
from penjing.compiler import file, ir
from penjing.flow.progress import Progress
from penjing.flow.simulate import Stalls

FILE = "growth.json"
LAYERS = (10, 20, 40, 80, 160)
MULTIPLIERS = 4
"""Of each convolution."""
BOARD = "ulx3s-85f"
FRAMES = 2


def chain(count: int) -> ir.Network:
    """So many convolutions, one behind the other."""
    rng = np.random.default_rng(1)
    layers: list[ir.Layer] = []
    for number in range(count):
        weights = ir.Weights(rng.integers(-127, 128, (16, 3, 3, 16)), 8, 10)
        layers += [ir.Convolution(f"conv{number}", layers[-1].name if layers else "x", weights,
                                  np.zeros(16, np.int64), (1, 1), (1, 1, 1, 1)),
                   ir.ShiftRequantize(f"back{number}", f"conv{number}", 10, 8, True)]
    return ir.Network("chain", "x", ir.TensorType((16, 16, 16), 8, True), tuple(layers))


def compiled(count: int, work: Path, progress: Progress) -> dict[str, Any]:
    """A chain of ``count`` convolutions, to Verilog."""
    model = work / "chain.penjing"
    file.save(chain(count), model)
    started = common.processor_seconds()
    project = flow.compile_model(
        model, work / "chain", flow.Target("generic", budget={"multipliers": MULTIPLIERS * count}),
        progress=progress)
    seconds = common.processor_seconds() - started
    return {"convolutions": count, "seconds": round(seconds, 2),
            "cycles_per_frame": project.plan.cycles_per_frame,
            "lines": project.verilog.read_text().count("\n")}


def simulated(models: Path, work: Path, progress: Progress) -> list[dict[str, Any]]:
    """ResNet8, simulated twice."""
    project = flow.compile_model(
        models / "pretrainedResnet_quant.tflite", work / "resnet8",
        flow.Target(BOARD, multipliers=flow.Multipliers.ANY), progress=progress)
    rows = []
    # The library of Verilator is kept there for all networks.
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")
    for time in ("first", "again"):
        started = common.processor_seconds()
        found = flow.simulate(project.path, frames=FRAMES, stalls=[Stalls.NONE],
                              progress=progress)
        assert found.passed
        seconds = common.processor_seconds() - started
        simulating = sum(pattern.seconds for pattern in found.report.patterns)
        rows.append({"time": time, "multipliers": project.plan.multipliers, "frames": FRAMES,
                     "seconds": round(seconds, 1), "simulating_seconds": round(simulating, 1),
                     "waited_for_the_build": round(found.report.build.seconds, 1)})
    return rows


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every chain, the shortest first, then the simulations."""
    result = common.stamp("python bench/growth.py --run", "numpy", "amaranth", "cocotb",
                          "verilator")
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as name:
        task = bar.add_task("", total=len(LAYERS) * args.runs + 1)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what)

        result["chains"] = []
        for count in LAYERS:
            rows = []
            for _ in range(args.runs):
                rows.append(compiled(count, Path(name), show))
                bar.advance(task)
            result["chains"].append(min(rows, key=lambda row: row["seconds"]))
        result["simulations"] = simulated(args.models, Path(name), show)
    common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print both."""
    common.show("Chains to Verilog", ("convolutions", "CPU (s)", "ms each", "lines"),
                [(row["convolutions"], row["seconds"],
                  round(1000 * row["seconds"] / row["convolutions"]), f"{row['lines']:,}")
                 for row in result["chains"]])
    common.show("ResNet8, two frames", ("time", "multipliers", "CPU (s)", "simulating (s)"),
                [(row["time"], row["multipliers"], row["seconds"], row["simulating_seconds"])
                 for row in result["simulations"]])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure; else show what is stored")
    parser.add_argument("--models", type=Path, help="folder of the .tflite file")
    parser.add_argument("--runs", type=int, default=3, help="times that each chain is compiled, "
                                                            "of which the quickest counts")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure or read, and print."""
    args = parse_args()
    return common.present_of_models(FILE, args, lambda: run(args), show)


if __name__ == "__main__":
    sys.exit(main())
