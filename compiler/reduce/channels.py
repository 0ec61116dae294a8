"""How the channels of what a layer reads and puts out hang together, and the layer without some."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import singledispatch
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import ir

__all__ = ["Mask", "cut", "widen"]

Mask: TypeAlias = NDArray[np.bool_]
"""Which channels of a tensor stay."""


@singledispatch
def widen(layer: ir.Layer, result: Mask, *sources: Mask) -> None:
    """Let more channels stay, in place, until ``layer`` can do with what stays.

    Of a layer of which nothing is known, all. `Uses` does it for layers with weights.
    """
    for mask in (result, *sources):
        mask[:] = True


@widen.register(ir.MaxPool)
@widen.register(ir.AveragePool)
@widen.register(ir.SumPool)
@widen.register(ir.Pad)
@widen.register(ir.Crop)
@widen.register(ir.Upsample)
@widen.register(ir.ShiftRequantize)
@widen.register(ir.ScaleRequantize)
@widen.register(ir.SlopeRequantize)
@widen.register(ir.Threshold)
@widen.register(ir.Table)
@widen.register(ir.Clamp)
@widen.register(ir.Add)
@widen.register(ir.Subtract)
@widen.register(ir.Multiply)
def _(layer: ir.Layer, result: Mask, *sources: Mask) -> None:
    """Channel by channel."""
    _join((result, *sources))


@widen.register
def _(layer: ir.Concatenation, result: Mask, *sources: Mask) -> None:
    ends = np.cumsum([len(source) for source in sources])
    for source, end in zip(sources, ends, strict=True):
        _join((result[end - len(source):end], source))


@widen.register
def _(layer: ir.Slice, result: Mask, source: Mask) -> None:
    _join((result, source[layer.start:layer.stop]))


@widen.register
def _(layer: ir.Permutation, result: Mask, source: Mask) -> None:
    order = list(layer.order)
    result |= source[order]
    source[order] |= result


@widen.register
def _(layer: ir.Repeat, result: Mask, source: Mask) -> None:
    copies = result.reshape(len(source), layer.times)
    source |= copies.any(1)
    copies |= source[:, None]


@widen.register
def _(layer: ir.Rewiring, result: Mask, source: Mask) -> None:
    """Elements run through the channels of both sides, which have a period in common."""
    period = math.gcd(len(result), len(source))
    stays = [mask.reshape(-1, period) for mask in (result, source)]
    either = stays[0].any(0) | stays[1].any(0)
    for mask in stays:
        mask |= either


def _join(masks: Iterable[Mask]) -> None:
    """Let each channel stay in all ``masks`` that stays in one."""
    masks = tuple(masks)
    either = np.any(masks, 0)
    for mask in masks:
        mask |= either


@singledispatch
def cut(layer: ir.Layer, result: Mask, *sources: Mask) -> ir.Layer:
    """``layer`` for the channels that stay, which `widen` has settled.

    One without anything for each channel is as before.
    """
    return layer


@cut.register
def _(layer: ir.ScaleRequantize, result: Mask, source: Mask) -> ir.Layer:
    if len(layer.multipliers) == 1:
        return layer
    return replace(layer, multipliers=layer.multipliers[result], shifts=layer.shifts[result],
                   addends=None if layer.addends is None else layer.addends[result])


@cut.register
def _(layer: ir.SlopeRequantize, result: Mask, source: Mask) -> ir.Layer:
    if len(layer.breakpoints) == 1:
        return layer
    return replace(layer, multipliers=layer.multipliers[result], offsets=layer.offsets[result],
                   breakpoints=layer.breakpoints[result])


@cut.register
def _(layer: ir.Threshold, result: Mask, source: Mask) -> ir.Layer:
    if len(layer.thresholds) == 1:
        return layer
    return replace(layer, thresholds=layer.thresholds[result], falling=layer.falling[result])


@cut.register
def _(layer: ir.Table, result: Mask, source: Mask) -> ir.Layer:
    return layer if len(layer.values) == 1 else replace(layer, values=layer.values[result])


@cut.register
def _(layer: ir.Slice, result: Mask, source: Mask) -> ir.Layer:
    start = int(source[:layer.start].sum())
    return replace(layer, start=start, stop=start + int(result.sum()))


@cut.register
def _(layer: ir.Permutation, result: Mask, source: Mask) -> ir.Layer:
    places = np.cumsum(source) - 1
    return replace(layer, order=tuple(places[np.array(layer.order)[result]].tolist()))


@cut.register
def _(layer: ir.Reshape, result: Mask, source: Mask) -> ir.Layer:
    return replace(layer, shape=(*layer.shape[:2], int(result.sum())))
