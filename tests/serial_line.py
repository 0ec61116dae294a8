"""Inside the simulator: a UART between the simulated board and a pseudo-terminal, which the real
host driver opens."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time
from penjing.boards.protocol import Decoder, Message

PERIOD_NS = 10
PATIENCE_SECONDS = 0.01
"""Of the simulation, see `Line.clock`."""
_TICK_NS = 200_000
Damage = Callable[[bytes], bytes]


def nothing(message: bytes) -> bytes:
    """The line is good."""
    return message


def cut_off(message: bytes) -> bytes:
    """The second half is missing."""
    return message[: len(message) // 2]


class Line:
    """A UART at the far end of the board's line, and a pseudo-terminal ``port`` behind it.

    The next message in either direction passes the first of ``requests`` or ``answers``, if any.
    """

    def __init__(self, dut: Any, bit_ns: int) -> None:
        self._dut = dut
        self._bit_ns = bit_ns
        self._pty, self._terminal = pty.openpty()
        tty.setraw(self._terminal)
        os.set_blocking(self._pty, False)
        self.port = os.ttyname(self._terminal)
        self.requests: deque[Damage] = deque()
        self.answers: deque[Damage] = deque()
        self._asked = threading.Semaphore(0)
        self._told = threading.Semaphore(0)
        self._seconds = 0.0
        self._is_free = False

    def clock(self) -> float:
        """Let the simulation run for a tick; the seconds simulated so far.

        The host's clock. The simulation stands while the host does anything else, so that neither
        loses patience with the other, however busy the machine is.
        """
        self._asked.release()
        self._told.acquire()
        return self._seconds

    @contextmanager
    def free(self) -> Iterator[None]:
        """The simulation runs by itself, for a host in another process."""
        self._is_free = True
        try:
            yield
        finally:
            self._is_free = False

    async def follow(self, host: threading.Thread) -> None:
        """Simulate a tick whenever the host asks for the time, as long as it lives."""
        while True:
            while not self._asked.acquire(timeout=0.01):
                if not host.is_alive():
                    return
                while self._is_free:
                    await Timer(_TICK_NS // 200, "ns")
            await Timer(_TICK_NS, "ns")
            self._seconds = get_sim_time("sec")
            self._told.release()

    async def to_board(self) -> None:
        """Carry what the host writes, message by message."""
        decoder = Decoder(1 << 20)
        while True:
            for message in decoder.feed(self._read()):
                for octet in self._pass(self.requests, message):
                    await self._send(octet)
            await Timer(20 * self._bit_ns, "ns")

    async def to_host(self) -> None:
        """Carry what the board sends, message by message."""
        decoder = Decoder(1 << 20)
        while True:
            for message in decoder.feed(bytes([await self._receive()])):
                os.write(self._pty, self._pass(self.answers, message))

    @staticmethod
    def _pass(damages: deque[Damage], message: Message) -> bytes:
        return (damages.popleft() if damages else nothing)(message.encode())

    def _read(self) -> bytes:
        try:
            return os.read(self._pty, 4096)
        except BlockingIOError:
            return b""

    async def _send(self, octet: int) -> None:
        for level in (0, *(octet >> n & 1 for n in range(8)), 1):
            self._dut.rx.value = level
            await Timer(self._bit_ns, "ns")

    async def _receive(self) -> int:
        if self._dut.tx.value == 1:
            await FallingEdge(self._dut.tx)
        await Timer(self._bit_ns // 2, "ns")
        octet = 0
        for n in range(9):
            await Timer(self._bit_ns, "ns")
            octet |= int(self._dut.tx.value) << n
        assert octet >> 8, "the board sent a byte without a stop bit"
        return octet & 0xFF


async def converse(dut: Any, divider: int, talk: Callable[[Line], None]) -> None:
    """Let the host ``talk`` to the board, whose line has so many cycles a bit, in a thread."""
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await Timer(10 * PERIOD_NS, "ns")
    dut.rst.value = 0
    line = Line(dut, divider * PERIOD_NS)
    cocotb.start_soon(line.to_board())
    cocotb.start_soon(line.to_host())
    errors: list[Exception] = []

    def run() -> None:
        try:
            talk(line)
        except Exception as error:  # the thread's only way to tell
            errors.append(error)

    host = threading.Thread(target=run, daemon=True)
    host.start()
    await line.follow(host)
    if errors:
        raise errors[0]
