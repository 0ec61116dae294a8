"""Resizing to the nearest element, by whole factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ... import ir
from ..entries import entries
from . import linear
from .graph import Operands, Operators
from .values import Integers, Real, Value

_ROUNDED = ("round_prefer_floor", "round_prefer_ceil")
_EVEN: Mapping[str, tuple[str, ...]] = {
    "asymmetric": ("floor",), "half_pixel": _ROUNDED, "half_pixel_symmetric": _ROUNDED}
"""By how coordinates are transformed, the ways to find the nearest element that repeat each of them
equally often, whatever the factor."""
_WAY_OUT = f"enlarge height and width by whole factors from 1 to {ir.MAX_FACTOR}"


def resize(operands: Operands) -> Value:
    """Resize, and Upsample of older operator sets: each element several times down and across."""
    value = operands.activation(0)
    if not isinstance(value, Integers | Real):
        operands.refuse("it reads what is not quantized",
                        "put QuantizeLinear and DequantizeLinear before it")
    value = linear.as_map(operands, value)
    axes = linear.spatial(value.layout)
    factors = _factors(operands, (1, *value.layout.dims))
    if factors == (1, 1):
        return value
    name = operands.builder.add(ir.Upsample(operands.builder.name(operands.node), value.name,
                                            factors))
    shape = operands.builder.types[name].shape
    return replace(value, name=name, layout=linear.map_of(operands, shape, axes))


def _factors(operands: Operands, dims: tuple[int, ...]) -> tuple[int, int]:
    """(y, x) by which the node enlarges a map of ``dims`` (with the batch)."""
    # Before operator set 11 there were two inputs, and one way.
    is_old = len(operands.node.inputs) == 2
    if operands.text("mode", "nearest") != "nearest":
        operands.refuse("it interpolates", "use mode nearest")
    transformed = operands.text("coordinate_transformation_mode",
                                "asymmetric" if is_old else "half_pixel")
    nearest = operands.text("nearest_mode", "floor" if is_old else "round_prefer_floor")
    if nearest not in _EVEN.get(transformed, ()):
        operands.refuse(f"its elements are those of {transformed:.40} and {nearest:.40}, which "
                        f"repeat unevenly", "use asymmetric and floor")
    if operands.ints("axes") is not None or operands.integer("antialias", 0) or (
            operands.text("keep_aspect_ratio_policy", "stretch") != "stretch"):
        operands.refuse("it concerns given axes only, keeps an aspect ratio or smooths",
                        "give factors for all axes")
    place = 1 if is_old else 2
    if operands.has(3) and not (operands.has(2) and operands.numbers(2, "scales").size):
        sizes = operands.integers(3, "sizes") or ()
        if len(sizes) != len(dims) or any(new % old for new, old in zip(sizes, dims, strict=True)):
            operands.refuse(f"it makes {sizes[:8]} of {dims}", _WAY_OUT)
        scales = [new // old for new, old in zip(sizes, dims, strict=True)]
    else:
        scales = operands.numbers(place, "scales").reshape(-1)[:8].tolist()
    if len(scales) != len(dims) or scales[:2] != [1, 1] or any(
            scale != int(scale) or not 1 <= scale <= ir.MAX_FACTOR for scale in scales):
        operands.refuse(f"its scales are {scales}", _WAY_OUT)
    y, x = (int(scale) for scale in (1, *scales[2:])[-2:])
    return y, x


RESIZING: Operators = entries(
    "to the nearest element, by whole factors from 1 to 1024: `asymmetric` with `floor`, or half "
    "pixels rounded", "resize by a whole factor", {
        ("", "Resize"): resize, ("", "Upsample"): resize})
"""The operators that resize, by domain and name."""
