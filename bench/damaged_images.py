"""Damaged images of weights, sent into accelerators that are loaded: none may run.

The networks are two small dense layers, and LeNet-300-100 with the sparse layers of ``loading.py``.
Bits of a good image are flipped, bytes are missing or too many, it is cut off, it is one for the
same network with weights that are stored otherwise, or its checksum is right and its symbols are
too few or too many; see ``tests/damage.py``. A frame is on offer all the time. Two of three images
are waited for, and the third is followed by the next one at once. The last of a hundred is good,
and the frame comes in behind it, not before.

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
import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from loading import BOARD, EXAMPLES, PAIR, PAIRS, of_one_shape
from penjing import flow
from penjing.compiler import file, ir
from penjing.compiler.dataflow.accelerator import whole
from penjing.compiler.ir import Network, PenjingError, TensorType
from penjing.flow import Target
from penjing.hdl.emit import emit
from penjing.hdl.loadable import Loadable
from penjing.hdl.loader import Status
from penjing.hdl.tech import Generic
from penjing.sim import simulators

# Behind this folder, since there is a module `loading` in both.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from damage import damaged_images

FILE = "loading.json"
PART = "damaged"
BATCH = 100
"""Images of one simulation, behind which there is a good one."""
TOP = "design"
CHUNK = 512
PORTS = ("clk", "rst", "status", "octets", "count", "go", "busy", *(
    f"{stream}__{signal}" for stream in ("i", "o") for signal in ("payload", "valid", "ready")))
FOLLOWED = "FOLLOWED"
"""What stands for the status of an image that was not waited for."""


class Fed(wiring.Component):
    """An accelerator, and what gives it ``CHUNK`` bytes one after the other: whoever simulates it
    need not wake up for each.

    Parameters
    ----------
    accelerator : with members of a `Loadable`.

    Members
    -------
    i, o, status : those of the accelerator.
    octets, count : In, so many bytes, the first one lowest.
    go : In(1), begins with the first of them.
    busy : Out(1), not all have been taken.
    """

    def __init__(self, accelerator: Loadable) -> None:
        self._accelerator = accelerator
        super().__init__({
            "i": In(accelerator.i.signature.flip()), "o": Out(accelerator.o.signature),
            "status": Out(Status), "octets": In(8 * CHUNK), "count": In(range(CHUNK + 1)),
            "go": In(1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """The accelerator, and where it is in the bytes."""
        m = Module()
        m.submodules.accelerator = accelerator = self._accelerator
        place, load = Signal(range(CHUNK + 1), init=CHUNK), accelerator.load
        wiring.connect(m, wiring.flipped(self.i), accelerator.i)
        wiring.connect(m, accelerator.o, wiring.flipped(self.o))
        m.d.comb += [self.status.eq(accelerator.status), self.busy.eq(place < self.count),
                     load.valid.eq(self.busy), load.payload.eq(self.octets.word_select(place, 8))]
        with m.If(self.go):
            m.d.sync += place.eq(0)
        with m.Elif(load.valid & load.ready):
            m.d.sync += place.eq(place + 1)
        return m


def small() -> Network:
    """Two dense layers, one of weights of few values."""
    rng = np.random.default_rng(5)
    kind = TensorType((1, 1, 12), 4, True)
    return Network("small", "x", kind, (
        ir.Dense("first", "x", ir.Weights(rng.choice([-7, -1, 0, 2, 9], (10, 12)), 5),
                 rng.integers(-9, 9, 10)),
        ir.ShiftRequantize("shift", "first", 3, 5, True),
        ir.Dense("second", "shift", ir.Weights(rng.integers(-8, 8, (4, 10)), 4),
                 rng.integers(-9, 9, 4))))


def lenet() -> Network:
    """One of the pair of ``loading.py``."""
    return of_one_shape([file.load(EXAMPLES / f"{name}.penjing") for name in PAIR])[0]


NETWORKS = {"small": (small, "codebook"), "lenet_300_100": (lenet, PAIRS["sparse_pair"])}
"""What makes each, and how its weights are stored."""


def compiled(network: Network, encoding: str, folder: Path) -> flow.Project:
    """The accelerator of ``network``, whose weights are loaded."""
    saved = folder / "network.penjing"
    file.save(network, saved)
    target = Target(BOARD, multipliers=flow.Multipliers.DSP)
    return flow.compile_model(saved, folder / encoding, target, loadable=True, encodings={
        layer.name: encoding for layer in network.layers
        if isinstance(layer, ir.MultiplyAccumulate)})


def run(name: str, count: int) -> dict[str, Any]:
    """Send ``count`` damaged images, and store what became of them, batch by batch."""
    make, encoding = NETWORKS[name]
    with tempfile.TemporaryDirectory() as fresh, common.progress_bar() as bar:
        folder, network = Path(fresh), make()
        (project, good), (_, foreign) = (
            (made, flow.load_weights(made.path, folder / "network.penjing").path.read_bytes())
            for made in (compiled(network, one, folder) for one in (encoding, "plain")))
        task = bar.add_task("images", total=count)
        total, ran, good_runs, statuses = 0, 0, True, Counter[str]()
        while total < count:
            images = damaged_images(good, [foreign], min(BATCH, count - total),
                                    random.Random(total))
            found = simulated(project, [*images, good], folder)
            total += len(images)
            statuses.update(found["statuses"][:-1])
            ran += len({n for n, status in enumerate(found["statuses"]) if status == "READY"}
                       .union(found["begun"]) - {len(images)})
            good_runs &= found["statuses"][-1] == "READY" and len(images) in found["begun"]
            known = common.read(FILE)
            common.write(FILE, {**known, PART: {**known.get(PART, {}), name: {
                "encoding": encoding, "image_bytes": len(good), "images": total,
                "statuses": dict(sorted(statuses.items())), "ran": ran, "good_runs": good_runs,
                **common.stamp(f"python bench/damaged_images.py --run --network {name} "
                               f"--images {total}", "amaranth", "cocotb", "verilator")}}})
            bar.update(task, completed=total)
    return common.read(FILE)


def simulated(project: flow.Project, images: list[bytes], folder: Path) -> dict[str, Any]:
    """What became of the ``images``, one after the other in the accelerator of ``project``."""
    accelerator = whole(project.network, project.plan, Generic())
    assert isinstance(accelerator, Loadable)
    built = simulators.build(emit(Fed(accelerator), TOP), TOP, cache=folder / "cache", ports=PORTS)
    if not built.cached:
        built.provide(folder)
    (folder / "job.json").write_text(json.dumps({"sizes": [*map(len, images)], "chunk": CHUNK}))
    (folder / "images").write_bytes(b"".join(images))
    (folder / "result.json").unlink(missing_ok=True)
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
    for name, one in result[PART].items():
        common.show(f"{one['images']} damaged images of {name}", ("", "images"), [
            ("that ran", one["ran"]), *(
                ("followed at once by the next" if status == FOLLOWED else status.lower(), count)
                for status, count in one["statuses"].items()),
            ("good ones between them run", "yes" if one["good_runs"] else "no")])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate anew")
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="damaged ones")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.network, args.images), table, anew=args.run,
                          as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
