"""Functions with gradients of their own, by which quantizers are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class SignFunction(torch.autograd.Function):
    """Courbariaux 2016: the gradient passes where ``|x| <= 1``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return signs(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() <= 1)


class ApproximateSignFunction(SignFunction):
    """Bi-Real Net, ReActNet: the gradient of two parabolas, ``2 - 2 * |x|`` within ±1."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * (2 - 2 * x.abs()).clamp(min=0)


class TernaryFunction(torch.autograd.Function):
    """Zhu 2017: ``Wp`` above the threshold, ``-Wn`` below its negative, else 0.

    The gradient of a latent weight is that of its value times ``Wp``, 1 or ``Wn``; that of ``Wn``
    has a minus sign, since ``Wn`` enters with one.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, positive: Tensor, negative: Tensor, limit: Tensor) -> Tensor:
        above, below = w > limit, w < -limit
        ctx.save_for_backward(above, below, positive, negative)
        return positive * above - negative * below

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        above, below, positive, negative = ctx.saved_tensors
        (grad,) = grads
        latent = grad * torch.where(above, positive, torch.where(below, negative, 1.0))
        return latent, (grad * above).sum(), -(grad * below).sum(), None


class RoundedFunction(torch.autograd.Function):
    """``clamp(floor(x + 1/2), low, high)``: the gradient passes between the outermost levels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = low, high
        return torch.floor(x + 0.5).clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.limits
        return grads[0] * ((x >= low) & (x <= high)), None, None


class ReplacedFunction(torch.autograd.Function):
    """Another value with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def signs(x: Tensor) -> Tensor:
    """-1 and +1, which 0 becomes; no gradient passes."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
