"""How many cycles a `penjing.hdl.broadcast.BroadcastEngine` takes, which depends on the data.

`frame_ends` moves its queues cycle by cycle, as the hardware does, with counts in place of values:
of each element's column only how many entries it has, of each activation only whether it is zero.
`Broadcast.interval` tells in closed form what they are at most, whatever the data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...hdl.column_reader import POINTER_LATENCY
from ...hdl.drain import DrainShape
from ...hdl.nonzero import NONZERO_LATENCY
from ..ir import Integers

__all__ = ["Broadcast", "clearing", "frame_ends", "ideal_cycles"]

LEAD = NONZERO_LATENCY + POINTER_LATENCY
"""Cycles from a beat's transfer until the first of its columns is given to the elements."""
TAIL = 2
"""An element has a column from a cycle after it is given out, and until a cycle after its work."""
GAPS = POINTER_LATENCY - 1
"""Cycles that a vector may lose to gaps in what is looked up, once it has waited for its bank."""


@dataclass(frozen=True, eq=False)
class Broadcast:
    """What an engine's cycles depend on, but for activations.

    ``lengths`` are the entries of each element's columns, ``(pes, inputs)``; ``queue`` is the depth
    of the queues; ``lanes`` are the activations of an input beat.
    """

    lengths: Integers
    queue: int
    lanes: int
    drain: DrainShape

    @property
    def costs(self) -> Integers:
        """(inputs,) cycles from a column to the next, if all elements wait for each other."""
        # A queue of one has no room for a column in the cycle in which its only one leaves.
        return np.maximum(self.lengths.max(axis=0), 2 if self.queue == 1 else 1)

    @property
    def way(self) -> int:
        """Cycles from the end of a vector's last column until its bank is out."""
        return TAIL + self.drain.settle + self.drain.frame_beats

    @property
    def interval(self) -> int:
        """Cycles from a vector to the next one that none exceeds, whatever is in it.

        They are what takes an engine that gives a column out when all elements are done with the
        one before, and whose inputs are all there: an element's longest column tells how long.
        """
        columns, out = int(self.costs.sum()), self.way + GAPS
        return max(columns, out) if self.drain.banks > 1 else columns + out


def clearing(drain: DrainShape) -> int:
    """Cycles in which a bank is cleared after reset."""
    return drain.settle + drain.slots


@dataclass(frozen=True)
class _Item:
    """An activation that is not zero, by its column, None for none; perhaps its vector's last."""

    column: int | None
    last: bool


_Beat = list[_Item]


def _beats(vector: NDArray[np.bool_], lanes: int) -> list[_Beat]:
    """What comes of each input beat."""
    beats = [[_Item(column, False) for column in range(first, min(first + lanes, len(vector)))
              if vector[column]] for first in range(0, len(vector), lanes)]
    final = beats[-1] or [_Item(None, False)]
    beats[-1] = [*final[:-1], _Item(final[-1].column, True)]
    return beats


@dataclass
class _Line:
    """Leading non-zero detection, and what is looked up behind it."""

    beats: deque[tuple[int, _Beat]]
    following: _Beat = field(default_factory=list)
    held: deque[_Item] = field(default_factory=deque)
    given: _Item | None = None
    skid: _Item | None = None
    stages: deque[_Item | None] = field(
        default_factory=lambda: deque([None] * POINTER_LATENCY, POINTER_LATENCY))

    def step(self, cycle: int, *, moves: bool) -> None:
        """A ``cycle``; ``moves`` says whether the last stage's item leaves, or there is none."""
        is_empty = self.skid is None
        flows = is_empty or self.given is None
        if moves:
            self.stages.appendleft(self.given if is_empty else self.skid)
            self.skid = None
        elif is_empty:
            self.skid = self.given
        if flows:
            self.given = self.held.popleft() if self.held else None
        takes = not self.following
        if not self.held:
            self.held.extend(self.following)
            takes = True
        if takes:
            comes = self.beats and self.beats[0][0] <= cycle
            self.following = self.beats.popleft()[1] if comes else []


@dataclass
class _Element:
    """A processing element: lengths and banks that wait, and those that are worked on."""

    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    left: int = 0
    bank: int = 0

    def is_idle(self, bank: int) -> bool:
        """Whether it has nothing more for a ``bank``."""
        return not ((self.waiting and self.waiting[0][1] == bank)
                    or (self.left and self.bank == bank))

    def step(self) -> None:
        """A cycle."""
        if self.left <= 1 and self.waiting:
            self.left, self.bank = self.waiting.popleft()
        else:
            self.left = max(0, self.left - 1)


@dataclass
class _Way:
    """The way out: which bank is read, and for how many more beats."""

    shape: DrainShape
    uncleared: int
    settled: int = 0
    bank: int = 0
    issued: int = 0

    def step(self, *, quiet: bool) -> bool:
        """A cycle; whether the bank's final beat is read in it."""
        if self.settled < self.shape.settle:
            self.settled += quiet
            return False
        self.issued += 1
        if self.issued < (self.shape.slots if self.uncleared else self.shape.frame_beats):
            return False
        self.uncleared = max(0, self.uncleared - 1)
        self.bank = (self.bank + 1) % self.shape.banks
        self.settled = self.issued = 0
        return True


def frame_ends(engine: Broadcast, activations: NDArray[np.bool_],
               offers: Sequence[int] | None = None) -> list[int]:
    """Cycles from reset to each vector's final output beat, which is taken at once.

    ``activations`` are ``(vectors, inputs)``: whether each is not zero. Input beats are offered
    from the cycles ``offers`` on, by default all from the first.
    """
    beats = [beat for vector in activations for beat in _beats(vector, engine.lanes)]
    line = _Line(deque(zip(offers or [0] * len(beats), beats, strict=True)))
    elements = [_Element() for _ in engine.lengths]
    lengths: list[list[int]] = engine.lengths.T.tolist()
    banks = engine.drain.banks
    way, closed, bank = _Way(engine.drain, banks), [True] * banks, 0
    ends: list[int] = []
    cycle = 0
    while len(ends) < len(activations):
        item = line.stages[-1]
        column = () if item is None or item.column is None else lengths[item.column]
        moves = item is None or not (closed[bank] or any(
            length and len(element.waiting) == engine.queue
            for length, element in zip(column, elements, strict=False)))
        quiet = closed[way.bank] and all(element.is_idle(way.bank) for element in elements)
        drained, is_fresh = way.bank, way.uncleared > 0
        for element in elements:
            element.step()
        if way.step(quiet=quiet):
            closed[drained] = False
            if not is_fresh:
                ends.append(cycle + engine.drain.latency)
        if item is not None and moves:
            for length, element in zip(column, elements, strict=False):
                if length:
                    element.waiting.append((length, bank))
            if item.last:
                closed[bank] = True
                bank = (bank + 1) % banks
        line.step(cycle, moves=moves)
        cycle += 1
    return ends


def ideal_cycles(values: Integers, activations: NDArray[np.bool_], pes: int) -> float:
    """Products that are not zero, over all vectors, by ``pes`` elements that are never idle."""
    products = (activations.astype(np.int64) @ np.count_nonzero(values, axis=0)).sum()
    return float(products) / pes
