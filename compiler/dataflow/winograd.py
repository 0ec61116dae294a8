"""Which elements the transforms of Winograd's form add and subtract, and in which order."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TypeAlias

from ...hdl.window_geometry import Gathers

Term: TypeAlias = tuple[tuple[int, int], bool]
"""A tap (y, x), and whether it is subtracted."""
Terms: TypeAlias = tuple[tuple[tuple[Term, ...], ...], ...]
"""Of each pass over a row, for each output of a position, its terms."""

_Axis: TypeAlias = tuple[tuple[tuple[int, bool], ...], ...]
_INPUT: dict[int, _Axis] = {
    1: (((0, False),),),
    2: (((0, False), (2, True)), ((1, False), (2, False)), ((2, False), (1, True)),
        ((1, False), (3, True)))}
_OUTPUT: dict[int, _Axis] = {
    1: (((0, False),),),
    2: (((0, False), (1, False), (2, False)), ((1, False), (2, True), (3, True)))}
"""Those along an axis of so many outputs a tile."""


@lru_cache
def input_terms(tile: tuple[int, int]) -> Terms:
    """Those of a tile's products, row by row, in one pass."""
    down, across = (_INPUT[outputs] for outputs in tile)
    return (tuple(_terms(rows, columns) for rows, columns in product(down, across)),)


@lru_cache
def output_terms(tile: tuple[int, int]) -> Terms:
    """Those of a tile's outputs, a pass for each of its rows; its products are side by side."""
    down, across = (_OUTPUT[outputs] for outputs in tile)
    width = 4 if tile[1] == 2 else 1
    return tuple(tuple(
        tuple(((0, y * width + x), negative) for (y, x), negative in _terms(rows, columns))
        for columns in across) for rows in down)


def places(terms: Terms) -> Gathers:
    """Where all terms lie."""
    return tuple(tuple(tuple(tap for tap, _ in one) for one in outputs) for outputs in terms)


def signs(terms: Terms) -> tuple[tuple[tuple[bool, ...], ...], ...]:
    """Which terms are subtracted."""
    return tuple(tuple(tuple(negative for _, negative in one) for one in outputs)
                 for outputs in terms)


def _terms(rows: tuple[tuple[int, bool], ...], columns: tuple[tuple[int, bool], ...]
           ) -> tuple[Term, ...]:
    return tuple(((y, x), minus != negative) for (y, minus), (x, negative) in
                 product(rows, columns))
