"""Thousands of damaged and hostile files: none may crash, hang, or eat more than 1 GiB.

Each mutant is read in a process whose address space is bounded; a file that is refused must be so
in one line. What the mutants are stands in `tests/fuzzing.py` and the module of each format.

    python bench/fuzz.py --format onnx --mutants 10000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import common

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import fuzzing

FILE = "fuzz.json"
PACKAGES = {"onnx": ("onnx", "numpy"), "pt2": ("numpy",),
            "tflite": ("ai-edge-litert", "flatbuffers", "numpy")}


def run(name: str, first: int, mutants: int) -> dict[str, Any]:
    """Read the mutants of a format, and say how they ended."""
    started = time.perf_counter()
    with common.progress_bar() as bar:
        task = bar.add_task(name, total=mutants)
        outcome = fuzzing.run(name, first, mutants,
                              lambda done: bar.update(task, completed=done))
    return {**common.stamp(f"python bench/fuzz.py --format {name} --mutants {mutants}"
                           + (f" --first {first}" if first else ""), *PACKAGES.get(name, ())),
            "mutants": outcome.mutants, "read": outcome.read, "refused": outcome.refused,
            "failed": len(outcome.failures), "failures": outcome.failures[:20],
            "slowest_seconds": round(outcome.slowest, 2),
            "peak_mib": outcome.peak_bytes >> 20, "limit_mib": fuzzing.MEMORY >> 20,
            "seconds": round(time.perf_counter() - started)}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    common.show("Mutants of files", ("format", "mutants", "read", "refused in one line", "failed",
                                     "slowest CPU s", "peak MiB", "date"),
                [(name, r["mutants"], r["read"], r["refused"], r["failed"], r["slowest_seconds"],
                  r["peak_mib"], r["date"]) for name, r in results.items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--format", choices=sorted(fuzzing.FORMATS),
                        help="the format to fuzz; without it, print what is stored")
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutant")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Fuzz, store and print; 1 if a mutant failed."""
    args = parse_args()
    results = common.read(FILE)
    if args.format:
        result = run(args.format, args.first, args.mutants)
        results = {**common.read(FILE), args.format: result}
        common.write(FILE, results)
    if args.json:
        print(json.dumps(results))
    else:
        show(results)
    return int(any(result["failed"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
