"""`penjing compress` from a file to a smaller one: what it keeps, tells, refuses and resumes."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import penjing
import pytest
import torch
from penjing.__main__ import main
from penjing.compiler import file, ir
from penjing.compiler.load import torch as pytorch
from penjing.compiler.load.floats import FloatMultiply
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


def test_hardware_takes_the_encodings(made: Path, tmp_path: Path) -> None:
    project = penjing.compile_model(made, tmp_path / "net", penjing.Target("ulx3s-85f"),
                                    penjing.Quantization(made.parent / "images.npz"))
    dense = next(layer for layer in project.network.layers if isinstance(layer, ir.Dense))
    assert dense.weights.encoding.name.endswith("+codebook")


def test_an_interrupted_run_ends_in_the_same_bits(folder: Path, made: Path) -> None:
    class Stop(Exception):
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


def test_integers_come_out_where_they_are_asked_for(folder: Path) -> None:
    assert run(folder, output="small.penjing") == 0
    network = file.load(folder / "small.penjing")
    dense = next(layer for layer in network.layers if isinstance(layer, ir.Dense))
    assert dense.weights.encoding.name.endswith("+codebook")


def test_networks_of_integers_are_pruned_and_shared(folder: Path) -> None:
    (folder / "plain.toml").write_text('[[step]]\ndo = "prune"\nratio = 0.5\n'
                                       '[[step]]\ndo = "share"\ncodes = 8\n')
    assert run(folder, output="start.penjing", recipe="plain.toml") == 0
    assert main(["compress", str(folder / "start.penjing"), "-r", str(folder / "plain.toml"),
                 "--data", str(folder / "images.npz"), "-o", str(folder / "end.penjing")]) == 0
    for layer in file.load(folder / "end.penjing").layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            assert layer.weights.nonzeros <= layer.weights.values.size / 2
            assert len(layer.weights.codebook) <= 8


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
    fails(capsys, main([*base, str(folder / "one.npz")]), "of at least two classes")
    np.savez(folder / "few.npz", x=held["x"][:9], y=held["y"][:9])
    fails(capsys, main([*base, str(folder / "few.npz")]), "too few to hold every tenth")
    np.savez(folder / "many.npz", x=held["x"], y=held["y"] + 5)
    fails(capsys, main([*base, str(folder / "many.npz")]), "labels must be 0 to 2")
    (folder / "layer.toml").write_text('[[step]]\ndo = "prune"\nlayers = { nowhere = 0.5 }\n')
    fails(capsys, run(folder, output="other.pt2", recipe="layer.toml"), "'nowhere'")
    assert not (folder / "other.pt2").exists()
    fails(capsys, run(folder, output="other.pt2"), "another compression that was not finished")
