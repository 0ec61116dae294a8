"""Large and sparse, or small and dense? The network of ``examples/fashion_mnist`` in both.

Narrower networks are trained from the start; the whole one is trained, and then pruned gradually,
for as many epochs in all. Both become integers of 8 bits. Told are their accuracy, the bits that
the hardware stores, and the cycles of the plan for ULX3S-85F with as many multipliers for all.
Without an option it prints the stored results and draws them; ``--run`` measures what is missing
(half a minute of the processor each), ``--only`` some rows anew.

    python bench/sparse_or_small.py --run --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import common
import fashion_training as fashion
import rows
import storage
import torch
from accuracy_plots import PICTURES, finish
from penjing.compiler.compress import fixed_point, training
from penjing.compiler.compress.prune import (
    L1,
    Criterion,
    Each,
    Gradual,
    LayerAdaptive,
    Overall,
    layers_of,
    prune,
)
from penjing.compiler.compress.prune.amounts import Ratio
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.ir import Network
from penjing.compiler.load import torch as pytorch
from penjing.flow import plots
from penjing.sim.oracles import torch as oracle
from torch import nn

FILE = "sparse_or_small.json"
COMMAND = "python bench/sparse_or_small.py --run"
SMALL, SPARSE, ADAPTIVE = "small, dense", "large, sparse", "large, sparse, layer-adaptive"
PRUNED: Mapping[str, tuple[Callable[[float], Ratio], Criterion]] = {
    SPARSE: (Each, L1()), ADAPTIVE: (Overall, LayerAdaptive())}
"""How large networks are pruned: as much of each layer by magnitude, or of all together."""
WIDTHS = (1.0, 0.5, 0.25, 0.125)
ZEROS = (0.5, 0.8, 0.9, 0.95)
IMAGES, CALIBRATION, MULTIPLIERS = 10_000, 256, 32
BEFORE, PRUNING = 4, 3
"""Epochs before the large network is pruned, and while it is; the others have all of them."""
RATES = {BEFORE: 5e-3, PRUNING: 2e-3, BEFORE + PRUNING: 5e-3}
UPDATES = 10
PICTURE = {"weight_bits": "sparse_or_small_bits.svg", "cycles": "sparse_or_small_cycles.svg"}


def settings(epochs: int) -> Settings:
    """How so many epochs are trained."""
    return Settings(epochs, learning_rate=RATES[epochs])


def trained(width: float, epochs: int, data: Data, checkpoint: Path) -> nn.Sequential:
    """A network, trained from the start; again only where ``checkpoint`` is not there."""
    torch.manual_seed(1)
    model = fashion.build(width).to(memory_format=torch.channels_last)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    training.fit(model, data, settings(epochs), checkpoint=checkpoint)
    return model


def small(width: float, data: Path, work: Path) -> rows.Row:
    """A dense network."""
    images = fashion.images(data, "train", IMAGES)
    model = trained(width, BEFORE + PRUNING, images, work / f"small_{width}")
    return {"series": SMALL, "width": width, **judged(model, data)}


def sparse(series: str, zeros: float, data: Path, work: Path) -> rows.Row:
    """The whole network, pruned."""
    amount, criterion = PRUNED[series]
    images = fashion.images(data, "train", IMAGES)
    model = trained(1.0, BEFORE, images, work / "large")
    chosen = settings(PRUNING)
    every = 2 * chosen.steps(IMAGES) // (3 * UPDATES)
    prune(model, images, Gradual(amount(zeros), chosen, every=every, updates=UPDATES),
          criterion=criterion)
    return {"series": series, "width": 1.0, "share": zeros, **judged(model, data)}


def judged(model: nn.Sequential, data: Path) -> dict[str, Any]:
    """Its accuracy, as floats and as integers, and its hardware."""
    test, images = fashion.images(data, "t10k"), fashion.images(data, "train", IMAGES)
    held = [layer.weight.detach() for layer in layers_of(model).values()]
    network = fixed_point.quantize(
        pytorch.from_module(model, (28, 28, 1)), images.images[:CALIBRATION, ..., None].numpy(),
        name="fashion", input_scale=1 / 255)
    return {"weights": sum(one.numel() for one in held),
            "nonzeros": sum(int(one.count_nonzero()) for one in held),
            "float_accuracy": training.accuracy(model, test), "accuracy": accuracy(network, test),
            "samples": len(test.images), "images": IMAGES, "epochs": BEFORE + PRUNING,
            "settings": {epochs: asdict(settings(epochs)) for epochs in RATES},
            **storage.planned(network, MULTIPLIERS)}


def accuracy(network: Network, test: Data) -> float:
    """That of the integer ``network``."""
    outputs = oracle.run(network, test.images[..., None].numpy().astype("int64"))
    return float((outputs.reshape(len(outputs), -1).argmax(1) == test.labels.numpy()).mean())


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    every: dict[str, Callable[[], rows.Row]] = {
        **{f"small/{width}": partial(small, width, args.data, args.work) for width in WIDTHS},
        **{f"{key}/{zeros}": partial(sparse, series, zeros, args.data, args.work)
           for key, series in (("sparse", SPARSE), ("adaptive", ADAPTIVE)) for zeros in ZEROS}}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "numpy")


def show(result: dict[str, Any]) -> None:
    """Print a row each, and draw both plots."""
    every = list(result["rows"].values())
    common.show(f"Fashion-MNIST, {MULTIPLIERS} multipliers at most", (
        "network", "width", "weights", "not 0", "accuracy", "weight bits", "cycles", "LUTs"), [
        (row["series"], row["width"], f"{row['weights']:,}", f"{row['nonzeros']:,}",
         f"{row['accuracy']:.2%}", f"{row['weight_bits']:,}", f"{row['cycles']:,}",
         f"{row['luts']:,}") for row in every])
    for what, label in (("weight_bits", "bits that the memories hold"), ("cycles", "cycles")):
        with plots.figure(PICTURES / PICTURE[what], width=8.4) as axes:
            for series in (SMALL, *PRUNED):
                some = sorted((row for row in every if row["series"] == series),
                              key=lambda row: row[what])
                axes.plot([row[what] for row in some], [100 * row["accuracy"] for row in some],
                          "o-", label=series)
            axes.set_xscale("log")
            finish(axes, label)


def main() -> int:
    """Measure or read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    parser.add_argument("--work", type=Path, default=Path("build", "sparse_or_small"),
                        help="folder of the checkpoints")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
