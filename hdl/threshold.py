"""Multi-threshold activation: any monotone function of a channel to a few values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
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
from .tech import MEMORY_LATENCY, REGISTERED_LATENCY, MemoryStyle, Technology

__all__ = ["ThresholdShape", "Thresholder"]


@dataclass(frozen=True)
class ThresholdShape(SteadyShape):
    """Structure of a `Thresholder`.

    Parameters
    ----------
    lanes : elements a beat.
    words : beats until the thresholds begin again.
    count : thresholds of a channel.
    bits, signed : shape of a threshold.
    block : whether thresholds may live in block RAM.
    """

    lanes: int
    words: int
    count: int
    bits: int
    signed: bool
    block: bool

    @classmethod
    def of(cls, values: range, *, lanes: int, group: int, thresholds: Sequence[Sequence[int]],
           block: bool = False) -> ThresholdShape:
        """The structure for inputs within ``values``; for the others, see `Thresholder`."""
        at_least(1, lanes=lanes, group=group)
        rows = _searched(values, thresholds)
        ends = min(map(min, rows)), max(map(max, rows))
        signed = ends[0] < 0
        bits = signed_bits(ends) if signed else max(1, ends[1].bit_length())
        return cls(lanes, channel_beats(len(rows), group, lanes), len(thresholds[0]), bits, signed,
                   block)

    @property
    def stages(self) -> int:
        """Comparisons, one after the other."""
        return self.count.bit_length()

    @property
    def spare(self) -> int:
        """Thresholds that are put in front of a channel's, to a power of two less one."""
        return (1 << self.stages) - 1 - self.count

    @property
    def pace(self) -> int:
        """Cycles of a comparison: the memory's, and its own."""
        return 1 + (REGISTERED_LATENCY if self.block else MEMORY_LATENCY)

    @property
    def depth(self) -> int:
        """Cycles from a beat's transfer to its result in front of the queue."""
        return self.pace * self.stages + 1


def _searched(values: range, thresholds: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows of thresholds that a search halves, a power of two less one.

    What is missing is put where it is always reached, and none is farther than next to ``values``.
    """
    count = len(thresholds[0])
    spare = (1 << count.bit_length()) - 1 - count
    return [[values[0]] * spare + within(values, row) for row in thresholds]


class Thresholder(Block):
    """``o = base + step * count``, where a channel counts its thresholds t with ``i >= t``.

    A channel that is ``falling`` counts those with ``i < t`` instead. One beat a cycle, latency
    ``latency``. A binary search: of T thresholds each lane compares with ``ceil(log2(T + 1))``, one
    in each of as many stages, and a stage's memory is addressed by the channel and the outcomes
    before. So 255 thresholds take 8 comparators, and all thresholds are stored once. The stages
    never stall: a beat is let in only when the queue behind them has room for it.

    Parameters
    ----------
    i_shape, o_shape : element shapes.
    lanes : elements a beat.
    group : elements after which a fresh beat starts.
    thresholds : ascending, equally many for each channel; one channel stands for all; channels
        follow each other endlessly.
    falling : whether, one for each channel of ``thresholds``.
    base, step : of the output; ``base`` and ``base + step * T`` fit ``o_shape``.
    style : where large memories of thresholds live.
    technology : supplies memory.

    Members
    -------
    i : stream of ``Beat(i_shape, lanes)``.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shape: ShapeLike, o_shape: ShapeLike, *, lanes: int, group: int,
                 thresholds: Sequence[Sequence[int]], falling: Sequence[bool], base: int, step: int,
                 style: MemoryStyle, technology: Technology) -> None:
        at_least(1, lanes=lanes, group=group, step=step)
        if not thresholds or not thresholds[0] or any(
                len(row) != len(thresholds[0]) or list(row) != sorted(row) for row in thresholds):
            raise ValueError("thresholds must ascend, and be equally many for each channel")
        if len(falling) != len(thresholds):
            raise ValueError(f"falling must be {len(thresholds)}, one a channel, "
                             f"not {len(falling)}")
        count = len(thresholds[0])
        limits = range_of(Shape.cast(o_shape))
        if base not in limits or base + step * count not in limits:
            raise ValueError(f"base and base + step * {count} must fit {o_shape!r}, "
                             f"not {base} and {base + step * count}")
        values = range_of(Shape.cast(i_shape))
        self._shape = ThresholdShape.of(values, lanes=lanes, group=group, thresholds=thresholds,
                                        block=style is MemoryStyle.BLOCK)
        rows = _searched(values, thresholds)
        self._base, self._step = base, step
        self._any_falling, self._all_falling = any(falling), all(falling)
        self._words = channel_words(len(rows), group, lanes)
        self._rows = rows
        self._falling = falling
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
        shape = self._shape
        lanes, pace = shape.lanes, shape.pace
        take, results = in_front_of_queue(m, self.i, self.o, shape)
        word = next_word(m, take, len(self._words))
        values = [self.i.p.data[lane] for lane in range(lanes)]
        counts: list[Value] = [Const(0, 0)] * lanes
        for stage in range(shape.stages):
            thresholds = self._thresholds(m, stage, word, counts)
            for lane, threshold in enumerate(thresholds):
                value = delay(m, f"value{lane}_{stage}", values[lane], pace - 1)
                before = delay(m, f"before{lane}_{stage}", counts[lane], pace - 1)
                count = Signal(stage + 1, name=f"count{lane}_{stage}", reset_less=True)
                m.d.sync += count.eq(Cat(value >= threshold, before))
                counts[lane] = count
                values[lane] = delay(m, f"compared{lane}_{stage}", value, 1)
            word = delay(m, f"word_{stage}", word, pace)
        for lane, is_falling in enumerate(self._is_falling(m, word)):
            found = counts[lane]
            # What was put in front is always reached, and so never counted by what falls.
            rising = self._base - self._step * shape.spare + self._step * found
            result = Signal(self.o.payload.shape().shape, name=f"result{lane}", reset_less=True)
            m.d.sync += result.eq(
                Mux(is_falling, self._base + self._step * ~found, rising)
                if self._any_falling else rising)
            m.d.comb += results[lane].eq(result)
        return m

    def _thresholds(self, m: Module, stage: int, word: Value, counts: Sequence[Value]
                    ) -> list[Value]:
        """What each lane compares with in ``stage``, a memory's latency later."""
        places = range(1 << stage)
        # Of the thresholds that are left, the middle one.
        columns = [(2 * place + 1 << self._shape.stages - 1 - stage) - 1 for place in places]
        if stage == 0:
            # All lanes read the same word.
            words = [[self._rows[row][columns[0]] for row in channels] for channels in self._words]
            data = self._rom(m, "thresholds", words, word)
            width = self._shape.bits
            return [self._value(data.word_select(lane, width)) for lane in range(len(counts))]
        return [self._value(self._rom(
            m, f"thresholds{lane}_{stage}",
            [[self._rows[channels[lane]][n]] for channels in self._words for n in columns],
            Cat(counts[lane], word))) for lane in range(len(counts))]

    def _value(self, bits: Value) -> Value:
        return bits.as_signed() if self._shape.signed else bits.as_unsigned()

    def _rom(self, m: Module, name: str, words: Sequence[Sequence[int]], address: Value) -> Value:
        width = self._shape.bits
        joined = [join(word, width) for word in words]
        style = style_of(self._style, len(words) * len(words[0]) * width)
        rom = self._technology.rom(joined, width * len(words[0]), style,
                                   registered=self._shape.block)
        m.submodules[name] = rom
        m.d.comb += rom.address.eq(address)
        return rom.data

    def _is_falling(self, m: Module, word: Value) -> list[Value]:
        """Whether each lane's channel falls."""
        lanes = len(self._words[0])
        if self._any_falling == self._all_falling:
            return [Const(int(self._any_falling))] * lanes
        flags = [Const(join([self._falling[row] for row in channels], 1), lanes)
                 for channels in self._words]
        flag = Signal(lanes)
        m.d.comb += flag.eq(Array(flags)[word] if len(flags) > 1 else flags[0])
        return list(flag)
