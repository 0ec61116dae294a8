"""What a teacher adds: small, pruned and binary networks trained with and without one.

The teacher is the Fashion-MNIST CNN of ``examples/fashion_mnist`` (Hinton 2015). ``student`` is a
network of a quarter of its channels, from scratch; ``few`` the same from three of a hundred of the
images, as Hinton's speech recognizer; ``pruned`` that CNN with a tenth of its
weights, retrained; ``binary`` the network of -1 and +1 of ``examples/binary`` that fits an
iCEBreaker, whose teacher's answers are all that counts, as ReActNet has it. Each is trained with
three seeds, on the first so many training images, with and without a teacher; the test images
judge all.

Without an option it prints the stored results; ``--run`` measures what is missing, ``--only`` some
rows anew.

    python bench/distillation.py --run --data DATA
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import common
import fashion_training as fashion
import numpy as np
import rows
import torch
from penjing.compiler.compress import training
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.prune import Each, Masks, Round, prune
from penjing.compiler.compress.training import Loss, Settings, cross_entropy
from torch import Tensor, nn

FILE = "distillation.json"
COMMAND = "python bench/distillation.py --run"
SEEDS = (1, 2, 3)
WIDTH, ZEROS, TEMPERATURE = 0.25, 0.9, 1.0
"""The temperature is the better one of 1 and 2, and the shares of students below that of 0.5 and
0.9, on 5,000 training images of which nothing here is trained. The teacher is not sure of itself:
divided by more, its answers are hardly told apart.
"""


@dataclass(frozen=True)
class Study:
    """How many ``images`` there are, how they are trained with, and the teacher's ``share``."""

    images: int
    settings: Settings
    share: float


STUDIES: Mapping[str, Study] = {
    "few": Study(1_800, Settings(60, batch=100, learning_rate=3e-3), 0.9),
    "student": Study(20_000, Settings(8, batch=100, learning_rate=3e-3), 0.5),
    "pruned": Study(10_000, Settings(3, batch=100, learning_rate=1e-3), 0.9),
    "binary": Study(20_000, Settings(5, batch=100, learning_rate=3e-3), 1.0)}


@cache
def binary() -> ModuleType:
    """``examples/binary/train.py``, whose name another example's file has, too."""
    path = Path(__file__).resolve().parents[1] / "examples" / "binary" / "train.py"
    found = importlib.util.spec_from_file_location("binary_train", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look for it
    found.loader.exec_module(module)
    return module


def made(study: str, seed: int, args: argparse.Namespace) -> tuple[nn.Module, Masks]:
    """The network before it is trained, and which weights it keeps."""
    torch.manual_seed(seed)
    if study in ("student", "few"):
        return fashion.build(WIDTH), Masks()
    if study == "binary":
        return binary().build(binary().KINDS["small"]), Masks()
    module = fashion.shipped().module
    done = prune(module, fashion.images(args.data, "train", STUDIES[study].images),
                 [Round(Each(ZEROS))])
    return module, done.masks


def loss(study: str, is_taught: bool) -> Loss:
    """That of labels alone, or of the teacher's answers, too."""
    inner = cross_entropy if not is_taught else Distillation(
        fashion.shipped().module, temperature=TEMPERATURE, alpha=STUDIES[study].share)
    if study != "binary":
        return inner
    # Outputs are sums of signs.
    scale = binary().KINDS["small"].temperature

    def scaled(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        return inner(x, outputs / scale, labels)

    return scaled


def row(study: str, is_taught: bool, seed: int, args: argparse.Namespace) -> rows.Row:
    """The accuracy of a network that is trained."""
    how = STUDIES[study]
    module, masks = made(study, seed, args)
    settings = replace(how.settings, seed=seed)
    training.fit(module, fashion.images(args.data, "train", how.images), settings,
                 loss=loss(study, is_taught), after_step=masks.on(module))
    test = fashion.images(args.data, "t10k")
    return {"study": study, "taught": is_taught, "seed": seed, "images": how.images,
            "share": how.share if is_taught else 0.0,
            "epochs": settings.epochs, "learning_rate": settings.learning_rate,
            "accuracy": training.accuracy(module, test), "samples": len(test.images)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    every: dict[str, Callable[[], rows.Row]] = {
        f"{study}/{'taught' if is_taught else 'alone'}/{seed}": partial(
            row, study, is_taught, seed, args)
        for study in STUDIES for is_taught in (False, True) for seed in SEEDS}
    return rows.measure(FILE, every, args.only, COMMAND, "torch")


def means(result: dict[str, Any], study: str) -> tuple[list[float], list[float]]:
    """The accuracies without and with a teacher."""
    return tuple([one["accuracy"] for one in rows.of(result, study) if one["taught"] is is_taught]
                 for is_taught in (False, True))  # type: ignore[return-value]


def show(result: dict[str, Any]) -> None:
    """Print means and spreads."""
    common.show("Distillation", ("study", "alone", "taught", "gain, points"), [
        (study, *(f"{np.mean(some):.2%} ({min(some):.2%} to {max(some):.2%})"
                  for some in found), f"{100 * (np.mean(found[1]) - np.mean(found[0])):+.2f}")
        for study in STUDIES if all(found := means(result, study))])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    raise SystemExit(main())
