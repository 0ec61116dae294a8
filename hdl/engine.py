"""The multiply-accumulate engine: sequencing, drain and output queue around an array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .fill import FILL, chain, fill_members
from .sequencer import ONCE, Rounds
from .skip import SKIP_LATENCY, SkipBuffer
from .steady import delay
from .stream import QUEUE_LATENCY, Beat, Queue, beats
from .tech import MemoryStyle, Technology
from .weights import WeightSource

__all__ = ["Engine", "EngineArray", "EngineShape"]

_SHALLOW = 65
"""Beats that an output queue of tables holds. Synthesis makes a deeper one of block RAM, whose
output, without a register, would be late."""


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
    channel_groups : groups of channels that a beat brings, ``simd`` terms of each; every group has
        outputs of its own, equally many.
    rounds : how weights and biases follow each other: of the positions, ``turns`` in a row have
        those of one of the ``parts``.
    """

    pe: int
    simd: int
    folds: int
    outputs: int
    o_lanes: int
    depth: int
    results_latency: int = 0
    channel_groups: int = 1
    rounds: Rounds = ONCE

    def __post_init__(self) -> None:
        at_least(1, pe=self.pe, simd=self.simd, folds=self.folds, outputs=self.outputs,
                 o_lanes=self.o_lanes, channel_groups=self.channel_groups)
        at_least(0, depth=self.depth, results_latency=self.results_latency)
        if self.pe % self.o_lanes or self.pe > self.o_lanes * self.folds:
            raise ValueError(f"o_lanes must divide {self.pe} and be at least "
                             f"{self.pe}/{self.folds}, not {self.o_lanes!r}")
        if self.pe % self.channel_groups:
            raise ValueError(f"channel_groups must divide {self.pe} outputs, "
                             f"not {self.channel_groups!r}")

    @property
    def lanes(self) -> int:
        """Elements of an input beat."""
        return self.channel_groups * self.simd

    def terms(self, output: int) -> range:
        """The input lanes that the ``output`` of a group has its terms from."""
        first = output * self.channel_groups // self.pe * self.simd
        return range(first, first + self.simd)

    @cached_property
    def groups(self) -> int:
        """Groups of outputs."""
        return beats(self.outputs, self.pe)

    @property
    def words(self) -> int:
        """Words of weights: one for each input beat at a position, in each part of the rounds."""
        return self.groups * self.folds * self.rounds.parts

    @property
    def drain_beats(self) -> int:
        """Output beats of a group."""
        return self.pe // self.o_lanes

    @property
    def tail_beats(self) -> int:
        """Output beats of the last group, whose spare outputs are left out."""
        return beats((self.outputs - 1) % self.pe + 1, self.o_lanes)

    @cached_property
    def latency(self) -> int:
        """Cycles from the last input beat of a group to its first output beat.

        The sum and the totals each take a cycle more, and the results pass the queue.
        """
        return self._to_queue + (SKIP_LATENCY if self.is_deep else QUEUE_LATENCY)

    @cached_property
    def queue_depth(self) -> int:
        """Beats that the output queue holds."""
        return self._in_flight(self.latency)

    @cached_property
    def is_deep(self) -> bool:
        """Whether the output queue is a `SkipBuffer` in block RAM."""
        return self._in_flight(self._to_queue + QUEUE_LATENCY) > _SHALLOW

    @property
    def _to_queue(self) -> int:
        """Cycles from the last input beat of a group to its first result in front of the queue."""
        return self.depth + 2 + self.results_latency

    def _in_flight(self, latency: int) -> int:
        """Beats on their way at most: what the pipeline and the drain hold, what has left but is
        not known to have, and a group more on either side; of one beat each, one that is not known
        to be in."""
        groups = beats(latency + self.drain_beats + 2, self.folds) + 2 + (self.folds == 1)
        return max(3, groups * self.drain_beats)


class EngineArray(Block):
    """What an `Engine` computes with: sums of a group's terms, and the results that they stand for.

    The first half adds up the terms of ``pe`` outputs in ``totals``: what a beat brings is in
    them ``depth + 1`` cycles later, and a group's ``first`` beat begins afresh. The second half
    makes ``results`` of the totals that are ``drained``, ``results_latency`` cycles later; in the
    cycles in which they ``leave``, beat by beat in the order of outputs. Nothing in it ever stalls.

    Parameters
    ----------
    shape : the engine's structure.
    element : shape of an input element.
    word_bits : bits of a beat's weights, those of all outputs.
    total_bits : bits of a total.
    accumulator_bits : width of the results, which are signed.
    filled : whether it has a memory that a stream fills.

    Members
    -------
    x : In, an array of ``shape.lanes`` elements.
    weights : In, those of a beat; unless it says otherwise, of all terms of all outputs side by
        side, each output's together.
    take, first, end : In(1), of the beat: whether there is one, and, if there is, whether it is its
        group's first or last.
    totals : Out, an array of ``pe``.
    drained : In, an array of ``o_lanes`` of them.
    leave : In(1).
    results : Out, an array of ``o_lanes``.
    load, loaded : see `penjing.hdl.fill.Filler`; if ``filled``.
    """

    def __init__(self, shape: EngineShape, element: ShapeLike, *, word_bits: int, total_bits: int,
                 accumulator_bits: int, filled: bool = False) -> None:
        at_least(1, word_bits=word_bits, accumulator_bits=accumulator_bits)
        self._shape = shape
        super().__init__({
            "x": In(data.ArrayLayout(Shape.cast(element), shape.lanes)),
            "weights": In(word_bits),
            "take": In(1), "first": In(1), "end": In(1),
            "totals": Out(data.ArrayLayout(unsigned(total_bits), shape.pe)),
            "drained": In(data.ArrayLayout(unsigned(total_bits), shape.o_lanes)), "leave": In(1),
            "results": Out(data.ArrayLayout(signed(accumulator_bits), shape.o_lanes)),
            **({"load": In(FILL), "loaded": Out(FILL)} if filled else {})})

    @property
    def depth(self) -> int:
        """Cycles from a beat and its weights to the edge that adds to the totals."""
        raise NotImplementedError

    @property
    def results_latency(self) -> int:
        """Cycles from drained totals to their results."""
        raise NotImplementedError


class Engine(Block):
    """Matrix times vector: ``o[n] = bias[n] + sum(w[n][k] * x[k])``, ``pe * simd`` terms a cycle.

    A vector arrives in ``folds`` beats of ``simd`` elements, once for every group of ``pe``
    outputs; its accumulators leave ``o_lanes`` a beat. Where a beat brings several groups of
    channels, each has outputs of its own: as a depthwise convolution's taps arrive, slice by slice.
    One input beat is taken each cycle, and from the last beat of a group to its first output beat
    it is ``latency`` cycles. Nothing inside the pipeline ever stalls: a group is let in only when
    the output queue has room for its results.

    Parameters
    ----------
    shape : structure; its ``depth`` is the source's latency and the array's depth.
    array : computes the results.
    weights : gives the array's weights, ``shape.words`` words.
    technology : supplies the memory of a deep output queue.

    Members
    -------
    i : stream of ``Beat(element, shape.lanes)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``shape.outputs`` outputs.
    load, loaded : see `penjing.hdl.fill.Filler`; where weights or array have memories to be filled.
    """

    def __init__(self, shape: EngineShape, array: EngineArray, weights: WeightSource, *,
                 technology: Technology) -> None:
        if weights.length != shape.words or len(weights.data) != len(array.weights):
            raise ValueError(f"weights must be {shape.words} words of {len(array.weights)} bits, "
                             f"not {weights.length} of {len(weights.data)}")
        wanted = shape.depth, shape.results_latency
        given = weights.latency + array.depth, array.results_latency
        if wanted != given:
            raise ValueError(f"shape must have the depth and latency of its parts, {given}, "
                             f"not {wanted}")
        self._shape = shape
        self._array = array
        self._weights = weights
        self._technology = technology
        element, result = (layout.shape().elem_shape for layout in (array.x, array.results))
        super().__init__({"i": In(stream.Signature(Beat(element, shape.lanes))),
                          "o": Out(stream.Signature(Beat(result, shape.o_lanes))),
                          **fill_members(self._parts)})

    @property
    def _parts(self) -> tuple[wiring.Component, ...]:
        """What may have memories that are filled, in the order in which they are."""
        assert isinstance(self._weights, wiring.Component)
        return self._weights, self._array

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a group to its first output beat."""
        return self._shape.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, array, weights = self._shape, self._array, self._weights
        m.submodules.queue = queue = self._queue()
        m.submodules.weights = weights
        m.submodules.array = array
        chain(m, self, self._parts)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        take, first, end, tail = self._sequence(m, shape.queue_depth)
        behind = weights.latency
        m.d.comb += [
            weights.step.eq(take),
            array.weights.eq(weights.data),
            array.take.eq(delay(m, "take", take, behind, reset_less=False)),
            array.first.eq(delay(m, "first", first, behind)),
            array.end.eq(delay(m, "end", end, behind, reset_less=False)),
        ]
        x = delay(m, "x", Value.cast(self.i.p.data), behind)
        m.d.comb += Value.cast(array.x).eq(x)
        self._drain(m, queue,
                    done=delay(m, "done", end, shape.depth + 1, reset_less=False),
                    last=delay(m, "last", self.i.p.last, shape.depth + 1),
                    tail=delay(m, "tail", tail, shape.depth + 1))
        return m

    def _queue(self) -> Queue | SkipBuffer:
        """Takes results as they come; there is always room for them."""
        layout, depth = self.o.payload.shape(), self._shape.queue_depth
        if self._shape.is_deep:
            return SkipBuffer(layout, depth, style=MemoryStyle.BLOCK, technology=self._technology)
        return Queue(layout, depth)

    def _sequence(self, m: Module, capacity: int) -> tuple[Value, Value, Value, Value]:
        """A beat comes in; it is its group's first; a group's last comes in; the group is the last.

        Results on their way are at most ``capacity`` beats.
        """
        shape = self._shape
        fold = Signal(range(shape.folds))
        group = Signal(range(shape.groups))
        first, ready = Signal(init=1), Signal(init=1)
        fold_end, take, end, tail = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            take.eq(self.i.valid & ready),
            fold_end.eq(fold == shape.folds - 1),
            end.eq(take & fold_end),
            tail.eq(group == shape.groups - 1),
        ]
        next_first = Mux(take, fold_end, first)
        m.d.sync += first.eq(next_first)
        with m.If(take):
            m.d.sync += fold.eq(Mux(fold_end, 0, fold + 1))
        with m.If(end):
            m.d.sync += group.eq(Mux(tail, 0, group + 1))
        # What leaves and what comes in counts a cycle late, so that ready is a register that waits
        # for neither. A group of one beat may have come in since.
        credit = Signal(range(capacity + 1), init=capacity, name="credits")
        left = Signal()
        wanted = Mux(tail, shape.tail_beats, shape.drain_beats)
        kept = shape.drain_beats * (2 if shape.folds == 1 else 1)
        m.d.sync += [
            left.eq(self.o.valid & self.o.ready),
            credit.eq(credit - Mux(take & first, wanted, 0) + left),
            ready.eq(~next_first | (credit >= kept)),
        ]
        return take, first, end, tail

    def _drain(self, m: Module, queue: Queue | SkipBuffer, *, done: Value, last: Value, tail: Value
               ) -> None:
        """Shift finished totals out, ``o_lanes`` a cycle, and their results into the queue."""
        shape, array = self._shape, self._array
        totals = Value.cast(array.totals)
        step = len(Value.cast(array.drained))
        held = Signal(len(totals), reset_less=True)
        left = Signal(range(shape.drain_beats + 1))
        held_last = Signal(reset_less=True)
        with m.If(done):
            m.d.sync += [
                held.eq(totals),
                held_last.eq(last),
                left.eq(Mux(tail, shape.tail_beats, shape.drain_beats)),
            ]
        with m.Else():
            # What moves on behind the last one is never looked at, and these are many registers.
            m.d.sync += held.eq(held >> step)
            with m.If(left.any()):
                m.d.sync += left.eq(left - 1)
        behind = shape.results_latency
        m.d.comb += [
            Value.cast(array.drained).eq(held),
            array.leave.eq(left.any()),
            queue.i.valid.eq(delay(m, "leaves", left.any(), behind, reset_less=False)),
            queue.i.p.data.eq(array.results),
            queue.i.p.last.eq(delay(m, "leaves_last", held_last & (left == 1), behind)),
        ]
