"""Amaranth's statements as lines of Verilog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from amaranth.hdl import _ast as ast

from .drivers import Part, assigned, targets
from .text import Case, If, Line, Piece, Pieces, Set, cut, text_of
from .values import Values, constant

__all__ = ["Statements"]

_NOT = {"1'h0": "1'h1", "1'h1": "1'h0"}


class Statements:
    """Statements of one module.

    Parameters
    ----------
    values : what they read.
    name : what a signal that they assign is called.
    """

    def __init__(self, values: Values, name: Callable[[Any], str]) -> None:
        self._values = values
        self._name = name

    def lines(self, statements: Iterable[Any], only: Any) -> list[Line]:
        """The statements, those for the signal ``only`` unless that is None."""
        lines: list[Line] = []
        for statement in statements:
            if only is not None and all(signal is not only for signal in assigned(statement)):
                continue
            if isinstance(statement, ast.Assign):
                lines += self._assign(statement, only)
            else:
                lines += self.switch(statement.test, [
                    (patterns, self.lines(inner, only)) for patterns, inner, _ in statement.cases])
        return lines

    def _assign(self, statement: Any, only: Any) -> Iterator[Line]:
        width, place = len(statement.lhs), 0
        parts: list[tuple[Any, Part]] = []
        for signal, low, bits in targets(statement.lhs):
            if only is None or signal is only:
                parts.append((signal, Part(low, bits, statement, place)))
            place += bits
        target = text_of(tuple(Piece(self._name(signal), part.low, part.width, len(signal))
                               for signal, part in parts))
        if sum(part.width for _, part in parts) == width > 0:
            yield Set(target, self._values.expression(statement.rhs, width))
        elif parts:
            value = tuple(piece for _, part in parts for piece in self.part(part))
            yield Set(target, text_of(value))

    def switch(self, test: Any, cases: Sequence[tuple[Sequence[str] | None, list[Line]]]
                ) -> list[Line]:
        """A choice of the first of the ``cases`` with a pattern that ``test`` matches."""
        if not len(test):
            return cases[0][1]
        conditions = self._conditions(test, [patterns for patterns, _ in cases])
        if conditions is None:
            patterns = tuple(
                "default" if some is None
                else ", ".join(f"{len(one)}'b{one.replace('-', '?')}" for one in some)
                for some, _ in cases)
            return [Case(self._values.text(test), patterns, [body for _, body in cases])]
        chosen = [(condition, body) for condition, (_, body)
                  in zip(conditions, cases, strict=True) if condition != "1'h0"]
        always = next((n for n, (condition, _) in enumerate(chosen)
                       if condition in ("", "1'h1")), None)
        if always is not None:
            chosen[always:] = [("", chosen[always][1])]
        while chosen and not chosen[-1][1]:
            del chosen[-1]
        if not chosen:
            return []
        if not chosen[0][0]:
            return chosen[0][1]
        return [If(tuple(condition for condition, _ in chosen), [body for _, body in chosen])]

    def _conditions(self, test: Any, cases: Iterable[Sequence[str] | None]) -> list[str] | None:
        """What each case asks of one bit, nothing of an ``else``; None if one asks for more."""
        conditions = []
        for patterns in cases:
            if patterns is None:
                conditions.append("")
                continue
            asked = [n for n, bit in enumerate(patterns[0]) if bit != "-"] if patterns else []
            if len(patterns) != 1 or len(asked) != 1:
                return None
            (place,) = asked
            text = self._condition(test, len(test) - 1 - place)
            conditions.append(text if patterns[0][place] == "1" else _NOT.get(text, f"!({text})"))
        return conditions

    def _condition(self, test: Any, bit: int) -> str:
        """One bit of ``test``."""
        while isinstance(test, ast.Concat):
            for part in test.parts:
                if bit < len(part):
                    test = part
                    break
                bit -= len(part)
        return (self._values.bit(test) if len(test) == 1
                else text_of(cut(self._values.pieces(test), bit, bit + 1)))

    def part(self, part: Part) -> Pieces:
        """The bits of an assigned value that a part is."""
        value, width = part.statement.rhs, len(part.statement.lhs)
        stop = part.place + part.width
        pieces = self._values.pieces(value)
        if stop > len(value):
            pieces = ((self._values.result(self._values.expression(value, width), width),)
                      if value.shape().signed else (*pieces, *constant(0, width - len(value))))
        return cut(pieces, part.place, stop)
