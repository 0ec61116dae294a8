"""Fit all weights of the sparse VGG-16 into one chip: Optimal Brain Surgeon.

Each layer loses the weights whose loss costs its outputs the least, and the others make up for it
(`penjing.compiler.compress.surgeon`), on what the layers before it put out. All that are left are
trained for two epochs to give the answers and feature maps of the sparse network as it was (Hinton
2015, Romero 2015). Then weights are rounded to shared values, layer by layer, in the way they were
taken out::

    python examples/vgg16/fit.py --weights vgg16_cifar10_sparse.npz --data DIR
    python examples/vgg16/fit.py                       # what is stored

``--out`` gets ``vgg16_fitted.penjing``; with ``--untrained``, ``vgg16_untrained.penjing``, where
nothing is trained; with ``--unpruned``, where no layer loses weights, either,
``vgg16_rounded.penjing``. Some of the images are blended (Zhang 2018): of those that are not, which
it learned by heart, the network says little more than their labels do. How many weights are left in
each layer (`LEFT`) follows from what the board has room for, and from what a layer's loss alone
costs on blended training images. A run that was interrupted goes on behind the step that it had
done, or the epoch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from compress import (
    TEMPERATURE,
    Fast,
    floats_of,
    judged,
    modules,
    parsed,
    pixels_of,
    reported,
    show_one,
    varied,
)
from evaluate import training
from network import SEARCH_IMAGES, network
from penjing.compiler import file
from penjing.compiler.compress import surgeon
from penjing.compiler.compress import training as trainer
from penjing.compiler.compress.blending import blended
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.fixed_point import Mode, Precision, quantize
from penjing.compiler.compress.prune import Masks
from penjing.compiler.compress.sharing import shared
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.load import floats as fl
from rich.progress import Progress
from safetensors.torch import load_file, save
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

import common
from cifar_resnets import images


class Share(NamedTuple):
    """What is left of a layer: so many weights of so many values, integers of so many bits.

    More bits make sums wider, and the memories that they wait in.
    """

    weights: int
    codes: int
    bits: int = 6


LEFT: Mapping[str, Share] = {
    "conv1_1": Share(1260, 32, 7), "conv1_2": Share(4500, 32), "conv2_1": Share(13_200, 32),
    "conv2_2": Share(15_000, 32), "conv3_1": Share(22_000, 32), "conv3_2": Share(26_000, 32),
    "conv3_3": Share(24_000, 32), "conv4_1": Share(24_000, 16), "conv4_2": Share(16_300, 16),
    "conv4_3": Share(13_500, 16), "conv5_1": Share(9500, 16), "conv5_2": Share(8500, 16),
    "conv5_3": Share(10_000, 16), "classifier": Share(1500, 16)}
"""At most, of the weights that are not 0 in the sparse network."""
NORMALIZED = {"normalize": Precision(weights=12, maps=10)}
"""What all layers see, in one multiplier; the others' maps have 8 bits."""
SEEN, AT_ONCE = 8000, 500
"""Training images by which layers are fitted, and how many of them are mixed with one another."""
BLENDED = 0.6
"""The share of them that is blended."""
SAMPLES = 64_000
"""Positions of a layer's output that count, about, of all images together."""
TRAINING = Settings(2, batch=100, learning_rate=2e-4)
TAUGHT, MAPS = 0.5, 8.0
"""The share of images that is blended in training, and the weight of feature maps in its loss."""


class Way(NamedTuple):
    """The ``name`` of a network and its results; what is ``left`` of layers, by name; the
    ``option`` that asks for it; whether it ``prunes``; the ``training`` then."""

    name: str
    left: Mapping[str, Share]
    option: str = ""
    prunes: bool = True
    training: Settings | None = None


FITTED = Way("vgg16_fitted", LEFT, training=TRAINING)
UNTRAINED = Way("vgg16_untrained", LEFT, "--untrained")
ROUNDED = Way("vgg16_rounded", {name: Share(1 << 24, 32, 8) for name in LEFT}, "--unpruned",
              prunes=False)


def run(model: nn.Module, x: Tensor) -> Tensor:
    """What ``model`` makes of all of ``x``."""
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(250)])


def normal(layer: nn.Module, x: Tensor, wanted: Tensor, generator: torch.Generator
           ) -> surgeon.Normal:
    """The sums over inputs ``x`` that bring the ``layer`` closest to ``wanted``, at some positions.
    """
    if isinstance(layer, nn.Linear):
        rows, targets = [x], [wanted]
    else:
        rows, targets = [], []
        height, width = wanted.shape[2:]
        count = max(1, min(height * width, SAMPLES // len(x)))
        for given, outputs in zip(x.split(100), wanted.split(100), strict=True):
            padded = nn.functional.pad(given, (1, 1, 1, 1))
            at = torch.stack([torch.randperm(height * width, generator=generator)[:count]
                              for _ in given])
            y, x_ = at // width, at % width
            image = torch.arange(len(given))[:, None]
            taps = [padded[image, :, y + row, x_ + column] for row in range(3)
                    for column in range(3)]
            rows.append(torch.stack(taps, 2).flatten(2).flatten(0, 1))
            targets.append(outputs[image, :, y, x_].flatten(0, 1))
    size, outputs = rows[0].shape[1] + 1, targets[0].shape[1]
    gram, products = torch.zeros(size, size), torch.zeros(outputs, size)
    for given, target in zip(rows, targets, strict=True):
        with_one = torch.cat([given, torch.ones(len(given), 1)], 1)
        gram += with_one.T @ with_one
        products += target.T @ with_one
    total = sum(map(len, rows))
    return surgeon.Normal((gram / total).numpy()[None], (products / total).double().numpy())


def flat(layer: nn.Module) -> np.ndarray:
    """Weights (outputs, taps × inputs + 1) of a ``layer``, its bias last."""
    weights = layer.weight.detach().double()
    rows = weights.permute(0, 2, 3, 1).flatten(1) if weights.ndim == 4 else weights
    return np.concatenate([rows.numpy(), layer.bias.detach().double().numpy()[:, None]], 1)


def set_flat(layer: nn.Module, rows: np.ndarray) -> None:
    """Put weights back that are as `flat` gives them."""
    shape = layer.weight.shape
    weights = torch.from_numpy(rows[:, :-1]).float()
    if len(shape) == 4:
        weights = weights.reshape(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    layer.weight.data = weights.contiguous(memory_format=torch.channels_last) if len(
        shape) == 4 else weights
    layer.bias.data = torch.from_numpy(rows[:, -1]).float()


def fit(model: nn.Sequential, wanted: nn.Sequential, x: Tensor, left: Mapping[str, Share], *,
        prunes: bool, rounds: bool, bar: Progress) -> None:
    """Bring the layers of ``model`` in place as near to ``wanted`` as what is ``left`` lets them.

    Both take ``x``; each layer is fitted to what those before it make of that.
    """
    generator = torch.Generator().manual_seed(1)
    task = bar.add_task("fitting", total=len(left))
    y = x
    for (name, layer), target in zip(model.named_children(), wanted, strict=True):
        x = run(target, x)
        if name in left:
            share = left[name]
            sums, rows = normal(layer, y, x, generator), flat(layer)
            if prunes and np.count_nonzero(rows[:, :-1]) > share.weights:
                rows = surgeon.Removal(sums, rows).keep(share.weights)
            if rounds:
                values = np.unique(shared(rows[:, :-1], share.codes, share.bits))
                rows = surgeon.rounded(sums, rows, values[values != 0])
            set_flat(layer, rows)
            bar.update(task, advance=1, description=f"fitting {name}")
        y = run(layer, y)


def made(way: Way, args: argparse.Namespace, bar: Progress
         ) -> tuple[fl.FloatNetwork, dict[str, float]]:
    """The fitted network, and how many of the test images are told right behind each step."""
    before = network(args.weights)
    model, original = modules(before), modules(before)
    pixels, _ = pixels_of(args.data, 2)
    generator = torch.Generator().manual_seed(1)
    some = torch.cat([blended(varied, BLENDED)(part, generator)
                      for part in pixels[:SEEN].split(AT_ONCE)])
    x, y = (array[:args.images] for array in images(args.data))
    test = Data(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y), varied)
    right: dict[str, float] = {}

    def step(name: str, what: Callable[[], None]) -> None:
        path = args.out / f"{way.name}.{name}.safetensors"
        if path.exists():
            model.load_state_dict(load_file(path))
        else:
            what()
            file.write_atomically(path, save({
                name: value.contiguous() for name, value in model.state_dict().items()}))
        right[name] = trainer.accuracy(model, test)

    if way.prunes:
        step("pruned", lambda: fit(model, original, some, way.left, prunes=True, rounds=False,
                                   bar=bar))
    if way.training is not None:
        settings = way.training
        step("trained", lambda: train(model, original, settings, args, bar))
    step("rounded", lambda: fit(model, modules(floats_of(model, before)), some, way.left,
                                prunes=False, rounds=True, bar=bar))
    return floats_of(model, before), right


def train(model: nn.Module, original: nn.Module, settings: Settings, args: argparse.Namespace,
          bar: Progress) -> None:
    """Train the weights of ``model`` that are not 0 to answer as the ``original`` does."""
    fast = Fast(model)
    with Distillation(Fast(original), temperature=TEMPERATURE, alpha=1.0, student=fast,
                      maps=MAPS) as loss:
        trainer.fit(fast, Data(*pixels_of(args.data), blended(varied, TAUGHT)), settings,
                    loss=loss, after_step=Masks.of(fast).on(fast),
                    checkpoint=args.out / "training", progress=reported(bar, "training"))


def measure(way: Way, args: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """Fit the network, make integers of it, and tell how good they are."""
    args.out.mkdir(parents=True, exist_ok=True)
    calibration, _ = training(args.data, 0)
    floats, right = made(way, args, bar)
    precisions = {name: Precision(weights=share.bits) for name, share in way.left.items()}
    network_ = quantize(floats, calibration, name="vgg16", images=SEARCH_IMAGES,
                        mode=Mode.DIVERGENCE, precisions=precisions | NORMALIZED)
    return {**judged(network_, way.name, args, bar), "steps": right,
            "settings": {"left": {name: share._asdict() for name, share in way.left.items()},
                         "training": asdict(way.training) if way.training else None,
                         "samples": SAMPLES, "images": SEEN},
            **common.stamp(" ".join(filter(None, (
                "python examples/vgg16/fit.py", way.option,
                "--weights FILE --data DIR"))), "torch", "numpy")}


def main() -> int:
    """Fit if files are given; print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    how = parser.add_mutually_exclusive_group()
    for one, what in ((ROUNDED, "round all weights; prune and train none"),
                      (UNTRAINED, "round weights behind pruning; train none")):
        how.add_argument(one.option, dest="way", action="store_const", const=one, default=FITTED,
                         help=what)
    args = parsed(parser, taught=False)
    way: Way = args.way
    results = f"{way.name}.json"

    def run() -> dict[str, Any]:
        with common.progress_bar() as bar:
            result = measure(way, args, bar)
        common.write(results, result)
        return result

    return common.present(results, run, show_one, anew=args.weights is not None,
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
