"""What a large network knows, taught to the small one that it became.

Hinton, Vinyals, Dean 2015. Any retraining takes it as its loss.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..ir import PenjingError

__all__ = ["Distillation"]


class Distillation:
    """The loss ``alpha * T**2 * KL(teacher || student) + (1 - alpha) * cross entropy``.

    Both distributions of the divergence are softmaxes of logits over the ``temperature`` T; the
    square makes up for gradients that shrink with it. With an ``alpha`` of 1 labels count for
    nothing. It is a loss of `training.fit`; logits are (N, classes), or (N, classes, ...) of a map,
    whose places count alike. The ``teachers`` are copies in eval mode, so that one may be the very
    network that is trained; the distribution of several is the mean of theirs.
    """

    def __init__(self, *teachers: nn.Module, temperature: float = 4.0, alpha: float = 0.9) -> None:
        if not teachers:
            raise PenjingError("distillation: there is no teacher; give one")
        if not 0 < temperature < math.inf:
            raise PenjingError(f"distillation: the temperature must be positive, not "
                               f"{temperature!r}")
        if not 0 <= alpha <= 1:
            raise PenjingError(f"distillation: alpha, the share of the teacher, must be within 0 "
                               f"and 1, not {alpha!r}")
        self.teachers = tuple(copy.deepcopy(one).eval().requires_grad_(False) for one in teachers)
        self.temperature, self.alpha = temperature, alpha

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
        given = functional.log_softmax(outputs / self.temperature, 1)
        divergence = (wanted.exp() * (wanted - given)).sum(1).mean()
        loss = self.alpha * self.temperature**2 * divergence
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * functional.cross_entropy(outputs, labels)
        return loss
