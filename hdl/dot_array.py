"""Products and their sums: the array of an engine with multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.utils import ceil_log2

from .engine import EngineArray, EngineShape
from .sequencer import SEQUENCER_LATENCY, Sequencer
from .steady import add_pairwise, delay, join
from .tech import MULTIPLIER_LATENCY, MemoryStyle, Technology

__all__ = ["WAY_LATENCY", "DotArray", "DotShape"]

WAY_LATENCY = 2
"""A DSP block can lie far from its memory and from its adders: a register half-way on either side.
"""


@dataclass(frozen=True)
class DotShape:
    """Structure of an array of multipliers: ``simd`` products an output, added pairwise."""

    simd: int

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the accumulators."""
        return MULTIPLIER_LATENCY + WAY_LATENCY + ceil_log2(self.simd)

    @property
    def results_latency(self) -> int:
        """Cycles from totals to results, which they are."""
        return 0


class DotArray(EngineArray):
    """``total[n] = (bias[n] if first else total[n]) + sum(w[n][k] * x[k])``, the results as well.

    A beat a cycle, ``depth`` cycles deep; a multiplier for each of ``pe * simd`` terms, and a
    register behind each level of adders.

    Parameters
    ----------
    shape : the engine's structure.
    element : shape of an input element.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    technology : supplies multipliers and memory.

    Members
    -------
    See `EngineArray`.
    """

    def __init__(self, shape: EngineShape, element: ShapeLike, *, weight_bits: int,
                 bias: Sequence[int], accumulator_bits: int, dsp_multipliers: int,
                 technology: Technology) -> None:
        super().__init__(shape, element, weight_bits=weight_bits, total_bits=accumulator_bits,
                         accumulator_bits=accumulator_bits)
        limit = 1 << accumulator_bits - 1
        if len(bias) != shape.outputs or not all(-limit <= b < limit for b in bias):
            raise ValueError(f"bias must be {shape.outputs} integers that fit {accumulator_bits} "
                             f"bits")
        self._weight_bits = weight_bits
        self._bias = bias
        self._dsp_multipliers = dsp_multipliers
        self._technology = technology

    @property
    def depth(self) -> int:
        return DotShape(self._shape.simd).depth

    @property
    def results_latency(self) -> int:
        return DotShape(self._shape.simd).results_latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = delay(m, "first", self.first, self.depth)
        take = delay(m, "take", self.take, self.depth, reset_less=False)
        end = delay(m, "end", self.end, self.depth - SEQUENCER_LATENCY, reset_less=False)
        biases = self._biases(m, end)
        for n, products in enumerate(self._multiply(m)):
            sum_ = add_pairwise(m, f"sum{n}", products)
            total = Signal(signed(len(self.totals[n])), name=f"total{n}", reset_less=True)
            with m.If(take):
                m.d.sync += total.eq(Mux(first, biases[n], total) + sum_)
            m.d.comb += self.totals[n].eq(total)
        m.d.comb += Value.cast(self.results).eq(self.drained)
        return m

    def _multiply(self, m: Module) -> list[list[Value]]:
        """Products ``[output][term]``, MULTIPLIER_ and WAY_LATENCY behind the beat."""
        bits, element = self._weight_bits, self.x.shape().elem_shape
        near = [delay(m, f"near{lane}", self.x[lane], 1) for lane in range(self._shape.lanes)]
        far = [delay(m, f"far{lane}", value, 1) for lane, value in enumerate(near)]
        products = []
        for output in range(self._shape.pe):
            row = []
            for term, lane in enumerate(self._shape.terms(output)):
                index = output * self._shape.simd + term
                dsp = index < self._dsp_multipliers
                multiplier = self._technology.multiplier(element, signed(bits), dsp=dsp)
                name = f"{output}_{term}"
                m.submodules[f"multiplier_{name}"] = multiplier
                # One from look-up tables is placed where its wires go; it has both registers in
                # front, where they are narrower.
                weight = self.weights.word_select(index, bits).as_signed()
                m.d.comb += [multiplier.a.eq((near if dsp else far)[lane]),
                             multiplier.b.eq(delay(m, f"weight_{name}", weight, 1 if dsp else 2))]
                row.append(delay(m, f"product_{name}", multiplier.p, 1 if dsp else 0))
            products.append(row)
        return products

    def _biases(self, m: Module, step: Value) -> list[Value]:
        """Biases of the group that ``step`` had come to SEQUENCER_LATENCY ago."""
        pe, bits = self._shape.pe, self.totals.shape().elem_shape.width
        words = [join(self._bias[start : start + pe], bits)
                 for start in range(0, len(self._bias), pe)]
        m.submodules.bias = rom = Sequencer(words, pe * bits, style=MemoryStyle.LOGIC,
                                            technology=self._technology)
        m.d.comb += rom.step.eq(step)
        return [rom.data.word_select(n, bits).as_signed() for n in range(pe)]
