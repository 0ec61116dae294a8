"""Integers of which the exact bounds are known, and the fewest bits that hold them."""

from __future__ import annotations

from amaranth.hdl import *

__all__ = ["narrowed", "shape_of", "shifted", "width"]


def width(values: range) -> int:
    """Bits of the narrowest integers that hold ``values``, signed ones if some are negative."""
    low, high = values[0], values[-1]
    if low >= 0:
        return high.bit_length()
    return max((~low).bit_length(), high.bit_length() if high >= 0 else 0) + 1


def shape_of(values: range) -> Shape:
    """The narrowest shape of all ``values``."""
    return Shape(width(values), values[0] < 0)


def narrowed(value: Value, values: range) -> Value:
    """``value``, which is one of ``values``, in their narrowest shape."""
    bits = value[:width(values)]
    return bits.as_signed() if values[0] < 0 else bits


def shifted(values: range, shift: int) -> range:
    """Where ``values`` are once they have lost so many bits, rounding half up; if less than none,
    once they have so many more.
    """
    half = 1 << shift >> 1 if shift > 0 else 0
    low, high = (end << -shift if shift < 0 else end + half >> shift
                 for end in (values[0], values[-1]))
    return range(low, high + 1)
