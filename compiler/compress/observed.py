"""What one module of a network reads and puts out, and random places of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from .training import Data

__all__ = ["at_places", "observed", "observed_all", "of_places", "random_places"]

Draw: TypeAlias = Callable[[Tensor], Tensor]
"""Of what `of_places` gives, random places of each of a batch, (N, as many as wanted or there)."""
_BATCH = 100


class _Reached(Exception):
    """All modules have run; what comes behind them need not."""


def observed(model: nn.Module, module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input and the output of ``module``, a part of ``model``, when that runs on ``x``.

    Of several calls the first counts.
    """
    return observed_all(model, {"": module}, x)[""]


def observed_all(model: nn.Module, modules: Mapping[str, nn.Module], x: Tensor
                 ) -> dict[str, tuple[Tensor, Tensor]]:
    """The same of several ``modules``, which the ``model`` runs once for."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # What comes behind may change it in place.
        seen.setdefault(name, (inputs[0], output.clone()))
        if len(seen) == len(modules):
            raise _Reached

    handles = [module.register_forward_hook(partial(note, name))
               for name, module in modules.items()]
    try:
        model(x)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen


def random_places(data: Data, samples: int, places: int, seed: int
                  ) -> Iterator[tuple[Tensor, Draw]]:
    """Batches of the first ``samples`` images of ``data``, and what draws ``places`` of each."""
    generator = torch.Generator().manual_seed(seed)

    def draw(values: Tensor) -> Tensor:
        there = values.shape[-1]
        return torch.randint(there, (len(values), min(places, there)), generator=generator)

    count = min(samples, len(data.images))
    for start in range(0, count, _BATCH):
        yield data.prepare(data.images[start:min(start + _BATCH, count)], None), draw


def of_places(outputs: Tensor) -> Tensor:
    """(N, C, places) of a layer's ``outputs``; a vector is of one place."""
    return outputs.flatten(2) if outputs.ndim > 2 else outputs[..., None]


def at_places(values: Tensor, drawn: Tensor) -> Tensor:
    """``values`` (N, ..., places) where they were ``drawn``, (N * drawn places, ...), as doubles.
    """
    rows = torch.arange(len(values))[:, None]
    return values.movedim(-1, 1)[rows, drawn].flatten(0, 1).double()
