"""Two networks that Xilinx trained for BNN-PYNQ, built from plain arrays.

LFC-W1A1 (MNIST, dense layers of 1,024) and CNV-W1A1 (CIFAR-10, six convolutions) are published as
arrays of -1 and +1, with thresholds on counts of matching bits. This makes integer networks of
them, tells their accuracy on all test images, and writes what `penjing compile` and `penjing
evaluate` take::

    python examples/binary/bnn_pynq.py --models DIR --data DIR [--out DIR]

``--models`` is a folder with ``lfc_w1a1.npz`` and ``cnv_w1a1.npz``, ``--data`` one with
``mnist.npz`` (x_test, y_test) and ``cifar10_test.npz`` (x, y).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from penjing.compiler import file
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.compiler.load.arrays import ArrayNetwork, matching
from penjing.sim import golden
from rich.console import Console
from rich.progress import track

CLASSES = 10
"""Of the 64 outputs that the networks have, how many count."""
BATCH = 50

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Images:
    """The integers (N, H, W, C) that a network takes, and their labels (N,)."""

    x: Integers
    y: Integers


def arrays(path: Path) -> Arrays:
    """All arrays in the file ``path``."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError) as error:
        raise PenjingError(f"{path}: cannot be read ({error}); give its folder") from None


def lfc(path: Path) -> Network:
    """LFC-W1A1: 784 pixels to the label, the highest class whose bit is set, or 0."""
    stored = arrays(path)
    net = ArrayNetwork("lfc_w1a1", TensorType((1, 1, 784), 8, False))
    net.sign(128)
    for n in range(4):
        weights, counts = stored[f"layer{n}_weights"], stored[f"layer{n}_thresholds"]
        thresholds = matching(counts, inputs=weights.shape[1], strict=True)
        if n == 0:
            # The 784 bits were padded to 832 with zeros, which stand for -1: so much is missing.
            thresholds += weights[:, 784:].sum(1)
            weights = weights[:, :784]
        elif n == 3:
            weights, thresholds = weights[:CLASSES], thresholds[:CLASSES]
        net.dense(weights)
        net.sign(thresholds)
    # ±1 to ±10: the greatest is the highest that is set, or the first where none is.
    net.depthwise(np.arange(1, CLASSES + 1).reshape(-1, 1, 1), name="rank")
    net.argmax(name="label")
    return net.network()


def cnv(path: Path) -> Network:
    """CNV-W1A1: images (32, 32, 3) of 8-bit integers to ten integers, the greatest of which wins.

    Floats from -1 to 1 become the integers by 128 steps, as the network was trained.
    """
    stored = arrays(path)
    net = ArrayNetwork("cnv_w1a1", TensorType((32, 32, 3), 8, True, fraction=7))
    for n in range(6):
        weights, counts = stored[f"layer{n}_weights"], stored[f"layer{n}_thresholds"]
        net.convolution(weights)
        # The first layer adds integers, and compares 2 * acc > t; the others count matching bits.
        net.sign(np.floor_divide(counts, 2) + 1 if n == 0
                 else matching(counts, inputs=weights[0].size, strict=True))
        if n in (1, 3):
            net.max_pool(2)
    for n in (6, 7):
        weights = stored[f"layer{n}_weights"]
        net.dense(weights)
        net.sign(matching(stored[f"layer{n}_thresholds"], inputs=weights.shape[1], strict=True))
    net.dense(stored["layer8_weights"][:CLASSES])
    return net.network()


def mnist(path: Path, count: int | None = None) -> Images:
    """The first ``count`` test images of MNIST as LFC takes them: pixels (N, 1, 1, 784)."""
    stored = arrays(path)
    x, y = stored["x_test"][:count], stored["y_test"][:count]
    return Images(x.reshape(len(x), 1, 1, -1).astype(np.int64), y.astype(np.int64))


def cifar10(path: Path, count: int | None = None) -> Images:
    """The first ``count`` test images of CIFAR-10 as CNV takes them: (N, 32, 32, 3)."""
    stored = arrays(path)
    x, y = stored["x"][:count], stored["y"][:count]
    steps = np.rint((x / 255 * 2 - 1) * 128)
    return Images(np.clip(steps, -128, 127).astype(np.int64), y.astype(np.int64))


def correct(network: Network, images: Images) -> int:
    """How many of ``images`` the golden model classifies as their labels say."""
    right = 0
    for start in track(range(0, len(images.x), BATCH), network.name, console=Console(stderr=True),
                       transient=True):
        outputs = golden.run(network, images.x[start:start + BATCH]).reshape(
            -1, network.output_type.elements)
        labels = outputs[:, 0] if outputs.shape[1] == 1 else outputs.argmax(1)
        right += int((labels == images.y[start:start + BATCH]).sum())
    return right


NETWORKS: dict[str, tuple[Callable[[Path], Network], Callable[[Path], Images], str]] = {
    "lfc_w1a1": (lfc, mnist, "mnist.npz"), "cnv_w1a1": (cnv, cifar10, "cifar10_test.npz")}
"""How to make each network and its test images, and the file of these."""


def main() -> int:
    """Build both networks, write them if asked to, and print their accuracies as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the two .npz files")
    parser.add_argument("--data", type=Path, required=True, help="folder of the test images")
    parser.add_argument("--out", type=Path, help="folder for .penjing files and their images")
    options = parser.parse_args()
    for name, (build, read, images) in NETWORKS.items():
        network, test = build(options.models / f"{name}.npz"), read(options.data / images)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            file.save(network, options.out / f"{name}.penjing")
            np.savez_compressed(options.out / f"{name}_test.npz", x=test.x.astype(np.int16),
                                y=test.y)
        right = correct(network, test)
        print(json.dumps({"network": name, "macs": network.macs, "samples": len(test.y),
                          "correct": right, "accuracy": right / len(test.y)}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PenjingError as error:
        print(f"bnn_pynq: error: {error}", file=sys.stderr)
        sys.exit(2)
