"""The chip as a picture: its tiles, coloured by the layers whose cells are in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby

from ...boards import Board
from ...boards.layout import Layout, Tile
from .markup import Element, element

__all__ = ["REST", "draw"]

REST = "#8a93a6"
"""The colour of cells that belong to no layer."""

_PITCH, _TILE, _EDGE = 9, 8, 22
_CELLS = 8
"""LUTs of a tile."""


def draw(board: Board, layout: Layout, paint: Mapping[str, str]) -> Element:
    """The picture; ``paint`` is the colour of each layer."""
    columns, rows = board.grid
    width, height = columns * _PITCH + 2 * _EDGE, rows * _PITCH + 2 * _EDGE
    strips, blocks = _shapes(layout.tiles)
    parts = [element("rect", x=0, y=0, width=width, height=height, rx=14, class_="package"),
             element("rect", x=_EDGE - 6, y=_EDGE - 6, width=columns * _PITCH + 11,
                     height=rows * _PITCH + 11, rx=4, class_="die"),
             element("text", f"{board.device} · {board.name}", x=_EDGE, y=height - 5,
                     class_="engraved")]
    for number, owner in enumerate(layout.owners):
        if number not in strips and number not in blocks:
            continue
        colour = paint.get(owner, REST)
        parts.append(element(
            "g", element("title", owner),
            element("path", d="".join(strips[number])) if strips[number] else None,
            *blocks[number], fill=colour))
    return element("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", class_="floorplan",
                   aria_label=f"floorplan of {board.device}")


def _shapes(tiles: Iterable[Tile]) -> tuple[defaultdict[int, list[str]],
                                            defaultdict[int, list[Element]]]:
    """By owners: the paths of their logic, and their multipliers and block RAMs."""
    strips: defaultdict[int, list[str]] = defaultdict(list)
    blocks: defaultdict[int, list[Element]] = defaultdict(list)
    for (column, row), group in groupby(tiles, key=lambda tile: (tile.x, tile.y)):
        x, y = _EDGE + _PITCH * column, _EDGE + _PITCH * row
        members = list(group)
        # A LUT and its flip-flop share a place.
        needs = [max(tile.cells[:2]) for tile in members]
        unit = _TILE / max(_CELLS, sum(needs))
        top = 0.0
        for tile, need in zip(members, needs, strict=True):
            if need:
                strips[tile.owner].append(f"M{x} {y + top:g}h{_TILE}v{need * unit:g}h-{_TILE}z")
                top += need * unit
            _, _, dsps, brams = tile.cells
            if dsps:
                blocks[tile.owner].append(element(
                    "path", d=f"M{x + 4} {y - 1}l5 5l-5 5l-5 -5z", class_="dsp"))
            if brams:
                blocks[tile.owner].append(element(
                    "rect", x=x, y=y, width=_TILE, height=_TILE, rx=1, class_="bram"))
    return strips, blocks
