"""Multi-threshold activation: any monotone function of a channel to a few values."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .requantize import range_of
from .steady import admit, channel_words, join, late, next_word, style_of
from .stream import Beat, Queue
from .tech import MemoryStyle, Technology

__all__ = ["Thresholder"]

QUEUE_LATENCY = 2


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
        # A search halves: what is missing to a power of two is put where it is always reached.
        values = range_of(Shape.cast(i_shape))
        self._depth = count.bit_length()
        spare = (1 << self._depth) - 1 - count
        rows = [[values[0]] * spare + [min(max(t, values[0]), values[-1] + 1) for t in row]
                for row in thresholds]
        ends = min(map(min, rows)), max(map(max, rows))
        bits = max((end if end >= 0 else ~end).bit_length() for end in ends)
        self._shape = signed(bits + 1) if ends[0] < 0 else unsigned(max(1, bits))
        self._base, self._step, self._spare = base, step, spare
        self._any_falling, self._all_falling = any(falling), all(falling)
        self._words = channel_words(len(rows), group, lanes)
        self._rows = rows
        self._falling = falling
        self._style = style
        self._technology = technology
        super().__init__({"i": In(stream.Signature(Beat(i_shape, lanes))),
                          "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    @property
    def _pace(self) -> int:
        """Cycles of a comparison: the memory's, and its own."""
        return 3 if self._style is MemoryStyle.BLOCK else 2

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self._pace * self._depth + 1 + QUEUE_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.i.payload.shape().lanes
        # All beats on the way, and those whose places are free but not yet known to be.
        depth = self.latency + 2
        m.submodules.queue = queue = Queue(self.o.payload.shape(), depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        take = admit(m, self.i, self.o, depth - 1)
        stages = self._pace * self._depth + 1
        m.d.comb += [queue.i.valid.eq(late(m, "valid", take, stages, reset_less=False)),
                     queue.i.p.last.eq(late(m, "last", self.i.p.last, stages))]
        word = next_word(m, take, len(self._words))
        given, results = self.i.p.data, queue.i.p.data
        values = [given[lane] for lane in range(lanes)]
        counts: list[Value] = [Const(0, 0)] * lanes
        for stage in range(self._depth):
            thresholds = self._thresholds(m, stage, word, counts)
            for lane, threshold in enumerate(thresholds):
                value = late(m, f"value{lane}_{stage}", values[lane], self._pace - 1)
                before = late(m, f"before{lane}_{stage}", counts[lane], self._pace - 1)
                count = Signal(stage + 1, name=f"count{lane}_{stage}", reset_less=True)
                m.d.sync += count.eq(Cat(value >= threshold, before))
                counts[lane] = count
                values[lane] = late(m, f"compared{lane}_{stage}", value, 1)
            word = late(m, f"word_{stage}", word, self._pace)
        for lane, is_falling in enumerate(self._is_falling(m, word)):
            found = counts[lane]
            # What was put in front is always reached, and so never counted by what falls.
            rising = self._base - self._step * self._spare + self._step * found
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
        columns = [(2 * place + 1 << self._depth - 1 - stage) - 1 for place in places]
        if stage == 0:
            # All lanes read the same word.
            words = [[self._rows[row][columns[0]] for row in channels] for channels in self._words]
            data = self._rom(m, "thresholds", words, word)
            width = self._shape.width
            return [self._value(data.word_select(lane, width)) for lane in range(len(counts))]
        return [self._value(self._rom(
            m, f"thresholds{lane}_{stage}",
            [[self._rows[channels[lane]][n]] for channels in self._words for n in columns],
            Cat(counts[lane], word))) for lane in range(len(counts))]

    def _value(self, bits: Value) -> Value:
        return bits.as_signed() if self._shape.signed else bits.as_unsigned()

    def _rom(self, m: Module, name: str, words: Sequence[Sequence[int]], address: Value) -> Value:
        width = self._shape.width
        joined = [join(word, width) for word in words]
        style = style_of(self._style, len(words) * len(words[0]) * width)
        rom = self._technology.rom(joined, width * len(words[0]), style,
                                   registered=self._pace == 3)
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
