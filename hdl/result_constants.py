"""Constants of the outputs that leave an engine."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .block import Block
from .engine import EngineShape
from .steady import join
from .stream import beats
from .tech import MemoryStyle, Technology

__all__ = ["ResultConstants"]


class ResultConstants(Block):
    """The constants of the outputs of the beat that is to ``leave``, in that very cycle.

    Beats leave in the order of outputs, endlessly. Where all constants are equal, there is no
    memory.

    Parameters
    ----------
    shape : the engine's structure.
    constants : one an output.
    bits : width of each, two's complement.
    technology : supplies memory.

    Members
    -------
    leave : In(1).
    data : Out, an array of ``shape.o_lanes`` integers.
    """

    def __init__(self, shape: EngineShape, constants: Sequence[int], bits: int, *,
                 technology: Technology) -> None:
        if len(constants) != shape.outputs:
            raise ValueError(f"constants must be {shape.outputs}, one an output, "
                             f"not {len(constants)}")
        self._shape = shape
        self._constants = constants
        self._technology = technology
        super().__init__({"leave": In(1),
                          "data": Out(data.ArrayLayout(signed(bits), shape.o_lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if len(set(self._constants)) == 1:
            m.d.comb += [value.eq(self._constants[0]) for value in self.data]
            return m
        words = self._words()
        m.submodules.rom = rom = self._technology.rom(
            words, len(Value.cast(self.data)), MemoryStyle.LOGIC, registered=False)
        beat = Signal(range(len(words)))
        # One cycle ahead of the drain: the address that follows, once a beat has left.
        following = Mux(beat == len(words) - 1, 0, beat + 1)
        with m.If(self.leave):
            m.d.sync += beat.eq(following)
        m.d.comb += [rom.address.eq(Mux(self.leave, following, beat)), rom.enable.eq(1),
                     Value.cast(self.data).eq(rom.data)]
        return m

    def _words(self) -> list[int]:
        """The constants of each beat side by side."""
        shape, bits = self._shape, self.data.shape().elem_shape.width
        words = []
        for start in range(0, shape.outputs, shape.pe):
            group = self._constants[start : start + shape.pe]
            words += [join(group[beat * shape.o_lanes : (beat + 1) * shape.o_lanes], bits)
                      for beat in range(beats(len(group), shape.o_lanes))]
        return words
