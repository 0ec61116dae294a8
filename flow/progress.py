"""How the steps tell how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, the steps done, and their number (0 if that is not known)."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody wants to see."""
