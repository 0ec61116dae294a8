"""Thousands of random graphs of layers in hardware: values, and the cycle in which each frame ends.

The graphs, and what is required of each, stand in `tests/graphs.py`; there hypothesis draws them,
here a seed does, so that a run can go on where another ended.

    python bench/graphs.py --graphs 1000 --first 0
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
import graphs
from networks import random_candidate

FILE = "graphs.json"


def run(first: int, count: int) -> dict[str, Any]:
    """Check the graphs of ``count`` seeds, and say which failed."""
    started = time.perf_counter()
    kinds: Counter[str] = Counter()
    failures = []
    with common.progress_bar() as bar:
        task = bar.add_task("graphs", total=count)
        for seed in range(first, first + count):
            network = graphs.random_graph(seed)
            kinds.update(layer.kind for layer in network.layers)
            try:
                graphs.check(network, random_candidate(network, seed))
            except Exception as error:
                failures.append(f"{seed}: {type(error).__name__}: {error}"[:200])
            bar.update(task, advance=1)
    return {**common.stamp(f"python bench/graphs.py --graphs {count} --first {first}", "amaranth",
                           "numpy"),
            "graphs": count, "first": first, "layers": dict(sorted(kinds.items())),
            "failed": len(failures), "failures": failures[:20],
            "seconds": round(time.perf_counter() - started)}


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--graphs", type=int, help="how many; without it, print what is stored")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Check, store and print; 1 if a graph failed."""
    args = parse_args()
    if args.graphs:
        common.write(FILE, run(args.first, args.graphs))
    result = common.read(FILE)
    if args.json:
        print(json.dumps(result))
    elif result:
        common.show("Random graphs", ("graphs", "layers", "failed", "seconds", "date"),
                    [(result["graphs"], sum(result["layers"].values()), result["failed"],
                      result["seconds"], result["date"])])
    return int(result.get("failed", 0) > 0)


if __name__ == "__main__":
    sys.exit(main())
