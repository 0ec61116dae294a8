"""Sliding window over a raster stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import gcd

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .stream import Beat, beats
from .tech import MemoryStyle, Technology

__all__ = ["Loop", "Sliding", "Window"]

LATE_WORDS = 2
"""Words of a buffer that are kept free because its fill is known two cycles late."""


@dataclass(frozen=True)
class Loop:
    """One level of the read order: ``count`` steps of ``step`` elements each."""

    count: int
    step: int


@dataclass(frozen=True)
class Sliding:
    """Geometry of a window that slides over frames of ``size`` (height, width, channels).

    Parameters
    ----------
    size : (height, width, channels) of a frame.
    kernel, stride : (y, x).
    padding : (top, bottom, left, right).
    rows : kernel rows read at once, each from a copy of the buffer.
    lanes : consecutive elements read at once in each of those rows.
    repeat : how often each position is read, once for every fold of the outputs.
    per_channel : read order. False: each kernel row is one run of ``kernel width * channels``
        elements. True: for every ``lanes`` channels, the kernel's taps one by one; ``rows`` and
        ``repeat`` are then 1.
    """

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    lanes: int
    rows: int = 1
    repeat: int = 1
    per_channel: bool = False

    def __post_init__(self) -> None:
        run = self.size[2] if self.per_channel else self.run
        if not 1 <= self.lanes <= run:
            raise ValueError(f"lanes must be within 1 and {run}, not {self.lanes!r}")
        if not 1 <= self.rows <= (1 if self.per_channel else self.kernel[0]):
            raise ValueError(f"rows must be within 1 and the kernel's height, not {self.rows!r}")
        if self.repeat < 1 or (self.per_channel and self.repeat > 1):
            raise ValueError(f"repeat must be at least 1, and 1 per channel, not {self.repeat!r}")
        if self.positions[0] < 1 or self.positions[1] < 1:
            raise ValueError(f"kernel must fit the padded size, not {self.kernel!r}")

    @property
    def run(self) -> int:
        """Elements of one kernel row."""
        return self.kernel[1] * self.size[2]

    @property
    def positions(self) -> tuple[int, int]:
        """Output (height, width)."""
        top, bottom, left, right = self.padding
        height = (self.size[0] + top + bottom - self.kernel[0]) // self.stride[0] + 1
        width = (self.size[1] + left + right - self.kernel[1]) // self.stride[1] + 1
        return height, width

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The read order, innermost first; the last two are the output's x and y."""
        _, width, channels = self.size
        height_out, width_out = self.positions
        if self.per_channel:
            inner = (Loop(self.kernel[1], channels),
                     Loop(self.kernel[0], width * channels),
                     Loop(beats(channels, self.lanes), self.lanes))
        else:
            inner = (Loop(beats(self.run, self.lanes), self.lanes),
                     Loop(beats(self.kernel[0], self.rows), self.rows * width * channels),
                     Loop(self.repeat, 0))
        return (*inner, Loop(width_out, self.stride[1] * channels),
                Loop(height_out, self.stride[0] * width * channels))

    @property
    def start(self) -> int:
        """First element of the first window, relative to the frame; negative with padding."""
        return -(self.padding[0] * self.size[1] + self.padding[2]) * self.size[2]

    @property
    def elements(self) -> int:
        """Elements of a frame."""
        return self.size[0] * self.size[1] * self.size[2]

    @property
    def words(self) -> int:
        """Buffer words of a frame."""
        return beats(self.elements, self.lanes)

    @property
    def reach(self) -> int:
        """The most rows of the frame that lie between a window and the frame's nearest element."""
        return max(self.kernel[0], self.padding[0] + 1, self.padding[1] + 1)

    @property
    def row_step(self) -> int:
        """Elements between the starts of two rows."""
        return self.size[1] * self.size[2]

    @property
    def deltas(self) -> tuple[int, ...]:
        """Address change in elements after each beat, by how many levels end with it."""
        ended = list(accumulate(((loop.count - 1) * loop.step for loop in self.loops), initial=0))
        steps = [loop.step for loop in self.loops] + [self.words * self.lanes]
        return tuple(step - done for step, done in zip(steps, ended, strict=True))

    @property
    def unit(self) -> int:
        """Elements that always stay together: a bank's width, what rotation moves."""
        moves = [delta for loop, delta in zip(self.loops, self.deltas, strict=False)
                 if loop.count > 1]
        return gcd(self.lanes, self.start, *moves,
                   *(row * self.row_step for row in range(self.rows)))

    @property
    def banks(self) -> int:
        """Memories of each copy of the buffer; 1 where every read is aligned to a word."""
        return self.lanes // self.unit


@dataclass(frozen=True)
class _Read:
    """Where a row copy reads next: buffer ``word``, the bank ``turn`` that holds the first
    elements, and whether the last word that the beat needs is not in yet (``behind``)."""

    word: Signal
    turn: Value
    behind: Value


@dataclass(frozen=True)
class _Flags:
    """What the counters say of one beat: it is the ``last`` of its frame or of a position
    (``position_end``), its window begins ``inside`` the frame (see `Window._begins_inside`), which
    of its ``rows`` and ``columns`` (by lane) are no padding, and by how much its words can be
    turned with all that is needed in one word (``spare``)."""

    last: Value
    position_end: Value
    inside: Value
    rows: Value
    columns: Value
    spare: Value

    def late(self, m: Module, name: str, enable: Value) -> _Flags:
        """The same, a register later."""
        return _Flags(**{key: _late(m, f"{name}_{key}", value, enable)
                         for key, value in vars(self).items()})


@dataclass(frozen=True)
class _Advance:
    """When the stages of the read order move on: all at once, each to its next beat.

    ``issue`` is a read; ``counters`` also moves in the first two cycles, in which the stages fill,
    and ``addresses`` in the second of them.
    """

    issue: Signal
    counters: Signal
    addresses: Signal


class Window(wiring.Component):
    """Line buffer and window: stores frames in raster order, puts out every window's elements.

    Elements live in a circular buffer of words of ``lanes`` elements, in banks, so that any
    ``lanes`` consecutive elements can be read at once and rotated into place. One address register
    for each row copy steps through the read order by constants. Counters, addresses and the read
    that waits are three stages with registers between them, so that no more than the decision to
    read lies between two. A beat leaves as soon as its last element is in; space is freed position
    by position. Padding is put in on reading and takes neither memory nor cycles. Latency 4 from
    the beat that completes what the first output beat needs; one beat a cycle, across frames too.

    Parameters
    ----------
    shape : element shape.
    sliding : geometry and read order.
    depth : words of the buffer, a power of two; the frame's reuse distance must fit.
    fill : value of padded elements.
    style : where the buffer lives.
    technology : supplies the memory.

    Members
    -------
    i : stream of ``Beat(shape, sliding.lanes)``; the frame is one group.
    o : stream of ``Beat(shape, sliding.rows * sliding.lanes)``; lanes past a kernel row's end hold
        neighbouring elements, and rows past the kernel's end any.
    """

    def __init__(self, shape: ShapeLike, sliding: Sliding, *, depth: int, fill: int = 0,
                 style: MemoryStyle, technology: Technology) -> None:
        if depth < 4 or depth & depth - 1:
            raise ValueError(f"depth must be a power of two of at least 4, not {depth!r}")
        self._sliding = sliding
        self._depth = depth
        self._fill = fill
        self._style = style
        self._technology = technology
        lanes = sliding.lanes
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(shape, sliding.rows * lanes)))})

    @property
    def depth(self) -> int:
        """Words that the buffer can hold."""
        return self._depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sliding = self._sliding
        # Absolute word counts, modulo a power of two that tells ahead from behind.
        reach = 2 * sliding.words + self._depth + beats(
            sliding.reach * sliding.row_step, sliding.lanes)
        distance = signed(ceil_log2(reach + 2) + 2)
        flow, write, late_write, counted, filled = (
            Signal(), Signal(), Signal(), Signal(), Signal())
        move = _Advance(Signal(), Signal(), Signal())
        m.d.comb += [
            flow.eq(self.o.ready | ~self.o.valid),
            write.eq(self.i.valid & self.i.ready),
            move.counters.eq(move.issue | ~filled),
            move.addresses.eq(move.counters & counted),
        ]
        # The counters are two beats ahead of the read that waits, the addresses one.
        m.d.sync += [counted.eq(1), filled.eq(counted), late_write.eq(write)]
        ends, counters = self._loops(m, move.counters)
        ahead = _Flags(Cat(ends).all(), Cat(ends[:3]).all(), self._begins_inside(counters),
                       self._rows_inside(m, counters), self._columns_inside(m, counters),
                       self._spare_lanes(ends)).late(m, "ahead", move.counters)
        now = ahead.late(m, "now", move.counters)
        reads = self._addresses(m, ends, move, ahead.spare, write=late_write, distance=distance)

        # The frame is all in when fewer than 0 words are missing after the next one.
        missing = Signal(distance, init=sliding.words - 1)
        m.d.sync += missing.eq(
            missing - late_write + Mux(move.issue & now.last, sliding.words, 0))

        available = [~inside | ~read.behind | (missing < 0)
                     for read, inside in zip(reads, now.rows, strict=True)]
        m.d.comb += move.issue.eq(flow & filled & Cat(available).all())

        written = self._space(m, reads[0].word, distance, write=write,
                              moved=move.issue & now.position_end, ended=move.issue & now.last,
                              inside=now.inside)
        self._read(m, flow=flow, issue=move.issue, flags=now, written=written, write=write,
                   reads=reads)
        return m

    def _space(self, m: Module, word: Signal, distance: Shape, *, write: Value, moved: Value,
               ended: Value, inside: Value) -> Signal:
        """Count words in, free them as the window moves on, and say when there is room."""
        written = Signal(unsigned(distance.width))
        oldest = Signal(unsigned(distance.width))
        frame = Signal(unsigned(distance.width), init=self._sliding.words)
        follows, starts, room = Signal(), Signal(), Signal(init=1)

        def ahead(a: Value, b: Value) -> Value:
            return (a - b)[: distance.width].as_signed()

        # Two cycles late, so two words may have come in since: room is kept for them.
        used = Signal(distance)
        m.d.sync += [
            written.eq(written + write),
            used.eq(ahead(written, oldest)),
            room.eq(used < self._depth - LATE_WORDS),
            follows.eq(moved),
            starts.eq(ended),
        ]
        # ``word`` is the first word of the window that the reads have moved to.
        with m.If(starts):
            m.d.sync += [oldest.eq(frame), frame.eq(frame + self._sliding.words)]
        with m.Elif(follows & inside & (ahead(word, oldest) > 0)):
            m.d.sync += oldest.eq(word)
        m.d.comb += self.i.ready.eq(room)
        return written

    def _loops(self, m: Module, step: Value) -> tuple[list[Value], list[Value]]:
        """Counters of the read order; returns whether each is at its end, and its value."""
        ends: list[Value] = []
        counters: list[Value] = []
        names = ("slice_x", "slice_y", "slice", "x", "y")
        for name, loop in zip(names, self._sliding.loops, strict=True):
            if loop.count == 1:
                ends.append(Const(1))
                counters.append(Const(0))
                continue
            counter = Signal(range(loop.count), name=name)
            end = Signal(name=f"{name}_end")
            with m.If(step):
                m.d.sync += [counter.eq(Mux(end, 0, counter + 1)),
                             end.eq(~end & (counter == loop.count - 2))]
            ends.append(end)
            counters.append(counter)
            step = step & end
        return ends, counters

    def _addresses(self, m: Module, ends: Sequence[Value], move: _Advance, spare: Value, *,
                   write: Value, distance: Shape) -> list[_Read]:
        """Where every row copy reads, and whether the writes are far enough ahead of it."""
        sliding = self._sliding
        lanes, unit, banks = sliding.lanes, sliding.unit, sliding.banks
        word_delta = Signal(distance, reset_less=True)
        turn_delta = Signal(range(banks), reset_less=True)
        with m.If(move.counters):
            for level, delta in reversed(list(enumerate(sliding.deltas))):
                # Later assignments win, so the innermost level that goes on decides.
                with m.If(~ends[level] if level < len(ends) else 1):
                    m.d.sync += [word_delta.eq(delta // lanes),
                                 turn_delta.eq(delta % lanes // unit)]
        reads = []
        for row in range(sliding.rows):
            start = sliding.start + row * sliding.row_step
            first = start // lanes
            word = Signal(unsigned(distance.width), init=first % (1 << distance.width),
                          name=f"ahead_word_{row}")
            # Words that are in beyond the one at ``word``.
            lead = Signal(distance, init=-first - 1, name=f"ahead_lead_{row}")
            turn: Value = Const(0, range(banks))
            carry: Value = Const(0)
            if banks > 1:
                turn = Signal(range(banks), init=start % lanes // unit, name=f"ahead_turn_{row}")
                sum_ = turn + turn_delta
                carry = sum_ >= banks
                with m.If(move.addresses):
                    m.d.sync += turn.eq(Mux(carry, sum_ - banks, sum_))
            step = Signal(distance, name=f"step_{row}")
            m.d.comb += step.eq(word_delta + carry)
            with m.If(move.addresses):
                m.d.sync += word.eq(word + step)
            m.d.sync += lead.eq(lead + write - Mux(move.addresses, step, 0))

            margin = Signal(distance, name=f"margin_{row}")
            spills = Signal(name=f"spills_{row}")
            m.d.comb += spills.eq(turn > spare)
            m.d.sync += margin.eq(Mux(move.counters, lead - spills, margin) + write)
            reads.append(_Read(_late(m, f"word_{row}", word, move.counters),
                               _late(m, f"turn_{row}", turn, move.counters), margin < 0))
        return reads

    def _spare_lanes(self, ends: Sequence[Value]) -> Value:
        """The largest rotation with which this beat's needed lanes stay within one word."""
        sliding = self._sliding
        group = sliding.size[2] if sliding.per_channel else sliding.run
        end = ends[2] if sliding.per_channel else ends[0]
        spare = -group % sliding.lanes
        return Mux(end, spare // sliding.unit, 0)

    def _begins_inside(self, counters: Sequence[Value]) -> Value:
        """Whether the window begins before the right and the lower edge.

        Beyond them, the elements at its address may still be wanted by the row that follows.
        """
        sliding = self._sliding
        flags = [_below(counter, count, padding, stride, size) for counter, count, padding, stride,
                 size in zip((counters[4], counters[3]), sliding.positions, sliding.padding[::2],
                             sliding.stride, sliding.size[:2], strict=True)]
        return Cat(flags).all()

    def _rows_inside(self, m: Module, counters: Sequence[Value]) -> Value:
        """Whether each row copy reads a row of the kernel that lies inside the frame."""
        sliding = self._sliding
        kernel_height = sliding.kernel[0]
        if not any(sliding.padding[:2]) and kernel_height % sliding.rows == 0:
            return Const(-1, sliding.rows)
        y = counters[4]
        inside = [_within(y, sliding.positions[0], sliding.padding[0] - row, sliding.stride[0],
                          sliding.size[0]) for row in range(kernel_height)]
        rows_ok = Signal(sliding.rows)
        with m.Switch(counters[1]):
            for group in range(beats(kernel_height, sliding.rows)):
                first = group * sliding.rows
                with m.Case(group):
                    m.d.comb += rows_ok.eq(Cat(inside[first : first + sliding.rows]))
        return rows_ok

    def _columns_inside(self, m: Module, counters: Sequence[Value]) -> Value:
        """Whether each lane reads a column that lies inside the frame."""
        sliding = self._sliding
        if not any(sliding.padding[2:]):
            return Const(-1, sliding.lanes)
        kernel_width, channels = sliding.kernel[1], sliding.size[2]
        inside = [_within(counters[3], sliding.positions[1], sliding.padding[2] - column,
                          sliding.stride[1], sliding.size[1]) for column in range(kernel_width)]
        column_ok = Signal(sliding.lanes)
        with m.Switch(counters[0]):
            for step in range(sliding.loops[0].count):
                with m.Case(step):
                    taps = [step] * sliding.lanes if sliding.per_channel else [
                        min((step * sliding.lanes + lane) // channels, kernel_width - 1)
                        for lane in range(sliding.lanes)]
                    m.d.comb += column_ok.eq(Cat(inside[tap] for tap in taps))
        return column_ok

    def _read(self, m: Module, *, flow: Value, issue: Value, flags: _Flags, written: Value,
              write: Value, reads: Sequence[_Read]) -> None:
        """Memory with its register, then rotation and padding into the output register."""
        sliding = self._sliding
        layout = self.i.payload.shape()
        width, banks = layout.shape.width, sliding.banks
        address_bits = ceil_log2(self._depth)
        valid = _late(m, "valid_2", _late(m, "valid_1", issue, flow), flow)
        last = _late(m, "last_2", _late(m, "last_1", flags.last, flow), flow)
        with m.If(flow):
            m.d.sync += [self.o.valid.eq(valid), self.o.p.last.eq(last)]
        arrived = Value.cast(self.i.p.data)
        fill = Const(self._fill, layout.shape)[:width]
        for row, (read, row_ok) in enumerate(zip(reads, flags.rows, strict=True)):
            held = []
            for bank in range(banks):
                bank_width = width * sliding.unit
                ram = self._technology.ram(bank_width, self._depth, self._style, registered=True)
                m.submodules[f"row{row}_bank{bank}"] = ram
                m.d.comb += [
                    ram.write_address.eq(written[:address_bits]),
                    ram.write_data.eq(arrived.word_select(bank, bank_width)),
                    ram.write_enable.eq(write),
                    ram.read_address.eq((read.word + (bank < read.turn))[:address_bits]),
                    ram.read_enable.eq(flow),
                ]
                held.append(ram.read_data)
            turn = read.turn
            keep: Value = row_ok.replicate(sliding.lanes) & flags.columns
            if not any(sliding.padding):
                keep = Const(-1, sliding.lanes)
            for stage in (1, 2):
                turn = _late(m, f"turn_{row}_{stage}", turn, flow)
                keep = _late(m, f"keep_{row}_{stage}", keep, flow)
            turned = Signal(width * sliding.lanes, name=f"turned_{row}")
            with m.Switch(turn):
                for start in range(banks):
                    with m.Case(start):
                        m.d.comb += turned.eq(Cat(held[start:] + held[:start]))
            for lane in range(sliding.lanes):
                value = Mux(keep[lane], turned.word_select(lane, width), fill)
                with m.If(flow):
                    m.d.sync += self.o.p.data[row * sliding.lanes + lane].eq(value)


def _late(m: Module, name: str, value: Value, enable: Value) -> Value:
    """``value`` in a register that moves on with ``enable``; constants need none."""
    if isinstance(value, Const):
        return value
    late = Signal(value.shape(), name=name)
    with m.If(enable):
        m.d.sync += late.eq(value)
    return late


def _within(counter: Value, count: int, padding: int, stride: int, size: int) -> Value:
    """Whether ``counter * stride - padding`` is in ``range(size)``, the counter below ``count``."""
    low = max(0, -(-padding // stride))
    if low > min(count - 1, (size - 1 + padding) // stride):
        return Const(0)
    above = Const(1) if low == 0 else counter >= low
    return above & _below(counter, count, padding, stride, size)


def _below(counter: Value, count: int, padding: int, stride: int, size: int) -> Value:
    """Whether ``counter * stride - padding`` is below ``size``, the counter below ``count``."""
    high = (size - 1 + padding) // stride
    return Const(1) if high >= count - 1 else counter <= high
