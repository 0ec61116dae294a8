"""When each layer takes and gives its beats: the stages of a max-plus model of the pipeline.

All is in whole cycles for one frame: *forward*, as soon as possible, and *backward*, as late as the
readers' deadlines allow. `depths` puts the stages together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...hdl.window import WRITE_LATENCY
from ..ir import Integers
from . import control, tile_control, window_control
from .geometry import Order, Waits
from .pacing import Spacing, most_alive, paced, paced_before
from .port import Port

BUFFER_MARGIN = 8
"""Words in flight between a buffer's pointers and the beats that they stand for."""


Source = Integers | None
"""The beat that each of some beats comes of; None where each comes of one, in order."""


@dataclass(frozen=True)
class Depths:
    """Room that a node needs for frames at the interval: words of its window buffer (0 without
    one), and beats of the queue in front of each of its inputs (0 for none)."""

    words: int
    queues: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Outputs:
    """The output beats that each position of a windowed layer makes.

    Parameters
    ----------
    reads : (beats,) the read of the position, counted from 0, that completes each beat.
    cycles : (beats,) cycle of each beat, counted from the position's first read, if no read waits.
    """

    reads: Integers
    cycles: Integers


@dataclass(frozen=True, eq=False)
class Windowed(ABC):
    """Timing of a layer that reads its input through a buffer, position by position.

    Parameters
    ----------
    elements : input elements of a frame.
    i : how they travel.
    lanes : elements of a buffer word.
    gear : cycles of what makes words of the beats that come in, 0 where they are the same.
    waits : the beats of a position's first pass that others hide behind.
    beats : of a position's first pass.
    freed : (positions,) words of the frame that are free once a position is done.
    repeat : passes over each position's beats.
    outputs : what each position makes.
    front : what makes words of beats.
    behind : what moves on what is made.
    """

    elements: int
    i: Port
    lanes: int
    gear: int
    waits: Waits
    beats: int
    freed: Integers
    repeat: int
    outputs: Outputs
    front: tuple[control.Block, ...] = ()
    behind: tuple[control.Block, ...] = ()

    @abstractmethod
    def buffer(self, depth: int) -> control.Block:
        """The buffer of ``depth`` words, and what takes its reads."""

    def blocks(self, room: Depths) -> list[control.Block]:
        """All that beats go through, the buffer of that ``room``."""
        return [*control.queue(room.queues[0]), *self.front, self.buffer(room.words), *self.behind]

    @property
    def is_slow(self) -> bool:
        """Whether it may take several cycles a beat, those of one word after the other."""
        return self.i.lanes > self.lanes

    def _ends(self) -> Integers:
        """Elements up to the end of each word."""
        return Port(self.lanes, self.elements).ends(self.elements)

    @cached_property
    def words(self) -> int:
        """Buffer words of a frame."""
        return len(self._ends())

    @property
    def cycles_per_position(self) -> int:
        """Cycles that a position takes when nothing waits."""
        return self.beats * self.repeat

    @cached_property
    def _last_beat(self) -> Integers:
        """Input beat that completes each word."""
        return self.i.beat_of(self._ends() - 1)

    def word_times(self, beats: Integers) -> Integers:
        """When each word enters the buffer, for input beats at the times ``beats``."""
        return paced(beats[self._last_beat] + self.gear, 1)

    def starts(self, words: Integers, floor: int | None = None) -> Integers:
        """When each position starts, as soon as none of its reads will wait.

        ``floor`` is the earliest start.
        """
        waits = self.waits
        ready = np.where(waits.words >= 0, words[waits.words] + WRITE_LATENCY - waits.reads,
                         np.iinfo(np.int64).min // 4).max(1)
        if floor is not None:
            ready = np.maximum(ready, floor)
        return paced(ready, self.cycles_per_position)

    def results(self, starts: Integers) -> Integers:
        """When each output beat leaves, for positions that start at ``starts`` and never wait."""
        return np.asarray(starts[:, None] + self.outputs.cycles[None, :]).reshape(-1)

    def latest_starts(self, deadlines: Integers, interval: int) -> Integers:
        """The latest starts that meet the output beats' ``deadlines``, within one ``interval``."""
        by_output = (deadlines.reshape(len(self.freed), -1) - self.outputs.cycles).min(1)
        return paced_before(by_output, self.spacing(interval), interval)

    def spacing(self, interval: int) -> int:
        """Cycles from one start to the next, as late as can be, of frames every ``interval``."""
        return self.cycles_per_position

    def word_deadlines(self, starts: Integers, interval: int) -> Integers:
        """When each word must enter the buffer for positions that start at ``starts``.

        Words that hide behind others are due a cycle apart from those, which `beat_deadlines` sees
        to.
        """
        waits = self.waits
        never = np.iinfo(np.int64).max
        due = np.full(self.words, never, np.int64)
        used = waits.words >= 0
        reads = starts[:, None] + waits.reads - WRITE_LATENCY
        np.minimum.at(due, waits.words[used], reads[used])
        due = np.minimum.accumulate(due[::-1])[::-1]
        # What no window reads must still be out of the next frame's way.
        first = int((starts + waits.first)[used.any(1)].min()) - WRITE_LATENCY
        return np.where(due == never, first + interval - 1, due)

    def beat_deadlines(self, words: Integers, interval: int) -> Integers:
        """When each input beat must move for words due at ``words``."""
        words = paced_before(words, 1, interval)
        beats = np.full(self.i.beats(self.elements), int(words[-1]), np.int64)
        np.minimum.at(beats, self._last_beat, words - self.gear)
        return paced_before(np.minimum.accumulate(beats[::-1])[::-1], 1, interval)

    def taken_times(self, beats: Integers) -> Integers:
        """When each input beat is taken at the latest, for beats offered at ``beats``.

        A beat of several words waits for those of the one before it.
        """
        if self.i.lanes <= self.lanes:
            return beats
        # A beat begins in the first word that does not end before it.
        first = np.searchsorted(self._last_beat, np.arange(len(beats)))
        return np.maximum(beats, self.word_times(beats)[first])

    def ends(self, starts: Integers, taken: Integers, interval: int) -> Integers:
        """When each position ends, for output beats that are taken at ``taken`` only.

        Beats that are complete at once can wait while the next are summed up, not longer.
        """
        reads, beats = self.outputs.reads, len(self.outputs.reads)
        final = int(np.searchsorted(reads, reads[-1]))
        before = np.arange(len(starts)) * beats + final - 1
        waits = taken[np.maximum(before, 0)] - self.outputs.cycles[final]
        ends = np.maximum(starts, waits) + self.cycles_per_position
        return np.minimum(ends, np.append(starts[1:], starts[0] + interval))

    def depth(self, words: Integers, ends: Integers, interval: int) -> int:
        """Room that frames need which follow every ``interval`` cycles.

        ``ends`` are the positions' ends.
        """
        return self.alive(words, ends, interval) + BUFFER_MARGIN

    def alive(self, words: Integers, ends: Integers, interval: int) -> int:
        """Words alive at once, those that a position frees until its end."""
        return max(most_alive(words, ends[self._freeing], interval), self._together)

    @cached_property
    def _freeing(self) -> Integers:
        """The position that frees each word."""
        return np.searchsorted(self.freed, np.arange(self.words), side="right")

    @cached_property
    def _together(self) -> int:
        """Words that those of one position are, which must fit together however late they come."""
        before = np.append(0, self.freed[:-1])
        return int((self.waits.last + 1 - before).max())


@dataclass(frozen=True, eq=False, kw_only=True)
class Sliding(Windowed):
    """Timing of a layer behind a window, whose beats, in that ``order``, the ``reader`` takes."""

    order: Order
    reader: Callable[[], window_control.Reader]

    def buffer(self, depth: int) -> control.Block:
        """The window."""
        return window_control.Window(depth, self.order.needed(), self.freed, self.repeat,
                                     self.reader())


@dataclass(frozen=True, eq=False, kw_only=True)
class Tiled(Windowed):
    """Timing of a layer that begins a position, a tile, when all is in that it needs.

    A word is of one pixel, whose elements are ``pixel``. The cycles and ``parts`` are those of
    `tile_control.Tiles`.
    """

    pixel: int
    results_cycle: int
    room_cycle: int
    parts: int

    def buffer(self, depth: int) -> control.Block:
        """The buffer, the sums, and the memory of results."""
        return tile_control.Tiles(depth, self.waits.last, self.freed, self.cycles_per_position,
                                  self.results_cycle, self.room_cycle, len(self.outputs.reads),
                                  self.parts)

    def depth(self, words: Integers, ends: Integers, interval: int) -> int:
        """Words alive at once; what a tile frees is alive until words may come in its place.

        Room is for whole rows, which are free at once: what is in flight meanwhile counts in
        cycles, for words of it would be a row more.
        """
        return self.alive(
            words, ends + self.room_cycle - self.cycles_per_position + BUFFER_MARGIN, interval)

    def spacing(self, interval: int) -> int:
        """As even as can be: rows that come in evenly would pile up in front of tiles that are all
        late."""
        return max(self.cycles_per_position, interval // len(self.freed))

    def _ends(self) -> Integers:
        """Elements up to the end of each word."""
        return Port(self.lanes, self.pixel).ends(self.elements)


@dataclass(frozen=True, eq=False)
class Passing:
    """Timing of a layer that holds at most a beat.

    Beat n, which it makes of what is in by then, leaves ``latency`` cycles after input beat
    ``source[n]``; input beats are taken ``spacing`` cycles apart, which may differ from one to the
    next. Of the beats that it makes, those
    in ``kept`` go out, each in its own cycle as before; None for all.
    ``stages`` are what they go through, none where that is only wiring.
    """

    source: Source
    latency: int
    spacing: Spacing = 1
    stages: tuple[control.Block, ...] = ()
    kept: Integers | None = None

    def blocks(self, room: Depths) -> list[control.Block]:
        """All that beats go through, behind a queue of that ``room``."""
        return [*control.queue(room.queues[0]), *self.stages]

    @property
    def is_slow(self) -> bool:
        """Whether it may take several cycles a beat."""
        return bool(np.max(self.spacing) > 1) or any(
            isinstance(stage, control.Repacker) for stage in self.stages)

    def output_times(self, beats: Integers) -> Integers:
        """When each output beat leaves, for input beats at ``beats``."""
        made = paced(beats, self.spacing)
        made = (made + self.latency if self.source is None  # which are apart as they are
                else paced(made[self.source] + self.latency, 1))
        return made if self.kept is None else made[self.kept]

    def taken_times(self, beats: Integers, outputs: Integers) -> Integers:
        """When each input beat is taken, for beats offered at ``beats``.

        ``outputs`` is when the layer's own beats are taken.
        """
        taken, outputs = paced(beats, self.spacing), outputs - self.latency
        if self.kept is None:
            if self.source is None:
                return np.maximum(taken, outputs)
            np.maximum.at(taken, self.source, outputs)
            return taken
        kept = self.kept if self.source is None else self.source[self.kept]
        np.maximum.at(taken, kept, outputs)
        # What is dropped comes behind what is kept.
        return paced(taken, self.spacing)

    def beat_deadlines(self, outputs: Integers, count: int, interval: int) -> Integers:
        """When each of ``count`` input beats must move for outputs due at ``outputs``."""
        if self.kept is not None:
            made = count if self.source is None else len(self.source)
            outputs = Passing(self.kept, 0).beat_deadlines(outputs, made, interval)
        if self.source is None:
            return paced_before(outputs - self.latency, self.spacing, interval)
        never = np.iinfo(np.int64).max
        beats = np.full(count, never, np.int64)
        np.minimum.at(beats, self.source, outputs - self.latency)
        beats = np.minimum.accumulate(beats[::-1])[::-1]
        # What nothing needs must still be out of the next frame's way.
        beats = np.where(beats == never, beats[0] + interval - 1, beats)
        return paced_before(beats, self.spacing, interval)


@dataclass(frozen=True, eq=False)
class Joining:
    """Timing of a layer that takes beats of its inputs together or by turns, in a fixed order.

    Output beat n leaves when, for each input k, ``latencies[k]`` cycles have gone by since its beat
    ``sources[k][n]``, the last one needed so far; -1 while none is. ``stages[k]`` are what those go
    through behind their queue. One of each is taken at once, and ``joint`` moves on what they make;
    or, where there are ``turns``, so many of each input are taken one after the other.
    """

    sources: tuple[Source, ...]
    latencies: tuple[int, ...]
    stages: tuple[tuple[control.Block, ...], ...]
    joint: control.Steps | control.Delay
    turns: tuple[int, ...] = ()

    def blocks(self, room: Depths) -> list[list[control.Block]]:
        """All that the beats of each input go through, behind queues of that ``room``."""
        return [[*control.queue(beats), *stages]
                for beats, stages in zip(room.queues, self.stages, strict=True)]

    def output_times(self, *beats: Integers) -> Integers:
        """When each output beat leaves, for the inputs' beats at ``beats``."""
        inputs = zip(beats, self.sources, self.latencies, strict=True)
        long_ago = np.iinfo(np.int64).min // 4
        return paced(np.maximum.reduce([
            times + latency if source is None
            else np.where(source >= 0, times[source] + latency, long_ago)
            for times, source, latency in inputs]), 1)

    def beat_deadlines(self, outputs: Integers, counts: Sequence[int], interval: int
                       ) -> list[Integers]:
        """When each input's beats, ``counts`` in number, must move for outputs due at ``outputs``.
        """
        return [Passing(None, latency).beat_deadlines(outputs, count, interval) if source is None
                else Passing(source[source >= 0], latency).beat_deadlines(outputs[source >= 0],
                                                                          count, interval)
                for source, latency, count in
                zip(self.sources, self.latencies, counts, strict=True)]


Stage = Windowed | Passing | Joining
