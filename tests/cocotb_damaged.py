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
    """The last image alone is good. Of each three, one is followed by the next nearly at once."""
    folder = Path(str(cocotb.plusargs["penjing_job"]))
    job, octets = json.loads((folder / "job.json").read_text()), (folder / "images").read_bytes()
    sizes, chunk = job["sizes"], job["chunk"]
    begun: set[int] = set()
    statuses: list[str] = []
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    dut.rst.value, dut.o__ready.value = 1, 1
    dut.i__valid.value, dut.i__payload.value = 1, 0
    dut.go.value, dut.count.value, dut.octets.value = 0, 0, 0
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await dut.clk.rising_edge

    async def frames() -> None:
        """Note behind which images the frame comes in."""
        assert str(dut.i__ready.value) == "0"
        while True:
            await dut.i__ready.rising_edge
            begun.add(len(statuses))

    async def send(some: bytes) -> None:
        await dut.clk.rising_edge
        dut.octets.value, dut.count.value, dut.go.value = int.from_bytes(some, "little"), 0, 1
        await dut.clk.rising_edge
        dut.count.value, dut.go.value = len(some), 0
        await dut.busy.falling_edge

    cocotb.start_soon(frames())
    start = 0
    for number, size in enumerate(sizes):
        image = octets[start:start + size]
        start += size
        for place in range(0, size, chunk):
            await send(image[place:place + chunk])
        if number % 3 or number >= len(sizes) - 4:
            await ClockCycles(dut.clk, SETTLED)
            statuses.append(Status(int(dut.status.value)).name)
        else:
            statuses.append("FOLLOWED")
    (folder / "result.json").write_text(json.dumps({"statuses": statuses, "begun": sorted(begun)}))
    assert begun == {len(sizes) - 1}
