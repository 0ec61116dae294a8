"""The command line from end to end, on networks small enough to simulate in seconds."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import penjing
import pytest
from penjing import flow
from penjing.__main__ import main
from penjing.boards.layout import Layout
from penjing.boards.toolchain import ToolError
from penjing.compiler import file, ir
from penjing.compiler.dataflow.budget import TooSmall
from penjing.compiler.dataflow.report import table_of
from penjing.compiler.encode import NAMES
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.refusal import Refused
from penjing.flow import project
from penjing.flow.build import LINK
from penjing.flow.console import print_tables
from penjing.flow.data import BadData
from penjing.flow.simulate import sample_frames
from penjing.hdl.emit import MEMORIES
from penjing.sim import golden
from rich.console import Console

SHAPE = (6, 5, 2)
COMMANDS = ("boards", "check", "compile", "explore", "simulate", "evaluate", "build", "report")


def network(bias: int = 0) -> ir.Network:
    """Two layers with weights, whose folds divide nothing."""
    rng = np.random.default_rng(5)
    return ir.Network("tiny", "input", ir.TensorType(SHAPE, 8, False, 8), (
        ir.Convolution("conv", "input", ir.Weights(rng.integers(-7, 8, (5, 3, 2, 2)), 4),
                       rng.integers(-9, 9, 5), (2, 1), (1, 0, 0, 1)),
        ir.ShiftRequantize("relu", "conv", 5, 5, False),
        ir.Flatten("flat", "relu"),
        ir.Dense("dense", "flat", ir.Weights(rng.integers(-7, 8, (3, 75)), 4),
                 np.full(3, bias))))


def images(count: int = 12) -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network file."""
    path = tmp_path / "tiny.penjing"
    file.save(network(), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images, with the golden model's own answers as labels but for one."""
    path = tmp_path / "data.npz"
    y = golden.run(network(), images().astype(np.int64)).argmax(-1).reshape(-1)
    y[0] = (y[0] + 1) % 3
    np.savez_compressed(path, x=images(), y=y)
    return path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> Any:
    """The object that a command prints; nothing else may stand on stdout."""
    assert main([*map(str, arguments), "--json"]) == status
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    return json.loads(captured.out)


def compiled(model: Path, out: Path) -> Path:
    flow.compile_model(model, out, flow.Target("generic", budget=flow.parse_budget("7")))
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Example: penjing {command}" in " ".join(capsys.readouterr().out.split())


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in COMMANDS)
    places = [out.index(wish) for wish in ("Bring a network", " check ", " compile ", " explore ",
                                           "Prove it", " simulate ", " evaluate ", "Build it",
                                           " build ", "Look it up", " boards ", " report ")]
    assert places == sorted(places)
    assert main(["--version"]) == 0
    assert re.fullmatch(r"penjing \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_shell_completes(capsys: pytest.CaptureFixture[str],
                             monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
    monkeypatch.setenv("_PENJING_COMPLETE", "complete_bash")
    for words, found in (("penjing ev", "evaluate"), ("penjing build --w", "--workers"),
                         ("penjing compile --board ice", "icebreaker")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        with pytest.raises(SystemExit, match="0"):
            main([])
        assert capsys.readouterr().out.split() == [found]


def next_command(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The command that the last line on stderr names."""
    name, *command = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert name == "next:"
    return command


def test_commands_name_the_next_one(model: Path, data: Path, capsys: pytest.CaptureFixture[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert main(["boards"]) == 0
    assert next_command(capsys) == ["penjing", "check", "MODEL"]
    assert main(["check", "tiny.penjing", "-b", "generic"]) == 0
    compiling = next_command(capsys)
    assert compiling[:2] == ["penjing", "compile"]
    assert main(compiling[1:]) == 0
    assert next_command(capsys) == ["penjing", "simulate", "build"]

    for passed, options, wanted in (
            (True, [], ["evaluate", "build", "--data", "X.npz"]),
            (True, ["--data", "data.npz"], ["evaluate", "build", "--data", "data.npz"]),
            (True, ["--layer", "conv"], ["simulate", "build"]),
            (False, ["--layer", "conv"], ["simulate", "build", "--layer", "conv", "--wave",
                                          "conv.vcd"]),
            (False, [], ["simulate", "build", "--layer", "NAME", "--wave", "NAME.vcd"])):
        found = SimpleNamespace(passed=passed, json=dict, tables=tuple)
        monkeypatch.setattr(flow, "simulate", lambda *_, found=found, **__: found)
        assert main(["simulate", "build", *options]) == (not passed)
        assert next_command(capsys) == ["penjing", *wanted]
    assert main(["evaluate", "build", "--data", data.name]) == 0
    reporting = next_command(capsys)
    assert reporting == ["penjing", "report", "build"], "this board has no place-and-route"
    assert main(reporting[1:]) == 0
    page = (model.parent / "build" / "report.html").as_uri()
    assert next_command(capsys) == ["python", "-m", "webbrowser", page]

    file.save(ir.Network("net", "x", ir.TensorType((1, 1, 4), 8, True), (
        ir.Clamp("low", "x", 0, 9),)), Path("net.penjing"))
    assert main(["compile", "net.penjing", "-b", "icebreaker", "-o", "out"]) == 0
    np.savez("net.npz", x=np.zeros((2, 4), np.int64), y=np.zeros(2, np.int64))
    capsys.readouterr()
    assert main(["evaluate", "out", "--data", "net.npz"]) == 0
    assert next_command(capsys) == ["penjing", "build", "out"]
    for met, wanted in ((True, ["report", "out"]), (False, ["build", "out", "--seed", "4"])):
        built = SimpleNamespace(clock_met=met, json=dict, tables=tuple)
        monkeypatch.setattr(flow, "build", lambda *_, built=built, **__: built)
        assert main(["build", "out", "--seed", "3"]) == 0
        assert next_command(capsys) == ["penjing", *wanted]
    assert main(["build", "out", "--seed", "3", "--seeds", "4"]) == 0
    assert next_command(capsys) == ["penjing", "build", "out", "--seed", "7", "--seeds", "4"]
    for quiet in (["boards"], ["check", "net.penjing"], ["report", "out"]):
        assert main([*quiet, "--json"]) == 0
        assert "next" not in capsys.readouterr().err


def errors(cls: type[PenjingError]) -> Iterator[type[PenjingError]]:
    """``cls`` and all that are derived from it."""
    yield cls
    for child in cls.__subclasses__():
        yield from errors(child)


def test_pages_of_errors_exist() -> None:
    pages = {cls: cls.page for cls in errors(PenjingError)}
    root = Path(penjing.__file__).parent
    assert all((root / page).is_file() for page in pages.values() if page)
    assert pages[PenjingError] == ""
    assert all(pages[cls] for cls in (Refused, TooSmall, BadData, ToolError, ir.NotInstalled))


def test_errors_name_their_page(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    def told(error: PenjingError) -> str:
        def fails(*given: object) -> None:
            raise error

        monkeypatch.setattr(flow, "report", fails)
        assert main(["report", str(tmp_path)]) == 2
        line, = capsys.readouterr().err.splitlines()
        return line

    assert told(BadData("a.npz: no")) == "penjing: error: a.npz: no; see docs/features.md"
    assert told(PenjingError("a: no; go")) == "penjing: error: a: no; go"
def test_a_narrow_terminal_loses_nothing(monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: True))
    monkeypatch.setenv("COLUMNS", "20")
    print_tables(table_of("Cells", ("layer", "LUTs"), [("a_layer_of_long_name", 1234567)]))
    out = capsys.readouterr().out
    assert "a_layer_of_long_name" in out and "1,234,567" in out


def test_boards(capsys: pytest.CaptureFixture[str]) -> None:
    found = {board["name"]: board for board in run_json(capsys, "boards")["boards"]}
    assert {"ulx3s-12f", "ulx3s-85f", "icebreaker", "generic"} <= found.keys()
    assert found["ulx3s-85f"]["budget"]["dsps"] == 156
    assert found["icebreaker"]["family"] == "ice40"
    assert main(["boards"]) == 0
    assert "LFE5U-85F" in capsys.readouterr().out


def test_compile(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    result = run_json(capsys, "compile", model, "--board", "ulx3s-85f", "-o", out, "--budget", 9)
    assert {"cycles_per_frame", "latency_cycles", "multipliers", "resources"} <= result.keys()
    assert result["link"].keys() == result["resources"].keys()
    assert result["link"]["luts"] > 500
    assert result["multipliers"] <= 9
    assert [layer["name"] for layer in result["layers"]] == ["conv", "relu", "flat", "dense"]
    for layer in result["layers"]:
        assert {"name", "kind", "macs", "multipliers", "cycles", "memory_bits"} <= layer.keys()
    assert result["cycles_per_frame"] == max(layer["cycles"] for layer in result["layers"])
    assert {path.name for path in out.iterdir()} == {
        "compile.json", "network.penjing", "penjing.json", "plan.json", "tiny.v"}
    assert json.loads((out / "compile.json").read_text()) == result
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_compile_tells_how_weights_are_stored(model: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    result = run_json(capsys, "compile", model, "-b", "generic", "-o", out, "--encoding",
                      "conv=codebook", "--encoding", "dense = plain", "--encoding", "conv=codebook")
    layers = {layer["name"]: layer for layer in result["layers"]}
    conv, _, _, dense = network().layers
    assert isinstance(conv, ir.Convolution) and isinstance(dense, ir.Dense)
    # 15 values in a row are sums of four powers of two, and so they need no table.
    for layer, encoding, bits in ((conv, "codebook", 60 * 4), (dense, "plain", 225 * 4)):
        told, weights = layers[layer.name], layer.weights.values
        assert (told["encoding"], told["weight_bits"]) == (encoding, bits)
        assert told["nonzeros"] == (weights != 0).sum() < weights.size
        assert told["density"] == told["nonzeros"] / weights.size
    for name in ("relu", "flat"):
        assert {layers[name][what] for what in ("encoding", "nonzeros", "density", "weight_bits")
                } == {None}
    stored = flow.Project.open(out).network.layers
    assert isinstance(stored[0], ir.Convolution)
    assert stored[0].weights.encoding == ir.Codebook()

    (told,) = run_json(capsys, "compile", model, "-b", "generic", "-o", out, "--encoding",
                       "dense=constant")["layers"][3:]
    assert (told["encoding"], told["weight_bits"], told["memory_bits"]) == ("constant", 0, 0)
    assert (told["multipliers"], told["fold"]) == (0, None)

    assert main(["compile", str(model), "-b", "generic", "-o", str(out)]) == 0
    out_text = capsys.readouterr().out
    assert "density" in out_text
    rows = [line.split() for line in out_text.replace("│", " ").splitlines()]
    assert ["dense", "plain", "225"] in [row[:3] for row in rows]


def test_compile_stores_n_of_m(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    kept = np.argsort(rng.random((6, 5, 4)), -1) < 2
    values = (rng.integers(1, 100, kept.shape) * kept).reshape(6, 20)
    net = ir.Builder(ir.TensorType((1, 1, 20), 4, True))
    net.add(ir.Dense("fc1", "x", ir.Weights(values, 8), np.zeros(6, np.int64)))
    file.save(net.network(), path := tmp_path / "pruned.penjing")
    result = run_json(capsys, "compile", path, "-b", "generic", "-o", out := tmp_path / "out",
                      "--encoding", "fc1=2:4", "--budget", "4")
    (told,) = result["layers"]
    assert (told["encoding"], told["weight_bits"]) == ("2:4", 6 * 10 * (8 + 2))
    assert told["multipliers"] <= 4
    network = flow.Project.open(out).network
    assert network.layers[0].weights == ir.Weights(values, 8, encoding=ir.NofM(2, 4))


@pytest.mark.parametrize(("given", "reason"), [
    ("conv", "encoding: 'conv' does not name a layer and an encoding; write conv1=bitmap"),
    ("conv=", "encoding: 'conv=' does not name a layer and an encoding; write conv1=bitmap"),
    ("=plain", "encoding: '=plain' does not name a layer and an encoding; write conv1=bitmap"),
    ("relu=plain", "encoding: 'relu' is no layer with weights; name one of conv, dense"),
    ("conv=4:4",
     "layer conv: weights: n of m must be integers with 1 <= n < m <= 16, not 4 of 4"),
    ("conv=zip", f"layer conv: 'zip' is no encoding; name one of {', '.join(NAMES)}"),
    ("conv=constant", ("layer conv: only a dense layer, or a 1×1 convolution in one group, can "
                       "have its weights as constants in logic; store them plain")),
    ("dense=plain", "encoding: dense is to be both codebook and plain; give one of them")])
def test_encodings_that_are_refused(given: str, reason: str, model: Path, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(model), "-b", "generic", "-o", str(tmp_path / "out"),
                 "--encoding", "dense=codebook", "--encoding", given]) == 2
    assert capsys.readouterr().err == f"penjing: error: {reason}\n"
    assert not (tmp_path / "out").exists()


def test_compile_for_people(model: Path, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(model), "-b", "generic", "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "cycles per frame" in out
    assert "conv" in out
    with pytest.raises(json.JSONDecodeError):
        json.loads(out)


def test_the_same_input_gives_the_same_files(model: Path, tmp_path: Path) -> None:
    first, second = compiled(model, tmp_path / "a"), compiled(model, tmp_path / "b")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def large(path: Path) -> Path:
    """A network whose weights are more words than stand in the Verilog."""
    rng = np.random.default_rng(7)
    file.save(ir.Network("large", "input", ir.TensorType((6, 5, 10), 8, False), (
        ir.Flatten("flat", "input"),
        ir.Dense("dense", "flat", ir.Weights(rng.integers(-7, 8, (2, 300)), 4),
                 np.full(2, 3)))), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("inline", [False, True])
def test_large_tables_are_beside_the_verilog(inline: bool, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run_json(capsys, "compile", large(tmp_path / "large.penjing"), "-b", "generic", "-o", out,
             "--budget", 1, *(["--inline-memories"] if inline else []))
    files = sorted(path.name for path in (out / MEMORIES).glob("*"))
    assert len(files) == (not inline)
    assert ("$readmemh" in (out / "large.v").read_text()) is not inline
    if importlib.util.find_spec("cocotb") is None:
        pytest.skip("needs the sim extra")
    for layer in ([], ["--layer", "dense"]):
        found = run_json(capsys, "simulate", out, "-n", 4, *layer)
        assert found["mismatches"] == 0 < found["values_compared"]
    if not inline:
        contents = (out / MEMORIES / files[0]).read_text()
        (out / MEMORIES / files[0]).write_text(contents.replace("7", "6"))
        assert run_json(capsys, "simulate", out, "-n", 4, status=1)["mismatches"] > 0


def test_compile_again_replaces_the_project(model: Path, tmp_path: Path) -> None:
    out = compiled(model, tmp_path / "out")
    (out / "simulate.json").write_text("{}")
    (out / project.SIMULATOR).mkdir()
    (out / project.SIMULATOR / "kept").write_text("")
    compiled(model, out)
    assert not (out / "simulate.json").exists()
    assert (out / project.SIMULATOR / "kept").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "tiny.penjing"}


def test_faster_wishes_take_more(model: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    def multipliers(fps: float) -> int:
        result = run_json(capsys, "compile", model, "-b", "generic", "-o", tmp_path / "out",
                          "--fps", fps)
        assert result["frames_per_second"] >= fps
        return int(result["multipliers"])

    assert multipliers(1) == 2
    assert multipliers(1e6) > multipliers(3e5) > 2


def test_folds_by_hand(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text('{"conv": {"pe": 3, "simd": 5}, "dense": {"pe": 2, "rows": 1, "lanes": 7}}')
    result = run_json(capsys, "compile", model, "-b", "generic", "-o", tmp_path / "out", "--folds",
                      folds)
    by_name = {layer["name"]: layer for layer in result["layers"]}
    assert by_name["conv"]["fold"]["pe"] == 3
    assert by_name["dense"]["fold"] == {"pe": 2, "rows": 1, "lanes": 7}
    # A DSP block makes two products of so few bits.
    assert (by_name["conv"]["multipliers"], by_name["dense"]["multipliers"]) == (8, 7)
    assert result["multipliers"] == 15


def test_multipliers_of_dsp_blocks_alone() -> None:
    """LUTs take what the DSP blocks do not give, unless these are to be alone."""
    weights = np.arange(16 * 3 * 3 * 8).reshape(16, 3, 3, 8) % 16 - 8
    wide = ir.Network("wide", "x", ir.TensorType((8, 8, 8), 8, True), (
        ir.Convolution("conv", "x", ir.Weights(weights, 4), np.zeros(16, np.int64)),))
    fast = flow.plan(wide, flow.Target("ulx3s-12f", 100.0, fps=200_000))
    assert fast.multipliers > 28
    assert fast.resources.dsps == 28
    with pytest.raises(PenjingError,
                       match=r"needs \d+ multipliers on ulx3s-12f, where it may have 28"):
        flow.plan(wide, flow.Target("ulx3s-12f", 100.0, fps=200_000,
                                    multipliers=flow.Multipliers.DSP))
    alone = flow.plan(wide, flow.Target("ulx3s-12f", multipliers=flow.Multipliers.DSP))
    assert alone.multipliers == alone.resources.dsps <= 28
    either = flow.plan(wide, flow.Target("ulx3s-12f", multipliers=flow.Multipliers.ANY))
    assert either.cycles_per_frame < alone.cycles_per_frame
    assert flow.plan(wide, flow.Target("ulx3s-12f")) == either, "it is the default"
    assert either.resources.luts <= 0.75 * 24_288, "the router needs the rest"
    # Where nothing has an end, so many are enough.
    for multipliers in (None, flow.Multipliers.DSP):
        few = flow.plan(wide, flow.Target("generic", multipliers=multipliers))
        assert 28 < few.multipliers <= 64
    with pytest.raises(PenjingError, match=r"^multipliers: generic has no end of them"):
        flow.plan(wide, flow.Target("generic", multipliers=flow.Multipliers.ANY))


def test_without_multipliers_nor_device_speed_is_bounded() -> None:
    """It would be unrolled whole: 2,048 lanes, which take minutes to emit."""
    one, half = np.array([1 << 30]), np.array([1])
    net = ir.Network("relu6", "x", ir.TensorType((16, 16, 8), 8, True), (
        ir.ScaleRequantize("relu", "x", one, half, 8, True, low=0, high=96),))
    plan = flow.plan(net, flow.Target("generic"))
    assert plan.resources.luts < 1000
    assert (plan.cycles_per_frame, plan.layer("relu").o.lanes) == (256, 8), "a position a beat"
    more = flow.plan(net, flow.Target("generic", budget={"luts": 200_000}))
    assert more.cycles_per_frame < plan.cycles_per_frame
    assert flow.plan(net, flow.Target("generic", fps=100e6)).cycles_per_frame == 1


def test_network_of_ten_times_resnet8_is_refused(tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    """Its 774,144 weights alone take more block RAM than the largest board has."""
    shape = (64, 3, 3, 64)
    weights = np.random.default_rng(7).integers(-128, 128, shape)
    layers: list[ir.Layer] = []
    for n in range(21):
        source = layers[-1].name if layers else "x"
        layers += [ir.Convolution(f"conv{n}", source, ir.Weights(weights, 8, 10),
                                  np.zeros(64, np.int64), (1, 1), (1, 1, 1, 1)),
                   ir.ShiftRequantize(f"requantize{n}", f"conv{n}", 10, 8, True)]
    path, out = tmp_path / "large.penjing", tmp_path / "out"
    file.save(ir.Network("large", "x", ir.TensorType((8, 8, 64), 8, True), tuple(layers)), path)
    assert main(["compile", str(path), "-b", "ulx3s-85f", "-o", str(out)]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.endswith("; see docs/place_and_route.md")
    found = re.search(r"needs (\d+) block RAMs .*on ulx3s-85f, where it may have 208", line)
    assert found
    assert int(found[1]) > 774_144 * 8 // (18 * 1024)
    assert not out.exists()


def test_plan_survives_the_file(model: Path, tmp_path: Path) -> None:
    target = flow.Target("ulx3s-12f", budget={"multipliers": 5})
    made = flow.compile_model(model, tmp_path / "out", target)
    assert flow.Project.open(tmp_path / "out") == made


def test_samples_begin_with_the_extremes() -> None:
    kind = ir.TensorType(SHAPE, 8, True)
    frames = sample_frames(kind, 10, 1)
    assert frames.shape == (10, *SHAPE)
    assert (frames[0] == 127).all()
    assert (frames[1] == -128).all()
    assert set(frames[2].flat) == {-128, 127}
    assert np.array_equal(frames, sample_frames(kind, 10, 1))
    assert not np.array_equal(frames, sample_frames(kind, 10, 2))


def test_simulate(model: Path, data: Path, tmp_path: Path,
                  capsys: pytest.CaptureFixture[str]) -> None:
    out = compiled(model, tmp_path / "out")
    result = run_json(capsys, "simulate", out, "--data", data, "-n", 6)
    assert result["frames"] == 6
    assert result["values_compared"] == 4 * 6 * 3
    assert result["mismatches"] == 0
    assert result["cycles_per_frame"] == result["predicted_cycles_per_frame"]
    assert result["latency_cycles"] == result["predicted_latency_cycles"]
    assert [one["stalls"] for one in result["patterns"]] == ["none", "input", "output", "both"]
    assert flow.Project.open(out).recorded("simulate") == result

    # The pattern without stalls runs anyway, and the simulator is built once only.
    again = run_json(capsys, "simulate", out, "--stalls", "output")
    assert [one["stalls"] for one in again["patterns"]] == ["none", "output"]
    assert again["build_seconds"] < 2

    # Verilog of another network, with the same ports, must be found out.
    other = tmp_path / "other.penjing"
    file.save(network(bias=1), other)
    shutil.copy(compiled(other, tmp_path / "wrong") / "tiny.v", out / "tiny.v")
    wrong = run_json(capsys, "simulate", out, "-n", 2, "--stalls", "none", status=1)
    assert wrong["mismatches"] == wrong["values_compared"] == 6
    assert main(["simulate", str(out), "-n", "2", "--stalls", "none"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.slow
def test_simulate_one_layer(model: Path, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    out = compiled(model, tmp_path / "out")
    wave = tmp_path / "wave.vcd"
    result = run_json(capsys, "simulate", out, "--layer", "relu", "--stalls", "none", "--wave",
                      wave)
    assert result["layer"] == "relu"
    assert result["mismatches"] == 0
    assert result["cycles_per_frame"] == result["predicted_cycles_per_frame"]
    assert wave.stat().st_size > 0


@pytest.mark.slow
def test_simulate_one_layer_of_two_inputs(tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    conv, relu = network().layers[:2]
    branch = ir.Convolution("branch", "input", ir.Weights(np.full((5, 1, 1, 2), 3), 3),
                            np.zeros(5, np.int64), (2, 1))
    file.save(ir.Network("tiny", "input", network().input_type, (
        conv, relu, branch, ir.Add("sum", "relu", "branch"))), tmp_path / "sum.penjing")
    out = compiled(tmp_path / "sum.penjing", tmp_path / "out")
    result = run_json(capsys, "simulate", out, "--layer", "sum", "-n", 4)
    assert result["mismatches"] == 0
    assert result["values_compared"] == 4 * 4 * 75
    assert result["cycles_per_frame"] == result["predicted_cycles_per_frame"]
    assert result["latency_cycles"] > 0


@pytest.mark.slow
def test_simulate_a_layer_of_three_inputs(tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    file.save(ir.Network("tiny", "input", network().input_type, (
        ir.Clamp("low", "input", 0, 9), ir.Repeat("twice", "low", 2),
        ir.Clamp("high", "input", 20, 40),
        ir.Concatenation("join", "twice", ("input", "high")))), tmp_path / "join.penjing")
    out = compiled(tmp_path / "join.penjing", tmp_path / "out")
    result = run_json(capsys, "simulate", out, "--layer", "join", "-n", 4)
    assert result["mismatches"] == 0
    assert result["values_compared"] == 4 * 4 * 4 * network().input_type.elements
    assert result["cycles_per_frame"] == result["predicted_cycles_per_frame"]


def test_evaluate_integers(model: Path, data: Path, tmp_path: Path,
                           capsys: pytest.CaptureFixture[str]) -> None:
    out = compiled(model, tmp_path / "out")
    result = run_json(capsys, "evaluate", out, "--data", data)
    assert result["samples"] == 12
    assert result["accuracy"] == pytest.approx(11 / 12)
    assert result["float_accuracy"] is None
    assert result["oracle"] is None
    assert flow.Project.open(out).recorded("evaluate") == result


def program(path: Path) -> None:
    """A small float network, and data with PyTorch's own answers as labels."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    x = images(40)
    with torch.no_grad():
        y = net(torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32) / 255)).argmax(1)
    torch.export.save(torch.export.export(net, (torch.zeros(1, *SHAPE[2:], *SHAPE[:2]),)),
                      path / "net.pt2")
    np.savez(path / "net.npz", x=x, y=y.numpy())


@pytest.mark.parametrize(("given", "reason"), [
    ({"fps": "fast"}, "^frames per second: it must be a number, not 'fast'"),
    ({"clock_mhz": "100"}, "^clock: it must be a number"),
    ({"budget": 16}, "^budget: it must be a mapping of limits"),
    ({"budget": {"luts": 1.5}}, "^budget: it must be a mapping of limits"),
    ({"folds": 3}, "^folds: it must be the path of a JSON file"),
    ({"multipliers": "dsp"}, r"^multipliers: it must be a penjing\.flow\.Multipliers")])
def test_a_target_that_is_none_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(PenjingError, match=reason):
        flow.Target("generic", **given)


def test_pytorch_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path)
    out, data = tmp_path / "out", tmp_path / "net.npz"
    result = run_json(capsys, "compile", tmp_path / "net.pt2", "-b", "generic", "-o", out,
                      "--calibration", data, "--weight-bits", 12, "--activation-bits", 14)
    assert result["multipliers"] > 2
    assert flow.Project.open(out).network.input_type.scale == pytest.approx(1 / 255)
    evaluated = run_json(capsys, "evaluate", out, "--data", data)
    assert evaluated["samples"] == 40
    assert evaluated["float_accuracy"] == 1
    assert evaluated["accuracy"] > 0.9
    assert evaluated["oracle"] == "pytorch"
    assert evaluated["oracle_mismatches"] == 0

    from penjing.sim.oracles import torch as pytorch

    real = pytorch.run
    monkeypatch.setattr(pytorch, "run", lambda *given: real(*given) + 1)
    wrong = run_json(capsys, "evaluate", out, "--data", data, status=1)
    assert wrong["oracle_mismatches"] == 40 * 4

    def refuses(*given: object) -> None:
        raise PenjingError("net.pt2: PyTorch cannot run it; export it again")

    monkeypatch.setattr(pytorch, "run", refuses)
    told = run_json(capsys, "evaluate", out, "--data", data)
    assert told["accuracy"] == evaluated["accuracy"]
    assert told["notes"] == ["no oracle: net.pt2: PyTorch cannot run it; export it again"]


def test_a_network_without_classes_is_compared_without_labels(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path)
    out, data = tmp_path / "out", tmp_path / "bare.npz"
    np.savez(data, x=images(40))
    for bits, least, most in ((4, 0.01, 0.5), (14, 0.0, 0.002)):
        main(["compile", str(tmp_path / "net.pt2"), "-b", "generic", "-o", str(out),
              "--calibration", str(data), "--weight-bits", str(bits), "--activation-bits",
              str(bits)])
        capsys.readouterr()
        evaluated = run_json(capsys, "evaluate", out, "--data", data)
        assert evaluated["accuracy"] is evaluated["float_accuracy"] is None
        assert least < evaluated["float_difference"] < most
        assert evaluated["oracle_mismatches"] == 0


def test_float_images_mean_the_same_as_integers(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path)
    out = tmp_path / "out"
    main(["compile", str(tmp_path / "net.pt2"), "-b", "generic", "-o", str(out), "--calibration",
          str(tmp_path / "net.npz")])
    capsys.readouterr()
    with np.load(tmp_path / "net.npz") as arrays:
        np.savez(tmp_path / "floats.npz", x=(arrays["x"] / 255).astype(np.float32), y=arrays["y"])
    integers = run_json(capsys, "evaluate", out, "--data", tmp_path / "net.npz")
    assert run_json(capsys, "evaluate", out, "--data", tmp_path / "floats.npz") == integers


@pytest.mark.slow
def test_build(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyosys")
    pytest.importorskip("amaranth_boards")
    out = tmp_path / "out"
    assert main(["compile", str(model), "-b", "icebreaker", "-o", str(out), "--budget", "4"]) == 0
    capsys.readouterr()
    compiled = json.loads((out / "compile.json").read_text())
    result = run_json(capsys, "build", out)
    assert Path(result["bitstream"]).stat().st_size > 10_000
    assert result["luts"] > 0
    assert result["fmax_mhz"] > 10
    assert result["predicted"] == {
        cell: compiled["resources"][cell] + compiled["link"][cell] for cell in result["predicted"]}
    recorded = flow.Project.open(out).recorded("build")
    assert recorded is not None
    layout = Layout.of_json(recorded.pop("layout"))
    assert recorded == result
    owned = [layout.cells(owner) for owner in layout.owners]
    assert all(sum(cells[kind] for cells in owned) == result[kind]
               for kind in ("luts", "dsps", "brams"))
    assert min(layout.cells(name)["luts"] for name in ("conv", "dense", LINK)) > 100
    left = 1000 / result["clock_mhz"] - 1000 / result["fmax_mhz"]
    assert layout.slack[0].low == pytest.approx(left, abs=0.01)  # nextpnr rounds
    assert {path.name for path in (out / project.BOARD).iterdir()} & {"placed.json"} == set()
    assert (result["seed"], result["seeds"]) == (
        1, [{"seed": 1, "fmax_mhz": result["fmax_mhz"]}])
    # Side by side, and only what is new: the fastest of both is kept.
    bitstream = Path(result["bitstream"]).read_bytes()
    both = run_json(capsys, "build", out, "--seeds", "2", "--workers", "2")
    assert both["seeds"][0] == result["seeds"][0] != both["seeds"][1]
    best = max(both["seeds"], key=lambda one: one["fmax_mhz"])
    assert (both["seed"], both["fmax_mhz"]) == (best["seed"], best["fmax_mhz"])
    assert (Path(both["bitstream"]).read_bytes() == bitstream) is (both["seed"] == 1)
    assert run_json(capsys, "build", out) == result, "as it was kept"
    assert Path(result["bitstream"]).read_bytes() == bitstream


def test_too_little_memory_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    def takes_all(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(flow, "compile_model", takes_all)
    assert main(["compile", "net.onnx", "--board", "generic", "-o", str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err == (
        "penjing: error: memory: too little for this network or these images; give a smaller "
        "network or fewer images, or run it where there is more\n")
