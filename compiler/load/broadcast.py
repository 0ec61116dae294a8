"""What is repeated along its axes of one element until it has the shape of a map."""

from __future__ import annotations

from collections.abc import Callable

from .. import ir
from ..ir import PenjingError

Shape = tuple[int, int, int]


def common_shape(first: Shape, second: Shape) -> Shape:
    """The shape that both are repeated to; `PenjingError` if an axis has two sizes above 1."""
    if any(a != b and 1 not in (a, b) for a, b in zip(first, second, strict=True)):
        raise PenjingError(f"its inputs are {first} and {second} (height, width, channels), "
                           f"neither of one shape nor to be repeated to one; give both one shape, "
                           f"or one of them axes of 1")
    height, width, channels = map(max, first, second)
    return height, width, channels


def broadcast(builder: ir.Builder, source: str, shape: Shape, name: Callable[[], str]) -> str:
    """The layer that puts out ``source``, repeated to ``shape``; it may be ``source`` itself.

    Every axis has the size that ``shape`` has, or 1. New layers get a ``name`` each.
    """
    height, width, channels = builder.types[source].shape
    if channels != shape[2]:
        source = builder.add(ir.Repeat(name(), source, shape[2]))
    factors = shape[0] // height, shape[1] // width
    if factors != (1, 1):
        source = builder.add(ir.Upsample(name(), source, factors))
    return source
