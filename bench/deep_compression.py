"""Deep Compression of LeNet-300-100 and LeNet-5: how small, how accurate, and exact in hardware.

Both are trained dense on the first 55,000 digits of MNIST and a copy of each that is shifted by a
pixel, and compressed, with the same digits, by the recipes in ``examples/deep_compression``, which
were chosen by the 5,000 others. LeNet-300-100 learns the mean answer of the dense networks of all
seeds, LeNet-5 that of its own. The 10,000 test digits judge the dense network of floats and the
small one of integers, from three seeds. How small it is tells the image that hardware loads: codes,
tables of codes, codebooks, biases, filling, head and checksum. That of the first seed goes into the
Verilog that was compiled for it, under all patterns of pauses. Without an option it prints the
stored results; ``--data DIR``, the folder of ``mnist.npz``, makes them anew (some minutes a seed).
What was interrupted goes on from ``--work``.

    python bench/deep_compression.py --data DIR
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import common
import numpy as np
import torch
from numpy.typing import NDArray
from penjing import flow
from penjing.compiler import file, huffman, ir
from penjing.compiler.compress import trainable, training
from penjing.compiler.dataflow.filling import filling
from penjing.compiler.ir import Integers, Network
from penjing.flow import Quantization, Target, data
from penjing.flow.evaluate import golden_accuracy
from penjing.flow.project import Project
from penjing.sim import golden
from penjing.sim.cosim import Job, Source, StreamFormat
from penjing.sim.cosim import simulate as cosim
from penjing.sim.streams import Stalls
from torch import nn

FILE = "deep_compression.json"
BOARD = "ulx3s-85f"
RECIPES = Path(__file__).parents[1] / "examples" / "deep_compression"
SEEDS = (1, 2, 3)
HELD_OUT = 5000
DIGITS = 24
STEP = 1 / 256
"""What a pixel's step is worth, so that fixed point holds it exactly."""
STAMP = ("python bench/deep_compression.py --data DIR", "torch", "numpy", "amaranth", "cocotb")


@dataclass(frozen=True)
class Kind:
    """One network: how it is built, what it takes, and for how many epochs it is trained dense.

    It has so many ``multipliers`` in hardware. Where they are few, each has many outputs, so all
    have about as many weights, and what fills the others up is little. The dense networks of the
    seeds ``taught_by`` are its teachers; of none, the one that it was.
    """

    title: str
    build: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    epochs: int
    multipliers: int
    taught_by: tuple[int, ...] = ()


def lenet_300_100() -> nn.Sequential:
    """LeCun's network of three dense layers."""
    return nn.Sequential(OrderedDict(
        dense1=nn.Linear(784, 300), relu1=nn.ReLU(), dense2=nn.Linear(300, 100), relu2=nn.ReLU(),
        dense3=nn.Linear(100, 10)))


def lenet5() -> nn.Sequential:
    """LeNet-5 as Caffe and the paper have it, of 430,500 weights and 580 biases."""
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 20, 5), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(20, 50, 5), pool2=nn.MaxPool2d(2), flatten=nn.Flatten(),
        dense1=nn.Linear(800, 500), relu1=nn.ReLU(), dense2=nn.Linear(500, 10)))


KINDS = {"lenet_300_100": Kind("LeNet-300-100", lenet_300_100, (784,), 7, 16, SEEDS),
         "lenet5": Kind("LeNet-5", lenet5, (28, 28, 1), 3, 96)}


@dataclass(frozen=True)
class Digits:
    """Files of digits as a network takes them: to train with, to choose by, and the last word."""

    training: Path
    chosen_by: Path
    test: Path

    @classmethod
    def of(cls, kind: Kind, given: Path, folder: Path) -> Digits:
        """Those of ``mnist.npz`` in the folder ``given``, written to another one."""
        arrays = data.arrays(given / "mnist.npz", ("x_train", "y_train", "x_test", "y_test"),
                             way_out="give the folder of MNIST's arrays with --data")
        x, y = arrays["x_train"], arrays["y_train"]
        parts = {"training": (np.concatenate([x[:-HELD_OUT], shifted(x[:-HELD_OUT])]),
                              np.tile(y[:-HELD_OUT], 2)),
                 "chosen_by": (x[-HELD_OUT:], y[-HELD_OUT:]),
                 "test": (arrays["x_test"], arrays["y_test"])}
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for name, (images, labels) in parts.items():
            paths[name] = folder / f"{name}.npz"
            np.savez(paths[name], x=images.reshape(-1, *kind.shape), y=labels)
        return cls(**paths)


def shifted(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``images`` (N, H, W), each shifted by one pixel in one of the eight directions."""
    found = np.zeros_like(images)
    height, width = images.shape[1:]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    directions = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    for n, (y, x) in enumerate(directions):
        found[n::8] = framed[n::8, y:y + height, x:x + width]
    return found


def tensors(kind: Kind, path: Path) -> training.Data:
    """The digits of a file as PyTorch takes them."""
    held = data.read(path)
    images = held.x[:, None, :, :, 0] if len(kind.shape) > 1 else held.x
    return training.Data(torch.from_numpy(images.copy()), torch.from_numpy(held.labels),
                         lambda x, _: x.to(torch.float32) * STEP)


def dense(kind: Kind, seed: int, digits: Digits, folder: Path) -> tuple[Path, float]:
    """Train the network as it is; its file, and its accuracy on the test digits."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = kind.build().to(memory_format=torch.channels_last)
    settings = training.Settings(kind.epochs, batch=250, learning_rate=2e-3, seed=seed)
    with common.progress_bar() as bar:
        task = bar.add_task("", total=None)
        training.fit(model, tensors(kind, digits.training), settings,
                     checkpoint=folder / "dense.training",
                     progress=lambda done, total, line: bar.update(
                         task, completed=done, total=total,
                         description=f"{kind.title}, seed {seed}, dense {line}"))
    path = folder / "dense.pt2"
    if not path.exists():
        trainable.read(model.eval(), kind.shape).save(path)
    return path, training.accuracy(model, tensors(kind, digits.test))


def compressed(name: str, seed: int, digits: Digits, folder: Path,
               whole: Mapping[int, tuple[Path, float]]) -> dict[str, Any]:
    """Compress the dense network of a ``seed``, one of the ``whole``; a row of what came out."""
    kind = KINDS[name]
    path, before = whole[seed]
    small = folder / f"{name}.penjing"
    with common.progress_bar() as bar:
        task = bar.add_task("", total=None)
        made = flow.compress(
            path, small, RECIPES / f"{name}.toml", digits.training, test=digits.chosen_by,
            quantization=Quantization(input_scale=STEP), seed=seed, keep=True,
            teachers=[whole[one][0] for one in kind.taught_by],
            progress=lambda what, done, total: bar.update(
                task, completed=done, total=total or None,
                description=f"{kind.title}, seed {seed}, {what}"))
    project = loadable(small, folder, kind.multipliers)
    model = flow.load(small)
    # All that is loaded; the stages leave out what nobody reads.
    parts = layers(project)
    weights, nonzeros = (sum(one[what] for one in parts) for what in ("weights", "nonzeros"))
    image = image_of(project, small)
    return {
        "seed": seed, "accuracy_before": before,
        "accuracy_after": golden_accuracy(model, data.read(digits.test)),
        "held_out": [{"step": stage.do or "before", "accuracy": stage.accuracy,
                      "integer_accuracy": stage.integer_accuracy} for stage in made.stages],
        "weights": weights, "nonzeros": nonzeros, "weights_ratio": weights / nonzeros,
        "float_bits": made.stages[0].total("float_bits"), "image_bytes": len(image),
        "size_ratio": made.stages[0].total("float_bits") / (8 * len(image)),
        "memory_ratio": made.ratio, "coded_ratio": made.coded_ratio,
        "layers": parts}


def loadable(small: Path, folder: Path, multipliers: int) -> Project:
    """Hardware for the network in a file, whose weights keep their encodings and come later."""
    network = file.load(small)
    target = Target(BOARD, budget={"multipliers": multipliers})
    return flow.compile_model(small, folder / "made", target, loadable=True, encodings={
        layer.name: layer.weights.encoding.name for layer in network.layers
        if isinstance(layer, ir.MultiplyAccumulate)})


def image_of(project: Project, small: Path) -> bytes:
    """The image of the network in a file for the hardware of ``project``."""
    return flow.load_weights(project.path, small).path.read_bytes()


def layers(project: Project) -> list[dict[str, Any]]:
    """What is in each layer with weights, and the bytes of each of its sections in the image."""
    network = project.network
    found = []
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            filled = filling(network, project.plan, layer.name)
            assert filled is not None
            found.append({
                "layer": layer.name, "weights": layer.weights.values.size,
                "nonzeros": layer.weights.nonzeros, "codes": len(layer.weights.codebook),
                "encoding": layer.weights.encoding.name, "section_bytes": [
                    len(huffman.encoded(np.frombuffer(symbols, np.uint8)))
                    for symbols in filled.memories]})
    return found


def simulated(network: Network, project: Project, octets: bytes, x: Integers, cache: Path
              ) -> dict[str, Any]:
    """Load the image of a network, and compare all results of digits ``x`` with it."""
    i, o = project.design.i, project.design.o
    # Sums have room for whatever weights come in.
    kind, result = project.network.input_type, project.network.output_type
    patterns = tuple(Stalls)
    wanted = golden.run(network, x.reshape(-1, *kind.shape))
    report = cosim(
        project.read_verilog(), project.network.name,
        Job((Source(StreamFormat(kind.bits, kind.signed, i.lanes, i.group),
                    x.reshape(len(x), -1)),),
            StreamFormat(result.bits, result.signed, o.lanes, o.group),
            wanted.reshape(len(x), -1), patterns, images={0: octets}), cache=cache)
    return {"rtl_mismatches": report.mismatches, "rtl": {
        "digits": len(x), "patterns": [one.value for one in patterns],
        "frames_compared": sum(len(one.frame_ends) for one in report.patterns),
        "values_compared": report.values_compared, "faults": len(report.faults),
        "board": BOARD, "multipliers": project.plan.multipliers,
        "cycles_per_frame": project.design.cycles,
        "cycles": [one.cycles for one in report.patterns]}}


def network_results(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """All seeds of a network, and the first one's hardware."""
    folder: Path = args.work / name
    kind = KINDS[name]
    digits = Digits.of(kind, args.data, folder)
    whole = {seed: dense(kind, seed, digits, folder / str(seed))
             for seed in sorted({*args.seeds, *kind.taught_by})}
    rows = [compressed(name, seed, digits, folder / str(seed), whole) for seed in args.seeds]
    first = folder / str(args.seeds[0])
    small, project = first / f"{name}.penjing", Project.open(first / "made")
    x = data.read(digits.test).x[:DIGITS].astype(np.int64)
    found = simulated(file.load(small), project, image_of(project, small), x, first / "simulator")
    numbers = {key: mean(row[key] for row in rows) for key in (
        "weights_ratio", "size_ratio", "memory_ratio", "coded_ratio", "accuracy_before",
        "accuracy_after")}
    return {**numbers, **found, "held_out_images": HELD_OUT, "epochs": kind.epochs,
            "seeds": rows, **common.stamp(*STAMP)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The networks that were asked for; what is stored of the others stays."""
    torch.set_num_threads(1)
    for name in args.only:
        common.write(FILE, {**common.read(FILE), name: network_results(name, args)})
    return common.read(FILE)


def _spread(rows: Sequence[dict[str, Any]], what: str) -> str:
    """The mean of all seeds, and the least and the most."""
    values = [row[what] for row in rows]
    return f"{mean(values):.2%} ({min(values):.2%} – {max(values):.2%})"


def table(result: dict[str, Any]) -> None:
    """Print the networks, then where the bytes of the first seed's image are."""
    common.show("Deep Compression", ("", *(KINDS[name].title for name in result)), [
        ("accuracy, dense", *(_spread(one["seeds"], "accuracy_before")
                              for one in result.values())),
        ("accuracy, small integers", *(_spread(one["seeds"], "accuracy_after")
                                       for one in result.values())),
        *((title, *(f"{one[key]:.1f}" for one in result.values())) for title, key in (
            ("times fewer weights", "weights_ratio"), ("times smaller, the image", "size_ratio"),
            ("  in memories", "memory_ratio"), ("  Huffman-coded in a file", "coded_ratio"))),
        ("bytes of the image", *(f"{one['seeds'][0]['image_bytes']:,}"
                                 for one in result.values())),
        ("digits through the RTL", *(one["rtl"]["digits"] for one in result.values())),
        ("values compared", *(one["rtl"]["values_compared"] for one in result.values())),
        ("  that differ", *(one["rtl_mismatches"] for one in result.values()))])
    common.show("Layers of the first seed", (
        "layer", "weights", "not 0", "codes", "encoding", "bytes of sections"), [
        (f"{name} {layer['layer']}", f"{layer['weights']:,}", f"{layer['nonzeros']:,}",
         layer["codes"], layer["encoding"], " + ".join(map(str, layer["section_bytes"])))
        for name, one in result.items() for layer in one["seeds"][0]["layers"]])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of mnist.npz: make the results anew")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    parser.add_argument("--work", type=Path, default=Path("build", "deep_compression"),
                        help="folder of networks and projects")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), table, anew=args.data is not None,
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
