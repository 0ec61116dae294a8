"""A network that becomes as small as a board must have it, as a search finds it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from ..compiler import file
from ..compiler.encode import encode
from ..compiler.ir import Network, PenjingError
from . import workers as pools
from .compile import Target
from .compress import require_target
from .data import BadData, Data, read
from .evaluate import golden_accuracy
from .finding import Finding, Tried
from .load import Model, Quantization, identifier, is_floats, load, needing
from .plots import draw_trials, require_plots
from .pricing import Pricing
from .progress import Progress, silent
from .project import Settings
from .sets import Sets, data_digest, labelled, require_classes
from .teachers import read_teachers
from .work import Work, digest

if TYPE_CHECKING:
    from ..compiler.compress.distillation import Distillation
    from ..compiler.compress.search.agents import Agent
    from ..compiler.compress.search.limits import Aim
    from ..compiler.compress.search.space import Choice, Environment, Made, Space, Trial
    from ..compiler.compress.trainable import Trainable
    from ..compiler.compress.training import Data as Tensors
    from ..compiler.compress.training import Settings as Training
    from ..compiler.dataflow.pricing import Cost

__all__ = ["Agents", "Effort", "Knobs", "search"]

FITTED = 2000
"""Training images that weights are fitted to, or trained with, in a trial."""
BATCH = 128
"""Images of a training step, if there are as many."""
_STEP = 1
_MOST = 1_000_000
"""Episodes, epochs and images that can be asked for."""


class Agents(StrEnum):
    """What proposes networks."""

    AMC = "amc"
    NETADAPT = "netadapt"
    HAQ = "haq"
    IMPORTANCE = "importance"
    TPE = "tpe"
    CMA_ES = "cma-es"
    RANDOM = "random"
    UNIFORM = "uniform"


_OF_BITS = (Agents.HAQ, Agents.IMPORTANCE)
"""Agents that decide bits unless they are told otherwise."""


class Knobs(StrEnum):
    """What is decided."""

    CHANNELS = "channels"
    BITS = "bits"


@dataclass(frozen=True)
class Effort:
    """How much is done: ``episodes`` of trials, each of ``tune`` epochs of training on
    ``FITTED`` images, and ``epochs`` of the network that is found, on all. Accuracies in a trial
    are of at most ``judged`` images. Widths are trained for an epoch unless ``tune`` says more.

    ``distil`` is the share of the original's answers in the loss, at ``temperature``.
    """

    episodes: int = 100
    tune: int | None = None
    epochs: int = 0
    judged: int = 1000
    learning_rate: float = 1e-3
    distil: float = 0.9
    temperature: float = 4.0

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("tune", 0), ("epochs", 0), ("judged", 1)):
            value = getattr(self, name)
            if name == "tune" and value is None:
                continue
            if type(value) is not int or not least <= value <= _MOST:
                raise PenjingError(f"{name}: it must be an integer from {least} to {_MOST:,}, not "
                                   f"{value!r:.40}")
        if not 0 < self.learning_rate < math.inf:
            raise PenjingError(f"learning rate: it must be positive, not "
                               f"{self.learning_rate!r:.40}")


def search(model: str | Path, output: str | Path, agent: Agents | str, target: Target,
           limits: Sequence[str], images: str | Path, *, knobs: Knobs | str | None = None,
           minimize: str | None = None, test: str | Path | None = None,
           effort: Effort | None = None, quantization: Quantization | None = None, seed: int = 1,
           workers: int | None = None, scheduler: str | None = None, plots: bool = False,
           result: str | None = None, teachers: Sequence[str | Path] = (),
           progress: Progress = silent) -> Finding:
    """Find the network, of those that become of ``model``, that keeps the ``limits`` best.

    A PyTorch program loses channels, or bits of weights and maps, as the ``knobs`` say, by default
    those of the agent, until its plan on the ``target`` keeps limits such as ``frames=5000`` or
    ``luts=20000``; the most accurate one is sought, or that of the least ``minimize`` where the
    accuracy keeps ``accuracy=0.9``. ``images`` is an ``.npz`` file with x and labels y, of which
    every tenth judges the trials; the network that is found is judged by those of ``test``, if
    given. It is written to ``output``, a program (``.pt2``) or integers (``.penjing``, always with
    bits), all trials to the same with ``.json``, and a picture to ``.svg`` if ``plots``.
    A search that was interrupted goes on from the folder with ``.work``. Trials run on ``workers``
    or those of a Dask ``scheduler``, see `penjing.flow.workers`. What is found is trained with the
    answers of the PyTorch programs ``teachers``, by default those of ``model``. `PenjingError`
    where anything is unfit.
    """
    path, place = Path(model), Path(output)
    pools.check_workers(workers, scheduler)
    require_target(path, place, teachers)
    if not is_floats(path, result):
        raise PenjingError(f"{path}: it holds integers, of which no search can be made; take the "
                           f"PyTorch program that they came from")
    if type(seed) is not int or not 0 <= seed < 1 << 31:
        raise PenjingError(f"seed: it must be an integer from 0 to 2**31 - 1, not {seed!r:.40}")
    if plots:
        require_plots(place)
    progress("load", 0, 0)
    with needing(path, "search"):
        from ..compiler.compress.search import (
            baselines,  # noqa: F401
            judging,
            runs,
        )
        from ..compiler.compress.search import limits as aims
    aim = aims.parse(limits, minimize)
    sets = Sets.read(images, None)
    tested = None if test is None else labelled(test)
    agent = _one_of(Agents, "agent", agent)
    decided = _one_of(Knobs, "knobs", knobs or (
        Knobs.BITS if agent in _OF_BITS else Knobs.CHANNELS))
    if agent is Agents.IMPORTANCE and (decided is Knobs.CHANNELS or minimize is not None):
        raise PenjingError("importance: it tells the bits that keep limits; leave --knobs and "
                           "--minimize out, or take another agent")
    if decided is Knobs.BITS and place.suffix != file.SUFFIX:
        raise PenjingError(f"{place}: a network whose layers have bits of their own is one of "
                           f"integers; call it *{file.SUFFIX}")
    job = _Job(path, place, agent, decided, target, aim, effort or Effort(), seed, sets, result,
               tuple(teachers), progress)
    options = quantization or Quantization()
    made_with = {"model": digest(path), "result": repr(result),
                 "images": data_digest(sets.training), "quantization": repr(options),
                 "teachers": repr([digest(Path(one)) for one in teachers])}
    with Work.opened(place.with_suffix(".work"), made_with, [job.told_by_trials]) as work:
        network = job.network(sets.training, sets.test, *([] if tested is None else [tested]))
        calibrated = sets.calibration(work.folder, options)
        # Mistakes in what comes last are not told behind a long search.
        loss = job.loss(network)
        if tested is not None:
            job.tensors(tested, network, calibrated)
        space = job.space(network, calibrated)
        space.require()
        player = job.player(space)
        journal = _Journal.read(work.step(_STEP, ".trials"), player.episodes, space, progress)
        with pools.workers(workers, scheduler) as judges:
            trials = runs.run(player, space, lambda choices: judges.each(
                judging.accuracy, space.environment, choices, journal.note), journal.known)
        finding = job.finished(network, space, trials, loss, tested, calibrated, work)
        file.write_atomically(place.with_suffix(".json"),
                              (json.dumps(finding.json(), indent=1) + "\n").encode())
        if plots:
            draw_trials(finding, place.with_suffix(".svg"))
        work.remove()
    return finding


_Option = TypeVar("_Option", Agents, Knobs)


def _one_of(options: type[_Option], what: str, value: str) -> _Option:
    """The one of the ``options`` that is called ``value``."""
    try:
        return options(value)
    except ValueError:
        raise PenjingError(f"{what}: there is no {value!r:.40}; name one of "
                           f"{', '.join(options)}") from None


@dataclass
class _Told:
    """A ``price``, whose ``plans`` are counted for people: some agents make more plans than trials.
    """

    price: Pricing
    progress: Progress
    plans: int = 0

    def __call__(self, network: Network) -> Cost:
        self.plans += 1
        self.progress(f"{self.plans:,} plans", 0, 0)
        return self.price(network)


@dataclass
class _Journal:
    """The accuracies that a search of the ``space`` knows, in the file ``path``, of ``total``
    trials or so.
    """

    path: Path
    total: int
    space: Space
    progress: Progress
    known: dict[Choice, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, total: int, space: Space, progress: Progress) -> Self:
        """The journal in the file ``path``; lines that are damaged, or cut off, are left out."""
        held = path.read_bytes() if path.exists() else b""
        if held and not held.endswith(b"\n"):
            file.write_atomically(path, held := held + b"\n")
        known = {}
        for line in held.splitlines():
            try:
                told = json.loads(line)
                choice, accuracy = tuple(map(int, told["choice"])), float(told["accuracy"])
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if 0 <= accuracy <= 1:
                known[choice] = accuracy
        return cls(path, total, space, progress, known)

    def note(self, choice: Choice, accuracy: float) -> None:
        """A trial is done."""
        self.known[choice] = accuracy
        with open(self.path, "a") as stream:
            stream.write(json.dumps({"choice": choice, "accuracy": accuracy}) + "\n")
        # Of those of an earlier run only what this one has asked for is priced.
        fitting = [told for one, told in self.known.items()
                   if one in self.space.known and self.space.fits(one)]
        best = f"the best {max(fitting):.1%}" if fitting else "none within the limits yet"
        self.progress(f"trials, {best}", len(self.known), max(self.total, len(self.known)))


@dataclass(frozen=True)
class _Job:
    """What `search` was called with, read and checked."""

    path: Path
    place: Path
    agent: Agents
    knobs: Knobs
    target: Target
    aim: Aim
    effort: Effort
    seed: int
    sets: Sets
    result: str | None
    teachers: tuple[str | Path, ...]
    progress: Progress

    @property
    def told_by_trials(self) -> str:
        """All that the accuracies of trials depend on, beside the network and the images."""
        effort = self.effort
        return repr((self.knobs, effort.tune, effort.judged, effort.learning_rate, self.seed))

    def loss(self, network: Trainable) -> Distillation:
        """That of the last training."""
        from ..compiler.compress.distillation import Distillation

        return Distillation(*(one.module for one in read_teachers(self.teachers, network)),
                            temperature=self.effort.temperature, alpha=self.effort.distil)

    def network(self, *sets: Data) -> Trainable:
        """What is to become smaller, which tells the classes of ``sets`` apart."""
        from ..compiler.compress import trainable

        network = trainable.read(self.path, result=self.result)
        require_classes(self.path, network, *sets)
        return network

    def space(self, network: Trainable, calibrated: Quantization) -> Space:
        """All that can become of ``network``, and what it costs."""
        from ..compiler.compress.search.space import Space

        fitted = self.tensors(self.sets.training, network, calibrated, FITTED)
        judged = self.tensors(self.sets.test, network, calibrated, self.effort.judged)
        if any(len(images.labels.unique()) < 2 for images in (fitted, judged)):
            raise BadData(f"{self.sets.training.path}: the first images, which trials look at, are "
                          f"all of one class; shuffle them")
        whole = load(self.path, calibrated, result=self.result).network
        environment: Environment
        if self.knobs is Knobs.BITS:
            environment = self._widths(network, fitted, judged, calibrated)
        else:
            from ..compiler.compress.search.channels import Channels

            environment = Channels(network, whole, fitted, judged,
                                   self._training(self.effort.tune or 0, fitted), seed=self.seed)
        price = _Told(Pricing.on(self.target, whole, self.aim), self.progress)
        return Space(environment, price, self.aim)

    def _widths(self, network: Trainable, fitted: Tensors, judged: Tensors,
                calibrated: Quantization) -> Environment:
        from ..compiler.compress.fixed_point import Mode
        from ..compiler.compress.search.widths import Widths

        assert calibrated.calibration is not None
        tune = 1 if self.effort.tune is None else self.effort.tune
        return Widths(network, read(calibrated.calibration).x, fitted, judged,
                      self._training(tune, fitted), calibrated.mode or Mode.DIVERGENCE,
                      calibrated.input_bits or 8, calibrated.input_scale)

    def tensors(self, images: Data, network: Trainable, calibrated: Quantization,
                most: int | None = None) -> Tensors:
        """The first of ``images`` as ``network`` takes them."""
        labels = None if images.y is None else images.y[:most]
        return self.sets.tensors(Data(images.path, images.x[:most], labels), network, calibrated)

    def _training(self, epochs: int, images: Tensors) -> Training | None:
        from ..compiler.compress.training import Settings

        return Settings(epochs, min(BATCH, len(images.images)),
                        learning_rate=self.effort.learning_rate, seed=self.seed
                        ) if epochs else None

    def player(self, space: Space) -> Agent:
        """The agent that was asked for; none is needed where the network is as it must be."""
        from ..compiler.compress.search.amc import Amc
        from ..compiler.compress.search.baselines import Optuna, RandomSearch, Uniform
        from ..compiler.compress.search.haq import Haq
        from ..compiler.compress.search.netadapt import NetAdapt

        if self.aim.minimize is None and space.fits(space.highest):
            return Uniform(space)
        if self.agent is Agents.IMPORTANCE:
            from ..compiler.compress.search.by_importance import ByImportance
            from ..compiler.compress.search.widths import Widths

            assert isinstance(space.environment, Widths)
            return ByImportance(space, space.environment)
        episodes, seed = self.effort.episodes, self.seed
        made: Mapping[Agents, Callable[[], Agent]] = {
            Agents.AMC: lambda: Amc(space, episodes, seed),
            Agents.NETADAPT: lambda: NetAdapt(space),
            Agents.HAQ: lambda: Haq(space, episodes, seed),
            Agents.TPE: lambda: Optuna(space, episodes, seed),
            Agents.CMA_ES: lambda: Optuna(space, episodes, seed, adapts=True),
            Agents.RANDOM: lambda: RandomSearch(space, episodes, seed),
            Agents.UNIFORM: lambda: Uniform(space)}
        return made[self.agent]()

    def finished(self, network: Trainable, space: Space, trials: Sequence[Trial],
                 loss: Distillation, tested: Data | None, calibrated: Quantization, work: Work
                 ) -> Finding:
        """Make the best of ``trials``, train it, write it, and judge it."""
        from ..compiler.compress import training
        from ..compiler.compress.search.space import Trial, best

        found = best(trials, self.aim)
        if found is None:
            raise PenjingError(f"search: none of {len(trials)} networks keeps the limits; give it "
                               f"more episodes, or raise them")
        made = space.environment.made(found.choice)
        if self.effort.epochs:
            every = self.tensors(self.sets.training, network, calibrated)
            settings = self._training(self.effort.epochs, every)
            assert settings is not None
            training.fit(made.model.module, every, settings, loss=loss,
                         checkpoint=work.step(_STEP, ".training"),
                         made_with={"choice": repr(found.choice), "distillation": repr(
                             (loss.temperature, loss.alpha))},
                         progress=lambda done, total, line: self.progress(
                             f"training: {line or 'begins'}", done, total))
        integers = self._integers(made, calibrated, work)
        images = tested or self.sets.test
        judged = self.tensors(images, network, calibrated)
        cost = Pricing.on(self.target, integers.network, self.aim).of_found(integers.network)
        accuracy = golden_accuracy(
            integers, images, lambda _, done, total: self.progress("integers", done, total))
        file.write_atomically(self.place, work.step(_STEP, self.place.suffix).read_bytes())
        whole = Trial(space.highest, training.accuracy(network.module, judged), space.cost(
            space.highest))
        return Finding(
            self.place, self.agent, self.seed, self.aim, tuple(
                knob.name for knob in space.knobs), self._tried(space, whole),
            self._tried(space, found), tuple(self._tried(space, trial) for trial in trials),
            training.accuracy(made.model.module, judged), accuracy, len(images.x),
            tested is not None, cost, self.aim.kept(accuracy, cost))

    def _integers(self, made: Made, calibrated: Quantization, work: Work) -> Model:
        """The integers that ``made`` is, and in ``work`` the file that becomes the output."""
        at = work.step(_STEP, self.place.suffix)
        if made.integers is not None:
            network = replace(encode(made.integers(), {}), name=identifier(self.place.stem))
            file.save(network, at)
            return Model(network, Settings())
        program = work.step(_STEP, ".pt2")
        made.model.save(program)
        integers = load(program, calibrated, self.place.stem)
        if at != program:
            file.save(encode(integers.network, {}), at)
        return integers

    def _tried(self, space: Space, trial: Trial) -> Tried:
        levels = tuple(knob.levels[index] for knob, index in zip(
            space.knobs, trial.choice, strict=True))
        return Tried(levels, trial.accuracy, trial.cost, self.aim.kept(
            trial.accuracy, trial.cost))
