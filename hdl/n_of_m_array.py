"""Products of few among many inputs: the array of an engine whose weights are n of m."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .dot_array import DotArray, DotShape
from .engine import EngineArray, EngineShape
from .fill import chain
from .steady import delay
from .tech import Technology

__all__ = ["CHOICE_LATENCY", "Chooser", "NofMArray", "NofMShape"]

CHOICE_LATENCY = 1
"""Inputs fan out to the multiplexers of all outputs: a register in front of these."""


@dataclass(frozen=True)
class NofMShape:
    """Structure of an array that multiplies ``n`` of each ``m`` inputs.

    Parameters
    ----------
    simd : inputs that a beat brings.
    n, m : products of a group of inputs, and inputs of a group; ``1 <= n < m``.
    span : inputs side by side that are parted into groups, of which the last one may have fewer;
        divides ``simd``.
    """

    simd: int
    n: int
    m: int
    span: int

    def __post_init__(self) -> None:
        at_least(1, simd=self.simd, n=self.n, span=self.span)
        at_least(self.n + 1, m=self.m)
        if self.simd % self.span:
            raise ValueError(f"span must divide {self.simd}, not {self.span!r}")

    @cached_property
    def choices(self) -> tuple[range, ...]:
        """Of each product of an output, the inputs that it may be of.

        The selects of a group ascend: the ``k``-th is from ``k`` to ``m - n + k``.
        """
        return tuple(range(start + k, min(start + k + self.m - self.n, end - 1) + 1)
                     for first in range(0, self.simd, self.span)
                     for start in range(first, first + self.span, self.m)
                     for end in (min(start + self.m, first + self.span),)
                     for k in range(self.n))

    @property
    def terms(self) -> int:
        """Products of an output in a cycle."""
        return self.simd // self.span * -(-self.span // self.m) * self.n

    @property
    def select_bits(self) -> int:
        """Bits that tell the inputs of a group apart."""
        return ceil_log2(self.m)

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the accumulators."""
        return CHOICE_LATENCY + DotShape(self.terms).depth

    @property
    def results_latency(self) -> int:
        """Cycles from totals to results, which they are."""
        return DotShape(self.terms).results_latency


class NofMArray(EngineArray):
    """``total[n] = (bias[n] if first else total[n]) + sum(w[n][k] * x[choice[n][k]])``, the results
    as well.

    A beat a cycle, ``depth`` cycles deep. Each output has ``n`` multipliers for each ``m`` inputs,
    in front of each a multiplexer, which a select that comes with the weight tells what to take.
    Behind the multiplexers it is a `DotArray` of outputs that have inputs of their own each.

    Parameters
    ----------
    shape : the engine's structure; ``shape.simd`` inputs come a beat, of one group of channels.
    choice : the structure of its choices.
    element : shape of an input element.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output; None if a stream brings them.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    technology : supplies multipliers and memory.

    Members
    -------
    See `EngineArray`; ``weights`` are those of all products of all outputs, above them all selects
    in the same order.
    """

    def __init__(self, shape: EngineShape, choice: NofMShape, element: ShapeLike, *,
                 weight_bits: int, bias: Sequence[int] | None, accumulator_bits: int,
                 dsp_multipliers: int, technology: Technology) -> None:
        if (choice.simd, 1) != (shape.simd, shape.channel_groups):
            raise ValueError(f"choice must be among {shape.simd} inputs of one group of channels, "
                             f"not {choice.simd} of {shape.channel_groups}")
        self._choice = choice
        self._shape = shape
        own = replace(shape, simd=choice.terms, channel_groups=shape.pe)
        self._products = DotArray(own, element, weight_bits=weight_bits, bias=bias,
                                  accumulator_bits=accumulator_bits,
                                  dsp_multipliers=dsp_multipliers, technology=technology)
        super().__init__(
            shape, element, total_bits=accumulator_bits, accumulator_bits=accumulator_bits,
            word_bits=shape.pe * choice.terms * (weight_bits + choice.select_bits),
            filled=bias is None)

    @property
    def depth(self) -> int:
        return self._choice.depth

    @property
    def results_latency(self) -> int:
        return self._choice.results_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.products = products = self._products
        chain(m, self, [products])
        x = delay(m, "x", Value.cast(self.x), CHOICE_LATENCY)
        weights = delay(m, "weights", self.weights, CHOICE_LATENCY)
        selects = weights[len(products.weights):]
        for n in range(self._shape.pe):
            chooser = Chooser(self._choice, self.x.shape().elem_shape)
            m.submodules[f"chooser_{n}"] = chooser
            m.d.comb += [chooser.x.eq(x),
                         chooser.selects.eq(selects.word_select(n, len(chooser.selects))),
                         Value.cast(products.x).word_select(n, len(chooser.o)).eq(chooser.o)]
        m.d.comb += [
            products.weights.eq(weights),
            products.take.eq(delay(m, "take", self.take, CHOICE_LATENCY, reset_less=False)),
            products.first.eq(delay(m, "first", self.first, CHOICE_LATENCY)),
            products.end.eq(delay(m, "end", self.end, CHOICE_LATENCY, reset_less=False)),
            self.totals.eq(products.totals),
            products.drained.eq(self.drained), products.leave.eq(self.leave),
            self.results.eq(products.results)]
        return m


class Chooser(Block):
    """``o[k] = x[group(k) + select[k]]``: the inputs of an output's products, in the same cycle.

    What lies beyond the last group's inputs is 0.

    Parameters
    ----------
    choice : what there is to choose from.
    element : shape of an input element.

    Members
    -------
    x : In(simd * bits of an element).
    selects : In(terms * select_bits).
    o : Out(terms * bits of an element).
    """

    def __init__(self, choice: NofMShape, element: ShapeLike) -> None:
        self._choice = choice
        self._bits = bits = Shape.cast(element).width
        super().__init__({"x": In(choice.simd * bits),
                          "selects": In(choice.terms * choice.select_bits),
                          "o": Out(choice.terms * bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        choice = self._choice
        for k, inputs in enumerate(choice.choices):
            with m.Switch(self.selects.word_select(k, choice.select_bits)):
                for select, place in enumerate(inputs, k % choice.n):
                    with m.Case(select):
                        m.d.comb += self.o.word_select(k, self._bits).eq(
                            self.x.word_select(place, self._bits))
        return m
