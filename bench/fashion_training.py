"""The network of ``examples/fashion_mnist`` and its images, for the benches that prune it."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path

import rows
import torch
from fashion_mnist import read_split
from penjing.compiler.compress import trainable
from penjing.compiler.compress.training import Data
from torch import Tensor

__all__ = ["build", "images", "options", "prepare", "shipped"]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "fashion_mnist"

sys.path += [str(EXAMPLE)]

import train  # noqa: E402
from model import build  # noqa: E402


def prepare(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Pixels (N, 28, 28) as the network takes them; in training mirrored and shifted at random."""
    if generator is not None:
        padded = torch.nn.functional.pad(images, (train.MAX_SHIFT,) * 4)
        images = train.augment(padded, torch.arange(len(images)), generator)
    return train.as_input(images)


@cache
def images(folder: Path, split: str, count: int | None = None) -> Data:
    """The first ``count`` images of "train" or "t10k", or all."""
    pixels, labels = read_split(folder, split)
    return Data(torch.from_numpy(pixels[:count, ..., 0].copy()), torch.from_numpy(labels[:count]),
                prepare)


def shipped() -> trainable.Trainable:
    """The network that the example has trained, on all training images."""
    network = trainable.read(EXAMPLE / "fashion_mnist.pt2")
    # Twice as fast to train.
    network.module.to(memory_format=torch.channels_last)
    return network


def options(parser: argparse.ArgumentParser) -> None:
    """Those of a bench that trains."""
    rows.options(parser, "criteria/obd")
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the four .gz files")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
