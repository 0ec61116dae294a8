"""What a component takes by itself: place-and-route out of context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .board import Board
from .toolchain import BuildResult, Progress, Workshop, place_and_route, synthesize

__all__ = ["Harness", "measure"]

_FAN_IN = 4
"""Bits that one LUT combines."""


class Harness(wiring.Component):
    """A component of any number of ports behind three pins.

    Its inputs hang on a shift register, which moves only if it is told to: otherwise what delays an
    input in the component would be merged with it. Its outputs are kept in flip-flops, and these
    combined by XOR, four at a time, with a flip-flop behind each LUT. So every path to and from a
    port is that of a flip-flop, and nothing can be optimized away.

    Parameters
    ----------
    component : what to surround; its ports are its signature's.

    Members
    -------
    i : feeds the shift register.
    shift : moves it on.
    o : the combined outputs.
    """

    def __init__(self, component: wiring.Component) -> None:
        self._component = component
        members = [(member.flow, Value.cast(value))
                   for _, member, value in component.signature.flatten(component)
                   if isinstance(Value.cast(value), Signal)]  # a stream may be always ready
        self._inputs = [value for flow, value in members if flow is In]
        self._outputs = [value for flow, value in members if flow is Out]
        super().__init__({"i": In(1), "shift": In(1), "o": Out(1)})

    @property
    def luts(self) -> int:
        """LUTs of the harness itself."""
        return sum(self._levels())

    @property
    def ffs(self) -> int:
        """Flip-flops of the harness itself."""
        return self._input_bits + self._output_bits + self.luts

    @property
    def _input_bits(self) -> int:
        return sum(len(value) for value in self._inputs)

    @property
    def _output_bits(self) -> int:
        return sum(len(value) for value in self._outputs)

    def _levels(self) -> list[int]:
        """Cells of each level of the XOR tree."""
        levels, width = [], self._output_bits
        while width > 1:
            width = -(-width // _FAN_IN)
            levels.append(width)
        return levels

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = self._component
        chain = Signal(self._input_bits, reset_less=True)
        with m.If(self.shift):
            m.d.sync += chain.eq(Cat(self.i, chain))
        m.d.comb += Cat(self._inputs).eq(chain)

        level = Signal(self._output_bits, reset_less=True)
        m.d.sync += level.eq(Cat(self._outputs))
        for width in self._levels():
            combined = Signal(width, reset_less=True)
            m.d.sync += combined.eq(Cat(level[n * _FAN_IN : (n + 1) * _FAN_IN].xor()
                                        for n in range(width)))
            level = combined
        m.d.comb += self.o.eq(level)
        return m


def measure(component: wiring.Component, board: Board, folder: Path, *,
            clock_mhz: float | None = None, seed: int = 1, compact: bool = False,
            progress: Progress | None = None) -> BuildResult:
    """Place and route ``component`` alone for ``board``'s device; the harness is not counted.

    ``clock_mhz`` is the speed that the router aims at, the board's unless given. Where LUTs are
    logic cells, those of the harness are subtracted that only hold a flip-flop, so up to one for
    each output bit may be counted too much. Raises `PenjingError` where a tool is missing
    or fails.
    """
    shop = Workshop(board, folder, progress)
    harness = Harness(component)
    synthesized = synthesize(shop, rtlil.convert(harness, name="top", emit_src=False),
                             compact=compact)
    result = place_and_route(shop, seed=seed,
                             clock_mhz=board.clock_mhz if clock_mhz is None else clock_mhz)
    luts = (harness.ffs - harness._output_bits if shop.flow.logged_ffs
            else harness.luts)
    return replace(result, luts=max(0, result.luts - luts), ffs=max(0, result.ffs - harness.ffs),
                   seconds={"synthesis": synthesized, **result.seconds})
