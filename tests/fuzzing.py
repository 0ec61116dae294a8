"""Damaged and hostile files by the thousand, read in a process of bounded memory and time.

``python tests/fuzzing.py FORMAT FIRST COUNT`` is that process: it reads the mutants FIRST to
FIRST + COUNT - 1 of a format and tells of each, a line of JSON, how it ended. `run` starts it and
judges. A format is a module with ``mutant(index) -> bytes``, the same for an index every time, and
``read(path)``, which ends well or raises `PenjingError` of one line.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

Generator = np.random.Generator
Original = TypeVar("Original")

FORMATS = {"onnx": "onnx_mutants", "pt2": "pt2_mutants", "tflite": "tflite_mutants"}
"""The module of each format; another name is that of a module itself."""

MEMORY = 1 << 30
"""Bytes of address space that reading may use, Python and its libraries included."""
_EXTREMES = (0, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
SECONDS = int(os.environ.get("FUZZING_SECONDS", "20"))
"""The most time of a processor that one mutant may take."""
_PATIENCE = 20
"""How many times that it may last, where other programs take the processor."""


@dataclass
class Outcome:
    """How the mutants of a run ended: read, refused, or failed, with what made them fail."""

    read: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak_bytes: int = 0

    @property
    def mutants(self) -> int:
        return self.read + self.refused + len(self.failures)


def run(name: str, first: int, count: int,
        progress: Callable[[int], None] = lambda done: None) -> Outcome:
    """Read ``count`` mutants of the format ``name`` from number ``first`` on."""
    outcome, index, end = Outcome(), first, first + count
    while index < end:
        for record in _worker(name, index, min(250, end - index)):
            if "peak" in record:
                outcome.peak_bytes = max(outcome.peak_bytes, record["peak"])
                continue
            index = record["index"] + 1
            outcome.slowest = max(outcome.slowest, record["seconds"])
            if record["end"] == "failed":
                outcome.failures.append(f"mutant {record['index']}: {record['why']}")
            elif record["end"] == "read":
                outcome.read += 1
            else:
                outcome.refused += 1
            progress(outcome.mutants)
    return outcome


def _worker(name: str, first: int, count: int) -> Iterator[dict[str, Any]]:
    """What the process tells; a mutant that ends it has failed, and the next process goes on."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
                   "MALLOC_ARENA_MAX": "1"}
    with subprocess.Popen([sys.executable, __file__, name, str(first), str(count)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        expected = first
        for line in process.stdout:
            record = json.loads(line)
            expected = record.get("index", expected - 1) + 1
            yield record
        complaint = process.stderr.read()
    if expected < first + count:
        yield {"index": expected, "end": "failed", "seconds": 0.0,
               "why": f"the process ended with {process.returncode}: {complaint[-300:]}"}


def _serve(name: str, first: int, count: int) -> None:
    """Read mutants and print how each ended."""
    from penjing.compiler.ir import PenjingError

    module = importlib.import_module(FORMATS.get(name, name))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mutant.{name}"
        for index in range(first, first + count):
            path.write_bytes(module.mutant(index))
            record: dict[str, object] = {"index": index, "end": "read"}
            start = time.process_time()  # other programs must not count
            # Nothing handles these signals: they end the process.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(_PATIENCE * SECONDS)
            try:
                module.read(path)
            except PenjingError as error:
                text = str(error)
                record["end"] = "refused"
                if "\n" in text or len(text) > 1500:
                    record.update(end="failed", why=f"not one short line: {text[:200]!r}")
            except BaseException:
                record.update(end="failed", why=traceback.format_exc()[-600:])
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            record["seconds"] = time.process_time() - start
            print(json.dumps(record), flush=True)  # noqa: T201
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak}), flush=True)  # noqa: T201


@dataclass(frozen=True)
class Mutations(Generic[Original]):
    """How the mutants of a format are made.

    ``original`` draws a good file, whose bytes are ``packed``. Half of the mutants have one of the
    ``damages`` by turns, the others one to three of what ``change`` does. Every fortieth is one of
    the ``hostile`` models instead.
    """

    original: Callable[[Generator], Original]
    packed: Callable[[Original], bytes]
    change: Callable[[Generator, Original], None]
    damages: Sequence[Callable[[Generator, Original], bytes]] = ()
    hostile: Sequence[Callable[[Generator], bytes]] = ()

    def mutant(self, index: int) -> bytes:
        """The mutant of this number."""
        rng = np.random.default_rng(index)
        if self.hostile and index % 40 == 0:
            return self.hostile[index // 40 % len(self.hostile)](rng)
        original = self.original(rng)
        if index % 2:
            damages = self.damages or (self.damaged,)
            return damages[index // 2 % len(damages)](rng, original)
        for _ in range(int(rng.choice([1, 1, 2, 3]))):
            self.change(rng, original)
        return self.packed(original)

    def damaged(self, rng: Generator, original: Original) -> bytes:
        """``original`` with its bytes changed."""
        return damage(rng, self.packed(original))


def damage(rng: np.random.Generator, data: bytes) -> bytes:
    """``data`` cut off, or with bytes and stretches of it changed, moved or repeated."""
    way = rng.integers(8)
    if way == 0:
        return data[:rng.integers(len(data))]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        length = min(int(rng.integers(1, 65)), len(changed) - place)
        if way == 1:
            changed[place] ^= 1 << rng.integers(8)
        elif way == 2:
            changed[place] = int(rng.integers(256))
        elif way == 3:
            value = int(rng.choice([0, 1, 127, 128, 255]))
            changed[place:place + length] = bytes([value]) * length
        elif way == 4:
            extreme = _EXTREMES[rng.integers(len(_EXTREMES))]
            changed[place:place + 8] = extreme.to_bytes(8, "little")
        elif way == 5:
            del changed[place:place + length]
        elif way == 6:
            other = int(rng.integers(len(changed)))
            changed[place:place] = changed[other:other + length]
        else:
            changed[place:place] = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    return bytes(changed)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
