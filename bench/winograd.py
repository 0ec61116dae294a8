"""ResNet8 with convolutions in Winograd's form on ULX3S-85F: cycles, products and cells.

Without an option it prints the table from the stored results. ``--run`` plans the network with DSP
blocks alone and with multipliers of any kind, each without and with ``--winograd auto``; of the
latter it compares the golden model with LiteRT's reference kernels in every logit, and simulates
the Verilog against the golden model. ``--route`` places and routes. Projects are kept in
``--work``.

    python bench/winograd.py --run --models MODELS --data DATA
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Any

import common
import mlperf_tiny
from penjing import flow
from penjing.flow.progress import Progress

FILE = "winograd.json"
EXACT = 200
"""Images on which the golden model must equal LiteRT."""


@dataclass(frozen=True)
class Variant:
    """A way to compile ResNet8: with such ``multipliers``, in Winograd's form or not."""

    title: str
    multipliers: flow.Multipliers
    winograd: bool


VARIANTS = {
    "direct": Variant("DSP blocks alone", flow.Multipliers.DSP, False),
    "winograd": Variant("the same, `--winograd auto`", flow.Multipliers.DSP, True),
    "direct_any": Variant("`--multipliers any`", flow.Multipliers.ANY, False),
    "winograd_any": Variant("the same, `--winograd auto`", flow.Multipliers.ANY, True),
}
TITLES = {name: variant.title for name, variant in VARIANTS.items()}


class Bench(mlperf_tiny.Bench):
    """ResNet8 in one variant."""

    def __init__(self, name: str, args: argparse.Namespace, progress: Progress) -> None:
        (resnet,) = (one for one in mlperf_tiny.BENCHMARKS if one.name == "resnet8")
        super().__init__(replace(resnet, name=name), args, progress)
        self._model = args.models / resnet.file
        self._variant = VARIANTS[name]

    def compile(self) -> dict[str, Any]:
        """What the plan says, and its useful part: multiply-accumulates of the direct network for
        each product that its engines could make."""
        found = self.plan(self._model, flow.Target(
            mlperf_tiny.BOARD, self._args.clock, multipliers=self._variant.multipliers),
            winograd=None if self._variant.winograd else {})
        macs = flow.load(self._model).reduced.network.macs
        products = found["products"] * found["predicted_cycles_per_frame"]
        tiles = {layer.name.removesuffix("_tiles"): list(layer.tile)
                 for layer in flow.Project.open(self.folder).network.layers
                 if layer.kind == "winogradinput"}
        return {**found, "direct_macs": macs, "useful": round(macs / products, 3), "tiles": tiles}

    def evaluate(self) -> dict[str, Any]:
        """Golden model against LiteRT in every logit."""
        x, _ = self.images()
        found = flow.evaluate(self.folder, self._write("exact.npz", x[:EXACT], None),
                              self._progress)
        return {"exact_samples": found.samples, "logits_compared": found.values_compared,
                "logit_mismatches": found.oracle_mismatches}


def run(args: argparse.Namespace) -> None:
    """Every variant that is asked for; results are stored as they come."""
    def steps(name: str, progress: Progress) -> dict[str, common.Step]:
        form = args.run and VARIANTS[name].winograd
        return Bench(name, args, progress).steps(golden=form, simulated=form)

    common.run_networks(FILE, TITLES, [name for name in TITLES
                                       if not args.only or name in args.only], steps)


def rows(networks: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row of each variant that is stored: the table of the documents, too."""
    found = []
    for name, entry in networks.items():
        plan, rtl = entry["plan"], entry.get("rtl")
        cells = plan["predicted"]
        found.append((
            TITLES[name], f"{plan['predicted_cycles_per_frame']:,}",
            f"{rtl['cycles_per_frame']:,}" if rtl else "",
            f"{rtl['mismatches']:,} of {rtl['values_compared']:,}" if rtl else "",
            f"{plan['products']:,}", f"{plan['macs']:,}", f"{plan['useful']:.2f}",
            *(f"{cells[cell]:,}" for cell in ("luts", "dsps", "brams"))))
    return found


HEADINGS = ("ResNet8", "cycles", "simulated", "RTL ≠ golden", "products a cycle",
            "products a frame", "useful", "LUTs", "DSPs", "block RAMs")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    common.network_options(parser, TITLES, "winograd", models="pretrainedResnet_quant.tflite",
                           data="cifar10_test.npz")
    parser.add_argument("--frames", type=int, default=5, help="simulated without stalls")
    parser.add_argument("--stalled", type=int, default=1, help="simulated under each pattern")
    parser.add_argument("--clock", type=float, default=100.0, metavar="MHZ",
                        help="what the router aims at")
    args = parser.parse_args()
    networks = common.present_networks(FILE, args, lambda: run(args), lambda found: common.show(
        f"Predicted for {mlperf_tiny.BOARD}, the serial link included", HEADINGS, rows(found)))
    if networks is None:
        return 2
    return int(any(entry.get("golden", {}).get("logit_mismatches", 0)
                   or entry.get("rtl", {}).get("mismatches", 0) for entry in networks.values()))


if __name__ == "__main__":
    sys.exit(main())
