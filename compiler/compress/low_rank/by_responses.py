"""Layers whose outputs have few dimensions, by the responses to data (Zhang 2015).

A layer of d outputs becomes the same one with d' outputs, and one behind it that sees one place and
makes the d of them. What is fitted are the responses to training images at random places. Batch
norms behind such layers are folded into them, since it is what comes behind them that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ...ir import PenjingError
from ..folding import folded
from ..observed import at_places, observed_all, of_places, random_places
from ..prune.layers import judged
from ..trainable import Trainable
from ..training import Data, Progress
from .chains import Factorable, factorable, kernel, pointwise, replaced, require_factorable
from .regression import LowRank, nonlinear, principal, reduced_rank

__all__ = ["Responses", "by_responses"]


class Responses:
    """What a layer puts out at random ``positions`` of the first ``samples`` images of ``data``."""

    def __init__(self, data: Data, *, samples: int = 3000, positions: int = 10, seed: int = 1
                 ) -> None:
        self._places = partial(random_places, data, samples, positions, seed)

    def of(self, model: Trainable, names: Sequence[str]) -> dict[str, Tensor]:
        """Those of the layers ``names``, (samples * positions, outputs); biases are in them.

        The places are the same for all models. `PenjingError` where there are too few of them.
        """
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        modules = {name: model.layers[name] for name in names}
        with judged(model.module), torch.no_grad():
            # Each layer has its own draw of the same batches.
            for some in zip(*(self._places() for _ in names), strict=True):
                seen = observed_all(model.module, modules, some[0][0])
                for name, (_, draw) in zip(names, some, strict=True):
                    y = of_places(seen[name][1])
                    found[name].append(at_places(y, draw(y)))
        joined = {name: torch.cat(parts) for name, parts in found.items()}
        for name, y in joined.items():
            rows, outputs = y.shape
            # Less their mean, as many span fewer dimensions, and a fit would set the others to 0.
            if rows <= outputs:
                raise PenjingError(f"layer {name}: its {outputs} outputs are fitted to {rows} "
                                   f"responses, and more than {outputs} are needed; raise samples, "
                                   f"give more images, or leave it out")
        return joined


def by_responses(model: Trainable, ranks: Mapping[str, int], responses: Responses, *,
                 rectified: bool = True, asymmetric: bool = True, progress: Progress | None = None
                 ) -> Trainable:
    """A copy of ``model`` whose layers in ``ranks`` are two, with so many channels between them.

    ``rectified`` fits what is behind a ReLU, where one follows the layer. ``asymmetric`` lets each
    layer make the responses of ``model`` of what the layers before it, which are fitted already,
    give it. `PenjingError` for unknown layers, or ranks that are not below their outputs.
    """
    require_factorable(model, list(ranks))
    original = folded(model, ranks)
    for name, rank in ranks.items():
        outputs = len(factorable(original)[name].weight)
        if not 1 <= rank < outputs:
            raise PenjingError(f"layer {name}: its rank must be 1 to {outputs - 1}, fewer than its "
                               f"outputs, not {rank}")
    made = original
    order = [name for name in original.layers if name in ranks]
    all_wanted = responses.of(original, order)
    for number, name in enumerate(order):
        if progress is not None:
            progress(number, len(order), name)
        wanted = all_wanted[name]
        given = responses.of(made, [name])[name] if asymmetric else wanted
        behind_relu = rectified and _is_rectified(original, name)
        if behind_relu:
            fitted = nonlinear(given, wanted, ranks[name])
        elif asymmetric:
            fitted = reduced_rank(given, wanted, ranks[name])
        else:
            fitted = principal(wanted, ranks[name])
        made = replaced(made, {name: _chain(factorable(made)[name], fitted)})
    return made


def _chain(layer: Factorable, fitted: LowRank) -> list[Factorable]:
    """``layer`` whose outputs go through ``fitted``."""
    weight = layer.weight.detach().double()
    offset = fitted.offset
    if layer.bias is not None:
        offset = offset + fitted.outer @ (fitted.inner @ layer.bias.detach().double())
    # Directions of many dimensions and of few are equally large in both layers.
    scale = fitted.inner.norm(dim=1).clamp(min=1e-30).rsqrt() * fitted.outer.norm(dim=0).sqrt()
    inner, outer = fitted.inner * scale[:, None], fitted.outer / scale
    return [kernel(layer, torch.tensordot(inner, weight, dims=([1], [0]))),
            pointwise(layer, outer, offset)]


def _is_rectified(model: Trainable, name: str) -> bool:
    """Whether a ReLU, and nothing else, reads the layer."""
    return all([one.target for one in node.users] == [torch.ops.aten.relu.default]
               for node in model.module.graph.nodes
               if node.op == "call_module" and node.target == name)
