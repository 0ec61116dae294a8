"""Sums of terms that a code takes, complements or leaves out: dot products with ternary weights."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from ..block import Block
from ..checks import at_least

__all__ = ["Selected", "SelectedSum", "Selection", "selected_sum_latency"]


class Selection(enum.Enum):
    """What the bits of a code make of a term ``x``; its complement is ``2**bits - 1 - x``."""

    GATE = 1
    """``x`` or, where the bit is 0, nothing."""
    SIGN = 2
    """``x`` or, where the bit is 1, its complement."""
    BOTH = 3
    """``x`` or, where the second bit is 1, its complement; nothing where both bits are 0."""

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return 2 if self is Selection.BOTH else 1

    def code(self, sign: int) -> int:
        """The code of a weight of that ``sign``: -1, 0 or 1."""
        if self is Selection.GATE:
            return int(sign > 0)
        return int(sign < 0) if self is Selection.SIGN else (sign != 0) | (sign < 0) << 1


@dataclass(frozen=True)
class Selected:
    """An operand of a sum: a value of at most ``most``, and the code that it is to be chosen by."""

    value: Value
    most: int
    code: Value | None = None
    selection: Selection = Selection.GATE

    @property
    def chosen(self) -> Value:
        """The value as the code wants it."""
        if self.code is None:
            return self.value
        # AND and XOR, since Yosys turns a Mux with 0 into a flip-flop's reset.
        bits = len(self.value)
        if self.selection is Selection.GATE:
            return self.value & self.code.replicate(bits)
        if self.selection is Selection.SIGN:
            return self.value ^ self.code.replicate(bits)
        return (self.value ^ self.code[1].replicate(bits)) & self.code[0].replicate(bits)


def selected_sum_latency(terms: int) -> int:
    """Cycles from so many ``terms`` to the edge that adds them, see `SelectedSum`."""
    return 1 + ceil_log2(terms)


class SelectedSum(Block):
    """``total = (total if keep else 0) + sum(selected x)`` where enabled.

    The terms are added by a tree of adders with a register behind each level. They and their codes
    are wanted ``latency`` cycles before the edge at which the total changes, ``keep`` and
    ``enable`` in the last cycle before it.

    Parameters
    ----------
    terms : how many terms a cycle.
    bits : of a term, which has no sign.
    selection : what the codes say.
    total_bits : width of the total, which wraps around.

    Members
    -------
    x : In(terms * bits), the first term lowest.
    codes : In(terms * selection.bits), likewise.
    keep, enable : In(1).
    total : Out(total_bits).
    """

    def __init__(self, terms: int, bits: int, selection: Selection, total_bits: int) -> None:
        at_least(1, terms=terms, bits=bits, total_bits=total_bits)
        self._terms, self._bits, self._selection = terms, bits, selection
        super().__init__({"x": In(terms * bits), "codes": In(terms * selection.bits),
                          "keep": In(1), "enable": In(1), "total": Out(total_bits)})

    @property
    def latency(self) -> int:
        """Cycles from the terms to the edge that adds them."""
        return selected_sum_latency(self._terms)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operands = [Selected(self.x.word_select(n, self._bits), (1 << self._bits) - 1,
                             self.codes.word_select(n, self._selection.bits), self._selection)
                    for n in range(self._terms)]
        level = 0
        while len(operands) > 1:
            level += 1
            operands = self._halve(m, level, operands)
        total = Signal.like(self.total, name="held", reset_less=True)
        sum_ = Signal.like(self.total, name="sum")
        self._accumulate(m, sum_, total, operands[0])
        with m.If(self.enable):
            m.d.sync += total.eq(sum_)
        m.d.comb += self.total.eq(total)
        return m

    def _halve(self, m: Module, level: int, operands: Sequence[Selected]) -> list[Selected]:
        """Every two neighbours as one operand, a cycle later."""
        held: list[Selected] = []
        sums: list[tuple[Signal, Selected, Selected]] = []
        for n in range(0, len(operands), 2):
            pair = operands[n : n + 2]
            most = sum(operand.most for operand in pair)
            value = Signal(bits_for(most), name=f"sum_{level}_{n // 2}", reset_less=True)
            held.append(Selected(value, most))
            if len(pair) == 2:
                now = Signal.like(value, name=f"next_{level}_{n // 2}")
                sums.append((now, pair[0], pair[1]))
                m.d.sync += value.eq(now)
            else:
                m.d.sync += value.eq(pair[0].chosen)
        self._sums(m, f"level_{level}", sums)
        return held

    def _sums(self, m: Module, name: str, sums: Sequence[tuple[Signal, Selected, Selected]]
              ) -> None:
        """Each signal is the sum of two operands; the first is not narrower."""
        m.d.comb += [sum_.eq(a.chosen + b.chosen) for sum_, a, b in sums]

    def _accumulate(self, m: Module, sum_: Signal, total: Value, operand: Selected) -> None:
        """The total (0 unless it is kept) and the operand."""
        m.d.comb += sum_.eq(Mux(self.keep, total, 0) + operand.chosen)
