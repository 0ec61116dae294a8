"""What a large network knows, taught to the small one that it became.

Its answers (Hinton, Vinyals, Dean 2015), and the maps between its layers (Romero 2015). Any
retraining takes it as its loss.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from ..ir import PenjingError
from .prune.layers import Weighted

__all__ = ["Distillation", "divergence"]

_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def divergence(wanted: Tensor, outputs: Tensor, temperature: float) -> Tensor:
    """``temperature**2 * KL(wanted || outputs)``, the mean of all places.

    ``wanted`` are logarithms of a softmax at that temperature, ``outputs`` logits, both (N,
    classes, ...).
    """
    given = functional.log_softmax(outputs / temperature, 1)
    return temperature**2 * (wanted.exp() * (wanted - given)).sum(1).mean()


class Distillation:
    """The loss ``alpha * T**2 * KL(teacher || student) + (1 - alpha) * cross entropy``.

    Both distributions of the divergence are softmaxes of logits over the ``temperature`` T; the
    square makes up for gradients that shrink with it. With an ``alpha`` of 1 labels count for
    nothing. It is a loss of `training.fit`; logits are (N, classes), or (N, classes, ...) of a map,
    whose places count alike. The ``teachers`` are copies in eval mode, so that one may be the very
    network that is trained; the distribution of several is the mean of theirs.

    ``maps`` times the mean of ``sum((s - t)**2) / sum(t**2)`` is added, over the maps s of the
    ``student``, the module that is trained, and t of its one teacher: what batch norms put out or,
    in a network without any, layers with weights. Only maps of one name and shape are compared. The
    student's are seen while the loss is entered::

        with Distillation(teacher, student=model, maps=4.0) as loss:
            training.fit(model, data, settings, loss=loss)
    """

    def __init__(self, *teachers: nn.Module, temperature: float = 4.0, alpha: float = 0.9,
                 student: nn.Module | None = None, maps: float = 0.0) -> None:
        if not teachers:
            raise PenjingError("distillation: there is no teacher; give one")
        if not 0 < temperature < math.inf:
            raise PenjingError(f"distillation: the temperature must be positive, not "
                               f"{temperature!r}")
        if not 0 <= alpha <= 1:
            raise PenjingError(f"distillation: alpha, the share of the teacher, must be within 0 "
                               f"and 1, not {alpha!r}")
        if not 0 <= maps < math.inf:
            raise PenjingError(f"distillation: maps, the weight of what they miss, must be at "
                               f"least 0, not {maps!r}")
        if maps and (len(teachers) > 1 or student is None):
            raise PenjingError("distillation: maps of one teacher and of the student are compared; "
                               "give one teacher, and the student")
        self.teachers = tuple(copy.deepcopy(one).eval().requires_grad_(False) for one in teachers)
        self.temperature, self.alpha, self.maps = temperature, alpha, maps
        self._entered = False
        self._seen = [_Seen(one) for one in (self.teachers[0], student) if maps and one is not None]

    def __enter__(self) -> Self:
        for one in self._seen:
            one.begin()
        self._entered = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for one in self._seen:
            one.end()
        self._entered = False

    def __call__(self, x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits ``outputs`` for ``x``, a scalar."""
        with torch.no_grad():
            taught = [teacher(x) for teacher in self.teachers]
        for one in taught:
            if one.shape != outputs.shape:
                raise PenjingError(f"distillation: the teacher puts out {tuple(one.shape)}, the "
                                   f"network {tuple(outputs.shape)}; use a teacher of as many "
                                   f"classes")
        wanted = torch.stack([functional.log_softmax(logits / self.temperature, 1)
                              for logits in taught]).logsumexp(0) - math.log(len(taught))
        loss = self.alpha * divergence(wanted, outputs, self.temperature)
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * functional.cross_entropy(outputs, labels)
        if self.maps:
            loss = loss + self.maps * self._missed()
        return loss

    def _missed(self) -> Tensor:
        """The mean of what maps miss, as shares of the teacher's squares."""
        if not self._entered:
            raise PenjingError("distillation: maps are seen only while the loss is entered; train "
                               "within a with statement")
        theirs, own = (one.taken() for one in self._seen)
        size = torch.linalg.vector_norm
        missed = [(size(own[name] - wanted).float() / size(wanted).float().clamp(min=1e-6)).square()
                  for name, wanted in theirs.items()
                  if name in own and own[name].shape == wanted.shape]
        if not missed:
            raise PenjingError("distillation: no map of the network has the name and shape of one "
                               "of its teacher; let maps be 0, or take a teacher of its shape")
        return torch.stack(missed).mean()


class _Seen:
    """The maps of a network, as `Distillation` names them, of the batch that it ran last."""

    def __init__(self, network: nn.Module) -> None:
        parts = dict(network.named_modules())
        kind = _Norm if any(isinstance(one, _Norm) for one in parts.values()) else Weighted
        self._parts = {name: part for name, part in parts.items() if isinstance(part, kind)}
        self._maps: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def begin(self) -> None:
        """Look at what the network puts out from now on."""
        self._handles = [part.register_forward_hook(partial(self._note, name))
                         for name, part in self._parts.items()]

    def end(self) -> None:
        """Leave the network as it was."""
        for handle in self._handles:
            handle.remove()
        self._maps.clear()

    def taken(self) -> dict[str, Tensor]:
        """The maps by name, which are then forgotten."""
        maps, self._maps = self._maps, {}
        return maps

    def _note(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._maps[name] = output
