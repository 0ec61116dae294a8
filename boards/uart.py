"""A UART in two halves: 8 data bits, no parity, one stop bit, least significant bit first."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..compiler.ir import PenjingError
from ..hdl.checks import at_least

__all__ = ["UartReceiver", "UartTransmitter", "divider"]

_SLOTS = 10
"""Bits on the line for one byte: start, eight of data, stop."""
_LEAST = 4
"""Cycles a bit below which the middle of a bit cannot be found."""


def divider(clock_mhz: float, baud: int) -> int:
    """Clock cycles a bit; raises `PenjingError` where the speed would be off by more than 1.5 %."""
    cycles = round(clock_mhz * 1e6 / baud)
    if cycles < _LEAST or abs(clock_mhz * 1e6 / cycles / baud - 1) > 0.015:
        raise PenjingError(f"uart: {baud} baud cannot be made from {clock_mhz:g} MHz; "
                           f"choose a clock that is a multiple of it, at least {_LEAST} times")
    return cycles


class UartReceiver(wiring.Component):
    """Bytes from a line: ``o`` is 1 cycle long, in the middle of a byte's stop bit.

    The line is synchronised and filtered (majority of three cycles), each bit taken in its middle.
    A start bit that is not there in its middle, and a byte whose stop bit is 0, are dropped.

    Parameters
    ----------
    divider : clock cycles a bit, at least 4.

    Members
    -------
    rx : the line, idle 1; need not be synchronous.
    o : stream of bytes that cannot wait.
    """

    def __init__(self, divider: int) -> None:
        at_least(_LEAST, divider=divider)
        self._divider = divider
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        now = Signal(init=1)
        history = Signal(2, init=0b11)
        m.submodules.synchronizer = FFSynchronizer(self.rx, now, init=1)
        m.d.sync += history.eq(Cat(now, history))
        level = Signal()
        m.d.comb += level.eq((now & history[0]) | (history[1] & (now | history[0])))

        left = Signal(range(self._divider))
        slot = Signal(range(_SLOTS))
        m.d.sync += [self.o.valid.eq(0), left.eq(Mux(left == 0, self._divider - 1, left - 1))]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [left.eq(self._divider // 2 - 1), slot.eq(0)]
                with m.If(~level):
                    m.next = "BYTE"
            with m.State("BYTE"), m.If(left == 0):
                m.d.sync += slot.eq(slot + 1)
                with m.If(slot == _SLOTS - 1):
                    m.d.sync += self.o.valid.eq(level)
                    m.next = "STOP"
                with m.Else():
                    m.d.sync += self.o.payload.eq(Cat(self.o.payload[1:], level))
                with m.If((slot == 0) & level):
                    m.next = "IDLE"
            with m.State("STOP"), m.If(level):
                # A line that is held at 0 is no row of start bits.
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line: one byte in ``10 * divider + 1`` cycles.

    Parameters
    ----------
    divider : clock cycles a bit, at least 4.

    Members
    -------
    i : stream of bytes.
    tx : the line, idle 1, from a flip-flop.
    """

    def __init__(self, divider: int) -> None:
        at_least(_LEAST, divider=divider)
        self._divider = divider
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self._divider))
        slots = Signal(range(_SLOTS + 1))
        bits = Signal(_SLOTS - 1, reset_less=True)
        with m.If(slots == 0):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [self.tx.eq(0), bits.eq(Cat(self.i.payload, 1)), slots.eq(_SLOTS),
                             left.eq(self._divider - 1)]
        with m.Elif(left == 0):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1)), slots.eq(slots - 1),
                         left.eq(self._divider - 1)]
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return m
