"""The multiply-accumulate engine of depthwise convolutions: no channel meets another."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *

from .checks import at_least
from .dot import Dot
from .tech import MemoryStyle, Technology

__all__ = ["Depthwise"]


class Depthwise(Dot):
    """Channel by channel: ``o[n] = bias[n] + sum(w[n][tap] * x[n // m][tap])``, no idle lanes.

    The taps of a slice of ``lanes`` channels arrive one by one, as a window gives them channel by
    channel; each lane feeds ``m`` multipliers, each with an accumulator of its own, so a slice is a
    group of ``lanes * m`` outputs. They leave ``o_lanes`` a beat in the order of the channels. One
    input beat is taken each cycle, and from the last tap of a slice to its first output beat it is
    ``latency`` cycles. The pipeline is that of `Dot`, without its adder trees: nothing in it
    stalls, and a slice is let in only when the output queue has room for its results.

    Parameters
    ----------
    shape : shape of an input element.
    lanes : channels a slice.
    weights : ``weights[slice * taps + tap][lane * m + j]``; slices cover the channels in order, and
        what the last one has too many is left out.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    o_lanes : outputs a beat, at least ``lanes * m / taps`` and a divisor of ``lanes * m``.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    style : where the weights live.
    technology : supplies multipliers and memory.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``len(bias)`` outputs.
    """

    def __init__(self, shape: ShapeLike, *, lanes: int, weights: Sequence[Sequence[int]],
                 weight_bits: int, bias: Sequence[int], accumulator_bits: int, o_lanes: int,
                 dsp_multipliers: int, style: MemoryStyle, technology: Technology) -> None:
        at_least(1, lanes=lanes)
        if len(weights[0]) % lanes:
            raise ValueError(f"weights must be a multiple of {lanes} lanes a beat, "
                             f"not {len(weights[0])}")
        super().__init__(
            shape, weights=[[[weight] for weight in beat] for beat in weights],
            weight_bits=weight_bits, bias=bias, accumulator_bits=accumulator_bits, o_lanes=o_lanes,
            dsp_multipliers=dsp_multipliers, style=style, technology=technology, i_lanes=lanes)

    def _lane(self, output: int, term: int) -> int:
        return output * len(self.i.p.data) // self._pe
