"""What a layer is to become, and how far the answer holds for other paces."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...cost import Fabric
from ..fold import Fold
from ..port import Port

ENDLESS = 1 << 62
"""More cycles, or DSP blocks, than any design takes."""


@dataclass(slots=True)
class Span:
    """The cycles and the DSP blocks, from the least to the most, for which an answer is the same.
    """

    least_cycles: int = 0
    most_cycles: int = ENDLESS
    least_dsps: int = 0
    most_dsps: int = ENDLESS

    def holds(self, cycles: int, dsps: int) -> bool:
        """Whether the answer is that for so many ``cycles`` and ``dsps``, too."""
        return (self.least_cycles <= cycles <= self.most_cycles
                and self.least_dsps <= dsps <= self.most_dsps)


@dataclass(frozen=True)
class Ask:
    """What a layer is to become: hardware of a ``fabric``, with inputs that come by ``inputs``.

    A frame may take ``cycles``, ``dsps`` DSP blocks are left, and ``fold`` is what the user wants
    (None: whatever is best). Kinds do not read these two numbers: they ask by the methods, which
    keep in ``span`` for what other numbers they say the same.
    """

    fabric: Fabric
    inputs: tuple[Port, ...]
    cycles: int
    dsps: int
    fold: Fold | None = None
    span: Span = field(default_factory=Span, compare=False, repr=False)

    def allows(self, cycles: int) -> bool:
        """Whether a frame may take so many ``cycles``."""
        if cycles <= self.cycles:
            self._at_least(cycles)
            return True
        self._at_most(cycles - 1)
        return False

    def steps(self, each: int, most: int) -> int:
        """How many steps of so many cycles ``each`` a frame may take, at ``most`` so many."""
        steps = min(self.cycles // each, most)
        self._at_least(steps * each)
        if steps < most:
            self._at_most((steps + 1) * each - 1)
        return steps

    def lanes(self, elements: int, each: int) -> int:
        """The fewest lanes that take so many ``elements`` in time, ``each`` cycles a beat.

        0 where all at once are too slow.
        """
        steps = self.cycles // each
        if not steps:
            self._at_most(each - 1)
            return 0
        lanes = -(-elements // min(steps, elements))
        self._at_least(-(-elements // lanes) * each)
        if lanes > 1:
            self._at_most(-(-elements // (lanes - 1)) * each - 1)
        return lanes

    def port(self, channels: int, positions: int) -> Port:
        """The fewest lanes that take a frame of so many ``positions`` in time, or all of their
        ``channels``."""
        return Port(self.lanes(channels, positions) or channels, channels)

    def blocks(self, multipliers: int) -> int:
        """How many of so many ``multipliers`` there are DSP blocks for."""
        if multipliers <= self.dsps:
            self.span.least_dsps = max(self.span.least_dsps, multipliers)
            return multipliers
        self.span.least_dsps = self.span.most_dsps = self.dsps
        return self.dsps

    def _at_least(self, cycles: int) -> None:
        self.span.least_cycles = max(self.span.least_cycles, cycles)

    def _at_most(self, cycles: int) -> None:
        self.span.most_cycles = min(self.span.most_cycles, cycles)
