"""A network that becomes smaller as a recipe says, and what each step of it did."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler import file
from ..compiler.dataflow.report import Table, table_of
from ..compiler.encode import encode
from ..compiler.ir import Network, PenjingError
from . import data
from .data import Data
from .evaluate import golden_accuracy
from .load import Model, Quantization, load, needing
from .plots import draw_sizes
from .progress import Progress, silent

if TYPE_CHECKING:
    from ..compiler.compress.recipe import Recipe
    from ..compiler.compress.sizes import LayerSize

__all__ = ["Compression", "Stage", "compress"]

HELD_OUT = 10
"""One image in so many is held out, if there are no test images."""
CALIBRATION = 256
"""Training images that fraction lengths are chosen by."""


@dataclass(frozen=True)
class Stage:
    """What was there behind a step: ``do`` names it, "" is before all.

    ``accuracy`` is that on the images that nothing was trained with; of a float network,
    ``integer_accuracy`` that of the integer network that it becomes. ``epochs`` are loss and
    accuracy of each, while it was trained.
    """

    do: str
    accuracy: float
    integer_accuracy: float
    layers: tuple[LayerSize, ...]
    epochs: tuple[tuple[float, float], ...] = ()

    def total(self, what: str) -> int:
        """The sum over all layers."""
        return sum(getattr(layer, what) for layer in self.layers)

    def json(self) -> dict[str, Any]:
        """What ``penjing compress --json`` prints of it."""
        sums = {what: self.total(what) for what in (
            "weights", "nonzeros", "float_bits", "stored_bits", "coded_bits")}
        return {**asdict(self), **sums}


@dataclass(frozen=True)
class Compression:
    """The ``stages`` of a network whose file is ``path`` now, as the ``recipe`` asked."""

    path: Path
    recipe: str
    seed: int
    images: int
    stages: tuple[Stage, ...]

    @property
    def ratio(self) -> float:
        """How many times fewer bits the hardware reads than the floats had at first."""
        return self.stages[0].total("float_bits") / self.stages[-1].total("stored_bits")

    @property
    def coded_ratio(self) -> float:
        """The same of a Huffman-coded file."""
        return self.stages[0].total("float_bits") / self.stages[-1].total("coded_bits")

    def json(self) -> dict[str, Any]:
        """What ``penjing compress --json`` prints."""
        return {"output": str(self.path), "recipe": self.recipe, "seed": self.seed,
                "test_images": self.images, "ratio": self.ratio, "coded_ratio": self.coded_ratio,
                "stages": [stage.json() for stage in self.stages]}

    def table(self) -> Table:
        """The same for people."""
        first = self.stages[0].total("float_bits")
        return table_of(f"{self.path}, by the recipe {self.recipe}", (
            "step", "accuracy", "as integers", "weights", "not 0", "bits stored", "times smaller",
            "Huffman-coded", "times smaller"), (
            (stage.do or "before", f"{stage.accuracy:.2%}", f"{stage.integer_accuracy:.2%}",
             f"{stage.total('weights'):,}", f"{stage.total('nonzeros'):,}",
             f"{stage.total('stored_bits'):,}", f"{first / stage.total('stored_bits'):.1f}",
             f"{stage.total('coded_bits'):,}", f"{first / stage.total('coded_bits'):.1f}")
            for stage in self.stages))


def compress(model: str | Path, output: str | Path, recipe: str | Path, images: str | Path, *,
             test: str | Path | None = None, quantization: Quantization | None = None,
             seed: int | None = None, plots: bool = False, keep: bool = False,
             progress: Progress = silent) -> Compression:
    """Make the network in ``model`` smaller as the ``recipe`` says, and write it to ``output``.

    ``recipe`` is a file, or the name of one that comes with Penjing; ``seed`` stands for its own.
    ``images`` is an ``.npz`` file with x and labels y; accuracy is told of those in ``test``, by
    default of every tenth of ``images``, which is then not trained with. A ``.pt2`` program stays
    one, or becomes a ``.penjing`` file of integers, as the ``output`` is called; a network of
    integers is pruned and shared without training. What each step did is in ``output`` with the
    suffix ``.json``, and if ``plots`` drawn as ``.svg``. A run that was
    interrupted goes on from the folder ``output`` with the suffix ``.work``, which stays if
    ``keep``. `PenjingError` where any of that is unfit.
    """
    path, target = Path(model), Path(output)
    if target.suffix not in (".pt2", file.SUFFIX):
        raise PenjingError(f"{target}: a compressed network is a .pt2 program or a {file.SUFFIX} "
                           f"file; call it so")
    with needing(path, "compress"):
        from ..compiler.compress import recipe as recipes

        asked = recipes.read(recipe)
    if seed is not None:
        asked = replace(asked, seed=seed)
    sets = _Sets.read(images, test)
    work = _Work.opened(target, {
        "model": _digest(path), "recipe": repr(asked), "training": _data_digest(sets.training),
        "test": _data_digest(sets.test), "quantization": repr(quantization)})
    if path.suffix.lower() == ".pt2":
        stages = _floats(path, target, asked, sets, quantization, work, progress)
    else:
        stages = _integers(path, target, asked, sets, progress)
    made = Compression(target, str(recipe), asked.seed, len(sets.test.x), tuple(stages))
    file.write_atomically(target.with_suffix(".json"),
                          (json.dumps(made.json(), indent=1) + "\n").encode())
    if plots:
        draw_sizes(made, target.with_suffix(".svg"))
    if not keep:
        shutil.rmtree(work.folder, ignore_errors=True)
    return made


@dataclass(frozen=True)
class _Sets:
    """What a network is trained with, and what it is judged by."""

    training: Data
    test: Data

    @classmethod
    def read(cls, images: str | Path, test: str | Path | None) -> _Sets:
        """Those of the files, or every tenth image for the test."""
        held = _labelled(images)
        if test is not None:
            return cls(held, _labelled(test))
        if len(held.x) < 2 * HELD_OUT:
            raise data.BadData(f"{images}: {len(held.x)} images are too few to hold every tenth "
                               f"out; give more, or others with --test")
        out = np.arange(len(held.x)) % HELD_OUT == HELD_OUT - 1
        return cls(Data(held.path, held.x[~out], held.labels[~out]),
                   Data(held.path, held.x[out], held.labels[out]))


@dataclass(frozen=True)
class _Work:
    """A folder of what is done so far, which another run goes on from."""

    folder: Path

    @classmethod
    def opened(cls, output: Path, made_with: Mapping[str, str]) -> _Work:
        """The folder for ``output``, new or of the same work."""
        work = cls(output.with_suffix(".work"))
        mark = work.folder / "made_with.json"
        try:
            if work.folder.exists():
                if not mark.is_file() or json.loads(mark.read_bytes()) != made_with:
                    raise PenjingError(f"{work.folder}: it holds another compression that was not "
                                       f"finished; delete it, or name another output with -o")
            else:
                work.folder.mkdir(parents=True)
                file.write_atomically(mark, json.dumps(made_with).encode())
        except (OSError, ValueError) as error:
            raise PenjingError(f"{work.folder}: cannot be used ({error}); delete it, or name "
                               f"another output with -o") from None
        return work

    def step(self, number: int, suffix: str) -> Path:
        """A file of the step ``number``."""
        return self.folder / f"{number}{suffix}"

    def stage(self, number: int) -> Stage | None:
        """What was noted behind step ``number``, if that was finished."""
        path = self.step(number, ".json")
        if not path.is_file():
            return None
        from ..compiler.compress.sizes import LayerSize

        held = json.loads(path.read_bytes())
        return Stage(held["do"], held["accuracy"], held["integer_accuracy"],
                     tuple(LayerSize(**layer) for layer in held["layers"]),
                     tuple((loss, accuracy) for loss, accuracy in held["epochs"]))

    def note(self, number: int, stage: Stage) -> None:
        """Step ``number`` is finished."""
        file.write_atomically(self.step(number, ".json"), json.dumps(asdict(stage)).encode())


def _floats(path: Path, target: Path, asked: Recipe, sets: _Sets,
            quantization: Quantization | None, work: _Work, progress: Progress) -> list[Stage]:
    """Compress a PyTorch program."""
    with needing(path, "compress"):
        import torch

        from ..compiler.compress import trainable, training
        from ..compiler.compress.inputs import input_code
        from ..compiler.compress.pipeline import Pipeline, flattened
        from ..compiler.load import torch as pytorch

    progress("load", 0, 0)
    network = trainable.read(path)
    floats = pytorch.load(path)
    options = quantization or Quantization()
    with data.naming(sets.training.path):
        code = input_code(sets.training.x, floats.input_shape, options.input_bits or 8,
                          options.input_scale)

    def tensors(images: Data) -> training.Data:
        with data.naming(images.path):
            real = code.real(images.x).astype(np.float32).transpose(0, 3, 1, 2)
        made = torch.from_numpy(np.ascontiguousarray(real)).reshape(len(real), *network.dims)
        return training.Data(made, torch.from_numpy(images.labels), lambda x, _: x)

    train, test = tensors(sets.training), tensors(sets.test)
    classes = network.module(network.example()).shape[-1]
    if max(int(train.labels.max()), int(test.labels.max())) >= classes or int(
            min(train.labels.min(), test.labels.min())) < 0:
        raise data.BadData(f"{sets.training.path}: labels must be 0 to {classes - 1}, as the "
                           f"network has {classes} outputs")
    pipeline = Pipeline(train, asked.seed, network.copied().module, flattened(floats))
    calibration = _calibration(sets, work.folder, options)

    def judged(do: str, at: Path, epochs: Sequence[training.Epoch]) -> Stage:
        progress(f"{do or 'before'}: integers", 0, 0)
        made = load(at, calibration, "network")
        return Stage(do, training.accuracy(network.module, test), golden_accuracy(made, sets.test),
                     _sizes(made.network), tuple((epoch.loss, epoch.accuracy) for epoch in epochs))

    stages = []
    for number, step in enumerate((None, *asked.steps)):
        at, noted = work.step(number, ".pt2"), work.stage(number)
        if noted is not None:
            network = trainable.read(at)
        else:
            epochs: list[training.Epoch] = []
            if step is not None:
                epochs = pipeline.take(
                    step, network.module, checkpoint=work.step(number, ".training"),
                    progress=lambda done, total, line, n=number, do=step.do: progress(
                        f"step {n}, {do} {line}", done, total))
            network.save(at)
            noted = judged(step.do if step is not None else "", at, epochs)
            work.note(number, noted)
        if step is not None:
            pipeline = pipeline.after(step, network.module)
        stages.append(noted)
    last = work.step(len(asked.steps), ".pt2")
    if target.suffix == file.SUFFIX:
        file.save(encode(load(last, calibration, target.stem).network, {}), target)
    else:
        file.write_atomically(target, last.read_bytes())
    return stages


def _calibration(sets: _Sets, folder: Path, options: Quantization) -> Quantization:
    """How floats become integers, by the first training images unless the user gave others."""
    if options.calibration is not None:
        return options
    path = folder / "calibration.npz"
    if not path.exists():
        np.savez(path, x=sets.training.x[:CALIBRATION])
    return replace(options, calibration=path)


def _integers(path: Path, target: Path, asked: Recipe, sets: _Sets, progress: Progress
              ) -> list[Stage]:
    """Compress a network of integers, which nothing can train."""
    from ..compiler.compress import integers
    from ..compiler.compress.recipe import Prune, Share

    if target.suffix != file.SUFFIX:
        raise PenjingError(f"{target}: {path.name} is a network of integers, and stays one; call "
                           f"the output *{file.SUFFIX}")
    model = load(path, name=target.stem, progress=progress)
    stages = [_stage("", model, sets)]
    for number, step in enumerate(asked.steps, 1):
        progress(f"step {number}, {step.do}", 0, 0)
        if isinstance(step, Prune) and not step.epochs and step.is_plain:
            network = integers.prune(model.network, step.layers or step.ratio)
        elif isinstance(step, Share) and not step.epochs:
            network = integers.share(model.network, step.layers or step.codes)
        else:
            raise PenjingError(f"{path}: step {number}: a network of integers is pruned by "
                               f"magnitude, weight by weight, and shared, without epochs; take the "
                               f"PyTorch program for more")
        model = replace(model, network=network)
        stages.append(_stage(step.do, model, sets))
    file.save(encode(model.network, {}), target)
    return stages


def _stage(do: str, model: Model, sets: _Sets) -> Stage:
    """What a network of integers is now."""
    accuracy = golden_accuracy(model, sets.test)
    return Stage(do, accuracy, accuracy, _sizes(model.network))


def _sizes(network: Network) -> tuple[LayerSize, ...]:
    """What its layers take, encoded as `compile_model` does."""
    from ..compiler.compress.sizes import sizes

    return tuple(sizes(encode(network, {})))


def _labelled(path: str | Path) -> Data:
    """The images of a file, with class numbers of two classes at least."""
    held = data.read(path)
    if held.labels.ndim != 1 or len(np.unique(held.labels)) < 2:
        raise data.BadData(f"{path}: y must be class numbers (N,) of at least two classes; "
                           f"training needs different ones")
    return held


def _data_digest(images: Data) -> str:
    """Tells ``images`` and labels from others."""
    found = hashlib.sha256(np.ascontiguousarray(images.x))
    found.update(np.ascontiguousarray(images.labels))
    return found.hexdigest()[:16]


def _digest(path: Path) -> str:
    """Tells the file from others."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None
