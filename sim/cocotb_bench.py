"""The one cocotb module: sends a job's frames through a design, compares what comes out, times it.

It runs inside the simulator, started by `penjing.sim.cosim`; the plusarg ``+penjing_job=FOLDER``
names the folder with ``job.json`` and ``frames.npz``, where it leaves ``result.json`` and
``progress`` (one byte a frame).

Python wakes where something can move, not in each cycle. What it reads at the rising edge of
``clk`` is what the flip-flops see at that edge, and what it writes there arrives after it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Event, Timer
from cocotb.utils import get_sim_time

from .beats import Integers, StreamFormat

PERIOD = 10_000  # simulator steps (ps) a cycle
RESET_CYCLES = 3
DRAIN_CYCLES = 64  # a beat too many must come this soon to be noticed
KEPT = 8  # mismatches and faults told one by one


def bursts(active: bool, seed: int) -> Iterator[tuple[int, bool]]:
    """Endless (cycles, pause): short bursts of both kinds, now and then a pause that is long enough
    to fill a pipeline or to run it dry; without ``active`` no pause at all."""
    generator = random.Random(seed)
    while True:
        length = generator.choice((1, 1, 2, 3, 8))
        if not active:
            yield 1 << 30, False
        elif generator.random() < 0.5:
            yield length, False
        else:
            yield generator.randrange(16, 2048) if generator.random() < 0.03 else length, True


class Ports:
    """The design's clock, reset and two streams."""

    def __init__(self, dut: Any) -> None:
        self.clk, self.rst = dut.clk, dut.rst
        self.i_payload, self.i_valid, self.i_ready = dut.i__payload, dut.i__valid, dut.i__ready
        self.o_payload, self.o_valid, self.o_ready = dut.o__payload, dut.o__valid, dut.o__ready
        self.edge = dut.clk.rising_edge

    async def cycles(self, count: int) -> None:
        """From one rising edge to the one ``count`` cycles later, in at most three wake-ups."""
        if count > 2:
            # Wake while the clock is low: a timer on the edge itself would race with the clock.
            await Timer(count * PERIOD - PERIOD // 2)
            count = 1
        for _ in range(count):
            await self.edge

    async def reset(self) -> None:
        """Back to the initial state, both streams idle."""
        self.rst.value, self.i_valid.value, self.o_ready.value = 1, 0, 0
        self.i_payload.value = 0
        await self.cycles(RESET_CYCLES)
        self.rst.value = 0

    async def send(self, payloads: Iterator[int], pattern: Iterator[tuple[int, bool]],
                   taken: list[int]) -> None:
        """Source: give each payload and count it in ``taken[0]``; pauses fall between beats only,
        since ``valid`` holds until the beat is taken."""
        for length, pause in pattern:
            if pause:
                self.i_valid.value = 0
                await self.cycles(length)
                continue
            for _ in range(length):
                payload = next(payloads, None)
                if payload is None:
                    self.i_valid.value = 0
                    return
                self.i_payload.value, self.i_valid.value = payload, 1
                await self.edge
                while not high(self.i_ready):
                    await self.i_ready.rising_edge
                    await self.edge
                taken[0] += 1

    async def pause(self, pattern: Iterator[tuple[int, bool]]) -> None:
        """The sink's ``ready``."""
        for length, pause in pattern:
            self.o_ready.value = not pause
            await self.cycles(length)


def high(signal: Any) -> bool:
    """Whether a one-bit signal is 1; an undefined one is not."""
    return str(signal.value) == "1"


def cycle() -> int:
    """Number of the present clock cycle."""
    return int(get_sim_time("step")) // PERIOD


class Run:
    """One stall pattern: all frames, and what is found."""

    def __init__(self, ports: Ports, o_format: StreamFormat, golden: Integers,
                 progress: BinaryIO) -> None:
        self.ports = ports
        self.format, self.golden, self.progress = o_format, golden, progress
        self.sent, self.got = [0], 0
        self.first_input: int | None = None
        self.frame_ends: list[int] = []
        self.values_compared = self.mismatches = 0
        self.first_mismatches: list[dict[str, int | None]] = []
        self.faults: list[str] = []
        self.done = Event()

    def fault(self, text: str) -> None:
        """Note a broken rule; only the first few are kept."""
        if len(self.faults) < KEPT:
            self.faults.append(f"cycle {cycle()}: {text}")

    async def drive(self, frames: list[list[int]], watchdog: int, stalls: tuple[bool, bool],
                    seed: int) -> None:
        """Send all frames and collect as many, or give up after ``watchdog`` idle cycles."""
        payloads = (payload for frame in frames for payload in frame)
        tasks = [cocotb.start_soon(task) for task in (
            self.ports.send(payloads, bursts(stalls[0], seed), self.sent),
            self.ports.pause(bursts(stalls[1], seed + 1)),
            self._first_input(),
            self._collect(),
            self._watch(watchdog, sum(map(len, frames))))]
        await self.done.wait()
        for task in tasks:
            task.cancel()

    async def _first_input(self) -> None:
        while True:
            await self.ports.edge
            if high(self.ports.i_valid) and high(self.ports.i_ready):
                self.first_input = cycle()
                return

    async def _collect(self) -> None:
        """Sink: judge each beat that moves, and the hold rule while none does."""
        ports, held = self.ports, None
        beats = self.format.beats(self.golden.shape[1])
        frame: list[str] = []
        while len(self.frame_ends) < len(self.golden):
            if not high(ports.o_valid):
                await ports.o_valid.rising_edge
            await ports.edge
            while valid := high(ports.o_valid):
                payload = str(ports.o_payload.value)
                if held is not None and payload != held:
                    self.fault("o.payload changed before it was taken")
                if high(ports.o_ready):
                    held = None
                    self.got += 1
                    frame.append(payload)
                    if len(frame) == beats:
                        self._judge(frame)
                        frame = []
                        if len(self.frame_ends) == len(self.golden):
                            break
                else:
                    held = payload
                await ports.edge
            if not valid and held is not None:
                self.fault("o.valid fell before the beat was taken")
                held = None
        await self._drain()
        self.done.set()

    def _judge(self, payloads: list[str]) -> None:
        index = len(self.frame_ends)
        self.frame_ends.append(cycle())
        values, undefined, last = self.format.decode(payloads)
        if last != [False] * (len(last) - 1) + [True]:
            places = [beat for beat, is_last in enumerate(last) if is_last]
            self.fault(f"frame {index}: last is in beats {places} of {len(last)}, not in the "
                       f"final one alone")
        expected = self.golden[index]
        wrong = np.flatnonzero((values != expected) | undefined)
        self.values_compared += values.size
        self.mismatches += wrong.size
        for element in wrong[: KEPT - len(self.first_mismatches)]:
            self.first_mismatches.append({
                "frame": index, "element": int(element), "expected": int(expected[element]),
                "got": None if undefined[element] else int(values[element])})
        self.progress.write(b".")
        self.progress.flush()

    async def _drain(self) -> None:
        for _ in range(DRAIN_CYCLES):
            await self.ports.edge
            # The edge that took the final beat is behind us: what is valid now is a beat too many.
            if high(self.ports.o_valid):
                self.fault(f"a beat more than the {self.got} expected came out")
                return

    async def _watch(self, watchdog: int, beats: int) -> None:
        moved = -1
        while moved != self.sent[0] + self.got:
            moved = self.sent[0] + self.got
            await Timer(watchdog * PERIOD)
        expected = self.format.beats(self.golden.shape[1]) * len(self.golden)
        self.fault(f"{self.sent[0]} of {beats} beats went in and {self.got} of {expected} came "
                   f"out, then none in {watchdog} cycles")
        self.done.set()


async def abandon(ports: Ports, frame: list[int], watchdog: int) -> None:
    """Send half of a frame, or as much as is taken: the reset that follows comes in mid-frame."""
    half = frame[: len(frame) // 2 + 1]
    taken = [0]
    ports.o_ready.value = 1
    task = cocotb.start_soon(ports.send(iter(half), bursts(False, 0), taken))
    for _ in range(watchdog // 64):
        await ports.cycles(64)
        if taken[0] == len(half):
            break
    task.cancel()


@cocotb.test()
async def frames_match(dut: Any) -> None:
    """All frames of the job come out as the golden model says, under each stall pattern."""
    folder = Path(str(cocotb.plusargs["penjing_job"]))
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "frames.npz", allow_pickle=False) as arrays:
        inputs, golden = arrays["inputs"], arrays["golden"]
    i_format, o_format = StreamFormat(**job["i"]), StreamFormat(**job["o"])
    ports = Ports(dut)
    for port, stream in ((ports.i_payload, i_format), (ports.o_payload, o_format)):
        assert len(port) == stream.width, f"{port._name} is {len(port)} bits, not {stream.width}"
    frames = [i_format.encode(frame) for frame in inputs]
    Clock(ports.clk, PERIOD, unit="step").start(start_high=False)
    await ports.reset()
    results = []
    with (folder / "progress").open("wb") as progress:
        for index, stalls in enumerate(job["stalls"]):
            if index:
                await abandon(ports, frames[0], job["watchdog"])
                await ports.reset()
            began, start = time.perf_counter(), cycle()
            run = Run(ports, o_format, golden, progress)
            await run.drive(frames, job["watchdog"], tuple(stalls), job["seed"] + 2 * index)
            results.append({
                "first_input": run.first_input, "frame_ends": run.frame_ends,
                "values_compared": run.values_compared, "mismatches": run.mismatches,
                "first_mismatches": run.first_mismatches, "faults": run.faults,
                "cycles": cycle() - start, "seconds": time.perf_counter() - began})
    (folder / "result.json").write_text(json.dumps(results))
    assert not any(result["mismatches"] or result["faults"] for result in results)
