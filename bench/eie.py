"""The engine that skips zeros of weights and activations: cycles against the ideal.

The ideal is one product that is not zero in each processing element and cycle. Layers are
those of trained networks, and one of random weights, 10 % of which are not zero, all behind real
digits.
Cycles are counted by `penjing.compiler.dataflow.broadcast`; with queues of 8, the hardware is
simulated as well, and must take just as many. What is printed is also drawn, as
``docs/pictures/eie.svg``. What it takes when it is routed is told by ``dense_engines.py``.

    python bench/eie.py --run --data mnist.npz --networks examples/sparse/lenet_300_100_a.penjing
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from curves import curves
from numpy.typing import NDArray
from penjing.compiler import file, ir
from penjing.compiler.dataflow.broadcast import Broadcast, frame_ends, ideal_cycles
from penjing.compiler.dataflow.columns import Columns, dealt, interleaved
from penjing.compiler.dataflow.kinds import column_engine
from penjing.compiler.dataflow.kinds.columns import BANKS, QUEUE
from penjing.compiler.ir import Integers, Network, PenjingError, TensorType
from penjing.flow.page.markup import picture
from penjing.hdl.broadcast import BroadcastEngine
from penjing.hdl.tech import Generic, MemoryStyle, Technology
from penjing.sim import golden
from penjing.sim.streams import pack, transfer, unpack

FILE = "eie.json"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "eie.svg"
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
DEPTH = QUEUE
LANES = 8
VECTORS = 50
OTHERS = 200
SIMULATED = 3
RANDOM = "random"
DENSITY = 0.1
"""How many of the random weights are not zero."""
CODES = (-90, -61, -44, -33, -24, -17, -11, 9, 14, 20, 28, 38, 51, 72, 100)
"""With 0, a codebook of 16."""


@dataclass(frozen=True, eq=False)
class Work:
    """A dense ``layer`` of a ``network`` behind activations ``x`` (vectors, inputs).

    ``activity`` is how often each input is not zero in other vectors, by which rows are balanced.
    """

    network: str
    layer: ir.Dense
    source: TensorType
    x: Integers
    activity: NDArray[np.float64]

    @property
    def pes(self) -> tuple[int, ...]:
        """Processing elements worth a thought: with more than a column has weights, some idle."""
        column = np.count_nonzero(self.layer.weights.values, axis=0).mean()
        return tuple(n for n in (1, 2, 4, 8, 16) if min(8, column / 2) <= n <= 2 * column)

    def o_lanes(self, pes: int, cycles: float) -> int:
        """Results of an output beat, such that they leave in half of these ``cycles``."""
        lanes = (n for n in range(1, pes) if pes % n == 0)
        return next((n for n in lanes if 2 * len(self.layer.bias) <= n * cycles), pes)


def random_layer() -> ir.Dense:
    """784 pixels to 300 sums; weights are 0, mostly, or one of fifteen values."""
    rng = np.random.default_rng(784)
    shape = 300, 784
    values = np.where(rng.random(shape) < DENSITY, rng.choice(CODES, shape), 0)
    return ir.Dense("dense1", "x", ir.Weights(values, 8), rng.integers(-500, 500, shape[0]))


def work_of(network: str, layer: ir.Dense, source: TensorType, x: Integers) -> Work:
    """The first ``VECTORS`` of ``x`` (N, inputs); the others tell how often each is not zero."""
    return Work(network, layer, source, x[:VECTORS], (x[VECTORS:] != 0).mean(0))


def trained(path: Path, digits: Integers) -> Iterator[Work]:
    """The dense layers of the saved network in ``path``, which classifies ``digits``."""
    network: Network = file.load(path)
    kind = network.input_type
    if kind.elements != digits.shape[1] or (kind.low, kind.high) != (0, 255):
        raise PenjingError(f"{path}: its input must be 784 pixels of 8 bits, not {kind}")
    tensors = golden.run_all(network, digits.reshape(-1, *kind.shape))
    for layer in network.layers:
        if isinstance(layer, ir.Dense):
            x = tensors[layer.input].reshape(len(digits), -1)
            yield work_of(path.stem, layer, network.source_type(layer), x)


def engine(work: Work, columns: Columns, o_lanes: int, technology: Technology) -> BroadcastEngine:
    """The hardware of ``work``."""
    return column_engine.engine(
        columns, work.layer, work.source, work.layer.output_type(work.source).bits, queue=DEPTH,
        lanes=LANES, o_lanes=o_lanes, banks=BANKS, dsps=columns.pes,
        style=MemoryStyle.BLOCK, technology=technology)


def intervals(ends: list[int]) -> float:
    """Mean cycles from a vector's end to the next one's."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def simulated(work: Work, block: BroadcastEngine) -> list[int]:
    """Cycles in which the hardware ends vectors; its values must be the golden model's."""
    x, outputs, lanes = work.x[:SIMULATED], len(work.layer.bias), block.drain_shape.o_lanes
    bits = work.layer.output_type(work.source).bits
    sent = [payload for vector in x for payload in
            pack(vector.tolist(), work.source.bits, LANES, len(vector))]
    beats = block.drain_shape.frame_beats
    got, times = transfer(block, sent, beats * len(x), timeout=20_000)
    wanted = golden.dense(x.reshape(len(x), 1, 1, -1), work.layer.weights.values, work.layer.bias)
    for n, vector in enumerate(wanted.reshape(len(x), -1)):
        if unpack(got[n * beats : (n + 1) * beats], outputs, bits, True, lanes, outputs
                  ) != vector.tolist():
            raise PenjingError(f"{work.layer.name}: RTL differs from the golden model")
    return [time - 1 for time in times[beats - 1 :: beats]]


def run_one(work: Work, pes: int) -> dict[str, Any]:
    """The layer on so many processing elements."""
    values = work.layer.weights.values
    active: NDArray[np.bool_] = work.x != 0
    stored = ir.Codebook() if len(work.layer.weights.codebook) <= 16 else ir.Plain()
    columns, by_turns = (Columns.best(work.layer.weights, order, stored) for order in (
        dealt(values, pes, work.activity), interleaved(len(values), pes)))
    ideal = ideal_cycles(values, active[1:], pes) / (len(active) - 1)
    block = engine(work, columns, work.o_lanes(pes, ideal), Generic())

    def cycles(lengths: Integers, queue: int) -> float:
        case = Broadcast(lengths, queue, LANES, block.drain_shape)
        return intervals(frame_ends(case, active))

    by_depth = {str(depth): cycles(columns.lengths, depth) for depth in DEPTHS}
    found = simulated(work, block)
    counted = frame_ends(Broadcast(columns.lengths, DEPTH, LANES, block.drain_shape),
                         active[:SIMULATED])
    if found != counted:
        raise PenjingError(f"{work.layer.name}: RTL takes {found} cycles, not {counted}")
    return {
        "network": work.network, "layer": work.layer.name, "encoding": "eie", "multipliers": pes,
        "outputs": len(values), "inputs": values.shape[1],
        "density": round(np.count_nonzero(values) / values.size, 4),
        "activation_density": round(float(active.mean()), 4),
        "nonzero_activations": round(float(active[1:].sum()) / (len(active) - 1), 1),
        "gap_bits": columns.encoding.gap_bits, "entries": int(columns.lengths.sum()),
        "nonzeros": int(np.count_nonzero(values)), "weight_bits": block.weight_bits,
        "o_lanes": block.drain_shape.o_lanes, "codes": len(columns.codebook),
        "vectors": len(active),
        "ideal_cycles": round(ideal, 1),
        "cycles": round(by_depth[str(DEPTH)], 1),
        "interleaved_cycles": round(cycles(by_turns.lengths, DEPTH), 1),
        "cycles_by_depth": {depth: round(found, 1) for depth, found in by_depth.items()},
        "simulated_vectors": SIMULATED, "dense_cycles": values.size // pes}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every layer on 1 to 16 processing elements."""
    if args.data is None:
        raise PenjingError("--data: the digits are not part of the project; name the file")
    digits = np.load(args.data)["x_test"][: VECTORS + OTHERS].astype(np.int64)
    digits = digits.reshape(len(digits), -1)
    works = [work_of(RANDOM, random_layer(), TensorType((1, 1, 784), 8, False), digits)]
    for path in args.networks:
        works += trained(path, digits)
    rows = []
    with common.progress_bar() as bar:
        task = bar.add_task("", total=sum(len(work.pes) for work in works))
        for work in works:
            for pes in work.pes:
                bar.update(task, description=f"{work.network} {work.layer.name} {pes}")
                rows.append(run_one(work, pes))
                bar.advance(task)
    return {"layers": rows,
            **common.stamp("python bench/eie.py --run", "numpy", "amaranth")}


def table(result: dict[str, Any]) -> None:
    """Print what was measured, and draw it."""
    rows = result.get("layers", [])
    common.show(f"Cycles a vector with queues of {DEPTH}", (
        "network", "layer", "PEs", "weights", "activations", "broadcast", "ideal", "cycles",
        "ratio", "interleaved", "dense", "kbit"), [
        (row["network"], f"{row['layer']} {row['inputs']}→{row['outputs']}", row["multipliers"],
         f"{row['density']:.1%}", f"{row['activation_density']:.1%}",
         row["nonzero_activations"], row["ideal_cycles"],
         row["cycles"], f"{row['cycles'] / row['ideal_cycles']:.3f}",
         f"{row['interleaved_cycles'] / row['ideal_cycles']:.3f}", row["dense_cycles"],
         f"{row['weight_bits'] / 1000:.1f}") for row in rows])
    common.show("Cycles over the ideal, by the depth of the queues", (
        "network", "layer", "PEs", *map(str, DEPTHS)), [
        (row["network"], row["layer"], row["multipliers"],
         *(f"{cycles / row['ideal_cycles']:.3f}" for cycles in row["cycles_by_depth"].values()))
        for row in rows])
    if rows:
        draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    """Load balance over the depth of the queues, of the trained layers if there are any."""
    # Where the broadcast is the limit, queues change nothing.
    rows = [row for row in rows if row["nonzero_activations"] <= row["ideal_cycles"]]
    learned = [row for row in rows if row["network"] != RANDOM]
    series = {f"{row['layer']}, {row['multipliers']} elements": [
        100 * row["ideal_cycles"] / cycles for cycles in row["cycles_by_depth"].values()]
        for row in learned or rows}
    drawing = curves("load balance by depth of queues", "activations that a queue holds",
                     "ideal cycles / cycles, %", DEPTHS, series, 100)
    PICTURE.write_text(picture(drawing), encoding="utf-8")


def main() -> int:
    """Measure or read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="count and simulate cycles anew")
    parser.add_argument("--data", type=Path, help="MNIST as arrays: x_test (N, 28, 28)")
    parser.add_argument("--networks", nargs="*", type=Path, default=[],
                        help="trained networks with dense layers")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    args = parser.parse_args()

    def measured() -> dict[str, Any]:
        result = run(args)
        common.write(FILE, result)
        return result

    return common.present(FILE, measured, table, anew=args.run, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
