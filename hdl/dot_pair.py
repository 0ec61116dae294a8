"""Two outputs of an engine with multipliers that share their products' DSP blocks."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .dot_product import WAY_LATENCY, Sum, accumulate
from .paired_sum import PairedSum, PairShape
from .tech import MULTIPLIER_LATENCY, Technology

__all__ = ["DotPair"]


class DotPair(Block):
    """``total_n = (bias_n if first else total_n) + sum(w_n[k] * x[k])`` where ``take`` is set.

    It is two `DotProduct` of the same x, with a DSP block for every two products. Second products
    are those of `PairedSum`, so the sum of x is taken from them.

    Parameters
    ----------
    element : shape of an element of x.
    terms : products a cycle of either output.
    pair : how the weights of both outputs share a block.
    total_bits : width of a total, which is signed.
    technology : supplies multipliers.

    Members
    -------
    x : In(terms * bits of an element), one cycle late.
    x_sum : In, the sum of x, in the cycle in which that of their products is added.
    weights : In(2 * terms * weight_bits), those of the first output lowest.
    bias_0, bias_1 : In(signed(total_bits)).
    first, take : In(1).
    total_0, total_1 : Out(signed(total_bits)).
    """

    def __init__(self, element: ShapeLike, *, terms: int, pair: PairShape, total_bits: int,
                 technology: Technology) -> None:
        at_least(1, terms=terms, total_bits=total_bits)
        self._element = Shape.cast(element)
        self._terms = terms
        self._pair = pair
        self._technology = technology
        total = signed(total_bits)
        super().__init__({"x": In(terms * self._element.width),
                          "x_sum": In(Shape(self._element.width + ceil_log2(terms),
                                            self._element.signed)),
                          "weights": In(2 * terms * pair.b_bits),
                          "bias_0": In(total), "bias_1": In(total), "first": In(1), "take": In(1),
                          "total_0": Out(total), "total_1": Out(total)})

    @property
    def latency(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the totals."""
        return MULTIPLIER_LATENCY + WAY_LATENCY + ceil_log2(self._terms)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pair, levels = self._pair, ceil_log2(self._terms)
        w_0, w_1 = (self.weights.word_select(n, len(self.weights) // 2) for n in range(2))
        parts: tuple[list[Value], list[Value]] = [], []
        for start in range(0, self._terms, 1 << pair.levels):
            terms = min(1 << pair.levels, self._terms - start)
            part = PairedSum(self._element, terms=terms, pair=pair, technology=self._technology)
            m.submodules[f"part_{start}"] = part
            m.d.comb += [part.x.eq(self.x[start * pair.a_bits :]),
                         part.w_0.eq(w_0[start * pair.b_bits :]),
                         part.w_1.eq(w_1[start * pair.b_bits :])]
            parts[0].append(part.o_0)
            parts[1].append(part.o_1)
        sums = []
        for n, own in enumerate(parts):
            m.submodules[f"sum_{n}"] = sum_ = Sum(own[0].shape(), len(own), levels - pair.levels)
            m.d.comb += sum_.i.eq(Cat(own))
            sums.append(sum_.o)
        second = Signal(signed(len(sums[0])), attrs={"keep": "true"})
        m.d.comb += second.eq(sums[1] - (self.x_sum << pair.b_bits - 1))
        accumulate(m, self.total_0, sums[0], bias=self.bias_0, first=self.first, take=self.take)
        accumulate(m, self.total_1, second, bias=self.bias_1, first=self.first, take=self.take)
        return m
