"""Curves over an axis that doubles from mark to mark, as an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from penjing.flow.page.colours import colours
from penjing.flow.page.markup import Element, element

_WIDTH, _HEIGHT, _LEFT, _FOOT, _HEAD, _KEY = 400, 260, 34, 40, 22, 190


def curves(title: str, across: str, up: str, marks: Sequence[int],
           series: Mapping[str, Sequence[float]], most: float) -> Element:
    """Each of ``series`` over the ``marks``, from 0 to ``most``."""
    def x(mark: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT) * math.log2(mark / marks[0])
                     / math.log2(marks[-1] / marks[0]), 1)

    def y(value: float) -> float:
        return round(_HEAD + (_HEIGHT - _FOOT - _HEAD) * (1 - value / most), 1)

    parts = [element("text", up, x=0, y=10, class_="detail"),
             element("text", across, x=(_LEFT + _WIDTH) / 2, y=_HEIGHT - 4, class_="detail middle")]
    for n in range(5):
        value = most * n / 4
        parts += [element("path", d=f"M{_LEFT} {y(value)}H{_WIDTH}", class_="axis"),
                  element("text", f"{value:g}", x=_LEFT - 6, y=y(value) + 4, class_="detail end")]
    parts += [element("text", mark, x=x(mark), y=_HEIGHT - _FOOT + 16, class_="detail middle")
              for mark in marks]
    shades = colours([*series])
    for n, (name, values) in enumerate(series.items()):
        points = " ".join(f"{x(mark)},{y(value)}"
                          for mark, value in zip(marks, values, strict=True))
        row = _HEAD + 16 * n
        parts += [
            element("polyline", element("title", name), points=points, fill="none",
                    stroke=shades[name], stroke_width=2, stroke_linejoin="round"),
            element("path", d=f"M{_WIDTH + 16} {row}h16", stroke=shades[name], stroke_width=3),
            element("text", name, x=_WIDTH + 38, y=row + 4)]
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH + _KEY} {_HEIGHT}", role="img",
                   class_="chart", aria_label=title)
