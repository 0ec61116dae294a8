"""Runs inside the simulator: a UART between the simulated board and a pseudo-terminal, which the
real host driver opens. `test_board.py` writes the job and reads the results."""

from __future__ import annotations

import json
import os
import pty
import random
import threading
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time
from penjing.boards.protocol import Decoder, Message
from penjing.host import Link

PERIOD_NS = 10
PATIENCE_SECONDS = 0.01
"""Of the simulation: on a busy machine the host would else lose patience with a slow simulator."""
Damage = Callable[[bytes], bytes]


def nothing(message: bytes) -> bytes:
    """The line is good."""
    return message


def behind_noise(message: bytes) -> bytes:
    """Noise before the message, the start of a message in it, and half a sync at its end."""
    return random.Random(1).randbytes(50) + b"\xa5\x5a\x01\x07\x99\x99\x99\x99 \xa5" + message


def wrong_checksum(message: bytes) -> bytes:
    """One bit of the checksum is wrong."""
    return message[:-2] + bytes([message[-2] ^ 0x10]) + message[-1:]


def wrong_pixel(message: bytes) -> bytes:
    """One bit of the payload is wrong."""
    return message[:11] + bytes([message[11] ^ 1]) + message[12:]


def wrong_length(message: bytes) -> bytes:
    """The claimed length is wrong."""
    return message[:4] + bytes([message[4] ^ 2]) + message[5:]


def cut_off(message: bytes) -> bytes:
    """The second half is missing."""
    return message[: len(message) // 2]


def swallowed(message: bytes) -> bytes:
    """Nothing arrives."""
    return b""


# What happens to one message, and how often the host must send it again.
CASES: dict[str, tuple[Damage, Damage, int]] = {
    "good": (nothing, nothing, 0),
    "good again": (nothing, nothing, 0),
    "behind noise": (behind_noise, nothing, 0),
    "wrong checksum": (wrong_checksum, nothing, 1),
    "wrong pixel": (wrong_pixel, nothing, 1),
    "good after damage": (nothing, nothing, 0),
    "wrong length": (wrong_length, nothing, 1),
    "cut off": (cut_off, nothing, 1),
    "swallowed": (swallowed, nothing, 1),
    "answer behind noise": (nothing, behind_noise, 0),
    "answer damaged": (nothing, wrong_pixel, 1),
    "answer cut off": (nothing, cut_off, 1),
    "good at last": (nothing, nothing, 0),
}


class Line:
    """A UART at the far end of the board's line, and a pseudo-terminal ``port`` behind it.

    The next message in either direction passes the first of ``requests`` or ``answers``, if any.
    ``seconds`` have been simulated so far.
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
        self.seconds = 0.0

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


def converse(line: Line, images: np.ndarray, outcome: dict[str, Any]) -> None:
    """What the host does, in a thread of its own; ``outcome`` gets results and repeats."""
    try:
        with Link(line.port, timeout=PATIENCE_SECONDS, clock=lambda: line.seconds) as board:
            outcome["digest"] = board.identity.digest.hex()
            for frame, (request, answer, _) in zip(images, CASES.values(), strict=False):
                line.requests.append(request)
                line.answers.append(answer)
                before = board.repeats
                outcome["results"].append(board.infer(frame))
                outcome["repeats"].append(board.repeats - before)
                line.requests.clear()
                line.answers.clear()
    except Exception as error:  # the thread's only way to tell
        outcome["error"] = repr(error)


@cocotb.test()
async def board_answers(dut: Any) -> None:
    folder = Path(cocotb.plusargs["penjing_job"])
    job = json.loads((folder / "job.json").read_text())
    frames = np.load(folder / "frames.npz")
    dut.rx.value = 1
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await Timer(10 * PERIOD_NS, "ns")
    dut.rst.value = 0

    line = Line(dut, job["divider"] * PERIOD_NS)
    cocotb.start_soon(line.to_board())
    cocotb.start_soon(line.to_host())
    outcome: dict[str, Any] = {"results": [], "repeats": []}
    host = threading.Thread(target=converse, args=(line, frames["images"], outcome), daemon=True)
    host.start()
    while host.is_alive():
        line.seconds = get_sim_time("sec")
        await Timer(100 * PERIOD_NS, "ns")

    assert "error" not in outcome, outcome["error"]
    assert outcome["digest"] == job["digest"]
    expected = [repeats for _, _, repeats in CASES.values()]
    assert outcome["repeats"] == expected[: len(frames["images"])], outcome["repeats"]
    assert np.array_equal(np.array(outcome["results"]), frames["golden"])
    (folder / "compared").write_text(str(frames["golden"].size))
