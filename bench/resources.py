"""Predicted against placed-and-routed resources, layer by layer.

Without an option it prints the table from the stored measurements. ``--run`` first measures every
layer whose hardware has changed or was never measured (about half a minute each); ``--fit`` fits
the coefficients of `penjing.compiler.cost.families` on the fitting half, and prints them.

    python bench/resources.py --run
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from amaranth.back import rtlil
from layers import CASES, NAME, Case, Half
from penjing import boards
from penjing.boards.families import Family
from penjing.boards.measure import measure
from penjing.compiler.cost import Fabric, Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.ir import PenjingError
from penjing.hdl.graph import Pipeline

FILE = "resources.json"
CELLS = ("luts", "ffs", "dsps", "brams")
FITTED = ("adder_bit", "mux_bit", "product_bit", "control", "gear_bit")
"""The coefficients that measurements decide; the others follow from the silicon."""


@dataclass(frozen=True)
class Comparison:
    """A case, what the plan predicts, and what place-and-route found."""

    case: Case
    predicted: Resources
    measured: dict[str, Any]

    def error(self, cell: str) -> float:
        """Relative error of the prediction; 0 where there is nothing of it."""
        found = self.measured[cell]
        return (getattr(self.predicted, cell) - found) / found if found else 0.0


def component(case: Case) -> Pipeline:
    """The case's layer in its board's technology."""
    board = boards.find(case.board)
    return accelerator.layer(case.network, case.plan(board), NAME, board.technology)


def digest(case: Case) -> str:
    """What identifies the hardware of a case."""
    text = rtlil.convert(component(case), name="top", emit_src=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(cases: Sequence[Case], *, force: bool) -> None:
    """Measure every case whose stored measurement is missing or stands for other hardware."""
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("measure", total=len(cases))
        for case in cases:
            bar.update(task, description=case.name)
            known = common.read(FILE).get("layers", {})
            hardware = digest(case)
            if force or known.get(case.name, {}).get("hardware") != hardware:
                board = boards.find(case.board)
                result = measure(component(case), board, Path(folder, case.name))
                entry = {"board": case.board, "half": case.half.value,
                         "description": case.description, "hardware": hardware,
                         **{cell: getattr(result, cell) for cell in CELLS},
                         "fmax_mhz": round(result.fmax_mhz, 1),
                         "seconds": {k: round(v, 1) for k, v in result.seconds.items()},
                         **common.stamp("python bench/resources.py --run", *result.versions)}
                order = {**known, case.name: entry}
                common.write(FILE, {"layers": {c.name: order[c.name] for c in CASES
                                               if c.name in order}})
            bar.advance(task)


def compare(cases: Sequence[Case]) -> list[Comparison]:
    """Every measured case with today's prediction."""
    known = common.read(FILE).get("layers", {})
    return [Comparison(case, case.plan(boards.find(case.board)).layer(NAME).resources,
                       known[case.name])
            for case in cases if case.name in known]


def fit(comparisons: Sequence[Comparison], family: Family) -> dict[str, float]:
    """Coefficients of ``family`` that minimize the relative squared error of the fitting half.

    A prediction is linear in them: its slopes are the differences that a large step of each makes.
    Negative ones are set to what they were and the rest fitted again.
    """
    chosen = [c for c in comparisons if c.case.half is Half.FIT
              and boards.find(c.case.board).family is family]
    names = list(FITTED)
    model = family.fabric
    while True:
        zeros: dict[str, Any] = dict.fromkeys(names, 0)
        base = _predictions(chosen, replace(model, **zeros))
        step = 1000
        slopes = np.stack([
            (_predictions(chosen, replace(model, **(zeros | {name: step}))) - base) / step
            for name in names], axis=1)
        found = np.array([c.measured["luts"] for c in chosen], dtype=float)
        # Small layers count too, but a dozen LUTs is no error worth a coefficient.
        scale = 1 / (found + 30)
        solution = np.linalg.lstsq(slopes * scale[:, None], (found - base) * scale, rcond=None)[0]
        fitted = dict(zip(names, (float(value) for value in solution), strict=True))
        bad = [name for name, value in fitted.items() if value < 0]
        if not bad:
            return fitted
        names = [name for name in names if name not in bad]


def _predictions(comparisons: Sequence[Comparison], model: Fabric) -> np.ndarray:
    """LUTs of every case under ``model``, which stands in for the family's."""
    return np.array([c.case.plan(boards.find(c.case.board), model).layer(NAME).resources.luts
                     for c in comparisons], dtype=float)


def summary(comparisons: Sequence[Comparison]) -> dict[str, dict[str, dict[str, float]]]:
    """Median and largest relative error by half and kind of cell."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for half in Half:
        errors = {cell: [abs(c.error(cell)) for c in comparisons
                         if c.case.half is half and c.measured[cell]] for cell in CELLS}
        result[half.value] = {
            cell: {"median": round(statistics.median(values), 3), "max": round(max(values), 3)}
            for cell, values in errors.items() if values}
    return result


def show(comparisons: Sequence[Comparison]) -> None:
    """Print the table and the summary."""
    rows = []
    for c in comparisons:
        cells = [f"{getattr(c.predicted, cell)} / {c.measured[cell]}" for cell in CELLS]
        rows.append([c.case.description, c.case.half.value, cells[0], f"{c.error('luts'):+.0%}",
                     cells[1], f"{c.error('ffs'):+.0%}", *cells[2:],
                     f"{c.measured['fmax_mhz']:.0f}"])
    common.show("Predicted / placed and routed", (
        "layer", "half", "LUTs", "", "FFs", "", "DSPs", "BRAMs", "MHz"), rows)
    common.show("Relative error", ("half", "cell", "median", "max"), [
        (half, cell, f"{error['median']:.1%}", f"{error['max']:.1%}")
        for half, cells in summary(comparisons).items() for cell, error in cells.items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure what is missing")
    parser.add_argument("--force", action="store_true", help="with --run: measure everything anew")
    parser.add_argument("--fit", action="store_true", help="fit the coefficients and print them")
    parser.add_argument("--board", default="ulx3s-85f", help="the layers of which board")
    parser.add_argument("--only", nargs="*", default=[], metavar="LAYER", help="only these layers")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Run, fit, and print."""
    args = parse_args()
    cases = [case for case in CASES
             if case.board == args.board and (not args.only or case.name in args.only)]
    try:
        if args.run:
            run(cases, force=args.force)
        comparisons = compare(cases)
        if not comparisons:
            raise PenjingError(f"{FILE}: it holds no layer of {args.board}; use --run")
        fitted = fit(comparisons, boards.find(args.board).family) if args.fit else None
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"layers": {c.case.name: {
            "half": c.case.half.value, "predicted": asdict(c.predicted),
            "measured": {cell: c.measured[cell] for cell in CELLS}} for c in comparisons},
            "errors": summary(comparisons), "fitted": fitted}))
        return 0
    show(comparisons)
    if fitted:
        print("fitted:", ", ".join(f"{name}={value:.3f}" for name, value in fitted.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
