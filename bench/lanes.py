"""LUTs of a product in engines of signs, of three values, and of multipliers without DSP blocks.

Each engine is a dense layer on the ULX3S-85F, alone and with everything that it has: window,
weights in block RAM, accumulators, drain and queue. Without an option it prints the stored results;
``--run`` measures every engine anew (about two minutes each).

    python bench/lanes.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from layers import NAME, Case, Half
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.ir import Bipolar, TensorType

FILE = "lanes.json"
INPUTS = 1024
SIGNS = Fold(32, 1, 32)
INTEGERS = Fold(8, 1, 32)
CYCLES = 128
"""Of a frame: a vector comes in 32 beats, once for each of four groups of outputs."""


def _case(name: str, description: str, source: TensorType, fold: Fold, choices: list[int],
          bits: int) -> Case:
    """A dense layer of random weights among ``choices``."""
    rng = np.random.default_rng(7)
    weights = ir.Weights(rng.choice(choices, (4 * fold.pe, INPUTS)), bits)
    layer = ir.Dense(NAME, "x", weights, np.zeros(4 * fold.pe, np.int64))
    return Case(name, Half.JUDGED, description, source, layer, CYCLES, fold)


def _vector(bits: int) -> TensorType:
    return TensorType((1, 1, INPUTS), bits, False)


CASES = (
    _case("binary", "XNOR of signs", Bipolar((1, 1, INPUTS)), SIGNS, [-1, 1], 2),
    _case("ternary_4", "4 bits × {−1, 0, 1}", _vector(4), INTEGERS, [-1, 0, 1], 2),
    _case("trained_4", "4 bits × {−45, 0, 77}", _vector(4), INTEGERS, [-45, 0, 77], 8),
    _case("signs_8", "8 bits × {−1, 1}", _vector(8), INTEGERS, [-1, 1], 2),
    _case("ternary_8", "8 bits × {−1, 0, 1}", _vector(8), INTEGERS, [-1, 0, 1], 2),
    _case("trained_8", "8 bits × {−45, 0, 77}", _vector(8), INTEGERS, [-45, 0, 77], 8),
    _case("multiply_4", "4 bits × 4 bits, multiplied", _vector(4), INTEGERS, [*range(-8, 8)], 4),
    _case("multiply_4_8", "4 bits × 8 bits, multiplied", _vector(4), INTEGERS,
          [*range(-128, 128)], 8),
)


def run(names: list[str]) -> dict[str, Any]:
    """Place and route the engines ``names``, or all; the others keep their results."""
    board = boards.find("ulx3s-85f")
    chosen = [case for case in CASES if not names or case.name in names]
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("measure", total=len(chosen))
        for case in chosen:
            bar.update(task, description=case.name)
            plan = case.plan(board)
            made = accelerator.layer(case.network, plan, NAME, board.technology)
            found = measure(made, board, Path(folder, case.name))
            products = plan.layer(NAME).products
            entry = {
                "description": case.description, "products": products,
                "luts": found.luts, "ffs": found.ffs, "brams": found.brams, "dsps": found.dsps,
                "luts_per_product": round(found.luts / products, 2),
                "fmax_mhz": round(found.fmax_mhz, 1),
                **common.stamp("python bench/lanes.py --run", *found.versions)}
            known = {**common.read(FILE).get("engines", {}), case.name: entry}
            common.write(FILE, {"engines": {c.name: known[c.name] for c in CASES
                                            if c.name in known}})
            bar.advance(task)
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print the engines, with today's prediction of their LUTs."""
    board = boards.find("ulx3s-85f")
    predicted = {case.name: case.plan(board).layer(NAME).resources.luts for case in CASES}
    common.show("Engines on ULX3S-85F, placed and routed", (
        "term × weight", "products a cycle", "LUTs", "a product", "predicted", "FFs", "BRAMs",
        "DSPs", "MHz"), [
        (e["description"], e["products"], e["luts"], e["luts_per_product"], predicted[name],
         e["ffs"], e["brams"], e["dsps"], e["fmax_mhz"]) for name, e in result["engines"].items()])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure the engines anew")
    parser.add_argument("--only", nargs="*", default=[], metavar="ENGINE", help="only these")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.only), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
