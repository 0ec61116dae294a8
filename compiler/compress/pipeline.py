"""What a recipe does to a PyTorch model, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

from torch import nn

from ..load.floats import FloatDense, FloatFlatten, FloatNetwork
from . import codebooks, training
from .distillation import Distillation
from .prune import (
    L1,
    L2,
    Amount,
    Below,
    Criterion,
    Deviations,
    Each,
    Gradual,
    Granularity,
    LayerAdaptive,
    Masks,
    NofM,
    OptimalBrainDamage,
    Overall,
    Round,
    geometric,
    layers_of,
    prune,
)
from .recipe import Prune, Ranking, Share, Step, Timing, Train
from .training import Data, Epoch, Loss, Progress, Settings, cross_entropy

__all__ = ["Pipeline", "flattened"]

_CRITERIA: Mapping[Ranking, Criterion] = {
    Ranking.MAGNITUDE: L1(), Ranking.SQUARE: L2(), Ranking.DEVIATIONS: Deviations(),
    Ranking.LAYER_ADAPTIVE: LayerAdaptive(), Ranking.OPTIMAL_BRAIN_DAMAGE: OptimalBrainDamage()}


@dataclass(frozen=True)
class Pipeline:
    """What all steps share: the ``data``, the ``seed``, and the ``teacher``, which stays as it is.

    ``flattened`` says of linear layers that take a flattened map its (height, width). ``codes`` are
    those of the layers that share weights already.
    """

    data: Data
    seed: int
    teacher: nn.Module
    flattened: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)

    def after(self, step: Step, model: nn.Module) -> Pipeline:
        """The same for what comes behind ``step``."""
        return replace(self, codes=self._codes(step, model)) if isinstance(step, Share) else self

    def take(self, step: Step, model: nn.Module, *, checkpoint: Path | None = None,
             progress: Progress | None = None) -> list[Epoch]:
        """Do ``step`` to ``model``, in place, and tell the epochs that it was trained for.

        What is 0 stays so, and so do shared weights. A training that was interrupted goes on from
        ``checkpoint``. `PenjingError` where the step does not suit the model.
        """
        return self._take(step, model, checkpoint, progress)

    @singledispatchmethod
    def _take(self, step: Step, model: nn.Module, checkpoint: Path | None,
              progress: Progress | None) -> list[Epoch]:
        raise TypeError(f"step must be one of a recipe, not {step!r}")

    @_take.register
    def _(self, step: Prune, model: nn.Module, checkpoint: Path | None,
          progress: Progress | None) -> list[Epoch]:
        layers = layers_of(model, flattened=self.flattened)
        amount = _amount(step, list(layers))
        settings = self._settings(step)
        unit = Granularity.WEIGHT if step.n_of_m else Granularity[step.unit.upper()]
        schedule: Any = [Round(amount, settings)]
        if step.timing is Timing.ITERATIVE and isinstance(amount, Each | Overall) and settings:
            schedule = geometric(amount, step.rounds, settings)
        elif step.timing is Timing.GRADUAL and isinstance(amount, Each | Overall) and settings:
            steps = int(step.ramp * settings.steps(len(self.data.images)))
            schedule = Gradual(amount, settings, every=min(step.every, steps),
                               updates=max(1, steps // step.every))
        made = prune(model, self.data, schedule, criterion=_CRITERIA[step.criterion],
                     granularity=unit, layers=layers, loss=self._loss(step), checkpoint=checkpoint,
                     progress=progress)
        return [epoch for epochs in made.epochs for epoch in epochs]

    @_take.register
    def _(self, step: Share, model: nn.Module, checkpoint: Path | None,
          progress: Progress | None) -> list[Epoch]:
        codes = self._codes(step, model)
        return self._train_shared(step, model, codes, step.start, checkpoint, progress)

    @_take.register
    def _(self, step: Train, model: nn.Module, checkpoint: Path | None,
          progress: Progress | None) -> list[Epoch]:
        if self.codes:
            # As few values as codes: what is found is what is there.
            return self._train_shared(step, model, self.codes, codebooks.Start.EXACT, checkpoint,
                                      progress)
        return self._fit(step, model, Masks.of(model), checkpoint, progress)

    def _train_shared(self, step: Step, model: nn.Module, codes: Mapping[str, int],
                      start: codebooks.Start, checkpoint: Path | None, progress: Progress | None
                      ) -> list[Epoch]:
        """Share weights, train the centroids, and leave plain weights."""
        layers = {name: layer.module for name, layer in layers_of(model).items() if name in codes}
        codebooks.share(layers, codes, start, self.seed)
        try:
            return self._fit(step, model, Masks(), checkpoint, progress)
        finally:
            codebooks.release(layers.values())

    def _fit(self, step: Step, model: nn.Module, masks: Masks, checkpoint: Path | None,
             progress: Progress | None) -> list[Epoch]:
        settings = self._settings(step)
        if settings is None:
            return []
        return training.fit(model, self.data, settings, loss=self._loss(step),
                            after_step=masks.on(model), checkpoint=checkpoint,
                            made_with={"step": repr(step)}, progress=progress)

    def _settings(self, step: Step) -> Settings | None:
        return Settings(step.epochs, step.batch, step.learning_rate, seed=self.seed
                        ) if step.epochs else None

    def _loss(self, step: Step) -> Loss:
        if not step.distil:
            return cross_entropy
        return Distillation(self.teacher, step.temperature, step.distil)

    def _codes(self, step: Share, model: nn.Module) -> dict[str, int]:
        """How many values each layer may have."""
        return {**dict.fromkeys(layers_of(model), step.codes), **step.layers}


def flattened(network: FloatNetwork) -> dict[str, tuple[int, int]]:
    """(height, width) of the map that each linear layer of ``network`` takes flattened."""
    found, layers = {}, {layer.name: layer for layer in network.layers}
    for layer in network.layers:
        source = layers.get(layer.inputs[0])
        if isinstance(layer, FloatDense) and isinstance(source, FloatFlatten):
            height, width, _ = network.shapes[source.inputs[0]]
            found[layer.name] = height, width
    return found


def _amount(step: Prune, layers: list[str]) -> Amount:
    """How much of the ``layers`` goes."""
    if step.n_of_m is not None:
        return NofM(*step.n_of_m)
    if step.below is not None:
        return Below(step.below)
    if step.together:
        return Overall(step.ratio)
    if not step.layers:
        return Each(step.ratio)
    ratios = {**dict.fromkeys(layers, step.ratio), **step.layers}
    return Each({name: ratio for name, ratio in ratios.items() if ratio})
