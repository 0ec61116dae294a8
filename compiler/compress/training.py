"""One training loop for all that needs one: Adam, seeds, checkpoints, and resume to the bit.

What an epoch draws at random depends on the seed and its number alone, and a checkpoint holds all
else: parameters, buffers, the optimizer's moments. So a training that was interrupted and taken up
again ends in the same bits as one that was not, with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from .. import file
from ..ir import PenjingError
from .quantizers import project

__all__ = ["Data", "Epoch", "Settings", "accuracy", "fit", "mean_loss"]

Prepare: TypeAlias = Callable[[Tensor, torch.Generator | None], Tensor]
"""Makes a batch of the stored images what the model takes; augments if there is a generator."""
Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of what the model took, what it put out, and the labels."""
Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with the steps done, their number, and a line about the last epoch."""
AfterStep: TypeAlias = Callable[[int], None]
"""Called with the steps done."""

_EVALUATED = 500
_KIND, _DIGEST = "penjing-training", "sha256"
_WAY_OUT = "delete it, or train with what it was made with"


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train.

    The learning rate climbs to ``learning_rate`` over the share ``warm_up`` of all steps, and falls
    along a cosine. ``weight_decay`` is decoupled (AdamW); 0 makes it Adam, which latent weights
    want.
    """

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    weight_decay: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "seed"):
            value, least = getattr(self, name), int(name != "seed")
            if type(value) is not int or not least <= value < 1 << 31:
                raise PenjingError(f"training: {name} must be an integer of at least {least}, not "
                                   f"{value!r}")
        if not (0 < self.learning_rate < math.inf and 0 <= self.warm_up <= 1
                and 0 <= self.weight_decay < math.inf):
            raise PenjingError("training: the learning rate must be positive, the warm-up within 0 "
                               "and 1, the weight decay not negative")

    def steps(self, images: int) -> int:
        """Of all epochs of so many ``images``; `PenjingError` where they do not fill a batch."""
        if images < self.batch:
            raise PenjingError(f"training: a batch of {self.batch} is larger than the {images} "
                               f"images; lower it")
        return self.epochs * (images // self.batch)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of the 0-based ``step`` of ``steps``."""
        climb = min(1.0, (step + 1) / max(1.0, self.warm_up * steps))
        return self.learning_rate * climb * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True, eq=False)
class Data:
    """``images`` (N, ...) of any type, ``labels`` (N,), and how to ``prepare`` a batch of them."""

    images: Tensor
    labels: Tensor
    prepare: Prepare

    def __post_init__(self) -> None:
        if not 0 < len(self.images) == len(self.labels):
            raise PenjingError(f"training data: {len(self.images)} images and {len(self.labels)} "
                               f"labels; give as many of both")


@dataclass(frozen=True)
class Epoch:
    """Mean loss and accuracy of an epoch, on what the model saw while it was trained."""

    loss: float
    accuracy: float


def cross_entropy(_: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
    """The usual loss of a classifier; ``outputs`` (N, classes) are logits."""
    return nn.functional.cross_entropy(outputs, labels)


def fit(model: nn.Module, data: Data, settings: Settings, *, loss: Loss = cross_entropy,
        after_step: AfterStep | None = None, checkpoint: Path | None = None,
        made_with: Mapping[str, str] | None = None, progress: Progress | None = None
        ) -> list[Epoch]:
    """Train ``model`` in place; the last state counts, and is left in eval mode.

    After each step latent weights are projected (`quantizers.project`), then ``after_step`` is
    called, which may mask weights. With ``checkpoint`` each epoch ends with that file, and where it
    exists training goes on from it; ``made_with`` is what else it depends on, by name. No state is
    picked by its accuracy. A last batch that is not full is left out. `PenjingError` for a loss
    that is no number, a batch larger than the data, or a checkpoint of another training.
    """
    total = settings.steps(len(data.images))
    steps = total // settings.epochs
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    training = _Training(model, optimizer, {
        **asdict(settings), "images": len(data.images), "torch": torch.__version__,
        **(made_with or {})})
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    # The caller's random numbers stay where they are.
    with torch.random.fork_rng(devices=[]):
        for epoch in range(len(training.epochs), settings.epochs):
            generator = torch.manual_seed(settings.seed * 1_000_003 + epoch)
            order = torch.randperm(len(data.images), generator=generator)
            lost = right = 0.0
            model.train()
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = settings.rate(epoch * steps + step, total)
                picked = order[step * settings.batch : (step + 1) * settings.batch]
                x, labels = data.prepare(data.images[picked], generator), data.labels[picked]
                outputs = model(x)
                value = loss(x, outputs, labels)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                project(model)
                if after_step is not None:
                    after_step(epoch * steps + step + 1)
                lost += value.item()
                right += int((outputs.argmax(1) == labels).sum())
                if not math.isfinite(lost):
                    raise PenjingError(f"training: the loss is no number in epoch {epoch + 1}; "
                                       f"lower the learning rate")
                if progress is not None:
                    progress(epoch * steps + step + 1, total, training.line)
            training.epochs.append(Epoch(lost / steps, right / (steps * settings.batch)))
            if checkpoint is not None:
                training.save(checkpoint)
    model.eval()
    return training.epochs


def accuracy(model: nn.Module, data: Data) -> float:
    """Share of ``data`` that ``model``, in eval mode, classifies correctly."""
    right = sum(int((outputs.argmax(1) == labels).sum())
                for _, outputs, labels in _answers(model, data))
    return right / len(data.images)


@torch.no_grad()
def mean_loss(model: nn.Module, data: Data, loss: Loss = cross_entropy) -> float:
    """Mean ``loss`` of ``model``, in eval mode, over all ``data``."""
    total = sum(float(loss(x, outputs, labels)) * len(labels)
                for x, outputs, labels in _answers(model, data))
    return total / len(data.images)


@torch.no_grad()
def _answers(model: nn.Module, data: Data) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of all ``data``, batch by batch: what ``model``, in eval mode, takes, what it puts out, and
    the labels.
    """
    was_training = model.training
    model.eval()
    for start in range(0, len(data.images), _EVALUATED):
        x = data.prepare(data.images[start:start + _EVALUATED], None)
        yield x, model(x), data.labels[start:start + _EVALUATED]
    model.train(was_training)


class _Training:
    """What a checkpoint holds: the states of ``model`` and ``optimizer``, and past ``epochs``."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer,
                 made_with: Mapping[str, object]) -> None:
        self._model, self._optimizer, self._made_with = model, optimizer, made_with
        self.epochs: list[Epoch] = []

    @property
    def line(self) -> str:
        """The last epoch, for people."""
        if not self.epochs:
            return ""
        last = self.epochs[-1]
        return f"epoch {len(self.epochs)}: loss {last.loss:.3f}, {last.accuracy:.1%}"

    def save(self, path: Path) -> None:
        """Write all to ``path``, whole or not at all."""
        tensors = {f"model.{name}": value.contiguous().clone()
                   for name, value in self._model.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{index}.{name}"] = value.contiguous().clone()
        header = json.dumps({"made_with": self._made_with,
                             "epochs": [asdict(epoch) for epoch in self.epochs]})
        file.write_atomically(path, save(tensors, {
            _KIND: header, _DIGEST: _digest(header, tensors)}))

    def load(self, path: Path) -> None:
        """Take all from ``path``."""
        tensors, header = _read(path)
        if header["made_with"] != self._made_with:
            differ = sorted(name for name in {*header["made_with"], *self._made_with}
                            if header["made_with"].get(name) != self._made_with.get(name))
            raise PenjingError(f"{path}: this checkpoint was made with another "
                               f"{', '.join(differ)}; {_WAY_OUT}")
        states: dict[int, dict[str, Tensor]] = {}
        model: dict[str, Tensor] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "model":
                model[rest] = value
            else:
                index, _, what = rest.partition(".")
                states.setdefault(int(index), {})[what] = value
        try:
            self._model.load_state_dict(model)
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": states})
        except (RuntimeError, ValueError, KeyError):
            raise PenjingError(f"{path}: this checkpoint is of another model; {_WAY_OUT}"
                               ) from None
        self.epochs = [Epoch(**epoch) for epoch in header["epochs"]]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, and its header."""
    try:
        with safetensors.safe_open(path, "pt") as opened:
            held = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            if held[_DIGEST] == _digest(held[_KIND], tensors):
                return tensors, json.loads(held[_KIND])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError):
        pass
    raise PenjingError(f"{path}: no checkpoint, or damaged; delete it")


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Tells a checkpoint from others."""
    found = hashlib.sha256(header.encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {[*value.shape]}".encode())
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()
