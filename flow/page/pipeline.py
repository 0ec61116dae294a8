"""The pipeline as a picture: a row for each layer, tracks for the streams between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .colours import colours
from .markup import Element, element
from .text import count, percent, shape

if TYPE_CHECKING:
    from ..report import LayerFacts, Report

__all__ = ["Track", "draw", "tracks"]

_ROW, _GAP, _WIDTH, _MARGIN = 46, 17, 400, 12
_LETTERS, _SMALL = 26, 48


@dataclass(frozen=True)
class Track:
    """A stream from a row to a later one, drawn down the ``column`` between them."""

    source: int
    target: int
    column: int


def tracks(inputs: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[Track, ...]]:
    """(column of each row, tracks) of a graph whose row n reads the rows ``inputs[n]``.

    The first reader of a row is reached down the row's own column, all others down one more. So no
    two streams ever share a piece of track, but for those that come from one row.
    """
    readers: list[list[int]] = [[] for _ in inputs]
    for row, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            readers[source].append(row)
    columns: list[int] = []
    found: list[Track] = []
    busy: dict[int, int] = {}
    aside: dict[int, int] = {}

    def free() -> int:
        return next(n for n in range(len(inputs) + 1) if n not in busy)

    for row, sources in enumerate(inputs):
        ended = []
        for source in dict.fromkeys(sources):
            column = columns[source] if readers[source][0] == row else aside[source]
            found.append(Track(source, row, column))
            if busy[column] == row:
                ended.append(column)
        for column in ended:
            del busy[column]
        columns.append(min(ended, default=free()))
        if readers[row]:
            busy[columns[row]] = readers[row][0]
        if len(readers[row]) > 1:
            aside[row] = free()
            busy[aside[row]] = readers[row][-1]
    return tuple(columns), tuple(found)


def draw(report: Report, rows: int | None = None) -> list[Element]:
    """How data flows, and how much of the time each layer works: pictures of so many ``rows``.

    They belong one below the other, and there is one only for None.
    """
    name, kind = report.source
    places = {name: 0, **{layer.name: n + 1 for n, layer in enumerate(report.layers)}}
    columns, streams = tracks([(), *([places[source] for source in layer.inputs]
                                     for layer in report.layers)])
    left = _MARGIN + _GAP * max(*columns, *(one.column for one in streams)) + 18
    paint = colours([layer.name for layer in report.layers])
    lanes = [report.layers[0].plan.i.lanes, *(layer.plan.o.lanes for layer in report.layers)]
    parts = [(one.source, one.target, _stream(one, columns, lanes[one.source])) for one in streams]
    parts.append((0, 0, _input(name, f"{shape(kind)} · {lanes[0]} a beat", left)))
    parts += [(row, row, _layer(layer, row, columns[row], left, paint[layer.name]))
              for row, layer in enumerate(report.layers, 1)]
    width, rows = left + _WIDTH, rows or len(places)
    return [element("svg", *(part for top, bottom, part in parts
                             if top < start + rows and bottom >= start),
                    viewBox=f"0 {_ROW * start} {width} {_ROW * min(rows, len(places) - start)}",
                    role="img", class_="pipeline", aria_label=f"pipeline of {report.title}")
            for start in range(0, len(places), rows)]


def _input(name: str, detail: str, left: int) -> Element:
    return element("g", element("title", f"input {name}"), _node(0, 0, "var(--quiet)"),
                   element("text", _cut(name, _LETTERS), x=left, y=20, class_="name"),
                   element("text", detail, x=left, y=35, class_="detail"))


def _x(column: int) -> int:
    return _MARGIN + _GAP * column


def _y(row: int) -> int:
    return _ROW * row + 18


def _node(column: int, row: int, colour: str) -> Element:
    return element("circle", cx=_x(column), cy=_y(row), r=6, fill=colour, class_="node")


def _stream(track: Track, columns: Sequence[int], lanes: int) -> Element:
    """The line of a stream, the thicker the more elements a beat has."""
    start, end, middle = (_x(columns[track.source]), _x(columns[track.target]), _x(track.column))
    top, bottom = _y(track.source), _y(track.target)
    path = f"M{start} {top}"
    if start != middle:
        path += f"C{start} {top + 22} {middle} {top + 14} {middle} {top + _ROW - 8}"
    if middle == end:
        path += f"V{bottom}"
    else:
        path += (f"V{bottom - _ROW + 8}C{middle} {bottom - 14} {end} {bottom - 22} {end} {bottom}")
    return element("path", d=path, class_="stream", stroke_width=1.5 + min(lanes, 64) ** 0.5 / 2)


def _layer(layer: LayerFacts, row: int, column: int, left: int, colour: str) -> Element:
    plan, y = layer.plan, _ROW * row
    bar, right = 84, left + _WIDTH - 4
    busy = round(bar * (1 - layer.idle), 1)
    fold = f" · {plan.fold.pe}×{plan.fold.simd}" if plan.fold else ""
    detail = f"{plan.layer}{fold} · {shape(layer.result)} · {plan.o.lanes} a beat"
    parts = [
        element("title", f"{layer.name}: {detail}"),
        _node(column, row, colour),
        element("text", _cut(layer.name, _LETTERS), x=left, y=y + 20, class_="name"),
        element("text", _cut(detail, _SMALL), x=left, y=y + 35, class_="detail")]
    if not plan.cycles:
        parts.append(element("text", "wires", x=right, y=y + 20, class_="detail end"))
    else:
        parts += [
            element("text", f"{count(plan.cycles)} cycles · {percent(layer.idle)} idle",
                    x=right, y=y + 20, class_="detail end"),
            element("rect", x=right - bar, y=y + 29, width=bar, height=6, rx=3, class_="idle"),
            element("rect", x=right - bar, y=y + 29, width=busy, height=6, rx=3, fill=colour)]
    return element("g", *parts)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[:letters - 1]}…"
