"""The page of a project: all parts are there, nothing is loaded, and damage is told in a line."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from penjing import flow
from penjing.__main__ import main
from penjing.boards import boards
from penjing.boards.layout import OTHER, Column, Layout, Tile, read_slack, read_tiles
from penjing.compiler import file, ir
from penjing.flow.build import LINK
from penjing.flow.page import page
from penjing.flow.page.pipeline import tracks
from penjing.flow.page.text import percent

ROOT = Path(__file__).parents[1]
SECTIONS = ("pipeline", "queues", "floorplan", "cells", "slack", "simulation", "accuracy", "memory",
            "weights", "layers")
LAYOUT = Layout(("conv", "branch", LINK, OTHER), (
    Tile(2, 3, 0, (5, 8, 0, 0)), Tile(2, 3, 1, (1, 2, 0, 0)), Tile(4, 13, 0, (0, 0, 1, 0)),
    Tile(5, 25, 1, (0, 0, 0, 1)), Tile(7, 7, 2, (0, 3, 0, 0))),
    (Column(-0.5, 1.0, 1, 18), Column(1.0, 2.5, 38, 38)))
SIMULATED = {
    "layer": None, "frames": 10, "values_compared": 1234, "mismatches": 0, "faults": [],
    "cycles_per_frame": 77, "predicted_cycles_per_frame": 77, "latency_cycles": 99,
    "predicted_latency_cycles": 99, "patterns": [
        {"stalls": stalls, "values_compared": 300, "mismatches": 0, "cycles": cycles}
        for stalls, cycles in (("none", 500), ("input", 900), ("output", 510), ("both", 910))]}
EVALUATED = {
    **flow.Evaluation(512, 0.9258, 0.93, None, "pytorch", 3, 5120).json(),
    "notes": ["no <b>oracle"]}
BUILT = {"luts": 4321, "ffs": 3210, "dsps": 1, "brams": 1, "fmax_mhz": 95.2, "clock_mhz": 100.0,
         "clock_met": False, "layout": LAYOUT.json()}


def compiled(path: Path, bias: int = 0) -> flow.Project:
    """A network that parts and meets again, for a board."""
    conv = ir.Weights(np.arange(5 * 3 * 2 * 2).reshape(5, 3, 2, 2) % 15 - 7, 4)
    file.save(ir.Network("forked", "input", ir.TensorType((6, 5, 2), 8, False), (
        ir.Convolution("conv", "input", conv, np.full(5, bias), (2, 1), (1, 0, 0, 1)),
        ir.ShiftRequantize("relu", "conv", 5, 5, False),
        ir.Convolution("branch", "input", ir.Weights(np.full((5, 1, 1, 2), 3), 3),
                       np.zeros(5, np.int64), (2, 1)),
        ir.Add("sum", "relu", "branch"), ir.Flatten("flat", "sum"))), path / "forked.penjing")
    return flow.compile_model(path / "forked.penjing", path / "out", flow.Target("ulx3s-12f"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> flow.Project:
    return compiled(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(made: flow.Project, tmp_path: Path) -> flow.Project:
    """A project that has only been compiled."""
    return flow.Project.open(shutil.copytree(made.path, tmp_path / "out"))


def record_all(project: flow.Project) -> None:
    for command, result in (("simulate", SIMULATED), ("evaluate", EVALUATED), ("build", BUILT),
                            ("simulate_relu", {**SIMULATED, "layer": "relu"})):
        project.record(command, result)


class Page(HTMLParser):
    """What is in a page, which must be well formed."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""

    def named(self, name: str) -> list[str | None]:
        return [value for key, value in self.attributes if key == name]


def opened(path: Path) -> Page:
    """The page in the file ``path``, which loads nothing and whose links lead somewhere."""
    text = path.read_text(encoding="utf-8")
    made = Page(text)
    assert len(text) < 2 << 20
    assert not {"script", "link", "img", "iframe", "object"} & set(made.tags)
    assert not made.named("src")
    assert not any(word in text for word in ("http:", "https:", "url(", "@import"))
    assert made.named("href") == [f"#{name}" for name in made.named("id")]
    assert made.named("id") == list(SECTIONS)
    return made


def test_what_has_not_run_is_named(project: flow.Project,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(project.path), "--json"]) == 0
    path = project.path / "report.html"
    assert json.loads(capsys.readouterr().out) == {"page": str(path),
                                                   "bytes": path.stat().st_size}
    page = opened(path)
    for command in ("simulate", "build", "evaluate"):
        assert f"penjing {command} {project.path}" in page.text
    for layer in project.plan.layers:
        assert layer.name in page.text
        assert f"{layer.cycles:,} cycles · " in page.text or not layer.cycles
    assert "floorplan" not in page.named("class")


def test_what_has_run_is_there(project: flow.Project, tmp_path: Path) -> None:
    record_all(project)
    assert flow.report(project.path, tmp_path / "page.html") == tmp_path / "page.html"
    shown = opened(tmp_path / "page.html")
    assert "todo" not in shown.named("class")
    assert {"floorplan", "chart", "pipeline"} <= set(shown.named("class"))
    for text in ("0 of 1,234", "92.58%", "3 of 5,120", "95.2 MHz", "MISSED", "4,321",
                 "1,234 values of 10 frames under 4 stall patterns equal the golden model's",
                 "layer alone", "no <b>oracle", "LFE5U-12F"):
        assert text in shown.text
    assert [*shown.named("class")].count("dsp") == [*shown.named("class")].count("bram") == 1
    assert "column late sure" in shown.named("class")


def test_a_target_without_a_chip(made: flow.Project, tmp_path: Path) -> None:
    flow.compile_model(made.path / "network.penjing", tmp_path / "out", flow.Target("generic"))
    shown = opened(flow.report(tmp_path / "out"))
    assert shown.text.count("generic has no place-and-route here.") == 3
    assert "penjing build" not in shown.text


def test_a_difference_is_not_passed_over(project: flow.Project) -> None:
    project.record("simulate", {**SIMULATED, "mismatches": 7})
    assert "7 DIFFER" in opened(flow.report(project.path)).text


def test_every_text_is_escaped(project: flow.Project) -> None:
    name = "<script>alert('&\"')</script>"
    record_all(project)
    report = flow.gather(project.path)
    layers = tuple(replace(layer, plan=replace(layer.plan, name=name if n == 0 else layer.name))
                   for n, layer in enumerate(report.layers))
    layout = replace(LAYOUT, owners=(name, *LAYOUT.owners[1:]))
    text = page.render(replace(report, title=name, folder=name, layers=(layers[0],), layout=layout,
                               evaluated={**EVALUATED, "oracle": name, "notes": [name]},
                               alone=({**SIMULATED, "layer": name},)))
    made = Page(text)
    assert "script" not in made.tags
    assert made.text.count("<script>") > 10
    for picture in page.pictures(replace(report, layers=(layers[0],), layout=layout)).values():
        assert "<script" not in picture
        assert "&lt;script&gt;" in picture


def test_results_of_another_network_do_not_count(project: flow.Project, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = compiled(tmp_path / "other", bias=1)
    record_all(other)
    for path in other.path.glob("*.json"):
        if not (project.path / path.name).exists():
            shutil.copy(path, project.path)
    report = flow.gather(project.path)
    assert report.simulated is report.evaluated is report.built is report.layout is None
    assert report.alone == ()
    assert flow.gather(other.path).simulated == SIMULATED


@pytest.mark.parametrize("damage", [
    lambda text: text[:-9], lambda text: text.replace("1234", "1235"), lambda text: "[]",
    lambda text: "[" * 100_000, lambda text: text.replace('"sha256"', '"sha255"'),
    lambda text: '{"version": 1}', lambda text: '{"version": 1, "result": 3, "sha256": 4}'])
def test_damage_is_told_in_a_line(damage: Any, project: flow.Project,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    record_all(project)
    path = project.path / "simulate.json"
    path.write_text(damage(path.read_text()))
    assert main(["report", str(project.path)]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line == (f"penjing: error: {path}: damaged or edited; delete it, or run the command "
                    "again")
    assert not (project.path / "report.html").exists()


def test_results_of_another_version_do_not_count(project: flow.Project) -> None:
    record_all(project)
    path = project.path / "simulate.json"
    path.write_text(path.read_text().replace('{"version": 1', '{"version": 2'))
    assert project.recorded("simulate") is None


def test_a_page_that_cannot_be_written(project: flow.Project,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    missing = project.path / "missing" / "page.html"
    assert main(["report", str(project.path), "-o", str(missing)]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f"penjing: error: {missing}: cannot be written")


def placed(*cells: tuple[str, str, str]) -> str:
    """What nextpnr writes of ``cells`` (name, type, site)."""
    return json.dumps({"modules": {"top": {"cells": {
        name: {"type": kind, "attributes": {"NEXTPNR_BEL": site} if site else {}}
        for name, kind, site in cells}}}})


def test_tiles(tmp_path: Path) -> None:
    path = tmp_path / "placed.json"
    path.write_text(placed(
        ("wrapper.accelerator.conv.dot.x_LUT4", "TRELLIS_COMB", "X2/Y3/SLICEA.LUT0"),
        ("wrapper.accelerator.conv.dot.y_FF", "TRELLIS_FF", "X2/Y3/SLICEA.FF0"),
        ("wrapper.accelerator.conv.dot.z_LUT4", "TRELLIS_COMB", "X2/Y3/SLICEA.LUT1"),
        ("wrapper.accelerator.conv2.weights", "DP16KD", "X10/Y25/EBR"),
        ("wrapper.deframer.x", "TRELLIS_FF", "X2/Y3/SLICED.FF1"),
        ("$nextpnr_CCU2C_1$CCU2_COMB0", "TRELLIS_COMB", "X0/Y1/SLICEA.LUT0"),
        ("clk.buf", "TRELLIS_IO", "X0/Y1/PIOA"), ("unplaced", "TRELLIS_COMB", "")))
    owners, tiles = read_tiles(path, "top", {
        "luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D", "brams": "DP16KD"}, {
        "wrapper.accelerator.conv": "conv", "wrapper.accelerator.conv2": "conv2", "wrapper": LINK})
    assert owners == ("conv", "conv2", LINK, OTHER)
    assert tiles == (Tile(0, 1, 3, (1, 0, 0, 0)), Tile(2, 3, 0, (2, 1, 0, 0)),
                     Tile(2, 3, 2, (0, 1, 0, 0)), Tile(10, 25, 1, (0, 0, 0, 1)))
    layout = Layout(owners, tiles, ())
    assert layout.cells("conv") == {"luts": 2, "ffs": 1, "dsps": 0, "brams": 0}


def test_slack_is_the_last_histogram() -> None:
    head = ("Info: Slack histogram:\nInfo:  legend: * represents {0} endpoint(s)\n"
            "Info:          + represents [1,{0}) endpoint(s)\n")
    log = (head.format(7) + "Info: [ 1, 2) |*\n" + head.format(63)
           + "Info: [ -1055,   1462) |+\nInfo: [  1462,   1869) |*+\nInfo: [  1869,   2276) |**\n"
           + "Info: [  2276,   2683) | \n\nInfo: Program finished normally.\n")
    assert read_slack(log) == (
        Column(-1.055, 1.462, 1, 62), Column(1.462, 1.869, 64, 125),
        Column(1.869, 2.276, 126, 126), Column(2.276, 2.683, 0, 0))
    assert read_slack("Info: no paths") == ()


def test_a_layout_survives_the_file() -> None:
    assert Layout.of_json(json.loads(json.dumps(LAYOUT.json()))) == LAYOUT


@pytest.mark.parametrize("board", [board for board in boards() if board.platform],
                         ids=lambda board: board.name)
def test_sites_lie_on_the_grid(board: Any) -> None:
    columns, rows = board.grid
    assert columns * rows * 8 > board.budget.luts
    assert all(column + 5 < columns for column in board.dsp_sites.columns)
    assert all(row < rows for row in board.dsp_sites.rows)


def random_graph(rng: np.random.Generator) -> Sequence[Sequence[int]]:
    return [[], *(rng.integers(max(0, n - 5), n, rng.integers(1, 4)).tolist()
                  for n in range(1, 20))]


def test_streams_of_different_rows_share_no_track() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        inputs = random_graph(rng)
        columns, found = tracks(inputs)
        assert {(track.source, track.target) for track in found} == {
            (source, row) for row, sources in enumerate(inputs) for source in sources}
        used: dict[tuple[int, int], int] = {}
        for track in found:
            for row in range(track.source, track.target):
                assert used.setdefault((row, track.column), track.source) == track.source
            for row in range(track.source + 1, track.target):
                assert columns[row] != track.column


def test_a_chain_is_one_track() -> None:
    columns, found = tracks([[], [0], [1], [2]])
    assert columns == (0, 0, 0, 0)
    assert {track.column for track in found} == {0}
    assert tracks([[], [0], [1], [0], [2, 3]])[0] == (0, 0, 0, 1, 0)


def test_only_nothing_is_nothing() -> None:
    assert [percent(part) for part in (0, 1e-9, 0.048, 0.5, 0.9964, 1 - 1e-9, 1)] == [
        "0%", "0.1%", "4.8%", "50%", "99.6%", "99.9%", "100%"]


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "bench")
        yield importlib.import_module("pictures")


@pytest.fixture(scope="module")
def routed(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> flow.Report:
    """The report of the network in README's pictures."""
    with contextlib.chdir(tmp_path_factory.mktemp("routed")):
        return bench.gathered(bench.common.read(bench.FILE))


def test_the_pictures_are_those_of_the_results(bench: ModuleType, routed: flow.Report) -> None:
    drawn = page.pictures(routed)
    assert drawn.keys() == {"pipeline.svg", "floorplan.svg"}
    for name, text in drawn.items():
        assert (bench.FOLDER / name).read_text(encoding="utf-8") == text, (
            "run python bench/pictures.py")
        assert len(text) < 300_000
    assert (bench.FOLDER / "report.png").stat().st_size < 400_000


def test_cells_are_all_accounted_for(routed: flow.Report) -> None:
    assert routed.plan.resources.brams > 20
    for layer in routed.layers:
        assert sum(one.brams for one in layer.memories) == layer.plan.resources.brams
        assert all(one.brams >= 0 for one in layer.memories)
    assert {one.memory_bits / one.count for layer in routed.layers
            if (one := layer.weights)} == {1, 8}
    assert routed.layout
    assert routed.built
    owned = [routed.layout.cells(owner) for owner in routed.layout.owners]
    columns, rows = routed.board.grid
    assert all(tile.x < columns and tile.y < rows for tile in routed.layout.tiles)
    for cell in ("luts", "ffs", "dsps", "brams"):
        assert sum(cells[cell] for cells in owned) == routed.built[cell] > 0


def test_a_browser_opens_it(bench: ModuleType, project: flow.Project, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, bench.BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium")
    record_all(project)
    path = flow.report(project.path)
    done = subprocess.run([browser, *bench.quiet(tmp_path), "--enable-logging=stderr", "--dump-dom",
                           path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert Page(done.stdout).named("id") == list(SECTIONS)
