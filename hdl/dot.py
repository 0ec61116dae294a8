"""The multiply-accumulate engine of dense integer weights."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .sequencer import SEQUENCER_LATENCY, Sequencer
from .steady import late
from .stream import Beat, Queue, beats
from .tech import MemoryStyle, Technology

__all__ = ["MULTIPLIER_LATENCY", "WAY_LATENCY", "Dot"]

MULTIPLIER_LATENCY = 2
WAY_LATENCY = 2
"""A DSP block can lie far from its memory and from its adders: a register half-way on either side.
"""


class Dot(Block):
    """Matrix times vector: ``o[n] = bias[n] + sum(w[n][k] * x[k])``, ``pe * simd`` terms a cycle.

    A vector arrives in ``folds`` beats of ``simd`` elements, once for every group of ``pe``
    outputs; its accumulators leave ``o_lanes`` a beat. One input beat is taken each cycle, and from
    the last beat of a group to its first output beat it is ``latency`` cycles. Nothing inside the
    arithmetic pipeline ever stalls: a group is let in only when the output queue has room for its
    results.

    Parameters
    ----------
    shape : shape of an input element.
    weights : ``weights[group * folds + fold][pe][lane]``; groups cover the outputs in order.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    o_lanes : outputs a beat, at least ``pe / folds`` and a divisor of ``pe``.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    style : where the weights live.
    technology : supplies multipliers and memory.

    Members
    -------
    i : stream of ``Beat(shape, simd)``.
    o : stream of ``Beat(signed(accumulator_bits), o_lanes)``; a group is ``len(bias)`` outputs.
    """

    def __init__(self, shape: ShapeLike, *, weights: Sequence[Sequence[Sequence[int]]],
                 weight_bits: int, bias: Sequence[int], accumulator_bits: int, o_lanes: int,
                 dsp_multipliers: int, style: MemoryStyle, technology: Technology,
                 i_lanes: int | None = None) -> None:
        self._pe, self._simd = len(weights[0]), len(weights[0][0])
        groups = beats(len(bias), self._pe)
        if len(weights) % groups:
            raise ValueError(f"weights must have a whole number of folds for each of {groups} "
                             f"groups, not {len(weights)} beats")
        self._folds = len(weights) // groups
        if self._pe % o_lanes or self._pe > o_lanes * self._folds:
            raise ValueError(f"o_lanes must divide {self._pe} and be at least "
                             f"{self._pe}/{self._folds}, not {o_lanes!r}")
        low, high = -(1 << weight_bits - 1), (1 << weight_bits - 1) - 1
        if not all(low <= w <= high for beat in weights for row in beat for w in row):
            raise ValueError(f"weights must lie within {low} and {high}")
        limit = 1 << accumulator_bits - 1
        if not all(-limit <= b < limit for b in bias):
            raise ValueError(f"bias must fit {accumulator_bits} bits")
        self._weights = weights
        self._weight_bits = weight_bits
        self._bias = bias
        self._groups = groups
        self._dsp_multipliers = dsp_multipliers
        self._style = style
        self._technology = technology
        super().__init__({
            "i": In(stream.Signature(Beat(shape, i_lanes or self._simd))),
            "o": Out(stream.Signature(Beat(signed(accumulator_bits), o_lanes)))})

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a group to its first output beat."""
        return self._depth + 4 + self._results_latency

    @property
    def _depth(self) -> int:
        """Cycles from an input beat to its sum in front of the accumulators."""
        return SEQUENCER_LATENCY + MULTIPLIER_LATENCY + WAY_LATENCY + (self._simd - 1).bit_length()

    @property
    def _results_latency(self) -> int:
        """Cycles from the totals that leave to the results that they stand for."""
        return 0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o_layout = self.o.payload.shape()
        drain_beats = self._pe // o_layout.lanes
        # In flight at most: what the pipeline and the drain hold, what has left but is not known to
        # have, and a group more on either side; of one beat each, one that is not known to be in.
        in_flight = beats(self.latency + drain_beats + 2, self._folds) + 2 + (self._folds == 1)
        m.submodules.queue = queue = Queue(o_layout, max(3, in_flight * drain_beats))
        wiring.connect(m, wiring.flipped(self.o), queue.o)

        take, first, end, tail = self._sequence(m, queue, drain_beats)
        totals = self._totals(m, take, first, end)
        self._drain(m, queue, totals,
                    done=late(m, "done", end, self._depth + 1, reset_less=False),
                    last=late(m, "last", self.i.p.last, self._depth + 1),
                    tail=late(m, "tail", tail, self._depth + 1))
        return m

    def _totals(self, m: Module, take: Value, first: Value, end: Value) -> list[Value]:
        """The accumulators of a group's outputs; complete in the cycle after its last sum."""
        sums = [self._add(m, f"sum{n}", row) for n, row in enumerate(self._multiply(m))]
        late_first = late(m, "first", first, self._depth)
        late_take = late(m, "take", take, self._depth, reset_less=False)
        biases = self._biases(m, late(m, "end", end, self._depth - SEQUENCER_LATENCY,
                                      reset_less=False))
        totals: list[Value] = []
        for n, sum_ in enumerate(sums):
            total = Signal(self.o.payload.shape().shape, name=f"total{n}", reset_less=True)
            with m.If(late_take):
                m.d.sync += total.eq(Mux(late_first, biases[n], total) + sum_)
            totals.append(total)
        return totals

    def _sequence(self, m: Module, queue: Queue, drain_beats: int
                  ) -> tuple[Value, Value, Value, Value]:
        """A beat comes in; it is its group's first; a group's last comes in; the group is the last.
        """
        fold = Signal(range(self._folds))
        group = Signal(range(self._groups))
        first, ready = Signal(init=1), Signal(init=1)
        fold_end, take, end, tail = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            take.eq(self.i.valid & ready),
            fold_end.eq(fold == self._folds - 1),
            end.eq(take & fold_end),
            tail.eq(group == self._groups - 1),
        ]
        next_first = Mux(take, fold_end, first)
        m.d.sync += first.eq(next_first)
        with m.If(take):
            m.d.sync += fold.eq(Mux(fold_end, 0, fold + 1))
        with m.If(end):
            m.d.sync += group.eq(Mux(tail, 0, group + 1))
        # What leaves and what comes in counts a cycle late, so that ready is a register that waits
        # for neither. A group of one beat may have come in since.
        room = Signal(range(queue.depth + 1), init=queue.depth)
        left = Signal()
        wanted = Mux(tail, self._tail_beats(self.o.payload.shape().lanes), drain_beats)
        m.d.sync += [
            left.eq(self.o.valid & self.o.ready),
            room.eq(room - Mux(take & first, wanted, 0) + left),
            ready.eq(~next_first | (room >= drain_beats * (2 if self._folds == 1 else 1))),
        ]
        return take, first, end, tail

    def _lane(self, output: int, term: int) -> int:
        """The input lane that the term ``term`` of the output ``output`` multiplies."""
        return term

    def _tail_beats(self, lanes: int) -> int:
        """Output beats of the last group, whose spare outputs are left out."""
        return beats((len(self._bias) - 1) % self._pe + 1, lanes)

    def _multiply(self, m: Module) -> list[list[Value]]:
        """Products ``[pe][lane]``, SEQUENCER_, MULTIPLIER_ and WAY_LATENCY behind the input."""
        layout = self.i.payload.shape()
        bits = self._weight_bits
        mask = (1 << bits) - 1
        words = [sum((weight & mask) << (n * self._simd + lane) * bits
                     for n, row in enumerate(beat) for lane, weight in enumerate(row))
                 for beat in self._weights]
        weights = self._rom(m, words, self._pe * self._simd * bits)
        given = self.i.p.data
        near = [late(m, f"input{lane}", given[lane], SEQUENCER_LATENCY + 1)
                for lane in range(layout.lanes)]
        far = [late(m, f"far_input{lane}", value, 1) for lane, value in enumerate(near)]
        products = []
        for n in range(self._pe):
            row = []
            for lane in range(self._simd):
                index = n * self._simd + lane
                dsp = index < self._dsp_multipliers
                multiplier = self._technology.multiplier(layout.shape, signed(bits), dsp=dsp)
                name = f"{n}_{lane}"
                m.submodules[f"multiplier_{name}"] = multiplier
                # One from look-up tables is placed where its wires go; it has both registers in
                # front, where they are narrower.
                weight = weights.word_select(index, bits).as_signed()
                source = self._lane(n, lane)
                m.d.comb += [multiplier.a.eq((near if dsp else far)[source]),
                             multiplier.b.eq(late(m, f"weight_{name}", weight, 1 if dsp else 2))]
                row.append(late(m, f"product_{name}", multiplier.p, 1 if dsp else 0))
            products.append(row)
        return products

    def _rom(self, m: Module, words: Sequence[int], width: int) -> Value:
        """The word of each input beat, SEQUENCER_LATENCY behind it."""
        m.submodules.weights = rom = Sequencer(
            words, width, style=self._style, technology=self._technology)
        m.d.comb += rom.step.eq(self.i.valid & self.i.ready)
        return rom.data

    def _add(self, m: Module, name: str, terms: Sequence[Value]) -> Value:
        """Sum of ``terms``, registered after each pairwise level."""
        level = 0
        while len(terms) > 1:
            level += 1
            pairs = []
            for n in range(0, len(terms), 2):
                value = sum(terms[n + 1 : n + 2], terms[n])
                pair = Signal(value.shape(), name=f"{name}_{level}_{n // 2}", reset_less=True)
                m.d.sync += pair.eq(value)
                pairs.append(pair)
            terms = pairs
        return terms[0]

    def _biases(self, m: Module, step: Value) -> list[Value]:
        """Biases of the group that ``step`` had come to SEQUENCER_LATENCY ago."""
        shape = self.o.payload.shape().shape
        mask = (1 << shape.width) - 1
        padded = [*self._bias, *[0] * (self._groups * self._pe - len(self._bias))]
        words = [sum((bias & mask) << n * shape.width
                     for n, bias in enumerate(padded[start : start + self._pe]))
                 for start in range(0, len(padded), self._pe)]
        m.submodules.bias = rom = Sequencer(
            words, self._pe * shape.width, style=MemoryStyle.LOGIC, technology=self._technology)
        m.d.comb += rom.step.eq(step)
        return [rom.data.word_select(n, shape.width).as_signed() for n in range(self._pe)]

    def _drain(self, m: Module, queue: Queue, totals: Sequence[Value], *, done: Value, last: Value,
               tail: Value) -> None:
        """Shift finished totals into the queue, ``o_lanes`` a cycle."""
        layout = self.o.payload.shape()
        width = len(totals[0])
        drain_beats = self._pe // layout.lanes
        held = Signal(self._pe * width, reset_less=True)
        left = Signal(range(drain_beats + 1))
        held_last = Signal()
        with m.If(done):
            m.d.sync += [
                held.eq(Cat(totals)),
                held_last.eq(last),
                left.eq(Mux(tail, self._tail_beats(layout.lanes), drain_beats)),
            ]
        with m.Elif(left > 0):
            m.d.sync += [
                held.eq(held >> layout.lanes * width),
                left.eq(left - 1),
            ]
        results = self._results(m, [held.word_select(lane, width) for lane in range(layout.lanes)],
                                left > 0)
        behind = self._results_latency
        m.d.comb += [
            queue.i.valid.eq(late(m, "leaves", left > 0, behind, reset_less=False)),
            Value.cast(queue.i.p.data).eq(Cat(results)),
            queue.i.p.last.eq(late(m, "leaves_last", held_last & (left == 1), behind)),
        ]

    def _results(self, m: Module, totals: list[Value], leave: Value) -> list[Value]:
        """The outputs of a beat that is to ``leave``, from the totals that stand for them.

        They are there ``_results_latency`` cycles later.
        """
        return totals

    def _of_beat(self, m: Module, name: str, constants: Sequence[int], leave: Value) -> list[Value]:
        """The constants of the outputs of the beat that is to ``leave``, one an output."""
        layout = self.o.payload.shape()
        lanes, shape = layout.lanes, layout.shape
        if len(set(constants)) == 1:
            return [Const(constants[0], shape)] * lanes
        mask = (1 << shape.width) - 1
        beats_each = [range(start, min(start + self._pe, len(constants)))
                      for start in range(0, len(constants), self._pe)]
        words = [sum((constants[n] & mask) << lane * shape.width
                     for lane, n in enumerate(outputs[beat * lanes : (beat + 1) * lanes]))
                 for outputs in beats_each for beat in range(beats(len(outputs), lanes))]
        m.submodules[name] = rom = self._technology.rom(
            words, lanes * shape.width, MemoryStyle.LOGIC, registered=False)
        beat = Signal(range(len(words)), name=f"{name}_beat")
        # One cycle ahead of the drain: the address that follows, once a beat has left.
        following = Mux(beat == len(words) - 1, 0, beat + 1)
        with m.If(leave):
            m.d.sync += beat.eq(following)
        m.d.comb += [rom.address.eq(Mux(leave, following, beat)), rom.enable.eq(1)]
        return [rom.data.word_select(lane, shape.width).as_signed() for lane in range(lanes)]
