"""RTLIL, the text that Amaranth's back end writes, read into modules.

Of the language (its reference is Yosys' manual) only what that back end makes of blocks is known;
anything else raises `ValueError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["ITEM", "Assign", "Cell", "Module", "Statement", "Switch", "Wire", "read"]

ITEM = re.compile(r"([^\s{}]+)(?: \[(\d+)(?::(\d+))?\])?")
"""One part of a value: a constant or a wire, and the bits of the wire."""


@dataclass(frozen=True)
class Wire:
    """A net and its width; ``direction`` is input or output if it is a port."""

    width: int
    direction: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """A cell; parameters, and the values at its ports, by name."""

    kind: str
    name: str
    attributes: dict[str, str]
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assign:
    """An assignment in a process: the last one of a bit counts."""

    target: str
    value: str


@dataclass(frozen=True)
class Switch:
    """The statements of the first of the ``cases`` that has a pattern which ``value`` matches.

    A case without patterns always matches; ``-`` in a pattern matches both bits.
    """

    value: str
    cases: list[tuple[tuple[str, ...], list[Statement]]] = field(default_factory=list)


Statement = Assign | Switch


@dataclass(frozen=True)
class Module:
    """A module: its wires by name, its processes by the wire that each drives.

    ``aliases`` are wires that equal what is driven elsewhere.
    """

    name: str
    wires: dict[str, Wire] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: dict[str, list[Statement]] = field(default_factory=dict)
    aliases: list[tuple[str, str]] = field(default_factory=list)


def read(text: str) -> list[Module]:
    """The modules of ``text``, in its order."""
    lines = map(str.strip, text.split("\n"))
    return [_module(line.removeprefix("module \\"), lines)
            for line in lines if line.startswith("module ")]


def _module(name: str, lines: Iterator[str]) -> Module:
    module = Module(name)
    attributes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "attribute":
            key, _, value = rest.partition(" ")
            attributes[key[1:]] = value
            continue
        if word == "wire":
            parts = rest.split()
            direction = parts[2] if parts[2] in ("input", "output") else ""
            module.wires[parts[-1]] = Wire(int(parts[1]), direction, attributes)
        elif word == "cell":
            module.cells.append(_cell(rest, attributes, lines))
        elif word == "process":
            body = _statements(lines)
            first = body[0]
            if not isinstance(first, Assign):
                raise ValueError(f"a process of {name} must begin with what it drives")
            module.processes[ITEM.findall(first.target)[0][0]] = body
        elif word == "connect":
            target, _, value = rest.partition(" ")
            module.aliases.append((target, value))
        elif word == "end":
            return module
        elif word:
            raise ValueError(f"there must be no {word} in {name}")
        attributes = {}
    raise ValueError(f"{name} must end")


def _cell(head: str, attributes: dict[str, str], lines: Iterator[str]) -> Cell:
    kind, name = head.split(" ")
    cell = Cell(kind, name, attributes)
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "end":
            break
        key, _, value = rest.partition(" ")
        if word == "connect":
            cell.ports[key[1:]] = value
        elif key in ("signed", "real"):
            name, _, value = value.partition(" ")
            cell.parameters[name[1:]] = f"{key} {value}"
        else:
            cell.parameters[key[1:]] = value
    return cell


def _statements(lines: Iterator[str]) -> list[Statement]:
    """Statements up to the ``end`` of their process."""
    return _switch("", lines, [((), [])]).cases[0][1]


def _switch(value: str, lines: Iterator[str],
            cases: list[tuple[tuple[str, ...], list[Statement]]]) -> Switch:
    """A switch, up to its ``end``; statements belong to the last one of the ``cases`` so far."""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "case":
            cases.append((tuple(pattern.partition("'")[2] for pattern in rest.split(", "))
                          if rest else (), []))
        elif word == "assign":
            cases[-1][1].append(_assign(rest))
        elif word == "switch":
            inner = _switch(rest, lines, [])
            if inner.value == "{}":  # it only keeps the order
                cases[-1][1].extend(inner.cases[0][1])
            else:
                cases[-1][1].append(inner)
        elif word == "end":
            return Switch(value, cases)
    raise ValueError(f"the switch {value} must end")


def _assign(text: str) -> Assign:
    # The target is a wire, some of its bits, or several of these in braces.
    if text[0] == "{":
        end = text.index("}") + 1
    else:
        end = text.index(" ")
        if text[end + 1] == "[":
            end = text.index("]") + 1
    return Assign(text[:end], text[end + 1:])
