"""Several seeds of the placer, with tools that only pretend: what is kept, and which is taken."""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from penjing import boards, flow
from penjing.__main__ import main
from penjing.boards import netlist as netlists
from penjing.boards.netlist import UNDER_WAY, Netlist, route
from penjing.boards.toolchain import Workshop
from penjing.compiler import file, ir
from penjing.compiler.ir import PenjingError
from penjing.flow.project import BOARD

FMAX = {1: 30.5, 2: None, 3: 41.25, 4: 41.25, 5: 12.0}
"""What the router that pretends makes of each seed; it fails with the second."""

ROUTER = """#!{python}
import json, sys
given = dict(zip(sys.argv, sys.argv[1:]))
seed, fmax = given["--seed"], {fmax}
with open({runs!r}, "a") as runs:
    runs.write(seed + "\\n")
assert json.load(open(given["--json"])) == "cells" and open(given["--pcf"]).read()
if fmax[int(seed)] is None:
    print("Info: so far so good")
    sys.exit("ERROR: no place for a cell")
print(" 7 LCs used as LUT4 and DFF")
json.dump({{"fmax": {{"clk": {{"achieved": fmax[int(seed)]}}}}, "utilization": {{
    cell: {{"used": 9}} for cell in ("ICESTORM_LC", "ICESTORM_DSP", "ICESTORM_RAM")}}}},
    open(given["--report"], "w"))
json.dump({{"modules": {{"top": {{"cells": {{}}}}}}}}, open(given["--write"], "w"))
open(given["--asc"], "w").write("seed " + seed)
"""
PACKER = """#!{python}
import shutil, sys
shutil.copyfile(*sys.argv[1:])
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> boards.Board:
    """An iCEBreaker whose tools only pretend, and note each run in the file ``runs``."""
    pytest.importorskip("pyosys")
    pytest.importorskip("amaranth_boards")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("pretended-router", ROUTER), ("pretended-packer", PACKER)):
        (tools / name).write_text(text.format(python=sys.executable, fmax=FMAX,
                                              runs=str(tmp_path / "runs")))
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    found = boards.find("icebreaker")
    assert found.family.tools is not None
    made = replace(found, family=replace(found.family, tools=replace(
        found.family.tools, router="pretended-router", packer="pretended-packer")))
    monkeypatch.setattr(boards, "find", lambda name: made)
    return made


def runs(tmp_path: Path) -> list[int]:
    """The seeds that the router was called with, and no more of them."""
    path = tmp_path / "runs"
    seen = [*map(int, path.read_text().split())] if path.exists() else []
    path.unlink(missing_ok=True)
    return seen


@pytest.fixture
def out(tmp_path: Path, board: boards.Board, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project for it, whose synthesis is no more than a note."""
    def synthesize(shop: Workshop, rtlil: str, **options: object) -> float:
        with open(tmp_path / "syntheses", "a") as stream:
            stream.write(".")
        (shop.folder / "top.json").write_text('"cells"')
        return 1.5

    monkeypatch.setattr(netlists, "synthesize", synthesize)
    weights = ir.Weights(np.arange(-3, 3).reshape(2, 3), 4)
    file.save(ir.Network("tiny", "x", ir.TensorType((1, 1, 3), 4, False), (
        ir.Dense("dense", "x", weights, np.zeros(2, np.int64)),)), tmp_path / "tiny.penjing")
    made = tmp_path / "out"
    flow.compile_model(tmp_path / "tiny.penjing", made, flow.Target("icebreaker"))
    return made


def told(*pairs: tuple[int, float | str]) -> list[Mapping[str, object]]:
    return [{"seed": seed, "error" if isinstance(one, str) else "fmax_mhz": one}
            for seed, one in pairs]


NO_PLACE = "route: no place for a cell"


def test_the_fastest_is_taken_and_none_tried_twice(out: Path, tmp_path: Path) -> None:
    bitstream = out / BOARD / "top.bin"
    steps: list[tuple[str, int, int]] = []
    made = flow.build(out, seeds=3, workers=0, progress=lambda *step: steps.append(step))
    assert runs(tmp_path) == [1, 2, 3]
    assert (made.seed, made.measured["fmax_mhz"], made.clock_met) == (3, 41.25, True)
    assert made.measured["seconds"]["synthesis"] == 1.5
    assert bitstream.read_text() == "seed 3"
    assert made.json()["seeds"] == told((1, 30.5), (2, NO_PLACE), (3, 41.25))
    assert ("seeds, the best 41.2 MHz", 3, 3) in steps
    assert [*made.tables()[0].rows] == [
        ("1", "30.5", ""), ("2", "–", NO_PLACE), ("3", "41.25", "")]
    # What failed is tried once more; of equal clocks the first seed is taken.
    again = flow.build(out, seeds=4, workers=0)
    assert runs(tmp_path) == [2, 4]
    assert again.seed == 3 and again.json()["seeds"][3] == {"seed": 4, "fmax_mhz": 41.25}
    # Only those that are asked for count.
    assert flow.build(out, seed=4, seeds=2, workers=0).seed == 4
    assert runs(tmp_path) == [5]
    assert bitstream.read_text() == "seed 4"
    alone = flow.build(out, seed=5)
    assert (alone.seed, alone.clock_met, len(alone.tables())) == (5, False, 1)
    assert runs(tmp_path) == []
    assert (tmp_path / "syntheses").read_text() == ".", "one for all"
    recorded = flow.Project.open(out).recorded("build")
    assert recorded is not None and recorded["seed"] == 5


def test_all_that_is_asked_for_fails(out: Path, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    flow.build(out)
    assert main(["build", str(out), "--seed", "2"]) == 2
    place = out / BOARD / "seeds" / "2"
    assert capsys.readouterr().err == (f"penjing: error: {NO_PLACE}; see {place}; see "
                                       f"docs/place_and_route.md\n")
    assert "so far so good" in (place / "route.log").read_text()
    assert not (out / BOARD / "top.bin").exists(), "that of another seed is no result"
    assert flow.build(out).seed == 1 and runs(tmp_path) == [1, 2]


@pytest.mark.parametrize("damage", [
    lambda place: (place / "result.json").write_text("{"),
    lambda place: (place / "result.json").write_text("[]"),
    lambda place: (place / "result.json").unlink(),
    lambda place: (place / "top.bin").unlink(),
    lambda place: (place / "result.json").write_text(
        (place / "result.json").read_text().replace('"key": "', '"key": "0'))],
    ids=["cut", "other", "none", "bitstream", "netlist"])
def test_what_is_kept_and_damaged_or_of_another_netlist(
        out: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    flow.build(out, seeds=2, seed=3, workers=0)
    assert runs(tmp_path) == [3, 4]
    damage(out / BOARD / "seeds" / "3")
    assert flow.build(out, seeds=2, seed=3, workers=0).seed == 3
    assert runs(tmp_path) == [3]


def test_an_interrupted_build_goes_on(out: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "route" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.build(out, seed=3, seeds=3, workers=0, progress=interrupt)
    assert runs(tmp_path)[:1] == [3]
    place = out / BOARD
    assert {path.name for path in (place / "seeds").iterdir()} == {"3"}
    assert not list(place.glob(f"{UNDER_WAY}*")) and not (place / "top.bin").exists()
    assert flow.build(out, seed=3, seeds=3, workers=0).seed == 3
    assert runs(tmp_path) == [4, 5]


@pytest.mark.slow
def test_on_workers_and_on_those_of_a_scheduler(out: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    made = flow.build(out, seeds=3, workers=2)
    assert sorted(runs(tmp_path)) == [1, 2, 3]
    assert made.seed == 3 and made.json()["seeds"] == told((1, 30.5), (2, NO_PLACE), (3, 41.25))
    with distributed.LocalCluster(n_workers=1, processes=False, threads_per_worker=1,
                                  dashboard_address=None, protocol="tcp") as cluster:
        there = flow.build(out, seeds=4, scheduler=cluster.scheduler_address)
    assert sorted(runs(tmp_path)) == [2, 4]
    assert there.seed == 3 and (out / BOARD / "top.bin").read_text() == "seed 3"


def test_somewhere_without_the_folder(board: boards.Board, tmp_path: Path) -> None:
    """As on another machine."""
    netlist = Netlist(board, tmp_path / "elsewhere", zlib.compress(b'"cells"'), "pins", {}, 2.0)
    routed = route(netlist, 3)
    assert routed.result is not None
    assert (routed.result.luts, routed.result.ffs, routed.result.fmax_mhz) == (9, 7, 41.25)
    assert routed.files["top.bin"] == b"seed 3"
    assert json.loads(routed.files["report.json"])["fmax"] == {"clk": {"achieved": 41.25}}
    assert replace(netlist, constraints="other").key != netlist.key
    assert replace(netlist, seconds=9.0).key == netlist.key
    # A machine without the tools costs the seed.
    lacking = replace(board, family=replace(board.family, tools=replace(
        cast(Any, board.family.tools), router="no-such-tool")))
    assert "no-such-tool: not installed" in route(replace(netlist, board=lacking), 1).problem


def test_bad_input(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, why in ((["--seeds", "0"], "greater than or equal to 1"),
                      (["--seeds", "10001"], "seeds: it must be an integer from 1 to 10,000"),
                      (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "one of both")):
        assert main(["build", str(out), *more]) == 2
        told, err = capsys.readouterr()
        assert told == "" and err.count("\n") == 1 and why in err
    for options in ({"seeds": True}, {"seeds": "2"}, {"seed": 0}):
        with pytest.raises(PenjingError, match="it must be an integer from 1"):
            flow.build(out, **cast(Any, options))
    assert runs(tmp_path) == []


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    assert main(["build", str(out), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "it cannot be reached" in capsys.readouterr().err
