"""What a recipe does to a PyTorch network, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, singledispatchmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..ir import PenjingError
from . import codebooks, shortcuts, surgery, training
from .allotment import allot
from .blending import blended
from .distillation import Distillation
from .folding import folded, parted, require_few_values
from .low_rank import factored
from .low_rank.chains import require_factorable
from .prune import (
    L1,
    L2,
    Activity,
    Amount,
    Below,
    Criterion,
    Deviations,
    Each,
    Gradual,
    Granularity,
    Layer,
    LayerAdaptive,
    Masks,
    NofM,
    OptimalBrainDamage,
    Overall,
    Round,
    Scales,
    channel_scores,
    flattened_maps,
    geometric,
    is_plain,
    known,
    layers_of,
    prune,
    select_inputs,
    share_of,
    slimming,
)
from .steps import (
    Blocks,
    ChannelRanking,
    Channels,
    Inputs,
    LowRank,
    Operate,
    Prune,
    Ranking,
    Rounding,
    Share,
    Step,
    Timing,
    Train,
)
from .structure import channel_norms, narrow
from .trainable import Trainable
from .training import Data, Epoch, Loss, Progress, Settings, cross_entropy

__all__ = ["Pipeline", "Taken"]

_JUDGED, _MIXED = 1000, 0.5
"""Images by which is told what a layer's weights are worth, and the share of them that is blended:
of training images alone a network says little more than their labels."""
_UPDATES = 10
"""Times that weights are ranked, at least, where pruning is gradual."""
_CRITERIA: Mapping[Ranking, Criterion] = {
    Ranking.MAGNITUDE: L1(), Ranking.SQUARE: L2(), Ranking.DEVIATIONS: Deviations(),
    Ranking.LAYER_ADAPTIVE: LayerAdaptive(), Ranking.OPTIMAL_BRAIN_DAMAGE: OptimalBrainDamage()}
_OF_CHANNELS: Mapping[ChannelRanking, Criterion] = {
    ChannelRanking.BATCH_NORM: Scales(), ChannelRanking.ACTIVITY: Activity(),
    ChannelRanking.OPTIMAL_BRAIN_DAMAGE: OptimalBrainDamage()}


@dataclass(frozen=True)
class Taken:
    """The ``network`` behind a step, the ``epochs`` that it was trained for, and ``blocks`` that
    went.
    """

    network: Trainable
    epochs: tuple[Epoch, ...] = ()
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """What all steps share: the ``data``, the ``seed``, and the ``teachers``, which stay the same.

    ``codes`` are how many values those layers have that share weights already.
    """

    data: Data
    seed: int
    teachers: tuple[Trainable, ...]
    codes: Mapping[str, int] = field(default_factory=dict)

    def after(self, step: Step, network: Trainable) -> Pipeline:
        """The same for what comes behind ``step``."""
        return (replace(self, codes=_codes(step, network)) if isinstance(step, Share)
                else self)

    def take(self, step: Step, network: Trainable, *, checkpoint: Path | None = None,
             progress: Progress | None = None) -> Taken:
        """Do ``step`` to ``network``, whose module changes.

        What is 0 stays so, and so do shared weights. A training that was interrupted goes on from
        ``checkpoint``. `PenjingError` where the step does not suit the network.
        """
        self.check(step, network)
        return self._take(step, network, checkpoint, progress)

    def check(self, step: Step, network: Trainable, *, renamed: bool = False) -> None:
        """`PenjingError` where ``step`` names what ``network`` has not, or cannot train it.

        It takes no time, so that a mistake in the last step need not wait for the first ones. Names
        of layers are those behind another step that has ``renamed`` some, and not looked at, then.
        """
        if not network.layers:
            raise PenjingError("the network has no layers with weights; there is nothing to do")
        if isinstance(step, Blocks):
            shortcuts.require(network, step.names, step.count)
        elif not renamed:
            _check_layers(step, network)
        trained = step.epochs or (isinstance(step, Channels) and step.before)
        if trained:
            Settings(1, step.batch).steps(len(self.data.images))
        if trained and step.maps and len(self.teachers) > 1:
            raise PenjingError(f"maps are those of one teacher, not of {len(self.teachers)}; let "
                               f"maps be 0")
        if trained and step.batch == 1 and any(
                isinstance(part, nn.modules.batchnorm._BatchNorm)
                for part in network.module.modules()):
            raise PenjingError("a batch of 1 has no deviations, which batch norms need; raise it")

    @singledispatchmethod
    def _take(self, step: Step, network: Trainable, checkpoint: Path | None,
              progress: Progress | None) -> Taken:
        raise TypeError(f"step must be one of a recipe, not {step!r}")

    @_take.register
    def _(self, step: Prune, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        layers = _layers(network)
        if step.names_whole_layers:
            layers = {name: layer for name, layer in layers.items() if name not in step.layers}
        amount, settings = _amount(step, layers), self._settings(step)
        layers = {name: layer for name, layer in layers.items() if amount.suits(layer)}
        if not layers:
            raise PenjingError(f"unit {step.unit}: no layer would lose weights; keep fewer of its "
                               f"channels")
        unit = Granularity.WEIGHT if step.n_of_m else Granularity[step.unit.upper()]
        schedule: Any = [Round(amount, settings)]
        if isinstance(amount, Each | Overall) and settings is not None:
            if step.timing is Timing.ITERATIVE:
                schedule = geometric(amount, step.rounds, settings)
            elif step.timing is Timing.GRADUAL:
                steps = max(1, int(step.ramp * settings.steps(len(self.data.images))))
                # So few steps that they are hardly gradual are pruned between oftener.
                every = max(1, min(step.every, steps // _UPDATES))
                schedule = Gradual(amount, settings, every=every, updates=steps // every)
        with self._loss(step, network.module) as loss:
            made = prune(network.module, self._images(step), schedule,
                         criterion=_CRITERIA[step.criterion], granularity=unit, layers=layers,
                         pruned=Masks.of(network.module), loss=loss, checkpoint=checkpoint,
                         progress=progress)
        return Taken(network, tuple(epoch for epochs in made.epochs for epoch in epochs))

    @_take.register
    def _(self, step: Channels, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        module = network.module
        first: tuple[Epoch, ...] = ()
        if step.before:
            first = tuple(self._fit(
                replace(step, epochs=step.before), module, Masks.of(module), checkpoint, progress,
                lambda loss: slimming(module, step.penalty, loss=loss)))
        scores = self._channel_scores(step, network)
        narrowed = narrow(network, scores, step.layers or step.ratio, across=step.together,
                          round_to=step.round_to, keep_unscored=not step.layers)
        if step.ratio and _weights(narrowed) == _weights(network):
            raise PenjingError(f"no channels would go, of {len(scores)} layers with scores; "
                               f"raise the ratio, lower round_to, or take another criterion")
        behind = checkpoint and checkpoint.with_name(f"{checkpoint.name}.behind")
        taken = self._trained(step, narrowed, behind, progress)
        return replace(taken, epochs=(*first, *taken.epochs))

    @_take.register
    def _(self, step: Operate, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        network = parted(network)
        layers = {name: layer for name, layer in _layers(network).items()
                  if step.layers.get(name, step.ratio) and not layer.is_transposed}
        counts = {name: layer.weight.numel() for name, layer in layers.items()}
        sample = self._sample(step)
        done = partial(_told, progress, 0, len(layers))
        if step.together:
            costs = surgery.curves(network.module, self._judged(), sample, layers=layers,
                                   progress=partial(_told, progress, 0, 2 * len(layers)))
            weights = sum(counts.values())
            left = allot(costs, weights - share_of(weights, step.ratio))
            done = partial(_told, progress, len(layers), 2 * len(layers))
        else:
            left = {name: count - share_of(count, step.layers.get(name, step.ratio))
                    for name, count in counts.items()}
        surgery.operate(network.module, left, sample, layers=layers, progress=done)
        return self._trained(step, network, checkpoint, progress)

    @_take.register
    def _(self, step: Blocks, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        some = Data(self.data.images[:step.images], self.data.labels[:step.images],
                    self.data.prepare)
        names = step.names or shortcuts.cheapest(network, step.count, some, progress=progress)
        shortened = shortcuts.without(network, names)
        return replace(self._trained(step, shortened, checkpoint, progress), blocks=tuple(names))

    @_take.register
    def _(self, step: Inputs, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        layers = _layers(network)
        wanted = step.layers or {name: step.ratio for name, layer in list(layers.items())[1:]
                                 if is_plain(layer)}
        original = network.copied().module
        for number, (name, ratio) in enumerate(wanted.items()):
            if progress is not None:
                progress(number, len(wanted), name)
            channels = layers[name].arranged(layers[name].weight).shape[-1] // math.prod(
                layers[name].flattened)
            if channels == 1 and step.layers:
                raise PenjingError(f"layer {name}: it reads one channel, which stays; leave it out")
            select_inputs(network.module, original, layers[name],
                          max(1, math.floor(round((1 - ratio) * channels, 6))), self.data,
                          seed=self.seed)
        return self._trained(step, network, checkpoint, progress)

    @_take.register
    def _(self, step: LowRank, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        made = factored(network, step.method, None if step.automatic else (
            step.layers or step.ratio), self.data, samples=step.samples, seed=self.seed,
            progress=progress)
        return self._trained(step, made, checkpoint, progress)

    @_take.register
    def _(self, step: Share, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        network = _multiplied(network)
        codes = _codes(step, network)
        if step.rounding is Rounding.SURGEON:
            self._round(step, network, codes, progress)
        return self._train_shared(step, network, codes, step.start, checkpoint, progress)

    @_take.register
    def _(self, step: Train, network: Trainable, checkpoint: Path | None,
          progress: Progress | None) -> Taken:
        if self.codes:
            # As few values as codes: what is found is what is there.
            return self._train_shared(step, network, self.codes, codebooks.Start.EXACT, checkpoint,
                                      progress)
        return self._trained(step, network, checkpoint, progress)

    def _round(self, step: Share, network: Trainable, codes: Mapping[str, int],
               progress: Progress | None) -> None:
        """Let layers take their few values, and make up for the errors of that."""
        nearest = network.copied()
        codebooks.share(nearest.layers, codes, step.start, self.seed)
        codebooks.release(nearest.layers.values())
        values: dict[str, Tensor] = {}
        for name, layer in _layers(nearest).items():
            if not layer.is_transposed:
                found = layer.weight.detach().unique()
                values[name] = found[found != 0]
        surgery.round_weights(network.module, values, self._sample(step), progress=progress)

    def _trained(self, step: Step, network: Trainable, checkpoint: Path | None,
                 progress: Progress | None) -> Taken:
        """Train ``network`` as ``step`` says; what is 0 stays so."""
        return Taken(network, tuple(self._fit(step, network.module, Masks.of(network.module),
                                              checkpoint, progress)))

    def _train_shared(self, step: Step, network: Trainable, codes: Mapping[str, int],
                      start: codebooks.Start, checkpoint: Path | None, progress: Progress | None
                      ) -> Taken:
        """Share weights, train the centroids, and leave plain weights."""
        layers = {name: layer for name, layer in network.layers.items() if name in codes}
        # Without batch norms it has maps of layers, and so has its teacher, then.
        alike = self if not step.maps else replace(
            self, teachers=tuple(map(_multiplied, self.teachers)))
        codebooks.share(layers, codes, start, self.seed)
        codebooks.release(layers.values())
        # As plain weights, before all training, which moves values and makes no more of them.
        require_few_values(network, codes)
        codebooks.share(layers, codes)
        try:
            return Taken(network, tuple(alike._fit(step, network.module, Masks(), checkpoint,
                                                   progress)))
        finally:
            codebooks.release(layers.values())

    def _fit(self, step: Step, module: nn.Module, masks: Masks, checkpoint: Path | None,
             progress: Progress | None, penalized: Callable[[Loss], Loss] = lambda loss: loss
             ) -> list[Epoch]:
        settings = self._settings(step)
        if settings is None:
            return []
        with self._loss(step, module) as loss:
            return training.fit(module, self._images(step), settings, loss=penalized(loss),
                                after_step=masks.on(module), checkpoint=checkpoint,
                                made_with={"step": repr(step)}, progress=progress)

    def _settings(self, step: Step) -> Settings | None:
        return Settings(step.epochs, step.batch, step.learning_rate, seed=self.seed
                        ) if step.epochs else None

    def _sample(self, step: Operate | Share) -> surgery.Sample:
        """By what layers are fitted."""
        return surgery.Sample(self.data, step.samples, seed=self.seed)

    def _judged(self) -> Tensor:
        """The last images, as the network takes them, some of which are mixed with others."""
        mixed = blended(self.data.prepare, _MIXED)
        return mixed(self.data.images[-_JUDGED:], torch.Generator().manual_seed(self.seed))

    def _images(self, step: Step) -> Data:
        """What it is trained with."""
        return replace(self.data, prepare=blended(self.data.prepare, step.blend))

    @contextmanager
    def _loss(self, step: Step, module: nn.Module) -> Iterator[Loss]:
        if not step.distil and not step.maps:
            yield cross_entropy
            return
        with Distillation(*(teacher.module for teacher in self.teachers),
                          temperature=step.temperature, alpha=step.distil, student=module,
                          maps=step.maps) as loss:
            yield loss

    def _channel_scores(self, step: Channels, network: Trainable) -> dict[str, Tensor]:
        """Those of all layers that the criterion can judge; `PenjingError` if it can judge none."""
        if step.criterion in (ChannelRanking.L1, ChannelRanking.L2):
            return channel_norms(network, 1 if step.criterion is ChannelRanking.L1 else 2)
        found: dict[str, Tensor] = {}
        reason: PenjingError | None = None
        for name, layer in _layers(network).items():
            try:
                found |= channel_scores(network.module, {name: layer},
                                        _OF_CHANNELS[step.criterion], self.data)
            except PenjingError as error:
                if name in step.layers:
                    raise
                reason = reason or error
        if not found and reason is not None:
            raise reason
        return found


def _layers(network: Trainable) -> dict[str, Layer]:
    """Its layers with weights, whose flattened maps are known."""
    return layers_of(network.module, flattened=flattened_maps(network.module, network.example()))


def _check_layers(step: Step, network: Trainable) -> None:
    """`PenjingError` where ``step`` names layers that ``network`` has not, or leaves all whole."""
    if isinstance(step, Prune | Operate | Channels | Inputs):
        layers = layers_of((parted(network) if isinstance(step, Operate) else network).module)
        known(step.layers, layers, "layers")
        whole = {name for name, ratio in step.layers.items() if not ratio}
        if isinstance(step, Operate):
            for name in {*step.layers} - whole:
                surgery.require_fitted(layers[name])
            whole |= {name for name, layer in layers.items() if layer.is_transposed}
        if (isinstance(step, Operate) or (isinstance(step, Prune) and step.names_whole_layers)
                ) and {*layers} <= whole:
            raise PenjingError("all layers stay whole, with 0 in layers or transposed ones; take "
                               "the step out, or some of these layers")
    elif isinstance(step, Share):
        known(step.layers, parted(network).layers, "layers")
    elif isinstance(step, LowRank):
        require_factorable(network, list(step.layers))


def _told(progress: Progress | None, before: int, total: int, done: int, _: int, line: str) -> None:
    """Tell of a part that begins when ``before`` of ``total`` are done."""
    if progress is not None:
        progress(before + done, total, line)


def _weights(network: Trainable) -> int:
    return sum(parameter.numel() for parameter in network.module.parameters())


def _multiplied(network: Trainable) -> Trainable:
    """A copy whose weights are those that hardware multiplies with.

    The scales of batch norms would part what is shared in front of them.
    """
    return folded(parted(network))


def _codes(step: Share, network: Trainable) -> dict[str, int]:
    """How many values each layer may have; those that have the same weights part in sharing."""
    return {**dict.fromkeys(network.layers, step.codes), **step.layers}


def _amount(step: Prune, layers: Mapping[str, Layer]) -> Amount:
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
