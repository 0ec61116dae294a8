"""How well the schedule uses the multipliers that it is given, and what emission costs.

The example is scheduled for several budgets on one board, and emitted as Verilog for the board's
own; beside it one 3×3 convolution engine alone (16→16 channels, 16 multipliers).

    python bench/schedule.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import common
import numpy as np
from penjing import boards
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, TensorType
from penjing.flow.load import Quantization, load
from penjing.hdl.emit import emit
from penjing.hdl.tech import Generic

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
FILE = "schedule.json"
T = TypeVar("T")


def budget(board: boards.Board, multipliers: int | None = None) -> Budget:
    """All that ``board`` has, with at most so many multipliers (its DSPs if None)."""
    has = board.budget
    return Budget(board.family.fabric, Resources(has.luts, has.ffs, has.dsps, has.brams),
                  has.dsps if multipliers is None else multipliers)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, round(time.perf_counter() - started, 2)


def row(plan: Plan, multipliers: int, seconds: float) -> dict[str, Any]:
    """What the table says of one schedule."""
    return {"budget": multipliers, "multipliers": plan.multipliers,
            "cycles_per_frame": plan.cycles_per_frame, "latency_cycles": plan.latency_cycles,
            "macs": plan.macs, "utilization": round(plan.utilization, 4),
            "utilization_of_budget": round(plan.macs / (multipliers * plan.cycles_per_frame), 4),
            "schedule_seconds": seconds}


def engine(board: boards.Board) -> tuple[Network, Plan]:
    """One 3×3 convolution, 16→16 channels on a 16×16 map, 8 bits, 16 multipliers."""
    rng = np.random.default_rng(1)
    layer = ir.Convolution("conv", "x", ir.Weights(rng.integers(-128, 128, (16, 3, 3, 16)), 8),
                           rng.integers(-1000, 1000, 16), padding=(1, 1, 1, 1))
    network = Network("engine", "x", TensorType((16, 16, 16), 8, False), (layer,))
    cycles = 16 * 16 * 9 * 16 * 16 // 16
    return network, schedule(network, budget(board), Goal(cycles, {"conv": Fold(4, 1, 4)}))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every budget, then both emissions."""
    board = boards.find(args.board)
    result = common.stamp(f"python bench/schedule.py --board {args.board}", "amaranth", "numpy")
    with common.progress_bar() as bar:
        task = bar.add_task("load", total=len(args.budgets) + 4)
        model, seconds = timed(lambda: load(args.model, Quantization(args.calibration)))
        result |= {"board": args.board, "network": model.network.name, "load_seconds": seconds}
        bar.advance(task)
        rows = []
        for multipliers in [*args.budgets, board.budget.dsps]:
            bar.update(task, description=f"{multipliers} multipliers")
            limit = budget(board, multipliers)
            plan, seconds = timed(lambda limit=limit: schedule(  # type: ignore[misc]
                model.network, limit, board=board.name, clock_mhz=board.clock_mhz))
            rows.append(row(plan, multipliers, seconds))
            bar.advance(task)
        result["schedules"] = rows
        result["emission"] = {}
        for name, (network, made) in {"example": (model.network, plan),
                                      "3×3 engine": engine(board)}.items():
            bar.update(task, description=f"emit {name}")
            verilog, seconds = timed(lambda network=network, made=made: emit(  # type: ignore[misc]
                accelerator.whole(network, made, Generic()), network.name))
            result["emission"][name] = {"multipliers": made.multipliers, "seconds": seconds,
                                        "lines": verilog.text.count("\n"),
                                        "bytes": len(verilog.text)}
            bar.advance(task)
    common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    common.show(f"{result['network']} on {result['board']}",
                ("budget", "multipliers", "cycles/frame", "latency", "useful", "of budget",
                 "seconds"),
                [(r["budget"], r["multipliers"], r["cycles_per_frame"], r["latency_cycles"],
                  f"{r['utilization']:.1%}", f"{r['utilization_of_budget']:.1%}",
                  r["schedule_seconds"]) for r in result["schedules"]])
    common.show("Verilog", ("design", "multipliers", "seconds", "lines", "bytes"),
                [(name, e["multipliers"], e["seconds"], e["lines"], e["bytes"])
                 for name, e in result["emission"].items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=EXAMPLE / "fashion_mnist.pt2")
    parser.add_argument("--calibration", type=Path, default=EXAMPLE / "calibration.npz")
    parser.add_argument("--board", default="ulx3s-85f")
    parser.add_argument("--budgets", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    args = parse_args()
    return common.present(FILE, lambda: run(args), show, anew=True, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
