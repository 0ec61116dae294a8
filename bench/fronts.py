"""The plans of ResNet8 on ULX3S-85F that no other surpasses, with and without soft multipliers.

``docs/pictures/front.svg`` shows them; milliseconds of a plan are the processor's.

    python bench/fronts.py --run --models FOLDER

FOLDER holds pretrainedResnet_quant.tflite.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
from penjing import flow

FILE = "fronts.json"
BOARD = "ulx3s-85f"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "front.svg"
SHOWN = ("cycles", "frames_per_second", "luts", "dsps", "brams", "multipliers")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Both fronts."""
    result = common.stamp("python bench/fronts.py --run", "numpy")
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as name:
        task = bar.add_task("")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        place = Path(name) / "front.json"
        for multipliers in flow.Multipliers:
            started = common.processor_seconds()
            front = flow.explore(args.models / "pretrainedResnet_quant.tflite",
                                 flow.Target(BOARD, multipliers=multipliers), output=place,
                                 plots=multipliers is flow.Multipliers.ANY, progress=show)
            seconds = common.processor_seconds() - started
            result[multipliers] = {
                "board": front.board, "clock_mhz": front.clock_mhz, "tried": front.tried,
                "seconds": round(seconds, 1), "plan_ms": round(1000 * seconds / front.tried),
                "points": [{key: one[key] for key in (*SHOWN, "dsps_allowed")}
                           for one in front.json()["points"]]}
        drawn = place.with_suffix(".svg").read_bytes()
    common.write(FILE, result)
    PICTURE.write_bytes(drawn)
    return result


def show(result: dict[str, Any]) -> None:
    """Print both."""
    for multipliers in flow.Multipliers:
        front = result[multipliers]
        common.show(f"ResNet8 on {front['board']}, multipliers {multipliers}: "
                    f"{len(front['points'])} of {front['tried']} plans, {front['plan_ms']} ms each",
                    SHOWN, [[f"{one[key]:,.6g}" for key in SHOWN] for one in front["points"]])


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="plan anew; else show what is stored")
    parser.add_argument("--models", type=Path, help="folder of the .tflite file")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Plan or read, and print."""
    args = parse_args()
    return common.present_of_models(FILE, args, lambda: run(args), show)


if __name__ == "__main__":
    sys.exit(main())
