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
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

from ..compiler.ir import PenjingError
from .sites import DspSites

__all__ = ["copy_registers", "drop_unread_carries", "place_multipliers", "require_drivers",
           "rewrite", "spread_reset"]

Parsed = dict[str, Any]
"""A module as Yosys' JSON has it."""

Site = tuple[int, int, int]
"""Column and row of a DSP block, and the multiplier in it."""

_MANY_FLIP_FLOPS = 1000
"""From so many flip-flops on, a reset spans the device."""
_RESET = "reset_late"
_PART_DEPTH = 3
"""Names of a path that tell the parts of a design apart: the wrapper, the accelerator, a layer."""

_MANY_READERS = 32
"""So many inputs a register drives itself; those that lie in one place are about as many."""
_NEVER_COPIED = {"CLK", "LSR"}
"""Inputs of clocks and resets, which have wires of their own."""

_DSP_BITS = 18
_IN_BLOCK = (0, 1, 4, 5)
"""A DSP block's multipliers, by the columns that they are apart."""


def rewrite(path: Path, top: str, sites: DspSites, order: Sequence[str] = ()) -> None:
    """Rewrite the netlist ``path``; multipliers are placed if there is an ``order``."""
    netlist = json.loads(path.read_text(encoding="utf-8"))
    module = netlist["modules"][top]
    require_drivers(module)
    drop_unread_carries(module)
    spread_reset(module)
    copy_registers(module)
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
    free = _free_bits(module)
    copies: dict[str, int] = {}
    for path, cell in list(cells.items()):
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input" and reset in bits:
                part = ".".join(path.split(".")[:-1][:_PART_DEPTH])
                if part not in copies:
                    late = _register(module, f"{part}.{_RESET}_0", sources[0], reset, free)
                    copies[part] = _register(module, f"{part}.{_RESET}_1", sources[0], late, free)
                cell["connections"][port] = [copies[part] if bit == reset else bit for bit in bits]


def _free_bits(module: Parsed) -> Iterator[int]:
    """Numbers of wires that there are not yet."""
    return count(1 + max(bit for net in module["netnames"].values() for bit in net["bits"]
                         if isinstance(bit, int)))


def _register(module: Parsed, name: str, like: Parsed, bit: int, free: Iterator[int]) -> int:
    """Add a flip-flop of ``bit`` that is otherwise ``like`` another; returns what it holds."""
    held = next(free)
    connections = {**like["connections"], "DI": [bit], "Q": [held]}
    module["cells"][name] = {**like, "connections": connections}
    module["netnames"][f"{name}_Q"] = {"hide_name": 0, "bits": [held], "attributes": {}}
    return held


def copy_registers(module: Parsed) -> None:
    """Give a register of many readers copies, each for readers whose names are next to each other.

    What tells all outputs of a layer that a sum begins, or is to be kept, has readers all over it,
    and only the rest of a cycle to reach them. Copies hold the same at all times, and each has a
    whole cycle to be reached in. So it is done behind another register alone: what logic has just
    made should be held next to that.
    """
    cells: dict[str, Parsed] = module["cells"]
    registers = {cell["connections"]["Q"][0]: path for path, cell in cells.items()
                 if cell["type"] == "TRELLIS_FF"}
    readers: dict[int, list[tuple[str, str]]] = {bit: [] for bit in registers}
    for path, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in readers.keys() & bits:
                    readers[bit].append((path, port))
    free = _free_bits(module)
    for bit, path in registers.items():
        cell, read_by = cells[path], readers[bit]
        if (len(read_by) <= _MANY_READERS or cell["connections"]["DI"][0] not in registers
                or not _NEVER_COPIED.isdisjoint(port for _, port in read_by)):
            continue
        read_by.sort(key=lambda reader: (_natural(reader[0]), reader[1]))
        for start in range(_MANY_READERS, len(read_by), _MANY_READERS):
            held = _register(module, f"{path}_copy{start // _MANY_READERS}", cell,
                             cell["connections"]["DI"][0], free)
            for reader, port in read_by[start:start + _MANY_READERS]:
                connections = cells[reader]["connections"]
                connections[port] = [held if one == bit else one for one in connections[port]]


def place_multipliers(module: Parsed, sites: DspSites, order: Sequence[str]) -> None:
    """Give each multiplier a site.

    ``order`` are the paths of instances: the multipliers below one of them lie in one rectangle,
    row by row, there and back, and the rectangles side by side. Those with an operand in common lie
    next to each other, one for each output of a layer: a sum of products has a register on each
    level, by which it comes from far away, but an operand has none on its way. Otherwise they
    follow each other by their names.
    """
    cells, prefixes = module["cells"], [f"{path}." for path in order]

    def rank(name: str) -> int:
        return next((n for n, prefix in enumerate(prefixes) if name.startswith(prefix)),
                    len(prefixes))

    names = sorted((name for name, cell in cells.items() if cell["type"] == "MULT18X18D"),
                   key=lambda name: (rank(name), _natural(name)))
    first = _first_of_operand(cells, names)
    names.sort(key=lambda name: (rank(name), first[name]))
    free = _across(sites, len(names))
    for _, group in groupby(names, key=rank):
        members = list(group)
        taken = _there_and_back(list(islice(free, len(members))))
        for name, (x, y, n) in zip(members, taken, strict=False):
            cells[name]["attributes"]["BEL"] = f"X{x + n}/Y{y}/MULT18_{n}"


def _first_of_operand(cells: Mapping[str, Parsed], names: Sequence[str]) -> dict[str, int]:
    """For each of the multipliers ``names`` the place of the first one that shares an operand with
    it; its own, if none does."""
    first: dict[str, int] = {}
    users: dict[tuple[str, ...], int] = {}
    for place, name in enumerate(names):
        connections = cells[name]["connections"]
        operands = [(operand, *(str(connections.get(f"{operand}{n}")) for n in range(_DSP_BITS)))
                    for operand in "AB"]
        first[name] = min(users.get(operand, place) for operand in operands)
        for operand in operands:
            users.setdefault(operand, first[name])
    return first


def _across(sites: DspSites, count: int) -> Iterator[Site]:
    """Sites for ``count`` multipliers, column by column, of as compact a rectangle as may be."""
    blocks = -(-count // len(_IN_BLOCK))
    shapes = [(rows, min(-(-blocks // rows), len(sites.columns)))
              for rows in range(1, len(sites.rows) + 1)]
    rows, columns = min(shapes, key=lambda shape: (
        -min(shape[0] * shape[1], blocks), sites.columns[shape[1] - 1] + sites.rows[shape[0] - 1]))
    return ((x, y, n) for x in sites.columns[:columns] for y in sites.rows[:rows]
            for n in _IN_BLOCK)


def _there_and_back(chosen: Sequence[Site]) -> list[Site]:
    """Sites row by row, every other one from its end on, so that the next one is always near."""
    rows = [sorted(row) for _, row in groupby(sorted(chosen, key=lambda site: site[1]),
                                              key=lambda site: site[1])]
    return [site for n, row in enumerate(rows) for site in (reversed(row) if n % 2 else row)]


def _natural(name: str) -> list[int | str]:
    """Sort key by which numbers in names count as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
