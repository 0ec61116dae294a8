"""Verilog against the golden model: runs a design in a simulator under cocotb and reports.

The job goes to `penjing.sim.cocotb_bench`, inside the simulator, as a JSON and an npz file; the
folder that holds them is named by a plusarg.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.ir import PenjingError
from ..hdl.emit import MEMORIES, Verilog
from .beats import Integers, StreamFormat
from .simulators import Build, Simulator, build, check_wave, fresh_folder
from .streams import Stalls

__all__ = ["Job", "Mismatch", "PatternReport", "Report", "Simulator", "Source", "StreamFormat",
           "simulate"]

Progress = Callable[[int, int], None]

_TOP = "design"
"""What a simulator calls the module: simulators keep other names for themselves, such as TOP."""
_SHORTEST_WATCHDOG = 4096  # above the bench's longest pause


@dataclass(frozen=True, eq=False)
class Source:
    """What to send into the input stream ``name``: integers, (frames, elements), in its order.

    Raises `ValueError` for frames that do not fit the stream.
    """

    format: StreamFormat
    frames: Integers
    name: str = "i"

    def __post_init__(self) -> None:
        self.format.check(self.frames)


@dataclass(frozen=True, eq=False)
class Job:
    """What to send and what must come out.

    Each of ``sources`` has a stream of its own; ``golden`` are the integers, (frames, elements), in
    the order of the stream ``o``. If the design has a byte stream ``load``, ``images`` go into it,
    each before the frame of its number, the first before frame 0; frames wait for it. Each of
    ``stalls`` is run once; ``seed`` draws the pauses; ``watchdog`` is the number of cycles without
    a beat on any stream after which a pattern is given up. Raises `ValueError` for arrays that do
    not fit the stream or each other.
    """

    sources: tuple[Source, ...]
    o: StreamFormat
    golden: Integers
    stalls: tuple[Stalls, ...] = tuple(Stalls)
    seed: int = 0
    watchdog: int = 200_000
    images: Mapping[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.o.check(self.golden)
        names = [source.name for source in self.sources]
        if not names or len({*names, "o"}) != len(names) + 1:
            raise ValueError(f"sources must have different names, at least one and none of them "
                             f"o, not {names!r}")
        for source in self.sources:
            if len(source.frames) != len(self.golden):
                raise ValueError(f"{source.name} and golden must be equally many frames, not "
                                 f"{len(source.frames)} and {len(self.golden)}")
        starts = [*self.images]
        if starts and (starts != sorted(starts) or starts[0] != 0
                       or starts[-1] >= len(self.golden)):
            raise ValueError(f"images must come before frames from 0 on, in their order, not "
                             f"{starts!r} of {len(self.golden)}")
        if not self.stalls or len(set(self.stalls)) != len(self.stalls):
            raise ValueError(f"stalls must be different patterns, at least one, not "
                             f"{self.stalls!r}")
        if self.watchdog < _SHORTEST_WATCHDOG:
            raise ValueError(f"watchdog must be at least {_SHORTEST_WATCHDOG} cycles, not "
                             f"{self.watchdog!r}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed!r}")

    @property
    def streams(self) -> dict[str, StreamFormat]:
        """All streams by name, ``o`` last."""
        return {**{source.name: source.format for source in self.sources}, "o": self.o}


@dataclass(frozen=True)
class Mismatch:
    """A value that differs; ``got`` is None where it was undefined (X)."""

    frame: int
    element: int
    expected: int
    got: int | None


@dataclass(frozen=True)
class PatternReport:
    """What one stall pattern showed.

    ``first_input`` is the cycle in which the first beat of any source was taken, ``frame_ends``
    those in which each frame's last beat was given, all on one count. ``first_mismatches`` are the
    first few of ``mismatches``; ``faults`` the first few broken rules of the stream protocol.
    ``cycles`` and ``seconds`` are what the pattern took to simulate.
    """

    stalls: Stalls
    frames: int
    first_input: int | None
    frame_ends: tuple[int, ...]
    values_compared: int
    mismatches: int
    first_mismatches: tuple[Mismatch, ...]
    faults: tuple[str, ...]
    cycles: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all frames came out, equal to the golden model, by the rules."""
        return not self.mismatches and not self.faults and len(self.frame_ends) == self.frames

    @property
    def intervals(self) -> tuple[int, ...]:
        """Cycles from the end of each frame to that of the next."""
        return tuple(b - a for a, b in itertools.pairwise(self.frame_ends))

    @property
    def cycles_per_frame(self) -> int | None:
        """Steady-state initiation interval: the median of the later half of `intervals`.

        None with fewer than two frames.
        """
        later = self._later_intervals
        return statistics.median_high(later) if later else None

    @property
    def is_steady(self) -> bool:
        """Whether all of the later half of `intervals` are equal, and they are at least two."""
        return len(self._later_intervals) > 1 and len(set(self._later_intervals)) == 1

    @property
    def _later_intervals(self) -> tuple[int, ...]:
        return self.intervals[len(self.intervals) // 2 :]

    @property
    def latency_cycles(self) -> int | None:
        """Clock edges from the one that takes the first beat to the one that ends frame 0.

        None where frame 0 never came out.
        """
        if self.first_input is None or not self.frame_ends:
            return None
        return self.frame_ends[0] - self.first_input


@dataclass(frozen=True)
class Report:
    """What a simulation showed, pattern by pattern; ``log`` is kept where something failed."""

    patterns: tuple[PatternReport, ...]
    build: Build
    log: Path | None

    @property
    def passed(self) -> bool:
        """Whether every pattern passed."""
        return all(pattern.passed for pattern in self.patterns)

    @property
    def values_compared(self) -> int:
        """Output values compared with the golden model, over all patterns."""
        return sum(pattern.values_compared for pattern in self.patterns)

    @property
    def mismatches(self) -> int:
        """Output values that differ from the golden model, over all patterns."""
        return sum(pattern.mismatches for pattern in self.patterns)

    @property
    def faults(self) -> tuple[str, ...]:
        """Broken stream rules, each with its pattern."""
        return tuple(f"stalls {pattern.stalls.value}, {fault}"
                     for pattern in self.patterns for fault in pattern.faults)

    @property
    def cycles_per_frame(self) -> int | None:
        """That of the pattern without stalls; None if it was not run or had one frame."""
        unstalled = self._unstalled
        return unstalled.cycles_per_frame if unstalled else None

    @property
    def latency_cycles(self) -> int | None:
        """That of the pattern without stalls; None if it was not run or gave no frame."""
        unstalled = self._unstalled
        return unstalled.latency_cycles if unstalled else None

    @property
    def _unstalled(self) -> PatternReport | None:
        return next((p for p in self.patterns if p.stalls is Stalls.NONE), None)

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation."""
        return (sum(pattern.cycles for pattern in self.patterns)
                / max(sum(pattern.seconds for pattern in self.patterns), 1e-9))


def simulate(verilog: Verilog, top: str, job: Job, *, cache: Path,
             simulator: Simulator = Simulator.VERILATOR, wave: Path | None = None,
             progress: Progress | None = None) -> Report:
    """Run module ``top`` of ``verilog`` on ``job`` and compare all that comes out.

    The simulator is built once per design and kept in ``cache``; all patterns run in one process,
    all frames of a pattern back to back. Each pattern but the first begins with a reset in
    mid-frame. ``wave`` names a waveform to write (.vcd or .fst), which is slow and large: give such
    a job few frames. ``progress(done, total)`` is called, in this thread, as frames come out,
    patterns times frames in all.

    A design that differs from the golden model, breaks the stream protocol or stands still is in
    the report. Raises `PenjingError` where a tool is missing or fails, or nothing was compared
    though nothing failed.
    """
    if wave is not None:
        check_wave(wave, simulator)
    ports = ["clk", "rst", *(f"{stream}__{signal}" for stream in job.streams
                             for signal in ("payload", "valid", "ready"))]
    if job.images:
        ports += [f"load__{signal}" for signal in ("payload", "valid", "ready")]
    built = build(verilog.renamed(top, _TOP), _TOP, cache=cache, simulator=simulator, wave=wave,
                  ports=ports)
    folder = fresh_folder(built.folder, "run-")
    log = folder / "simulate.log"
    try:
        _write(job, folder)
        built.provide(folder)
        counts = _run(built, top, job, folder, wave, log, progress)
        patterns = _read(job, folder, log)
        if wave is not None:
            _move_wave(folder / wave.name, wave)
    except PenjingError:
        raise  # and leave the folder: the message names the log in it
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for name in ("frames.npz", "progress", *map(_image_name, job.images)):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / MEMORIES, ignore_errors=True)
    passed = all(pattern.passed for pattern in patterns)
    if counts != (1, 0 if passed else 1):
        raise PenjingError(f"{top}: the simulation ran {counts[0]} tests of which {counts[1]} "
                           f"failed, not what its result says; read {log}")
    if passed:
        shutil.rmtree(folder)
    return Report(patterns, built, None if passed else log)


def _move_wave(written: Path, wave: Path) -> None:
    try:
        shutil.move(written, wave)
    except OSError as error:
        raise PenjingError(f"{wave}: cannot be written ({error.strerror or error}); name another "
                           f"file") from None


def _write(job: Job, folder: Path) -> None:
    frames = (*(source.frames for source in job.sources), job.golden)
    np.savez(folder / "frames.npz", *(array.astype(np.int64) for array in frames))
    for start, octets in job.images.items():
        (folder / _image_name(start)).write_bytes(octets)
    (folder / "job.json").write_text(json.dumps({
        "streams": {name: asdict(stream) for name, stream in job.streams.items()},
        "images": [*job.images], "seed": job.seed, "watchdog": job.watchdog,
        "stalls": [[stalls.at_input, stalls.at_output] for stalls in job.stalls]}))


def _image_name(start: int) -> str:
    """The file of the image that comes before the frame of the number ``start``."""
    return f"image_{start}"


def _run(built: Build, top: str, job: Job, folder: Path, wave: Path | None, log: Path,
         progress: Progress | None) -> tuple[int, int]:
    """Run cocotb's runner in a thread and tell the progress meanwhile; tests run and failed."""
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(_run_cocotb, built, top, job, folder, wave, log)
        total = len(job.stalls) * len(job.golden)
        done = False
        while not done:
            done = not wait([running], timeout=0.1).not_done
            if progress is not None:
                counter = folder / "progress"
                progress(counter.stat().st_size if counter.exists() else 0, total)
    return running.result()


def _run_cocotb(built: Build, top: str, job: Job, folder: Path, wave: Path | None,
                log: Path) -> tuple[int, int]:
    from cocotb_tools.check_results import get_results  # deferred: only those who simulate
    from cocotb_tools.runner import get_runner  # install cocotb

    arguments = [f"+penjing_job={folder}"]
    if built.simulator is Simulator.VERILATOR:
        arguments += ["+verilator+rand+reset+2", f"+verilator+seed+{job.seed % (1 << 31) + 1}"]
    flags = []
    if wave is not None and built.simulator is Simulator.VERILATOR:
        flags = ["--trace-file", str(folder / wave.name)]
    elif wave is not None:
        arguments.append(f"+penjing_wave={folder / wave.name}")
    results = folder / "results.xml"
    try:
        get_runner(built.simulator.value).test(
            test_module=f"{__package__}.cocotb_bench", hdl_toplevel=_TOP,
            hdl_toplevel_lang="verilog", build_dir=built.folder, test_dir=folder,
            results_xml=str(results), log_file=log, seed=job.seed, plusargs=arguments,
            test_args=flags, waves=wave is not None)
    except ValueError as error:
        raise PenjingError(f"cocotb: {error}; apt install libpython3-dev, or use a Python that was "
                           f"built with a shared library") from None
    except (SystemExit, RuntimeError):
        pass  # under pytest a failed test ends so; whether it ran is seen from what it wrote
    try:
        tests, failed = get_results(results)
    except RuntimeError:
        raise PenjingError(f"{top}: the simulation ended without a result; read {log}") from None
    return tests, failed


def _read(job: Job, folder: Path, log: Path) -> tuple[PatternReport, ...]:
    try:
        results: list[dict[str, Any]] = json.loads((folder / "result.json").read_text())
    except OSError:
        raise PenjingError(f"simulation: it ended before its result; read {log}") from None
    patterns = tuple(
        PatternReport(
            stalls=stalls, frames=len(job.golden),
            first_mismatches=tuple(Mismatch(**m) for m in result.pop("first_mismatches")),
            frame_ends=tuple(result.pop("frame_ends")), faults=tuple(result.pop("faults")),
            **result)
        for stalls, result in zip(job.stalls, results, strict=True))
    for pattern in patterns:
        if pattern.values_compared != job.golden.size and not pattern.faults:
            raise PenjingError(f"simulation: {pattern.values_compared} of {job.golden.size} values "
                               f"were compared, and no fault tells why; read {log}")
    return patterns
