"""Where an oracle rounds floats: is what each layer puts out a rounding of the exact value?

A float next to a half falls either way, and what one layer passes on the next makes larger. So each
layer computes with the oracle's own integers here, and is compared alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from ..compiler import ir
from ..compiler.ir import Integers, Network
from . import golden
from .oracles import Answers

__all__ = ["NEAR", "Count", "count"]

NEAR = 2.0 ** -7
"""How far from a half, in steps, a value is that counts as one: no float error reaches beyond."""
_ERROR = 2.0 ** -20
"""How far reals of float32 are from a sum of integers that they stand for, as a part of it."""
_Ends: TypeAlias = tuple[Integers, Integers]


@dataclass(frozen=True)
class Count:
    """``values`` compared layer by layer, of which ``halves`` differ, and ``others`` besides."""

    values: int = 0
    halves: int = 0
    others: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.values + other.values, self.halves + other.halves,
                     self.others + other.others)


def count(network: Network, x: Integers, answers: Answers) -> Count:
    """Compare what layers put out for ``x`` (N, H, W, C) with the oracle's ``answers``."""
    total = Count()
    for layer, mine, theirs, (least, most) in _layers(network, x, answers):
        differs = mine != theirs
        if layer.name in answers.inner:
            near = (least <= theirs) & (theirs <= most)
        else:
            near = np.abs(mine - theirs) <= _ERROR * np.abs(mine)
        halves = int(np.count_nonzero(differs & near))
        total += Count(mine.size, halves, int(np.count_nonzero(differs)) - halves)
    return total


def _layers(network: Network, x: Integers, answers: Answers
            ) -> Iterator[tuple[ir.Layer, Integers, Integers, _Ends]]:
    """Each layer that the oracle tells of: its output, the oracle's, and what may be the oracle's.
    """
    theirs = {network.layers[-1].name: answers.outputs, **answers.inner}
    tensors, ends = {network.input: x}, {network.input: (x, x)}
    for layer in network.layers:
        sources = [tensors[name] for name in layer.inputs]
        mine = tensors[layer.name] = golden.execute(layer, *sources)
        found = ends[layer.name] = _ends(layer, mine, *(ends[name] for name in layer.inputs))
        if layer.name in theirs:
            other, kind = theirs[layer.name], network.type_of(layer.name)
            yield layer, mine, other, found
            fits = (kind.low <= other) & (other <= kind.high)
            settled = tensors[layer.name] = np.where(fits, other, mine)
            ends[layer.name] = settled, settled


@singledispatch
def _ends(layer: ir.Layer, mine: Integers, *sources: _Ends) -> _Ends:
    """The least and the most that floats make of what ``layer`` makes ``mine`` of.

    ``sources`` are those of what it reads. Where nothing is rounded, both are ``mine``.
    """
    return mine, mine


@_ends.register(ir.Concatenation)
@_ends.register(ir.MaxPool)
@_ends.register(ir.Slice)
@_ends.register(ir.Crop)
@_ends.register(ir.Permutation)
@_ends.register(ir.Pad)
@_ends.register(ir.Repeat)
@_ends.register(ir.Clamp)
@_ends.register(ir.Upsample)
@_ends.register(ir.Rewiring)
def _(layer: ir.Layer, mine: Integers, *sources: _Ends) -> _Ends:
    """What moves or chooses elements passes on what was rounded before it."""
    return (golden.execute(layer, *(least for least, _ in sources)),
            golden.execute(layer, *(most for _, most in sources)))


@_ends.register
def _(layer: ir.ScaleRequantize, mine: Integers, source: _Ends) -> _Ends:
    bounds = []
    for x, reach in zip(source, (-NEAR, NEAR), strict=True):
        products = (x - layer.offset) * layer.multipliers.astype(np.float64)
        if layer.addends is not None:
            products += layer.addends
        factors = 2.0 ** (layer.pre_shift + layer.shifts - 31)
        exact = np.clip(products * factors + layer.zero_point, *layer.bounds)
        bounds.append(exact + reach)
    return (np.ceil(bounds[0] - 0.5).astype(np.int64), np.floor(bounds[1] + 0.5).astype(np.int64))


@_ends.register
def _(layer: ir.Threshold, mine: Integers, source: _Ends) -> _Ends:
    """A threshold lies between two integers: what the next ones become will do."""
    least, most = (golden.execute(layer, x + side * (1 + np.floor(_ERROR * np.abs(x)).astype(
        np.int64))) for x, side in zip(source, (-1, 1), strict=True))
    return np.minimum(least, most), np.maximum(least, most)
