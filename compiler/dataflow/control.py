"""The control of every block, beat by beat: when each beat is offered and taken, in whole cycles.

What moves beats in `penjing.hdl` is a handful of patterns: steps that all move or all wait, delays
with a queue behind them, repackers, windows, forks and joins. Each is a block here: a process that
reads when beats are offered to it and when its own are taken, and tells when it takes and offers
them. Finite buffers make readers hold up what they read from, and that makes all others wait at a
fork; so the processes run side by side, each as far as it knows enough. No value plays a part.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...hdl.gearbox import GearboxShape
from ...hdl.skip import SKIP_LATENCY, SKIP_QUEUE_DEPTH
from ..ir import Integers

SKIP_WRITE_CYCLES = 2
"""Cycles from a beat's way into the memory of a skip buffer to its first read."""


class Link:
    """A stream: the cycle from which each beat is offered, and that in which it is taken.

    A beat is offered once the one before it is taken, too, whatever ``offered`` says.
    """

    __slots__ = ("offered", "taken")

    def __init__(self) -> None:
        self.offered: list[int] = []
        self.taken: list[int] = []


Process = Iterator[Link | None]
"""It runs until it waits for what another process has to tell, and ends with the frame.

It yields the stream from which it waits for news, None for any.
"""


class Block(Protocol):
    """What moves the beats of ``i`` on to ``o``, for ``frames`` of ``beats`` input beats each."""

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""

    def outputs(self, beats: int) -> int:
        """Output beats of a frame of so many input beats."""


@dataclass(frozen=True)
class Steps:
    """``count`` registers in a row that all move on, or all wait for the last one to be taken."""

    count: int

    def outputs(self, beats: int) -> int:
        """As many as come in."""
        return beats

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        return self.join((i,), o, beats * frames)

    def join(self, sources: Sequence[Link], o: Link, beats: int) -> Process:
        """Take a beat from each of ``sources`` at once, and move on what they make."""
        offers, left = [source.offered for source in sources], o.taken
        takes = [source.taken for source in sources]
        inside: deque[int] = deque()  # when each beat that is not yet out reached the last register
        taken = -1
        for n in range(beats):
            taken += 1
            for source, offer in zip(sources, offers, strict=True):
                while len(offer) <= n:
                    yield source
                if offer[n] > taken:
                    taken = offer[n]
            while len(left) < n:
                yield o
            first = n - len(inside)
            # Nothing moves while an earlier beat waits in the last register.
            while inside and inside[0] <= taken:
                taken = max(taken, left[first])
                inside.popleft()
                first += 1
            reached = taken + self.count
            for k, arrived in enumerate(inside):
                reached += left[first + k] - arrived
            inside.append(reached)
            for take in takes:
                take.append(taken)
            o.offered.append(reached)


@dataclass(frozen=True)
class Delay:
    """Beats that leave ``latency`` cycles after they came in; ``capacity`` of them are let in.

    One is taken in ``spacing`` cycles.
    """

    latency: int
    capacity: int
    spacing: int = 1

    def outputs(self, beats: int) -> int:
        """As many as come in."""
        return beats

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        return self.join((i,), o, beats * frames)

    def join(self, sources: Sequence[Link], o: Link, beats: int) -> Process:
        """Take a beat from each of ``sources`` at once, and give what they make later."""
        offers, left = [source.offered for source in sources], o.taken
        latency, capacity, spacing = self.latency, self.capacity, self.spacing
        taken = -spacing
        n = 0
        while n < beats:
            known = min(*map(len, offers), len(left) + capacity)
            if n == known:
                yield next((source for source in sources if len(source.offered) == n), o)
            for n in range(n, known):  # noqa: B020
                taken = max(taken + spacing, *(offer[n] for offer in offers),
                            left[n - capacity] + 1 if n >= capacity else 0)
                for source in sources:
                    source.taken.append(taken)
                o.offered.append(taken + latency)
            n = known


def queue(beats: int) -> list[Block]:
    """A `penjing.hdl.skip.SkipBuffer` of so many ``beats``; nothing for 0.

    Its memory, and the beats between that and the way out.
    """
    behind = SKIP_LATENCY - SKIP_WRITE_CYCLES
    return ([Delay(SKIP_WRITE_CYCLES, beats), Delay(behind, SKIP_QUEUE_DEPTH)] if beats else [])


@dataclass(frozen=True, eq=False)
class Repacker:
    """Beats that are made of others.

    Parameters
    ----------
    complete : output beats of the frame that are complete once each input beat is in.
    waits : output beats of the frame that must be out before each is taken; of frames before, so
        many less than all if negative.
    latency : cycles from the beat that completes another to that.
    back : cycles from an output beat's way out to the take that waited for it.
    apart : cycles from an output beat's way out to the next output beat, at least; where they are
        more than 1, an input beat completes one at most.
    """

    complete: Sequence[int]
    waits: Sequence[int]
    latency: int
    back: int
    apart: int = 1

    def outputs(self, beats: int) -> int:
        """All of a frame."""
        return self.complete[-1]

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        offers, takes, left, given = i.offered, i.taken, o.taken, o.offered
        taken = -1
        for frame in range(frames):
            before = frame * self.complete[-1]
            for n, (wait, complete) in enumerate(zip(self.waits, self.complete, strict=True),
                                                 frame * beats):
                while len(offers) <= n:
                    yield i
                taken = max(taken + 1, offers[n])
                wait += before
                if wait > 0:
                    while len(left) < wait:
                        yield o
                    taken = max(taken, left[wait - 1] + self.back)
                takes.append(taken)
                offered = taken + self.latency
                if self.apart > 1 and 0 < len(given) < before + complete:
                    while len(left) < len(given):
                        yield o
                    offered = max(offered, left[len(given) - 1] + self.apart)
                given.extend([offered] * (before + complete - len(given)))


def gearbox(i_ends: Integers, o_ends: Integers, shape: GearboxShape) -> Repacker:
    """A `penjing.hdl.gearbox.Gearbox`.

    ``i_ends`` and ``o_ends`` are the elements up to the end of each beat.
    """
    must_be_out = np.append(0, i_ends[:-1]) + shape.i_lanes - shape.capacity
    # From 1 to all elements, of this frame or of one before.
    frames, rest = np.divmod(must_be_out - 1, o_ends[-1])
    waits = np.searchsorted(o_ends, rest + 1) + 1 + frames * len(o_ends)
    return Repacker(np.searchsorted(o_ends, i_ends, side="right").tolist(), waits.tolist(),
                    shape.latency, 1)


def upsizer(i_ends: Integers, o_ends: Integers, *, latency: int) -> Repacker:
    """A `penjing.hdl.upsizer.Upsizer`, likewise: it holds a beat beside the one that leaves."""
    complete = np.searchsorted(o_ends, i_ends, side="right")
    return Repacker(complete.tolist(), (np.append(0, complete[:-1]) - 1).tolist(), latency, 1,
                    apart=2)


def reducer(beats: int, area: int) -> Repacker:
    """One beat of every ``area``: the last of them waits for the way out of the one before."""
    ends = (np.arange(beats) + 1) // area
    # What others wait for is long out.
    waits = np.where(np.arange(beats) % area == area - 1, ends - 1, ends - 2)
    return Repacker(ends.tolist(), waits.tolist(), 1, 0)


def fork(i: Link, readers: Sequence[Link], beats: int) -> Process:
    """Offer every beat to each of ``readers``; the next one comes when all have taken it."""
    taken = -1
    for n in range(beats):
        while len(i.offered) <= n:
            yield i
        offered = max(i.offered[n], taken + 1)
        for reader in readers:
            reader.offered.append(offered)
        for reader in readers:
            while len(reader.taken) <= n:
                yield reader
        taken = max(reader.taken[n] for reader in readers)
        i.taken.append(taken)


def turns(sources: Sequence[Link], o: Link, counts: Sequence[int], beats: int) -> Process:
    """Take ``counts`` beats of each of ``sources`` by turns, and offer each a cycle later."""
    order = [n for n, count in enumerate(counts) for _ in range(count)]
    taken = -1
    for n in range(beats):
        source = sources[order[n % len(order)]]
        while len(source.offered) == len(source.taken):
            yield source
        taken = max(taken + 1, source.offered[len(source.taken)])
        if n:
            # The one register is free when the beat before has left it.
            while len(o.taken) < n:
                yield o
            taken = max(taken, o.taken[n - 1])
        source.taken.append(taken)
        o.offered.append(taken + 1)


@dataclass(frozen=True)
class Selection:
    """Of the beats of a frame, those that are ``kept`` go on at once, the others are dropped."""

    kept: Sequence[bool]

    def outputs(self, beats: int) -> int:
        """Those that are kept."""
        return sum(self.kept)

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        taken = -1
        for _ in range(frames):
            for kept in self.kept:
                while len(i.offered) == len(i.taken):
                    yield i
                taken = max(taken + 1, i.offered[len(i.taken)])
                if kept:
                    o.offered.append(taken)
                    while len(o.taken) < len(o.offered):
                        yield o
                    taken = o.taken[-1]
                i.taken.append(taken)


def drain(i: Link, beats: int) -> Process:
    """Take beats as soon as they come."""
    taken = -1
    for n in range(beats):
        while len(i.offered) <= n:
            yield i
        taken = max(taken + 1, i.offered[n])
        i.taken.append(taken)


@dataclass(frozen=True)
class Task:
    """A process, and the streams that it has to do with."""

    process: Process
    links: tuple[Link, ...]


def run(tasks: Sequence[Task]) -> None:
    """Run all ``tasks`` to their ends, each again when a stream of its has news.

    Raises `RuntimeError` where all wait for each other.
    """
    near: dict[Link, list[int]] = defaultdict(list)
    for n, task in enumerate(tasks):
        for link in task.links:
            near[link].append(n)
    others = [[(link, [other for other in near[link] if other != n]) for link in task.links]
              for n, task in enumerate(tasks)]
    seen = dict.fromkeys(near, 0)
    waiting = list(reversed(range(len(tasks))))
    wanted: list[Link | None] = [None] * len(tasks)
    is_waiting, running = [True] * len(tasks), len(tasks)
    while waiting:
        n = waiting.pop()
        # What has ended is never called again.
        try:
            wanted[n] = next(tasks[n].process)
            is_waiting[n] = False
        except StopIteration:
            running -= 1
        for link, readers in others[n]:
            news = len(link.offered) + len(link.taken)
            if news != seen[link]:
                seen[link] = news
                for other in readers:
                    if not is_waiting[other] and wanted[other] in (None, link):
                        is_waiting[other] = True
                        waiting.append(other)
    if running:
        raise RuntimeError(f"{running} of {len(tasks)} blocks wait for each other")
