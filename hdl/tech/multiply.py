"""Multipliers of two cycles, from ``*`` or from look-up tables alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..block import Block

__all__ = ["MULTIPLIER_LATENCY", "Multiplier", "RowMultiplier"]

MULTIPLIER_LATENCY = 2
"""Cycles from operands to their product, of every family and every kind."""

_WIDEST = 48  # bits of the widest accumulators


def product_shape(a: Shape, b: Shape) -> Shape:
    """The narrowest shape of these signs that holds every product."""
    return Shape(a.width + b.width, a.signed or b.signed)


class TwoCycle(Block):
    """Members that all multipliers share: ``p = a * b``, two cycles later, or the lowest ``bits``
    of it."""

    def __init__(self, a: ShapeLike, b: ShapeLike, *, bits: int | None = None) -> None:
        shapes = Shape.cast(a), Shape.cast(b)
        for name, shape in zip("ab", shapes, strict=True):
            if not 1 <= shape.width <= _WIDEST:
                raise ValueError(f"{name} must have 1 to {_WIDEST} bits, not {shape!r}")
        super().__init__({"a": In(shapes[0]), "b": In(shapes[1]),
                          "p": Out(product_shape(*shapes) if bits is None else unsigned(bits))})


class Multiplier(TwoCycle):
    """``p = a * b``, latency 2, one product a cycle: ``*`` between an input and an output register.

    Parameters
    ----------
    a, b : shapes of the operands.
    attributes : of the product's register, for the synthesis tool.
    bits : how many of the lowest bits of the product are wanted, all unless it is said.

    Members
    -------
    a, b : operands.
    p : product.
    """

    def __init__(self, a: ShapeLike, b: ShapeLike,
                 attributes: Mapping[str, str] | None = None, *, bits: int | None = None) -> None:
        super().__init__(a, b, bits=bits)
        self._attributes = dict(attributes or {})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal.like(self.a, name="a_held", reset_less=True)
        b = Signal.like(self.b, name="b_held", reset_less=True)
        p = Signal.like(self.p, name="p_held", reset_less=True, attrs=self._attributes)
        m.d.sync += [a.eq(self.a), b.eq(self.b), p.eq(a * b)]
        m.d.comb += self.p.eq(p)
        return m


@dataclass(frozen=True)
class Term:
    """A multiple of the multiplicand: ``value * 2**shift``, 0 if there is a ``gate`` and it is 0.

    It stands for ``bits`` bits of the other operand; ``negative`` says that it is to be subtracted.
    """

    value: Value
    shift: int
    bits: int
    gate: Value | None = None
    negative: bool = False

    @property
    def gated(self) -> Value:
        """The value behind the gate."""
        return self.value if self.gate is None else Mux(self.gate, self.value, 0)

    def lowest(self, bits: int) -> Value:
        """The lowest bits of the value behind the gate."""
        low = self.value[:bits]
        # An AND, since Yosys turns a Mux with 0 into a flip-flop's reset and a look-up table.
        return low if self.gate is None else low & self.gate.replicate(bits)


class RowMultiplier(TwoCycle):
    """``p = a * b``, latency 2, one product a cycle: rows of ``a & b[j]`` added pairwise.

    The narrower operand chooses the rows, so there are the fewest of them. One register stands
    half-way up the tree of carry chains, the other behind it. Each sum has a signal of its own
    that is kept: a synthesis tool that sees ``+`` of ``+`` builds carry-save adders instead, which
    cost more in look-up tables of four inputs.

    Parameters
    ----------
    a, b : shapes of the operands.
    bits : how many of the lowest bits of the product are wanted, all unless it is said.

    Members
    -------
    a, b : operands.
    p : product.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.a, self.b
        levels = ceil_log2(min(len(a), len(b)))
        if levels < 2:
            a = Signal.like(self.a, name="a_held", reset_less=True)
            b = Signal.like(self.b, name="b_held", reset_less=True)
            m.d.sync += [a.eq(self.a), b.eq(self.b)]
        wide, narrow = (a, b) if len(a) >= len(b) else (b, a)
        top = len(narrow) - 1 if narrow.shape().signed else None
        terms = [Term(wide, shift, 1, bit, shift == top) for shift, bit in enumerate(narrow)]
        for level in range(1, levels + 1):
            terms = self._add(m, terms, level, len(wide))
            if level == levels // 2:
                terms = self._hold(m, terms)
        (term,) = terms
        p = Signal.like(self.p, name="p_held", reset_less=True)
        m.d.sync += p.eq(-term.gated if term.negative else term.gated)
        m.d.comb += self.p.eq(p)
        return m

    def _add(self, m: Module, terms: Sequence[Term], level: int, width: int) -> list[Term]:
        """The next level of the tree: every two neighbours in one term."""
        sums = []
        for low, high in zip(terms[::2], terms[1::2], strict=False):
            bits = high.shift - low.shift + high.bits
            is_signed = high.negative or high.value.shape().signed or low.value.shape().signed
            total = Signal(Shape(min(width + bits, len(self.p) - low.shift), is_signed),
                           name=f"sum_{level}_{low.shift}", attrs={"keep": "true"})
            self._sum(m, total, low, high)
            sums.append(Term(total, low.shift, bits))
        return sums + list(terms[len(terms) // 2 * 2 :])

    def _sum(self, m: Module, total: Signal, low: Term, high: Term) -> None:
        """``total * 2**low.shift = low ± high``; the lowest bits are those of ``low``."""
        apart = high.shift - low.shift
        addend = low.gated >> apart
        upper = addend - high.gated if high.negative else addend + high.gated
        m.d.comb += total.eq(Cat(low.lowest(apart), upper[: len(total) - apart]))

    @staticmethod
    def _hold(m: Module, terms: Sequence[Term]) -> list[Term]:
        """The same terms one cycle later."""
        held = []
        for term in terms:
            value = Signal.like(term.value, name=f"held_{term.shift}", reset_less=True, attrs={})
            gate = None if term.gate is None else Signal(name=f"gate_{term.shift}", reset_less=True)
            m.d.sync += value.eq(term.value)
            if gate is not None:
                m.d.sync += gate.eq(term.gate)
            held.append(replace(term, value=value, gate=gate))
        return held
