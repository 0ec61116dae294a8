"""The Fashion-MNIST example on ULX3S-85F, placed and routed to the bitstream, seed by seed.

Compiles the example as the README does, at 128 multipliers, and builds it as ``penjing build``
does: the whole board design, the serial link included.

    python bench/ulx3s.py --run --seeds 3
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import common
from penjing import flow

BOARD = "ulx3s-85f"
MULTIPLIERS = 128
CLOCK_MHZ = 125.0
EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
FILE = "ulx3s.json"
CELLS = {"luts": "LUTs", "ffs": "flip-flops", "dsps": "DSPs", "brams": "block RAMs"}


def run(work: Path, seeds: int) -> dict[str, Any]:
    """Compile once, build with so many seeds."""
    with common.progress_bar() as bar:
        task = bar.add_task("compile", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        project = flow.compile_model(
            EXAMPLE / "fashion_mnist.pt2", work / "fashion_mnist",
            flow.Target(BOARD, CLOCK_MHZ, budget={"multipliers": MULTIPLIERS}),
            flow.Quantization(EXAMPLE / "calibration.npz"), progress=show)
        plan = project.plan
        # Side by side; then each is there.
        built = flow.build(project.path, seeds=seeds, progress=show)
        runs: list[dict[str, Any]] = []
        for one in built.tried:
            if one.fmax_mhz is None:
                continue
            made = flow.build(project.path, seed=one.seed, progress=show).json()
            runs.append({"seed": one.seed, **{cell: made[cell] for cell in CELLS},
                         "fmax_mhz": round(made["fmax_mhz"], 1),
                         "seconds": {stage: round(s, 1) for stage, s in made["seconds"].items()}})
        result = {**common.stamp("python bench/ulx3s.py --run", "numpy"), "board": BOARD,
                  "network": "fashion_mnist", "macs": plan.macs, "clock_mhz": plan.clock_mhz,
                  "multipliers": plan.multipliers, "cycles_per_frame": plan.cycles_per_frame,
                  "latency_cycles": plan.latency_cycles, "predicted": built.json()["predicted"],
                  "runs": runs}
        result["versions"] |= built.json()["versions"]
    common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print what was predicted, and what each seed gave."""
    cycles = result["cycles_per_frame"]
    rows: list[tuple[object, ...]] = [
        ("predicted", *(f"{result['predicted'][cell]:,}" for cell in CELLS),
         f"{result['clock_mhz']:g} (wanted)", f"{result['clock_mhz'] * 1e6 / cycles:,.0f}")]
    rows += [(f"seed {one['seed']}", *(f"{one[cell]:,}" for cell in CELLS), one["fmax_mhz"],
              f"{one['fmax_mhz'] * 1e6 / cycles:,.0f}") for one in result["runs"]]
    common.show(f"{result['network']} with {result['multipliers']} multipliers on "
                f"{result['board']}, {cycles:,} cycles a frame",
                ("", *CELLS.values(), "Fmax (MHz)", "frames/s"), rows)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="build anew; else the stored results")
    parser.add_argument("--seeds", type=int, default=1, help="of the placer, side by side")
    parser.add_argument("--work", type=Path, default=Path("build", "ulx3s"),
                        help="folder of the project")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Build if asked to; print."""
    args = parse_args()
    return common.present(FILE, lambda: run(args.work, args.seeds), show, anew=args.run,
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
