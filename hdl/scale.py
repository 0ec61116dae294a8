"""Requantization by a fixed-point scale of its own for every channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .requantize import range_of
from .sequencer import SEQUENCER_LATENCY, Sequencer
from .steady import channel_beats, channel_words, delay, has_credit, join, signed_bits
from .stream import QUEUE_LATENCY, Beat, Queue, beats
from .tech import MULTIPLIER_LATENCY, MemoryStyle, Technology

__all__ = ["ScaleRequantizer", "ScaleShape"]

STAGES = 4
"""Registers behind the multiplication: two of rounding, the zero point, the clamp."""
PIECE = 4
"""Multiplier bits of one partial product: more would be too many additions between registers."""


@dataclass(frozen=True)
class ScaleShape:
    """Structure of a `ScaleRequantizer`.

    Parameters
    ----------
    lanes : elements a beat.
    beats : beats until the multipliers begin again.
    steps : cycles a beat.
    value_bits : bits of an input less the offset.
    bits : of the multipliers and addends at the scale of the smallest shift, without the zeros that
        all end in.
    zeros : those that all end in, and all addends.
    fraction : bits behind the point, with the one that the finest first rounding looks at.
    dropped : bits of the product below those; where negative, zeros that are missing.
    spread : bits by which the places of the first rounding differ.
    has_addends : whether something is added to the products.
    """

    lanes: int
    beats: int
    steps: int
    value_bits: int
    bits: int
    zeros: int
    fraction: int
    dropped: int
    spread: int
    has_addends: bool

    @classmethod
    def of(cls, values: range, *, lanes: int, group: int, steps: int, multipliers: Sequence[int],
           shifts: Sequence[int], offset: int = 0, pre_shift: int = 0, twice: bool = True,
           addends: Sequence[int] = ()) -> ScaleShape:
        """The structure for inputs within ``values``.

        ``twice`` says whether it rounds twice; for the others, see `ScaleRequantizer`.
        """
        at_least(1, lanes=lanes, group=group, steps=steps)
        at_least(0, pre_shift=pre_shift)
        used = reduce(or_, _scaled(multipliers, shifts) + _scaled(addends, shifts))
        zeros = max(0, (used & -used).bit_length() - 1)
        right = [max(0, -s) if twice else 0 for s in shifts]
        fraction = max(right) + 1
        return cls(lanes, channel_beats(len(shifts), group, lanes), steps,
                   signed_bits((values[0] - offset, values[-1] - offset)),
                   max(1, (used >> zeros).bit_length()), zeros, fraction,
                   31 - pre_shift - min(shifts) - zeros - fraction, max(right) - min(right),
                   any(addends))

    @property
    def digit(self) -> int:
        """Multiplier bits a cycle."""
        return beats(self.bits, self.steps)

    @property
    def words(self) -> int:
        """Words of the multipliers' memory, each a digit for every lane, then those of addends."""
        return self.beats * self.steps

    @property
    def width(self) -> int:
        """Bits of such a word."""
        return self.digit * self.lanes * (1 + self.has_addends)

    @property
    def pieces(self) -> int:
        """Partial products of a digit."""
        return beats(self.digit, PIECE)

    @property
    def delay(self) -> int:
        """Cycles from the issue of a digit to its product."""
        return (SEQUENCER_LATENCY + MULTIPLIER_LATENCY + self.has_addends
                + ceil_log2(self.pieces))

    @property
    def stages_latency(self) -> int:
        """Cycles from a beat's transfer to its result in front of the queue, if there is one."""
        return self.delay + self.steps + STAGES

    @property
    def queue_depth(self) -> int:
        """Of the output queue; 0 for none, where the stages hold all beats on their way."""
        if STAGES * self.steps > self.stages_latency:
            return 0
        # What a queue holds for sure is one less than its depth.
        return max(3, beats(self.stages_latency + QUEUE_LATENCY + 1, self.steps) - STAGES + 1)

    @property
    def capacity(self) -> int:
        """Beats on their way at most."""
        return STAGES + max(0, self.queue_depth - 1)

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self.stages_latency + (QUEUE_LATENCY if self.queue_depth else 0)

    @property
    def exact_bits(self) -> int:
        """Bits of the product from the last on that matters."""
        return max(self.fraction + 1, self.value_bits + self.bits - self.dropped)


def _scaled(factors: Sequence[int], shifts: Sequence[int]) -> list[int]:
    """All multipliers, or addends if there are any, at the scale of the smallest shift."""
    return [m << s - min(shifts) for m, s in zip(factors, shifts, strict=bool(factors))]


class ScaleRequantizer(Block):
    """``o = clamp(zero_point + round(((i - offset) * m + a) * 2**(pre_shift + s - 31)))``.

    m, a and s are the channel's; the clamp is to ``low`` and ``high``. Unless it is ``single`` or
    has ``halves_to``, it rounds twice: at the weight ``2**max(-s, 0)`` halves up, then halves away
    from zero. One beat is taken every ``steps`` cycles, and its result comes ``latency`` cycles
    later: each lane multiplies by some bits of m a cycle, the lowest first, adds as many of a, and
    shifts what it has accumulated. All multipliers stand at one scale, the largest shift's, so a
    right shift costs no shifter: its first rounding is at another place, and what lies below is
    masked. The multiplication never stalls: a beat is let in only when the stages behind it (and a
    queue, if there are more beats on the way) have room.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    lanes : elements a beat.
    group : elements after which a fresh beat starts.
    steps : cycles a beat.
    multipliers, shifts : one a channel, or one for all; channels follow each other endlessly.
    offset : what is taken from the input.
    pre_shift : left shift before all else.
    zero_point : what is added to the rounded product.
    low, high : bounds; both fit ``o_shape``.
    single : whether to round once, halves up.
    halves_to : the last bit of what halves are rounded to, 0 for even, 1 for odd, and once only.
    addends : as many as multipliers, and within as many bits; none for zeros.
    style : where the multipliers live.
    technology : supplies multipliers and memory.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, *, lanes: int, group: int,
                 steps: int, multipliers: Sequence[int], shifts: Sequence[int], offset: int = 0,
                 pre_shift: int = 0, zero_point: int = 0, low: int, high: int, single: bool = False,
                 halves_to: int | None = None, addends: Sequence[int] = (), style: MemoryStyle,
                 technology: Technology) -> None:
        if not multipliers or not all(0 <= m < 1 << 31 for m in (*multipliers, *addends)):
            raise ValueError("multipliers must be at least one, they and addends within 31 bits")
        for what, given in (("shifts", shifts), ("addends", addends or multipliers)):
            if len(given) != len(multipliers):
                raise ValueError(f"{what} must be {len(multipliers)}, as many as multipliers, "
                                 f"not {len(given)}")
        limits = range_of(Shape.cast(o_shape))
        if low > high or low not in limits or high not in limits:
            raise ValueError(f"bounds must be ordered and fit {o_shape!r}, not ({low}, {high})")
        twice = not single and halves_to is None
        self._shape = shape = ScaleShape.of(
            range_of(Shape.cast(i_shape)), lanes=lanes, group=group, steps=steps,
            multipliers=multipliers, shifts=shifts, offset=offset, pre_shift=pre_shift, twice=twice,
            addends=addends)
        self._offset = offset
        self._zero_point = zero_point
        self._bounds = low, high
        self._halves_to = halves_to
        self._style = style
        self._technology = technology

        places = [max(0, -s) if twice else 0 for s in shifts]
        rows = channel_words(len(shifts), group, lanes)
        self._words: list[list[int]] = [[] for _ in rows]
        for factors in (multipliers, addends) if shape.has_addends else (multipliers,):
            scaled = [value >> shape.zeros for value in _scaled(factors, shifts)]
            for word, row in zip(self._words, rows, strict=True):
                word += [scaled[place] for place in row]
        self._masks = [[(1 << max(places) - places[row]) - 1 for row in word] for word in rows]
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self._shape.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        lanes, behind = shape.lanes, shape.delay
        sink = self.o
        if shape.queue_depth:
            m.submodules.queue = queue = Queue(self.o.payload.shape(), shape.queue_depth)
            wiring.connect(m, wiring.flipped(self.o), queue.o)
            sink = queue.i
        take, issue, final, last = self._sequence(m)
        digits = self._words_in_order(m, "multipliers", self._digits(), shape.width, issue,
                                      self._style)
        more = delay(m, "more", issue & ~final, behind)
        done = delay(m, "done", final, behind, reset_less=False)
        masks = self._words_in_order(
            m, "masks", [join(word, shape.spread) for word in self._masks], shape.spread * lanes,
            delay(m, "finished", final, behind + 1 - SEQUENCER_LATENCY, reset_less=False),
            MemoryStyle.LOGIC)
        flow = self._flow(m, sink, delay(m, "arrived", done, 1, reset_less=False),
                          delay(m, "last", last, behind + 1))
        for lane in range(lanes):
            exact, rest = self._multiply(m, lane, take, digits, more)
            mask = masks.word_select(lane, shape.spread) if shape.spread else Const(0, 0)
            m.d.comb += sink.p.data[lane].eq(self._finish(m, lane, exact, rest, mask, flow))
        return m

    def _sequence(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """(a beat comes in, a digit is issued, it is its beat's last, the beat is its frame's)."""
        steps = self._shape.steps
        idle, take, last = Signal(init=1), Signal(), Signal(reset_less=True)
        m.d.comb += [
            self.i.ready.eq(idle & has_credit(m, self.o, take, self._shape.capacity)),
            take.eq(self.i.valid & self.i.ready),
        ]
        if steps == 1:
            return take, take, take, self.i.p.last
        left = Signal(range(steps))
        with m.If(take):
            m.d.sync += [left.eq(steps - 1), idle.eq(0), last.eq(self.i.p.last)]
        with m.Elif(~idle):
            m.d.sync += [left.eq(left - 1), idle.eq(left == 1)]
        return take, take | ~idle, left == 1, last

    def _digits(self) -> list[int]:
        """Multipliers, then addends, digit by digit, the lowest first, all lanes side by side."""
        digit = self._shape.digit
        mask = (1 << digit) - 1
        return [join([value >> step * digit & mask for value in word], digit)
                for word in self._words for step in range(self._shape.steps)]

    def _words_in_order(self, m: Module, name: str, words: Sequence[int], width: int, step: Value,
                        style: MemoryStyle) -> Value:
        """What a `Sequencer` gives for ``step``; no bits where a word has none."""
        if not width:
            return Const(0, 0)
        rom = Sequencer(words, width, style=style, technology=self._technology)
        m.submodules[name] = rom
        m.d.comb += rom.step.eq(step)
        return rom.data

    def _multiply(self, m: Module, lane: int, take: Value, digits: Value, more: Value
                  ) -> tuple[Value, Value]:
        """``(i - offset) * m + a`` from the last bit on that matters, in the cycle after ``done``.

        Then what tells whether any bit below is set; no bits unless that matters.
        """
        shape = self._shape
        taken = Signal(self.i.payload.shape().shape, name=f"taken{lane}", reset_less=True)
        value = Signal(signed(shape.value_bits), name=f"value{lane}", reset_less=True)
        with m.If(take):
            m.d.sync += taken.eq(self.i.p.data[lane])
        m.d.sync += value.eq(taken - self._offset)
        total = self._product(m, lane, value, digits)
        spent = (shape.steps - 1) * shape.digit
        kept: Value = Const(0, 0)
        left: Value = Const(0, 0)
        if shape.steps > 1:
            # What leaves the accumulator at its low end is kept so far as it matters.
            so_far = Signal(total.shape(), name=f"so_far{lane}", reset_less=True)
            kept_before = Signal(min(spent, max(0, spent - shape.dropped)), name=f"kept{lane}",
                                 reset_less=True)
            line = Cat(kept_before, so_far[: shape.digit])
            kept = line[shape.digit :]
            sum_ = Signal.like(so_far, name=f"sum{lane}")
            m.d.comb += sum_.eq(so_far.shift_right(shape.digit) + total)
            m.d.sync += so_far.eq(Mux(more, sum_, 0))
            if self._halves_to is not None:
                # What is left of the beat before must not be seen to leave.
                any_left = Signal(name=f"any_left{lane}", reset_less=True)
                left = any_left | line[: shape.digit].any()
                m.d.sync += [kept_before.eq(Mux(more, kept, 0)), any_left.eq(more & left)]
            else:
                m.d.sync += kept_before.eq(kept)
            total = sum_
        exact = Signal(signed(shape.exact_bits), name=f"exact{lane}", reset_less=True)
        m.d.sync += exact.eq(Cat(Const(0, max(0, -shape.dropped)), kept,
                                 total.shift_right(max(0, shape.dropped - spent))).as_signed())
        if self._halves_to is None:
            return exact, Const(0, 0)
        below = Cat(left, total[: max(0, shape.dropped - spent)])
        rest = Signal(len(below), name=f"rest{lane}", reset_less=True)
        m.d.sync += rest.eq(below)
        return exact, rest

    def _product(self, m: Module, lane: int, value: Value, digits: Value) -> Value:
        """``value`` times the lane's digit, in pieces that are added pairwise.

        The pieces of the addend's digit are added to them first. A register follows each level.
        """
        count, bits = self._shape.pieces, self._shape.digit
        ends = [bits * n // count for n in range(count + 1)]
        digit = digits.word_select(lane, bits)
        terms: list[tuple[int, Value]] = []
        for start, end in pairwise(ends):
            multiplier = self._technology.multiplier(value.shape(), end - start, dsp=False)
            m.submodules[f"multiplier{lane}_{start}"] = multiplier
            m.d.comb += [multiplier.a.eq(value), multiplier.b.eq(digit[start:end])]
            term: Value = multiplier.p
            if self._shape.has_addends:
                addend = delay(m, f"addend{lane}_{start}", digits.word_select(
                    self._shape.lanes + lane, bits)[start:end], MULTIPLIER_LATENCY)
                term = Signal(multiplier.p.shape(), name=f"biased{lane}_{start}", reset_less=True)
                m.d.sync += term.eq(multiplier.p + addend)
            terms.append((start, term))
        while len(terms) > 1:
            sums: list[tuple[int, Value]] = []
            for (start, low), *rest in (terms[n : n + 2] for n in range(0, len(terms), 2)):
                exact = low
                for upper, high in rest:
                    apart = upper - start
                    exact = Cat(low[:apart], (low.shift_right(apart) + high)[: len(high)])
                sum_ = Signal(signed(len(exact)), name=f"sum{lane}_{start}_{len(terms)}",
                              reset_less=True)
                m.d.sync += sum_.eq(exact)
                sums.append((start, sum_))
            terms = sums
        return terms[0][1]

    def _flow(self, m: Module, sink: Any, arrived: Value, last: Value) -> list[Signal]:
        """Which of the stages moves, each into the next as soon as that one has room."""
        valid, lasts = Signal(STAGES), Signal(STAGES, reset_less=True)
        flow = [Signal(name=f"flow{n}") for n in range(STAGES)]
        for n in range(STAGES):
            ahead = flow[n + 1] if n + 1 < STAGES else sink.ready
            m.d.comb += flow[n].eq(ahead | ~valid[n])
            with m.If(flow[n]):
                m.d.sync += [valid[n].eq(valid[n - 1] if n else arrived),
                             lasts[n].eq(lasts[n - 1] if n else last)]
        m.d.comb += [sink.valid.eq(valid[-1]), sink.p.last.eq(lasts[-1])]
        return flow

    def _finish(self, m: Module, lane: int, exact: Value, rest: Value, mask: Value,
                flow: Sequence[Value]) -> Value:
        """Round, add the zero point and clamp.

        ``mask`` has a one for every bit below the one that the channel's first rounding adds to:
        added with a carry, it is that bit. The result is cut off there. All that the second
        rounding may add to the integer part is a carry, too. Of halves that go to even or odd,
        that is the last bit, or a half is exceeded since any bit of ``rest`` is set.
        """
        fraction = self._shape.fraction

        def held(stage: int, name: str, value: Value) -> Signal:
            register = Signal(value.shape(), name=f"{name}{lane}_{stage}", reset_less=True)
            with m.If(flow[stage]):
                m.d.sync += register.eq(value)
            return register

        if self._halves_to is not None:
            half = held(0, "half", exact[0])
            beyond = held(0, "beyond", rest.any() | (exact[1] ^ self._halves_to))
            whole = held(0, "whole", exact[fraction:].as_signed())
            carry: Value = half & beyond
        else:
            nudged = held(0, "nudged", (Cat(Const(1), exact[:fraction]) + Cat(Const(1), mask))[1:])
            is_negative = held(0, "is_negative", exact[-1])
            cut = Cat(Const(1), held(0, "mask", mask), Const(0, fraction - len(mask)))
            whole = held(0, "whole", exact[fraction:].as_signed())
            rounded = nudged & ~cut
            carry = rounded[fraction] | (
                rounded[fraction - 1] & (~is_negative | rounded[: fraction - 1].any()))
        carried = Cat(held(1, "carry", carry), held(1, "whole", whole)).as_signed()
        # Two times the sum: the lowest bits add up to the carry.
        centered = held(2, "centered", (carried + (2 * self._zero_point + 1)).shift_right(1))
        low, high = self._bounds
        clamped = Signal(self.o.payload.shape().shape, name=f"clamped{lane}")
        m.d.comb += clamped.eq(Mux(centered < low, low, Mux(centered > high, high, centered)))
        return held(3, "result", clamped)
