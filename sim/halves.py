"""Where an oracle rounds floats: is what each layer puts out a rounding of the exact value?

A float next to a half falls either way, and what one layer passes on the next makes larger. So each
layer computes with the oracle's own integers here, and is compared alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from ..compiler import ir
from ..compiler.ir import Integers, Network
from . import golden
from .oracles import Answers

__all__ = ["NEAR", "Count", "count"]

NEAR = 2.0 ** -7
"""How far from a half, in steps, a value is that counts as one: no float error reaches beyond."""
_ERROR = 2.0 ** -20
"""How far reals of float32 are from a sum of integers that they stand for, as a part of it."""


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
    for layer, mine, theirs, sources in _layers(network, x, answers):
        differs = mine != theirs
        if layer.name in answers.inner:
            near = _near(layer, mine, theirs, *sources)
        else:
            near = np.abs(mine - theirs) <= _ERROR * np.abs(mine)
        halves = int(np.count_nonzero(differs & near))
        total += Count(mine.size, halves, int(np.count_nonzero(differs)) - halves)
    return total


def _layers(network: Network, x: Integers, answers: Answers
            ) -> Iterator[tuple[ir.Layer, Integers, Integers, list[Integers]]]:
    """Each layer that the oracle tells of: its output, the oracle's, and what it reads."""
    theirs = {network.layers[-1].name: answers.outputs, **answers.inner}
    tensors = {network.input: x}
    for layer in network.layers:
        sources = [tensors[name] for name in layer.inputs]
        mine = tensors[layer.name] = golden.execute(layer, *sources)
        if layer.name in theirs:
            other, kind = theirs[layer.name], network.type_of(layer.name)
            yield layer, mine, other, sources
            fits = (kind.low <= other) & (other <= kind.high)
            tensors[layer.name] = np.where(fits, other, mine)


@singledispatch
def _near(layer: ir.Layer, mine: Integers, theirs: Integers, *sources: Integers
          ) -> NDArray[np.bool_]:
    """Whether ``theirs`` is a rounding, too, of what ``layer`` rounds to ``mine``.

    Where nothing is rounded, it is that alone.
    """
    return mine == theirs


@_near.register
def _(layer: ir.ScaleRequantize, mine: Integers, theirs: Integers, x: Integers
      ) -> NDArray[np.bool_]:
    products = (x - layer.offset) * layer.multipliers.astype(np.float64)
    if layer.addends is not None:
        products += layer.addends
    factors = 2.0 ** (layer.pre_shift + layer.shifts - 31)
    exact = np.clip(products * factors + layer.zero_point, *layer.bounds)
    near: NDArray[np.bool_] = np.abs(exact - theirs) <= 0.5 + NEAR
    return near


@_near.register
def _(layer: ir.Threshold, mine: Integers, theirs: Integers, x: Integers) -> NDArray[np.bool_]:
    """A threshold lies between two integers: what the next ones become will do."""
    reach = 1 + np.floor(_ERROR * np.abs(x)).astype(np.int64)
    ends = golden.execute(layer, x - reach), golden.execute(layer, x + reach)
    near: NDArray[np.bool_] = (np.minimum(*ends) <= theirs) & (theirs <= np.maximum(*ends))
    return near
