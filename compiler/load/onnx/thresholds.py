"""A monotone float function and its quantizer as integer thresholds, exact at ties.

The function is evaluated in float32 and in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import ir
from ..stairs import Stairs
from .graph import Builder, Operands
from .values import Curve, Scales

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Quantizer:
    """What makes integers ``low``, ``low + step``, ... ``high`` of reals.

    They stand for ``scale * (q - zero)``; ``scale`` is (1,) or one a channel. ``levels`` gives them
    as float32 for reals divided by the scale, with the zero point added.
    """

    scale: Scales
    zero: int
    low: int
    high: int
    step: int
    levels: Callable[[Floats32], Floats32]

    def __call__(self, x: Floats32) -> Floats32:
        """The integers, as float32, for the reals x (rows, n)."""
        with np.errstate(all="ignore"):
            return self.levels(x / self.scale[:, None] + np.float32(self.zero))


ROUNDINGS: Mapping[str, Callable[[Floats32], Floats32]] = {
    "ROUND": np.rint, "HALF_EVEN": np.rint, "CEIL": np.ceil, "FLOOR": np.floor}
"""How quantizers round, by the names of QONNX."""


def rounded(low: int, high: int, mode: str, halvings: int = 0) -> Callable[[Floats32], Floats32]:
    """Levels by clamping and rounding; a Trunc rounds, and drops bits by ``halvings`` first."""
    function = ROUNDINGS[mode]

    def levels(x: Floats32) -> Floats32:
        if halvings:
            x = np.rint(x) * np.float32(0.5 ** halvings)
        return function(np.clip(x, np.float32(low), np.float32(high)))

    return levels


def sign(x: Floats32) -> Floats32:
    """-1 and +1, which 0 becomes."""
    return np.where(x >= 0, np.float32(1), np.float32(-1))


def counted(thresholds: Floats32) -> Callable[[Floats32], Floats32]:
    """How many of the ``thresholds`` (rows, T) are not above x (rows, n)."""
    def levels(x: Floats32) -> Floats32:
        return (x[..., None] >= thresholds[:, None]).sum(-1).astype(np.float32)

    return levels


def emit(operands: Operands, curve: Curve, quantizer: Quantizer, rows: int = 1) -> str:
    """Append the layer that makes the integers of ``quantizer``; its name.

    ``rows`` is the number of channels if the quantizer's levels differ among them.
    """
    builder = operands.builder
    rows = max(rows, curve.rows, quantizer.scale.size)
    channels = curve.layout.shape[2]
    if rows not in (1, channels) or (rows > 1 and curve.layout.channel_axis() is None):
        operands.refuse(f"it has parameters for {rows} channels, its input has {channels}",
                        "give one parameter, or one a channel")
    falls = np.broadcast_to(curve.falls, rows)
    stairs = Stairs(lambda q: quantizer(curve(q)), interval(builder, curve.name), falls,
                    quantizer.high, quantizer.step)
    reach = stairs.reach()
    if reach is None:
        operands.refuse("its input may be no number", "train the network again, or repair it")
    base, count = reach
    if count > ir.MAX_THRESHOLDS:
        operands.refuse(f"it makes {count + 1} values of its input, more than "
                        f"{ir.MAX_THRESHOLDS + 1}", "quantize activations to 8 bits at most")
    builder.spend_folded(operands.node, rows * count * builder.types[curve.name].bits)
    scale = float(quantizer.scale[0]) if quantizer.scale.size == 1 else None
    return builder.add(stairs.layer(builder.name(operands.node), curve.name, base, count,
                                     zero=quantizer.zero, scale=scale))


def interval(builder: Builder, name: str) -> tuple[int, int]:
    """The least and the greatest integer of ``name``; its type may hold others that never come."""
    layer, kind = builder.layers.get(name), builder.types[name]
    if isinstance(layer, ir.SumPool):
        source, area = builder.types[layer.input], layer.kernel[0] * layer.kernel[1]
        return source.low * area, source.high * area
    return layer.bounds if isinstance(layer, ir.Clamp) else (kind.low, kind.high)
