"""When every beat moves: a max-plus model of the pipeline, for latency and buffer depths.

The initiation interval needs no model: it is that of the slowest layer, in closed form. Latency and
the depth of the window buffers depend on when words arrive and when they are needed, which this
module works out in whole cycles for one frame, layer by layer:

- *forward*, as soon as possible, from an input that never pauses: its last beat gives the latency;
- *backward*, as late as possible, from the deadlines that the next layer sets: with frames one
  interval apart, the words alive at once give each buffer the depth that keeps the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ir import Integers
from .plan import Port

WINDOW_LATENCY = 3
"""Cycles from the issue of a read to the window's output beat."""
WRITE_LATENCY = 1
"""Cycles from a word's transfer into the buffer to the first read of it."""
GEARBOX_LATENCY = 1
BUFFER_MARGIN = 7
"""Words in flight between a buffer's pointers and the beats that they stand for."""


def beat_of(elements: Integers, port: Port) -> Integers:
    """Index of the beat that carries each element."""
    beats_per_group = -(-port.group // port.lanes)
    return elements // port.group * beats_per_group + elements % port.group // port.lanes


def beats_of(elements: int, port: Port) -> int:
    """Beats of a frame of ``elements``."""
    return elements // port.group * -(-port.group // port.lanes)


def paced(times: Integers, interval: int) -> Integers:
    """The earliest times that are at least ``interval`` apart and not before ``times``."""
    steps = np.arange(len(times)) * interval
    return np.maximum.accumulate(times - steps) + steps


def paced_before(times: Integers, spacing: int, interval: int) -> Integers:
    """The latest times not after ``times``, ``spacing`` apart, also from one frame to the next."""
    steps = np.arange(len(times)) * spacing
    latest = np.minimum.accumulate((times - steps)[::-1])[::-1] + steps
    # The next frame begins one interval after this one, and may not overtake its end.
    return np.minimum(latest, latest[0] + interval - len(times) * spacing + steps)


@dataclass(frozen=True, eq=False)
class Windowed:
    """Timing of a layer that reads its input through a window buffer.

    Parameters
    ----------
    elements : input elements of a frame.
    i : how they travel.
    lanes : elements of a buffer word.
    geared : whether a gearbox stands in front of the buffer.
    need : (positions, beats) the word that each beat of a position's first pass waits for, -1 none.
    freed : (positions,) words of the frame that are free once a position is done.
    repeat : passes over each position's beats.
    outputs : (beats of a position,) cycle of each output beat, counted from the cycle in which the
        position's first beat is read.
    """

    elements: int
    i: Port
    lanes: int
    geared: bool
    need: Integers
    freed: Integers
    repeat: int
    outputs: Integers

    @property
    def words(self) -> int:
        """Buffer words of a frame."""
        return -(-self.elements // self.lanes)

    @property
    def cycles_per_position(self) -> int:
        """Cycles that a position takes when nothing waits."""
        return self.need.shape[1] * self.repeat

    @property
    def cycles(self) -> int:
        """Initiation interval of the layer alone: reads, input beats or buffer words."""
        return max(len(self.need) * self.cycles_per_position, beats_of(self.elements, self.i),
                   self.words)

    def _last_beat(self) -> Integers:
        """Input beat that completes each word."""
        ends = np.minimum((np.arange(self.words) + 1) * self.lanes, self.elements) - 1
        return beat_of(ends, self.i)

    def word_times(self, beats: Integers) -> Integers:
        """When each word enters the buffer, for input beats at the times ``beats``."""
        return paced(beats[self._last_beat()] + GEARBOX_LATENCY * self.geared, 1)

    def starts(self, words: Integers, floor: int | None = None) -> Integers:
        """When each position starts, as soon as possible; ``floor`` is the earliest start."""
        beats = self.need.shape[1]
        ready = np.where(self.need >= 0, words[self.need] + WRITE_LATENCY - np.arange(beats),
                         np.iinfo(np.int64).min // 4).max(1)
        if floor is not None:
            ready = np.maximum(ready, floor)
        return paced(ready, self.cycles_per_position)

    def output_times(self, starts: Integers) -> Integers:
        """When each output beat leaves."""
        return np.asarray(starts[:, None] + self.outputs[None, :]).reshape(-1)

    def latest_starts(self, deadlines: Integers, interval: int) -> Integers:
        """The latest starts that meet the output beats' ``deadlines``, within one ``interval``."""
        by_output = (deadlines.reshape(len(self.need), -1) - self.outputs).min(1)
        return paced_before(by_output, self.cycles_per_position, interval)

    def word_deadlines(self, starts: Integers, interval: int) -> Integers:
        """When each word must enter the buffer for positions that start at ``starts``."""
        reads = starts[:, None] + np.arange(self.need.shape[1])[None, :] - WRITE_LATENCY
        never = np.iinfo(np.int64).max
        due = np.full(self.words, never, np.int64)
        used = self.need >= 0
        np.minimum.at(due, self.need[used], reads[used])
        due = np.minimum.accumulate(due[::-1])[::-1]
        # What no window reads must still be out of the next frame's way.
        return np.where(due == never, due[0] + interval - 1, due)

    def beat_deadlines(self, words: Integers, interval: int) -> Integers:
        """When each input beat must move for words due at ``words``."""
        words = paced_before(words, 1, interval)
        beats = np.full(beats_of(self.elements, self.i), int(words[-1]), np.int64)
        np.minimum.at(beats, self._last_beat(), words - GEARBOX_LATENCY * self.geared)
        return paced_before(np.minimum.accumulate(beats[::-1])[::-1], 1, interval)

    def depth(self, words: Integers, starts: Integers, interval: int) -> int:
        """Words alive at once when frames follow every ``interval`` cycles."""
        ends = starts + self.cycles_per_position
        position = np.searchsorted(self.freed, np.arange(self.words), side="right")
        free = np.maximum(ends[position], words)
        # Words of all frames alive just before cycle 0, then the changes within one interval.
        alive = int(((-1 - words) // interval - (-1 - free) // interval).sum())
        changes = np.bincount(words % interval, minlength=interval)
        changes -= np.bincount(free % interval, minlength=interval)
        steady = alive + max(0, int(np.cumsum(changes).max()))
        # However late words come, those of one position must fit together.
        before = np.append(0, self.freed[:-1])
        return max(steady, int((self.need.max(1) + 1 - before).max())) + BUFFER_MARGIN


@dataclass(frozen=True, eq=False)
class Passing:
    """Timing of a layer that holds at most a beat.

    Output beat n leaves ``latency`` cycles after input beat ``source[n]``.
    """

    source: Integers
    latency: int
    cycles: int

    def output_times(self, beats: Integers) -> Integers:
        """When each output beat leaves, for input beats at ``beats``."""
        return paced(beats[self.source] + self.latency, 1)

    def beat_deadlines(self, outputs: Integers, count: int, interval: int) -> Integers:
        """When each of ``count`` input beats must move for outputs due at ``outputs``."""
        beats = np.full(count, int(outputs[-1]) - self.latency, np.int64)
        np.minimum.at(beats, self.source, outputs - self.latency)
        return paced_before(np.minimum.accumulate(beats[::-1])[::-1], 1, interval)


Stage = Windowed | Passing


def latency(stages: list[Stage], i_beats: int) -> int:
    """Cycles from the first input beat taken to the last output beat given, for one frame alone."""
    times = np.arange(i_beats)
    for stage in stages:
        if isinstance(stage, Windowed):
            times = stage.output_times(stage.starts(stage.word_times(times)))
        else:
            times = stage.output_times(times)
    return int(times[-1])


def depths(stages: list[Stage], i_beats: int, interval: int) -> list[int]:
    """Words that each window buffer needs for frames every ``interval`` cycles; 0 without one."""
    times = np.arange(i_beats)
    counts, schedules = [], []
    for stage in stages:
        counts.append(len(times))
        if isinstance(stage, Windowed):
            words = stage.word_times(times)
            free_start = stage.starts(words)
            end = int(free_start[-1]) + stage.cycles_per_position
            starts = stage.starts(words, floor=end - interval)
            schedules.append(starts)
            times = stage.output_times(starts)
        else:
            schedules.append(times)
            times = stage.output_times(times)
    # From the back: what each layer needs by when, and so how late its source may be.
    result = [0] * len(stages)
    due = times
    for n in reversed(range(len(stages))):
        stage = stages[n]
        if isinstance(stage, Windowed):
            starts = np.maximum(stage.latest_starts(due, interval), schedules[n])
            words = stage.word_deadlines(starts, interval)
            due = stage.beat_deadlines(words, interval)
            result[n] = stage.depth(stage.word_times(due), starts, interval)
        else:
            due = stage.beat_deadlines(due, counts[n], interval)
    return result
