"""The front of a network's plans: what none surpasses, and each can be compiled."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from networks import residual
from penjing import flow
from penjing.__main__ import main
from penjing.compiler import file
from penjing.compiler.cost import Resources
from penjing.compiler.cost.families import ECP5
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.pricing import Cost
from penjing.compiler.encode import encode
from penjing.compiler.ir import PenjingError
from penjing.flow import Front, Multipliers, Target
from penjing.flow.explore import _asked, _is_routable
from penjing.flow.front import Point, unsurpassed

BOARD = "ulx3s-12f"


def cost(cycles: int, luts: int, dsps: int, brams: int, **more: int) -> Cost:
    return Cost(cycles, 1e8 / cycles, luts, more.get("ffs", 0), dsps, brams, dsps, 0, 0)


def point(*places: int, allowed: int = 9) -> Point:
    return Point(allowed, cost(*places))


def test_what_none_surpasses() -> None:
    slow, many_luts, many_brams = point(20, 5, 1, 1), point(10, 9, 0, 1), point(10, 5, 1, 2)
    # Each of these has one cost more than one of those, and none less.
    worse = [point(21, 5, 1, 1), point(20, 6, 1, 1), point(10, 9, 1, 1), point(10, 5, 1, 3),
             point(20, 9, 1, 2)]
    again = point(20, 5, 1, 1, allowed=3)
    found = unsurpassed([*worse, many_brams, slow, again, many_luts])
    assert found == (slow, many_luts, many_brams)
    assert found[0].dsps == 9, "the first of equals"
    assert unsurpassed([]) == ()


def test_flip_flops_do_not_count() -> None:
    few, many = Point(1, cost(1, 1, 1, 1, ffs=1)), Point(1, cost(1, 1, 1, 1, ffs=9))
    assert unsurpassed([many, few]) == (many,)


def test_paces_have_one_ratio_and_parts_of_the_dsp_blocks() -> None:
    budget = Budget(ECP5, Resources(luts=9, ffs=9, dsps=5, brams=9), 6)
    assert [*_asked(budget, 1000, 10, 3)] == [
        (cycles, dsps) for cycles in (1000, 100, 10) for dsps in (5, 2, 0)]
    # Nothing but DSP blocks multiplies.
    assert [*_asked(replace(budget, multipliers=5), 80, 10, 4)] == [
        (cycles, 5) for cycles in (80, 40, 20, 10)]
    assert [*_asked(replace(budget, multipliers=5), 2, 2, 9)] == [(2, 5)]


def test_speed_leaves_room_for_the_router() -> None:
    budget = Budget(ECP5, Resources(luts=100, ffs=200, dsps=5, brams=9), 5)
    slow = cost(9, 60, 1, 1, ffs=160)
    # Three quarters are 75 and 150; what the slowest plan has may be, too.
    for luts, ffs, fits in ((75, 150, True), (76, 150, False), (75, 160, True), (75, 161, False)):
        assert _is_routable(cost(5, luts, 1, 1, ffs=ffs), slow, budget) is fits
    assert _is_routable(cost(5, 1000, 1, 1), slow, replace(budget, speed_luts=1))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.penjing"
    file.save(residual(1), path)
    return path


def compiled(model: Path, target: Target, found: Point) -> Cost:
    """What `flow.plan` makes where the user asks for what a point has."""
    cycles = found.cost.cycles
    fps = math.floor(1e6 * found.cost.frames_per_second) / 1e6
    asked = replace(target, fps=fps, budget={"dsps": found.dsps})
    network = encode(flow.load(model).reduced.network, {})
    oracle, _ = flow.cost_oracle(network, asked)
    plan = flow.plan(network, asked)
    assert plan.cycles_per_frame == cycles
    return Cost.of(network, plan, oracle.budget)


@pytest.mark.parametrize("multipliers", [Multipliers.DSP, Multipliers.ANY])
def test_every_point_can_be_compiled(model: Path, multipliers: Multipliers) -> None:
    target = Target(BOARD, multipliers=multipliers)
    front = flow.explore(model, target, paces=6)
    network = encode(flow.load(model).reduced.network, {})
    fastest = flow.plan(network, target)
    assert front.points[-1].cost.cycles == fastest.cycles_per_frame
    assert front.points == unsurpassed(front.points)
    assert len({one.cost.cycles for one in front.points}) > 3
    # The last is that of no goal, which need not be the cheapest at its pace.
    same = [compiled(model, target, one) == one.cost for one in front.points[:-1]]
    assert len(same) > 4 and all(same)
    allowed = {one.dsps for one in front.points}
    has = 28
    assert allowed == {has} if multipliers is Multipliers.DSP else allowed == {has, has // 2, 0}
    if multipliers is Multipliers.DSP:
        assert all(one.cost.multipliers == one.cost.dsps for one in front.points)


def test_the_slow_end_is_a_frame_rate(model: Path) -> None:
    target = Target(BOARD, multipliers=Multipliers.DSP)
    whole = flow.explore(model, target, paces=5)
    fps = whole.points[len(whole.points) // 2].cost.frames_per_second
    part = flow.explore(model, replace(target, fps=fps * 0.999), paces=5)
    assert part.points[0].cost.frames_per_second == fps > whole.points[0].cost.frames_per_second
    assert part.points[-1] == whole.points[-1]


@pytest.mark.slow
def test_many_processes_find_what_one_finds(model: Path) -> None:
    pytest.importorskip("distributed")
    target = Target(BOARD, multipliers=Multipliers.ANY)
    steps: list[tuple[str, int, int]] = []
    alone = flow.explore(model, target, paces=4, progress=lambda *step: steps.append(step))
    assert steps[-1] == ("plans", 12, 12)
    assert flow.explore(model, target, paces=4, workers=2) == alone


def test_files_and_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                               ) -> None:
    pytest.importorskip("matplotlib")
    place = tmp_path / "front.json"
    words = ["explore", str(model), "-b", BOARD, "--paces", "3"]
    assert main([*words, "-o", str(place), "--plots"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(place.read_text())
    assert f"{len(told['points'])} of {told['tried']} plans" in out
    assert "LUTs of 24,288" in out
    assert err.splitlines()[-1] == (f"next: penjing compile {model} --board {BOARD} --fps N "
                                    f"-o build")
    drawn = place.with_suffix(".svg").read_bytes()
    assert b"<svg" in drawn
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    first = told["points"][0]
    assert {"cycles", "frames_per_second", "luts", "ffs", "dsps", "brams", "dsps_allowed"
            } <= first.keys()
    front = flow.explore(model, Target(BOARD, multipliers=Multipliers.ANY), paces=3, output=place,
                         plots=True)
    assert isinstance(front, Front) and front.json() == told
    assert place.with_suffix(".svg").read_bytes() == drawn, "equal fronts are equal files"


def test_bad_input(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, why in ((["--plots"], "plots: they lie beside"), (["-o", "a.svg"], "is a .json file"),
                      (["--paces", "1"], "greater than or equal to 2"),
                      (["--fps", "1e9"], "leave less than one cycle"),
                      (["--budget", "luts=10"], r"LUTs (.* for the serial link) on ulx3s-12f"),
                      (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "one of both"),
                      (["--multipliers", "any", "-b", "generic"], "has no end of them")):
        assert main(["explore", str(model), "-b", BOARD, *more]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("penjing: error: ")
        assert why.partition(" (")[0] in err
    for options, why in (({"paces": True}, "paces: it must be an integer"),
                         ({"paces": 10_001}, "paces: it must be an integer")):
        with pytest.raises(PenjingError, match=why):
            flow.explore(model, Target(BOARD), **cast(Any, options))
    with pytest.raises(PenjingError, match="folds: they settle the pace"):
        flow.explore(model, Target(BOARD, folds=tmp_path / "folds.json"))
