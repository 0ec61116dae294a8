"""The control of a window and of what takes its reads, beat by beat (see `control`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from ...hdl.window import FILL_LATENCY, LATE_WORDS, READ_LATENCY, WRITE_LATENCY
from ..ir import Integers
from .control import Link, Process

ROOM_CYCLES = 4
"""Cycles from the last read of a position to the room that it leaves."""
ENGINE_ROOM_CYCLES = 3
"""Cycles from a beat's way out of an engine's queue to the room that it leaves."""


class Reader(Protocol):
    """What takes the reads of a window: ``length`` of them in a row are a segment.

    It may refuse the read ``gate`` of a segment, and no other.
    """

    @property
    def length(self) -> int:
        """Reads of a segment."""

    @property
    def gate(self) -> int:
        """Which read of a segment may have to wait."""

    def accept(self, segment: int, offered: int, before: int, o: Link, begun: int | None
               ) -> int | None:
        """When the gate that is ``offered`` is taken; None if that is not yet known.

        ``before`` is when the gate of the segment before was taken, ``begun`` when the first word
        of the segment's frame came in, None if it did not.
        """

    def finish(self, segment: int, taken: int, o: Link) -> None:
        """Offer what a segment makes whose last read was ``taken``."""


@dataclass(frozen=True, eq=False)
class Engine:
    """A `penjing.hdl.engine.Engine`: a group of outputs is let in when its queue has room.

    Parameters
    ----------
    length : reads of a group.
    latency : cycles from a group's last read to its first output beat.
    drain : output beats of a full group.
    depth : beats that the queue holds.
    outputs : (groups of a frame + 1,) output beats of all groups before each.
    """

    length: int
    latency: int
    drain: int
    depth: int
    outputs: Sequence[int]

    gate = 0

    def accept(self, segment: int, offered: int, before: int, o: Link, begun: int | None
               ) -> int | None:
        """When the group is let in."""
        single = self.length == 1
        before_it = self.before(segment)
        must_be_out = before_it + (2 if single else 1) * self.drain - self.depth
        if must_be_out <= 0:
            return offered
        left = o.taken
        if single and offered == before + 1:
            # The group that has just come in does not count yet.
            soon = must_be_out - before_it + self.before(segment - 1)
            if len(left) < soon:
                return None
            if soon <= 0 or left[soon - 1] + ENGINE_ROOM_CYCLES <= offered:
                return offered
            offered += 1
        if len(left) < must_be_out:
            return None
        return max(offered, left[must_be_out - 1] + ENGINE_ROOM_CYCLES)

    def finish(self, segment: int, taken: int, o: Link) -> None:
        """Offer the outputs, one a cycle."""
        first = taken + self.latency
        o.offered.extend(range(first, first + self.before(segment + 1) - self.before(segment)))

    def before(self, segment: int) -> int:
        """Output beats of all groups before a segment."""
        frame, group = divmod(segment, len(self.outputs) - 1)
        return frame * self.outputs[-1] + self.outputs[group]


@dataclass(frozen=True)
class Reduction:
    """A pool: one output of ``length`` reads, whose last waits for the way out of the one before.
    """

    length: int

    @property
    def gate(self) -> int:
        """The last read."""
        return self.length - 1

    def accept(self, segment: int, offered: int, before: int, o: Link, begun: int | None
               ) -> int | None:
        """When the last read is taken."""
        if len(o.taken) < segment:
            return None
        return max(offered, o.taken[segment - 1]) if segment else offered

    def finish(self, segment: int, taken: int, o: Link) -> None:
        """Offer the output."""
        o.offered.append(taken + 1)


@dataclass(frozen=True)
class Passage:
    """Reads go out as they are."""

    length = 1
    gate = 0

    def accept(self, segment: int, offered: int, before: int, o: Link, begun: int | None
               ) -> int | None:
        """When the read is taken from outside."""
        if len(o.offered) == segment:
            o.offered.append(offered)
        return o.taken[segment] if len(o.taken) > segment else None

    def finish(self, segment: int, taken: int, o: Link) -> None:
        """It is out."""


@dataclass(frozen=True)
class Border(Passage):
    """A `penjing.hdl.pad.Padder`: reads go out as they are, once the frame has begun."""

    def accept(self, segment: int, offered: int, before: int, o: Link, begun: int | None
               ) -> int | None:
        """When the read is taken from outside."""
        if begun is None:
            return None
        return super().accept(segment, max(offered, begun + 1), before, o, begun)


@dataclass(frozen=True, eq=False)
class Window:
    """A `penjing.hdl.window.Window` and what takes its reads.

    The reads are `Steps` behind their issue: local time stands still while a read waits at the end
    of them, so a read takes place at its local time and all such waits before it.

    Parameters
    ----------
    depth : words of the buffer.
    need : (positions, reads) the word that each read of a position's first pass waits for, -1 none.
    freed : (positions,) words of the frame that are free once a position is done.
    repeat : passes over each position's reads.
    reader : what takes the reads.
    """

    depth: int
    need: Integers
    freed: Integers
    repeat: int
    reader: Reader

    def outputs(self, beats: int) -> int:
        """Those that the reader makes."""
        return self.reader.outputs[-1] if isinstance(self.reader, Engine) else self.segments

    @cached_property
    def segments(self) -> int:
        """Segments of a frame."""
        return self.need.size // self.reader.length * self.repeat

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        return _Sliding(self, i, o, beats).run(frames)


class _Sliding:
    """The state of a `Window`'s process."""

    def __init__(self, window: Window, i: Link, o: Link, beats: int) -> None:
        self.window, self.reader, self.i, self.o, self.beats = window, window.reader, i, o, beats
        self.room_from, self.room_of = [0], [0]  # when words are known to be free, and how many
        self.known = 0  # the last of those in time for the word before
        # Reads on their way to the reader that matter: local time, segment, is a gate, is an end.
        self.coming: deque[tuple[int, int, bool, bool]] = deque()
        self.waits: deque[tuple[int, int]] = deque()  # local time and length of waits
        self.waited, self.all_waited = 0, 0  # before the next read, and before what is to come
        self.gate_taken = -2
        self.local = FILL_LATENCY - 1  # of the last read

    def take(self) -> None:
        """Take the words that are offered and have room for sure."""
        offers, takes = self.i.offered, self.i.taken
        most = self.window.depth - LATE_WORDS
        room_from, room_of, known, last = self.room_from, self.room_of, self.known, len(
            self.room_from) - 1
        for n in range(len(takes), len(offers)):
            taken = max(offers[n], takes[-1] + 1) if n else offers[0]
            while True:
                while known < last and room_from[known + 1] <= taken:
                    known += 1
                # Words of the last two cycles do not count yet.
                if (n - room_of[known] < most or n - room_of[known]
                        - sum(one >= taken - 2 for one in takes[-2:]) < most):
                    break
                if known == last:
                    self.known = known
                    return
                taken = room_from[known + 1]
            takes.append(taken)
        self.known = known

    def pass_on(self) -> None:
        """Hand reads to the reader as far as is known when it takes them."""
        taken, segments = self.i.taken, self.window.segments
        while self.coming:
            local, segment, is_gate, is_end = self.coming[0]
            arrived = local + self.all_waited
            if is_gate:
                first = segment // segments * self.beats
                accepted = self.reader.accept(segment, arrived, self.gate_taken, self.o,
                                              taken[first] if len(taken) > first else None)
                if accepted is None:
                    return
                if accepted > arrived:
                    self.waits.append((local, accepted - arrived))
                    self.all_waited += accepted - arrived
                self.gate_taken = arrived = accepted
            if is_end:
                self.reader.finish(segment, arrived, self.o)
            self.coming.popleft()

    def move(self, local: int) -> bool:
        """Count the waits up to a read at ``local``; whether one of them does so only now."""
        before = self.waited
        while self.waits and self.waits[0][0] <= local:
            self.waited += self.waits.popleft()[1]
        return self.waited > before

    def idle(self) -> Process:
        """Do what is possible; wait for others where that is nothing."""
        before = len(self.i.taken), len(self.coming)
        self.take()
        self.pass_on()
        if before == (len(self.i.taken), len(self.coming)):
            yield None

    def reach(self, local: int) -> Process:
        """Know all waits up to a read at ``local``."""
        self.pass_on()
        while self.coming and self.coming[0][0] <= local:
            yield from self.idle()

    def run(self, frames: int) -> Process:
        for frame in range(frames):
            yield from self.read_frame(frame)
        while self.coming or len(self.i.taken) < frames * self.beats:
            yield from self.idle()

    def read_frame(self, frame: int) -> Process:
        window, length, gate = self.window, self.reader.length, self.reader.gate
        positions, reads = window.need.shape
        per_pass = reads // length
        most_needed = window.need.reshape(positions, per_pass, length).max(2).tolist()
        freed = window.freed.tolist()
        segment, words = frame * window.segments, frame * self.beats
        for position in range(positions):
            for n in range(per_pass * window.repeat):
                first = self.local + 1
                if self.coming:
                    yield from self.reach(first)
                if self.waits:
                    self.move(first)
                needed = most_needed[position][n] if n < per_pass else -1
                waits = False
                if needed >= 0:
                    needed += words
                    while len(self.i.taken) <= needed:
                        self.take()
                        if len(self.i.taken) <= needed:
                            yield from self.idle()
                    if self.i.taken[needed] + WRITE_LATENCY > first + self.waited:
                        needs = window.need[position, n * length : (n + 1) * length].tolist()
                        waits = True
                        yield from self.wait_for(needs, segment, words)
                if not waits:
                    self.expect(segment, first + gate, first + length - 1)
                    self.local = first + length - 1
                segment += 1
            if self.coming:
                yield from self.reach(self.local)
            if self.waits:
                self.move(self.local)
            self.room_from.append(self.local + self.waited + ROOM_CYCLES)
            self.room_of.append(words + freed[position])

    def expect(self, segment: int, gate: int, end: int) -> None:
        """Reads of a segment are on their way: its gate and its end, at their local times."""
        if gate == end:
            self.coming.append((end + READ_LATENCY, segment, True, True))
        else:
            self.coming.append((gate + READ_LATENCY, segment, True, False))
            self.coming.append((end + READ_LATENCY, segment, False, True))

    def wait_for(self, needs: Sequence[int], segment: int, words: int) -> Process:
        """Read a segment each of whose reads waits for the word in ``needs``, behind ``words``."""
        taken, gate = self.i.taken, self.reader.gate
        for n, need in enumerate(needs):
            local = self.local + 1
            ready = taken[words + need] + WRITE_LATENCY if need >= 0 else 0
            local = max(local, ready - self.waited)
            while True:
                yield from self.reach(local)
                if not self.waits or self.waits[0][0] > local:
                    break
                at = self.waits[0][0]
                self.waited += self.waits.popleft()[1]
                local = max(self.local + 1, at, ready - self.waited)
            self.local = local
            if n in (gate, len(needs) - 1):
                self.coming.append((local + READ_LATENCY, segment, n == gate,
                                    n == len(needs) - 1))
