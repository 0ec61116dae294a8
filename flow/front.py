"""The plans of a network that no other surpasses, for people and in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..compiler.dataflow.pricing import Cost
from ..compiler.dataflow.report import Table, table_of

__all__ = ["Front", "Point", "unsurpassed"]

AXES = ("cycles", "luts", "dsps", "brams")
"""The costs of which a plan of the front has less than any that has no more of the others."""


@dataclass(frozen=True)
class Point:
    """A plan that was found with no more than so many ``dsps``, and its ``cost``."""

    dsps: int
    cost: Cost

    @property
    def place(self) -> tuple[int, ...]:
        """Its costs on the `AXES`."""
        return tuple(getattr(self.cost, axis) for axis in AXES)


@dataclass(frozen=True)
class Front:
    """The ``points`` that no other surpasses of the ``tried`` plans, the slowest first.

    They are of the ``network`` on the ``board`` at ``clock_mhz``, of whose cells ``has`` tells how
    many there are.
    """

    network: str
    board: str
    clock_mhz: float
    has: Mapping[str, int | None]
    tried: int
    points: tuple[Point, ...]

    def json(self) -> dict[str, Any]:
        """What ``penjing explore --json`` prints."""
        return {**asdict(self), "points": [
            {**asdict(point.cost), "dsps_allowed": point.dsps} for point in self.points]}

    def table(self) -> Table:
        """The same for people."""
        return table_of(
            f"{self.network} on {self.board} at {self.clock_mhz:g} MHz: {len(self.points)} of "
            f"{self.tried} plans are surpassed by none",
            ("cycles", "frames/s", *(f"{title}{_share(self.has.get(name))}"
                                     for name, title in _CELLS.items()), "multipliers"),
            ((cost.cycles, _rounded(cost.frames_per_second),
              *(getattr(cost, name) for name in _CELLS), cost.multipliers)
             for cost in (point.cost for point in self.points)), text=0)


_CELLS = {"luts": "LUTs", "ffs": "FFs", "dsps": "DSPs", "brams": "block RAMs"}


def _share(number: int | None) -> str:
    return "" if number is None else f" of {number:,}"


def _rounded(frames: float) -> str:
    return f"{frames:,.0f}" if frames >= 100 else f"{frames:,.3g}"


def unsurpassed(points: Iterable[Point]) -> tuple[Point, ...]:
    """Those than which no other is better in one of the `AXES` and as good in all, slowest first.

    Of several at one place, the first is taken.
    """
    places: dict[tuple[int, ...], Point] = {}
    for point in points:
        places.setdefault(point.place, point)
    front: list[Point] = []
    # Whatever surpasses a place comes before it.
    for place in sorted(places):
        if not any(all(map(int.__le__, other.place, place)) for other in front):
            front.append(places[place])
    return tuple(reversed(front))
