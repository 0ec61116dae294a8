"""Amaranth's values in Verilog, bit for bit: nets, constants and what is computed of them.

Verilog computes in the width of its context and with a sign only if all operands have one; Amaranth
in a width that holds every result. Both agree where an operation is assigned, if its operands have
one sign; what is used in any other place is a net of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from amaranth.hdl import Const, Value
from amaranth.hdl import _ast as ast

from .text import Piece, Pieces, cut, hexadecimal, text_of

__all__ = ["Values", "constant", "is_wiring", "parameter"]

_SHORT = 60
"""Characters of what is computed in one bit and written where it is used."""
_INFIX = {"+": "+", "-": "-", "*": "*", "&": "&", "|": "|", "^": "^", "<<": "<<", "==": "==",
          "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "//": "/", "%": "%"}
_PREFIX = {"~": "~", "-": "-", "b": "|", "r|": "|", "r&": "&", "r^": "^"}
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_REDUCTIONS = ("b", "r|", "r&", "r^")


def constant(value: int, width: int) -> Pieces:
    """The lowest bits of ``value``."""
    return (Piece(value & (1 << width) - 1, 0, width, width),) if width else ()


def parameter(value: Any) -> str:
    """The parameter of an instance."""
    if isinstance(value, (str, float)):
        return json.dumps(value)
    if isinstance(value, int) and 0 <= value < 1 << 31:
        return str(value)
    whole = Value.cast(value)
    width = len(whole) if isinstance(value, Const) else max(32, len(whole))
    return hexadecimal(whole.value & (1 << width) - 1, width)


def is_wiring(value: Any) -> bool:
    """Whether a value is nothing but bits of signals and constants."""
    if isinstance(value, (ast.Const, ast.Signal)):
        return True
    if isinstance(value, ast.Concat):
        return all(map(is_wiring, value.parts))
    if isinstance(value, ast.Slice):
        return is_wiring(value.value)
    return isinstance(value, ast.Operator) and value.operator in ("u", "s") and is_wiring(
        value.operands[0])


def _is_choice(value: Any) -> bool:
    """Whether it is one of two, by whether something is zero."""
    return (isinstance(value, ast.SwitchValue) and len(value.cases) == 2
            and value.cases[0][0] == ("0" * len(value.test),) and value.cases[1][0] is None)


class Values:
    """Values that one module reads.

    Parameters
    ----------
    signal : what a signal is.
    result : the net of a text of Verilog that computes so many bits.
    choose : the net of a value that is chosen among several.
    """

    def __init__(self, signal: Callable[[Any], Pieces], result: Callable[[str, int], Piece],
                 choose: Callable[[Any], Piece]) -> None:
        self._signal = signal
        self.result = result
        self._choose = choose
        self._found: dict[int, tuple[Pieces, Any]] = {}

    def pieces(self, value: Any) -> Pieces:
        """A value, as nets and constants."""
        found = self._found.get(id(value))
        if found is None:
            found = self._found[id(value)] = self._find(value), value
        return found[0]

    def text(self, value: Any) -> str:
        """The same in Verilog, in its own width; empty if it has no bits."""
        return text_of(self.pieces(value))

    def _filled(self, value: Any) -> str:
        return self.text(value) or "1'h0"

    def expression(self, value: Any, width: int) -> str:
        """A value where it is assigned to so many bits."""
        shape = value.shape()
        # In more bits, an inversion has ones above its own, and a part what lies above it.
        is_narrow = isinstance(value, ast.Part) or (
            isinstance(value, ast.Operator) and value.operator == "~")
        if self._is_computed(value) and not (is_narrow and width > shape.width):
            is_bit = isinstance(value, ast.Operator) and width == shape.width == 1
            return self.bit(value) if is_bit else self._operation(value)
        text = self._filled(value)
        return f"$signed({text})" if shape.signed and width > shape.width else text

    def bit(self, value: Any) -> str:
        """A value of one bit where its context has one bit."""
        if not (isinstance(value, ast.Operator) and self._is_computed(value)):
            return self.text(value)
        operands, operator = value.operands, value.operator
        if operator in _COMPARISONS or operator in _REDUCTIONS:
            text = self._operation(value)
        elif operator in ("~", "&", "|", "^") and all(len(one) == 1 for one in operands):
            texts = [self._enclosed(one) for one in operands]
            text = f"~{texts[0]}" if operator == "~" else f"{texts[0]} {operator} {texts[1]}"
        else:
            return self.text(value)
        return text if len(text) <= _SHORT else text_of((self.result(text, 1),))

    def _enclosed(self, value: Any) -> str:
        text = self.bit(value)
        # An escaped name ends in a space of its own.
        return f"({text})" if " " in text.rstrip() else text

    @staticmethod
    def _is_computed(value: Any) -> bool:
        """Whether it is one operation of Verilog."""
        if isinstance(value, ast.SwitchValue):
            return _is_choice(value)
        return isinstance(value, ast.Part) or (
            isinstance(value, ast.Operator) and value.operator not in ("u", "s"))

    def _find(self, value: Any) -> Pieces:
        if isinstance(value, ast.Signal):
            return self._signal(value)
        if isinstance(value, ast.Const):
            return constant(value.value, len(value))
        if isinstance(value, ast.Slice):
            return cut(self.pieces(value.value), value.start, value.stop)
        if isinstance(value, ast.Concat):
            return tuple(piece for part in value.parts for piece in self.pieces(part))
        if isinstance(value, ast.Operator) and value.operator in ("u", "s"):
            return self.pieces(value.operands[0])
        width = len(value)
        if not width:
            return ()
        if self._is_computed(value):
            return (self.result(self._operation(value), width),)
        if isinstance(value, ast.SwitchValue):
            return (self._choose(value),)
        raise ValueError(f"there must be no {type(value).__name__} in hardware")

    def _operation(self, value: Any) -> str:
        """What one operation is where it is assigned to at least as many bits."""
        if isinstance(value, ast.SwitchValue):
            (_, zero), (_, other) = value.cases
            test = self.bit(value.test) if len(value.test) == 1 else f"|{self._filled(value.test)}"
            one, two = self._operands(other, zero)
            return f"{test} ? {one} : {two}"
        if isinstance(value, ast.Part):
            return self._shifted(value)
        operator, operands = value.operator, value.operands
        if len(operands) == 1:
            if operator in _REDUCTIONS:
                text = self.text(operands[0]) or f"1'h{int(operator == 'r&')}"
            else:
                (text,) = self._operands(operands[0])
            return f"{_PREFIX[operator]}{text}"
        if operator == ">>":
            (text,) = self._operands(operands[0])
            shift = ">>>" if operands[0].shape().signed else ">>"
            return f"{text} {shift} {self._filled(operands[1])}"
        if operator == "<<":
            (text,) = self._operands(operands[0])
            return f"{text} << {self._filled(operands[1])}"
        if operator in ("//", "%") and any(one.shape().signed for one in operands):
            raise ValueError("there must be no division of signed values in hardware")
        if operator not in _INFIX:
            raise ValueError(f"there must be no {operator} in hardware")
        one, two = self._operands(*operands)
        return f"{one} {_INFIX[operator]} {two}"

    def _shifted(self, value: Any) -> str:
        """The bits from a variable place on."""
        if value.value.shape().signed:
            raise ValueError("there must be no variable part of a signed value in hardware")
        place, stride = self._filled(value.offset), value.stride
        if stride & stride - 1:
            place = f"({place} * 32'd{stride})"
        elif stride > 1:
            place = f"{{{place}, {hexadecimal(0, stride.bit_length() - 1)}}}"
        return f"{self._filled(value.value)} >> {place}"

    def _operands(self, *values: Any) -> list[str]:
        """The operands of one operation, either all with a sign or all without."""
        shapes = [value.shape() for value in values]
        if not any(shape.signed for shape in shapes):
            return [self._filled(value) for value in values]
        texts = []
        for value, shape in zip(values, shapes, strict=True):
            text = self._filled(value)
            if isinstance(value, ast.Const):
                width = shape.width + (not shape.signed)
                texts.append(hexadecimal(value.value & (1 << width) - 1, width).replace("'", "'s"))
            elif shape.signed:
                texts.append(f"$signed({text})")
            else:
                texts.append(f"$signed({{1'h0, {text}}})")
        return texts
