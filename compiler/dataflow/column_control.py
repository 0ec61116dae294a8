"""The control of an engine that skips inputs, at its slowest, beat by beat (see `control`)."""

from __future__ import annotations

from dataclasses import dataclass

from ...hdl.drain import DrainShape
from ..ir import Integers
from .broadcast import GAPS, LEAD, TAIL, clearing
from .control import Link, Process


@dataclass(frozen=True, eq=False)
class Broadcasts:
    """A `penjing.hdl.broadcast.BroadcastEngine` with queues of two and more, but for its way out.

    No data take it longer: all activations are there, and an element waits for all others before
    each column. Its beats are those that its ``drain`` reads of the sums; what brings them out
    stands behind. ``costs`` are the cycles of the columns that each input beat of a vector brings.
    """

    costs: Integers
    drain: DrainShape

    def outputs(self, beats: int) -> int:
        """Those of all vectors."""
        return self.drain.vectors * self.drain.frame_beats

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        drain, left, offers = self.drain, o.taken, i.offered
        costs, size = self.costs.tolist(), drain.frame_beats
        taken, free, read = -1, 0, drain.banks * clearing(drain)
        for vector in range(frames * drain.vectors):
            # A vector has no bank before the one that had it is out, or it is cleared after reset.
            if vector < drain.banks:
                bank = (vector + 1) * clearing(drain)
            else:
                before = (vector - drain.banks + 1) * size
                while len(left) < before:
                    yield o
                bank = left[before - 1] + 1
            # What waits for it may have gaps behind.
            free = max(free, bank + GAPS)
            for n, cost in enumerate(costs, vector * len(costs)):
                while len(offers) <= n:
                    yield i
                # The first beat of all waits for nothing.
                taken = max(taken + 1, offers[n], free - LEAD if n else 0)
                i.taken.append(taken)
                free = max(free, taken + LEAD) + cost
            if vector:
                while len(left) < vector * size:
                    yield o
                read = left[vector * size - 1] + 1
            o.offered.extend([max(free + TAIL, read) + drain.settle] * size)
