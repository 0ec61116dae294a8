"""What goes of networks because nobody reads it or because it is constant, and what that saves.

Each network is scheduled twice for ULX3S-85F with all of its multipliers, as it was read and as it
is compiled, and the golden model runs both. In the example of Fashion-MNIST, the filters of least
magnitude are zeros, a part of each convolution, without training. Without an option it prints the
stored results; ``--run`` measures anew (two minutes), those of MLPerf Tiny where ``--models`` is
given.

    python bench/reduced.py --run --models MODELS
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing import flow
from penjing.compiler import ir
from penjing.compiler.ir import Network
from penjing.flow.load import Model, Quantization, load
from penjing.flow.project import removed
from penjing.flow.simulate import sample_frames
from penjing.sim import golden

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FILE = "reduced.json"
BOARD = "ulx3s-85f"
PRUNED = 0.3
"""The part of the example's filters that are zeros."""
IMAGES = 16
"""Extreme and random images that both networks are run on."""

TITLES = {"fashion_mnist": f"Fashion-MNIST CNN, {PRUNED:.0%} of the filters zeros",
          "bnn": "binary network of Fashion-MNIST",
          "resnet8": "ResNet8", "ds_cnn": "DS-CNN", "mobilenet": "MobileNetV1-0.25",
          "autoencoder": "autoencoder"}
TINY = {"resnet8": "pretrainedResnet_quant.tflite", "ds_cnn": "kws_ref_model.tflite",
        "mobilenet": "vww_96_int8.tflite", "autoencoder": "ad01_int8.tflite"}


def pruned() -> Model:
    """The example of Fashion-MNIST with filters of zeros, their biases too."""
    folder = EXAMPLES / "fashion_mnist"
    model = load(folder / "fashion_mnist.pt2", Quantization(folder / "calibration.npz"))
    layers = tuple(_pruned(layer) if isinstance(layer, ir.Convolution) else layer
                   for layer in model.network.layers)
    return replace(model, network=replace(model.network, layers=layers))


def _pruned(layer: ir.Convolution) -> ir.Convolution:
    values, bias = layer.weights.values.copy(), layer.bias.copy()
    sizes = np.abs(values).sum((1, 2, 3))
    least = np.argsort(sizes, kind="stable")[:int(PRUNED * len(sizes))]
    values[least], bias[least] = 0, 0
    return replace(layer, weights=replace(layer.weights, values=values), bias=bias)


def measured(model: Model) -> dict[str, Any]:
    """The two networks side by side."""
    reduced = model.reduced
    lost = removed(reduced.network, reduced.settings)
    images = sample_frames(model.network.input_type, IMAGES, 1)
    before, after = (golden.run(one.network, images) for one in (model, reduced))
    return {"removed": {one.layer: [one.channels, one.of] for one in lost},
            "images": IMAGES, "values_compared": before.size,
            "mismatches": int(np.count_nonzero(before != after)),
            "before": planned(model.network), "after": planned(reduced.network)}


def planned(network: Network) -> dict[str, int]:
    """What is predicted of ``network``."""
    plan = flow.plan(network, flow.Target(BOARD, multipliers=flow.Multipliers.DSP))
    weights = [layer.weights for layer in network.layers
               if isinstance(layer, ir.MultiplyAccumulate)]
    return {"weights": sum(one.values.size for one in weights), "macs": plan.macs,
            "cycles_per_frame": plan.cycles_per_frame, "multipliers": plan.multipliers,
            **vars(plan.resources)}


def run(models: Path | None) -> dict[str, Any]:
    """Measure all that is at hand; the others keep their results."""
    networks: dict[str, Callable[[], Model]] = {
        "fashion_mnist": pruned, "bnn": lambda: load(EXAMPLES / "binary" / "bnn.penjing")}
    if models is not None:
        networks |= {name: lambda file=file: load(models / file) for name, file in TINY.items()}
    for name, read in networks.items():
        common.store(FILE, tuple(TITLES), name, "reduced", {
            **measured(read()), **common.stamp("python bench/reduced.py --run", "numpy")})
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print what there was before and after."""
    rows: list[tuple[object, ...]] = []
    for name, steps in result["networks"].items():
        found = steps["reduced"]
        for title, side in ((TITLES[name], "before"), ("", "after")):
            rows.append((title, side, *(f"{found[side][what]:,}" for what in (
                "weights", "macs", "cycles_per_frame", "multipliers", "brams", "dsps", "luts"))))
        told = (f"  {len(found['removed'])} layers lost channels, {found['mismatches']} of "
                f"{found['values_compared']} values differ")
        rows.append((told, *[""] * 8))
    common.show(f"Predicted for {BOARD}", (
        "network", "", "weights", "MACs", "cycles", "multipliers", "BRAMs", "DSPs", "LUTs"), rows)


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure anew")
    parser.add_argument("--models", type=Path, metavar="DIR",
                        help="the folder of the .tflite files of MLPerf Tiny")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args.models), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
