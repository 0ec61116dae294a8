"""Two sums of products with a factor in common: one DSP block makes a product of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .dot_product import Sum
from .steady import delay
from .tech import Technology

__all__ = ["PairShape", "PairedSum"]


@dataclass(frozen=True)
class PairShape:
    """How one DSP block multiplies x by two weights: ``(w_0 * 2**shift + u_1) * x``.

    ``u_1`` is the second weight and half of what its bits can tell apart, so that it is never
    negative: the factor is made of the bits of both, and takes no adder.

    Parameters
    ----------
    a_bits, b_bits : of x, and of a weight.
    shift : bits that the first product lies above the second.
    levels : of adders, of the sums that come out.
    """

    a_bits: int
    b_bits: int
    shift: int
    levels: int

    def __post_init__(self) -> None:
        at_least(1, a_bits=self.a_bits, b_bits=self.b_bits)
        at_least(self.b_bits, shift=self.shift)
        at_least(0, levels=self.levels)

    @classmethod
    def of(cls, a_bits: int, b_bits: int, terms: int, widest: int) -> Self | None:
        """That of sums of ``terms`` products in DSP blocks of so many bits at the ``widest``.

        None where they have no room for two weights, or for x.
        """
        product_bits, levels = a_bits + b_bits, ceil_log2(terms)
        room = widest - b_bits - product_bits
        if room >= 0:
            levels = min(levels, room)
            return cls(a_bits, b_bits, product_bits + levels, levels)
        if widest < 2 * b_bits or widest < a_bits:
            return None
        return cls(a_bits, b_bits, widest - b_bits, levels)

    @property
    def product_bits(self) -> int:
        """Bits of a product."""
        return self.a_bits + self.b_bits

    @property
    def overlap(self) -> int:
        """Bits of the second product that lie where the first one does."""
        return max(0, self.product_bits - self.shift)

    @property
    def most_terms(self) -> int:
        """Terms of a sum of products side by side, at most."""
        return 1 << self.levels

    def sums_bits(self, terms: int) -> int:
        """Bits of the sums of x, of so many ``terms``."""
        return -(-terms // self.most_terms) * (self.a_bits + self.levels)

    @property
    def operand_bits(self) -> int:
        """Bits of what x is multiplied by."""
        return self.shift + self.b_bits


class PairedSum(Block):
    """``o_0 = sum(w_0[k] * x[k])``, ``o_1 = sum(w_1[k] * x[k])``, with a DSP block for each k.

    A sum of either a cycle; latency from the weights is that of a multiplier, WAY_LATENCY, and
    ``levels``. Products are added side by side. Without an overlap, the lowest bits of their sum
    are that of second ones, and the others that of first ones, less one where the second is
    negative. Where they overlap, the lowest bits of first products are made once more, of look-up
    tables: what is above the shift, less those, is what of the second product lies there. Of the
    second sum, what has been added to its weights is taken, times the sum of x.

    Parameters
    ----------
    element : shape of an element of x.
    terms : at most ``2**pair.levels``.
    pair : how weights share a block.
    technology : supplies multipliers.

    Members
    -------
    x : In(terms * bits of an element), one cycle behind the weights.
    x_sum : In, the sum of x, ``levels`` and a multiplier's latency later.
    w_0, w_1 : In(terms * weight_bits).
    o_0, o_1 : Out, of a shape that holds every sum of ``2**levels`` terms.
    """

    def __init__(self, element: ShapeLike, *, terms: int, pair: PairShape, technology: Technology
                 ) -> None:
        at_least(1, terms=terms)
        self._element = Shape.cast(element)
        if self._element.width != pair.a_bits:
            raise ValueError(f"element must have {pair.a_bits} bits, not {self._element!r}")
        if terms > pair.most_terms:
            raise ValueError(f"terms must be at most {pair.most_terms}, not {terms!r}")
        self._terms = terms
        self._pair = pair
        self._technology = technology
        o = signed(pair.product_bits + pair.levels)
        super().__init__({"x": In(terms * pair.a_bits),
                          "x_sum": In(Shape(pair.a_bits + pair.levels, self._element.signed)),
                          "w_0": In(terms * pair.b_bits), "w_1": In(terms * pair.b_bits),
                          "o_0": Out(o), "o_1": Out(o)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pair, products, lowest = self._pair, [], []
        for n in range(self._terms):
            x = Signal(self._element, name=f"x_{n}")
            m.d.comb += x.eq(self.x.word_select(n, pair.a_bits))
            w_0, w_1 = (delay(m, f"{name}_{n}", value.word_select(n, pair.b_bits), 1)
                        for name, value in (("w_0", self.w_0), ("w_1", self.w_1)))
            operand = Signal(signed(pair.operand_bits), name=f"operand_{n}")
            product = self._technology.multiplier(self._element, operand.shape(), dsp=True)
            m.submodules[f"product_{n}"] = product
            m.d.comb += [operand.eq(Cat(w_1[:-1], ~w_1[-1], Const(0, pair.shift - pair.b_bits),
                                        w_0)),
                         product.a.eq(x), product.b.eq(operand)]
            products.append(product.p)
            if pair.overlap:
                m.submodules[f"lowest_{n}"] = low = self._technology.low_product(pair.overlap)
                m.d.comb += [low.a.eq(x), low.b.eq(w_0.as_signed())]
                lowest.append(low.p)
        first, second = (self._apart(m, products, lowest) if pair.overlap
                         else self._side_by_side(m, products))
        # Kept, since a synthesis tool that sees ``+`` of ``+`` builds carry-save adders.
        more = Signal(Shape(len(self.o_1), self._element.signed), attrs={"keep": "true"})
        m.d.comb += [more.eq(second), self.o_0.eq(delay(m, "o_0", first[: len(self.o_0)], 1)),
                     self.o_1.eq(delay(m, "o_1", more - (self.x_sum << pair.b_bits - 1), 1))]
        return m

    def _side_by_side(self, m: Module, products: list[Value]) -> tuple[Value, Value]:
        """Both sums of ``products`` that do not overlap."""
        both = self._sum(m, "both", products[0].shape(), products)
        first, second = both >> self._pair.shift, both[: self._pair.shift]
        return (first + second[-1] if self._element.signed else first), second

    def _apart(self, m: Module, products: list[Value], lowest: list[Value]) -> tuple[Value, Value]:
        """Both sums of ``products`` that overlap where these are the ``lowest`` bits of the first.
        """
        pair = self._pair
        # What is above the shift and what is below grow by as many bits as there are levels.
        spread = [Cat(p[: pair.shift], Const(0, pair.levels), p[pair.shift :]) for p in products]
        both = self._sum(m, "both", signed(len(spread[0])), spread)
        beyond = self._sum(m, "beyond", Shape(pair.overlap, self._element.signed), [
            (p[pair.shift : pair.product_bits] - low)[: pair.overlap]
            for p, low in zip(products, lowest, strict=True)])
        below, first = both[: pair.shift + pair.levels], both[pair.shift + pair.levels :]
        second = beyond + below[pair.shift :]
        return first.as_signed() - beyond, Cat(below[: pair.shift], second)

    def _sum(self, m: Module, name: str, shape: Shape, terms: list[Value]) -> Value:
        """Sum of ``terms`` of a ``shape``."""
        m.submodules[name] = sum_ = Sum(shape, self._terms, self._pair.levels)
        m.d.comb += sum_.i.eq(Cat(term[: shape.width] for term in terms))
        return sum_.o
