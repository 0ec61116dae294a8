"""When to stop a router that cannot reach its clock."""

from __future__ import annotations

import re

__all__ = ["OutOfReach", "Patience"]

_ROUND = re.compile(r"\boverused=(\d+) .*\btmgfail=(\d+)")
"""What nextpnr says of a round: wires that are in use twice, and those that come too late."""
_DERIVED = re.compile(r"Derived frequency constraint of ([\d.]+) MHz for net (\S+)")
_PLACED = re.compile(r"Max frequency for clock .*?: ([\d.]+) MHz")
_ROUNDS = 40
_SLOWER, _HOPE = 0.92, 1.1
"""What is tried next: so much of the clock that was out of reach, or so much of what the places of
the cells promised, whichever is less."""


class OutOfReach(Exception):
    """Wires that a router led anew, round after round, are late for their clocks, still."""


class Patience:
    """Reads a router's log line by line, and ends it where no round is better than those before.

    nextpnr goes on for 1,500 rounds, an hour of a large design, as long as one wire is late. After
    ``rounds`` with late wires, and without fewer than ever that are late or in use twice,
    `OutOfReach` is raised. ``clocks`` are those that it derived by itself, in MHz by their nets.
    """

    def __init__(self, rounds: int = _ROUNDS) -> None:
        self._rounds = rounds
        self._fewest: int | None = None
        self._waited = 0
        self._promised: float | None = None
        self.clocks: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        """Take the log's next ``line``."""
        if derived := _DERIVED.search(line):
            self.clocks[derived[2]] = float(derived[1])
        if self._promised is None and (placed := _PLACED.search(line)):
            self._promised = float(placed[1])
        if not (found := _ROUND.search(line)):
            return
        twice, late = int(found[1]), int(found[2])
        if self._fewest is None or twice + late < self._fewest:
            self._fewest, self._waited = twice + late, 0
        elif late:
            self._waited += 1
        if self._waited >= self._rounds:
            raise OutOfReach

    def slower(self, clock_mhz: float) -> float:
        """The clock to aim at where ``clock_mhz`` was out of reach."""
        return min(_SLOWER * clock_mhz, _HOPE * (self._promised or clock_mhz))
