"""A small network on the smallest board: predicted against placed-and-routed, to the bitstream.

The network has the shape of a small Fashion-MNIST classifier (two convolutions, one dense layer,
weights of 4 bits, maps of 8), but random weights with a fixed seed: it classifies nothing, and its
hardware is that of a trained one. The full example, which the board cannot hold, is compiled too,
for the line that says so.

    python bench/icebreaker.py --run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from penjing.compiler import file
from penjing.compiler.compress.fixed_point import quantize
from penjing.compiler.ir import Network, PenjingError
from penjing.compiler.load import floats as fl
from penjing.flow import Target, build, compile_model
from penjing.flow.load import Quantization

BOARD = "icebreaker"
EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
FILE = "icebreaker.json"
SEED = 1
WEIGHT_BITS, MAP_BITS = 4, 8
CELLS = {"luts": "logic cells", "ffs": "flip-flops", "dsps": "DSPs", "brams": "block RAMs"}


def small_network() -> Network:
    """The network that is built, its fraction lengths found on the example's calibration images."""
    rng = np.random.default_rng(SEED)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)

    def bias(outputs: int) -> np.ndarray:
        return rng.normal(0, 0.1, outputs)

    layers = (
        fl.FloatConvolution("conv1", weights(4, 3, 3, 1), bias(4), padding=(1, 1, 1, 1)),
        fl.FloatRelu("relu1"), fl.FloatMaxPool("pool1", (2, 2), (2, 2)),
        fl.FloatConvolution("conv2", weights(8, 3, 3, 4), bias(8), padding=(1, 1, 1, 1)),
        fl.FloatRelu("relu2"), fl.FloatMaxPool("pool2", (2, 2), (2, 2)),
        fl.FloatFlatten("flatten"), fl.FloatDense("dense", weights(10, 392), bias(10)))
    with np.load(EXAMPLE / "calibration.npz", allow_pickle=False) as data:
        return quantize(fl.FloatNetwork((28, 28, 1), layers), data["x"], WEIGHT_BITS, MAP_BITS,
                        "small")


def refusal(folder: Path) -> dict[str, Any]:
    """The line with which compiling the full example for the board ends, and after what time."""
    started = time.perf_counter()
    try:
        compile_model(EXAMPLE / "fashion_mnist.pt2", folder, Target(BOARD),
                      Quantization(EXAMPLE / "calibration.npz"))
    except PenjingError as error:
        return {"line": str(error), "seconds": round(time.perf_counter() - started, 1)}
    raise AssertionError(f"the full example fits {BOARD}; choose a larger one to be refused")


def run() -> dict[str, Any]:
    """Compile and build the small network, and have the full one refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = small_network()
        file.save(network, folder / "small.penjing")
        project = compile_model(folder / "small.penjing", folder / "small", Target(BOARD))
        made = build(project.path).json()
        plan = project.plan
        result = {
            **common.stamp("python bench/icebreaker.py --run", "numpy"), "board": BOARD,
            "network": {"macs": plan.macs, "weight_bits": WEIGHT_BITS, "map_bits": MAP_BITS,
                        "weights": f"random, seed {SEED}"},
            "multipliers": plan.multipliers, "cycles_per_frame": plan.cycles_per_frame,
            "frames_per_second": round(plan.frames_per_second),
            "measured": {cell: made[cell] for cell in CELLS}, "predicted": made["predicted"],
            "fmax_mhz": round(made["fmax_mhz"], 1), "clock_mhz": made["clock_mhz"],
            "bitstream_bytes": Path(made["bitstream"]).stat().st_size,
            "seconds": {stage: round(value, 1) for stage, value in made["seconds"].items()},
            "refused": {"network": "fashion_mnist", **refusal(folder / "full")}}
        result["versions"] |= made["versions"]
    common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the table, and the refusal."""
    rows = [(what, result["predicted"][cell], result["measured"][cell])
            for cell, what in CELLS.items()]
    rows += [("MHz (wanted, reached)", result["clock_mhz"], result["fmax_mhz"]),
             ("cycles a frame", result["cycles_per_frame"], ""),
             ("frames a second", result["frames_per_second"], "")]
    common.show(f"{result['network']['macs']:,} multiply-accumulates on {result['board']}",
                ("", "predicted", "placed and routed"), rows)
    print(f"The full example is refused: {result['refused']['line']}")


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="build anew; else the stored results")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Build if asked to; print."""
    args = parse_args()
    return common.present(FILE, run, show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
