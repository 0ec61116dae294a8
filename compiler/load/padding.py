"""Padding around a map, (top, bottom, left, right), as all formats have it."""

from __future__ import annotations

from typing import TypeAlias

Padding: TypeAlias = tuple[int, int, int, int]
NO_PADDING: Padding = (0, 0, 0, 0)


def sum_padding(first: Padding, second: Padding) -> Padding:
    """Both, one around the other."""
    top, bottom, left, right = (a + b for a, b in zip(first, second, strict=True))
    return top, bottom, left, right


def fits(padding: Padding, kernel: tuple[int, ...]) -> bool:
    """Whether each window of ``kernel`` (height, width) reads something besides the padding."""
    return max(padding[:2]) < kernel[0] and max(padding[2:]) < kernel[1]


def same_total(size: int, taps: int, step: int) -> int:
    """Before and behind ``size`` elements, so that every ``step`` of them begins a window.

    That is what SAME says; which end has the odd one, a format tells.
    """
    return max(0, (-(-size // step) - 1) * step + taps - size)
