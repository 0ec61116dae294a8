"""Who drives the signals of a fragment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import _ast as ast
from amaranth.hdl import _ir as ir

__all__ = ["Driver", "Part", "assigned", "collect", "drivers", "targets"]


@dataclass(frozen=True)
class Part:
    """``width`` bits of a signal, from ``low`` on, are those of a statement from ``place`` on."""

    low: int
    width: int
    statement: Any
    place: int


@dataclass
class Driver:
    """What assigns a signal without a clock; ``parts`` if each bit is assigned at most once.

    In that case it is assigned under no condition.
    """

    signal: Any
    statements: list[Any] = field(default_factory=list)
    parts: list[Part] | None = field(default_factory=list)


def collect(fragment: Any, drives: dict[Any, dict[int, Any]]) -> dict[int, Any]:
    """What each fragment drives, by itself or by what is in it; signals by their identity."""
    found: dict[int, Any] = {}
    drives[fragment] = found
    if isinstance(fragment, ir.Instance):
        for value, kind in fragment.ports.values():
            if kind == "o":
                found |= {id(signal): signal for signal, _, _ in targets(value)}
    for statements in fragment.statements.values():
        for statement in statements:
            found |= {id(signal): signal for signal in assigned(statement)}
    for part, _, _ in fragment.subfragments:
        found |= collect(part, drives)
    return found


def assigned(statement: Any) -> Iterator[Any]:
    """The signals that a statement assigns, some of them twice."""
    if isinstance(statement, ast.Assign):
        for signal, _, _ in targets(statement.lhs):
            yield signal
    elif isinstance(statement, ast.Switch):
        for _, statements, _ in statement.cases:
            for inner in statements:
                yield from assigned(inner)
    else:
        raise ValueError(f"there must be no {type(statement).__name__} in hardware")


def targets(value: Any) -> Iterator[tuple[Any, int, int]]:
    """The signals that ``value`` is made of, the first bit of each and how many, lowest first."""
    if isinstance(value, ast.Signal):
        if len(value):
            yield value, 0, len(value)
    elif isinstance(value, ast.Operator) and value.operator in ("u", "s"):
        yield from targets(value.operands[0])
    elif isinstance(value, ast.Concat):
        for part in value.parts:
            yield from targets(part)
    elif isinstance(value, ast.Slice):
        place = 0
        for signal, low, width in targets(value.value):
            first, last = max(value.start - place, 0), min(value.stop - place, width)
            if first < last:
                yield signal, low + first, last - first
            place += width
    else:
        raise ValueError(f"{value!r} must not be assigned to")


def drivers(fragment: Any) -> dict[int, Driver]:
    """What drives each signal that is assigned without a clock, by the signal's identity."""
    found: dict[int, Driver] = {}
    for statement in fragment.statements.get("comb", ()):
        if not isinstance(statement, ast.Assign):
            for key, signal in {id(one): one for one in assigned(statement)}.items():
                driver = found.setdefault(key, Driver(signal))
                driver.statements.append(statement)
                driver.parts = None
            continue
        place = 0
        for signal, low, width in targets(statement.lhs):
            driver = found.setdefault(id(signal), Driver(signal))
            if not driver.statements or driver.statements[-1] is not statement:
                driver.statements.append(statement)
            if driver.parts is not None and any(
                    low < part.low + part.width and part.low < low + width
                    for part in driver.parts):
                driver.parts = None
            elif driver.parts is not None:
                driver.parts.append(Part(low, width, statement, place))
            place += width
    return found
