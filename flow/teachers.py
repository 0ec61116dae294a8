"""The networks whose answers a smaller one learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..compiler.ir import PenjingError
from .load import is_floats

if TYPE_CHECKING:
    from ..compiler.compress.trainable import Trainable

__all__ = ["read_teachers"]


def read_teachers(paths: Sequence[str | Path], network: Trainable) -> tuple[Trainable, ...]:
    """The PyTorch programs in ``paths``, which teach instead of a copy of ``network``.

    `PenjingError` for one that takes or puts out something else.
    """
    from ..compiler.compress import trainable

    if not paths:
        return (network.copied(),)
    found = []
    for path in map(Path, paths):
        if not is_floats(path):
            raise PenjingError(f"{path}: a teacher is a PyTorch program of floats (.pt2)")
        teacher = trainable.read(path)
        sizes = [(one.dims, tuple(one.module(one.example()).shape[1:])) for one in (
            teacher, network)]
        if sizes[0] != sizes[1]:
            raise PenjingError(f"{path}: the teacher makes {sizes[0][1]} of {sizes[0][0]}, the "
                               f"network {sizes[1][1]} of {sizes[1][0]}; use one for the same "
                               f"images and classes")
        found.append(teacher)
    return tuple(found)
