"""A whole board design: clock, reset, pins, and the wrapped accelerator."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import *
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from ..compiler.dataflow.plan import Port
from ..hdl.graph import Graph
from ..hdl.loadable import Loadable
from .board import Board
from .pll import Pll
from .protocol import Identity
from .uart import divider
from .wrapper import Wrapper

__all__ = ["ACCELERATOR", "WRAPPER", "Clocking", "Top", "board_top", "made_clock_mhz",
           "stage_paths"]

WRAPPER = "wrapper"
ACCELERATOR = f"{WRAPPER}.accelerator"
"""Paths of the parts of a `board_top` in its flattened design."""

_RESET_SECONDS = 20e-6
"""Shortest reset: an iCE40's block RAMs read as 0 for some µs after configuration."""
_SILENCE_SECONDS = 0.1
"""How long a host may pause inside a message: USB adapters and schedulers pause for tens of ms."""


def _pll(board: Board, clock_mhz: float) -> Pll | None:
    if clock_mhz == board.crystal_mhz or board.family.pll is None:
        return None
    return board.family.pll(board.crystal_mhz, clock_mhz)


def made_clock_mhz(board: Board, clock_mhz: float) -> float:
    """The clock that ``board`` runs at when ``clock_mhz`` is wanted: that or a little less.

    Raises `PenjingError` where the board's PLL cannot come within 5 %.
    """
    pll = _pll(board, clock_mhz)
    return pll.clock_mhz if pll else clock_mhz


class Clocking(Elaboratable):
    """Drives domain ``sync`` from the board's crystal: in reset until the PLL has locked, and 20 µs
    more, counted in domain ``boot``. The parent defines both.

    Parameters
    ----------
    board : has a platform.
    clock_mhz : wanted clock, see `made_clock_mhz`.
    """

    def __init__(self, board: Board, clock_mhz: float) -> None:
        self._board = board
        self._pll = _pll(board, clock_mhz)
        self._clock_mhz = self._pll.clock_mhz if self._pll else clock_mhz

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += ClockSignal("boot").eq(ClockSignal("sync"))
        pins = platform.request(platform.default_clk, dir="-")
        locked, settled = Signal(), Signal()

        if self._pll:
            self._pll.connect(m, pins, locked)
        else:
            m.submodules.buffer = buffer = io.Buffer("i", pins)
            m.d.comb += [ClockSignal("sync").eq(buffer.i), locked.eq(1)]

        m.submodules.synchronizer = FFSynchronizer(locked, settled, o_domain="boot")
        # The highest bit ends the wait: whatever compared the count would lie in its path.
        cycles = int(_RESET_SECONDS * self._clock_mhz * 1e6)
        waited, reset = Signal(cycles.bit_length() + 1), Signal(init=1)
        m.d.boot += reset.eq(~waited[-1])
        with m.If(~settled):
            m.d.boot += waited.eq(0)
        with m.Elif(~waited[-1]):
            m.d.boot += waited.eq(waited + 1)
        m.d.comb += ResetSignal("sync").eq(reset)
        return m


class Top(Elaboratable):
    """``wrapper`` on the pins of ``board``, clocked at `made_clock_mhz`.

    Parameters
    ----------
    board : has a platform.
    wrapper : component with ``rx`` and ``tx``.
    clock_mhz : wanted clock.
    """

    def __init__(self, board: Board, wrapper: wiring.Component, clock_mhz: float) -> None:
        self._clocking = Clocking(board, clock_mhz)
        self._wrapper = wrapper

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = ClockDomain("sync")
        m.domains.boot = ClockDomain("boot", reset_less=True)
        m.submodules.clocking = self._clocking
        m.submodules.wrapper = wrapper = self._wrapper
        pins = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", pins.rx)
        m.submodules.tx = tx = io.Buffer("o", pins.tx)
        m.d.comb += [wrapper.rx.eq(rx.i), tx.o.eq(wrapper.tx)]
        return m


def stage_paths(accelerator: Graph | Loadable) -> list[str]:
    """Paths of the accelerator's stages in the flattened design of `board_top`, in their order."""
    inner = ".graph" if isinstance(accelerator, Loadable) else ""
    return [f"{ACCELERATOR}{inner}.{name}" for name in accelerator.names]


def board_top(board: Board, accelerator: wiring.Component, identity: Identity, *, i_port: Port,
              o_port: Port, clock_mhz: float | None = None) -> Top:
    """The design of ``accelerator`` on ``board``; ``clock_mhz`` is the board's unless given.

    Raises `PenjingError` where the board cannot make that clock, or the link's speed from it.
    """
    wanted = board.clock_mhz if clock_mhz is None else clock_mhz
    made = made_clock_mhz(board, wanted)
    wrapper = Wrapper(accelerator, identity, i_port=i_port, o_port=o_port,
                      divider=divider(made, board.baud),
                      timeout=int(_SILENCE_SECONDS * made * 1e6), technology=board.technology)
    return Top(board, wrapper, wanted)
