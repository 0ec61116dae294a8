"""Where place-and-route has put the cells of a design, and how much time its paths have left."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "OTHER", "Column", "Layout", "Tile", "read_slack", "read_tiles"]

KINDS = ("luts", "ffs", "dsps", "brams")
"""What cells are told apart, in the order in which a `Tile` counts them."""
OTHER = "other"
"""The owner of cells whose names tell none."""

_PLACE = re.compile(r"X(\d+)/Y(\d+)/")
_UNIT = re.compile(r"\* represents (\d+) endpoint")
_COLUMN = re.compile(r"\[ *(-?\d+), *(-?\d+)\) \|(\**)(\+?)")


@dataclass(frozen=True)
class Tile:
    """The cells of one ``owner`` (its index) at column ``x`` and row ``y``, by `KINDS`."""

    x: int
    y: int
    owner: int
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Column:
    """Of a histogram: ends of paths that have ``low`` to ``high`` ns left, ``least`` to ``most`` of
    them, as nextpnr rounds."""

    low: float
    high: float
    least: int
    most: int


@dataclass(frozen=True)
class Layout:
    """A placed and routed design: its ``tiles`` by ``owners``, and the ``slack`` of its paths."""

    owners: tuple[str, ...]
    tiles: tuple[Tile, ...]
    slack: tuple[Column, ...]

    def cells(self, owner: str) -> dict[str, int]:
        """The cells of ``owner``, by `KINDS`."""
        mine = [tile.cells for tile in self.tiles if self.owners[tile.owner] == owner]
        return {kind: sum(cells[n] for cells in mine) for n, kind in enumerate(KINDS)}

    def json(self) -> dict[str, Any]:
        """As it is stored: a tile is a string of its numbers."""
        return {"owners": list(self.owners),
                "tiles": [" ".join(map(str, (tile.x, tile.y, tile.owner, *tile.cells)))
                          for tile in self.tiles],
                "slack": [vars(column) for column in self.slack]}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Layout:
        """What `json` has made."""
        tiles = (map(int, tile.split()) for tile in value["tiles"])
        return cls(tuple(value["owners"]),
                   tuple(Tile(x, y, owner, tuple(cells)) for x, y, owner, *cells in tiles),
                   tuple(Column(**column) for column in value["slack"]))


def read_tiles(placed: Path, top: str, types: Mapping[str, str], paths: Mapping[str, str]
               ) -> tuple[tuple[str, ...], tuple[Tile, ...]]:
    """(owners, tiles) of the design that nextpnr has written to the file ``placed``.

    ``types`` names the type of cell of each of `KINDS`, ``paths`` the owner of what lies below an
    instance; what lies below several belongs to the longest path.
    """
    kinds = {kind: n for n, kind in enumerate(KINDS)}
    index = {cell: kinds[kind] for kind, cell in types.items()}
    owners = tuple(dict.fromkeys([*paths.values(), OTHER]))
    numbers = {owner: n for n, owner in enumerate(owners)}
    found: Counter[tuple[int, int, int, int]] = Counter()
    for name, cell in json.loads(placed.read_bytes())["modules"][top]["cells"].items():
        place = _PLACE.match(cell["attributes"].get("NEXTPNR_BEL", ""))
        if place and cell["type"] in index:
            owner = numbers[_owner(name, paths)]
            found[int(place[1]), int(place[2]), owner, index[cell["type"]]] += 1
    tiles = sorted({key[:3] for key in found})
    return owners, tuple(Tile(*tile, tuple(found[*tile, n] for n in range(len(KINDS))))
                         for tile in tiles)


def _owner(name: str, paths: Mapping[str, str]) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        owner = paths.get(".".join(parts[:length]))
        if owner is not None:
            return owner
    return OTHER


def read_slack(log: str) -> tuple[Column, ...]:
    """The histogram that nextpnr's ``log`` ends with; none where there is no such thing."""
    _, found, text = log.rpartition("Slack histogram:")
    unit = _UNIT.search(text)
    if not found or unit is None:
        return ()
    return tuple(Column(int(row[1]) / 1000, int(row[2]) / 1000,
                        len(row[3]) * int(unit[1]) + len(row[4]),
                        (len(row[3]) + len(row[4])) * int(unit[1]) - len(row[4]))
                 for row in _COLUMN.finditer(text))
