"""How often, and by how much, the golden model and ONNX Runtime differ.

ONNX requantizes by a float32 and rounds halves to even; the integer network multiplies exactly by a
fixed-point number and rounds twice (double), once with halves up (single), or once with halves to
even. Accumulators must be equal, what a layer puts out within one step. Layers and networks are
those of `tests/onnx_files.py`, drawn at random; with scales that are powers of two, halves are
frequent, which is the worst case of the first two, and none may differ under the last.

    python bench/onnx_rounding.py --run
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing.compiler import ir
from penjing.compiler.load import onnx as importer
from penjing.sim import golden
from penjing.sim.oracles import onnxruntime as oracle

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import onnx_files
from onnx_files import INT8, LAYERS, STYLES, UINT8

FILE = "onnx_rounding.json"
IMAGES = 32
_NETWORK = "residual network"
_POWERS = ", powers of two"
_KINDS = ("ConvInteger", "MatMulInteger", *LAYERS, _NETWORK, *(
    f"{kind}{_POWERS}" for kind in ("conv", "depthwise", "gemm", "add", "average_pool", _NETWORK)))
_ROUNDINGS = (ir.ScaleRounding.DOUBLE, ir.ScaleRounding.SINGLE, ir.ScaleRounding.EVEN)
_TYPES = ((INT8, INT8), (INT8, UINT8), (UINT8, INT8), (UINT8, UINT8))


@dataclass
class Count:
    """How many values were compared, how many differ, and by how many steps at most."""

    values: int = 0
    different: int = 0
    largest: int = 0

    def add(self, far: np.ndarray) -> None:
        """Count the distances ``far``."""
        self.values += far.size
        self.different += int(np.count_nonzero(far))
        self.largest = max(self.largest, int(far.max()))


def models(kind: str, draws: int) -> Iterator[bytes]:
    """So many models of a ``kind`` in every style, or of all element types."""
    for seed in range(draws):
        if kind in ("ConvInteger", "MatMulInteger"):
            for types in _TYPES:
                yield onnx_files.integer_model(np.random.default_rng(seed), kind, *types)
            continue
        for n, style in enumerate(STYLES):
            rng = np.random.default_rng([seed, n])
            drawn = replace(style, powers=kind.endswith(_POWERS))
            what = kind.removesuffix(_POWERS)
            yield (onnx_files.residual_network(rng, drawn) if what == _NETWORK
                   else onnx_files.random_layer(rng, drawn, what))


def measure(draws: int, progress: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """The counts of every kind under each rounding."""
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for kind in _KINDS:
            counts = {rounding.value: Count() for rounding in _ROUNDINGS}
            for seed, data in enumerate(models(kind, draws)):
                path.write_bytes(data)
                compare(path, counts, seed)
            results[kind] = {name: vars(count) for name, count in counts.items()}
            progress(kind)
    return results


def compare(path: Path, counts: dict[str, Count], seed: int) -> None:
    """Run the model at ``path`` on extreme and random images."""
    other = None
    for rounding in _ROUNDINGS:
        network = importer.load(path, "net", rounding)
        x = onnx_files.images(network.input_type, IMAGES, seed)
        if other is None:
            other = oracle.run(path, x)
        counts[rounding.value].add(np.abs(golden.run(network, x) - other))


def run(draws: int) -> dict[str, Any]:
    """Measure, and say when and with what it was done."""
    with common.progress_bar() as bar:
        task = bar.add_task("", total=len(_KINDS))
        kinds = measure(draws, lambda kind: bar.update(task, description=kind, advance=1))
    return {**common.stamp(f"python bench/onnx_rounding.py --run --draws {draws}", "numpy", "onnx",
                           "onnxruntime"), "draws": draws, "images": IMAGES, "kinds": kinds}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    rows = [(kind, f"{counts['double']['values']:,}", *(
        cell for rounding in _ROUNDINGS for cell in _cells(counts[rounding.value])))
        for kind, counts in results["kinds"].items()]
    common.show(f"Golden model against ONNX Runtime, {results['date']}", (
        "kind", "values", *(head for rounding in _ROUNDINGS for head in (
            f"{rounding.value}: of 10⁶ differ", "steps at most"))), rows)


def _cells(count: dict[str, int]) -> tuple[str, int]:
    return f"{1e6 * count['different'] / count['values']:,.0f}", count["largest"]


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure anew")
    parser.add_argument("--draws", type=int, default=50, help="models of a kind in each style")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def _allowed(kind: str, rounding: str) -> float:
    """The most steps by which a ``kind`` may differ: an accumulator by none, a layer by one."""
    is_even, is_layer = rounding == ir.ScaleRounding.EVEN.value, not kind.startswith(_NETWORK)
    if kind.endswith("Integer") or (is_even and is_layer and kind.endswith(_POWERS)):
        return 0
    # What one layer passes on, the next may make larger.
    return oracle.ALLOWED_STEPS if is_layer or is_even else math.inf


def main() -> int:
    """Measure and print; 1 if anything differs by more than it may (`_allowed`)."""
    args = parse_args()
    if args.run:
        common.write(FILE, run(args.draws))
    results = common.read(FILE)
    if not results:
        print(f"{FILE}: nothing is stored; use --run", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(results))
    else:
        show(results)
    return int(any(count["largest"] > _allowed(kind, rounding)
                   for kind, counts in results["kinds"].items()
                   for rounding, count in counts.items()))


if __name__ == "__main__":
    sys.exit(main())
