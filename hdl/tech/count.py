"""Counting differing bits: what a dot product of signs comes down to."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from ..block import Block
from ..checks import at_least

__all__ = ["DifferenceCounter", "Node", "counter_latency"]

_LEAF = 3


@dataclass(frozen=True)
class Node:
    """A count of the ``terms`` bits from ``first`` on that differ.

    Up to three bits are counted at once (a full adder); more are two counts and the last bit, which
    enters as the carry of their sum, so that no bit costs an adder of its own.
    """

    first: int
    terms: int

    @property
    def halves(self) -> tuple[Node, Node] | None:
        """The two counts, None of a leaf."""
        if self.terms <= _LEAF:
            return None
        rest = self.terms - 1
        return (Node(self.first, rest - rest // 2),
                Node(self.first + rest - rest // 2, rest // 2))

    @property
    def last(self) -> int:
        """The bit that is the carry."""
        return self.first + self.terms - 1

    @property
    def bits(self) -> int:
        """Width of the count."""
        return self.terms.bit_length()

    @property
    def level(self) -> int:
        """Registers between the bits and the sum that this count is."""
        return 0 if self.halves is None else 1 + max(half.level for half in self.halves)


def counter_latency(terms: int) -> int:
    """Cycles from so many ``terms`` to the edge that adds their count, see `DifferenceCounter`."""
    return Node(0, terms - 1).level + 2 if terms > 1 else 1


class DifferenceCounter(Block):
    """``total = (total if keep else 0) + popcount(a ^ b)`` where enabled.

    The bits are counted by a tree of adders with a register behind each (see `Node`); the last bit
    is the carry of the accumulation. ``a`` and ``b`` are wanted ``latency`` cycles before the edge
    at which the total changes, ``keep`` and ``enable`` in the last cycle before it.

    Parameters
    ----------
    terms : bits to be compared.
    total_bits : width of the total, which wraps around.

    Members
    -------
    a, b : In(terms).
    keep, enable : In(1).
    total : Out(total_bits).
    """

    def __init__(self, terms: int, total_bits: int) -> None:
        at_least(1, terms=terms, total_bits=total_bits)
        self._root = Node(0, terms - 1) if terms > 1 else None
        super().__init__({"a": In(terms), "b": In(terms), "keep": In(1), "enable": In(1),
                          "total": Out(total_bits)})

    @property
    def latency(self) -> int:
        """Cycles from the bits to the edge that adds their count."""
        return counter_latency(len(self.a))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count: Value = Const(0, 1) if self._root is None else self._count(m, self._root)
        carry = self._bit(m, len(self.a) - 1, self.latency - 1)
        total = Signal.like(self.total, name="held", reset_less=True)
        sum_ = Signal.like(self.total, name="sum")
        self._accumulate(m, sum_, total, count, carry)
        with m.If(self.enable):
            m.d.sync += total.eq(sum_)
        m.d.comb += self.total.eq(total)
        return m

    def _bit(self, m: Module, n: int, cycles: int) -> tuple[Value, Value]:
        """The bits ``n`` of both operands, ``cycles`` later."""
        pair: list[Value] = []
        for name, value in (("a", self.a[n]), ("b", self.b[n])):
            late: Value = value
            for cycle in range(cycles):
                held = Signal(name=f"{name}{n}_{cycle + 1}", reset_less=True)
                m.d.sync += held.eq(late)
                late = held
            pair.append(late)
        return pair[0], pair[1]

    def _count(self, m: Module, node: Node) -> Value:
        """The count of a node, ``node.level + 1`` cycles behind its bits."""
        name = f"count_{node.first}_{node.terms}"
        sum_ = Signal(node.bits, name=f"{name}_sum")
        if node.halves is None:
            self._leaf(m, sum_, [self._bit(m, node.first + n, 0) for n in range(node.terms)])
        else:
            operands = []
            for half in node.halves:
                late = self._count(m, half)
                for cycle in range(node.level - 1 - half.level):
                    held = Signal(half.bits, name=f"{name}_{half.first}_{cycle}", reset_less=True)
                    m.d.sync += held.eq(late)
                    late = held
                operands.append(late)
            self._sum(m, sum_, operands[0], operands[1], self._bit(m, node.last, node.level))
        count = Signal(node.bits, name=name, reset_less=True)
        m.d.sync += count.eq(sum_)
        return count

    def _leaf(self, m: Module, sum_: Signal, pairs: list[tuple[Value, Value]]) -> None:
        """How many of up to three pairs differ."""
        m.d.comb += sum_.eq(sum((a ^ b for a, b in pairs[1:]), pairs[0][0] ^ pairs[0][1]))

    def _sum(self, m: Module, sum_: Signal, a: Value, b: Value, pair: tuple[Value, Value]) -> None:
        """Both counts, and one more if the pair differs."""
        m.d.comb += sum_.eq(a + b + (pair[0] ^ pair[1]))

    def _accumulate(self, m: Module, sum_: Signal, total: Value, count: Value,
                    pair: tuple[Value, Value]) -> None:
        """The total (0 unless it is kept), the count, and one more if the pair differs."""
        m.d.comb += sum_.eq(Mux(self.keep, total, 0) + count + (pair[0] ^ pair[1]))
