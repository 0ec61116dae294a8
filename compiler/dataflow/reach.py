"""The values of each channel of a tensor, where constant weights tell more than its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import TypeAlias

import numpy as np

from ...hdl.ranges import shifted
from .. import ir
from ..ir import Network, TensorType

Reach: TypeAlias = tuple[range, ...]
"""Of each channel, from the least value to the greatest, both of which occur."""


def reaches(network: Network) -> Mapping[str, Reach | None]:
    """That of every tensor of ``network``, by name; None where only its type is known."""
    found: dict[str, Reach | None] = {network.input: None}
    for layer in network.layers:
        name = layer.inputs[0]
        found[layer.name] = reach_of(layer, found[name], network.type_of(name))
    return found


def every(kind: TensorType) -> Reach:
    """All values of ``kind``, in each channel; of signs, -1 to 1."""
    return (range(kind.low, kind.high + 1),) * kind.shape[2]


def ends(reach: Sequence[range]) -> tuple[ir.Integers, ir.Integers]:
    """(channels,) least values, and greatest ones."""
    return (np.array([values[0] for values in reach], np.int64),
            np.array([values[-1] for values in reach], np.int64))


@singledispatch
def reach_of(layer: ir.Layer, source: Reach | None, kind: TensorType) -> Reach | None:
    """What ``layer`` makes of a ``source`` of that ``kind``; None unless more than a type is known.
    """
    return None


@reach_of.register
def _(layer: ir.MultiplyAccumulate, source: Reach | None, kind: TensorType) -> Reach | None:
    if not isinstance(layer.weights.encoding, ir.Constant):
        return None
    low, high = ends(source or every(kind))
    weights = layer.weights.values.reshape(len(layer.bias), -1)
    if weights.shape[1] != len(low):  # a kernel that constants cannot be
        return None
    ups: ir.Integers = np.maximum(weights, 0)
    downs: ir.Integers = np.minimum(weights, 0)
    least: ir.Integers = ups @ low + downs @ high + layer.bias
    most: ir.Integers = ups @ high + downs @ low + layer.bias
    return tuple(map(_between, least.tolist(), most.tolist()))


@reach_of.register
def _(layer: ir.ShiftRequantize, source: Reach | None, kind: TensorType) -> Reach | None:
    if source is None:
        return None
    low, high = layer.bounds
    return tuple(_between(min(max(values[0], low), high), min(max(values[-1], low), high))
                 for values in (shifted(values, layer.shift) for values in source))


def _between(low: int, high: int) -> range:
    return range(low, high + 1)
