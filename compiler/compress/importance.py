"""Mixed precision by importance: bits by how much the loss feels of each layer, without a search.

Rounding moves a weight, or an element of a map, by d, and the loss by about ``h * d**2 / 2``, with
h of the diagonal Gauss-Newton matrix as in Optimal Brain Damage (LeCun 1989), where first-order
terms vanish. Summed over a layer, that tells what each width costs. Widths are then lowered step by
step, where the least loss buys the most, until a limit holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.nn.utils import parametrize

from ..ir import PenjingError
from .fixed_point import Precision, Precisions
from .fractions import Grids
from .imitation import Imitable, Imitation
from .prune.hessian import diagonal, softmax_factor
from .prune.layers import judged, layers_of
from .rounding import OnGrid
from .training import Data

__all__ = ["CHOICES", "Cost", "Importance", "by_importance", "importance", "increase"]

Losses: TypeAlias = Mapping[str, Mapping[int, float]]
"""What the loss grows by where a layer, by name, has so many bits."""
Bits: TypeAlias = dict[str, Precision]
Cost: TypeAlias = Callable[[Mapping[str, Precision]], float]
"""What the widths of all layers cost: cycles, cells, bits of memory."""

CHOICES = (8, 7, 6, 5, 4, 3, 2)
_BATCH = 32


@dataclass(frozen=True)
class Importance:
    """What bits of ``weights`` and of ``maps`` do to the loss, and how many weights there are.

    All by the names of layers; those without weights of their own, or without a map, are missing.
    """

    weights: Losses
    maps: Losses
    counts: Mapping[str, int]

    def stored_bits(self, bits: Mapping[str, Precision]) -> int:
        """Bits of all weights."""
        return sum(count * (bits[name].weights or 0) for name, count in self.counts.items())


def by_importance(of: Importance, limit: float, cost: Cost | None = None) -> Bits:
    """Widths whose ``cost``, by default the bits of all weights, is within the ``limit``.

    All layers start at the most bits that ``of`` knows. Of all steps to fewer bits of one layer's
    weights or map, that is taken which adds least to the loss for what it saves; where none saves
    anything, that which adds least. `PenjingError` if the least widths are above the limit.
    """
    judge = cost or of.stored_bits
    names = dict.fromkeys((*of.weights, *of.maps))
    bits: Bits = {name: Precision(max(of.weights.get(name, {}), default=None),
                                  max(of.maps.get(name, {}), default=None)) for name in names}
    now = judge(bits)
    while now > limit:
        steps = []
        for loss, taken in _steps(of, bits, whole=cost is not None):
            after = judge(taken)
            saved = now - after
            steps.append(((0, loss / saved) if saved > 0 else (1, loss), after, taken))
        if not steps:
            raise PenjingError(f"precision: {limit:g} is below {now:g}, which the network costs "
                               f"with the fewest bits that were looked at; raise the limit")
        _, now, bits = min(steps, key=lambda step: step[0])
    return bits


def _steps(of: Importance, bits: Bits, whole: bool) -> Iterator[tuple[float, Bits]]:
    """What each lower width adds to the loss, and all widths then; of maps only if ``whole``."""
    for name, own in bits.items():
        if own.weights is not None:
            yield from ((loss, {**bits, name: replace(own, weights=lower)})
                        for loss, lower in _lower(of.weights[name], own.weights))
        if own.maps is not None and whole:
            yield from ((loss, {**bits, name: replace(own, maps=lower)})
                        for loss, lower in _lower(of.maps[name], own.maps))


def _lower(losses: Mapping[int, float], bits: int) -> Iterator[tuple[float, int]]:
    """What each width below ``bits`` adds to the loss, and the width."""
    return ((losses[lower] - losses[bits], lower) for lower in losses if lower < bits)


def increase(hessian: Tensor, moved: Tensor) -> float:
    """``sum(h * d**2) / 2`` of a diagonal h and what values are ``moved`` by, d."""
    return float((hessian.double() * moved.double().square()).sum()) / 2


def importance(able: Imitable, data: Data, *, choices: Sequence[int] = CHOICES, samples: int = 128
               ) -> Importance:
    """What each width of ``choices`` does to each layer of ``able``, by ``samples`` of ``data``.

    Ranges are chosen as ``able`` chooses them.
    """
    layers = layers_of(able.model.module)
    made = {bits: able.imitation(Precisions(bits, bits)) for bits in choices}
    hessian = diagonal(able.model.module, layers, data, samples=samples)
    weights = {name: {bits: increase(h, _moved(one, name)) for bits, one in made.items()}
               for name, h in hessian.items()}
    maps = _of_maps(able, data, {bits: one.grids for bits, one in made.items()}, samples)
    return Importance(weights, maps, {name: one.weight.numel() for name, one in layers.items()})


@torch.no_grad()
def _moved(made: Imitation, name: str) -> Tensor:
    """What rounding moves the weights of the layer ``name`` by."""
    layer = made.model.layers[name]
    chain = layer.parametrizations["weight"]  # type: ignore[index]
    assert isinstance(chain, parametrize.ParametrizationList)
    grid, weight = chain[0], layer.weight
    assert isinstance(grid, OnGrid)
    assert isinstance(weight, Tensor)
    return weight.double() / grid.factor - chain.original.double()


class _Seeing(fx.Interpreter):
    """Runs ``module`` and keeps what the nodes of some ``names`` put out."""

    def __init__(self, module: fx.GraphModule, names: Mapping[str, object]) -> None:
        super().__init__(module)
        self._names, self.seen = names, dict[str, Tensor]()

    def run_node(self, n: fx.Node) -> Any:
        """What ``n`` puts out."""
        result = super().run_node(n)
        if n.name in self._names:
            self.seen[n.name] = result
        return result


def _of_maps(able: Imitable, data: Data, grids: Mapping[int, Grids], samples: int
             ) -> dict[str, dict[int, float]]:
    """What maps that are rounded to ``grids``, by bits, add to the mean loss."""
    named = {name: layer for layer, name in able.maps.items()
             if all(name in one.maps for one in grids.values())}
    totals = {layer: dict.fromkeys(grids, 0.0) for layer in named.values()}
    count = min(samples, len(data.images))
    with judged(able.model.module):
        for start in range(0, count, _BATCH):
            x = data.prepare(data.images[start:min(start + _BATCH, count)], None).detach()
            run = _Seeing(able.model.module, named)
            logits = run.run(x.requires_grad_())
            maps = list(run.seen.values())
            squares = [torch.zeros_like(one) for one in maps]
            for column in softmax_factor(logits.detach()).unbind(1):
                for total, gradient in zip(squares, torch.autograd.grad(
                        logits, maps, column, retain_graph=True), strict=True):
                    total += gradient.square()
            for name, square, values in zip(run.seen, squares, maps, strict=True):
                for bits, one in grids.items():
                    moved = OnGrid(one.maps[name])(values.detach()) - values.detach()
                    totals[named[name]][bits] += increase(square, moved) / count
    return totals
