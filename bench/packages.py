"""What installs: the wheel, in an empty environment with each combination of extras.

The wheel is built from the source archive, and installed with what the extras ask for, within
`constraints.txt`. In each environment runs what its extras are for; what is for the others must
end in one line that names the extra.

    python bench/packages.py --run
    python bench/packages.py --run --python python3.13 --extras "" onnx sim+fpga
    python bench/packages.py --wheels 3.12 3.13 3.14
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from penjing.compiler import file, ir
from penjing.compiler.ir import PenjingError
from torch import nn

FILE = "packages.json"
ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
INPUTS = ("tiny.penjing", "float.pt2", "net.onnx", "images.npz")

CORE = "core"
FIRST = (("compile", "tiny.penjing", "-b", "icebreaker", "-o", "tiny"),
         ("compile", "float.pt2", "-b", "generic", "--calibration", "images.npz", "-o", "float"))
"""What the core must do."""
TASKS = {
    "torch": ("evaluate", "float", "--data", "images.npz"),
    "tflite": ("compile", str(EXAMPLES / "keras" / "fashion.tflite"), "-b", "ulx3s-85f",
               "-o", "tflite"),
    "onnx": ("compile", "net.onnx", "-b", "generic", "-o", "onnx"),
    "sim": ("simulate", "tiny", "-n", "2"),
    "fpga": ("build", "tiny"),
}
"""What each extra is for. Extras that are not here are for a checkout alone."""
LEFT_OUT = ("build", "dist", "tutorial", "*.egg-info", "__pycache__", ".*cache", ".git", ".venv",
            ".hypothesis")
"""What of a checkout is not its own."""


def combinations() -> list[str]:
    """Every combination of the extras that have a task, the smallest first, and ``all``."""
    return [*("+".join(chosen) for count in range(len(TASKS) + 1)
              for chosen in itertools.combinations(TASKS, count)), "all"]


def inputs(folder: Path) -> None:
    """Write the networks and images of the tasks into ``folder``."""
    rng = np.random.default_rng(5)
    weights = rng.integers(-7, 8, (3, 32))
    file.save(ir.Network("tiny", "input", ir.TensorType((4, 4, 2), 4, False, 4), (
        ir.Flatten("flat", "input"),
        ir.Dense("dense", "flat", ir.Weights(weights, 4), np.full(3, 2)))),
        folder / "tiny.penjing")
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(),
                          nn.Linear(16, 3)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 8, 8),)),
                      folder / "float.pt2")
    np.savez(folder / "images.npz", x=rng.random((8, 8, 8, 1)), y=rng.integers(0, 3, 8))
    constants = {"w": weights.T.astype(np.int8), "scale": np.float32(0.5), "zero": np.int8(0)}
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul",
                          ["x", "scale", "zero", "w", "scale", "zero", "scale", "zero"], ["y"])],
        "net", [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[
        helper.make_opsetid("", 21)]), folder / "net.onnx")


def call(*command: object, cwd: Path, status: Iterable[int] = (0,)) -> tuple[str, str]:
    """What ``command`` prints on stdout and stderr; `PenjingError` for any other ``status``."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True,
                          check=False)
    if done.returncode not in status:
        raise PenjingError(f"{' '.join(map(str, command))}: exit status {done.returncode}; "
                           f"{' '.join((done.stdout + done.stderr).split())[-600:]}")
    return done.stdout, done.stderr


def pip(*arguments: object, cwd: Path) -> str:
    """What this environment's pip prints."""
    return call(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments,
                cwd=cwd)[0]


def archives(folder: Path) -> tuple[Path, Path]:
    """The source archive of a copy of the checkout, and the wheel that is built from it."""
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*LEFT_OUT))
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    call(sys.executable, "-c", code, folder, cwd=checkout)
    source, = folder.glob("penjing-*.tar.gz")
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    wheel, = folder.glob("penjing-*.whl")
    return source, wheel


def wanted(wheel: Path, extras: Sequence[str]) -> str:
    """The requirement of ``wheel`` with ``extras``."""
    return f"penjing[{','.join(extras)}] @ {wheel.as_uri()}"


def attempt(wheel: Path, python: str, extras: Sequence[str], folder: Path) -> dict[str, Any]:
    """Install into an environment in ``folder`` and run all tasks there."""
    started = time.monotonic()
    call(python, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    inside = folder / "env" / "bin" / "python"
    pip("--python", inside, "install", "-q", "-c", ROOT / "constraints.txt",
        wanted(wheel, extras), cwd=folder)
    seconds = time.monotonic() - started
    pip("--python", inside, "check", cwd=folder)
    held = json.loads(pip("--python", inside, "list", "--format", "json", cwd=folder))
    penjing = folder / "env" / "bin" / "penjing"
    for arguments in FIRST:
        call(penjing, *arguments, "--json", cwd=folder)
    for extra, arguments in TASKS.items():
        given = extra in extras or "all" in extras
        printed, told = call(penjing, *arguments, "--json", cwd=folder,
                             status=(0,) if given else (0, 2))
        if given is (f"penjing[{extra}]" in printed + told):
            raise PenjingError(f"{'+'.join(extras) or CORE}: penjing {arguments[0]} says: "
                               f"{printed}{told}")
    return {"packages": len(held), "tasks_run": len(FIRST) + len(TASKS),
            "install_seconds": round(seconds)}


def run(pythons: Sequence[str], chosen: Sequence[str]) -> None:
    """Try the ``chosen`` combinations with each of the ``pythons``; store each as it comes."""
    with tempfile.TemporaryDirectory() as place, common.progress_bar() as bar:
        folder = Path(place)
        inputs(folder)
        source, wheel = archives(folder)
        task = bar.add_task("", total=len(pythons) * len(chosen))
        for python, extras in itertools.product(pythons, chosen):
            version = call(python, "-c", "import platform; print(platform.python_version())",
                           cwd=folder)[0].strip()
            bar.update(task, description=f"{version} {extras or CORE}")
            with tempfile.TemporaryDirectory(dir=folder) as inner:
                here = Path(inner)
                for name in INPUTS:
                    shutil.copy(folder / name, here)
                found = attempt(wheel, python, [*filter(None, extras.split("+"))], here)
            held = common.read(FILE)
            environments = held.get("environments", {})
            environments.setdefault(version, {})[extras or CORE] = found
            common.write(FILE, {
                **held, **common.stamp("python bench/packages.py --run", "pip", "setuptools"),
                "bytes": {"source": source.stat().st_size, "wheel": wheel.stat().st_size},
                "environments": environments})
            bar.advance(task)


def is_there(wheel: Path, version: str, extras: Sequence[str], folder: Path) -> bool:
    """Whether the index has wheels of all that ``extras`` need on the Python ``version``."""
    try:
        pip("install", "-q", "--dry-run", "--ignore-installed", "--only-binary=:all:",
            "--python-version", version, "--target", folder / "nothing", "-c",
            ROOT / "constraints.txt", wanted(wheel, [*filter(None, extras)]), cwd=folder)
    except PenjingError as error:
        if "No matching distribution" in str(error):
            return False
        raise
    return True


def look_up(versions: Sequence[str]) -> None:
    """Ask the package index whether there are wheels of all that each extra needs."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        extras = [*tomllib.load(stream)["project"]["optional-dependencies"]]
    extras.remove("all")
    with tempfile.TemporaryDirectory() as place, common.progress_bar() as bar:
        folder = Path(place)
        _, wheel = archives(folder)
        task = bar.add_task("", total=len(versions))
        found = {}
        for version in versions:
            bar.update(task, description=version)
            found[version] = (dict.fromkeys([CORE, *extras], True)
                              if is_there(wheel, version, extras, folder) else
                              {extra or CORE: is_there(wheel, version, [extra], folder)
                               for extra in ["", *extras]})
            bar.advance(task)
    held = common.read(FILE)
    common.write(FILE, {**held, "wheels": {
        **common.stamp("python bench/packages.py --wheels", "pip"),
        "pythons": {**held.get("wheels", {}).get("pythons", {}), **found}}})


def table(result: dict[str, Any]) -> None:
    """Print what was tried, and what wheels there are."""
    common.show("Installed and tried", ("Python", "extras", "packages", "tasks", "seconds"), [
        (version, extras, found["packages"], found["tasks_run"], found["install_seconds"])
        for version, held in result.get("environments", {}).items()
        for extras, found in held.items()])
    common.show("Wheels of all that is needed", ("Python", "extras", "there"), [
        (version, extra, "yes" if there is True else "no")
        for version, held in result.get("wheels", {}).get("pythons", {}).items()
        for extra, there in held.items()])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="install and try anew")
    parser.add_argument("--python", nargs="+", default=[sys.executable],
                        help="interpreters to try")
    parser.add_argument("--extras", nargs="+", choices=combinations(), default=combinations(),
                        metavar="A+B", help="combinations to try; all by default, '' is the core")
    parser.add_argument("--wheels", nargs="+", default=[], metavar="VERSION",
                        help="ask the index what wheels there are for these Pythons")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Try what is asked for, and print what is stored."""
    args = parse_args()

    def measure() -> dict[str, Any]:
        if args.run:
            run(args.python, args.extras)
        if args.wheels:
            look_up(args.wheels)
        return common.read(FILE)

    return common.present(FILE, measure, table, anew=args.run or bool(args.wheels),
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
