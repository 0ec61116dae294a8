"""Layers of low rank, without training: accuracy by method and by how much of the work goes.

The Fashion-MNIST CNN of ``examples/fashion_mnist`` and VGG-16 on CIFAR-10 (its dense arrays) lose
shares of all their multiply-accumulates by Zhang's three methods, which see training images alone;
``tensors`` makes CP and Tucker-2 of single layers and of the network, with and without one epoch of
training behind it, or three. The test images judge all. Without an option it prints the stored
results; ``--run`` measures what is missing, at last VGG-16 of the folders ``--models`` and
``--cifar`` (five minutes of the processor a row, twenty where it is trained); ``--only`` some rows
anew.

    python bench/low_rank.py --run --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import common
import fashion_training as fashion
import rows
import torch
from penjing.compiler.compress import trainable, training
from penjing.compiler.compress.blending import blended
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.low_rank import Method, factored
from penjing.compiler.compress.low_rank.chains import places
from penjing.compiler.compress.trainable import Trainable
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.ir import PenjingError

FILE = "low_rank.json"
COMMAND = "python bench/low_rank.py --run"
VGG16 = Path(__file__).resolve().parents[1] / "examples" / "vgg16"
DENSE = ("vgg16_cifar10_a.npz", "vgg16_cifar10_b.npz")
SPEEDUPS = (2, 3, 4, 5)
METHODS = (Method.LINEAR, Method.NONLINEAR, Method.ASYMMETRIC)
SAMPLES: Mapping[str, int] = {"fashion": 3000, "vgg16": 3000}
"""Training images that responses are taken of."""
Ratio: TypeAlias = Mapping[str, float] | float | None
_LAST = {f"conv{stage}_{number}": ratio
         for stage, count, ratio in ((1, 2, 0.54), (2, 2, 0.54), (3, 3, 0.665), (4, 3, 0.765),
                                     (5, 3, 0.765))
         for number in range(1, count + 1) if (stage, number) != (1, 1)}
"""A third of the multiply-accumulates is left then, and a quarter of the weights: the last layers
have most of these."""
TENSORS: Mapping[str, Mapping[str, tuple[Method, Ratio, int]]] = {
    "fashion": {
        "cp_conv4": (Method.CP, {"conv4": 0.75}, 0),
        "cp_conv4_trained": (Method.CP, {"conv4": 0.75}, 1),
        "tucker_conv4": (Method.TUCKER, {"conv4": 0.75}, 0),
        "tucker": (Method.TUCKER, 0.5, 0), "tucker_trained": (Method.TUCKER, 0.5, 1),
        "tucker_noise": (Method.TUCKER, None, 0), "tucker_noise_trained": (Method.TUCKER, None, 1)},
    "vgg16": {
        "cp_conv2_2": (Method.CP, {"conv2_2": 0.75}, 0),
        "tucker": (Method.TUCKER, 0.75, 0), "tucker_trained": (Method.TUCKER, 0.75, 3),
        "tucker_last": (Method.TUCKER, _LAST, 0), "tucker_last_trained": (Method.TUCKER, _LAST, 3)}}
"""By name the method, what goes (None: what is noise), and epochs of training behind it."""


@dataclass(frozen=True)
class Retraining:
    """Of so many ``images``; ``taught``, by the whole network's answers to images that are blended,
    in bfloat16."""

    images: int
    settings: Settings
    taught: bool = False

    def train(self, network: Trainable, whole: Trainable, data: Data, epochs: int) -> None:
        """Train ``network`` in place, which was the ``whole``."""
        settings = replace(self.settings, epochs=epochs)
        if self.taught:
            from compress import Fast

            training.fit(Fast(network.module), replace(data, prepare=blended(data.prepare)),
                         settings, loss=Distillation(Fast(whole.module), alpha=1.0))
        else:
            training.fit(network.module, data, settings)


RETRAINING: Mapping[str, Retraining] = {
    "fashion": Retraining(10_000, Settings(learning_rate=1e-3)),
    "vgg16": Retraining(50_000, Settings(batch=100, learning_rate=5e-4), taught=True)}


@cache
def vgg16(models: Path) -> Trainable:
    """The dense network, for pixels from 0 to 1."""
    sys.path.append(str(VGG16))
    from compress import modules
    from network import INPUT, dense

    network = trainable.read(modules(dense([models / name for name in DENSE])), INPUT)
    network.module.to(memory_format=torch.channels_last)
    return network


@cache
def cifar(folder: Path, split: str) -> Data:
    """Images of CIFAR-10."""
    sys.path.append(str(VGG16))
    from cifar_resnets import images
    from compress import pixels_of, varied
    from evaluate import MOSAIC

    if split == "test":
        x, y = images(folder)
        return Data(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y), varied)
    return Data(*pixels_of(folder, RETRAINING["vgg16"].images // MOSAIC), varied)


def sets(name: str, args: argparse.Namespace) -> tuple[Trainable, Data, Data]:
    """A network, what it is fitted with, and what judges it."""
    if name == "vgg16":
        if args.models is None or args.cifar is None:
            raise PenjingError("VGG-16: its arrays and images are no part of the project; name "
                               "where they are with --models and --cifar")
        return vgg16(args.models), cifar(args.cifar, "training"), cifar(args.cifar, "test")
    return (fashion.shipped(), fashion.images(args.data, "train", RETRAINING[name].images),
            fashion.images(args.data, "t10k"))


def macs(network: Trainable) -> int:
    """Multiply-accumulates of all layers."""
    seen = places(network)
    return sum(seen[name].macs(layer) for name, layer in network.layers.items())


def row(name: str, method: Method | None, ratio: Ratio, epochs: int, args: argparse.Namespace
        ) -> rows.Row:
    """How good the network is whose layers ``method`` made, None for none."""
    whole, fitted, test = sets(name, args)
    before, weights = macs(whole), _weights(whole)
    network = whole if method is None else factored(whole, method, ratio, fitted,
                                                    samples=SAMPLES[name])
    if epochs:
        RETRAINING[name].train(network, whole, fitted, epochs)
    return {"network": name, "method": method.value if method else "whole", "epochs": epochs,
            "ratio": dict(ratio) if isinstance(ratio, Mapping) else ratio,
            "macs": macs(network), "macs_before": before, "weights": _weights(network),
            "weights_before": weights, "samples": SAMPLES[name] if method else 0,
            "accuracy": training.accuracy(network.module, test), "images": len(test.images),
            "layers": {part: list(layer.weight.shape) for part, layer in network.layers.items()}}


def _weights(network: Trainable) -> int:
    return sum(layer.weight.numel() for layer in network.layers.values())


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    every: dict[str, Callable[[], rows.Row]] = {}
    for name in SAMPLES:
        every[f"{name}/whole"] = partial(row, name, None, None, 0, args)
        every |= {f"{name}/{method.value}/{speedup}": partial(
                      row, name, method, 1 - 1 / speedup, 0, args)
                  for speedup in SPEEDUPS for method in METHODS}
        every |= {f"{name}/tensors/{key}": partial(row, name, *what, args)
                  for key, what in TENSORS[name].items()}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "tensorly")


def show(result: dict[str, Any]) -> None:
    """Print all rows."""
    common.show("Low rank", ("what", "epochs", "multiply-accumulates", "times fewer", "weights",
                             "times fewer", "accuracy"), [
        (key, one["epochs"], f"{one['macs']:,}", f"{one['macs_before'] / one['macs']:.2f}",
         f"{one['weights']:,}", f"{one['weights_before'] / one['weights']:.2f}",
         f"{one['accuracy']:.2%}") for key, one in result["rows"].items()])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    parser.add_argument("--models", type=Path, help=f"folder of {' and '.join(DENSE)}")
    parser.add_argument("--cifar", type=Path, help="folder of cifar10_test.npz and cifar10_train")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
