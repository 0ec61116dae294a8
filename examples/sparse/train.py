"""Train small networks, prune 90 % of each layer's weights, and make integer networks of them.

LeNet-5 and LeNet-300-100 for MNIST, the latter twice, from different seeds, and the network of
``examples/fashion_mnist``. Of each layer the weights of least magnitude become 0, in steps between
which the others are trained on (Han 2015). Weights then have 8 bits; those of LeNet-300-100 are
shared besides, 16 values a layer::

    python examples/sparse/train.py --data DIR                # all, a few minutes each
    python examples/sparse/train.py --data DIR --only lenet5
    python examples/sparse/train.py                           # the table of what is stored

``DIR`` holds ``mnist.npz`` (``x_train y_train x_test y_test``) and a folder ``fashion_mnist`` of
the four ``.gz`` files. Each network leaves ``<name>.penjing``, which `penjing compile` takes, in
``--out``, and a row in ``bench/results/sparse_networks.json``. A training that was interrupted goes
on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from penjing.compiler import file, ir
from penjing.compiler.compress import fixed_point, training
from penjing.compiler.compress.prune import L1, Each, layers_of, select
from penjing.compiler.compress.sharing import share
from penjing.compiler.ir import Network
from penjing.compiler.load import torch as pytorch
from penjing.flow import data
from penjing.sim import golden
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1] / "bench"), str(HERE.parent / "fashion_mnist")]

import common  # noqa: E402
import model as fashion  # noqa: E402
from fashion_mnist import read_split  # noqa: E402

FILE = "sparse_networks.json"
STEPS = ((0.0, 4), (0.7, 1), (0.9, 5))
"""Shares of zeros, and the epochs that follow."""
CALIBRATION = 256
BATCH = 250


@dataclass(frozen=True)
class Kind:
    """One network: how it is built, what it takes, and from where.

    ``codes`` is the number of values that a layer's weights share, None if they do not.
    """

    title: str
    build: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    mnist: bool = True
    seed: int = 1
    codes: int | None = None


def lenet5() -> nn.Sequential:
    """LeCun's network of 1998 with ReLU and max pools, on 28 × 28 pixels without a border."""
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 6, 5), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(), dense1=nn.Linear(256, 120), relu3=nn.ReLU(),
        dense2=nn.Linear(120, 84), relu4=nn.ReLU(), dense3=nn.Linear(84, 10)))


def lenet_300_100() -> nn.Sequential:
    """LeCun's network of three dense layers."""
    return nn.Sequential(OrderedDict(
        dense1=nn.Linear(784, 300), relu1=nn.ReLU(), dense2=nn.Linear(300, 100), relu2=nn.ReLU(),
        dense3=nn.Linear(100, 10)))


KINDS: dict[str, Kind] = {
    "lenet_300_100_a": Kind("LeNet-300-100, 16 codes", lenet_300_100, (784,), codes=16),
    "lenet_300_100_b": Kind("LeNet-300-100, another seed", lenet_300_100, (784,), seed=2,
                            codes=16),
    "lenet5": Kind("LeNet-5", lenet5, (28, 28, 1)),
    "fashion": Kind("Fashion-MNIST CNN", fashion.build, (28, 28, 1), mnist=False)}


def read(kind: Kind, folder: Path, split: str, count: int | None) -> training.Data:
    """The first ``count`` images of the split "train" or "test", as the network takes them."""
    if kind.mnist:
        held = data.arrays(folder / "mnist.npz", (f"x_{split}", f"y_{split}"),
                           way_out="give the folder of MNIST's arrays with --data")
        images, labels = held[f"x_{split}"], held[f"y_{split}"].astype(np.int64)
    else:
        images, labels = read_split(folder / "fashion_mnist", {"test": "t10k"}.get(split, split))
    whole = images[:count].reshape(-1, 28, 28)
    stored = whole.reshape(-1, *kind.shape) if len(kind.shape) == 1 else whole[:, None]
    return training.Data(torch.from_numpy(stored.copy()), torch.from_numpy(labels[:count]),
                         as_input)


def as_input(images: Tensor, _: torch.Generator | None) -> Tensor:
    """Pixels as the model takes them: pixel / 256, so that fixed point holds them exactly."""
    return images.to(torch.float32) / 256


def integers(name: str, model: nn.Module, calibration: Tensor) -> Network:
    """The integer network of the trained ``model``; ``calibration`` are pixels as stored."""
    kind = KINDS[name]
    floats = pytorch.from_module(model, kind.shape)
    if kind.codes is not None:
        floats = share(floats, kind.codes)
    pixels = calibration.numpy().reshape(len(calibration), *kind.shape)
    return fixed_point.quantize(floats, pixels, name=name, input_scale=1 / 256)


def accuracy(network: Network, test: training.Data) -> float:
    """That of the golden model."""
    right = 0
    for start in range(0, len(test.images), BATCH):
        images, labels = (one[start:start + BATCH].numpy() for one in (test.images, test.labels))
        outputs = golden.run(network, images.astype(np.int64).reshape(
            len(images), *network.input_type.shape))
        right += int((outputs.reshape(len(images), -1).argmax(1) == labels).sum())
    return right / len(test.images)


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train and prune one network, store it, and tell how good it is."""
    kind = KINDS[name]
    images, test = (read(kind, args.data, split, args.images) for split in ("train", "test"))
    torch.manual_seed(kind.seed)
    model = kind.build().to(memory_format=torch.channels_last)
    accuracies, checkpoints = [], []
    started = time.process_time()
    for number, (zeros, epochs) in enumerate(STEPS):
        settings = training.Settings(args.epochs or epochs, batch=args.batch,
                                     learning_rate=args.learning_rate, seed=kind.seed)
        checkpoints.append(args.out / f"{name}.{number}.training")
        masks = select(model, layers_of(model), Each(zeros), L1())
        masks.apply(model)
        with common.progress_bar() as bar:
            task = bar.add_task(name, total=None)
            training.fit(
                model, images, settings, after_step=masks.on(model), checkpoint=checkpoints[-1],
                progress=lambda done, total, line, zeros=zeros, bar=bar, task=task: bar.update(
                    task, completed=done, total=total,
                    description=f"{name}, {zeros:.0%} zeros {line}"))
        accuracies.append(training.accuracy(model, test))
    seconds = time.process_time() - started
    network = integers(name, model, images.images[:CALIBRATION])
    file.save(network, args.out / f"{name}.penjing", compressed=True)
    for checkpoint in checkpoints:
        checkpoint.unlink()
    return {"network": name, "title": kind.title, "dense_float": accuracies[0],
            "sparse_float": accuracies[-1], "accuracy": accuracy(network, test),
            "samples": len(test.images), "layers": layers(network), "macs": network.macs,
            "file_bytes": (args.out / f"{name}.penjing").stat().st_size, "steps": STEPS,
            "settings": asdict(settings), "images": len(images.images),
            "threads": args.threads, "cpu_seconds": round(seconds)}


def layers(network: Network) -> list[dict[str, Any]]:
    """What is in each layer with weights."""
    return [{"layer": layer.name, "weights": layer.weights.values.size,
             "nonzeros": int(np.count_nonzero(layer.weights.values)),
             "codes": len(layer.weights.codebook)}
            for layer in network.layers if isinstance(layer, ir.MultiplyAccumulate)]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Each network that was asked for; stored rows of the others are kept."""
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    # That also fills all memory that nothing is in yet, which takes a quarter of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = common.stamp("python examples/sparse/train.py --data DIR", "torch", "numpy")
    rows = {row["network"]: row for row in common.read(FILE).get("rows", [])}
    for name in args.only:
        rows[name] = {**study(name, args), **stamp}
        common.write(FILE, {"rows": [rows[kind] for kind in KINDS if kind in rows]})
    return common.read(FILE)


def show(result: dict[str, Any]) -> None:
    """Print a row a network, then one a layer."""
    common.show("Networks with 90 % zeros", (
        "network", "dense, float", "sparse, float", "integers", "bytes"), [
        (row["title"], *(f"{row[what]:.2%}" for what in (
            "dense_float", "sparse_float", "accuracy")), f"{row['file_bytes']:,}")
        for row in result["rows"]])
    common.show("Their layers", ("layer", "weights", "nonzeros", "zeros", "codes"), [
        (f"{row['network']} {layer['layer']}", f"{layer['weights']:,}", f"{layer['nonzeros']:,}",
         f"{1 - layer['nonzeros'] / layer['weights']:.1%}", layer["codes"])
        for row in result["rows"] for layer in row["layers"]])


def main() -> int:
    """Train if data are given; print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of mnist.npz and fashion_mnist; without "
                                                  "it, the stored results are printed")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the networks")
    parser.add_argument("--epochs", type=int, help="of each step, in place of its own")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--images", type=int, help="use the first so many of each split only")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.data is not None,
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
