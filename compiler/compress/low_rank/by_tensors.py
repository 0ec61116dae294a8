"""Weights as products of smaller ones: singular values, Tucker-2 (Kim 2016), CP (Lebedev 2015)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import tensorly
import torch
from tensorly.decomposition import parafac, partial_tucker
from torch import nn

from ...ir import PenjingError
from ..trainable import Trainable
from .chains import (
    Convolution,
    Factorable,
    factorable,
    kernel,
    pointwise,
    replaced,
    require_factorable,
)

__all__ = ["Ranks", "by_tensors", "cp", "singular", "tucker"]

Ranks: TypeAlias = tuple[int, ...]
"""Of linear layers and CP one; of Tucker-2 that of the inputs and that of the outputs."""

ROUNDS = 100
"""Of alternating least squares."""


def singular(layer: Factorable, rank: int) -> list[Factorable]:
    """``layer``, which sees one place, as two of the largest ``rank`` singular values.

    Both have equal norms. The first one moves as ``layer`` does, so that no place is worked on that
    nobody reads.
    """
    weight = layer.weight.detach().double()
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    root = values[:rank].sqrt()
    first = (root[:, None] * right[:rank]).reshape(-1, *weight.shape[1:])
    return [kernel(layer, first), pointwise(layer, left[:, :rank] * root, layer.bias)]


def tucker(layer: Convolution, ranks: Ranks) -> list[Factorable]:
    """A convolution between two that see one place: inputs to ``ranks``, these to outputs.

    A rank that is not less than its channels needs no layer of its own.
    """
    inner, outer = (min(rank, size) for rank, size in zip(
        ranks, (layer.in_channels, layer.out_channels), strict=True))
    weight = layer.weight.detach().double()
    with tensorly.backend_context("pytorch"):
        (core, factors), _ = partial_tucker(weight, rank=[outer, inner], modes=[0, 1], init="svd",
                                            n_iter_max=ROUNDS, random_state=0)
    chain = []
    if inner < layer.in_channels:
        chain.append(pointwise(layer, factors[1].T))
    else:
        core = torch.einsum("oi...,ci->oc...", core, factors[1])
    if outer < layer.out_channels:
        return [*chain, kernel(layer, core), pointwise(layer, factors[0], layer.bias)]
    last = kernel(layer, torch.einsum("oi...,co->ci...", core, factors[0]))
    if layer.bias is not None:
        last.bias = nn.Parameter(layer.bias.detach().clone())
    return [*chain, last]


def cp(layer: Convolution, rank: int) -> list[Factorable]:
    """A convolution as a sum of ``rank`` products of vectors, one of each axis of its weights.

    Inputs to products, then each product along each axis of the map, then products to outputs. The
    vectors of a product have one norm, so that none of the layers needs many bits.
    """
    weight = layer.weight.detach().double()
    with tensorly.backend_context("pytorch"):
        scales, factors = parafac(weight, rank=rank, init="svd", n_iter_max=ROUNDS,
                                  normalize_factors=True, random_state=0)
    even = scales.abs() ** (1 / len(factors))
    outputs, inputs, *along = (factor * even for factor in factors)
    outputs = outputs * scales.sign()
    chain = [pointwise(layer, inputs.T)]
    for axis, vectors in enumerate(along):
        size = [len(vectors) if one == axis else 1 for one in range(len(along))]
        chain.append(kernel(layer, vectors.T.reshape(rank, 1, *size), groups=rank, axes=[axis]))
    return [*chain, pointwise(layer, outputs, layer.bias)]


def by_tensors(model: Trainable, ranks: Mapping[str, Ranks]) -> Trainable:
    """A copy of ``model`` in which the layers that ``ranks`` names are chains.

    One rank makes two layers of what sees one place, and a CP of other convolutions; two ranks make
    a Tucker-2. `PenjingError` for unknown layers and ranks that are not positive.
    """
    require_factorable(model, list(ranks))
    known = factorable(model)
    return replaced(model, {name: _chain(name, known[name], given)
                            for name, given in ranks.items()})


def _chain(name: str, layer: Factorable, ranks: Ranks) -> Sequence[nn.Module]:
    if not ranks or min(ranks) < 1:
        raise PenjingError(f"layer {name}: ranks must be at least 1, not {ranks}")
    if not layer.weight.isfinite().all():
        raise PenjingError(f"layer {name}: its weights are no finite numbers; train it with a lower"
                           f" learning rate")
    if len(ranks) == 1 and sees_one_place(layer):
        return singular(layer, ranks[0])
    if isinstance(layer, nn.Linear) or len(ranks) > 2:
        raise PenjingError(f"layer {name}: a linear layer has one rank, a convolution one or two, "
                           f"not {len(ranks)}")
    if len(ranks) == 2:
        return tucker(layer, ranks)
    try:
        return cp(layer, ranks[0])
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise PenjingError(f"layer {name}: its weights are no sum of {ranks[0]} products, since "
                           f"too many are 0 or depend on others; take tucker, or leave it out"
                           ) from None


def sees_one_place(layer: Factorable) -> bool:
    """Whether it is linear, or a convolution of one weight an input and output."""
    return math.prod(layer.weight.shape[2:]) == 1
