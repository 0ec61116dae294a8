"""What one module of a network reads and puts out."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["observed"]


class _Reached(Exception):
    """The module has run; what comes behind it need not."""


def observed(model: nn.Module, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input and the output of ``module``, a part of ``model``, when that runs on ``x``.

    Of several calls the first counts.
    """
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))
        raise _Reached

    handle = module.register_forward_hook(note)
    try:
        model(x)
    except _Reached:
        pass
    finally:
        handle.remove()
    return seen[0]
