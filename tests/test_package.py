"""The wheel holds every module, and the core neither needs nor loads the extras."""

from __future__ import annotations

import enum
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import penjing
import pytest

ROOT = Path(penjing.__file__).parent
PACKAGE = ("hdl", "compiler", "sim", "boards", "flow")
EXTRAS = ("torch", "cocotb", "serial", "pyosys", "amaranth_boards")


def run(*command: str, cwd: Path) -> str:
    """Standard output of ``command``, which must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_every_module(tmp_path: Path) -> None:
    # A copy, since setuptools leaves its build folder beside the sources.
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "py.typed"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, checkout)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, checkout)
    for name in PACKAGE:
        shutil.copytree(ROOT / name, checkout / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-build-isolation", "--wheel-dir", str(tmp_path), str(checkout), cwd=tmp_path)
    (wheel,) = tmp_path.glob("penjing-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("penjing/")}
    wanted = {f"penjing/{path.name}" for path in ROOT.glob("*.py")} | {"penjing/py.typed"}
    for name in PACKAGE:
        wanted |= {f"penjing/{path.relative_to(ROOT).as_posix()}"
                   for suffix in ("*.py", "*.v", "*.sv", "*.css")
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
    from penjing.compiler import file, ir

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
