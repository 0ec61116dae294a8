"""What nextpnr is helped with in an ECP5 netlist that Yosys has made.

nextpnr starts from one heap of cells and draws it apart; multipliers, which have few sites, are
then strewn over the whole device (wires three times as long, for a network of 128 multipliers). A
site for each of them, side by side in the order of the pipeline, is all it needs: everything else
it places around them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

from ..compiler.ir import PenjingError
from .sites import DspSites

__all__ = ["drop_unread_carries", "place_multipliers", "require_drivers", "rewrite",
           "spread_reset"]

Parsed = dict[str, Any]
"""A module as Yosys' JSON has it."""

Site = tuple[int, int, int]
"""Column and row of a DSP block, and the multiplier in it."""

_MANY_FLIP_FLOPS = 1000
"""From so many flip-flops on, a reset spans the device."""
_RESET = "reset_late"
_PART_DEPTH = 3
"""Names of a path that tell the parts of a design apart: the wrapper, the accelerator, a layer."""

_IN_BLOCK = (0, 1, 4, 5)
"""A DSP block's multipliers, by the columns that they are apart."""


def rewrite(path: Path, top: str, sites: DspSites, order: Sequence[str] = ()) -> None:
    """Rewrite the netlist ``path``; multipliers are placed if there is an ``order``."""
    netlist = json.loads(path.read_text(encoding="utf-8"))
    module = netlist["modules"][top]
    require_drivers(module)
    drop_unread_carries(module)
    spread_reset(module)
    if order:
        place_multipliers(module, sites, order)
    path.write_text(json.dumps(netlist), encoding="utf-8")


def require_drivers(module: Parsed) -> None:
    """Refuse a flip-flop whose input is undefined: what drove it was lost in synthesis.

    Yosys 0.70 may do that (``findings/yosys_kept_wire.sh``), and says nothing.
    """
    for path, cell in module["cells"].items():
        if cell["type"] == "TRELLIS_FF" and cell["connections"].get("DI") == ["x"]:
            raise PenjingError(f"synthesis: nothing drives the flip-flop {path} any more, a fault "
                               "of Yosys; compile with another fold or --multipliers dsp, and "
                               "report it")


def drop_unread_carries(module: Parsed) -> None:
    """Leave open each carry output that nothing reads, and each constant input that does not count.

    nextpnr leads any carry with a wire into a chain or out of it, through two LUTs.
    """
    cells = module["cells"].values()
    read = {bit for cell in cells for port, bits in cell["connections"].items()
            if cell["port_directions"][port] != "output" for bit in bits}
    read.update(bit for port in module["ports"].values() for bit in port["bits"])
    for cell in cells:
        if cell["type"] != "CCU2C":
            continue
        connections = cell["connections"]
        if "COUT" in connections and connections["COUT"][0] not in read:
            connections["COUT"] = ["x"]
        unread = connections.get("S0", ["x"])[0] not in read
        if connections.get("CIN") in (["0"], ["1"]) and unread and _starts_a_carry(cell):
            connections["CIN"] = ["x"]


def _starts_a_carry(cell: Parsed) -> bool:
    """Whether the lower half of a CCU2C never passes on the carry that comes in.

    It does where its table gives 1; ports that are constant leave a part of that table.
    """
    ports = [cell["connections"][f"{port}0"][0] for port in "ABCD"]
    table = int(cell["parameters"]["INIT0"], 2)
    return not any(table >> entry & 1 for entry in range(16)
                   if all(port not in ("0", "1") or int(port) == entry >> n & 1
                          for n, port in enumerate(ports)))


def spread_reset(module: Parsed) -> None:
    """Give each part of the design a reset of its own, two cycles behind the common one.

    A wire to all of a large design's flip-flops is its slowest: 15 ns of it where nextpnr routes
    it, 9 ns by a global network, most of them on the way to that network. Registers behind each
    other take it to where a part is; all parts leave the reset in one cycle. Nothing changes where
    it has few flip-flops, or where no flip-flop drives it.
    """
    cells: dict[str, Parsed] = module["cells"]
    resets = Counter(bit for cell in cells.values() if cell["type"] == "TRELLIS_FF"
                     for bit in cell["connections"].get("LSR", []) if isinstance(bit, int))
    ((reset, users),) = resets.most_common(1) or [(0, 0)]
    if users < _MANY_FLIP_FLOPS:
        return
    sources = [cell for cell in cells.values() if cell["type"] == "TRELLIS_FF"
               and cell["connections"].get("Q") == [reset]]
    if not sources:
        return
    free = count(1 + max(bit for net in module["netnames"].values() for bit in net["bits"]
                         if isinstance(bit, int)))
    copies: dict[str, int] = {}
    for path, cell in list(cells.items()):
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input" and reset in bits:
                part = ".".join(path.split(".")[:-1][:_PART_DEPTH])
                if part not in copies:
                    copies[part] = _late(module, f"{part}.{_RESET}", sources[0], reset, free)
                cell["connections"][port] = [copies[part] if bit == reset else bit for bit in bits]


def _late(module: Parsed, name: str, like: Parsed, bit: int, free: Iterator[int]) -> int:
    """``bit`` behind two registers more, which begin as the flip-flop ``like`` does."""
    for n in range(2):
        late = next(free)
        connections = {**like["connections"], "DI": [bit], "Q": [late]}
        module["cells"][f"{name}_{n}"] = {**like, "connections": connections}
        module["netnames"][f"{name}_{n}"] = {"hide_name": 0, "bits": [late], "attributes": {}}
        bit = late
    return bit


def place_multipliers(module: Parsed, sites: DspSites, order: Sequence[str]) -> None:
    """Give each multiplier a site.

    ``order`` are the paths of instances: the multipliers below one of them lie in one rectangle,
    row by row in the order of their names, and the rectangles side by side.
    """
    cells, prefixes = module["cells"], [f"{path}." for path in order]

    def rank(name: str) -> int:
        return next((n for n, prefix in enumerate(prefixes) if name.startswith(prefix)),
                    len(prefixes))

    names = sorted((name for name, cell in cells.items() if cell["type"] == "MULT18X18D"),
                   key=lambda name: (rank(name), _natural(name)))
    free = _across(sites, len(names))
    for _, group in groupby(names, key=rank):
        members = list(group)
        taken = sorted(islice(free, len(members)), key=lambda site: (site[1], site[0], site[2]))
        for name, (x, y, n) in zip(members, taken, strict=False):
            cells[name]["attributes"]["BEL"] = f"X{x + n}/Y{y}/MULT18_{n}"


def _across(sites: DspSites, count: int) -> Iterator[Site]:
    """Sites for ``count`` multipliers, column by column, of as compact a rectangle as may be."""
    blocks = -(-count // len(_IN_BLOCK))
    shapes = [(rows, min(-(-blocks // rows), len(sites.columns)))
              for rows in range(1, len(sites.rows) + 1)]
    rows, columns = min(shapes, key=lambda shape: (
        -min(shape[0] * shape[1], blocks), sites.columns[shape[1] - 1] + sites.rows[shape[0] - 1]))
    return ((x, y, n) for x in sites.columns[:columns] for y in sites.rows[:rows]
            for n in _IN_BLOCK)


def _natural(name: str) -> list[int | str]:
    """Sort key by which numbers in names count as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
