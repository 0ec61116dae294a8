"""What one module of a network reads and puts out."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["observed"]


def observed(model: nn.Module, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input and the output of ``module``, a part of ``model``, when that runs on ``x``.

    Of several calls the last counts.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(
        lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        model(x)
    finally:
        handle.remove()
    return seen[-1]
