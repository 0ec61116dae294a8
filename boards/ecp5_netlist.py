"""What nextpnr is helped with in an ECP5 netlist that Yosys has made.

nextpnr starts from one heap of cells and draws it apart; multipliers, which have few sites, are
then strewn over the whole device (wires three times as long, for a network of 128 multipliers). A
site for each of them, side by side in the order of the pipeline, is all it needs: everything else
it places around them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from .sites import DspSites

__all__ = ["drop_unread_carries", "place_multipliers", "put_reset_on_global", "rewrite"]

Parsed = dict[str, Any]
"""A module as Yosys' JSON has it."""

Site = tuple[int, int, int]
"""Column and row of a DSP block, and the multiplier in it."""

_GLOBAL_USERS = 1000
"""Flip-flops that make a reset worth one of the device's global networks."""
_BUFFER = "reset_buffer"

_IN_BLOCK = (0, 1, 4, 5)
"""A DSP block's multipliers, by the columns that they are apart."""


def rewrite(path: Path, top: str, sites: DspSites, order: Sequence[str] = ()) -> None:
    """Rewrite the netlist ``path``; multipliers are placed if there is an ``order``."""
    netlist = json.loads(path.read_text(encoding="utf-8"))
    module = netlist["modules"][top]
    drop_unread_carries(module)
    put_reset_on_global(module)
    if order:
        place_multipliers(module, sites, order)
    path.write_text(json.dumps(netlist), encoding="utf-8")


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


def put_reset_on_global(module: Parsed) -> None:
    """Lead the reset to its flip-flops by a global buffer, if it has enough of them.

    nextpnr gives such a buffer to clocks alone, and 15 ns of wire to a reset that spans the device.
    """
    users: dict[int | str, list[dict[str, Any]]] = {}
    for cell in module["cells"].values():
        if cell["type"] == "TRELLIS_FF" and "LSR" in cell["connections"]:
            users.setdefault(cell["connections"]["LSR"][0], []).append(cell)
    nets = [bit for bit in users if isinstance(bit, int)]
    if not nets:
        return
    reset = max(nets, key=lambda bit: len(users[bit]))
    if len(users[reset]) < _GLOBAL_USERS:
        return
    buffered = 1 + max(bit for net in module["netnames"].values() for bit in net["bits"]
                       if isinstance(bit, int))
    for cell in users[reset]:
        cell["connections"]["LSR"] = [buffered]
    module["cells"][_BUFFER] = {
        "hide_name": 0, "type": "DCCA", "parameters": {}, "attributes": {},
        "port_directions": {"CLKI": "input", "CLKO": "output"},
        "connections": {"CLKI": [reset], "CLKO": [buffered]}}
    module["netnames"][_BUFFER] = {"hide_name": 0, "bits": [buffered], "attributes": {}}


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
