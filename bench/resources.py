"""Predicted against placed-and-routed resources, layer by layer.

Without an option it prints the table from the stored measurements. ``--run`` first measures every
layer whose hardware has changed or was never measured (about half a minute each); ``--fit`` fits
logic and control of the board's family on the fitting half, and prints them as they stand in
`penjing.compiler.cost.families`.

    python bench/resources.py --run
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import common
import numpy as np
import numpy.typing as npt
from amaranth.back import rtlil
from layers import CASES, NAME, Case, Half
from penjing import boards
from penjing.boards.families import GENERIC, Family
from penjing.boards.measure import measure
from penjing.compiler.cost import Fabric, Resources
from penjing.compiler.cost.fabric import Control, Logic, Overhead
from penjing.compiler.dataflow import accelerator, buffers
from penjing.compiler.dataflow.plan import Plan
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import PenjingError
from penjing.hdl.graph import Pipeline

FILE = "resources.json"
CELLS = ("luts", "ffs", "dsps", "brams")
EXPECTED = replace(
    GENERIC.fabric,
    logic=Logic(adder=1, chain=2, counter=2, mux=1, product=1, constant=0.35, count=1,
                gear=0.4, clamp=1.5, pad=0.5, accumulate=2, round=3, rom=1, register=0.5),
    control=Control(
        engine=Overhead(40, 4), window=Overhead(40, 11), queue=Overhead(10, 2),
        skip=Overhead(15, 6), gearbox=Overhead(10, 2), upsizer=Overhead(10, 5),
        stage=Overhead(10, 2), register=Overhead(3, 2), admission=Overhead(10, 2),
        serial=Overhead(20, 6), inside=Overhead(20, 0)))
"""What one would expect of coefficients who reads the hardware: flip-flops are counted."""
TRUST = 0.5
"""How much that counts: being off by all of it is like an error of a half in one layer.

Of 0.2, 0.5, 1 and 2 it lets a layer of the fitting half be predicted best by the others (3.7 % of
LUTs in the median)."""
SPREAD = 20
"""Cells by which a block's overhead may be off likewise."""
SMALL = 30
"""Cells to which errors of smaller layers are related."""
SWEEPS = 2000
"""Times that all coefficients are improved."""

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A case, what the plan predicts, and what place-and-route found."""

    case: Case
    plan: Plan
    measured: dict[str, Any]

    @property
    def predicted(self) -> Resources:
        """What the plan says."""
        return self.plan.layer(NAME).resources

    def priced(self, fabric: Fabric) -> Resources:
        """What it would say with the coefficients of ``fabric``."""
        layer = self.plan.layer(NAME)
        return buffers.cells(sites(self.case.network)[NAME], layer.kind, layer.queues, fabric)

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
    return [Comparison(case, case.plan(boards.find(case.board)), known[case.name])
            for case in cases if case.name in known]


def fit(comparisons: Sequence[Comparison], family: Family) -> Fabric:
    """The fabric of ``family`` with the logic and control that the fitting half decides.

    They have the least squares of the relative errors, and of the distances from what is
    `EXPECTED`: a coefficient of which the layers tell little stays near that. None is negative.
    Predictions are linear in them, so slopes are the differences that a large step of each makes.
    """
    chosen = [c for c in comparisons if c.case.half is Half.FIT
              and boards.find(c.case.board).family is family]
    expected = _coefficients(EXPECTED)
    # Where the router's report counts them, flip-flops take no LUTs.
    apart = family.tools is None or family.tools.logged_ffs is None
    names = [name for name in expected if not (apart and name == "logic_register")]
    step = 1000.0
    nothing = dict.fromkeys(expected, 0.0)

    def predictions(**values: float) -> FloatArray:
        fabric = _with(family.fabric, nothing | values)
        cells = [c.priced(fabric) for c in chosen]
        return np.array([[c.luts, c.ffs] for c in cells], dtype=float).reshape(-1)

    base = predictions()
    slopes = np.stack([(predictions(**{name: step}) - base) / step for name in names], axis=1)
    found = np.array([[c.measured["luts"], c.measured["ffs"]] for c in chosen],
                     dtype=float).reshape(-1)
    # Small layers count too, but a dozen LUTs is no error worth a coefficient.
    weight = 1 / (found + SMALL)
    middle = np.array([expected[name] for name in names])
    spread = np.array([SPREAD if name.startswith("control") else expected[name] for name in names])
    pull = TRUST / spread
    solution = _least_squares(
        np.concatenate([slopes * weight[:, None], np.diag(pull)]),
        np.concatenate([(found - base) * weight, pull * middle]))
    return _with(family.fabric, nothing | dict(zip(names, solution.tolist(), strict=True)))


def _least_squares(slopes: FloatArray, values: FloatArray) -> FloatArray:
    """What is never negative and makes ``slopes`` times it nearest to ``values``, by one coordinate
    after the other."""
    squares, products = slopes.T @ slopes, slopes.T @ values
    solution = np.zeros(len(products))
    for _ in range(SWEEPS):
        for n in range(len(solution)):
            rest = products[n] - squares[n] @ solution + squares[n, n] * solution[n]
            solution[n] = max(0.0, rest / squares[n, n])
    return solution


def _coefficients(fabric: Fabric) -> dict[str, float]:
    """All that is fitted: of logic, then LUTs and flip-flops of control."""
    logic = {f"logic_{name}": value for name, value in vars(fabric.logic).items()}
    return logic | {f"control_{cell}_{name}": value
                    for name, overhead in vars(fabric.control).items()
                    for cell, value in vars(overhead).items()}


def _with(fabric: Fabric, values: Mapping[str, float]) -> Fabric:
    """``fabric`` with other coefficients."""
    logic = Logic(**{name: values[f"logic_{name}"] for name in vars(fabric.logic)})
    control = Control(**{
        name: Overhead(values[f"control_luts_{name}"], values[f"control_ffs_{name}"])
        for name in vars(fabric.control)})
    return replace(fabric, logic=logic, control=control)


def _source(fabric: Fabric) -> str:
    """Logic and control as they stand in the family's file."""
    logic = ", ".join(f"{name}={value:.3g}" for name, value in vars(fabric.logic).items())
    control = ", ".join(f"{name}=Overhead({overhead.luts:.0f}, {overhead.ffs:.0f})"
                        for name, overhead in vars(fabric.control).items())
    indent = " " * 8
    return "\n".join(f"    {name}(\n" + textwrap.fill(
        f"{text}),", 99, initial_indent=indent, subsequent_indent=indent)
        for name, text in (("Logic", logic), ("Control", control)))


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
            "errors": summary(comparisons), "fitted": _coefficients(fitted) if fitted else None}))
        return 0
    show(comparisons)
    if fitted:
        print(_source(fitted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
