"""A network that becomes smaller as a recipe says, and what each step of it did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..compiler import file
from ..compiler.encode import encode
from ..compiler.ir import PenjingError
from .compression import Compression, Stage
from .evaluate import golden_accuracy
from .load import Model, Quantization, is_floats, load, needing
from .plots import draw_sizes, require_plots
from .progress import Progress, silent
from .sets import Sets, data_digest, require_classes
from .teachers import read_teachers
from .work import Work, digest

if TYPE_CHECKING:
    from ..compiler.compress.pipeline import Pipeline, Taken
    from ..compiler.compress.recipe import Recipe
    from ..compiler.compress.sizes import LayerSize
    from ..compiler.compress.steps import Step
    from ..compiler.compress.trainable import Trainable
    from ..compiler.compress.training import Data as Tensors
    from ..compiler.compress.training import Progress as Steps

__all__ = ["compress"]


def compress(model: str | Path, output: str | Path, recipe: str | Path, images: str | Path, *,
             test: str | Path | None = None, quantization: Quantization | None = None,
             seed: int | None = None, plots: bool = False, keep: bool = False,
             result: str | None = None, teachers: Sequence[str | Path] = (),
             progress: Progress = silent) -> Compression:
    """Make the network in ``model`` smaller as the ``recipe`` says, and write it to ``output``.

    ``recipe`` is a file, or the name of one that comes with Penjing; ``seed`` stands for its own.
    ``images`` is an ``.npz`` file with x and labels y; accuracy is told of those in ``test``, by
    default of every tenth of ``images``, which is then not trained with. A ``.pt2`` program stays
    one, or becomes a ``.penjing`` file of integers, as the ``output`` is called; a network of
    integers is pruned and shared without training. What each step did is in ``output`` with the
    suffix ``.json``, and if ``plots`` drawn as ``.svg``. A run that was interrupted goes on from
    the folder ``output`` with the suffix ``.work``, which stays if ``keep``. Of several outputs of
    ``model``, the one called ``result`` counts. Where a step distils, it is from
    the PyTorch programs ``teachers``, by default from ``model`` as it was. `PenjingError` where any
    of that is unfit.
    """
    path, target = Path(model), Path(output)
    require_target(path, target, teachers)
    progress("load", 0, 0)
    with needing(path, "compress"):
        from ..compiler.compress import recipe as recipes

        asked = recipes.read(recipe)
    if teachers and not any(step.distil or step.maps for step in asked.steps):
        raise PenjingError(f"{recipe}: no step of it learns from a teacher; give steps distil or "
                           f"maps, or no teacher")
    if plots:
        require_plots(target)
    if seed is not None:
        asked = replace(asked, seed=seed)
    sets = Sets.read(images, test)
    made_with = {
        "model": digest(path), "result": repr(result), "seed": str(asked.seed),
        "training": data_digest(sets.training), "test": data_digest(sets.test),
        "quantization": repr(quantization),
        "teachers": repr([digest(Path(one)) for one in teachers])}
    take = _floats if is_floats(path, result) else _integers
    with Work.opened(target.with_suffix(".work"), made_with, [
            repr(step) for step in asked.steps]) as work:
        job = _Job(path, target, asked, str(recipe), sets, work, progress, result,
                   quantization or Quantization(), tuple(teachers))
        made = Compression(target, str(recipe), asked.seed, len(sets.test.x), tuple(take(job)))
        file.write_atomically(target.with_suffix(".json"),
                              (json.dumps(made.json(), indent=1) + "\n").encode())
        if plots:
            draw_sizes(made, target.with_suffix(".svg"))
        if not keep:
            work.remove()
    return made


def require_target(path: Path, target: Path, teachers: Sequence[str | Path] = ()) -> None:
    """Refuse before anything is done what could not be written in the end."""
    if target.suffix not in (".pt2", file.SUFFIX):
        raise PenjingError(f"{target}: a compressed network is a .pt2 program or a {file.SUFFIX} "
                           f"file; call it so")
    for suffix in (target.suffix, ".json", ".svg"):
        if target.with_suffix(suffix).is_dir():
            raise PenjingError(f"{target.with_suffix(suffix)}: it is a folder, and a file of that "
                               f"name is to be written; name another output with -o")
    for held, what in ((path, "the network that is to be compressed"),
                       *((Path(teacher), "a teacher") for teacher in teachers)):
        if target.exists() and held.exists() and target.samefile(held):
            raise PenjingError(f"{target}: it is {what}; name another output with -o")


@dataclass(frozen=True)
class _Job:
    """What `compress` was called with, read and checked."""

    path: Path
    target: Path
    asked: Recipe
    origin: str
    sets: Sets
    work: Work
    progress: Progress
    result: str | None
    quantization: Quantization
    teachers: tuple[str | Path, ...] = ()

    @contextmanager
    def at(self, number: int, step: Step | None) -> Iterator[None]:
        """Let errors name the recipe and the step; None is before all."""
        try:
            yield
        except PenjingError as error:
            if step is None or type(error) is not PenjingError:
                raise
            raise PenjingError(f"{self.origin}: step {number}, {step.do}: {error}") from None

    def steps(self, number: int, step: Step) -> Steps:
        """How training tells how far it is."""
        return lambda done, total, line: self.progress(
            f"step {number} of {len(self.asked.steps)}, {step.do}: {line or 'begins'}", done, total)

    def judged(self, model: Model, do: str) -> float:
        """The accuracy of a network of integers."""
        return golden_accuracy(model, self.sets.test, lambda _, done, total: self.progress(
            f"{do or 'before'}: integers", done, total))


def _floats(job: _Job) -> list[Stage]:
    """Compress a PyTorch program."""
    with needing(job.path, "compress"):
        from ..compiler.compress import trainable
        from ..compiler.compress.pipeline import Taken
    network = trainable.read(job.path, result=job.result)
    pipeline = _pipeline(job, network)
    test = job.sets.tensors(job.sets.test, network, job.quantization)
    renamed = False
    for number, asked in enumerate(job.asked.steps, 1):
        with job.at(number, asked):
            pipeline.check(asked, network, renamed=renamed)
        renamed |= asked.renames
    work: Work = job.work
    calibration, stages = job.sets.calibration(work.folder, job.quantization), []
    for number, step in enumerate((None, *job.asked.steps)):
        at, noted = work.step(number, ".pt2"), work.stage(number)
        if noted is None:
            taken = Taken(network)
            with job.at(number, step):
                if step is not None:
                    taken = pipeline.take(
                        step, network, checkpoint=work.step(number, ".training"),
                        progress=job.steps(number, step))
                taken.network.save(at)
                noted = _behind(job, step.do if step is not None else "", taken, test, load(
                    at, calibration, "network"))
            work.note(number, noted)
        # As a run finds it that goes on here: sums are called anew in a file.
        network = trainable.read(at)
        if step is not None:
            pipeline = pipeline.after(step, network)
        stages.append(noted)
    last, target = work.step(len(job.asked.steps), ".pt2"), job.target
    if target.suffix == file.SUFFIX:
        file.save(encode(load(last, calibration, target.stem).network, {}), target)
    else:
        file.write_atomically(target, last.read_bytes())
    return stages


def _pipeline(job: _Job, network: Trainable) -> Pipeline:
    """What all steps share; `PenjingError` for data that do not suit ``network``."""
    from ..compiler.compress.pipeline import Pipeline

    require_classes(job.path, network, job.sets.training, job.sets.test)
    training = job.sets.tensors(job.sets.training, network, job.quantization)
    return Pipeline(training, job.asked.seed, read_teachers(job.teachers, network))


def _behind(job: _Job, do: str, taken: Taken, test: Tensors, made: Model) -> Stage:
    """What the network behind a step is, and the integers that are ``made`` of it."""
    from ..compiler.compress.training import accuracy

    return Stage(do, accuracy(taken.network.module, test), job.judged(made, do), _sizes(made),
                 tuple((epoch.loss, epoch.accuracy) for epoch in taken.epochs), taken.blocks)


def _integers(job: _Job) -> list[Stage]:
    """Compress a network of integers, which nothing can train."""
    from ..compiler.compress import integers
    from ..compiler.compress.steps import Prune, Share

    path, target = job.path, job.target
    model = load(path, name=target.stem, progress=job.progress, result=job.result)
    if job.teachers:
        raise PenjingError(f"{path}: it is a network of integers, which is not trained and learns "
                           f"from none; leave --teacher out")
    for number, step in enumerate(job.asked.steps, 1):
        if step.epochs or not (isinstance(step, Prune | Share) and step.is_plain):
            raise PenjingError(f"{job.origin}: step {number}, {step.do}: {path.name} is a network "
                               f"of integers, which is pruned by magnitude, weight by weight, and "
                               f"shared by exact k-means, without epochs; take its floats for more")
    if target.suffix != file.SUFFIX:
        raise PenjingError(f"{target}: {path.name} is a network of integers, and stays one; call "
                           f"the output *{file.SUFFIX}")
    stages = [_of_integers(job, "", model)]
    for number, step in enumerate(job.asked.steps, 1):
        with job.at(number, step):
            if isinstance(step, Prune):
                network = integers.prune(model.network, step.ratio, step.layers)
            else:
                assert isinstance(step, Share)
                network = integers.share(model.network, step.codes, step.layers)
        model = replace(model, network=network)
        stages.append(_of_integers(job, step.do, model))
    file.save(encode(model.network, {}), target)
    return stages


def _of_integers(job: _Job, do: str, model: Model) -> Stage:
    """What a network of integers is, behind a step."""
    accuracy = job.judged(model, do)
    return Stage(do, accuracy, accuracy, _sizes(model))


def _sizes(model: Model) -> tuple[LayerSize, ...]:
    """What its layers take as `compile_model` makes them: without channels that nobody reads."""
    from ..compiler.compress.sizes import sizes

    whole = sizes(model.network)
    left = {layer.layer: layer for layer in sizes(encode(model.reduced.network, {}))}
    return tuple(replace(left[layer.layer], weights=layer.weights, float_bits=layer.float_bits)
                 if layer.layer in left else replace(layer, nonzeros=0, stored_bits=0, coded_bits=0)
                 for layer in whole)
