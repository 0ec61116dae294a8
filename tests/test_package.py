"""The archives hold every file, and the core neither needs nor loads the extras."""

from __future__ import annotations

import enum
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import penjing
import pytest
from packaging.requirements import Requirement
from penjing import flow
from penjing.compiler import file, ir
from penjing.flow import project

ROOT = Path(penjing.__file__).parent
PACKAGE = ("hdl", "compiler", "sim", "boards", "flow")
EXTRAS = ("torch", "cocotb", "serial", "pyosys", "amaranth_boards")


LEFT_OUT = ("build", "dist", "tutorial", "*.egg-info", "__pycache__", ".*cache", ".git*", ".venv",
            ".hypothesis", ".simulator", "*.log", "*.vcd", "*.pyc")
"""What a checkout may hold beside its own files, and GitHub's."""


def run(*command: str, cwd: Path) -> str:
    """Standard output of ``command``, which must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_archives_hold_every_file(tmp_path: Path) -> None:
    """The source archive is the checkout, and the wheel that is built from it the package."""
    # A copy, since setuptools leaves its build folder beside the sources.
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*LEFT_OUT))
    given = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*")
             if path.is_file()}
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, str(tmp_path), cwd=checkout)
    (source,) = tmp_path.glob("penjing-*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "examples/fashion_mnist/demo.py"} <= given
    assert given - packed == set()
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source), cwd=tmp_path)
    (wheel,) = tmp_path.glob("penjing-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("penjing/")}
    wanted = {f"penjing/{path.name}" for path in ROOT.glob("*.py")} | {"penjing/py.typed"}
    for name in PACKAGE:
        wanted |= {f"penjing/{path.relative_to(ROOT).as_posix()}"
                   for suffix in ("*.py", "*.v", "*.sv", "*.css", "*.toml")
                   for path in (ROOT / name).rglob(suffix)}
    assert held == wanted


def test_version_is_one() -> None:
    from importlib.metadata import version

    assert version("penjing") == penjing.__version__


@pytest.mark.parametrize("name", penjing.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(penjing, name) is not None


def test_every_layer_is_public() -> None:
    """Those that a file may hold are all there are, and what they are told is public as well."""
    def leaves(cls: type) -> set[type]:
        mine = {leaf for child in cls.__subclasses__() if child.__module__.startswith(ir.__name__)
                for leaf in leaves(child)}
        return mine or {cls}

    layers = leaves(ir.Layer)
    assert layers == set(file.LAYERS)
    encodings = leaves(ir.Encoding)
    assert encodings == set(file.ENCODINGS)
    enums = {kind for name in ir.__all__ if isinstance(kind := getattr(ir, name), enum.EnumType)}
    others = {ir.Builder, ir.Network, ir.TensorType, ir.Bipolar, ir.Weights}
    for kind in layers | encodings | enums | others:
        assert getattr(penjing, kind.__name__) is kind


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'"):
        _ = penjing.nonsense


def test_command_line_loads_no_extra(tmp_path: Path) -> None:
    """``penjing --help`` must work, quickly, where only the core is installed."""
    code = ("import sys, runpy; sys.argv = ['penjing', '--help']\n"
            "try: runpy.run_module('penjing', run_name='__main__')\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            f"print(sorted(set({EXTRAS!r}) & set(sys.modules)))")
    assert run(sys.executable, "-c", code, cwd=tmp_path).splitlines()[-1] == "[]"


def needed(requirement: str) -> Iterator[str]:
    """The names of the distributions that ``requirement`` brings, itself among them."""
    wanted = Requirement(requirement)
    yield wanted.name
    for line in importlib.metadata.requires(wanted.name) or ():
        further = Requirement(line)
        if further.marker is None or any(further.marker.evaluate({"extra": extra})
                                         for extra in ("", *wanted.extras)):
            yield from needed(line)


def install(folder: Path) -> None:
    """Link the core and what it needs into ``folder``, as pip would install them."""
    (folder / "penjing").symlink_to(ROOT)
    with (ROOT / "pyproject.toml").open("rb") as stream:
        core = tomllib.load(stream)["project"]["dependencies"]
    for name in {name for line in core for name in needed(line)}:
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(Path(str(distribution.locate_file(top))))


CALLS = """
import contextlib, io, json, sys
from penjing.__main__ import main
found = []
for arguments in json.loads(sys.argv[1]):
    with (contextlib.redirect_stdout(io.StringIO()) as out,
          contextlib.redirect_stderr(io.StringIO()) as told):
        status = main(arguments)
    found.append((status, out.getvalue(), told.getvalue()))
print(json.dumps(found))
"""


def test_core_alone(tmp_path: Path) -> None:
    """Without extras a saved network compiles, and what is missing is one line with its extra."""
    alone = tmp_path / "packages"
    alone.mkdir()
    install(alone)
    file.save(ir.Network("tiny", "input", ir.TensorType((1, 1, 8), 4, False), (
        ir.Dense("dense", "input", ir.Weights(np.arange(16).reshape(2, 8) - 8, 4),
                 np.zeros(2, np.int64)),)), tmp_path / "tiny.penjing")
    (tmp_path / "net.onnx").write_bytes(b"")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 8), np.int64))
    # Without PyTorch, no more is at hand of a project that came from there than this.
    flow.compile_model(tmp_path / "tiny.penjing", tmp_path / "float", flow.Target("generic"))
    mark = tmp_path / "float" / project.MARK
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"framework": "pytorch"}))
    (tmp_path / "float" / project.MODELS["pytorch"]).write_bytes(b"")
    calls = [["compile", "tiny.penjing", "-b", "icebreaker", "-o", "tiny", "--json"],
             ["evaluate", "float", "--data", "x.npz", "--json"],
             ["compile", str(ROOT / "examples/keras/fashion.tflite"), "-b", "generic", "-o", "o"],
             ["compile", "net.onnx", "-b", "generic", "-o", "o"],
             ["simulate", "tiny"],
             ["build", "tiny"]]
    code = f"import sys; sys.path.insert(0, {str(alone)!r}){CALLS}"
    compiled, evaluated, *others = json.loads(run(
        sys.executable, "-S", "-I", "-c", code, json.dumps(calls), cwd=tmp_path))
    assert compiled[0] == 0, compiled
    assert json.loads(compiled[1])["multipliers"] > 0
    assert (tmp_path / "tiny" / "tiny.v").stat().st_size > 1000
    (note,) = json.loads(evaluated[1])["notes"]
    assert note.endswith("not installed; pip install 'penjing[torch]'")
    for extra, (status, out, told) in zip(("tflite", "onnx", "sim", "fpga"), others, strict=True):
        assert (status, out) == (2, "")
        assert re.fullmatch(rf"penjing: error: .*: not installed; pip install 'penjing\[{extra}\]'"
                            r"; see README\.md\n", told), told


def test_pythons_are_those_with_wheels() -> None:
    """A classifier stands for a Python where everything is installed, or has wheels."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        declared = tomllib.load(stream)["project"]
    extras = {"core", *declared["optional-dependencies"]} - {"all"}
    results = json.loads((ROOT / "bench" / "results" / "packages.json").read_text())
    there = {version for version, held in results["wheels"]["pythons"].items()
             if held == dict.fromkeys(extras, True)}
    named = {found[1] for line in declared["classifiers"]
             if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))}
    tried = {version.rpartition(".")[0] for version, held in results["environments"].items()
             if "all" in held}
    assert tried == {"3.11", "3.12", "3.13"}, "README says so"
    assert named == there | tried
