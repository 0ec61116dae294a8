"""Accuracy of the example by width: two dynamic variants against the best static pair.

All numbers are of the 10,000 test images. The static pair is chosen in its own favour: every pair
worth trying is judged by its accuracy on the first ``--select`` training images, and of the best
``--finalists`` the one that does best on the *test* images counts. The dynamic variants, judged by
each map (as Qiu published it) or by the network's output, see calibration images only.

Networks run in PyTorch, whose integers are asserted to equal the golden model's on 200 images.

    python bench/precision.py --data DATA
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from fashion_mnist import read_split
from numpy.typing import NDArray
from penjing.compiler import ir
from penjing.compiler.compress.fixed_point import Mode, StaticPair, quantize, static_pairs
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as loader
from penjing.compiler.load.floats import FloatNetwork
from penjing.sim import golden
from penjing.sim.oracles import torch as oracle
from rich.progress import Progress, TaskID

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
FILE = "precision.json"
COMPARED = 200
"""Test images on which PyTorch and the golden model must agree in every value."""


@dataclass(frozen=True)
class Images:
    """Pixels (N, 28, 28, 1) and labels (N,)."""

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True)
class Study:
    """What every width is tried on, and how far the search for a static pair goes."""

    floats: FloatNetwork
    calibration: NDArray[Any]
    selection: Images
    test: Images
    finalists: int


@dataclass(frozen=True)
class Row:
    """Accuracies at one width of weights and activations."""

    bits: int
    dynamic: float
    output: float
    static: float
    weight_fraction: int
    activation_fraction: int
    pairs: int
    selected_on: int
    finalists: int


def accuracy(network: ir.Network, images: Images) -> float:
    """Share of the images that the integer network classifies correctly."""
    outputs = oracle.run(network, images.x.astype(np.int64), batch=256)
    return float((outputs.reshape(len(images.y), -1).argmax(1) == images.y).mean())


def assert_exact(network: ir.Network, x: NDArray[Any]) -> None:
    """PyTorch and the golden model must agree, or the accuracies say nothing of the hardware."""
    images = x[:COMPARED].astype(np.int64)
    if not np.array_equal(golden.run(network, images), oracle.run(network, images)):
        raise AssertionError(f"{network.name}: PyTorch and the golden model differ")


def study_width(study: Study, bits: int, bar: Progress, task: TaskID) -> Row:
    """All variants at one width."""
    dynamic, output = (_dynamic(study, bits, mode) for mode in (Mode.DYNAMIC, Mode.OUTPUT))

    pairs = list(static_pairs(study.floats, study.calibration, bits, bits))
    bar.update(task, total=len(pairs) + study.finalists, completed=0)
    scores: dict[StaticPair, float] = {}
    for pair in pairs:
        scores[pair] = accuracy(_static(study, bits, pair), study.selection)
        bar.advance(task)
    best: tuple[float, StaticPair] | None = None
    for pair in sorted(pairs, key=scores.__getitem__, reverse=True)[:study.finalists]:
        network = _static(study, bits, pair)
        assert_exact(network, study.test.x)
        reached = accuracy(network, study.test)
        if best is None or reached > best[0]:
            best = reached, pair
        bar.advance(task)
    assert best is not None
    return Row(bits, dynamic, output, best[0], best[1].weights, best[1].activations, len(pairs),
               len(study.selection.y), study.finalists)


def _dynamic(study: Study, bits: int, mode: Mode) -> float:
    network = quantize(study.floats, study.calibration, bits, bits, mode=mode)
    assert_exact(network, study.test.x)
    return accuracy(network, study.test)


def _static(study: Study, bits: int, pair: StaticPair) -> ir.Network:
    return quantize(study.floats, study.calibration, bits, bits, mode=Mode.STATIC, static=pair)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every width, and the float network; stored rows of other widths are kept."""
    train, test = (Images(*read_split(args.data, name)) for name in ("train", "t10k"))
    with np.load(EXAMPLE / "calibration.npz", allow_pickle=False) as file:
        calibration = file["x"]
    program = EXAMPLE / "fashion_mnist.pt2"
    study = Study(loader.load(program), calibration,
                  Images(train.x[:args.select], train.y[:args.select]), test, args.finalists)
    floats = loader.run_float(program, test.x / 255)
    result = {**common.stamp(f"python bench/precision.py --data DATA --select {args.select} "
                             f"--finalists {args.finalists}", "torch", "numpy"),
              "samples": len(test.y), "float": float((floats.argmax(1) == test.y).mean())}
    rows = [row for row in common.read(FILE).get("rows", []) if row["bits"] not in args.bits]
    with common.progress_bar() as bar:
        for bits in args.bits:
            task = bar.add_task(f"{bits} bits", total=None)
            rows.append(asdict(study_width(study, bits, bar, task)))
            result["rows"] = sorted(rows, key=lambda row: -row["bits"])
            common.write(FILE, result)
    return result


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with the IDX .gz files; without it, the "
                                                  "stored results are printed")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 6, 5, 4])
    parser.add_argument("--select", type=int, default=1000, help="training images that judge pairs")
    parser.add_argument("--finalists", type=int, default=3, help="pairs that see the test images")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure if data are given; print."""
    args = parse_args()
    try:
        result = run(args) if args.data else common.read(FILE)
        if not result:
            raise PenjingError(f"{FILE}: there are no stored results; give --data")
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(result))
        return 0
    base = result["float"]
    common.show(f"Accuracy on {result['samples']} test images; float {base:.2%}",
                ("bits", "dynamic", "by output", "best static", "dynamic - float",
                 "dynamic - static", "by output - static", "pair (weights, maps)", "of",
                 "judged on"),
                [(row["bits"], f"{row['dynamic']:.2%}", f"{row['output']:.2%}",
                  f"{row['static']:.2%}", f"{100 * (row['dynamic'] - base):+.2f}",
                  f"{100 * (row['dynamic'] - row['static']):+.2f}",
                  f"{100 * (row['output'] - row['static']):+.2f}",
                  f"{row['weight_fraction']}, {row['activation_fraction']}", row["pairs"],
                  row["selected_on"])
                 for row in result["rows"]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
