"""ResNet-20 with few bits and no training: how ranges are chosen, and widths by importance.

All weights and maps have one width, or each layer's weights that which importance gives it under a
limit of stored bits; the normalization in front keeps 8 bits. Accuracy is of the network that
imitates the integers, which equal those of the golden model on some images.

    python bench/mixed_precision.py --run --models DIR --data DIR
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cifar_resnets
import common
import numpy as np
import torch
from penjing.compiler.compress import training
from penjing.compiler.compress.fixed_point import Mode, Precision, Precisions
from penjing.compiler.compress.fractions import pick
from penjing.compiler.compress.imitation import Imitable, imitable
from penjing.compiler.compress.importance import by_importance, importance
from penjing.compiler.compress.trainable import read
from penjing.compiler.ir import PenjingError
from penjing.sim import golden
from rich.progress import Progress

FILE = "mixed_precision.json"
MODES = (Mode.DYNAMIC, Mode.OUTPUT, Mode.DIVERGENCE)
BITS, AVERAGES = (8, 6, 5, 4), (5, 4, 3)
NORMALIZATION = {"sub": Precision(8, 8)}
SEARCH_IMAGES = 32
SAMPLES = 128
"""Training images that importance looks at."""


@dataclass(frozen=True)
class Study:
    """The networks by how their ranges are chosen, and the images that they are judged by."""

    networks: Mapping[Mode, Imitable]
    test: training.Data
    pixels: np.ndarray

    def accuracy(self, mode: Mode, bits: Precisions) -> float:
        """Share of the test images; the first must be as the golden model has them."""
        made = self.networks[mode].imitation(bits)
        module, few = made.model.module, self.pixels[:cifar_resnets.COMPARED]
        with torch.no_grad():
            found = module(self.test.prepare(self.test.images[:len(few)], None)).numpy()
        wanted = golden.run(made.network, few) * 2.0 ** -made.network.output_type.fraction
        if not np.array_equal(found, wanted.reshape(found.shape)):
            raise PenjingError("the imitation differs from the golden model")
        return training.accuracy(module, self.test)


def tensors(pixels: np.ndarray, labels: np.ndarray) -> training.Data:
    """Pixels (N, H, W, C) as the network takes them."""
    return training.Data(
        torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels),
        lambda batch, _: batch.float() / 255)


def run(models: Path, data: Path, count: int, progress: Progress) -> dict[str, Any]:
    """Both tables, by ``count`` test images, evenly picked."""
    calibration = cifar_resnets.calibration(data)
    x, y = (pick(values, count) for values in cifar_resnets.images(data))
    with tempfile.TemporaryDirectory() as folder:
        model = read(cifar_resnets.export(20, models, Path(folder) / "net.pt2"))
    study = Study({mode: imitable(model, calibration, mode=mode,
                                  images=SEARCH_IMAGES) for mode in MODES},
                  tensors(x, y), x)
    task = progress.add_task("ResNet-20", total=len(BITS) * len(MODES) + 2 * len(AVERAGES))

    def judged(mode: Mode, bits: Precisions) -> float:
        found = study.accuracy(mode, bits)
        progress.advance(task)
        return found

    uniform = [{"bits": bits, **{mode.value: judged(mode, Precisions(bits, bits, NORMALIZATION))
                                 for mode in MODES}} for bits in BITS]
    able = study.networks[Mode.DIVERGENCE]
    # The labels have no part in it.
    of = importance(able, tensors(calibration, np.zeros(len(calibration), np.int64)),
                    samples=SAMPLES)
    mixed = []
    for average in AVERAGES:
        found = by_importance(of, average * sum(of.counts.values()))
        weights = {name: Precision(found[name].weights) for name in of.counts}
        mixed.append({
            "average": average, "stored_bits": of.stored_bits(weights),
            "bits": {name: own.weights for name, own in weights.items()},
            "mixed": judged(Mode.DIVERGENCE, Precisions(
                8, 8, {**weights, **NORMALIZATION})),
            "uniform": judged(Mode.DIVERGENCE, Precisions(average, 8, NORMALIZATION))})
    return {**common.stamp(f"python bench/mixed_precision.py --run --images {len(y)}", "torch",
                           "numpy"),
            "images": len(y), "float": training.accuracy(able.model.module, study.test),
            "weights": sum(of.counts.values()), "uniform": uniform, "mixed": mixed}


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    common.show(f"ResNet-20 on {result['images']} images, float {result['float']:.2%}",
                ("bits", *(mode.value for mode in MODES)),
                [(row["bits"], *(f"{row[mode.value]:.2%}" for mode in MODES))
                 for row in result["uniform"]])
    common.show("Bits of weights by importance, 8-bit maps",
                ("average", "all alike", "by importance", "bits stored"),
                [(row["average"], f"{row['uniform']:.2%}", f"{row['mixed']:.2%}",
                  f"{row['stored_bits']:,}") for row in result["mixed"]])


def main() -> int:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure anew")
    parser.add_argument("--models", type=Path, help="the folder of resnet20.npz")
    parser.add_argument("--data", type=Path, help="that of cifar10_test.npz and cifar10_train")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    if args.run and not (args.models and args.data):
        parser.error("--run needs --models and --data")

    def measured() -> dict[str, Any]:
        with common.progress_bar() as bar:
            result = run(args.models, args.data, args.images, bar)
        common.write(FILE, result)
        return result

    return common.present(FILE, measured, show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
