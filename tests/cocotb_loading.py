"""Runs inside the simulator: ``penjing load`` gives a simulated board its weights, over and over.
`test_board.py` writes the job and reads the results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import pytest
from penjing import PenjingError, flow
from penjing.boards.protocol import CRC_BYTES, HEADER_BYTES, Kind, Message
from penjing.host import Link
from serial_line import PATIENCE_SECONDS, Damage, Line, converse, cut_off, nothing

SLOW_BAUD = 300
"""What the command is told: it waits by the wall's clock, and a simulator is slow."""


def of_another_shape(image: bytes) -> bytes:
    """The digest in its head is another one."""
    return image[:9] + bytes(8) + image[17:]


def one_byte_flipped(image: bytes) -> bytes:
    """A byte of the codes is another one."""
    return image[:-9] + bytes([image[-9] ^ 0xFF]) + image[-8:]


def ends_early(image: bytes) -> bytes:
    """The last bytes are missing."""
    return image[:-20]


BAD = {one_byte_flipped: "it is damaged", ends_early: "it is cut off",
       of_another_shape: "it is for another shape"}


def resent(damage: Damage) -> Damage:
    """The host itself sends a bad image: the message around it is good."""
    def change(message: bytes) -> bytes:
        image = message[HEADER_BYTES:-CRC_BYTES]
        return Message(Kind.LOAD, message[3], damage(image)).encode()
    return change


@cocotb.test()
async def board_is_loaded(dut: Any) -> None:
    folder = Path(cocotb.plusargs["penjing_job"])
    job = json.loads((folder / "job.json").read_text())
    frames = np.load(folder / "frames.npz")
    identity = flow.Project.open(job["project"]).identity
    compared = 0

    def talk(line: Line) -> None:
        def load(model: str, *damages: Damage) -> tuple[int, str]:
            """What ``penjing load`` says; its first message asks who the board is."""
            line.requests.extend((nothing, *damages))
            with line.free():
                done = subprocess.run(
                    [job["python"], "-m", "penjing", "load", job["project"],
                     str(folder / f"{model}.penjing"), "--port", line.port, "--baud",
                     str(SLOW_BAUD), "--json"],
                    capture_output=True, text=True, check=False)
            assert not line.requests
            return done.returncode, done.stderr

        def link() -> Link:
            return Link(line.port, timeout=PATIENCE_SECONDS, clock=line.clock,
                        expected=identity)

        def refuses_frames() -> None:
            with link() as board, pytest.raises(PenjingError, match="it has no good weights; "):
                board.infer(frames["images"][0])
            assert board.repeats == 0

        def answers(model: str) -> None:
            nonlocal compared
            with link() as board:
                results = np.array([board.infer(image) for image in frames["images"]])
            assert np.array_equal(results, frames[model])
            compared += results.size

        refuses_frames()
        assert load("first") == (0, "")
        answers("first")
        assert load("second") == (0, "")
        answers("second")
        for damage, why in BAD.items():
            status, complaint = load("first", resent(damage))
            assert status == 2
            assert complaint.startswith(f"penjing: error: {line.port}: the board refuses the image")
            assert complaint.count("\n") == 1
            assert why in complaint
            refuses_frames()
        # A bad line costs a repetition, no more.
        assert load("first", cut_off) == (0, "")
        answers("first")

    await converse(dut, job["divider"], talk)
    (folder / "compared").write_text(str(compared))
