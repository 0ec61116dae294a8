"""Requantization by a line of every channel, or by two that meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .dot_array import WAY_LATENCY
from .requantize import range_of
from .steady import (
    SteadyShape,
    channel_beats,
    channel_words,
    delay,
    in_front_of_queue,
    join,
    next_word,
    signed_bits,
    style_of,
    within,
)
from .stream import Beat
from .tech import MULTIPLIER_LATENCY, REGISTERED_LATENCY, MemoryStyle, Technology

__all__ = ["SlopeRequantizer", "SlopeShape"]

CHOICE_LATENCY = REGISTERED_LATENCY + 1
"""Cycles that it takes to tell the side of a breakpoint."""


@dataclass(frozen=True)
class SlopeShape(SteadyShape):
    """Structure of a `SlopeRequantizer`.

    Parameters
    ----------
    lanes : elements a beat.
    words : beats until the constants begin again.
    bent : whether any channel's two lines differ.
    multiplier_bits, offset_bits, breakpoint_bits, sum_bits : of what it computes with; the offsets
        have the half that rounds, and breakpoints lie within the inputs or next to them.
    """

    lanes: int
    words: int
    bent: bool
    multiplier_bits: int
    offset_bits: int
    breakpoint_bits: int
    sum_bits: int

    @classmethod
    def of(cls, values: range, *, lanes: int, group: int, multipliers: Sequence[Sequence[int]],
           offsets: Sequence[Sequence[int]], breakpoints: Sequence[int], shift: int) -> SlopeShape:
        """The structure for inputs within ``values``; for the others, see `SlopeRequantizer`."""
        at_least(1, lanes=lanes, group=group)
        at_least(0, shift=shift)
        sides = _sides(multipliers, offsets, shift)
        lines = [line for pair in sides for line in pair]
        return cls(lanes, channel_beats(len(sides), group, lanes),
                   any(below != above for below, above in sides),
                   signed_bits(m for m, _ in lines), signed_bits(c for _, c in lines),
                   signed_bits(within(values, breakpoints)),
                   signed_bits(m * end + c for m, c in lines for end in (values[0], values[-1])))

    @property
    def constants(self) -> int:
        """Words of each lane's memory of multipliers and offsets."""
        return self.words * (2 if self.bent else 1)

    @property
    def constant_bits(self) -> int:
        """Bits of such a word."""
        return self.multiplier_bits + self.offset_bits

    @property
    def depth(self) -> int:
        """Cycles from a beat's transfer to its result in front of the queue."""
        choice = CHOICE_LATENCY if self.bent else 0
        return choice + REGISTERED_LATENCY + WAY_LATENCY + MULTIPLIER_LATENCY + 2


def _sides(multipliers: Sequence[Sequence[int]], offsets: Sequence[Sequence[int]], shift: int
           ) -> list[list[tuple[int, int]]]:
    """The line on either side of each breakpoint: what is multiplied by, and what is added."""
    # Halves are rounded up by what is added to the offset.
    return [[(m, c + (1 << shift >> 1)) for m, c in zip(*pairs, strict=True)]
            for pairs in zip(multipliers, offsets, strict=True)]


class SlopeRequantizer(Block):
    """``o = clamp((m * i + c + 2**(shift-1)) >> shift, low, high)``, with the channel's m and c.

    Those are of one side where ``i < t``, of the other where ``i >= t``, t being its breakpoint.
    One beat a cycle, latency ``latency``. The side is chosen before the multiplication, so a lane
    has one multiplier. The stages never stall: a beat is let in only when the queue behind them has
    room for it.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    lanes : elements a beat.
    group : elements after which a fresh beat starts.
    multipliers, offsets : pairs of m and of c, one a channel, or one for all; channels follow each
        other endlessly.
    breakpoints : t, as many.
    shift : bits to drop, rounding half up.
    low, high : bounds; both fit ``o_shape``.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    style : where large memories of constants live.
    technology : supplies multipliers and memory.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, *, lanes: int, group: int,
                 multipliers: Sequence[Sequence[int]], offsets: Sequence[Sequence[int]],
                 breakpoints: Sequence[int], shift: int, low: int, high: int,
                 dsp_multipliers: int = 0, style: MemoryStyle, technology: Technology) -> None:
        at_least(1, lanes=lanes, group=group)
        at_least(0, shift=shift, dsp_multipliers=dsp_multipliers)
        if not breakpoints or not len(breakpoints) == len(multipliers) == len(offsets) or any(
                len(pair) != 2 for pair in (*multipliers, *offsets)):
            raise ValueError("there must be at least one breakpoint, and for each a pair of "
                             "multipliers and one of offsets")
        limits = range_of(Shape.cast(o_shape))
        if low > high or low not in limits or high not in limits:
            raise ValueError(f"bounds must be ordered and fit {o_shape!r}, not ({low}, {high})")
        values = range_of(Shape.cast(i_shape))
        self._shape = SlopeShape.of(
            values, lanes=lanes, group=group, multipliers=multipliers, offsets=offsets,
            breakpoints=breakpoints, shift=shift)
        self._sides = _sides(multipliers, offsets, shift)
        self._breakpoints = within(values, breakpoints)
        self._words = channel_words(len(self._sides), group, lanes)
        self._shift = shift
        self._bounds = low, high
        self._dsp_multipliers = dsp_multipliers
        self._style = style
        self._technology = technology
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self._shape.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        take, results = in_front_of_queue(m, self.i, self.o, self._shape)
        word = next_word(m, take, len(self._words))
        values = [self.i.p.data[lane] for lane in range(self.i.payload.shape().lanes)]
        sides: list[Value] = [Const(0, 0)] * len(values)
        if self._shape.bent:
            sides = self._compare(m, values, word)
            word = delay(m, "word", word, CHOICE_LATENCY)
            values = [delay(m, f"value{lane}", value, CHOICE_LATENCY)
                      for lane, value in enumerate(values)]
        for lane, value in enumerate(values):
            m.d.comb += results[lane].eq(self._line(m, lane, value, sides[lane], word))
        return m

    def _compare(self, m: Module, values: Sequence[Value], word: Value) -> list[Value]:
        """Whether each lane's value reaches its channel's breakpoint, CHOICE_LATENCY later."""
        bits = self._shape.breakpoint_bits
        rom = self._rom(m, "breakpoints", [join([self._breakpoints[row] for row in rows], bits)
                                           for rows in self._words], bits * len(values), word)
        sides: list[Value] = []
        for lane, value in enumerate(values):
            above = Signal(name=f"above{lane}", reset_less=True)
            m.d.sync += above.eq(delay(m, f"compared{lane}", value, REGISTERED_LATENCY)
                                 >= rom.word_select(lane, bits).as_signed())
            sides.append(above)
        return sides

    def _line(self, m: Module, lane: int, value: Value, side: Value, word: Value) -> Value:
        """The line of the lane's channel on that ``side``, at ``value``."""
        shape = self._shape
        bits = shape.multiplier_bits
        constants = self._rom(
            m, f"constants{lane}",
            [join((line[0],), bits) | join((line[1],), shape.offset_bits) << bits
             for rows in self._words for line in self._sides[rows[lane]][: 1 + len(side)]],
            shape.constant_bits, Cat(side, word))
        dsp = lane < self._dsp_multipliers
        multiplier = self._technology.multiplier(value.shape(), signed(bits), dsp=dsp)
        m.submodules[f"multiplier{lane}"] = multiplier
        # As in `DotArray`: a DSP block can lie far from its memory and its adder, look-up tables
        # from neither.
        way = 1 if dsp else WAY_LATENCY
        m.d.comb += [
            multiplier.a.eq(delay(m, f"factor{lane}", value, REGISTERED_LATENCY + way)),
            multiplier.b.eq(delay(m, f"slope{lane}", constants[:bits].as_signed(), way))]
        product = delay(m, f"product{lane}", multiplier.p, WAY_LATENCY - way)
        offset = delay(m, f"offset{lane}", constants[bits:].as_signed(),
                      WAY_LATENCY + MULTIPLIER_LATENCY)
        total = Signal(signed(shape.sum_bits), name=f"total{lane}", reset_less=True)
        m.d.sync += total.eq(product + offset)
        exact = total.shift_right(self._shift)
        low, high = self._bounds
        result = Signal(self.o.payload.shape().shape, name=f"result{lane}", reset_less=True)
        m.d.sync += result.eq(Mux(exact < low, low, Mux(exact > high, high, exact)))
        return result

    def _rom(self, m: Module, name: str, words: Sequence[int], width: int, address: Value) -> Value:
        rom = self._technology.rom(words, width, style_of(self._style, len(words) * width),
                                   registered=True)
        m.submodules[name] = rom
        m.d.comb += [rom.address.eq(address), rom.enable.eq(1)]
        return rom.data
