"""What a board's serial link takes: predicted against placed-and-routed.

Without an option it prints the table from the stored measurements; ``--run`` measures the link of
several tensors on each family (about half a minute each). Half of the sizes move the coefficients
in `penjing.boards.link_cost`, the other half judges them.

    python bench/link.py --run
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from layers import Half
from penjing import boards
from penjing.boards.link_cost import gearbox_bits, link_resources
from penjing.boards.measure import measure
from penjing.boards.protocol import Identity
from penjing.boards.uart import divider
from penjing.boards.wrapper import Wrapper, element_shape
from penjing.compiler.dataflow.plan import Port
from penjing.compiler.ir import PenjingError, TensorType
from penjing.hdl.stream import Beat

FILE = "link.json"
CELLS = ("luts", "ffs", "dsps", "brams")
BOARDS = ("ulx3s-85f", "icebreaker")
_SILENCE_SECONDS = 0.1


@dataclass(frozen=True)
class Case:
    """Two tensors, and the lanes in which they travel."""

    name: str
    half: Half
    i: TensorType
    i_lanes: int
    o: TensorType
    o_lanes: int

    @property
    def types_and_ports(self) -> tuple[TensorType, TensorType, Port, Port]:
        """What the prediction is made from."""
        return (self.i, self.o, Port(self.i_lanes, self.i.shape[2]),
                Port(self.o_lanes, self.o.shape[2]))


def _vector(elements: int, bits: int) -> TensorType:
    return TensorType((1, 1, elements), bits, True)


CASES = (
    Case("gray", Half.FIT, TensorType((28, 28, 1), 8, False), 1, _vector(10, 20), 1),
    Case("small", Half.JUDGED, TensorType((8, 8, 1), 8, False), 1, _vector(4, 12), 2),
    Case("colour", Half.FIT, TensorType((32, 32, 3), 8, False), 3, _vector(10, 24), 2),
    Case("deep", Half.JUDGED, TensorType((16, 16, 4), 4, False), 2, _vector(12, 16), 1),
    Case("wide", Half.FIT, TensorType((16, 16, 16), 6, True), 8, _vector(16, 22), 4),
)


class Rig(wiring.Component):
    """The link with the accelerator's streams as ports.

    Members
    -------
    rx, tx : the line.
    to, back : streams to the accelerator and back.
    """

    def __init__(self, case: Case, board: boards.Board) -> None:
        _, _, i_port, o_port = case.types_and_ports
        to, back = (stream.Signature(Beat(element_shape(kind), lanes))
                    for kind, lanes in ((case.i, case.i_lanes), (case.o, case.o_lanes)))
        super().__init__({"rx": In(1), "tx": Out(1), "to": Out(to), "back": In(back)})
        self._socket = _Socket(to, back)
        self._wrapper = Wrapper(
            self._socket, Identity(b"measured", case.i, case.o), i_port=i_port, o_port=o_port,
            divider=divider(board.clock_mhz, board.baud),
            timeout=int(_SILENCE_SECONDS * board.clock_mhz * 1e6), technology=board.technology)

    def elaborate(self, platform: object) -> Module:
        """Lead the socket's streams out."""
        m = Module()
        m.submodules.wrapper = wrapper = self._wrapper
        m.d.comb += [wrapper.rx.eq(self.rx), self.tx.eq(wrapper.tx)]
        wiring.connect(m, wiring.flipped(self.to), self._socket.inner_i)
        wiring.connect(m, wiring.flipped(self.back), self._socket.inner_o)
        return m


class _Socket(wiring.Component):
    """An accelerator that only leads its streams to where they can be reached.

    Members
    -------
    i, o : streams as an accelerator has them.
    inner_i, inner_o : the same, seen from inside.
    """

    def __init__(self, i: stream.Signature, o: stream.Signature) -> None:
        super().__init__({"i": In(i), "o": Out(o), "inner_i": Out(i), "inner_o": In(o)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.inner_i))
        wiring.connect(m, wiring.flipped(self.inner_o), wiring.flipped(self.o))
        return m


def run() -> dict[str, Any]:
    """Measure every case on every board."""
    rows = []
    versions: dict[str, None] = {}
    with common.progress_bar() as bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("measure", total=len(CASES) * len(BOARDS))
        for name in BOARDS:
            board = boards.find(name)
            for case in CASES:
                bar.update(task, description=f"{name} {case.name}")
                made = measure(Rig(case, board), board, Path(folder, f"{name}-{case.name}"))
                versions |= dict.fromkeys(made.versions)
                rows.append({"board": name, "case": case.name,
                             **{cell: getattr(made, cell) for cell in CELLS},
                             "fmax_mhz": round(made.fmax_mhz, 1)})
                bar.advance(task)
    result = {**common.stamp("python bench/link.py --run", *versions), "links": rows}
    common.write(FILE, result)
    return result


def compare(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every measurement with today's prediction."""
    cases = {case.name: case for case in CASES}
    rows = []
    for row in result["links"]:
        case = cases[row["case"]]
        predicted = link_resources(boards.find(row["board"]).family, *case.types_and_ports)
        rows.append({**row, "half": case.half.value, "predicted": asdict(predicted)})
    return rows


def fit(result: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """LUTs of each board's link without gearboxes, and a bit that these hold: least squares."""
    cases = {case.name: case for case in CASES if case.half is Half.FIT}
    fitted = {}
    for name in BOARDS:
        rows = [row for row in result["links"] if row["board"] == name and row["case"] in cases]
        held = [gearbox_bits(*case.types_and_ports) for case in (cases[r["case"]] for r in rows)]
        slope, base = np.polyfit(held, [row["luts"] for row in rows], 1)
        fitted[name] = float(base), float(slope)
    return fitted


def parse_args() -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="measure anew")
    parser.add_argument("--json", action="store_true", help="one object on stdout, no table")
    return parser.parse_args()


def main() -> int:
    """Measure if asked to; print."""
    args = parse_args()
    try:
        result = run() if args.run else common.read(FILE)
        if not result:
            raise PenjingError(f"{FILE}: there are no stored results; give --run")
    except PenjingError as error:
        print(error, file=sys.stderr)
        return 2
    rows = compare(result)
    fitted = fit(result)
    if args.json:
        print(json.dumps({**result, "links": rows, "fitted": fitted}))
        return 0
    common.show("The serial link: predicted / placed and routed",
                ("board", "tensors", "half", "LUTs", "FFs", "BRAMs", "MHz"),
                [(row["board"], row["case"], row["half"],
                  *(f"{row['predicted'][cell]} / {row[cell]}" for cell in CELLS if cell != "dsps"),
                  f"{row['fmax_mhz']:.0f}") for row in rows])
    for name, (base, slope) in fitted.items():
        print(f"fitted for {name}: luts={base:.0f}, luts_held_bit={slope:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
