"""The form of the tables of operators that importers have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
K = TypeVar("K")


@dataclass(frozen=True)
class Entry(Generic[C_co]):
    """An operator that an importer knows: what ``convert`` makes of it, within which ``limits``.

    ``way_out`` is for what lies beyond them. Both are what `docs/operators.md` says of it.
    """

    convert: C_co
    limits: str
    way_out: str


def entries(limits: str, way_out: str, operators: Mapping[K, C]) -> dict[K, Entry[C]]:
    """The part of a table that holds ``operators`` of the same limits; one row of the page."""
    return {name: Entry(convert, limits, way_out) for name, convert in operators.items()}
