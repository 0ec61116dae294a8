"""Products and their sums: the array of an engine with multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.utils import ceil_log2

from .checks import at_least
from .dot_pair import DotPair, PartSums
from .dot_product import WAY_LATENCY, DotProduct
from .engine import EngineArray, EngineShape
from .fill import Spelling, chain
from .paired_sum import PairShape
from .sequencer import SEQUENCER_LATENCY, LoadableSequencer, Sequencer
from .steady import delay, join
from .tech import MULTIPLIER_LATENCY, MemoryStyle, Technology

__all__ = ["WAY_LATENCY", "DotArray", "DotShape", "Pairs", "bias_words"]

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


@dataclass(frozen=True)
class Pairs:
    """The first ``count`` pairs of outputs share DSP blocks by two, as ``shape`` says."""

    count: int
    shape: PairShape

    def __post_init__(self) -> None:
        at_least(1, count=self.count)


class DotArray(EngineArray):
    """``total[n] = (bias[n] if first else total[n]) + sum(w[n][k] * x[k])``, the results as well.

    A beat a cycle, ``depth`` cycles deep; a multiplier for each of ``pe * simd`` terms, and a
    register behind each level of adders.

    Parameters
    ----------
    shape : the engine's structure.
    element : shape of an input element.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output, of each part of the shape's rounds; None if a stream brings them.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    technology : supplies multipliers and memory.
    pairs : outputs that share multipliers by two, all of these DSP blocks; None without any.

    Members
    -------
    See `EngineArray`.
    """

    def __init__(self, shape: EngineShape, element: ShapeLike, *, weight_bits: int,
                 bias: Sequence[int] | None, accumulator_bits: int, dsp_multipliers: int,
                 technology: Technology, pairs: Pairs | None = None) -> None:
        at_least(1, weight_bits=weight_bits)
        if pairs and (2 * pairs.count > shape.pe or shape.channel_groups > 1
                      or pairs.shape.b_bits != weight_bits
                      or pairs.count * shape.simd > dsp_multipliers):
            raise ValueError(f"pairs must be of {shape.pe} outputs with the same inputs, of "
                             f"{weight_bits}-bit weights and {dsp_multipliers} DSP blocks, not "
                             f"{pairs!r}")
        super().__init__(shape, element, word_bits=shape.pe * shape.simd * weight_bits,
                         total_bits=accumulator_bits, accumulator_bits=accumulator_bits,
                         filled=bias is None)
        limit = 1 << accumulator_bits - 1
        count = shape.outputs * shape.rounds.parts
        if bias is not None and (len(bias) != count
                                 or not all(-limit <= b < limit for b in bias)):
            raise ValueError(f"bias must be {count} integers that fit {accumulator_bits} bits")
        self._weight_bits = weight_bits
        self._bias = bias
        self._dsp_multipliers = dsp_multipliers
        self._technology = technology
        self._pairs = pairs

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
        lanes, terms = self._shape.lanes, self._shape.simd
        near = delay(m, "near", Value.cast(self.x), 1)
        far = delay(m, "far", near, 1)
        bits = len(near) // lanes
        paired, left = 0, self._dsp_multipliers
        if self._pairs:
            paired, left = 2 * self._pairs.count, left - self._pairs.count * terms
            self._add_pairs(m, self._pairs, near, biases, first, take)
        for n in range(paired, self._shape.pe):
            dsps = min(left, terms)
            left -= dsps
            product = DotProduct(self.x.shape().elem_shape, terms=terms,
                                 weight_bits=self._weight_bits, dsp_multipliers=dsps,
                                 total_bits=len(self.totals[n]), technology=self._technology)
            m.submodules[f"output_{n}"] = product
            m.d.comb += [
                product.x.eq(Cat((near if term < dsps else far).word_select(lane, bits)
                                 for term, lane in enumerate(self._shape.terms(n)))),
                product.weights.eq(self.weights.word_select(n, len(product.weights))),
                product.bias.eq(biases[n]), product.first.eq(first), product.take.eq(take),
                self.totals[n].eq(product.total)]
        m.d.comb += Value.cast(self.results).eq(self.drained)
        return m

    def _add_pairs(self, m: Module, pairs: Pairs, x: Value, biases: Sequence[Value], first: Value,
                   take: Value) -> None:
        """The outputs that share multipliers, whose inputs are ``x``."""
        element, terms = self.x.shape().elem_shape, self._shape.simd
        m.submodules.x_sums = x_sums = PartSums(element, terms=terms, pair=pairs.shape)
        m.d.comb += x_sums.x.eq(x)
        for n in range(0, 2 * pairs.count, 2):
            pair = DotPair(element, terms=terms, pair=pairs.shape, total_bits=len(self.totals[n]),
                           technology=self._technology)
            m.submodules[f"outputs_{n}"] = pair
            m.d.comb += [
                pair.x.eq(x), pair.x_sums.eq(x_sums.sums),
                pair.weights.eq(self.weights.word_select(n // 2, len(pair.weights))),
                pair.bias_0.eq(biases[n]), pair.bias_1.eq(biases[n + 1]),
                pair.first.eq(first), pair.take.eq(take),
                self.totals[n].eq(pair.total_0), self.totals[n + 1].eq(pair.total_1)]

    def _biases(self, m: Module, step: Value) -> list[Value]:
        """Biases of the group that ``step`` had come to SEQUENCER_LATENCY ago."""
        pe, bits = self._shape.pe, self.totals.shape().elem_shape.width
        source: Sequencer | LoadableSequencer
        if self._bias is None:
            source = LoadableSequencer(
                self._shape.groups * self._shape.rounds.parts, Spelling(pe, bits),
                style=MemoryStyle.DISTRIBUTED, technology=self._technology,
                rounds=self._shape.rounds)
        else:
            source = Sequencer(bias_words(self._shape, self._bias, bits), pe * bits,
                               style=MemoryStyle.LOGIC, technology=self._technology,
                               rounds=self._shape.rounds)
        m.submodules.bias = source
        chain(m, self, [source])
        m.d.comb += source.step.eq(step)
        return [source.data.word_select(n, bits).as_signed() for n in range(pe)]


def bias_words(shape: EngineShape, bias: Sequence[int], bits: int) -> list[int]:
    """The biases of each group side by side, ``bits`` of each."""
    pe, outputs = shape.pe, shape.outputs
    return [join(bias[part + start : part + min(start + pe, outputs)], bits)
            for part in range(0, len(bias), outputs) for start in range(0, outputs, pe)]
