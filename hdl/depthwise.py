"""The multiply-accumulate engine of depthwise and grouped convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *

from .checks import at_least
from .dot import Dot
from .tech import MemoryStyle, Technology

__all__ = ["Depthwise"]


class Depthwise(Dot):
    """Channel by channel: ``o[n] = bias[n] + sum(w[n][tap] * x[n // m][tap])``, no idle lanes.

    Or group by group: ``o[n] = bias[n] + sum(w[n][tap][k] * x[n // m * terms + k][tap])`` for
    groups of ``terms`` channels, each with ``m`` outputs.

    The taps of a slice of ``lanes`` channels arrive one by one, as a window gives them channel by
    channel; each lane feeds ``m`` multipliers, so a slice has ``lanes / terms * m`` outputs. They
    leave ``o_lanes`` a beat in order. One input beat is taken each cycle, and from the last tap of
    a slice to its first output beat it is ``latency`` cycles. The pipeline is that of `Dot`, with
    adder trees of ``terms`` only: nothing in it stalls, and a slice is let in only when the output
    queue has room for its results.

    Parameters
    ----------
    shape : shape of an input element.
    lanes : channels a slice, whole groups.
    weights : ``weights[slice * taps + tap][output][term]``; slices cover the channels in order, and
        the outputs that the last one has too many are left out.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    o_lanes : outputs a beat, at least a slice's outputs / taps and a divisor of their number.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    style : where the weights live.
    technology : supplies multipliers and memory.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``len(bias)`` outputs.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, weights: Sequence[Sequence[Sequence[int]]],
                 weight_bits: int, bias: Sequence[int], accumulator_bits: int, o_lanes: int,
                 dsp_multipliers: int, style: MemoryStyle, technology: Technology) -> None:
        at_least(1, lanes=lanes)
        outputs, terms = len(weights[0]), len(weights[0][0])
        if lanes % terms or outputs % (lanes // terms):
            raise ValueError(f"lanes must be whole groups of {terms} channels whose number divides "
                             f"{outputs} outputs, not {lanes!r}")
        super().__init__(
            shape, weights=weights, weight_bits=weight_bits, bias=bias,
            accumulator_bits=accumulator_bits, o_lanes=o_lanes, dsp_multipliers=dsp_multipliers,
            style=style, technology=technology, i_lanes=lanes)

    def _lane(self, output: int, term: int) -> int:
        groups = len(self.i.p.data) // self._simd
        return output * groups // self._pe * self._simd + term
