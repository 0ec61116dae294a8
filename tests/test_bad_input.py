"""Bad input of every kind: exit status 2, one line on stderr, and nothing written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from judging import contents, judge
from penjing.__main__ import main
from penjing.compiler import file, ir

SHAPE = (6, 6, 1)
Case = Callable[[Path], list[str]]


def network(name: str = "tiny", outputs: int = 3) -> ir.Network:
    """A network with one layer of each sort that the cases need."""
    rng = np.random.default_rng(1)
    return ir.Network(name, "input", ir.TensorType(SHAPE, 8, False, 8), (
        ir.Convolution("conv", "input", ir.Weights(rng.integers(-7, 8, (2, 3, 3, 1)), 4),
                       np.array([1, -2])),
        ir.ShiftRequantize("relu", "conv", 4, 4, False),
        ir.Flatten("flat", "relu"),
        ir.Dense("dense", "flat", ir.Weights(rng.integers(-7, 8, (outputs, 32)), 4),
                 np.zeros(outputs, np.int64))))


def pt2(path: Path, weight: float | None = None, unknown: bool = False) -> None:
    """A float program, its first weight set or with a module that hardware does not know."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    layers = [nn.Conv2d(1, 2, 3), nn.LocalResponseNorm(2) if unknown else nn.ReLU(), nn.Flatten(),
              nn.Linear(32, 3)]
    model = nn.Sequential(*layers).eval()
    if weight is not None:
        with torch.no_grad():
            model[0].weight[0, 0, 0, 0] = weight
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 6, 6),)), path)


def save_data(path: Path, **arrays: object) -> None:
    """An .npz file of 8 good images and labels, or what ``arrays`` put in their place."""
    rng = np.random.default_rng(2)
    good = {"x": rng.integers(0, 256, (8, *SHAPE)).astype(np.uint8), "y": np.arange(8) % 3}
    held = {name: array for name, array in {**good, **arrays}.items() if array is not None}
    np.savez_compressed(path, **held)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good file of each sort, which every case gets a copy of."""
    folder = tmp_path_factory.mktemp("good")
    file.save(network(), folder / "net.penjing")
    file.save(network("wide", 4), folder / "other.penjing")
    pt2(folder / "net.pt2")
    save_data(folder / "data.npz")
    for model, out in (("net", "out"), ("other", "out2")):
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["compile", str(folder / f"{model}.penjing"), "-b", "generic", "--budget",
                         "4", "-o", str(folder / out)]) == 0
    return folder


@pytest.fixture
def here(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `good`, which is the current folder."""
    folder = tmp_path / "here"
    shutil.copytree(good, folder)
    monkeypatch.chdir(folder)
    return folder


def compile_integers(*options: str, model: str = "net.penjing", out: str = "new") -> list[str]:
    """Arguments that compile an integer network."""
    board = [] if "-b" in options else ["-b", "generic"]
    return ["compile", model, *board, "-o", out, *options]


def compile_floats(*options: str, model: str = "net.pt2", data: str = "data.npz") -> list[str]:
    """Arguments that compile a float network."""
    return compile_integers("--calibration", data, *options, model=model)


CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Add ``function``, which prepares a folder and returns the arguments, to `CASES`."""
    CASES[function.__name__] = function
    return function


def plain(name: str, *arguments: str) -> None:
    """Add a case that needs no preparation."""
    CASES[name] = lambda here: list(arguments)


def damaged(name: str, path: str, change: Callable[[bytes], bytes], *arguments: str) -> None:
    """Add a case in which the file ``path`` is changed."""
    def prepare(here: Path) -> list[str]:
        (here / path).write_bytes(change((here / path).read_bytes()))
        return list(arguments)

    CASES[name] = prepare


def images(name: str, arguments: list[str], **arrays: object) -> None:
    """Add a case in which the data file holds ``arrays``."""
    def prepare(here: Path) -> list[str]:
        save_data(here / "data.npz", **arrays)
        return arguments

    CASES[name] = prepare


def folds(name: str, text: str) -> None:
    """Add a case with the folds ``text``."""
    def prepare(here: Path) -> list[str]:
        (here / "folds.json").write_text(text)
        return compile_integers("--folds", "folds.json")

    CASES[name] = prepare


def precision(name: str, text: str) -> None:
    """Add a case with the widths ``text`` of single layers."""
    def prepare(here: Path) -> list[str]:
        (here / "bits.json").write_text(text)
        return compile_floats("--precision", "bits.json")

    CASES[name] = prepare


def flip(data: bytes) -> bytes:
    """``data`` with one bit in the last quarter changed."""
    place = len(data) * 7 // 8
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1:]


# --- the model
plain("model_missing", *compile_integers(model="none.penjing"))
plain("program_missing", *compile_floats(model="none.pt2"))
plain("model_is_a_folder", *compile_integers(model="out"))
damaged("network_empty", "net.penjing", lambda data: b"", *compile_integers())
damaged("network_truncated", "net.penjing", lambda data: data[:-20], *compile_integers())
damaged("network_flipped_bit", "net.penjing", flip, *compile_integers())
damaged("network_wrong_magic", "net.penjing", lambda data: b"PENGUIN!" * 99, *compile_integers())
damaged("network_huge_header", "net.penjing",
        lambda data: struct.pack("<Q", 1 << 60) + data[8:], *compile_integers())
damaged("network_line_breaks_in_a_name", "net.penjing",
        lambda data: data.replace(b"conv", b"c\\nv"), *compile_integers())
damaged("program_no_zip", "net.pt2", lambda data: b"hello" * 99, *compile_floats())
damaged("program_truncated", "net.pt2", lambda data: data[:len(data) // 2], *compile_floats())
damaged("program_flipped_bit", "net.pt2",
        lambda data: data[:len(data) // 3] + b"\xff" * 40 + data[len(data) // 3 + 40:],
        *compile_floats())
damaged("program_is_a_pickle", "net.pt2", lambda data: pickle.dumps({"weight": 1}),
        *compile_floats())
damaged("unknown_suffix", "net.penjing", lambda data: b"\x00" * 99,
        *compile_integers(model="plan.txt"))
plain("onnx_missing", *compile_integers(model="net.onnx"))
plain("tflite_missing", *compile_integers(model="net.tflite"))
plain("name_of_a_file_with_a_line_break", *compile_integers(model="a\nb.penjing"))


@case
def program_with_unsupported_module(here: Path) -> list[str]:
    pt2(here / "net.pt2", unknown=True)
    return compile_floats()


@case
def program_with_nan_weights(here: Path) -> list[str]:
    pt2(here / "net.pt2", weight=float("nan"))
    return compile_floats()


@case
def program_with_infinite_weights(here: Path) -> list[str]:
    pt2(here / "net.pt2", weight=float("inf"))
    return compile_floats()


@case
def program_with_wild_weights(here: Path) -> list[str]:
    pt2(here / "net.pt2", weight=3e38)
    return compile_floats()


# --- calibration data
plain("calibration_missing", *compile_integers(model="net.pt2"))
plain("calibration_for_integers", *compile_integers("--calibration", "data.npz"))
plain("data_missing", *compile_floats(data="none.npz"))
plain("data_is_a_folder", *compile_floats(data="out"))
images("data_empty", compile_floats(), x=np.zeros((0, *SHAPE)), y=np.zeros(0, int))
images("data_misshaped", compile_floats(), x=np.zeros((8, 5, 5, 1)))
images("data_channels_first", compile_floats(), x=np.zeros((8, 1, 6, 6)))
images("data_scalar", compile_floats(), x=np.float64(3), y=None)
images("data_with_nan", compile_floats(), x=np.full((8, *SHAPE), np.nan))
images("data_with_infinity", compile_floats(), x=np.full((8, *SHAPE), -np.inf))
images("data_without_x", compile_floats(), x=None)
images("data_of_objects", compile_floats(), x=np.array([{}] * 8, object))
images("data_of_text", compile_floats(), x=np.array(["a"] * 8))
images("data_complex", compile_floats(), x=np.zeros((8, *SHAPE), complex))
images("data_too_large_for_8_bits", compile_floats(), x=np.full((8, *SHAPE), 256))
damaged("data_no_zip", "data.npz", lambda data: b"1,2,3\n" * 99, *compile_floats())
damaged("data_truncated", "data.npz", lambda data: data[:len(data) // 2], *compile_floats())
damaged("data_flipped_bit", "data.npz",
        lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:], *compile_floats())


@case
def data_with_huge_claimed_shape(here: Path) -> list[str]:
    header = str({"descr": "<f8", "fortran_order": False, "shape": (1 << 40, *SHAPE)}).encode()
    with zipfile.ZipFile(here / "data.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return compile_floats()


@case
def data_with_huge_claimed_file(here: Path) -> list[str]:
    data = bytearray((here / "data.npz").read_bytes())
    start = data.index(b"PK\x01\x02")
    data[start + 24:start + 28] = struct.pack("<I", 0xFFFFFFF0)
    (here / "data.npz").write_bytes(data)
    return compile_floats()


# --- options
plain("board_unknown", *compile_integers("-b", "arty"))
for bits in ("-8", "0", "1", "17", "eight"):
    plain(f"weight_bits_{bits}", *compile_floats("--weight-bits", bits))
plain("activation_bits_negative", *compile_floats("--activation-bits", "-1"))
plain("activation_bits_99", *compile_floats("--activation-bits", "99"))
plain("widths_for_integers", *compile_integers("--weight-bits", "8"))
plain("precision_missing", *compile_floats("--precision", "none.json"))
plain("precision_for_integers", *compile_integers("--precision", "none.json"))
precision("precision_no_json", "conv2d_0=4/6")
precision("precision_no_object", "[4, 6]")
precision("precision_unknown_layer", '{"none": {"weights": 4}}')
precision("precision_no_table", '{"conv2d_0": 4}')
precision("precision_empty", '{"conv2d_0": {}}')
precision("precision_unknown_key", '{"conv2d_0": {"weights": 4, "bias": 4}}')
precision("precision_zero", '{"conv2d_0": {"weights": 0}}')
precision("precision_17", '{"conv2d_0": {"maps": 17}}')
precision("precision_no_integer", '{"conv2d_0": {"weights": true}}')
precision("precision_of_a_clamp", '{"relu_1": {"maps": 4}}')
precision("precision_of_the_map_of_the_output", '{"linear_3": {"maps": 4}}')
plain("input_scale_nan", *compile_floats("--input-scale", "nan"))
plain("mode_unknown", *compile_floats("--mode", "magic"))
for fps in ("0", "-3", "nan", "inf", "1e12"):
    plain(f"fps_{fps}", *compile_integers("--fps", fps))
plain("fps_out_of_reach", *compile_integers("--fps", "1e9"))
plain("fps_and_multipliers", *compile_integers("--fps", "1000", "--budget", "8"))
for budget in ("0", "-4", "many", "luts=", "gold=3", "1e3"):
    plain(f"budget_{budget}", *compile_integers("--budget", budget))
plain("budget_too_small", *compile_integers("--budget", "luts=10"))
for clock in ("0", "-25", "nan", "1e9"):
    plain(f"clock_{clock}", *compile_integers("--clock", clock))
plain("clock_that_the_pll_cannot_make", *compile_integers("-b", "ulx3s-85f", "--clock", "1"))
plain("folds_missing", *compile_integers("--folds", "none.json"))
folds("folds_no_json", "conv: 3")
folds("folds_no_object", "[1, 2]")
folds("folds_nested_too_deep", "[" * 100_000)
folds("folds_unknown_layer", '{"none": {"pe": 1, "simd": 1}}')
folds("folds_of_a_layer_without_weights", '{"relu": {"pe": 1, "simd": 1}}')
folds("folds_unknown_key", '{"conv": {"pe": 1, "width": 1}}')
folds("folds_zero", '{"conv": {"pe": 0, "simd": 1}}')
folds("folds_too_large", '{"conv": {"pe": 3, "simd": 9}}')
folds("folds_no_integer", '{"conv": {"pe": 1.5, "simd": true}}')
plain("option_unknown", *compile_integers("--magic"))
plain("option_without_value", *compile_integers("--board"))
plain("output_not_given", "compile", "net.penjing", "-b", "generic")
plain("command_unknown", "conjure")
plain("argument_too_many", "boards", "more")


@case
def network_too_large_for_the_board(here: Path) -> list[str]:
    rng = np.random.default_rng(3)
    large = ir.Network("large", "input", ir.TensorType((1, 1, 512), 8, False), (
        ir.Dense("dense", "input", ir.Weights(rng.integers(-127, 128, (512, 512)), 8),
                 np.zeros(512, np.int64)),))
    file.save(large, here / "large.penjing")
    return compile_integers("-b", "icebreaker", model="large.penjing")


# --- where to write
plain("output_is_a_file", *compile_integers(out="data.npz"))
plain("output_below_a_file", *compile_integers(out="data.npz/new/deeper"))
plain("output_is_the_current_folder", *compile_integers(out="."))
plain("output_in_a_folder_that_takes_no_files", *compile_integers(out="/proc/penjing/new"))
plain("output_name_too_long", *compile_integers(out="n" * 300))


@case
def output_holds_other_files(here: Path) -> list[str]:
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("do not lose this")
    return compile_integers(out="mine")


@case
def output_read_only(here: Path) -> list[str]:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (here / "locked").mkdir(mode=0o500)
    return compile_integers(out="locked/new")


# --- the compiled folder
plain("folder_missing", "simulate", "none")
plain("folder_is_a_file", "simulate", "data.npz")
damaged("settings_damaged", "out/penjing.json", lambda data: data[:-3], "simulate", "out")
damaged("settings_no_object", "out/penjing.json", lambda data: b"[]", "evaluate", "out", "--data",
        "data.npz")
damaged("settings_of_an_unknown_framework", "out/penjing.json",
        lambda data: data.replace(b'"framework": null', b'"framework": "caffe"'), "simulate", "out")
damaged("plan_damaged", "out/plan.json", lambda data: data[:len(data) // 2], "simulate", "out")
damaged("plan_edited", "out/plan.json",
        lambda data: re.sub(rb'"pe": \d+', b'"pe": 100', data), "simulate", "out")
damaged("plan_nested_too_deep", "out/plan.json", lambda data: b"[" * 100_000, "simulate", "out")
damaged("compiled_network_damaged", "out/network.penjing", flip, "simulate", "out")


@case
def folder_is_no_project(here: Path) -> list[str]:
    (here / "empty").mkdir()
    return ["simulate", "empty"]


@case
def plan_of_another_network(here: Path) -> list[str]:
    shutil.copy(here / "out2" / "plan.json", here / "out" / "plan.json")
    return ["simulate", "out"]


@case
def verilog_missing(here: Path) -> list[str]:
    (here / "out" / "tiny.v").unlink()
    return ["simulate", "out"]


# --- simulate
plain("layer_unknown", "simulate", "out", "--layer", "none")
plain("layer_without_hardware", "simulate", "out", "--layer", "flat")
plain("frames_zero", "simulate", "out", "-n", "0")
plain("frames_negative", "simulate", "out", "-n", "-1")
plain("frames_more_than_images", "simulate", "out", "--data", "data.npz", "-n", "9")
plain("stalls_unknown", "simulate", "out", "--stalls", "sometimes")
plain("simulator_unknown", "simulate", "out", "--simulator", "modelsim")
plain("wave_of_unknown_kind", "simulate", "out", "--wave", "wave.txt")
plain("wave_in_a_missing_folder", "simulate", "out", "--wave", "none/wave.vcd")
images("simulated_images_misshaped", ["simulate", "out", "--data", "data.npz"],
       x=np.zeros((8, 6, 6, 2), int))
images("simulated_images_out_of_range", ["simulate", "out", "--data", "data.npz"],
       x=np.full((8, *SHAPE), -1))

# --- evaluate
plain("evaluate_without_data", "evaluate", "out")
EVALUATE = ["evaluate", "out", "--data", "data.npz"]
images("labels_missing", EVALUATE, y=None)
images("labels_too_few", EVALUATE, y=np.zeros(7, int))
images("labels_of_floats", EVALUATE, y=np.zeros(8))
images("labels_of_a_scalar", EVALUATE, y=np.int64(1))
images("labels_for_pixels", EVALUATE, y=np.zeros((8, 2), int))
images("labels_out_of_range", EVALUATE, y=np.full(8, 3))
images("labels_negative", EVALUATE, y=np.full(8, -1))

# --- build
plain("build_for_a_target_without_tools", "build", "out")


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 35


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = CASES[name](here)
    before = contents(here)
    status = main(arguments)
    judge(status, *capsys.readouterr())
    assert contents(here) == before


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_missing_tool(simulator: str, here: Path, capsys: pytest.CaptureFixture[str],
                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    before = contents(here)
    judge(main(["simulate", "out", "--simulator", simulator]), *capsys.readouterr())
    assert contents(here) == before


@pytest.mark.parametrize("name", ["network_truncated", "board_unknown", "option_unknown"])
def test_bad_input_in_a_process(name: str, here: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "penjing", *CASES[name](here)], check=False,
                          capture_output=True, text=True)
    judge(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["network_too_large_for_the_board", "budget_too_small"])
def test_what_does_not_fit_is_told_in_numbers(name: str, here: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CASES[name](here)) == 2
    err = capsys.readouterr().err
    assert any(word in err for word in ("LUTs", "block RAMs", "DSPs", "flip-flops"))
    assert len(re.findall(r"\b\d+\b", err)) >= 2


def test_interrupt(here: Path, capsys: pytest.CaptureFixture[str],
                   monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penjing.flow.project.plan_file.save", interrupted)
    before = contents(here)
    judge(main(compile_integers()), *capsys.readouterr())
    assert contents(here) == before


@pytest.mark.parametrize(("command", "more"), [
    ("build", "; the same command goes on where it was"), ("simulate", "")])
def test_an_interrupt_tells_whether_it_goes_on(command: str, more: str, here: Path,
                                               capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"penjing.flow.{command}", interrupted)
    assert main([command, str(here)]) == 2
    assert capsys.readouterr().err == f"penjing: error: interrupted{more}\n"


def test_disk_full_keeps_the_old_project(here: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("penjing.flow.project.plan_file.save", full)
    before = contents(here)
    judge(main(compile_integers(out="out")), *capsys.readouterr())
    judge(main(compile_integers(out="a/b/c")), *capsys.readouterr())
    assert contents(here) == before


@pytest.mark.parametrize("source", ["data.npz", "net.penjing", "net.pt2"])
def test_random_damage(source: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is done to a file, the program ends in one line or succeeds, and never crashes."""
    rng = random.Random(4)
    good = (here / source).read_bytes()
    for round_ in range(60):
        data = bytearray(good[:rng.randrange(len(good))] if round_ % 3 == 0 else good)
        for _ in range(rng.randrange(1, 6)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        (here / source).write_bytes(data)
        model = "net.penjing" if source == "net.penjing" else "net.pt2"
        options = [] if source == "net.penjing" else ["--calibration", "data.npz"]
        status = main(["compile", model, "-b", "generic", "-o", "new", *options, "--json"])
        captured = capsys.readouterr()
        if status == 0:
            json.loads(captured.out)
            shutil.rmtree(here / "new")
        else:
            judge(status, *captured)
            assert not (here / "new").exists()
