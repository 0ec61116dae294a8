"""What pruning costs the network of ``examples/fashion_mnist``: by layer, criterion, unit, timing.

The network that the example leaves is pruned, trained on or not, and judged by its test images.
``sensitivity`` prunes one layer alone; ``criteria`` choose single weights; ``granularities`` prune
units of them, the first layer left whole, since it has few; ``channels`` takes whole ones out by
each criterion, or, by LASSO, lets layers read fewer; ``timings`` train equally long in one shot, in
rounds, or gradually. Without an option it prints the stored results and draws them;
``--run`` measures what is missing (twenty minutes of the processor), ``--only`` some rows anew.

    python bench/pruning.py --run --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import common
import fashion_training as fashion
import rows
import torch
from accuracy_plots import PICTURES, finish
from penjing.compiler.compress import training
from penjing.compiler.compress.pipeline import Pipeline
from penjing.compiler.compress.prune import (
    L1,
    Amount,
    Criterion,
    Deviations,
    Each,
    Gradual,
    Granularity,
    LayerAdaptive,
    NofM,
    OptimalBrainDamage,
    Overall,
    Round,
    flattened_maps,
    geometric,
    layers_of,
    prune,
    scan,
)
from penjing.compiler.compress.prune.amounts import Ratio
from penjing.compiler.compress.steps import ChannelRanking, Channels, Inputs, Operate
from penjing.compiler.compress.structure import channel_norms, narrow
from penjing.compiler.compress.trainable import Trainable
from penjing.compiler.compress.training import Data, Settings
from penjing.flow import plots

FILE = "pruning.json"
COMMAND = "python bench/pruning.py --run"
IMAGES, JUDGED, SCANNED = 10_000, 5_000, 2_000
"""The first so many training images, test images, and test images of the scan."""
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RATES, HELD_OUT = (1e-3, 3e-3, 6e-3), 3_000
RATE = 6e-3
"""That of `RATES` which does best on the last training images, of which nothing here is trained."""
LONG = 3
"""Epochs, and rounds, of the timings."""
CURVATURE = OptimalBrainDamage(256)
SCANS: Mapping[str, Criterion] = {"l1": L1(), "obd": CURVATURE}
"""By what the scan prunes. (OBD looks at the images that then judge it.)"""

Way: TypeAlias = Callable[[Trainable, Data, float, Settings | None], Trainable]
"""Prunes so much of a network, trains it if there are settings, and gives it back."""


@dataclass(frozen=True)
class Series:
    """A ``way``, the shares that it prunes, and after which of them it trains so many epochs."""

    title: str
    way: Way
    shares: Mapping[int, tuple[float, ...]]


def by(criterion: Criterion, amount: Callable[[float], Amount],
       granularity: Granularity = Granularity.WEIGHT, whole: tuple[str, ...] = ()) -> Way:
    """In one shot, all layers but those that stay ``whole``."""
    def way(network: Trainable, data: Data, share: float, settings: Settings | None) -> Trainable:
        layers = layers_of(network.module, flattened=flattened_maps(
            network.module, network.example()))
        prune(network.module, data, [Round(amount(share), settings)], criterion=criterion,
              granularity=granularity,
              layers={name: layer for name, layer in layers.items() if name not in whole})
        return network

    return way


def of_eight(share: float) -> NofM:
    """So much of each eight channels."""
    return NofM(round(8 * (1 - share)), 8)


def channels(network: Trainable, data: Data, share: float, settings: Settings | None) -> Trainable:
    """Leave out so many channels of each layer, those of the least sums of magnitudes."""
    network = narrow(network, channel_norms(network, 1), share)
    if settings is not None:
        training.fit(network.module, data, settings)
    return network


def taken(step: Channels | Inputs | Operate) -> Way:
    """What a recipe's ``step`` does, of so much."""
    def way(network: Trainable, data: Data, share: float, settings: Settings | None) -> Trainable:
        trained = replace(step, ratio=share, learning_rate=RATE,
                          epochs=0 if settings is None else settings.epochs)
        return Pipeline(data, 1, ()).take(trained, network).network

    return way


def in_rounds(criterion: Criterion, amount: Callable[[float], Ratio]) -> Way:
    """The same share of what is left before each epoch."""
    def way(network: Trainable, data: Data, share: float, settings: Settings | None) -> Trainable:
        assert settings is not None
        prune(network.module, data, geometric(amount(share), settings.epochs, replace(
            settings, epochs=1)), criterion=criterion)
        return network

    return way


def gradually(network: Trainable, data: Data, share: float, settings: Settings | None) -> Trainable:
    """Ever more in the first two thirds of the steps."""
    assert settings is not None
    updates = 10
    every = 2 * settings.steps(len(data.images)) // (3 * updates)
    prune(network.module, data, Gradual(Each(share), settings, every=every, updates=updates))
    return network


_RANKED = {0: (0.3, 0.5, 0.7, 0.9), 1: (0.5, 0.7, 0.9, 0.95)}
_UNITS = {0: (0.3, 0.5, 0.7), 1: (0.5, 0.7, 0.9)}
_EIGHTHS = {0: (0.5, 0.75), 1: (0.5, 0.75)}
_CHANNELS = {0: (0.1, 0.2, 0.35), 1: (0.2, 0.35, 0.5)}
_TIMED = {LONG: (0.6, 0.8, 0.9, 0.95)}
STUDIES: Mapping[str, Mapping[str, Series]] = {
    "criteria": {
        "l1": Series("magnitude, each layer", by(L1(), Each), _RANKED),
        "obd_each": Series("OBD, each layer", by(CURVATURE, Each), _RANKED),
        "deviations": Series("magnitude / deviation, overall", by(Deviations(), Overall), _RANKED),
        "layer_adaptive": Series("layer-adaptive, overall", by(LayerAdaptive(), Overall), _RANKED),
        "obd": Series("OBD, overall", by(CURVATURE, Overall), _RANKED),
        "surgeon": Series("surgeon, each layer", taken(Operate()), {0: _RANKED[0]})},
    "granularities": {
        "weight": Series("weights", by(L1(), Each, whole=("conv1",)), _UNITS),
        "n_of_8": Series("n of 8", by(L1(), of_eight, whole=("conv1",)), _EIGHTHS),
        "2_of_4": Series("2 of 4", by(L1(), lambda share: NofM(2, 4), whole=("conv1",)),
                         {0: (0.5,), 1: (0.5,)}),
        "vector": Series("rows of kernels", by(L1(), Each, Granularity.VECTOR, ("conv1",)),
                         _UNITS),
        "kernel": Series("kernels", by(L1(), Each, Granularity.KERNEL, ("conv1",)), _UNITS),
        "channel": Series("channels, removed", channels, {
            0: (0.2, 0.35, 0.5), 1: (0.35, 0.5, 0.8)})},
    "channels": {
        **{ranking.value: Series(ranking.value, taken(Channels(criterion=ranking)), _CHANNELS)
           for ranking in ChannelRanking},
        "slimming": Series("batch-norm, its scales pressed for an epoch before",
                           taken(Channels(criterion=ChannelRanking.BATCH_NORM, before=1)),
                           {1: _CHANNELS[1]}),
        "inputs": Series("inputs, by LASSO and fitted anew", taken(Inputs()), _CHANNELS)},
    "timings": {
        "one_shot": Series("in one shot", by(L1(), Each), _TIMED),
        "iterative": Series(f"in {LONG} rounds", in_rounds(L1(), Each), _TIMED),
        "gradual": Series("gradually", gradually, _TIMED),
        "adaptive": Series(f"layer-adaptive, overall, in {LONG} rounds",
                           in_rounds(LayerAdaptive(), Overall), _TIMED)},
}
SENSITIVITY, RETRAINED, RATED = "sensitivity", "dense", "rates"


def measured(study: str, name: str, share: float, epochs: int, data: Path) -> rows.Row:
    """One point of a series."""
    images = fashion.images(data, "train", IMAGES)
    network = fashion.shipped()
    before = weights(network)[0]
    settings = Settings(epochs, learning_rate=RATE) if epochs else None
    network = STUDIES[study][name].way(network, images, share, settings)
    test = fashion.images(data, "t10k", JUDGED)
    return {"study": study, "series": name, "share": share,
            "zeros": round(1 - weights(network)[1] / before, 4),
            "accuracy": training.accuracy(network.module, test), "samples": len(test.images),
            "epochs": epochs, "images": len(images.images) if epochs else 0,
            "settings": asdict(settings) if settings is not None else None}


def dense(data: Path) -> rows.Row:
    """What the same training does to the network when nothing is pruned."""
    network, images = fashion.shipped(), fashion.images(data, "train", IMAGES)
    test, settings = fashion.images(data, "t10k", JUDGED), Settings(1, learning_rate=RATE)
    before = training.accuracy(network.module, test)
    training.fit(network.module, images, settings)
    return {"study": RETRAINED, "before": before, "samples": len(test.images), "epochs": 1,
            "accuracy": training.accuracy(network.module, test), "images": len(images.images),
            "weights": weights(network)[0], "settings": asdict(settings)}


def rated(rate: float, data: Path) -> rows.Row:
    """How good the network is, 70 % of it pruned, by the learning rate."""
    network, every = fashion.shipped(), fashion.images(data, "train")
    settings = Settings(1, learning_rate=rate)
    prune(network.module, fashion.images(data, "train", IMAGES), [Round(Each(0.7), settings)])
    held_out = Data(every.images[-HELD_OUT:], every.labels[-HELD_OUT:], every.prepare)
    return {"study": RATED, "rate": rate, "zeros": 0.7, "epochs": 1, "images": IMAGES,
            "accuracy": training.accuracy(network.module, held_out), "samples": HELD_OUT}


def sensitivity(layer: str, criterion: str, data: Path) -> rows.Row:
    """The accuracy with one layer alone pruned."""
    network, test = fashion.shipped(), fashion.images(data, "t10k", SCANNED)
    found = scan(network.module, test, ratios=RATIOS, criterion=SCANS[criterion],
                 layers={layer: layers_of(network.module)[layer]})
    return {"study": SENSITIVITY, "layer": layer, "criterion": criterion,
            "before": found.accuracy, "samples": SCANNED,
            "points": [[point.ratio, point.accuracy] for point in found.points]}


def weights(network: Trainable) -> tuple[int, int]:
    """How many there are, and how many are not 0."""
    held = [layer.weight.detach() for layer in layers_of(network.module).values()]
    return sum(one.numel() for one in held), sum(int(one.count_nonzero()) for one in held)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    every: dict[str, Callable[[], rows.Row]] = {RETRAINED: partial(dense, args.data)}
    every |= {f"{RATED}/{rate}": partial(rated, rate, args.data) for rate in RATES}
    every |= {f"{SENSITIVITY}/{criterion}/{layer}": partial(
                  sensitivity, layer, criterion, args.data)
              for criterion in SCANS for layer in fashion.shipped().layers}
    every |= {f"{study}/{name}/{share}/{epochs}": partial(
                  measured, study, name, share, epochs, args.data)
              for study, some in STUDIES.items() for name, series in some.items()
              for epochs, shares in series.shares.items() for share in shares}
    return rows.measure(FILE, every, args.only, COMMAND, "torch")


def draw(result: dict[str, Any]) -> None:
    """The pictures."""
    with plots.figure(PICTURES / "sensitivity.svg") as axes:
        colors: dict[str, str] = {}
        for row in rows.of(result, SENSITIVITY):
            points = [(0.0, row["before"]), *row["points"]]
            by_magnitude = row["criterion"] == "l1"
            axes.plot([100 * ratio for ratio, _ in points],
                      [100 * accuracy for _, accuracy in points], ".-" if by_magnitude else ".:",
                      color=colors.setdefault(row["layer"], f"C{len(colors)}"),
                      label=row["layer"] if by_magnitude else None)
        finish(axes, "zeros in the layer alone, %", "dotted: by OBD")
    for study, some in STUDIES.items():
        with plots.figure(PICTURES / f"pruning_{study}.svg", width=8.4) as axes:
            found = rows.of(result, study)
            for number, (name, series) in enumerate(some.items()):
                for epochs in series.shares:
                    points = [row for row in found if row["series"] == name
                              and row["epochs"] == epochs]
                    axes.plot([100 * row["zeros"] for row in points],
                              [100 * row["accuracy"] for row in points],
                              ".-" if epochs else ".:", color=f"C{number}",
                              label=series.title if epochs else None)
            for row in rows.of(result, RETRAINED):
                axes.axhline(100 * row["before"], color="gray", linewidth=0.8)
            finish(axes, "weights that are 0 or gone, %", "dotted: not trained on")


def show(result: dict[str, Any]) -> None:
    """Print a table a study, and draw."""
    for row in rows.of(result, RETRAINED):
        print(f"dense: {row['before']:.2%}, trained for an epoch more {row['accuracy']:.2%}")
    scans = rows.of(result, SENSITIVITY)
    common.show("Accuracy with one layer pruned alone", (
        "layer", "by", "0", *(f"{ratio:.0%}" for ratio in RATIOS)),
        [(row["layer"], row["criterion"], percent(row["before"]),
          *(percent(one) for _, one in row["points"])) for row in scans])
    for study, some in STUDIES.items():
        common.show(f"Accuracy by the share that is pruned: {study}", ("series", "epochs", ""), [
            (series.title, epochs, points(row for row in rows.of(result, study)
                                          if (row["series"], row["epochs"]) == (name, epochs)))
            for name, series in some.items() for epochs in series.shares])
    draw(result)


def percent(share: float) -> str:
    """A share, for people."""
    return f"{100 * share:.1f}"


def points(found: Iterable[rows.Row]) -> str:
    """Zeros and accuracy, for people."""
    return "  ".join(f"{percent(row['zeros'])}: {percent(row['accuracy'])}" for row in found)


def main() -> int:
    """Measure or read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
