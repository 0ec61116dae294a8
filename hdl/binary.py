"""The engine of binary weights and activations: XOR, popcount, accumulate."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *

from .count_array import CountShape
from .dot import Dot
from .sequencer import SEQUENCER_LATENCY
from .steady import late
from .tech import MemoryStyle, Technology

__all__ = ["Binary"]


class Binary(Dot):
    """Matrix of signs times vector of signs: ``o[n] = bias[n] + sum(w[n][k] * x[k])``.

    A sign is one bit, 1 for +1, so a product is -1 where two bits differ, and with d of K products
    negative the sum is ``K - 2 * d`` (Courbariaux 2016). Each of the ``pe`` outputs counts the d of
    its ``simd`` products a cycle and accumulates them; what turns d into the sum stands once behind
    the drain. Beats, groups and room are those of `Dot`.

    Parameters
    ----------
    weights : ``weights[group * folds + fold][pe][lane]``, each -1 or 1; groups cover the outputs in
        order. There are no spare lanes: a weight is never 0.
    bias : one integer an output.
    accumulator_bits : width of the results.
    o_lanes : outputs a beat, at least ``pe / folds`` and a divisor of ``pe``.
    style : where the weights live.
    technology : supplies counters and memory.

    Members
    -------
    i : stream of ``Beat(1, simd)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``len(bias)`` outputs.
    """

    def __init__(self, *, weights: Sequence[Sequence[Sequence[int]]], bias: Sequence[int],
                 accumulator_bits: int, o_lanes: int, style: MemoryStyle,
                 technology: Technology) -> None:
        if not all(w in (-1, 1) for beat in weights for row in beat for w in row):
            raise ValueError("weights must be -1 or 1")
        super().__init__(1, weights=weights, weight_bits=2, bias=bias,
                         accumulator_bits=accumulator_bits, o_lanes=o_lanes, dsp_multipliers=0,
                         style=style, technology=technology)
        total_bits = self._array().total_bits
        self._counters = [technology.difference_counter(self._simd, total_bits)
                          for _ in range(self._pe)]

    def _array(self) -> CountShape:
        return CountShape(self._simd, self._folds)

    def _totals(self, m: Module, take: Value, first: Value, end: Value) -> list[Value]:
        words = [sum((weight > 0) << n * self._simd + lane for n, row in enumerate(beat)
                     for lane, weight in enumerate(row)) for beat in self._weights]
        signs = self._rom(m, words, self._pe * self._simd)
        inputs = late(m, "inputs", Value.cast(self.i.p.data), SEQUENCER_LATENCY)
        keep = late(m, "keep", ~first, self._depth)
        late_take = late(m, "take", take, self._depth, reset_less=False)
        for n, counter in enumerate(self._counters):
            m.submodules[f"counter_{n}"] = counter
            m.d.comb += [counter.a.eq(inputs), counter.b.eq(signs.word_select(n, self._simd)),
                         counter.keep.eq(keep), counter.enable.eq(late_take)]
        return [counter.total for counter in self._counters]

    def _results(self, m: Module, totals: list[Value], leave: Value) -> list[Value]:
        width = self.o.payload.shape().shape.width
        offsets = self._of_beat(m, "offsets", [bias + self._folds * self._simd
                                               for bias in self._bias], leave)
        return [(offset - (total << 1))[:width]
                for offset, total in zip(offsets, totals, strict=True)]
