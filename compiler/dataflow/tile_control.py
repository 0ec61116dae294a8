"""The control of an engine that makes its outputs tile by tile, beat by beat (see `control`)."""

from __future__ import annotations

from dataclasses import dataclass

from ...hdl.window import WRITE_LATENCY
from ..ir import Integers
from .control import Link, Process


@dataclass(frozen=True, eq=False)
class Tiles:
    """The buffer and the sums of a `penjing.hdl.tile_engine.TileEngine`.

    Its beats are those that are read of its results; what brings them out stands behind.

    Parameters
    ----------
    depth : words of the buffer, whole rows.
    need : (tiles,) the last word of the frame that each tile waits for.
    freed : (tiles,) words of the frame that are free once a tile is done, whole rows.
    steps : cycles of a tile.
    results_cycle : cycles from the beginning of a tile until its results are read.
    room_cycle : the same until the words that it frees may come in.
    beats : output beats of a tile.
    parts : tiles whose results there is room for.
    """

    depth: int
    need: Integers
    freed: Integers
    steps: int
    results_cycle: int
    room_cycle: int
    beats: int
    parts: int

    def outputs(self, beats: int) -> int:
        """Those of all tiles."""
        return len(self.need) * self.beats

    def run(self, i: Link, o: Link, beats: int, frames: int) -> Process:
        """The process."""
        need, freed = self.need.tolist(), self.freed.tolist()
        left, words = o.taken, _Words(i, self.depth)
        start = -self.steps
        for tile in range(frames * len(need)):
            frame, n = divmod(tile, len(need))
            wanted = frame * beats + need[n]
            while not words.take(wanted + 1):
                yield i
            start = max(start + self.steps, i.taken[wanted] + WRITE_LATENCY)
            if tile >= self.parts:
                # The results of an earlier tile must have made room.
                before = (tile - self.parts + 1) * self.beats
                while len(left) < before:
                    # Words come in meanwhile, as far as there is room: another branch may need it.
                    words.take(frames * beats)
                    yield None
                start = max(start, left[before - 1] + 1)
            o.offered.extend([start + self.results_cycle] * self.beats)
            words.free(frame * beats + freed[n], start + self.room_cycle)
            words.take(frames * beats)
        while not words.take(frames * beats):
            yield i


class _Words:
    """The words that come in by ``i``, to a buffer of so many."""

    def __init__(self, i: Link, depth: int) -> None:
        self.i, self.depth = i, depth
        self.room = [(depth, 0)]  # up to which word there is room, and from when on
        self.known = 0  # the first of them that matters

    def free(self, words: int, cycle: int) -> None:
        """All before so many ``words`` are free from ``cycle`` on."""
        if words + self.depth > self.room[-1][0]:
            self.room.append((words + self.depth, cycle))

    def take(self, words: int) -> bool:
        """Take what is offered and has room, up to so many ``words``; whether that is all."""
        offers, takes = self.i.offered, self.i.taken
        while len(takes) < min(words, len(offers), self.room[-1][0]):
            word = len(takes)
            while self.room[self.known][0] <= word:
                self.known += 1
            takes.append(max(offers[word], takes[-1] + 1 if takes else 0,
                             self.room[self.known][1]))
        return len(takes) >= words
