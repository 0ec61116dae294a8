"""Prune the sparse VGG-16 further, and share its weights, until all of them lie in one chip.

Most weights are in the six layers of 512 inputs, on maps of 4 × 4 and 2 × 2 pixels. They alone are
pruned and trained: what the layers before put out is computed once, for each image in some
variants, together with the answers of the dense network, which they learn (Hinton 2015). Then
all layers share weights, and the shared values are trained in the whole network::

    python examples/vgg16/compress.py --weights vgg16_cifar10_sparse.npz \\
        --teacher vgg16_cifar10_a.npz vgg16_cifar10_b.npz --data DIR
    python examples/vgg16/compress.py                  # what is stored

``--out`` gets ``vgg16_small.penjing``; with ``--unpruned``, where no layer loses weights and
all have 32 values, ``vgg16_shared.penjing``. Nothing is chosen by the test images. A run that was
interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluate import FILE as BEFORE
from evaluate import Judge, golden_values, layers, run_integers, training
from network import SEARCH_IMAGES, dense, network
from penjing.compiler import file
from penjing.compiler.compress import codebooks
from penjing.compiler.compress import training as trainer
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.fixed_point import quantize
from penjing.compiler.compress.prune import (
    Gradual,
    LayerAdaptive,
    Masks,
    Overall,
    layers_of,
    prune,
)
from penjing.compiler.compress.sizes import sizes
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network
from penjing.compiler.load import floats as fl
from rich.progress import Progress
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

import common
from cifar_resnets import images

FILE = "vgg16_small.json"
SMALL, SHARED = "vgg16_small", "vgg16_shared"
"""The networks that are made, and their results."""
MOSAICS = 25
SPLIT = "pool3"
"""Behind it come the layers that are pruned."""
INNER = (256, 4, 4)
CLASSES = 10
VARIANTS = 3
"""Of each image: shifted by up to four pixels, or mirrored."""
KEPT = 78_000
"""Weights that are left behind ``SPLIT``."""
PRUNING = Settings(2, batch=200, learning_rate=5e-4)
SHARING = Settings(1, batch=100, learning_rate=3e-4)
SHARING_IMAGES = 16_000
CODES, LAST_CODES = 32, 16
"""Different values in a layer, and behind ``SPLIT``."""
TEMPERATURE = 3.0
COMPARED = 4


class Fast(nn.Module):
    """``inner`` in bfloat16, behind which all is float32 again."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Answers to ``x``, (N, 3, 32, 32) or what the inner layers take."""
        with torch.autocast("cpu", torch.bfloat16):
            result: Tensor = self.inner(x)
        return result.float()


class Behind(nn.Module):
    """The layers behind ``SPLIT``; x (N, inputs + classes) holds the teacher's answers too."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The answers of this network."""
        answers: Tensor = self.inner(x[:, :-CLASSES].reshape(-1, *INNER).contiguous(
            memory_format=torch.channels_last))
        return answers


class Answers(nn.Module):
    """The teacher's answers, of what `Behind` takes."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs + classes) to (N, classes)."""
        return x[:, -CLASSES:]


def modules(floats: fl.FloatNetwork) -> nn.Sequential:
    """The layers of ``floats``, by name."""
    made: OrderedDict[str, nn.Module] = OrderedDict()
    for layer in floats.layers:
        if isinstance(layer, fl.FloatConvolution):
            outputs, height, width, inputs = layer.weights.shape
            made[layer.name] = nn.Conv2d(inputs * layer.groups, outputs, (height, width),
                                         padding=layer.padding[0], groups=layer.groups)
            weights = layer.weights.transpose(0, 3, 1, 2)
        elif isinstance(layer, fl.FloatDense):
            made[layer.name] = nn.Linear(layer.weights.shape[1], layer.weights.shape[0])
            weights = layer.weights
        elif isinstance(layer, fl.FloatMaxPool):
            made[layer.name] = nn.MaxPool2d(layer.kernel, layer.stride)
            continue
        else:
            made[layer.name] = nn.Flatten() if isinstance(layer, fl.FloatFlatten) else nn.ReLU()
            continue
        for parameter, values in zip(made[layer.name].parameters(), (weights, layer.bias),
                                     strict=True):
            parameter.data = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    made["normalize"].requires_grad_(False)
    return nn.Sequential(made).to(memory_format=torch.channels_last).eval()


def floats_of(model: nn.Sequential, before: fl.FloatNetwork) -> fl.FloatNetwork:
    """``before`` with the weights and biases of ``model``."""
    found: list[fl.FloatLayer] = []
    for layer in before.layers:
        if isinstance(layer, fl.FloatMultiply):
            part = getattr(model, layer.name)
            weights = part.weight.detach().double().numpy()
            if weights.ndim == 4:
                weights = weights.transpose(0, 2, 3, 1)
            layer = replace(layer, weights=weights, bias=part.bias.detach().double().numpy())
        found.append(layer)
    return replace(before, layers=tuple(found))


def varied(pixels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Pixels (N, 3, 32, 32) of 8 bits from 0 to 1; with a ``generator`` shifted and mirrored."""
    x = pixels.float() / 255
    if generator is None:
        return x.contiguous(memory_format=torch.channels_last)
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    padded = nn.functional.pad(x, (4, 4, 4, 4))
    places = torch.randint(0, 9, (len(x), 2), generator=generator).tolist()
    return torch.stack([one[:, top:top + 32, left:left + 32] for one, (top, left) in zip(
        padded, places, strict=True)]).contiguous(memory_format=torch.channels_last)


def pixels_of(folder: Path, files: int = MOSAICS) -> tuple[Tensor, Tensor]:
    """The training images (50000, 3, 32, 32) and labels of all ``files``, or of the first ones."""
    parts = [training(folder, number) for number in range(files)]
    return (torch.from_numpy(np.concatenate([x for x, _ in parts])).permute(0, 3, 1, 2),
            torch.from_numpy(np.concatenate([y for _, y in parts])))


def inner_data(path: Path, front: nn.Module, teacher: nn.Module, pixels: Tensor, labels: Tensor,
               bar: Progress) -> Data:
    """What comes out at ``SPLIT`` of all variants of all images, and the teacher's answers."""
    if not path.exists():
        generator, rows = torch.Generator().manual_seed(1), []
        task = bar.add_task("images up to the split", total=VARIANTS * len(pixels))
        with torch.no_grad():
            for _ in range(VARIANTS):
                for start in range(0, len(pixels), 250):
                    x = varied(pixels[start:start + 250], generator)
                    rows.append(torch.cat([Fast(front)(x).flatten(1), Fast(teacher)(x)], 1).half())
                    bar.advance(task, len(x))
        partial = path.with_suffix(".part")
        save_file({"rows": torch.cat(rows)}, partial)
        partial.replace(path)
    return Data(load_file(path)["rows"], labels.repeat(VARIANTS), lambda rows, _: rows.float())


def pruned(model: nn.Sequential, teacher: nn.Module, pixels: Tensor, labels: Tensor, out: Path,
           bar: Progress, report: trainer.Progress) -> None:
    """Prune the layers of ``model`` behind ``SPLIT``, and train them, in place."""
    at = list(model._modules).index(SPLIT) + 1
    front, back = model[:at], model[at:]  # of the same layers
    inner = inner_data(out / "inner.safetensors", front, teacher, pixels, labels, bar)
    weights = sum(layer.weight.numel() for layer in layers_of(back).values())
    steps = PRUNING.steps(len(inner.images))
    prune(Behind(Fast(back)), inner,
          Gradual(Overall(1 - KEPT / weights), PRUNING, initial=zeros(back), every=50,
                  updates=steps * 2 // 5 // 50),
          criterion=LayerAdaptive(),
          loss=Distillation(Answers(), temperature=TEMPERATURE, alpha=1.0),
          checkpoint=out / "pruning", progress=report)


def reported(bar: Progress, title: str) -> trainer.Progress:
    """How a training tells in the ``bar`` how far it is."""
    task = bar.add_task(title, total=None)
    return lambda done, total, line: bar.update(task, completed=done, total=total,
                                                description=f"{title} {line}")


def zeros(model: nn.Module) -> float:
    """The share of the weights that are 0."""
    return 1 - Masks.of(model).density


def measure(args: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """Prune, share, make integers, and tell how good they are."""
    args.out.mkdir(parents=True, exist_ok=True)
    before = network(args.weights)
    model, teacher = modules(before), Fast(modules(dense(args.teacher)))
    pixels, labels = pixels_of(args.data)
    back = model[list(model._modules).index(SPLIT) + 1:]

    if not args.unpruned:
        pruned(model, teacher, pixels, labels, args.out, bar, reported(bar, "pruning"))
    name = SHARED if args.unpruned else SMALL
    shared = {layer: part.module for layer, part in layers_of(model).items()
              if layer != "normalize"}
    last = {} if args.unpruned else layers_of(back)
    codebooks.share(shared, {layer: LAST_CODES if layer in last else CODES for layer in shared},
                    codebooks.Start.EXACT)
    some = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))[:SHARING_IMAGES]
    trainer.fit(Fast(model), Data(pixels[some], labels[some], varied), SHARING,
                loss=Distillation(teacher, temperature=TEMPERATURE, alpha=1.0),
                checkpoint=args.out / f"{name}.sharing", progress=reported(bar, "sharing"))
    codebooks.release(shared.values())
    calibration, _ = training(args.data, 0)
    made = quantize(floats_of(model, before), calibration, name="vgg16", images=SEARCH_IMAGES)
    return {**judged(made, name, args, bar),
            "settings": {"pruning": asdict(PRUNING), "sharing": asdict(SHARING),
                         "variants": VARIANTS, "sharing_images": SHARING_IMAGES},
            "codes": [CODES, CODES if args.unpruned else LAST_CODES],
            **common.stamp("python examples/vgg16/compress.py --weights FILE --teacher FILES "
                           "--data DIR", "torch", "numpy")}


def judged(made: Network, name: str, args: argparse.Namespace, bar: Progress) -> dict[str, Any]:
    """Store a network of integers, and tell its layers and how good it is."""
    file.save(made, args.out / f"{name}.penjing", compressed=True)
    x, y = images(args.data)
    x, y = x[:args.images], y[:args.images]
    answers = Judge(args.out, bar).answers("test", file.to_bytes(made),
                                           lambda some: run_integers(made, some), x)
    rows, every = layers(made), sizes(encode(made, {}))
    return {"network": name, "images": len(x), "accuracy": float((answers == y).mean()),
            "dense_accuracy": 0.9346, "before": common.read(BEFORE)["float_accuracy"],
            "layers": rows, "golden_values": golden_values(made, x[:COMPARED]),
            "golden_images": COMPARED,
            "float_bits": sum(one.float_bits for one in every),
            "stored_bits": sum(one.stored_bits for one in every),
            **{what: sum(row[what] for row in rows)
               for what in ("weights", "nonzeros", "macs", "nonzero_macs")}}


def show(result: dict[str, Any]) -> None:
    """Print the layers of each network, then its accuracy."""
    for row in result["networks"]:
        show_one(row)


def show_one(result: dict[str, Any]) -> None:
    """Those of one."""
    columns = ("layer", "weights", "nonzeros", "codes", "nonzero_macs")
    rows = [*result["layers"], {**result, "layer": "sum", "codes": ""}]
    common.show(result["network"], columns, [
        [f"{row[one]:,}" if isinstance(row[one], int) else row[one] for one in columns]
        for row in rows])
    common.show("CIFAR-10", ("network", f"{result['images']:,} test images"), [
        ("98 % zeros, float", f"{result['before']:.2%}"),
        (f"{result['network']}, 8 bits", f"{result['accuracy']:.2%}")])


def parsed(parser: argparse.ArgumentParser, *, taught: bool) -> argparse.Namespace:
    """What is asked of a command that makes a network, ``taught`` by the dense one or not.

    PyTorch has its threads then.
    """
    parser.add_argument("--weights", type=Path, help="the sparse arrays; without them, the stored "
                                                     "results are printed")
    if taught:
        parser.add_argument("--teacher", type=Path, nargs=2, help="the dense arrays, in two files")
    parser.add_argument("--data", type=Path, help="folder of cifar10_test.npz and cifar10_train")
    parser.add_argument("--out", type=Path, default=Path("build", "vgg16"), help="where to work")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    together = ("weights", *(["teacher"] if taught else []), "data")
    if len({getattr(args, name) is None for name in together}) > 1:
        parser.error(f"--{', --'.join(together[:-1])} and --{together[-1]} belong together")
    torch.set_num_threads(args.threads)
    return args


def main() -> int:
    """Compress if files are given; print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--unpruned", action="store_true", help="share all weights, prune none")
    args = parsed(parser, taught=True)

    def run() -> dict[str, Any]:
        with common.progress_bar() as bar:
            row = measure(args, bar)
        kept = [one for one in common.read(FILE).get("networks", [])
                if one["network"] != row["network"]]
        common.write(FILE, {"networks": sorted([*kept, row], key=lambda one: one["network"])})
        return common.read(FILE)

    return common.present(FILE, run, show, anew=args.weights is not None, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
