"""The small pictures of a page: a histogram, and a bar that is partly full."""

from __future__ import annotations

from collections.abc import Sequence

from ...boards.layout import Column
from .markup import Element, element
from .text import count

__all__ = ["gauge", "histogram"]

_WIDTH, _HEIGHT, _FOOT, _HEAD = 640, 190, 34, 14


def histogram(columns: Sequence[Column]) -> Element:
    """How many paths end with how much time left; those that are late are red."""
    tallest = max(1, *(column.most for column in columns))
    step = _WIDTH / len(columns)
    room = _HEIGHT - _FOOT - _HEAD
    parts = [element("path", d=f"M0 {_HEIGHT - _FOOT}H{_WIDTH}", class_="axis")]
    for n, column in enumerate(columns):
        x, late = n * step, "late" if column.low < 0 else "early"
        for most, kind in ((column.most, "about"), (column.least, "sure")):
            size = round(room * most / tallest, 1)
            parts.append(element("rect", x=round(x + 1, 1), y=_HEIGHT - _FOOT - size,
                                 width=round(step - 2, 1), height=size,
                                 class_=f"column {late} {kind}"))
        between = (count(column.most) if column.least == column.most
                   else f"{count(column.least)} to {count(column.most)}")
        parts[-1].append(element("title", f"{column.low:.2f} to {column.high:.2f} ns left: "
                                          f"{between} paths"))
        if n % 4 == 0:
            parts.append(element("text", f"{column.low:.1f}", x=round(x, 1), y=_HEIGHT - 18,
                                 class_="detail"))
    parts += [element("text", f"{columns[-1].high:.1f}", x=_WIDTH, y=_HEIGHT - 18,
                      class_="detail end"),
              element("text", "time left, ns", x=_WIDTH / 2, y=_HEIGHT - 3,
                      class_="detail middle"),
              element("text", f"up to {count(tallest)} ends of paths a column", x=0, y=10,
                      class_="detail")]
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="chart",
                   aria_label="slack histogram")


def gauge(part: float, mark: float | None = None, colour: str | None = None) -> Element:
    """A bar of which a ``part`` is full, with a line at ``mark``."""
    inside = [element("i", style=f"width:{min(1, part) * 100:.1f}%"
                                 + (f";background:{colour}" if colour else ""))]
    if mark is not None:
        inside.append(element("b", style=f"left:{min(1, mark) * 100:.1f}%"))
    return element("span", *inside, class_="gauge")
