"""SystemVerilog that people and tools read quickly: its names, values, statements and lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Case", "If", "Line", "Piece", "Set", "attributes", "block", "cut", "expression", "fill",
           "hexadecimal", "identifier", "indented", "merge", "range_of_bits", "render", "text_of"]

COLUMNS = 100
_RESERVED = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
default defparam design disable dist do edge else end endcase endchecker endclass endclocking
endconfig endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram
endproperty endsequence endspecify endtable endtask enum event eventually expect export extends
extern final first_match for force foreach forever fork forkjoin function generate genvar global
highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include
initial inout input inside instance int integer interconnect interface intersect join join_any
join_none large let liblist library local localparam logic longint macromodule matches medium
modport module nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or
output package packed parameter pmos posedge primitive priority program property protected pull0
pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence
rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0
rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal
showcancelled signed small soft solve specify specparam static string strong strong0 strong1 struct
super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union
unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait wait_order
wand weak weak0 weak1 while wildcard wire with within wor xnor xor"""
_KEYWORDS = frozenset(_RESERVED.split())
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


class Piece(NamedTuple):
    """``width`` bits, from bit ``low`` on, of a net of ``whole`` bits, or of a constant."""

    source: str | int
    low: int
    width: int
    whole: int


Pieces = tuple[Piece, ...]
"""A value without arithmetic, the lowest bits first."""


def cut(pieces: Pieces, start: int, stop: int) -> Pieces:
    """The bits from ``start`` on, up to ``stop``."""
    found, place = [], 0
    for source, low, width, whole in pieces:
        first, last = max(start - place, 0), min(stop - place, width)
        if first < last:
            found.append(Piece(source, low + first, last - first, whole))
        place += width
    return tuple(found)


def text_of(pieces: Pieces) -> str:
    """A value, or what is assigned to; empty if it has no bits."""
    parts: list[Piece] = []
    for piece in pieces:
        before = parts[-1] if parts else None
        if (before and before.source == piece.source and isinstance(piece.source, str)
                and before.low + before.width == piece.low):
            parts[-1] = before._replace(width=before.width + piece.width)
        elif before and isinstance(before.source, int) and isinstance(piece.source, int):
            value = _bits(before) | _bits(piece) << before.width
            width = before.width + piece.width
            parts[-1] = Piece(value, 0, width, width)
        else:
            parts.append(piece)
    texts = [_text(part) for part in reversed(parts)]
    return texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}" if texts else ""


def _bits(piece: Piece) -> int:
    assert isinstance(piece.source, int)
    return piece.source >> piece.low & (1 << piece.width) - 1


def _text(piece: Piece) -> str:
    source, low, width, whole = piece
    if isinstance(source, int):
        return hexadecimal(_bits(piece), width)
    if width == whole:
        return source
    return f"{source}[{low + width - 1}:{low}]" if width > 1 else f"{source}[{low}]"


def identifier(name: str) -> str:
    """A name in Verilog; an escaped one ends in a space."""
    if name[0] == "$":  # Amaranth's own
        name = f"_{name[1:]}"
    return name if _SIMPLE.fullmatch(name) and name not in _KEYWORDS else f"\\{name} "


def range_of_bits(width: int) -> str:
    """What stands in front of the name of a net."""
    return f"[{width - 1}:0] " if width > 1 else ""


def hexadecimal(value: int, width: int) -> str:
    """A constant."""
    return f"{width}'h{value:0{-(-width // 4)}x}"


def attributes(values: Mapping[str, str | int]) -> str:
    """Attributes for the synthesis tool, in front of what they belong to."""
    shown = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return f"(* {', '.join(shown)} *) " if shown else ""


@dataclass(frozen=True)
class Set:
    """An assignment."""

    target: str
    value: str


@dataclass(frozen=True)
class If:
    """The first of the ``bodies`` whose condition is true; that of an ``else`` is empty."""

    conditions: tuple[str, ...]
    bodies: list[list[Line]]


@dataclass(frozen=True)
class Case:
    """The first of the ``bodies`` with a pattern that ``value`` matches; "default" always does."""

    value: str
    patterns: tuple[str, ...]
    bodies: list[list[Line]]


Line = Set | If | Case
"""A statement of a block."""


def merge(lines: Iterable[Line]) -> list[Line]:
    """The same with equal choices merged, unless what is assigned in between forbids it."""
    merged: list[Line] = []
    targets: list[set[str]] = []
    for line in lines:
        assigned = _assigned(line)
        place = -1
        if not isinstance(line, Set):
            for n in range(len(merged) - 1, -1, -1):
                if _is_like(merged[n], line):
                    place = n
                    break
                if targets[n] & assigned:
                    break
        if place < 0:
            merged.append(line)
            targets.append(assigned)
            continue
        for body, other in zip(_bodies(merged[place]), _bodies(line), strict=True):
            body += other
        targets[place] |= assigned
    for line in merged:
        for body in _bodies(line):
            body[:] = merge(body)
    # Yosys 0.70 loses an assignment that follows a choice within a choice, but no second choice.
    chosen: set[str] = set()
    for n, line in enumerate(merged):
        if isinstance(line, Set) and targets[n] & chosen:
            merged[n] = If(("1'h1",), [[line]])
        elif not isinstance(line, Set):
            chosen |= targets[n]
    return merged


def _assigned(line: Line) -> set[str]:
    """The first words of all targets: too many, if anything."""
    if isinstance(line, Set):
        return set(re.findall(r"[^\s\[\]{},]+", line.target))
    return {name for body in line.bodies for inner in body for name in _assigned(inner)}


def _bodies(line: Line) -> list[list[Line]]:
    return [] if isinstance(line, Set) else line.bodies


def _is_like(one: Line, other: Line) -> bool:
    """Whether two choices ask the same."""
    if isinstance(one, If) and isinstance(other, If):
        return one.conditions == other.conditions
    return (isinstance(one, Case) and isinstance(other, Case) and one.value == other.value
            and one.patterns == other.patterns)


def fill(head: str, items: Sequence[str], tail: str, separator: str = ", ") -> list[str]:
    """``head``, the ``items`` and ``tail`` in lines of at most `COLUMNS`, if items allow."""
    lines = [head]
    for n, item in enumerate(items):
        item += tail if n == len(items) - 1 else separator.rstrip()
        if lines[-1] and not lines[-1].isspace() and len(lines[-1]) + len(item) > COLUMNS - 3:
            lines[-1] = lines[-1].rstrip()
            lines.append("  ")
        lines[-1] += f"{item} "
    if not items:
        lines[-1] += tail
    return [line.rstrip() for line in lines]


def indented(lines: Iterable[str]) -> Iterator[str]:
    """The ``lines``, a level deeper."""
    return (f"  {line}" for line in lines)


def expression(lines: Iterable[Line], name: str, value: str) -> str:
    """What ``name``, which was ``value``, is after the ``lines``; empty if that is not short."""
    for line in lines:
        if isinstance(line, Case) or (isinstance(line, Set) and line.target != name):
            return ""
        if isinstance(line, Set):
            if "$signed" in line.value:  # what is chosen from has one sign
                return ""
            value = line.value
            continue
        results = [expression(body, name, value) for body in line.bodies]
        if line.conditions[-1]:
            results.append(value)
        if not all(results):
            return ""
        value = results.pop()
        for condition, result in zip(line.conditions[::-1][-len(results):], results[::-1],
                                     strict=True):
            chosen = f"({result})" if "?" in result else result
            value = f"{condition} ? {chosen} : {value}"
        if len(value) > COLUMNS:
            return ""
    return value


def render(lines: Iterable[Line], operator: str) -> Iterator[str]:
    """The text of ``lines``, whose assignments are by ``operator``."""
    for line in lines:
        if isinstance(line, Set):
            yield f"{line.target} {operator} {line.value};"
        elif isinstance(line, Case):
            yield f"casez ({line.value})"
            for pattern, body in zip(line.patterns, line.bodies, strict=True):
                yield from indented(block(f"{pattern}:", body, operator))
            yield "endcase"
        else:
            for n, (condition, body) in enumerate(zip(line.conditions, line.bodies, strict=True)):
                head = f"if ({condition})" if condition else ""
                yield from block(f"else {head}".rstrip() if n else head, body, operator)


def block(head: str, body: Sequence[Line], operator: str) -> Iterator[str]:
    """``body`` behind ``head``."""
    inner = list(render(body, operator))
    if len(body) == 1 and isinstance(body[0], Set) and len(head) + len(inner[0]) < COLUMNS - 10:
        yield f"{head} {inner[0]}"
    else:
        yield f"{head} begin"
        yield from indented(inner)
        yield "end"
