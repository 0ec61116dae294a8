"""A float function and its quantizer as integer thresholds or a table, exact at ties.

The function is evaluated in float32 and in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ...ir import Integers
from ..stairs import Stairs
from .graph import Builder, Operands
from .values import Curve, Floats32, Scales

Levels = Callable[[Floats32], Floats32]

_MOST_LOOKED_AT = 1 << 20
"""The most values of a function that falls and rises, which are all computed."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """What makes integers ``low``, ``low + step``, ... ``high`` of reals.

    They stand for ``scale * (q - zero)``; ``scale`` is (1,) or one a channel. ``levels`` gives them
    as float32 for the reals x (rows, n).
    """

    scale: Scales
    zero: int
    low: int
    high: int
    step: int
    levels: Levels


def _away(x: Floats32) -> Floats32:
    return np.sign(x) * np.ceil(np.abs(x))


def _half_away(x: Floats32) -> Floats32:
    return np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))


def _half_to_zero(x: Floats32) -> Floats32:
    return np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5))


ROUNDINGS: Mapping[str, Levels] = {
    "ROUND": np.rint, "HALF_EVEN": np.rint, "CEIL": np.ceil, "FLOOR": np.floor, "UP": _away,
    "DOWN": np.trunc, "HALF_UP": _half_away, "HALF_DOWN": _half_to_zero}
"""How quantizers round, by the names of QONNX; its up is away from zero."""


def rounded(low: int, high: int, mode: str, halvings: int = 0) -> Levels:
    """Levels by clamping and rounding; a Trunc rounds, and drops bits by ``halvings`` first."""
    function = ROUNDINGS[mode]

    def levels(x: Floats32) -> Floats32:
        if halvings:
            x = np.rint(x) * np.float32(0.5 ** halvings)
        return function(np.clip(x, np.float32(low), np.float32(high)))

    return levels


def scaled(scale: Scales, zero: int, levels: Levels) -> Levels:
    """``levels`` of reals that are divided by ``scale``, and ``zero`` added."""
    return lambda x: levels(x / scale[:, None] + np.float32(zero))


def sign(x: Floats32) -> Floats32:
    """-1 and +1, which 0 becomes."""
    return np.where(x >= 0, np.float32(1), np.float32(-1))


def counted(thresholds: Floats32) -> Levels:
    """How many of the ``thresholds`` (rows, T) are not above x (rows, n)."""
    def levels(x: Floats32) -> Floats32:
        return (x[..., None] >= thresholds[:, None]).sum(-1).astype(np.float32)

    return levels


def emit(operands: Operands, curve: Curve, quantizer: Quantizer, rows: int = 1, *,
         as_table: bool = False) -> str:
    """Append the layer that makes the integers of ``quantizer``; its name.

    ``rows`` is the number of channels if the quantizer's levels differ among them. Of integers of
    few bits it is a table if that is wanted, or if the function falls and rises.
    """
    builder = operands.builder
    rows = max(rows, curve.rows, quantizer.scale.size)
    channels = curve.layout.shape[2]
    if rows not in (1, channels) or (rows > 1 and curve.layout.channel_axis() is None):
        operands.refuse(f"it has parameters for {rows} channels, its input has {channels}",
                        "give one parameter, or one a channel")
    name = builder.name(operands.node)
    scale = float(quantizer.scale[0]) if quantizer.scale.size == 1 else None
    limits = interval(builder, curve.name)

    def levels(q: Integers) -> Floats32:
        with np.errstate(all="ignore"):
            return quantizer.levels(curve(q))

    is_narrow = builder.types[curve.name].bits <= ir.TABLE_BITS
    falls = (None if as_table and is_narrow
             else np.broadcast_to(curve.falls, rows) if curve.monotone
             else _falls(operands, levels, limits, rows))
    if falls is None:
        values = _all_levels(operands, curve, levels, limits, rows)
        low, high = min(int(values.min()), quantizer.zero), max(int(values.max()), quantizer.zero)
        bits = ir.signed_bits(low, high) if low < 0 else ir.unsigned_bits(high)
        return builder.add(ir.Table(name, curve.name, values, bits, low < 0,
                                    builder.types[curve.name].low, 0, quantizer.zero, scale))
    stairs = Stairs(levels, limits, falls, quantizer.high, quantizer.step)
    reach = stairs.reach()
    if reach is None:
        _refuse_no_number(operands)
    base, count = reach
    if count > ir.MAX_THRESHOLDS:
        operands.refuse(f"it makes {count + 1} values of its input, more than "
                        f"{ir.MAX_THRESHOLDS + 1}", "quantize activations to 8 bits at most")
    builder.spend_folded(operands.node, rows * count * builder.types[curve.name].bits)
    return builder.add(stairs.layer(name, curve.name, base, count, zero=quantizer.zero,
                                    scale=scale))


def _falls(operands: Operands, levels: Callable[[Integers], Floats32], limits: tuple[int, int],
           rows: int) -> NDArray[np.bool_] | None:
    """(rows,) which of the ``levels`` fall, where none falls and rises; None where one does.

    That is how a function that falls a bit and rises behaves if its quantizer does not see it.
    """
    low, high = limits
    if rows * (high - low + 1) > _MOST_LOOKED_AT:
        return None
    operands.builder.spend_folded(operands.node, rows * (high - low + 1))
    slopes = np.diff(np.broadcast_to(levels(np.arange(low, high + 1)[None]),
                                     (rows, high - low + 1)))
    rises = np.asarray((slopes >= 0).all(1))
    return ~rises if (rises | (slopes <= 0).all(1)).all() else None


def _all_levels(operands: Operands, curve: Curve, levels: Callable[[Integers], Floats32],
                limits: tuple[int, int], rows: int) -> Integers:
    """The ``levels`` (rows, n) of all integers that the type of the curve's has."""
    kind = operands.builder.types[curve.name]
    if kind.bits > ir.TABLE_BITS:
        operands.refuse(f"a function that falls and rises comes between it and integers of "
                        f"{kind.bits} bits, where a table takes {ir.TABLE_BITS}",
                        f"quantize to {ir.TABLE_BITS} bits at most before that function")
    values = levels(np.arange(kind.low, kind.high + 1).clip(*limits)[None])
    if not np.isfinite(values).all():
        _refuse_no_number(operands)
    whole = np.broadcast_to(values, (rows, values.shape[1])).astype(np.int64)
    return whole[:1] if (whole == whole[0]).all() else whole


def _refuse_no_number(operands: Operands) -> NoReturn:
    operands.refuse("its input may be no number", "train the network again, or repair it")


def interval(builder: Builder, name: str) -> tuple[int, int]:
    """The least and the greatest integer of ``name``; its type may hold others that never come."""
    layer, kind = builder.layers.get(name), builder.types[name]
    if isinstance(layer, ir.SumPool):
        source, area = builder.types[layer.input], layer.kernel[0] * layer.kernel[1]
        return source.low * area, source.high * area
    return layer.bounds if isinstance(layer, ir.Clamp) else (kind.low, kind.high)
