"""`penjing compress` from a file to a smaller one: what it keeps, tells, refuses and resumes."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import penjing
import pytest
import torch
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.load import torch as pytorch
from penjing.compiler.load.floats import FloatMultiply
from penjing.flow import data
from penjing.flow.sets import data_digest
from torch import nn

RECIPE = """
seed = 3
batch = 16
[[step]]
do = "prune"
ratio = 0.75
layers = { conv = 0.5 }
timing = "gradual"
every = 4
epochs = 2
[[step]]
do = "share"
codes = 8
start = "exact"
epochs = 1
distil = 0.5
[[step]]
do = "train"
epochs = 1
"""


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(1, 6, 3), norm=nn.BatchNorm2d(6), relu=nn.ReLU(), pool=nn.MaxPool2d(2),
        flatten=nn.Flatten(), dense=nn.Linear(54, 3))).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program, its data, and a recipe."""
    made = tmp_path_factory.mktemp("compress")
    program = torch.export.export(network(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, made / "net.pt2")
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 200)
    x = rng.integers(0, 60, (200, 8, 8, 1))
    # A class is a bright quarter of the image.
    for image, label in zip(x, y, strict=True):
        image[4 * (label // 2):4 * (label // 2) + 4, 4 * (label % 2):4 * (label % 2) + 4] += 150
    np.savez(made / "images.npz", x=x.astype(np.uint8), y=y)
    (made / "recipe.toml").write_text(RECIPE)
    return made


def run(folder: Path, *more: str, output: str = "small.pt2", recipe: str = "recipe.toml") -> int:
    return main(["compress", str(folder / "net.pt2"), "-r", str(folder / recipe), "--data",
                 str(folder / "images.npz"), "-o", str(folder / output), *more])


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """The compressed program."""
    assert run(folder, "--plots") == 0
    return folder / "small.pt2"


def test_the_result_has_its_zeros_and_its_few_values(made: Path) -> None:
    layers = {layer.name: layer.weights for layer in pytorch.load(made).layers
              if isinstance(layer, FloatMultiply)}
    for name, ratio in (("conv", 0.5), ("dense", 0.75)):
        weights = layers[name].reshape(len(layers[name]), -1)
        assert (weights == 0).mean() == pytest.approx(ratio, abs=0.01)
    assert len(np.unique(layers["dense"])) <= 8


def test_each_step_is_told(made: Path) -> None:
    told = json.loads(made.with_suffix(".json").read_text())
    before, prune, share, train = told["stages"]
    assert [stage["do"] for stage in told["stages"]] == ["", "prune", "share", "train"]
    assert before["weights"] == 6 * 9 + 54 * 3
    # Of 54 and of 162 weights; a part of one is rounded up.
    assert prune["nonzeros"] <= 27 + 40
    assert share["stored_bits"] < prune["stored_bits"] < before["stored_bits"]
    assert before["float_bits"] == 32 * (6 * 9 + 6 + 54 * 3 + 3)
    assert told["ratio"] == before["float_bits"] / train["stored_bits"]
    assert told["test_images"] == 20
    assert [len(stage["epochs"]) for stage in told["stages"]] == [0, 2, 1, 1]
    assert not made.with_suffix(".work").exists()


def test_the_plot_is_there(made: Path) -> None:
    assert made.with_suffix(".svg").read_text().lstrip().startswith("<?xml")


def test_another_teaches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    four = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    for name, module in (("wide", wide), ("four", four)):
        torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 8, 8),)),
                          folder / f"{name}.pt2")
    (folder / "taught.toml").write_text('[[step]]\ndo = "train"\nepochs = 1\ndistil = 1.0\n')
    taught = []
    for teachers in ((), ("wide",), ("wide", "net")):
        asked = [word for name in teachers for word in ("--teacher", str(folder / f"{name}.pt2"))]
        assert run(folder, *asked, output="taught.pt2", recipe="taught.toml") == 0
        told = json.loads((folder / "taught.json").read_text())
        taught.append(told["stages"][1]["epochs"][0][0])
    # From itself there is nothing to learn; from both, it is less than from another alone.
    assert taught[0] < taught[2] < taught[1]
    for name, why in (("four", "the teacher makes (4,) of (1, 8, 8), the network (3,)"),
                      ("images", "not a PyTorch program"), ("nowhere", "cannot be read")):
        suffix = "npz" if name == "images" else "pt2"
        assert run(folder, "--teacher", str(folder / f"{name}.{suffix}"), output="bad.pt2",
                   recipe="taught.toml") == 2
        complaint = capsys.readouterr().err
        assert why in complaint
        assert not list(folder.glob("bad.*"))
    (folder / "alone.toml").write_text('[[step]]\ndo = "train"\nepochs = 1\n')
    fails(capsys, run(folder, "--teacher", str(folder / "wide.pt2"), output="bad.pt2",
                      recipe="alone.toml"), "alone.toml: no step of it learns from a teacher")
    assert not list(folder.glob("bad.*"))


def test_hardware_takes_the_encodings(made: Path, tmp_path: Path) -> None:
    project = penjing.compile_model(made, tmp_path / "net", penjing.Target("ulx3s-85f"),
                                    penjing.Quantization(made.parent / "images.npz"))
    dense = next(layer for layer in project.network.layers if isinstance(layer, ir.Dense))
    assert dense.weights.encoding.name.endswith("+codebook")


def test_an_interrupted_run_ends_in_the_same_bits(folder: Path, made: Path) -> None:
    class Stop(KeyboardInterrupt):
        pass

    seen = []

    def stopping(at: int) -> penjing.flow.progress.Progress:  # type: ignore[name-defined]
        def progress(what: str, done: int, total: int) -> None:
            seen.append(what)
            if len(seen) == at:
                raise Stop
        return progress

    for at in (8, 12, 6):
        seen.clear()
        with pytest.raises(Stop):
            penjing.compress(folder / "net.pt2", folder / "again.pt2", folder / "recipe.toml",
                             folder / "images.npz", progress=stopping(at))
        assert (folder / "again.work").is_dir()
        assert not (folder / "again.pt2").exists()
    penjing.compress(folder / "net.pt2", folder / "again.pt2", folder / "recipe.toml",
                     folder / "images.npz")
    one, other = (pytorch.load(path) for path in (made, folder / "again.pt2"))
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        if isinstance(mine, FloatMultiply) and isinstance(theirs, FloatMultiply):
            assert np.array_equal(mine.weights, theirs.weights)
            assert np.array_equal(mine.bias, theirs.bias)


class Blocks(nn.Module):
    """Three residual blocks, whose sums a program calls add, add_1 and add_2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.dense = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        for one in self.inner:
            x = torch.relu(x + one(x))
        result: torch.Tensor = self.dense(x.mean((2, 3)))
        return result


def test_blocks_are_those_of_the_file_whether_a_run_goes_on_or_not(folder: Path, tmp_path: Path
                                                                   ) -> None:
    torch.manual_seed(1)
    torch.export.save(torch.export.export(Blocks().eval(), (torch.zeros(1, 1, 8, 8),)),
                      tmp_path / "net.pt2")
    (tmp_path / "blocks.toml").write_text(
        '[[step]]\ndo = "blocks"\nnames = ["add"]\n[[step]]\ndo = "train"\nepochs = 1\n'
        'batch = 60\n[[step]]\ndo = "blocks"\ncount = 1\n')

    def made(name: str, **options: Any) -> tuple[tuple[str, ...], list[str]]:
        done = penjing.compress(tmp_path / "net.pt2", tmp_path / name, tmp_path / "blocks.toml",
                                folder / "images.npz", **options)
        layers = [layer.name for layer in pytorch.load(tmp_path / name).layers
                  if isinstance(layer, FloatMultiply)]
        return done.stages[-1].blocks, layers

    def stopping(what: str, done: int, total: int) -> None:
        if what.startswith("step 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made("stopped.pt2", progress=stopping)
    assert made("stopped.pt2") == made("whole.pt2")


def test_names_behind_low_rank_are_those_that_it_makes(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = '[[step]]\ndo = "low-rank"\nmethod = "tucker"\nlayers = { conv = 0.3 }\n[[step]]\n'
    (folder / "behind.toml").write_text(f'{first}do = "prune"\nlayers = {{ conv_b = 0.5 }}\n')
    assert run(folder, output="behind.pt2", recipe="behind.toml") == 0
    capsys.readouterr()
    (folder / "behind.toml").write_text(f'{first}do = "prune"\nlayers = {{ conv = 0.5 }}\n')
    fails(capsys, run(folder, output="behind.pt2", recipe="behind.toml"),
          "step 2, prune: layers: 'conv' is no layer")


def test_data_of_another_type_are_other_data(folder: Path) -> None:
    held = data.read(folder / "images.npz")
    signed = replace(held, x=held.x.view(np.int8))
    assert data_digest(signed) != data_digest(held) != data_digest(
        replace(held, x=held.x.reshape(100, 16, 8, 1)))


def test_integers_come_out_where_they_are_asked_for(folder: Path) -> None:
    assert run(folder, output="small.penjing") == 0
    network = file.load(folder / "small.penjing")
    dense = next(layer for layer in network.layers if isinstance(layer, ir.Dense))
    assert dense.weights.encoding.name.endswith("+codebook")


def test_networks_of_integers_are_pruned_and_shared(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "plain.toml").write_text('[[step]]\ndo = "prune"\nratio = 0.5\n'
                                       '[[step]]\ndo = "share"\ncodes = 8\n')
    assert run(folder, output="start.penjing", recipe="plain.toml") == 0
    assert main(["compress", str(folder / "start.penjing"), "-r", str(folder / "plain.toml"),
                 "--data", str(folder / "images.npz"), "-o", str(folder / "end.penjing")]) == 0
    for layer in file.load(folder / "end.penjing").layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            assert layer.weights.nonzeros <= layer.weights.values.size / 2
            assert len(layer.weights.codebook) <= 8
    capsys.readouterr()
    for key in ('rounding = "surgeon"', 'start = "random"'):
        (folder / "keen.toml").write_text(f'[[step]]\ndo = "share"\n{key}\n')
        fails(capsys, main(["compress", str(folder / "start.penjing"), "-r",
                            str(folder / "keen.toml"), "--data", str(folder / "images.npz"), "-o",
                            str(folder / "keen.penjing")]),
              "start.penjing is a network of integers, which is pruned by magnitude")
    (folder / "taught.toml").write_text('[[step]]\ndo = "prune"\ndistil = 0.5\n')
    fails(capsys, main(["compress", str(folder / "start.penjing"), "-r",
                        str(folder / "taught.toml"), "--data", str(folder / "images.npz"), "-o",
                        str(folder / "taught.penjing"), "--teacher", str(folder / "net.pt2")]),
          "it is a network of integers, which is not trained and learns from none")


def fails(capsys: pytest.CaptureFixture[str], status: int, message: str) -> None:
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_unfit_is_one_line(folder: Path, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, run(folder, output="small.onnx"), "is a .pt2 program or a .penjing file")
    fails(capsys, run(folder, recipe="none.toml"), "no recipe can be read")
    held = np.load(folder / "images.npz")
    np.savez(folder / "one.npz", x=held["x"], y=np.zeros(200, np.int64))
    base = ["compress", str(folder / "net.pt2"), "-r", str(folder / "recipe.toml"), "-o",
            str(tmp_path / "out.pt2"), "--data"]
    fails(capsys, main([*base, str(folder / "one.npz")]),
          "y has shape (200,) and 1 different values; it must be class numbers (N,), at least two")
    np.savez(folder / "few.npz", x=held["x"][:9], y=held["y"][:9])
    fails(capsys, main([*base, str(folder / "few.npz")]), "too few to hold every tenth")
    np.savez(folder / "many.npz", x=held["x"], y=held["y"] + 5)
    fails(capsys, main([*base, str(folder / "many.npz")]),
          "many.npz: y holds labels from 5 to 7, the network tells 3 classes apart")
    fails(capsys, main([*base, str(folder / "images.npz"), "--test", str(folder / "many.npz")]),
          "many.npz: y holds labels from 5 to 7")
    # Nothing is left that would stand in the way of a better try.
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_last_step_is_told_before_the_first_one(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = '[[step]]\ndo = "train"\nepochs = 1\nbatch = 16\n'
    for last, message in (
            ('do = "prune"\nlayers = { nowhere = 0.5 }', "'nowhere' is no layer with weights"),
            ('do = "share"\nlayers = { nowhere = 5 }', "'nowhere' is no layer with weights"),
            ('do = "inputs"\nlayers = { nowhere = 0.5 }', "'nowhere' is no layer with weights"),
            ('do = "channels"\nlayers = { nowhere = 0.5 }', "'nowhere' is no layer with weights"),
            ('do = "prune"\nunit = "2:4"\nlayers = { conv = 0, dense = 0 }',
             "all layers stay whole"),
            ('do = "blocks"\nnames = ["add"]', "block add: no sum of layers"),
            ('do = "blocks"\ncount = 2', "2 are to go, and there are 0"),
            ('do = "train"\nepochs = 1\nbatch = 500', "a batch of 500 is larger than the 180"),
            ('do = "channels"\nbefore = 1\nbatch = 500', "a batch of 500 is larger than the 180"),
            ('do = "train"\nepochs = 1\nbatch = 1', "a batch of 1 has no deviations")):
        (folder / "last.toml").write_text(f"{first}[[step]]\n{last}\n")
        status = run(folder, output="other.pt2", recipe="last.toml")
        error = capsys.readouterr().err
        assert (status, error.count("\n")) == (2, 1)
        assert "last.toml: step 2, " in error
        assert message in error
        assert not list(folder.glob("other.*"))


def test_outputs_that_could_not_be_written_are_told_at_once(
        folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "net.pt2").read_bytes()
    fails(capsys, run(folder, output="net.pt2"), "it is the network that is to be compressed")
    assert (folder / "net.pt2").read_bytes() == before
    shutil.copy(folder / "net.pt2", folder / "teacher.pt2")
    fails(capsys, run(folder, "--teacher", str(folder / "teacher.pt2"), output="teacher.pt2"),
          "teacher.pt2: it is a teacher; name another output")
    for name in ("a.pt2", "a.json", "a.svg"):
        (tmp_path / name).mkdir()
        fails(capsys, run(folder, output=str(tmp_path / "a.pt2")), f"{name}: it is a folder")
        (tmp_path / name).rmdir()
    (tmp_path / "file").write_text("")
    fails(capsys, run(folder, output=str(tmp_path / "file" / "a.pt2")),
          "a.work: cannot be used (Not a directory)")


def test_plots_that_nothing_could_draw_are_told_at_once(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    fails(capsys, run(folder, "--plots", output="other.pt2"), "pip install 'penjing[plots]'")
    assert not list(folder.glob("other.*"))


def test_what_is_not_installed_is_told_at_once(folder: Path) -> None:
    """In a process of its own, where nothing was imported before."""
    program = ("import sys; sys.modules['torch_pruning'] = None; "
               "from penjing.__main__ import main; sys.exit(main())")
    told = subprocess.run(
        [sys.executable, "-c", program, "compress", folder / "net.pt2", "-r", "two-four", "--data",
         folder / "images.npz", "-o", folder / "other.pt2"],
        capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "net.pt2: torch_pruning: not installed; pip install 'penjing[compress]'" in told.stderr
    assert told.stderr.count("\n") == 1
    assert not list(folder.glob("other.*"))


def stopped(folder: Path, output: str, what: str, recipe: str = "recipe.toml") -> Path:
    """The folder of a run that was interrupted where progress begins with ``what``."""
    class Stop(Exception):
        pass

    def progress(now: str, done: int, total: int) -> None:
        if now.startswith(what):
            raise Stop

    with pytest.raises(Stop):
        penjing.compress(folder / "net.pt2", folder / output, folder / recipe,
                         folder / "images.npz", progress=progress)
    return (folder / output).with_suffix(".work")


def test_a_recipe_can_be_mended_from_the_step_on_that_is_not_done(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = stopped(folder, "mended.pt2", "step 2")
    done = (work / "1.json").stat().st_mtime_ns
    (folder / "other.toml").write_text(RECIPE.replace("0.75", "0.7"))
    fails(capsys, run(folder, output="mended.pt2", recipe="other.toml"),
          "step 1 was done in another way; delete that folder")
    fails(capsys, run(folder, "--seed", "4", output="mended.pt2"), "it holds other work")
    (folder / "later.toml").write_text(RECIPE.replace("codes = 8", "codes = 300"))
    fails(capsys, run(folder, output="mended.pt2", recipe="later.toml"), "codes must be 2 to 256")
    assert (work / "1.json").stat().st_mtime_ns == done
    (folder / "later.toml").write_text(RECIPE.replace("codes = 8", "codes = 6"))
    work = stopped(folder, "mended.pt2", "step 3", "later.toml")
    assert (work / "1.json").stat().st_mtime_ns == done
    (work / "3.training").write_bytes(b"")
    (folder / "last.toml").write_text((folder / "later.toml").read_text() + "batch = 20\n")
    fails(capsys, run(folder, output="mended.pt2", recipe="last.toml"),
          "step 3 was done in another way; delete its 3.tr* there")
    fails(capsys, run(folder, output="mended.pt2", recipe="later.toml"), "3.training: no check")
    (work / "3.training").unlink()
    assert run(folder, output="mended.pt2", recipe="last.toml") == 0
    assert not work.exists()


def test_damaged_work_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = stopped(folder, "hurt.pt2", "step 2")
    for name, match in (("made_with.json", "no work of Penjing, or damaged"),
                        ("0.json", "0.json: it, or 0.pt2, is damaged; delete"),
                        ("1.pt2", "1.json: it, or 1.pt2, is damaged; delete")):
        whole = (work / name).read_bytes()
        for broken in (whole[:len(whole) // 2], b"{}", b"[]"):
            (work / name).write_bytes(broken)
            fails(capsys, run(folder, output="hurt.pt2"), match)
        (work / name).write_bytes(whole)
    (work / "1.pt2").write_bytes((folder / "net.pt2").read_bytes())
    fails(capsys, run(folder, output="hurt.pt2"), "1.json: it, or 1.pt2, is damaged")


def test_a_folder_of_something_else_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.work").mkdir()
    (folder / "mine.work" / "lock").write_text("keep")
    (folder / "mine.work" / "thesis").write_text("keep")
    fails(capsys, run(folder, output="mine.pt2"), "mine.work: no work of Penjing")
    assert sorted(path.read_text() for path in (folder / "mine.work").iterdir()) == ["keep"] * 2


def test_work_that_was_killed_before_it_was_marked_begins_anew(folder: Path) -> None:
    (folder / "killed.work").mkdir()
    (folder / "killed.work" / "lock").touch()
    (folder / "killed.work" / ".penjing-1-0.tmp").write_text('{"made')
    (folder / "short.toml").write_text('[[step]]\ndo = "prune"\n')
    assert run(folder, output="killed.pt2", recipe="short.toml") == 0
    assert not (folder / "killed.work").exists()


def test_a_run_that_was_stopped_in_clearing_up_can_be_repeated(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any file of its folder."""
    (folder / "short.toml").write_text('[[step]]\ndo = "prune"\n')
    unlink, left = Path.unlink, 0

    def stopping(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.parent.name == "stopped.work":
            if not left:
                raise KeyboardInterrupt
            left -= 1
        unlink(path, missing_ok=missing_ok)

    for at in range(6):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", stopping)
            left = at
            assert run(folder, output="stopped.pt2", recipe="short.toml") == 2
        assert (folder / "stopped.work").exists()
        assert (folder / "stopped.pt2").exists()
    assert run(folder, output="stopped.pt2", recipe="short.toml") == 0
    assert not (folder / "stopped.work").exists()


def test_a_file_that_is_in_its_place_when_it_is_stopped_stays_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def stopping(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        file.write_atomically(tmp_path / "made", b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_no_folders_are_left_of_what_is_unfit(
        folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "nowhere.toml").write_text('[[step]]\ndo = "prune"\nlayers = { nowhere = 0.5 }\n')
    fails(capsys, run(folder, output=str(tmp_path / "new" / "er" / "a.pt2"),
                      recipe="nowhere.toml"), "'nowhere' is no layer")
    assert not list(tmp_path.iterdir())


def test_what_a_step_makes_of_a_network_names_the_step(
        folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here none, since its channels are those that it puts out."""
    torch.export.save(torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(),
                                          (torch.zeros(1, 1, 8, 8),)), tmp_path / "net.pt2")
    (tmp_path / "images.npz").write_bytes((folder / "images.npz").read_bytes())
    (tmp_path / "far.toml").write_text(
        '[[step]]\ndo = "channels"\nratio = 0.5\n')
    fails(capsys, run(tmp_path, recipe="far.toml"), "far.toml: step 1, channels: ")


def test_one_run_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("before") and not seen:
            seen.append(run(folder, output="twice.pt2"))

    penjing.compress(folder / "net.pt2", folder / "twice.pt2", folder / "recipe.toml",
                     folder / "images.npz", progress=progress)
    fails(capsys, *seen, "twice.work: another run is at work there; wait for it")  # type: ignore[misc]
    assert (folder / "twice.pt2").exists()


class Ended(nn.Module):
    """The network and something behind it."""

    def __init__(self, end: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.end = network(), end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.inner(x))


def exported(module: nn.Module, path: Path) -> Path:
    torch.export.save(torch.export.export(module.eval(), (torch.zeros(1, 1, 8, 8),)), path)
    return path


@pytest.mark.parametrize("softmax", [torch.softmax, torch.log_softmax])
def test_a_softmax_at_the_end_is_not_in_the_loss_and_stays(
        folder: Path, tmp_path: Path, softmax: Callable[..., torch.Tensor]) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.replace("layers = { conv = 0.5 }", ""))
    plain = exported(Ended(lambda x: x), tmp_path / "plain.pt2")
    ended = exported(Ended(lambda x: softmax(x, 1)), tmp_path / "ended.pt2")
    one, other = (penjing.compress(path, tmp_path / "out.pt2", tmp_path / "r.toml",
                                   folder / "images.npz") for path in (plain, ended))
    assert [stage.epochs for stage in one.stages] == [stage.epochs for stage in other.stages]
    assert pytorch.load(tmp_path / "out.pt2").function == pytorch.load(ended).function
    assert pytorch.load(ended).function != pytorch.load(plain).function


@pytest.mark.parametrize(("module", "message"), [
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), "it puts out 1 numbers; what is compressed"),
    (nn.Conv2d(1, 3, 3), "it puts out 3 × 6 × 6 numbers"),
    (nn.Sequential(nn.MaxPool2d(4), nn.Flatten()), "no layers with weights"),
    (Ended(lambda x: x.argmax(1)), "no gradient passes an argmax"),
    (Ended(lambda x: (x, x.argmax(1))), "it has 2 outputs")])
def test_networks_that_tell_no_classes_apart(
        folder: Path, tmp_path: Path, module: nn.Module, message: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(module, tmp_path / "net.pt2")
    status = main(["compress", str(path), "-r", str(folder / "recipe.toml"), "--data",
                   str(folder / "images.npz"), "-o", str(tmp_path / "out.pt2")])
    fails(capsys, status, message)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


@pytest.mark.parametrize(("result", "least"), [("relu_1", 0), ("mul", -100)])
def test_one_of_several_outputs(folder: Path, tmp_path: Path, result: str, least: float) -> None:
    path = exported(Ended(lambda x: (x.relu(), x * 2)), tmp_path / "net.pt2")
    (tmp_path / "r.toml").write_text('[[step]]\ndo = "prune"\nratio = 0.5\n')
    penjing.compress(path, tmp_path / "out.pt2", tmp_path / "r.toml", folder / "images.npz",
                     result=result)
    x = np.random.default_rng(1).random((50, 8, 8, 1))
    assert least <= pytorch.run_float(tmp_path / "out.pt2", x).min() <= 0


def test_bits_are_those_of_the_compiled_network(folder: Path, tmp_path: Path) -> None:
    """Without channels that nobody reads, with shared weights behind a folded batch norm."""
    torch.manual_seed(2)
    path = exported(nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)), tmp_path / "net.pt2")
    (tmp_path / "r.toml").write_text(
        '[[step]]\ndo = "inputs"\nlayers = { conv2d_3 = 0.5 }\n[[step]]\ndo = "share"\ncodes = 8\n')
    quantization = penjing.Quantization(folder / "images.npz")
    made = penjing.compress(path, tmp_path / "out.pt2", tmp_path / "r.toml", folder / "images.npz",
                            quantization=quantization)
    network = penjing.compile_model(tmp_path / "out.pt2", tmp_path / "out",
                                    penjing.Target("ulx3s-85f"), quantization).network
    layers = [layer for layer in network.layers if isinstance(layer, ir.MultiplyAccumulate)]
    assert [layer.weights.values.shape[-1] for layer in layers] == [1, 4, 128]
    assert [layer.weights.encoding.name for layer in layers] == ["plain", "codebook", "codebook"]
    assert made.stages[-1].total("stored_bits") == sum(
        layer.weights.memory_bits + len(layer.bias) * network.type_of(layer.name).bits
        for layer in layers)
    assert made.stages[-1].total("weights") == made.stages[0].total("weights") == 72 + 576 + 384


def test_the_python_of_the_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                ) -> None:
    page = (Path(penjing.__file__).parent / "docs" / "compress.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    (tmp_path / "script.py").write_text("\n".join(blocks), encoding="utf-8")
    shutil.copy(folder / "net.pt2", tmp_path)
    shutil.copy(folder / "images.npz", tmp_path / "test.npz")
    held = np.load(folder / "images.npz")
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path("script.py", {"images": held["x"], "labels": held["y"]})
    assert made["made"].stages[-1].do == "share"
    assert made["narrow"].layers["conv"].weight.shape[0] == 4
    assert made["losses"].stored_bits(made["bits"]) <= 4 * sum(made["losses"].counts.values())
    assert file.load(tmp_path / "mixed.penjing") == made["mixed"].integers()


def padded_and_tied() -> nn.Module:
    torch.manual_seed(1)
    made = nn.Sequential(nn.Conv2d(1, 4, 1, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1),
                         nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
                         nn.Linear(16, 3))
    made[4].weight = made[2].weight
    return made.eval()


def test_steps_keep_zeros_and_find_their_layers_again(folder: Path, tmp_path: Path) -> None:
    """Where padding is a layer of its own, and weights are those of two layers."""
    torch.export.save(torch.export.export(padded_and_tied(), (torch.zeros(1, 1, 8, 8),)),
                      tmp_path / "net.pt2")
    (tmp_path / "images.npz").write_bytes((folder / "images.npz").read_bytes())
    (tmp_path / "recipe.toml").write_text(
        'batch = 16\n[[step]]\ndo = "prune"\nratio = 0.5\n'
        '[[step]]\ndo = "prune"\nratio = 0.25\nlayers = { conv2d_0 = 0 }\nepochs = 1\n'
        '[[step]]\ndo = "share"\ncodes = 4\nlayers = { conv2d_4 = 6 }\n'
        'start = "exact"\nepochs = 1\n'
        '[[step]]\ndo = "train"\nepochs = 1\n')
    stopped(tmp_path, "small.pt2", "step 2")
    penjing.compress(tmp_path / "net.pt2", tmp_path / "small.pt2", tmp_path / "recipe.toml",
                     tmp_path / "images.npz")
    weights = {layer.name: layer.weights for layer in pytorch.load(tmp_path / "small.pt2").layers
               if isinstance(layer, FloatMultiply)}
    assert {name: (one == 0).mean() for name, one in weights.items()} == dict.fromkeys(weights, 0.5)
    assert {name: len(np.unique(one)) for name, one in weights.items()} == {
        "conv2d_0": 3, "conv2d_2": 4, "conv2d_4": 6, "linear_8": 4}
