"""The product of two streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .requantize import range_of
from .steady import SteadyShape, in_front_of_queue, signed_bits
from .stream import Beat
from .tech import MULTIPLIER_LATENCY, Technology

__all__ = ["MultiplyShape", "StreamMultiplier"]


@dataclass(frozen=True)
class MultiplyShape(SteadyShape):
    """Structure of a `StreamMultiplier`.

    Parameters
    ----------
    a_bits, b_bits : of the two factors.
    subtracts : whether a stage in front takes offsets from them.
    """

    a_bits: int
    b_bits: int
    subtracts: bool

    @classmethod
    def of(cls, i_0_shape: ShapeLike, i_1_shape: ShapeLike, offsets: tuple[int, int]
           ) -> MultiplyShape:
        """The structure for elements of these shapes, from which ``offsets`` are taken."""
        a, b = _less((i_0_shape, i_1_shape), offsets)
        return cls(a.width, b.width, any(offsets))

    @property
    def depth(self) -> int:
        """Cycles from the transfer of two beats to their product in front of the queue."""
        return self.subtracts + MULTIPLIER_LATENCY


def _less(shapes: Sequence[ShapeLike], offsets: Sequence[int]) -> list[Shape]:
    """The shapes of what is left of elements of ``shapes``; without an offset, it is their own."""
    result = []
    for given, offset in zip(shapes, offsets, strict=True):
        shape = Shape.cast(given)
        values = range_of(shape)
        result.append(signed(signed_bits((values[0] - offset, values[-1] - offset))) if offset
                      else shape)
    return result


class StreamMultiplier(Block):
    """``o = (i_0 - offsets[0]) * (i_1 - offsets[1])`` in every lane, a beat of each a cycle.

    Latency 4, and 5 with offsets. The multipliers never stall: beats are let in only while the
    queue behind them has room for what they make.

    Parameters
    ----------
    i_0_shape, i_1_shape, o_shape : element shapes; ``o_shape`` holds every product.
    lanes : elements a beat.
    offsets : what is taken from the factors.
    dsp_multipliers : how many of the multipliers, one a lane, are DSP blocks; the first ones.
    technology : supplies the multipliers.

    Members
    -------
    i_0 : stream of ``Beat(i_0_shape, lanes)``.
    i_1 : stream of ``Beat(i_1_shape, lanes)``; its ``last`` comes with that of ``i_0``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_0_shape: ShapeLike, i_1_shape: ShapeLike, o_shape: ShapeLike, *,
                 lanes: int, offsets: tuple[int, int] = (0, 0), dsp_multipliers: int = 0,
                 technology: Technology) -> None:
        at_least(0, dsp_multipliers=dsp_multipliers)
        self._shape = MultiplyShape.of(i_0_shape, i_1_shape, offsets)
        self._operands = _less((i_0_shape, i_1_shape), offsets)
        self._offsets = offsets
        self._dsps = dsp_multipliers
        self._technology = technology
        super().__init__({"i_0": In(stream.Signature(Beat(i_0_shape, lanes))),
                          "i_1": In(stream.Signature(Beat(i_1_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Both at once are a stream of their own: what lets beats in looks at its flags only.
        both = self.i_0.signature.flip().create(path=("both",))
        m.d.comb += [
            both.valid.eq(self.i_0.valid & self.i_1.valid), both.payload.eq(self.i_0.payload),
            self.i_0.ready.eq(both.ready & self.i_1.valid),
            self.i_1.ready.eq(both.ready & self.i_0.valid),
        ]
        _, products = in_front_of_queue(m, both, self.o, self._shape)
        for lane, product in enumerate(products):
            multiplier = self._technology.multiplier(*self._operands, dsp=lane < self._dsps)
            m.submodules[f"multiplier{lane}"] = multiplier
            m.d.comb += [
                multiplier.a.eq(self._operand(m, f"a{lane}", self.i_0.p.data[lane], 0)),
                multiplier.b.eq(self._operand(m, f"b{lane}", self.i_1.p.data[lane], 1)),
                product.eq(multiplier.p)]
        return m

    def _operand(self, m: Module, name: str, value: Value, side: int) -> Value:
        """The factor on the first or second ``side`` that an input ``value`` is."""
        if not self._shape.subtracts:
            return value
        operand = Signal(self._operands[side], name=name, reset_less=True)
        m.d.sync += operand.eq(value - self._offsets[side])
        return operand
