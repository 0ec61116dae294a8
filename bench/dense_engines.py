"""The engines of one dense layer, placed and routed: 784→300, 8 bits, 90 % zeros, 16 values.

On the ULX3S-85F: the engine that skips zeros of activations too, the one that walks the weights
that are not zeros, the same beside a loader that brings them, and the dense engine, each with 8
multipliers; and the dense engine that needs no more cycles than the second. One that needs no more
than the first does on digits (see ``eie.py``, which has the same layer) would take more multipliers
than the board has. Without an option it prints the stored results; ``--run`` routes anew.

    python bench/dense_engines.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
from amaranth.lib import wiring
from eie import DEPTH, LANES, RANDOM, random_layer
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import ir
from penjing.compiler.cost import Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.kinds import Ask, Columnwise
from penjing.compiler.dataflow.plan import Fold, Port
from penjing.compiler.dataflow.search import Goal
from penjing.compiler.dataflow.site import sites
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, TensorType
from sparse_engines import planned

FILE = "dense_engines.json"
BOARD = "ulx3s-85f"
MULTIPLIERS = 8
SKIPPING, WALKING = "columns+codebook", "relative+codebook"
LOADED = "relative+codebook, loaded"
EQUAL_MULTIPLIERS, EQUAL_CYCLES = "dense_multipliers", "dense_cycles"
ENGINES = {SKIPPING: SKIPPING, WALKING: WALKING, LOADED: WALKING, EQUAL_MULTIPLIERS: "plain",
           EQUAL_CYCLES: "plain"}
"""What is routed, and how its weights are stored."""
CLOCK_MHZ = {SKIPPING: 75.0, LOADED: 65.0}
"""What the router aims at, if not the board's clock: for a path that is too slow for its aim it
goes on without end."""


def network(encoding: str) -> Network:
    """The layer alone."""
    layer = random_layer()
    return encode(Network(RANDOM, "x", TensorType((1, 1, 784), 8, False), (layer,)),
                  {layer.name: encoding})


def skipping(board: boards.Board) -> tuple[wiring.Component, dict[str, Any], Resources]:
    """The engine that skips zeros of activations, as the compiler makes it behind wide beats."""
    (layer,) = (made := network(SKIPPING)).layers
    site, fabric = sites(made)[layer.name], board.family.fabric
    kind = Columnwise.made(site, Ask(fabric, (Port(LANES, 784),), 0, board.budget.dsps),
                           Fold(MULTIPLIERS, 1, 1))
    (_, block), = kind.blocks(site, board.technology)
    return block, {"multipliers": MULTIPLIERS, "queue": DEPTH, "most_cycles": kind.cycles(site),
                   "weight_bits": kind.all_weight_bits(site)}, kind.cells(site, fabric)


def others(name: str, board: boards.Board) -> tuple[wiring.Component, dict[str, Any], Resources]:
    """Any of the others; but for one the search chooses the fold."""
    made = network(ENGINES[name])
    (dense,) = made.layers
    goal, multipliers = Goal(), MULTIPLIERS
    if name == LOADED:
        made = ir.with_loadable_weights(made)
    if name == EQUAL_MULTIPLIERS:
        goal = Goal(784 * 300 // multipliers, {dense.name: Fold(2, 1, multipliers // 2)})
    elif name == EQUAL_CYCLES:
        goal = Goal(planned(network(WALKING), goal, multipliers).cycles_per_frame)
        multipliers = 10**9
    plan = planned(made, goal, multipliers)
    (layer,) = plan.layers
    return accelerator.layer(made, plan, layer.name, board.technology), {
        "multipliers": plan.multipliers, "cycles": plan.cycles_per_frame,
        "weight_bits": layer.kind.all_weight_bits(sites(made)[layer.name])}, layer.resources


def routed(name: str, folder: Path) -> dict[str, Any]:
    """Cells and speed of an engine."""
    board = boards.find(BOARD)
    block, facts, cells = skipping(board) if name == SKIPPING else others(name, board)
    told = board.family.fabric.placed(cells)
    found = measure(block, board, folder, clock_mhz=CLOCK_MHZ.get(name))
    return {"encoding": ENGINES[name], "board": BOARD, **facts, "predicted": asdict(told),
            "luts": found.luts, "ffs": found.ffs, "dsps": found.dsps, "brams": found.brams,
            "fmax_mhz": round(found.fmax_mhz, 1),
            **common.stamp("python bench/dense_engines.py --run", *found.versions)}


def run(names: list[str]) -> dict[str, Any]:
    """Route what is named, or all; the others keep their results."""
    chosen = [name for name in ENGINES if not names or name in names]
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("", total=len(chosen))
        for name in chosen:
            bar.update(task, description=name)
            known = {**common.read(FILE).get("engines", {}),
                     name: routed(name, Path(folder, name))}
            common.write(FILE, {"engines": {one: known[one] for one in ENGINES if one in known}})
            bar.advance(task)
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print them."""
    cells = ("luts", "ffs", "dsps", "brams")
    common.show(f"A dense layer, 784→300, 90 % zeros, on {BOARD}, predicted / routed", (
        "engine", "multipliers", "cycles", "LUTs", "FFs", "DSPs", "BRAMs", "MHz"), [
        (name, one["multipliers"], one.get("cycles", f"at most {one.get('most_cycles')}"),
         *(f"{one['predicted'][cell]:,} / {one[cell]:,}" for cell in cells), one["fmax_mhz"])
        for name, one in result["engines"].items()])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="place and route anew")
    parser.add_argument("--only", nargs="*", default=[], choices=ENGINES, help="only these")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.only), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
