"""Other people's quantized networks, pruned and shared without any training.

Weights of least magnitude of the MLPerf Tiny keyword spotter DS-CNN and of ResNet8 become 0, in
every layer or in the inner ones only; weights are shared; or both. Told are the accuracy of the
golden model, the bits that the hardware stores, and the cycles of the plan for ULX3S-85F, with as
many multipliers for all. Without an option it prints the stored results and draws them; ``--run``
measures what is missing, ``--only`` some rows anew (ten seconds each).

    python bench/integer_pruning.py --run --models DIR --data DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import common
import numpy as np
import rows
import storage
from accuracy_plots import PICTURES, finish
from numpy.typing import NDArray
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.compress import integers
from penjing.compiler.ir import Network, PenjingError
from penjing.flow import plots
from penjing.sim import golden

FILE = "integer_pruning.json"
COMMAND = "python bench/integer_pruning.py --run"
PICTURE = {"weight_bits": "integer_pruning_bits.svg", "cycles": "integer_pruning_cycles.svg"}
MULTIPLIERS = 64
SAMPLES, BATCH = 1000, 100


@dataclass(frozen=True)
class Kind:
    """One network, and its images, whose values are less by ``offset`` in the network."""

    title: str
    file: str
    images: str
    offset: int


KINDS = {"ds_cnn": Kind("DS-CNN", "kws_ref_model.tflite", "kws01.npz", 0),
         "resnet8": Kind("ResNet8", "pretrainedResnet_quant.tflite", "cifar10_test.npz", 128)}


@dataclass(frozen=True)
class Way:
    """A share of ``zeros``, in the ``inner`` layers or in all, and so many ``codes`` a layer."""

    series: str
    zeros: float = 0.0
    inner: bool = False
    codes: int | None = None

    @property
    def key(self) -> str:
        """What tells it from others."""
        return (f"{self.series}/{self.zeros:.2f}"
                + (f"/{self.codes}" if self.codes is not None else ""))


ALL, INNER, SHARED, BOTH = "pruned", "inner pruned", "shared", "inner pruned, shared"
WAYS = (
    *(Way(ALL, zeros) for zeros in (0.0, 0.2, 0.4, 0.5, 0.6, 0.7)),
    *(Way(INNER, zeros, inner=True) for zeros in (0.2, 0.4, 0.5, 0.6, 0.7)),
    *(Way(SHARED, codes=codes) for codes in (32, 16)),
    *(Way(BOTH, zeros, inner=True, codes=codes) for zeros, codes in (
        (0.4, 16), (0.6, 32))))


def inner_layers(network: Network) -> list[str]:
    """All with weights but the first, the last, and those that read one channel an output."""
    layers = [layer for layer in network.layers if isinstance(layer, ir.MultiplyAccumulate)]
    return [layer.name for layer in layers[1:-1] if not isinstance(layer, ir.Depthwise)]


def changed(network: Network, way: Way) -> Network:
    """``network`` compressed."""
    if way.zeros:
        names = inner_layers(network) if way.inner else None
        network = integers.prune(
            network, dict.fromkeys(names, way.zeros) if names is not None else way.zeros)
    return network if way.codes is None else integers.share(network, way.codes)


def accuracy(network: Network, images: NDArray[Any], labels: NDArray[Any]) -> float:
    """That of the golden model."""
    right = 0
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        outputs = golden.run(network, images[part])
        right += int((outputs.reshape(len(outputs), -1).argmax(1) == labels[part]).sum())
    return right / len(images)


def measured(name: str, way: Way, args: argparse.Namespace) -> rows.Row:
    """One network, compressed in one way."""
    network, images, labels = opened(name, args.models, args.data)
    network = changed(network, way)
    values = [layer.weights.values for layer in network.layers
              if isinstance(layer, ir.MultiplyAccumulate)]
    return {"network": name, "series": way.series, "zeros_asked": way.zeros, "codes": way.codes,
            "weights": sum(one.size for one in values),
            "zeros": round(1 - sum(map(np.count_nonzero, values))
                           / sum(one.size for one in values), 4),
            "accuracy": accuracy(network, images, labels), "samples": len(images),
            **storage.planned(network, MULTIPLIERS)}


@cache
def opened(name: str, models: Path, data: Path
           ) -> tuple[Network, NDArray[np.int64], NDArray[Any]]:
    """The network, some images as it takes them, and their labels.

    They are spread over the file, which may be in the order of its classes.
    """
    kind = KINDS[name]
    path = data / kind.images
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except OSError as error:
        raise PenjingError(f"{path}: {error.strerror or error}; give the folder of the images "
                           f"with --data") from None
    step = max(1, len(x) // SAMPLES)
    images, labels = x[::step][:SAMPLES], y[::step][:SAMPLES]
    return (flow.load(models / kind.file, name=name).network,
            images.astype(np.int64) - kind.offset, labels)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    if args.models is None or args.data is None:
        raise PenjingError("--models and --data: the networks and images are not part of the "
                           "project; name their folders")
    every: dict[str, Callable[[], rows.Row]] = {
        f"{name}/{way.key}": partial(measured, name, way, args) for name in KINDS for way in WAYS}
    return rows.measure(FILE, every, args.only, COMMAND, "ai-edge-litert", "numpy")


def draw(result: dict[str, Any], what: str, label: str, path: Path) -> None:
    """Accuracy against ``what``, both networks."""
    styles = {ALL: "o-", INNER: "s-", SHARED: "^--", BOTH: "D:"}
    with plots.figure(path, width=8.4) as axes:
        for color, (name, kind) in zip(("tab:blue", "tab:orange"), KINDS.items(), strict=True):
            every = [row for row in result["rows"].values() if row["network"] == name]
            whole = [row for row in every if not row["zeros_asked"] and not row["codes"]]
            if not whole:
                continue
            (dense,) = whole
            for series, style in styles.items():
                some = [row for row in every if row["series"] == series]
                some = sorted([dense, *some] if series == INNER else some,
                              key=lambda row: -row[what])
                axes.plot([100 * row[what] / dense[what] for row in some],
                          [100 * row["accuracy"] for row in some], style, color=color,
                          markersize=4, linewidth=1, label=f"{kind.title}, {series}")
        finish(axes, f"{label}, % of those of the whole network")


def show(result: dict[str, Any]) -> None:
    """Print a row each, and draw both plots."""
    for name, kind in KINDS.items():
        common.show(f"{kind.title}, {SAMPLES:,} samples, {MULTIPLIERS} multipliers at most", (
            "way", "asked", "codes", "zeros", "accuracy", "weight bits", "cycles"), [
            (row["series"], f"{row['zeros_asked']:.0%}", row["codes"] or "",
             f"{row['zeros']:.1%}", f"{row['accuracy']:.1%}", f"{row['weight_bits']:,}",
             f"{row['cycles']:,}")
            for row in result["rows"].values() if row["network"] == name])
    draw(result, "weight_bits", "bits that the memories hold", PICTURES / PICTURE["weight_bits"])
    draw(result, "cycles", "cycles", PICTURES / PICTURE["cycles"])


def main() -> int:
    """Measure or read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    rows.options(parser, "ds_cnn/shared")
    parser.add_argument("--models", type=Path, help="folder of the two .tflite files")
    parser.add_argument("--data", type=Path, help="folder of kws01.npz and cifar10_test.npz")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
