"""LUTs of products that are made one and two by a DSP block, and without any.

Each engine is a convolution on the ULX3S-85F, alone and with everything that it has: window,
weights, accumulators, drain and queue; only what makes its products differs. Without an option it
prints the stored results; ``--run`` measures every engine anew (about a minute each).

    python bench/pairs.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
from layers import NAME
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import ir
from penjing.compiler.cost import Fabric, Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.kinds import Ask, Dot
from penjing.compiler.dataflow.options import Catalogue
from penjing.compiler.dataflow.plan import Fold, Plan, Port
from penjing.compiler.dataflow.search import Goal
from penjing.compiler.dataflow.searching import Search
from penjing.compiler.ir import Network, TensorType

FILE = "pairs.json"
FOLD = Fold(4, 1, 8)
PLENTY = Resources(luts=10**9, ffs=10**9, dsps=10**4, brams=10**9)
BITS = ((4, 4), (8, 4), (8, 8))
"""Of maps and of weights."""
WAYS = ("one", "two", "none")
"""Products that a DSP block makes."""


def plan(bits: tuple[int, int], way: str, fabric: Fabric) -> tuple[Network, Plan]:
    """A convolution of 32 products a cycle that are made in a ``way``."""
    rng, high = np.random.default_rng(7), 1 << bits[1] - 1
    weights = ir.Weights(rng.integers(-high, high, (16, 3, 3, 16)), bits[1])
    layer = ir.Convolution(NAME, "x", weights, rng.integers(-high << 8, high << 8, 16))
    network = Network("pairs", "x", TensorType((12, 12, 16), bits[0], False), (layer,))
    search = Search.of(network, Budget(fabric, PLENTY, 10**9), Goal(), "ulx3s-85f", 100.0,
                       Catalogue(fabric))
    options = search.options[NAME]
    ask = Ask(fabric, (Port(8, network.input_type.shape[2]),), 0,
              0 if way == "none" else PLENTY.dsps, FOLD, dear_dsps=True)
    forms = list(Dot.forms(options.site, ask, FOLD))
    return network, search.planned({NAME: options.of(forms[way == "two"])}).timed()


def run() -> dict[str, Any]:
    """Place and route all engines."""
    board, engines = boards.find("ulx3s-85f"), []
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("measure", total=len(BITS) * len(WAYS))
        for bits in BITS:
            for way in WAYS:
                bar.update(task, description=f"{bits[0]} × {bits[1]} bits, {way}")
                network, made = plan(bits, way, board.family.fabric)
                found = measure(accelerator.layer(network, made, NAME, board.technology), board,
                                Path(folder, f"{bits[0]}_{bits[1]}_{way}"))
                engines.append({
                    "bits": bits, "way": way, "products": FOLD.products, "luts": found.luts,
                    "ffs": found.ffs, "dsps": found.dsps, "brams": found.brams,
                    "fmax_mhz": round(found.fmax_mhz, 1),
                    **common.stamp("python bench/pairs.py --run", *found.versions)})
                common.write(FILE, {"engines": engines})
                bar.advance(task)
    return common.read(FILE)


def rows(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """Of each engine, what it takes, and LUTs of a product beyond those that a block makes alone.
    """
    alone = {tuple(e["bits"]): e["luts"] for e in result["engines"] if e["way"] == "one"}
    found = []
    for e in result["engines"]:
        beyond = e["products"] - (e["dsps"] if e["way"] == "two" else 0)
        more = "" if e["way"] == "one" else f"{(e['luts'] - alone[tuple(e['bits'])]) / beyond:.1f}"
        found.append(("{} × {}".format(*e["bits"]), e["way"], e["dsps"], f"{e['luts']:,}",
                      f"{e['ffs']:,}", more, f"{e['fmax_mhz']} MHz"))
    return found


def show(result: dict[str, Any]) -> None:
    """Print the engines, with today's prediction of their LUTs."""
    fabric = boards.find("ulx3s-85f").family.fabric
    predicted = [plan(tuple(e["bits"]), e["way"], fabric)[1].layer(NAME).resources.luts
                 for e in result["engines"]]
    common.show(f"Engines of {FOLD.products} products a cycle on ULX3S-85F, placed and routed", (
        "map × weight bits", "products a block", "DSPs", "LUTs", "FFs", "a product more", "Fmax",
        "predicted LUTs"), [(*row, luts) for row, luts in zip(rows(result), predicted,
                                                              strict=True)])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure the engines anew")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, run, show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
