"""The Verilog of a project against the golden model, in a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.dataflow.design import Part
from ..compiler.dataflow.plan import Port
from ..compiler.dataflow.report import Table, at_most, table_of
from ..compiler.image import image
from ..compiler.ir import Bipolar, Integers, PenjingError, TensorType
from ..hdl.emit import Verilog, emit, module_name
from ..hdl.tech import Generic
from ..sim import golden
from ..sim.cosim import Job, PatternReport, Report, Source, StreamFormat
from ..sim.cosim import simulate as run_simulator
from ..sim.simulators import Simulator
from ..sim.streams import Stalls
from .data import read
from .progress import Progress, silent
from .project import SIMULATOR, Project

__all__ = ["Simulation", "Simulator", "Stalls", "sample_frames", "simulate", "stream_format"]

FRAMES = 10
"""How many frames a simulation takes unless the user says so."""
WAVE_FRAMES = 2
"""The same with a waveform, which is slow and large."""
PATIENCE = 4
"""How many times a frame's cycles may pass without a beat: pauses make a frame take longer."""


@dataclass(frozen=True)
class Simulation:
    """What a simulation of ``layer`` (None: the whole network) showed.

    Where what is predicted is not ``exact``, it is what no frame exceeds.
    """

    layer: str | None
    simulator: Simulator
    frames: int
    report: Report
    predicted_cycles_per_frame: int
    predicted_latency_cycles: int | None
    exact: bool = True

    @property
    def passed(self) -> bool:
        """Whether every value equals the golden model's and the stream rules were kept."""
        return self.report.passed

    @property
    def as_predicted(self) -> bool:
        """Whether frames took the cycles that are predicted, or fewer where they may."""
        found = self.report
        pairs = ((found.cycles_per_frame, self.predicted_cycles_per_frame),
                 (found.latency_cycles, self.predicted_latency_cycles))
        return all(measured is None or predicted is None or measured == predicted
                   or (not self.exact and measured < predicted) for measured, predicted in pairs)

    def json(self) -> dict[str, Any]:
        """What ``penjing simulate --json`` prints."""
        found = self.report
        return {
            "layer": self.layer,
            "simulator": self.simulator.value,
            "frames": self.frames,
            "values_compared": found.values_compared,
            "mismatches": found.mismatches,
            "faults": list(found.faults),
            "cycles_per_frame": found.cycles_per_frame,
            "predicted_cycles_per_frame": self.predicted_cycles_per_frame,
            "latency_cycles": found.latency_cycles,
            "predicted_latency_cycles": self.predicted_latency_cycles,
            "exact": self.exact,
            "as_predicted": self.as_predicted,
            "simulated_cycles_per_second": found.cycles_per_second,
            "build_seconds": found.build.seconds,
            "log": str(found.log) if found.log else None,
            "patterns": [_pattern_json(pattern) for pattern in found.patterns],
        }

    def tables(self) -> tuple[Table, Table]:
        """The same for people."""
        found = self.report
        patterns = table_of(
            "Stall patterns", ("stalls", "frames", "values", "mismatches", "faults", "cycles"),
            ((one.stalls.value, len(one.frame_ends), one.values_compared, one.mismatches,
              len(one.faults), one.cycles) for one in found.patterns))
        rows: list[tuple[object, ...]] = [
            ("result", "equal to the golden model" if self.passed else "DIFFERS"),
            ("values compared", found.values_compared),
            ("mismatches", found.mismatches),
            ("cycles per frame", found.cycles_per_frame or "– (two frames tell)"),
            ("  predicted", at_most(self.predicted_cycles_per_frame, self.exact)),
            ("latency (cycles)", found.latency_cycles),
            ("  predicted", at_most(self.predicted_latency_cycles, self.exact))]
        if not self.as_predicted:
            rows.append(("cycles", f"not as predicted, unless more than {self.frames} frames are"))
        for one in (pattern for pattern in found.patterns if pattern.first_mismatches):
            first = one.first_mismatches[0]
            place = f"frame {first.frame}, element {first.element}"
            rows.append((f"first mismatch, {one.stalls.value}",
                         f"{place}: {first.got} instead of {first.expected}"))
        rows += [("fault", fault) for fault in found.faults[:4]]
        if found.log:
            rows.append(("log", found.log))
        return patterns, table_of(f"Simulation of {self.layer or 'the network'}", ("", ""), rows)


def _pattern_json(pattern: PatternReport) -> dict[str, Any]:
    return {
        "stalls": pattern.stalls.value,
        "passed": pattern.passed,
        "values_compared": pattern.values_compared,
        "mismatches": pattern.mismatches,
        "first_mismatches": [vars(mismatch) for mismatch in pattern.first_mismatches],
        "cycles_per_frame": pattern.cycles_per_frame,
        "cycles": pattern.cycles,
        "seconds": pattern.seconds,
    }


def _subject(opened: Project, layer: str | None) -> tuple[Part, Verilog, str]:
    """What is simulated, its Verilog, and the name of its module."""
    if layer is None:
        return opened.design.whole(Generic()), opened.read_verilog(), opened.network.name
    part, top = opened.design.part(layer, Generic()), module_name(layer)
    return part, emit(part.component(), top), top


def simulate(folder: str | Path, *, images: str | Path | None = None, frames: int | None = None,
             layer: str | None = None, stalls: Sequence[Stalls] = tuple(Stalls),
             wave: Path | None = None, simulator: Simulator = Simulator.VERILATOR, seed: int = 1,
             progress: Progress = silent) -> Simulation:
    """Run the Verilog in ``folder``, or that of one ``layer``, against the golden model.

    The first ``frames`` of the file ``images`` go in, or extreme and random values without one. The
    pattern without stalls always runs, since the cycles are measured in it.
    """
    opened = Project.open(folder)
    network = opened.network
    part, verilog, top = _subject(opened, layer)
    count = frames if frames is not None else FRAMES if wave is None else WAVE_FRAMES
    if count < 1:
        raise PenjingError(f"frames: at least 1 is needed, not {count}")
    inputs = (_first_images(opened, images, count, frames is not None) if images is not None
              else sample_frames(network.input_type, count, seed))
    progress("golden model", 0, 0)
    tensors = golden.run_all(network, inputs)
    sources = tuple(Source(stream_format(network.type_of(tensor), port),
                           tensors[tensor].reshape(len(inputs), -1), name)
                    for name, (tensor, port) in part.inputs.items())
    job = Job(sources, stream_format(network.type_of(part.result), part.o),
              tensors[part.result].reshape(len(inputs), -1),
              tuple(dict.fromkeys((Stalls.NONE, *stalls))), seed,
              max(Job.watchdog, PATIENCE * max(part.cycles, part.latency or 0)),
              {0: image(part.filling)} if part.filling else {})
    progress("build simulator", 0, 0)
    found = run_simulator(verilog, top, job, cache=opened.path / SIMULATOR,
                          simulator=simulator, wave=wave,
                          progress=lambda done, total: progress("simulate", done, total))
    result = Simulation(layer, simulator, len(inputs), found, part.cycles, part.latency,
                        part.exact)
    opened.record("simulate" if layer is None else f"simulate_{layer}", result.json())
    return result


def stream_format(kind: TensorType, port: Port) -> StreamFormat:
    """How a tensor of this ``kind`` travels through ``port``."""
    return StreamFormat(kind.bits, kind.signed, port.lanes, port.group, isinstance(kind, Bipolar))


def _first_images(opened: Project, path: str | Path, count: int, exact: bool) -> Integers:
    images = opened.integers(read(path))
    if exact and len(images) < count:
        raise PenjingError(f"{path}: it holds {len(images)} images, fewer than {count}; give more "
                           f"or a smaller -n")
    return images[:count]


def sample_frames(kind: TensorType, count: int, seed: int) -> Integers:
    """``count`` frames (N, H, W, C): the extremes of ``kind``, then random ones by ``seed``."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(kind.low, kind.high, (count, *kind.shape), np.int64, endpoint=True)
    chess = (np.arange(kind.elements) % 2).reshape(kind.shape)
    extremes = (np.full(kind.shape, kind.high), np.full(kind.shape, kind.low),
                np.where(chess, kind.low, kind.high), np.zeros(kind.shape, np.int64))
    # At least half of the frames stay random.
    for index, extreme in enumerate(extremes[:count // 2]):
        frames[index] = extreme
    return frames
