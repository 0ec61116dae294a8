"""What a model costs on its way to Verilog: processor time, lines, bytes, memory.

Five designs for ULX3S-85F are compiled, each in a process of its own: the example with 128
multipliers, three networks of MLPerf Tiny, and one 3×3 convolution with 144 multipliers. With
``--against`` another checkout compiles them too, turn by turn, and the ratios are printed.

    python bench/emission.py --run --models FOLDER --against CHECKOUT

FOLDER holds kws_ref_model.tflite, pretrainedResnet_quant.tflite and vww_96_int8.tflite.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

FILE = "emission.json"
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "fashion_mnist"
DESIGNS = {"example": "Fashion-MNIST, 128 multipliers", "resnet": "ResNet8", "kws": "DS-CNN",
           "vww": "MobileNet", "conv": "3×3 convolution, 144 multipliers"}
MODELS = {"resnet": "pretrainedResnet_quant.tflite", "kws": "kws_ref_model.tflite",
          "vww": "vww_96_int8.tflite"}
MEASURES = {"cpu_seconds": "CPU (s)", "lines": "lines", "bytes": "bytes",
            "megabytes": "memory (MB)"}
RUNS = 3

# It runs in either checkout, so it uses what both of them have.
_CHILD = """
import json, os, resource, sys
import numpy as np
from pathlib import Path
from penjing import flow
from penjing.compiler import file, ir

job = json.loads(sys.argv[1])
work = Path(job["work"])
model = job["model"]
quantization, target = None, flow.Target("ulx3s-85f", multipliers=flow.Multipliers.DSP)
if job["design"] == "example":
    import torch.export  # what a user waits for once is not compared
    quantization = flow.Quantization(Path(job["calibration"]))
    target = flow.Target("ulx3s-85f", budget={"multipliers": 128})
elif job["design"] == "conv":
    rng = np.random.default_rng(1)
    layer = ir.Convolution("conv", "x", ir.Weights(rng.integers(-128, 128, (32, 3, 3, 16)), 8),
                           rng.integers(-1000, 1000, 32), padding=(1, 1, 1, 1))
    model = work / "conv.penjing"
    file.save(ir.Network("conv", "x", ir.TensorType((8, 8, 16), 8, False), (layer,)), model)
    folds = work / "folds.json"
    folds.write_text('{"conv": {"pe": 1, "rows": 3, "lanes": 48}}')
    target = flow.Target("ulx3s-85f", folds=folds)
else:
    import ai_edge_litert
started = sum(os.times()[:4])
project = flow.compile_model(model, work / "build", target, quantization, job["design"])
seconds = sum(os.times()[:4]) - started
text = project.verilog.read_text()
memories = [path.stat().st_size for path in (work / "build").rglob("*.hex")]
peak = max(resource.getrusage(who).ru_maxrss
           for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"cpu_seconds": round(seconds, 2), "lines": text.count("\\n"),
                  "bytes": len(text.encode()) + sum(memories), "megabytes": peak >> 10,
                  "cycles_per_frame": project.plan.cycles_per_frame,
                  "multipliers": project.plan.multipliers}))
"""


def measure(design: str, checkout: Path, models: Path) -> dict[str, Any]:
    """What compiling ``design`` takes with the Penjing in ``checkout``."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "package").mkdir()
        (work / "package" / "penjing").symlink_to(checkout.resolve())
        model = EXAMPLE / "fashion_mnist.pt2"
        if design in MODELS:
            model = models / MODELS[design]
        job = {"design": design, "work": name, "model": str(model),
               "calibration": str(EXAMPLE / "calibration.npz")}
        run = subprocess.run([sys.executable, "-c", _CHILD, json.dumps(job)], text=True,
                             capture_output=True, env={"PYTHONPATH": str(work / "package")})
        if run.returncode:
            raise common.PenjingError(f"{design}: {run.stderr.strip().splitlines()[-1]}")
        found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every design, with either checkout in turn; of the times the least of several runs counts."""
    checkouts = {"this": ROOT} | ({"other": args.against} if args.against else {})
    result = common.stamp("python bench/emission.py --run", "amaranth", "numpy")
    result["designs"] = {}
    with common.progress_bar() as bar:
        task = bar.add_task("", total=args.runs * len(args.only) * len(checkouts))
        for design in args.only:
            row: dict[str, Any] = {}
            for _ in range(args.runs):
                for name, checkout in checkouts.items():
                    bar.update(task, description=f"{DESIGNS[design]}: {name}")
                    found = measure(design, checkout, args.models)
                    best = row.setdefault(name, found)
                    for key in ("cpu_seconds", "megabytes"):
                        best[key] = min(best[key], found[key])
                    bar.advance(task)
            result["designs"][design] = row
    if [*args.only] == [*DESIGNS]:
        common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what each checkout took, and the ratios."""
    rows = []
    for design, row in result["designs"].items():
        this, other = row["this"], row.get("other")
        rows.append([DESIGNS[design], *(f"{this[key]:,}" for key in MEASURES)])
        if other:
            rows.append(["  the other checkout", *(f"{other[key]:,}" for key in MEASURES)])
            rows.append(["  ratio", *(f"{this[key] / other[key]:.2f}" for key in MEASURES)])
    common.show("A model to Verilog", ("design", *MEASURES.values()), rows)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure; else show what is stored")
    parser.add_argument("--models", type=Path, help="folder of the .tflite files")
    parser.add_argument("--against", type=Path, help="another checkout of Penjing")
    parser.add_argument("--runs", type=int, default=RUNS, help="times that each is compiled")
    parser.add_argument("--only", nargs="*", default=[*DESIGNS], choices=[*DESIGNS])
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure or read, and print."""
    args = parse_args()
    if args.run and args.models is None:
        print("--models: the networks are not part of the project; name their folder",
              file=sys.stderr)
        return 2
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
