"""Where a network will live: boards, the serial link, and the tools that make bitstreams."""

from __future__ import annotations

from ..compiler.ir import PenjingError
from .board import BOARDS, Board, Budget

__all__ = ["Board", "Budget", "boards", "find"]


def boards() -> tuple[Board, ...]:
    """Every board that Penjing knows."""
    return BOARDS


def find(name: str) -> Board:
    """The board called ``name``; raises `PenjingError` that lists the names if there is none."""
    for board in BOARDS:
        if board.name == name:
            return board
    names = ", ".join(board.name for board in BOARDS)
    raise PenjingError(f"board {name!r}: unknown; choose one of {names}")
