"""What a layer is to become, and how far the answer holds for other paces."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from ...cost import Fabric
from ..fold import Fold
from ..port import Port


class Made(Protocol):
    """What takes so many DSP blocks."""

    @property
    def dsps(self) -> int:
        """How many."""


M = TypeVar("M", bound=Made)

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

    def within(self, other: Span) -> Span:
        """What both hold."""
        return Span(max(self.least_cycles, other.least_cycles),
                    min(self.most_cycles, other.most_cycles),
                    max(self.least_dsps, other.least_dsps), min(self.most_dsps, other.most_dsps))

    def holds(self, cycles: int, dsps: int) -> bool:
        """Whether the answer is that for so many ``cycles`` and ``dsps``, too."""
        return (self.least_cycles <= cycles <= self.most_cycles
                and self.least_dsps <= dsps <= self.most_dsps)


@dataclass(frozen=True)
class Ask:
    """What a layer is to become: hardware of a ``fabric``, with inputs that come by ``inputs``.

    A frame may take ``cycles``, ``dsps`` DSP blocks are left, and ``fold`` is what the user wants
    (None: whatever is best). Kinds do not read these two numbers: they ask by the methods, which
    keep in ``span`` for what other numbers they say the same. ``dear_dsps`` says that look-up
    tables may spare DSP blocks. ``made`` has what was made of the layer before, for the same inputs
    and if blocks are as dear.
    """

    fabric: Fabric
    inputs: tuple[Port, ...]
    cycles: int
    dsps: int
    fold: Fold | None = None
    dear_dsps: bool = False
    span: Span = field(default_factory=Span, compare=False, repr=False)
    made: dict[Hashable, tuple[Made, ...]] = field(default_factory=dict, compare=False, repr=False)

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

    def once(self, key: Hashable, make: Callable[[], Iterable[M]]) -> tuple[M, ...]:
        """What is made at any pace, if there are DSP blocks for it; ``key`` says what that is."""
        known = self.made.get(key)
        if known is not None and all(one.dsps <= self.dsps for one in known):
            for one in known:
                self.blocks(one.dsps)
            return cast("tuple[M, ...]", known)
        found = tuple(make())
        if self.span.least_dsps < self.span.most_dsps:
            self.made[key] = found
        return found

    def _at_least(self, cycles: int) -> None:
        self.span.least_cycles = max(self.span.least_cycles, cycles)

    def _at_most(self, cycles: int) -> None:
        self.span.most_cycles = min(self.span.most_cycles, cycles)
