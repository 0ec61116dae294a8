"""Runs inside the simulator: the real host driver asks a simulated board over a line that is not
always good. `test_board.py` writes the job and reads the results."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from penjing.host import Link
from serial_line import PATIENCE_SECONDS, Damage, Line, converse, cut_off, nothing


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


@cocotb.test()
async def board_answers(dut: Any) -> None:
    folder = Path(cocotb.plusargs["penjing_job"])
    job = json.loads((folder / "job.json").read_text())
    frames = np.load(folder / "frames.npz")
    results, repeats = [], []

    def talk(line: Line) -> None:
        with Link(line.port, timeout=PATIENCE_SECONDS, clock=line.clock) as board:
            assert board.identity.digest.hex() == job["digest"]
            for frame, (request, answer, _) in zip(frames["images"], CASES.values(), strict=False):
                line.requests.append(request)
                line.answers.append(answer)
                before = board.repeats
                results.append(board.infer(frame))
                repeats.append(board.repeats - before)
                line.requests.clear()
                line.answers.clear()

    await converse(dut, job["divider"], talk)
    expected = [count for _, _, count in CASES.values()]
    assert repeats == expected[: len(frames["images"])], repeats
    assert np.array_equal(np.array(results), frames["golden"])
    (folder / "compared").write_text(str(frames["golden"].size))
