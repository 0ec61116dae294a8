"""The one cocotb module: sends a job's frames through a design, compares what comes out, times it.

It runs inside the simulator, started by `penjing.sim.cosim`; the plusarg ``+penjing_job=FOLDER``
names the folder with ``job.json``, ``frames.npz`` and ``image_<frame>``, where it leaves
``result.json`` and ``progress`` (one byte a frame).

Python wakes where something can move, not in each cycle. What it reads at the rising edge of
``clk`` is what the flip-flops see at that edge, and what it writes there arrives after it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import Task
from cocotb.triggers import Event, Timer
from cocotb.utils import get_sim_time

from .beats import Integers, StreamFormat

PERIOD = 10_000  # simulator steps (ps) a cycle
RESET_CYCLES = 3
DRAIN_CYCLES = 64  # a beat too many must come this soon to be noticed
KEPT = 8  # mismatches and faults told one by one

Frames = list[list[int]]
"""Payloads of an input stream, frame by frame."""


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


class Handles:
    """The signals of one of the design's streams."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self.payload, self.valid, self.ready = (
            getattr(dut, f"{name}__{signal}") for signal in ("payload", "valid", "ready"))


class Stream(Handles):
    """A stream of frames."""

    def __init__(self, dut: Any, name: str, form: StreamFormat) -> None:
        super().__init__(dut, name)
        self.format = form
        assert len(self.payload) == form.width, \
            f"{name}.payload is {len(self.payload)} bits, not {form.width}"


class Ports:
    """The design's clock, reset and streams; the last of ``formats`` is that of the output.

    ``load`` is the stream of bytes of a design that is loaded.
    """

    def __init__(self, dut: Any, formats: dict[str, StreamFormat], *, is_loaded: bool) -> None:
        self.clk, self.rst = dut.clk, dut.rst
        *self.inputs, self.o = (Stream(dut, name, form) for name, form in formats.items())
        self.load = Handles(dut, "load") if is_loaded else None
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
        """Back to the initial state, all streams idle."""
        self.rst.value, self.o.ready.value = 1, 0
        for i in (*self.inputs, *filter(None, [self.load])):
            i.valid.value, i.payload.value = 0, 0
        await self.cycles(RESET_CYCLES)
        self.rst.value = 0

    async def pause(self, pattern: Iterator[tuple[int, bool]]) -> None:
        """The sink's ``ready``."""
        for length, pause in pattern:
            self.o.ready.value = not pause
            await self.cycles(length)


class Source:
    """Gives ``payloads`` to an input stream, and notes how many were taken and the first when.

    ``begun`` is set as that happens.
    """

    def __init__(self, ports: Ports, stream: Handles, payloads: list[int]) -> None:
        self.ports, self.stream, self.payloads = ports, stream, payloads
        self.taken = 0
        self.first: int | None = None
        self.begun = Event()

    async def send(self, pattern: Iterator[tuple[int, bool]]) -> None:
        """Send all; pauses fall between beats only, since ``valid`` holds until one is taken."""
        edge, stream = self.ports.edge, self.stream
        payloads = iter(self.payloads)
        for length, pause in pattern:
            if pause:
                stream.valid.value = 0
                await self.ports.cycles(length)
                continue
            for _ in range(length):
                payload = next(payloads, None)
                if payload is None:
                    stream.valid.value = 0
                    return
                stream.payload.value, stream.valid.value = payload, 1
                await edge
                while not high(stream.ready):
                    await stream.ready.rising_edge
                    await edge
                if self.first is None:
                    self.first = cycle()
                    self.begun.set()
                self.taken += 1


def high(signal: Any) -> bool:
    """Whether a one-bit signal is 1; an undefined one is not."""
    return str(signal.value) == "1"


def cycle() -> int:
    """Number of the present clock cycle."""
    return int(get_sim_time("step")) // PERIOD


class Turn:
    """Frames of all input streams, behind an image if the design is loaded."""

    def __init__(self, ports: Ports, image: bytes, frames: list[Frames]) -> None:
        self.sources = [Source(ports, stream, [beat for frame in sent for beat in frame])
                        for stream, sent in zip(ports.inputs, frames, strict=True)]
        self.load = None if ports.load is None else Source(ports, ports.load, list(image))

    @property
    def senders(self) -> list[Source]:
        """All of them."""
        return [*self.sources, *filter(None, [self.load])]


class Run:
    """One stall pattern: images, all frames, and what is found.

    ``images`` are by number of the frame that each comes before.
    """

    def __init__(self, ports: Ports, images: dict[int, bytes], frames: list[Frames],
                 golden: Integers, progress: BinaryIO) -> None:
        self.ports, self.golden, self.progress = ports, golden, progress
        starts = [*images] or [0]
        self.turns = [Turn(ports, images.get(start, b""), [sent[start:end] for sent in frames])
                      for start, end in zip(starts, [*starts[1:], len(golden)], strict=True)]
        self.senders = [source for turn in self.turns for source in turn.senders]
        self.tasks: list[Task[None]] = []
        self.got = 0
        self.frame_ends: list[int] = []
        self.values_compared = self.mismatches = 0
        self.first_mismatches: list[dict[str, int | None]] = []
        self.faults: list[str] = []
        self.done = Event()

    def fault(self, text: str) -> None:
        """Note a broken rule; only the first few are kept."""
        if len(self.faults) < KEPT:
            self.faults.append(f"cycle {cycle()}: {text}")

    @property
    def first_input(self) -> int | None:
        """The cycle in which the first beat of any source was taken."""
        return min((source.first for source in self.turns[0].sources
                    if source.first is not None), default=None)

    async def drive(self, watchdog: int, stalls: tuple[bool, bool], seed: int) -> None:
        """Send all frames and collect as many, or give up after ``watchdog`` idle cycles."""
        count = len(self.turns[0].senders)
        patterns = [bursts(stalls[0], seed + n) for n in range(count)]
        sending = self._start(self._send(patterns))
        self._start(self.ports.pause(bursts(stalls[1], seed + count)))
        self._start(self._collect(sending))
        self._start(self._watch(watchdog))
        await self.done.wait()
        for task in self.tasks:
            task.cancel()

    def _start(self, task: Coroutine[Any, Any, None]) -> Task[None]:
        self.tasks.append(cocotb.start_soon(task))
        return self.tasks[-1]

    async def _send(self, patterns: list[Iterator[tuple[int, bool]]]) -> None:
        """Turn after turn. Frames are on offer before the first image is; those behind another one
        are not before it has begun, since until then they are the last image's."""
        for number, turn in enumerate(self.turns):
            if number and turn.load is not None:
                senders = [self._start(turn.load.send(patterns[-1]))]
                await turn.load.begun.wait()
                waiting = turn.sources
            else:
                senders, waiting = [], turn.senders
            senders += [self._start(source.send(pattern))
                        for source, pattern in zip(waiting, patterns, strict=False)]
            for sender in senders:
                await sender

    async def _collect(self, sending: Task[None]) -> None:
        """Sink: judge each beat that moves, and the hold rule while none does."""
        edge, o, held = self.ports.edge, self.ports.o, None
        beats = o.format.beats(self.golden.shape[1])
        frame: list[str] = []
        while len(self.frame_ends) < len(self.golden):
            if not high(o.valid):
                await o.valid.rising_edge
            await edge
            while valid := high(o.valid):
                payload = str(o.payload.value)
                if held is not None and payload != held:
                    self.fault("o.payload changed before it was taken")
                if high(o.ready):
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
                await edge
            if not valid and held is not None:
                self.fault("o.valid fell before the beat was taken")
                held = None
        await self._drain()
        await sending  # what a frame does not need is taken all the same
        self.done.set()

    def _judge(self, payloads: list[str]) -> None:
        index = len(self.frame_ends)
        self.frame_ends.append(cycle())
        values, undefined, last = self.ports.o.format.decode(payloads)
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
            if high(self.ports.o.valid):
                self.fault(f"a beat more than the {self.got} expected came out")
                return

    async def _watch(self, watchdog: int) -> None:
        moved, now = -1, 0
        while moved != now:
            moved = now
            await Timer(watchdog * PERIOD)
            now = sum(source.taken for source in self.senders) + self.got
        expected = self.ports.o.format.beats(self.golden.shape[1]) * len(self.golden)
        moves = [f"{source.taken} of {len(source.payloads)} at {source.stream.name}"
                 for source in self.senders]
        self.fault(f"beats: {', '.join(moves)}, {self.got} of {expected} at o, then none in "
                   f"{watchdog} cycles")
        self.done.set()


async def abandon(ports: Ports, image: bytes, frames: list[list[int]], watchdog: int) -> None:
    """Send half of a frame, or as much as is taken: the reset that follows comes in mid-frame.

    Where an ``image`` comes first, it is half of that.
    """
    sources = [Source(ports, stream, frame[: len(frame) // 2 + 1])
               for stream, frame in zip(ports.inputs, frames, strict=True)]
    if ports.load is not None:
        sources.append(Source(ports, ports.load, list(image[: len(image) // 2])))
    ports.o.ready.value = 1
    tasks = [cocotb.start_soon(source.send(bursts(False, 0))) for source in sources]
    for _ in range(watchdog // 64):
        await ports.cycles(64)
        # The halves need not match, so that of another stream may have to wait for ever.
        if any(source.taken == len(source.payloads) for source in sources):
            break
    for task in tasks:
        task.cancel()


@cocotb.test()
async def frames_match(dut: Any) -> None:
    """All frames of the job come out as the golden model says, under each stall pattern."""
    folder = Path(str(cocotb.plusargs["penjing_job"]))
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "frames.npz", allow_pickle=False) as arrays:
        *inputs, golden = arrays.values()
    images = {start: (folder / f"image_{start}").read_bytes() for start in job["images"]}
    ports = Ports(dut, {name: StreamFormat(**form) for name, form in job["streams"].items()},
                  is_loaded=bool(images))
    frames = [list(map(stream.format.encode, sent))
              for stream, sent in zip(ports.inputs, inputs, strict=True)]
    Clock(ports.clk, PERIOD, unit="step").start(start_high=False)
    await ports.reset()
    results = []
    with (folder / "progress").open("wb") as progress:
        for index, stalls in enumerate(job["stalls"]):
            if index:
                await abandon(ports, images.get(0, b""), [sent[0] for sent in frames],
                              job["watchdog"])
                await ports.reset()
            began, start = time.perf_counter(), cycle()
            run = Run(ports, images, frames, golden, progress)
            await run.drive(job["watchdog"], tuple(stalls),
                            job["seed"] + len(job["streams"]) * index)
            results.append({
                "first_input": run.first_input, "frame_ends": run.frame_ends,
                "values_compared": run.values_compared, "mismatches": run.mismatches,
                "first_mismatches": run.first_mismatches, "faults": run.faults,
                "cycles": cycle() - start, "seconds": time.perf_counter() - began})
    (folder / "result.json").write_text(json.dumps(results))
    assert not any(result["mismatches"] or result["faults"] for result in results)
