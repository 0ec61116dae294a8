"""The frame of a multiply-accumulate engine: when groups come in, and when results leave."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import at_least
from .stream import QUEUE_LATENCY, beats

__all__ = ["EngineShape"]


@dataclass(frozen=True)
class EngineShape:
    """Structure of an engine: a vector in ``folds`` beats for every group of ``pe`` outputs.

    Parameters
    ----------
    pe : outputs of a group.
    simd : terms of an output that one beat brings.
    folds : beats of a group.
    outputs : of the layer at one position; the last group may have spare ones.
    o_lanes : outputs a beat, at least ``pe / folds`` and a divisor of ``pe``.
    depth : cycles from an input beat to the edge that adds its sums to the accumulators: those of
        the weights' source, and those of the array.
    results_latency : cycles from the totals that leave to the results that they stand for.
    """

    pe: int
    simd: int
    folds: int
    outputs: int
    o_lanes: int
    depth: int
    results_latency: int = 0

    def __post_init__(self) -> None:
        at_least(1, pe=self.pe, simd=self.simd, folds=self.folds, outputs=self.outputs,
                 o_lanes=self.o_lanes)
        at_least(0, depth=self.depth, results_latency=self.results_latency)
        if self.pe % self.o_lanes or self.pe > self.o_lanes * self.folds:
            raise ValueError(f"o_lanes must divide {self.pe} and be at least "
                             f"{self.pe}/{self.folds}, not {self.o_lanes!r}")

    @property
    def groups(self) -> int:
        """Groups of outputs."""
        return beats(self.outputs, self.pe)

    @property
    def words(self) -> int:
        """Input beats at one position, each of which has a word of weights."""
        return self.groups * self.folds

    @property
    def drain_beats(self) -> int:
        """Output beats of a group."""
        return self.pe // self.o_lanes

    @property
    def tail_beats(self) -> int:
        """Output beats of the last group, whose spare outputs are left out."""
        return beats((self.outputs - 1) % self.pe + 1, self.o_lanes)

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a group to its first output beat.

        The sum and the totals each take a cycle more, and the results pass the queue.
        """
        return self.depth + 2 + self.results_latency + QUEUE_LATENCY

    @property
    def queue_depth(self) -> int:
        """Beats that the output queue holds.

        In flight at most: what the pipeline and the drain hold, what has left but is not known to
        have, and a group more on either side; of one beat each, one that is not known to be in.
        """
        in_flight = beats(self.latency + self.drain_beats + 2, self.folds) + 2 + (self.folds == 1)
        return max(3, in_flight * self.drain_beats)
