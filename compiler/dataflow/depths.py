"""How deep buffers must be: when every beat of a network moves, in a max-plus model.

The initiation interval needs no model: it is that of the slowest layer, in closed form; latency is
what `frames` finds. The depth of buffers depends on when words arrive and when they are needed,
which this module works out in whole cycles for one frame, layer by layer:

- *forward*, as soon as possible, from an input that never pauses, with buffers without end;
- *backward*, as late as possible, from the deadlines that the readers set: with frames one interval
  apart, the words alive at once give each buffer the depth that keeps the interval.

The backward times are one periodic schedule of the whole graph that the buffers have room for, and
a network of blocks that wait for each other is never slower than any such schedule: it keeps the
interval, and so cannot come to a standstill where branches meet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Integers
from .pacing import most_alive, within
from .timing import BUFFER_MARGIN, Depths, Passing, Stage, Windowed

INPUT = -1
"""Stands for the network's input among the sources of a node."""


@dataclass(frozen=True, eq=False)
class Node:
    """A layer in the graph: its timing, and the nodes (or INPUT) that it reads.

    ``queued`` says whether a queue is in front of each input; a layer that joins its inputs always
    has them. Of a queued layer that passes beats on, ``holds`` says whether what must wait for
    another branch waits there, in front of it, and not behind.
    """

    stage: Stage
    inputs: tuple[int, ...]
    queued: bool = False
    holds: bool = False


def depths(nodes: Sequence[Node], i_beats: int, interval: int) -> list[Depths]:
    """The room that each node needs for frames every ``interval`` cycles.

    A tensor with several readers is given as early as the first of them must have it; the others
    keep it: a window in its buffer, any other layer in its queue.
    """
    times, schedules = _earliest(nodes, i_beats, interval)
    readers = Counter(source for node in nodes for source in node.inputs)
    # From the back: what each layer needs by when, and so how late its sources may be. What comes
    # out early of one frame alone comes later of frames at the interval.
    due = {len(nodes) - 1: within(times[len(nodes) - 1], interval)}
    wanted: list[list[Integers]] = []
    starts: dict[int, Integers] = {}
    for n in reversed(range(len(nodes))):
        stage, inputs = nodes[n].stage, nodes[n].inputs
        counts = [len(times[source]) for source in inputs]
        if isinstance(stage, Windowed):
            starts[n] = np.maximum(stage.latest_starts(due[n], interval), schedules[n])
            deadlines = [stage.beat_deadlines(stage.word_deadlines(starts[n], interval), interval)]
        elif isinstance(stage, Passing):
            deadlines = [stage.beat_deadlines(due[n], counts[0], interval)]
        else:
            deadlines = stage.beat_deadlines(due[n], counts, interval)
        for source, deadline in zip(inputs, deadlines, strict=True):
            due[source] = np.minimum(due[source], deadline) if source in due else deadline
        wanted.insert(0, deadlines)
    given = {INPUT: due[INPUT]}
    for n, node in enumerate(nodes):
        # What is wanted at once may have to come long before, position by position.
        if isinstance(node.stage, Windowed):
            given[n] = node.stage.results(starts[n])
        else:
            given[n] = node.stage.output_times(*(
                wanted[n] if node.queued and node.holds
                else [given[source] for source in node.inputs]))
    taken = _taken(nodes, given, readers)
    result = []
    for n, node in enumerate(nodes):
        depth = 0
        if isinstance(node.stage, Windowed):
            words = node.stage.word_times(given[node.inputs[0]])
            ends = node.stage.ends(starts[n], taken[n], interval)
            depth = node.stage.depth(words, ends, interval)
        left = wanted[n]
        if isinstance(node.stage, Passing) and not node.holds:
            left = [node.stage.taken_times(given[node.inputs[0]], taken[n])]
        result.append(Depths(depth, tuple(
            most_alive(given[source], times, interval) + BUFFER_MARGIN if node.queued else 0
            for source, times in zip(node.inputs, left, strict=True))))
    return result


def _taken(nodes: Sequence[Node], given: dict[int, Integers], readers: Counter[int]
           ) -> dict[int, Integers]:
    """When each node's output beats are taken, those offered at ``given``.

    That is later where the reader takes several cycles a beat and has no queue.
    """
    taken = dict(given)
    for n in reversed(range(len(nodes))):
        stage, source = nodes[n].stage, nodes[n].inputs[0]
        if readers[source] > 1 or nodes[n].queued:
            continue
        if isinstance(stage, Passing):
            taken[source] = stage.taken_times(given[source], taken[n])
        elif isinstance(stage, Windowed):
            taken[source] = stage.taken_times(given[source])
    return taken


def _earliest(nodes: Sequence[Node], i_beats: int, interval: int
              ) -> tuple[dict[int, Integers], dict[int, Integers]]:
    """Times of each node's output, and starts of each window, of frames at the interval."""
    times = {INPUT: np.arange(i_beats)}
    schedules = {}
    for n, node in enumerate(nodes):
        given = [times[source] for source in node.inputs]
        if isinstance(node.stage, Windowed):
            words = node.stage.word_times(*given)
            end = int(node.stage.starts(words)[-1]) + node.stage.cycles_per_position
            schedules[n] = node.stage.starts(words, floor=end - interval)
            times[n] = node.stage.results(schedules[n])
        else:
            times[n] = node.stage.output_times(*given)
    return times, schedules
