"""Two outputs of an engine with multipliers that share their products' DSP blocks."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .dot_product import WAY_LATENCY, Sum, accumulate
from .paired_sum import PairedSum, PairShape
from .steady import delay
from .tech import MULTIPLIER_LATENCY, Technology

__all__ = ["DotPair", "PartSums"]


class DotPair(Block):
    """``total_n = (bias_n if first else total_n) + sum(w_n[k] * x[k])`` where ``take`` is set.

    It is two `DotProduct` of the same x, with a DSP block for every two products.

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
    x_sums : In, the `PartSums` of x.
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
                          "x_sums": In(pair.sums_bits(terms)),
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
        for n, start in enumerate(range(0, self._terms, pair.most_terms)):
            part = PairedSum(self._element, terms=min(pair.most_terms, self._terms - start),
                             pair=pair, technology=self._technology)
            m.submodules[f"part_{start}"] = part
            m.d.comb += [part.x.eq(self.x[start * pair.a_bits :]),
                         part.x_sum.eq(self.x_sums.word_select(n, len(part.x_sum))),
                         part.w_0.eq(w_0[start * pair.b_bits :]),
                         part.w_1.eq(w_1[start * pair.b_bits :])]
            parts[0].append(part.o_0)
            parts[1].append(part.o_1)
        for n, (own, bias, total) in enumerate(zip(parts, (self.bias_0, self.bias_1),
                                                   (self.total_0, self.total_1), strict=True)):
            m.submodules[f"sum_{n}"] = sum_ = Sum(own[0].shape(), len(own), levels - pair.levels)
            m.d.comb += sum_.i.eq(Cat(own))
            accumulate(m, total, sum_.o, bias=bias, first=self.first, take=self.take)
        return m


class PartSums(Block):
    """Sums of those of x that each `PairedSum` of a `DotPair` takes, in the cycle in which it does.

    Parameters
    ----------
    element : shape of an element of x.
    terms : how many there are.
    pair : how weights share a block.

    Members
    -------
    x : In(terms * bits of an element), one cycle late.
    sums : Out, side by side.
    """

    def __init__(self, element: ShapeLike, *, terms: int, pair: PairShape) -> None:
        at_least(1, terms=terms)
        self._element = Shape.cast(element)
        self._terms = terms
        self._pair = pair
        super().__init__({"x": In(terms * pair.a_bits), "sums": Out(pair.sums_bits(terms))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pair, sums = self._pair, []
        for start in range(0, self._terms, pair.most_terms):
            sum_ = Sum(self._element, min(pair.most_terms, self._terms - start), pair.levels)
            m.submodules[f"part_{start}"] = sum_
            m.d.comb += sum_.i.eq(self.x[start * pair.a_bits :])
            whole = Signal(Shape(pair.a_bits + pair.levels, self._element.signed),
                           name=f"sum_{start}")
            m.d.comb += whole.eq(sum_.o)
            sums.append(whole)
        m.d.comb += self.sums.eq(delay(m, "sums", Cat(sums), MULTIPLIER_LATENCY))
        return m
