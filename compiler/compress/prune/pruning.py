"""Prune a model as a schedule says, and train what is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...ir import PenjingError
from ..training import Data, Epoch, Loss, Progress, cross_entropy, fit
from .amounts import Amount, Each
from .granularity import Granularity
from .layers import Layers
from .masks import Masks
from .n_of_m import NofM
from .ramp import ramp
from .schedules import Gradual, Round, Schedule
from .scores import L1, Criterion
from .selection import chosen, select


@dataclass(frozen=True)
class Pruned:
    """The ``masks`` of a pruned model, and the ``epochs`` of each round."""

    masks: Masks
    epochs: tuple[tuple[Epoch, ...], ...]


def prune(model: nn.Module, data: Data, schedule: Schedule, *, criterion: Criterion | None = None,
          granularity: Granularity = Granularity.WEIGHT, layers: Layers | None = None,
          pruned: Masks | None = None, loss: Loss = cross_entropy, checkpoint: Path | None = None,
          progress: Progress | None = None) -> Pruned:
    """Prune ``model`` in place; what is pruned is 0 then.

    ``layers`` (`layers_of`, or some of them) are those that may be pruned, all by default. What was
    pruned in a round stays so in the next, and so does, in any layer, what ``pruned`` does not keep
    (`Masks.of` of a model that was pruned before); it counts. ``criterion`` is `L1` by default.
    With ``checkpoint`` each round has a file of that name and its number, as `training.fit` writes
    it: a call with the same model takes up where the last one was, and ends in the same bits.
    `PenjingError` for layers that would be emptied, a schedule longer than its training, or a
    checkpoint of another pruning.
    """
    work = _Pruning(model, data, L1() if criterion is None else criterion, granularity, layers,
                    Masks() if pruned is None else pruned, loss, checkpoint, progress)
    return work.gradual(schedule) if isinstance(schedule, Gradual) else work.rounds(schedule)


@dataclass(frozen=True)
class _Pruning:
    """What `prune` was called with."""

    model: nn.Module
    data: Data
    criterion: Criterion
    granularity: Granularity
    layers: Layers | None
    pruned: Masks
    loss: Loss
    checkpoint: Path | None
    progress: Progress | None

    def rounds(self, schedule: Iterable[Round]) -> Pruned:
        """Prune, train, prune again."""
        rounds = tuple(schedule)
        self._check(one.amount for one in rounds)
        images = len(self.data.images)
        steps = [one.settings.steps(images) if one.settings is not None else 0 for one in rounds]
        masks, epochs = self.pruned, []
        for number, one in enumerate(rounds):
            masks &= self._masks(one.amount, masks)
            masks.apply(self.model)
            if one.settings is not None:
                epochs.append(tuple(fit(
                    self.model, self.data, one.settings, loss=self.loss,
                    after_step=masks.on(self.model), checkpoint=self._file(number),
                    made_with={"masks": masks.digest},
                    progress=self._progress(number, sum(steps[:number]), sum(steps)))))
        return Pruned(masks, tuple(epochs))

    def gradual(self, schedule: Gradual) -> Pruned:
        """Prune while training."""
        total = schedule.settings.steps(len(self.data.images))
        if schedule.end > total:
            raise PenjingError(f"gradual pruning: its last update is after step {schedule.end}, "
                               f"the training ends after {total}; train longer, or prune faster")
        self._check([schedule.amount])
        with ramp(self.model, chosen(self.model, self.layers, schedule.amount)) as ramped:
            stay = self.pruned.on(self.model)

            def update(step: int) -> None:
                stay(step)
                ramped.hold()
                if schedule.updates_at(step):
                    masks = self._masks(schedule.at(step), self.pruned)
                    ramped.change(Masks({name: kept & self.pruned.kept.get(name, kept)
                                         for name, kept in masks.kept.items()}))

            update(0)
            epochs = fit(
                self.model, self.data, schedule.settings, loss=self.loss, after_step=update,
                checkpoint=self._file(0), progress=self._progress(0, 0, total),
                made_with={"pruning": repr((schedule, self.criterion, self.granularity))})
            return Pruned(self.pruned & ramped.masks, (tuple(epochs),))

    def _check(self, amounts: Iterable[Amount]) -> None:
        """Refuse at once what would empty a layer after hours, where it is the numbers' fault."""
        for amount in amounts:
            if isinstance(amount, Each | NofM):
                select(self.model, chosen(self.model, self.layers, amount), amount, L1(),
                       self.granularity)

    def _masks(self, amount: Amount, pruned: Masks) -> Masks:
        return select(self.model, chosen(self.model, self.layers, amount), amount, self.criterion,
                      self.granularity, data=self.data, pruned=pruned)

    def _file(self, number: int) -> Path | None:
        """Of the checkpoint of a round."""
        path = self.checkpoint
        return None if path is None else path.with_name(f"{path.name}.{number}")

    def _progress(self, number: int, before: int, total: int) -> Progress | None:
        """Of a round, in steps of all rounds, of which ``before`` are done."""
        report = self.progress
        if report is None:
            return None
        return lambda done, _, line: report(before + done, total, ", ".join(
            filter(None, (f"round {number + 1}", line))))
