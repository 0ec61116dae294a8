"""Ranges of rows, columns and channels, as files cut them out of a map."""

from __future__ import annotations

from collections.abc import Callable

from .. import ir
from ..ir import PenjingError


def cut(builder: ir.Builder, source: str, name: Callable[[], str], rows: range, columns: range,
        channels: range) -> str:
    """The layer that puts out these ranges of ``source``, which may be that itself.

    Each range has at least one of what ``source`` has. New layers get a ``name`` each.
    `PenjingError` for channels with a step, and for steps that are too long.
    """
    height, width, count = builder.types[source].shape
    if len(channels) > 1 and channels.step > 1:
        raise PenjingError(f"it takes channels by steps of {channels.step}; take a range of "
                           f"channels without steps")
    if (len(rows), len(columns)) != (height, width):
        source = builder.add(ir.Crop(name(), source, _steps(rows), _steps(columns)))
    if len(channels) != count:
        source = builder.add(ir.Slice(name(), source, channels[0], channels[-1] + 1))
    return source


def _steps(taken: range) -> tuple[int, int, int]:
    """(start, stop, step) of rows or columns; a single one has no step."""
    step = taken.step if len(taken) > 1 else 1
    if step > ir.MAX_STEP:
        raise PenjingError(f"it takes rows or columns by steps of {step}; take steps of at most "
                           f"{ir.MAX_STEP}")
    return taken[0], taken[-1] + 1, step
