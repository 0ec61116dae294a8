"""Runs inside the simulator: images that are no good ones, while a frame is on offer all the time.
`bench/damaged_images.py` writes the images and reads what became of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from penjing.hdl.loader import Status

PERIOD_NS = 10
SETTLED = 500
"""Cycles behind an image, far more than a loader takes to judge it."""


@cocotb.test()
async def none_runs(dut: Any) -> None:
    """The last image alone is good. Of each three, one is followed by the next without a pause."""
    folder = Path(str(cocotb.plusargs["penjing_job"]))
    sizes = json.loads((folder / "sizes.json").read_text())
    octets = (folder / "images").read_bytes()
    edge, ready, begun, statuses = dut.clk.rising_edge, dut.load__ready, [], []
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    dut.rst.value, dut.o__ready.value = 1, 1
    dut.i__valid.value, dut.i__payload.value = 1, 0
    dut.load__valid.value, dut.load__payload.value = 0, 0
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await edge

    async def frames() -> None:
        assert str(dut.i__ready.value) == "0"
        while True:
            await dut.i__ready.rising_edge
            begun.append(len(statuses))

    cocotb.start_soon(frames())
    start = cycles = 0
    for number, size in enumerate(sizes):
        dut.load__valid.value = 1
        for octet in octets[start:start + size]:
            dut.load__payload.value = octet
            await edge
            while str(ready.value) != "1":
                await ready.rising_edge
                await edge
        start += size
        cycles += size
        if number % 3 or number >= len(sizes) - 4:
            dut.load__valid.value = 0
            await ClockCycles(dut.clk, SETTLED)
            statuses.append(Status(int(dut.status.value)).name)
        else:
            statuses.append("FOLLOWED")
    (folder / "result.json").write_text(json.dumps({"statuses": statuses, "begun": begun}))
    assert begun == [len(sizes) - 1]
