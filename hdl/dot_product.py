"""One output of an engine with multipliers: its products and their sum."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .steady import delay
from .tech import MULTIPLIER_LATENCY, Technology
from .tech.multiply import product_shape

__all__ = ["WAY_LATENCY", "DotProduct", "Product", "Sum"]

WAY_LATENCY = 2
"""A DSP block can lie far from its memory and from its adders: a register half-way on either side.
"""


class DotProduct(Block):
    """``total = (bias if first else total) + sum(w[k] * x[k])`` where ``take`` is set.

    A term each of ``x`` and ``w`` a cycle, ``latency`` cycles before the edge that adds their sum;
    ``first``, ``take`` and ``bias`` are wanted in the last cycle before it.

    Parameters
    ----------
    element : shape of an element of x.
    terms : products a cycle.
    weight_bits : width of a weight, two's complement.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    total_bits : width of the total, which is signed.
    technology : supplies multipliers.

    Members
    -------
    x : In(terms * bits of an element), those of DSP blocks one cycle late, the others two.
    weights : In(terms * weight_bits).
    bias : In(signed(total_bits)).
    first, take : In(1).
    total : Out(signed(total_bits)).
    """

    def __init__(self, element: ShapeLike, *, terms: int, weight_bits: int, dsp_multipliers: int,
                 total_bits: int, technology: Technology) -> None:
        at_least(1, terms=terms, weight_bits=weight_bits, total_bits=total_bits)
        at_least(0, dsp_multipliers=dsp_multipliers)
        self._element = Shape.cast(element)
        self._terms = terms
        self._weight_bits = weight_bits
        self._dsp_multipliers = dsp_multipliers
        self._technology = technology
        super().__init__({"x": In(terms * self._element.width), "weights": In(terms * weight_bits),
                          "bias": In(signed(total_bits)), "first": In(1), "take": In(1),
                          "total": Out(signed(total_bits))})

    @property
    def latency(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the total."""
        return MULTIPLIER_LATENCY + WAY_LATENCY + ceil_log2(self._terms)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products: list[Value] = []
        for n in range(self._terms):
            product = Product(self._element, signed(self._weight_bits),
                              dsp=n < self._dsp_multipliers, technology=self._technology)
            m.submodules[f"product_{n}"] = product
            m.d.comb += [product.a.eq(self.x.word_select(n, self._element.width)),
                         product.b.eq(self.weights.word_select(n, self._weight_bits))]
            products.append(product.p)
        m.submodules.sum = sum_ = Sum(products[0].shape(), self._terms, ceil_log2(self._terms))
        m.d.comb += sum_.i.eq(Cat(products))
        accumulate(m, self.total, sum_.o, bias=self.bias, first=self.first, take=self.take)
        return m


def accumulate(m: Module, total: Signal, addend: Value, *, bias: Value, first: Value, take: Value
               ) -> None:
    """``total = (bias if first else total) + addend`` where ``take`` is set, a cycle later."""
    held = Signal.like(total, name="held", reset_less=True)
    with m.If(take):
        m.d.sync += held.eq(Mux(first, bias, held) + addend)
    m.d.comb += total.eq(held)


class Product(Block):
    """``p = a * b``: a multiplier and the registers on the way to it and from it.

    One product a cycle. A DSP block's ``a`` is wanted a cycle after ``b``, and there is a register
    behind it. A multiplier from look-up tables is placed where its wires go; it has both registers
    in front, where they are narrower, and ``a`` is wanted two cycles after ``b``. Latency from
    ``b`` is that of a multiplier and WAY_LATENCY.

    Parameters
    ----------
    a, b : shapes of the operands.
    dsp : whether it is a DSP block.
    technology : supplies the multiplier.

    Members
    -------
    a, b : operands.
    p : product.
    """

    def __init__(self, a: ShapeLike, b: ShapeLike, *, dsp: bool, technology: Technology) -> None:
        self._dsp = dsp
        self._technology = technology
        shapes = Shape.cast(a), Shape.cast(b)
        super().__init__({"a": In(a), "b": In(b), "p": Out(product_shape(*shapes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        multiplier = self._technology.multiplier(self.a.shape(), self.b.shape(), dsp=self._dsp)
        m.submodules.multiplier = multiplier
        before = 1 if self._dsp else WAY_LATENCY
        m.d.comb += [multiplier.a.eq(self.a), multiplier.b.eq(delay(m, "b", self.b, before)),
                     self.p.eq(delay(m, "p", multiplier.p, WAY_LATENCY - before))]
        return m


class Sum(Block):
    """``o = sum(i)``: neighbours are added pairwise, with a register behind each of ``levels``.

    Latency ``levels``, a sum a cycle. A whole tree is two sums of a level less.

    Parameters
    ----------
    shape : of a term.
    terms : how many, at most ``2**levels``.
    levels : of adders.

    Members
    -------
    i : In(terms * width).
    o : Out, of a shape that holds every sum.
    """

    def __init__(self, shape: ShapeLike, terms: int, levels: int) -> None:
        at_least(1, terms=terms)
        if terms > 1 << levels:
            raise ValueError(f"terms must be at most {1 << levels}, not {terms!r}")
        self._term = Shape.cast(shape)
        self._terms = terms
        self._levels = levels
        wider = ceil_log2(terms)
        super().__init__({"i": In(terms * self._term.width),
                          "o": Out(Shape(self._term.width + wider, self._term.signed))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._levels == 0:
            m.d.comb += self.o.eq(self.i)
            return m
        place = 1 << self._levels - 1
        parts: list[Value] = []
        for n, terms in enumerate((min(place, self._terms), self._terms - place)):
            if terms > 0:
                part = Sum(self._term, terms, self._levels - 1)
                m.submodules[f"part_{n}"] = part
                m.d.comb += part.i.eq(self.i[n * place * self._term.width:])
                parts.append(part.o)
        m.d.comb += self.o.eq(delay(m, "sum", sum(parts[1:], parts[0]), 1))
        return m
