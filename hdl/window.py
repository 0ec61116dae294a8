"""WindowGeometry window over a raster stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .counter import ahead_of
from .stream import Beat, payload_register
from .tech import REGISTERED_LATENCY, MemoryStyle, Technology
from .window_edges import begins_inside, columns_inside, each_tap, rows_inside
from .window_geometry import Moves, WindowGeometry

__all__ = ["FILL_LATENCY", "LATE_WORDS", "READ_LATENCY", "WRITE_LATENCY", "Window"]

READ_LATENCY = REGISTERED_LATENCY + 1
"""Cycles from the issue of a read to its output beat: the memory, then rotation and padding."""
WRITE_LATENCY = 2
"""Cycles from a word's transfer into the buffer to the first read of it."""
FILL_LATENCY = 2
"""Cycles after reset before a read, in which the stages of the read order fill."""
LATE_WORDS = 2
"""Words of a buffer that are kept free because its fill is known two cycles late."""


@dataclass(frozen=True)
class _Read:
    """Where a row copy reads next: buffer ``word``, the bank ``turn`` that holds the first
    elements, and each bank's address."""

    word: Value
    turn: Value
    addresses: tuple[Value, ...]


@dataclass(frozen=True)
class _Flags:
    """What the counters say of one beat: it is the ``last`` of its frame or of a position
    (``position_end``), what is before its window is free (``inside``, see `begins_inside`), which
    of its ``rows`` and ``columns`` (see `columns_inside`) are no padding, and by how much its words
    can be turned with all that is needed in one word (``spare``)."""

    last: Value
    position_end: Value
    inside: Value
    rows: Value
    columns: Value
    spare: Value

    def held(self, m: Module, name: str, enable: Value) -> _Flags:
        """The same, a register later."""
        return _Flags(**{key: _held(m, f"{name}_{key}", value, enable)
                         for key, value in vars(self).items()})


@dataclass(frozen=True)
class _Advance:
    """When the stages of the read order move on: all at once, each to its next beat.

    ``issue`` is a read; ``stages`` also move in the first two cycles, in which they fill; in the
    second of them they are ``begun``. The ``counters`` know a cycle late whether the stages moved,
    by a register; what they say meanwhile is kept.
    """

    issue: Signal
    stages: Signal
    begun: Signal
    counters: Signal


@dataclass(frozen=True)
class _Words:
    """Absolute word counts: those ``written``, those and one less (``before``), and the ``begin``
    and ``end`` of the frame that is read, with the ``next_end`` behind it. They wrap around; of
    two, `ahead_of` tells which is ahead."""

    written: Signal
    before: Signal
    begin: Signal
    end: Signal
    next_end: Signal

    @classmethod
    def of(cls, m: Module, width: int, frame: int, *, write: Value, ended: Value) -> _Words:
        """The counts in the clock domain of ``m``, moved on by ``write`` and ``ended``."""
        wrap = 1 << width
        words = cls(Signal(width, name="written"), Signal(width, name="before", init=wrap - 1),
                    Signal(width, name="begin"), Signal(width, name="end", init=frame % wrap),
                    Signal(width, name="next_end", init=2 * frame % wrap))
        m.d.sync += [words.written.eq(words.written + write), words.before.eq(words.before + write)]
        with m.If(ended):
            m.d.sync += [words.begin.eq(words.end), words.end.eq(words.next_end),
                         words.next_end.eq(words.next_end + frame)]
        return words


class Window(Block):
    """Line buffer and window: stores frames in raster order, puts out every window's elements.

    Elements live in a circular buffer of words of ``lanes`` elements, in banks, so that any
    ``lanes`` consecutive elements can be read at once and rotated into place. One address register
    for each row copy steps through the read order by constants. Counters, addresses and the read
    that waits are three stages with registers between them, so that no more than the decision to
    read lies between two; the counters know of it by a register. A beat leaves as soon as its last
    element is in; space is freed position by position. Padding is put in on reading and takes
    neither memory nor cycles. Latency 4 from the beat that completes what the first output beat
    needs; one beat a cycle, across frames too.

    Parameters
    ----------
    shape : element shape.
    geometry : geometry and read order.
    depth : words of the buffer, a power of two; the frame's reuse distance must fit.
    fill : value of padded elements.
    style : where the buffer lives.
    technology : supplies the memory.

    Members
    -------
    i : stream of ``Beat(shape, geometry.lanes)``; the frame is one group.
    o : stream of ``Beat(shape, geometry.rows * geometry.lanes)``; lanes past a kernel row's end
        hold neighbouring elements, and rows past the kernel's end any.
    """

    def __init__(self, shape: ShapeLike, geometry: WindowGeometry, *, depth: int, fill: int = 0,
                 style: MemoryStyle, technology: Technology) -> None:
        if depth < 4 or depth & depth - 1:
            raise ValueError(f"depth must be a power of two of at least 4, not {depth!r}")
        self._geometry = geometry
        self._depth = depth
        self._fill = fill
        self._style = style
        self._technology = technology
        lanes = geometry.lanes
        super().__init__({"i": In(stream.Signature(Beat(shape, lanes))),
                          "o": Out(stream.Signature(Beat(shape, geometry.rows * lanes)))})

    @property
    def depth(self) -> int:
        """Words that the buffer can hold."""
        return self._depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        geometry = self._geometry
        width = geometry.count_bits(self._depth)
        flow, write, filled = Signal(), Signal(), Signal()
        move = _Advance(Signal(), Signal(), Signal(), Signal(init=1, name="counters"))
        m.d.comb += [
            flow.eq(self.o.ready | ~self.o.valid),
            write.eq(self.i.valid & self.i.ready),
        ]
        m.d.sync += move.counters.eq(move.stages)
        # The counters are two beats ahead of the read that waits, the addresses one. The enable is
        # always given here, but keeps synthesis from sharing one register among all windows.
        with m.If(move.stages):
            m.d.sync += [move.begun.eq(1), filled.eq(move.begun)]
        ends, counters = self._loops(m, move.counters)
        inside = _kept(m, "inside", begins_inside(geometry, counters), move.counters)
        rows = _kept(m, "rows", rows_inside(m, geometry, counters), move.counters)
        columns = _kept(m, "columns", columns_inside(m, geometry, counters), move.counters)
        ends = [_kept(m, f"end_{level}", end, move.counters) for level, end in enumerate(ends)]
        ahead = _Flags(Cat(ends).all(), Cat(ends[:3]).all(), inside, rows, columns,
                       self._spare_lanes(ends)).held(m, "ahead", move.stages)
        now = ahead.held(m, "now", move.stages)
        ended = move.issue & now.last
        words = _Words.of(m, width, geometry.words, write=write, ended=ended)
        complete = [ahead_of(words.written, end) >= 0 for end in (words.end, words.next_end)]

        word_delta, turn_delta = self._deltas(m, ends, counters, move, width)
        reads, ready = [], []
        for row in range(geometry.rows):
            word, turn = self._address(m, row, word_delta, turn_delta, move.stages)
            spills = turn > ahead.spare
            need = _held(m, f"need_{row}", (word + spills)[:width], move.stages)
            # A read waits while the last word that it needs is not in, unless it is padding or the
            # frame is all in.
            behind = Mux(spills, ahead_of(word, words.before) >= 0,
                         ahead_of(word, words.written) >= 0)
            next_waits = ahead.rows[row] & behind & ~Mux(now.last, complete[1], complete[0])
            still_waits = now.rows[row] & (ahead_of(need, words.written) >= 0) & ~complete[0]
            waits = Signal(name=f"waits_{row}")
            m.d.sync += waits.eq(move.begun & Mux(move.stages, next_waits, still_waits))
            ready.append(~waits)
            reads.append(self._read_at(m, row, word, turn, move.stages))
        # In the first cycles the stages move on by themselves: nothing waits, nor has it left yet.
        m.d.comb += [move.stages.eq(flow & Cat(ready).all()), move.issue.eq(move.stages & filled)]

        self._space(m, words, reads[0].word, moved=move.issue & now.position_end, ended=ended,
                    inside=now.inside)
        self._read(m, flow=flow, issue=move.issue, flags=now, written=words.written, write=write,
                   reads=reads)
        return m

    def _space(self, m: Module, words: _Words, word: Value, *, moved: Value, ended: Value,
               inside: Value) -> None:
        """Free words as the window moves on, and say when there is space."""
        oldest = Signal.like(words.written)
        follows, starts, has_space = Signal(), Signal(), Signal(init=1)
        # Two cycles late, so two words may have come in since: space is kept for them.
        used = Signal(signed(len(oldest)))
        m.d.sync += [
            used.eq(ahead_of(words.written, oldest)),
            has_space.eq(used < self._depth - LATE_WORDS),
            follows.eq(moved),
            starts.eq(ended),
        ]
        # ``word`` is the first word of the window that the reads have moved to.
        with m.If(starts):
            m.d.sync += oldest.eq(words.begin)
        with m.Elif(follows & inside & (ahead_of(oldest, word) < 0)):
            m.d.sync += oldest.eq(word)
        m.d.comb += self.i.ready.eq(has_space)

    def _loops(self, m: Module, step: Value) -> tuple[list[Value], list[Value]]:
        """Counters of the read order; returns whether each is at its end, and its value."""
        ends: list[Value] = []
        counters: list[Value] = []
        names = ["slice_x", "slice_y", "slice", "x", "y"]
        if self._geometry.passes > 1:
            names.insert(4, "pass")
        for name, loop in zip(names, self._geometry.loops, strict=True):
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

    def _deltas(self, m: Module, ends: Sequence[Value], counters: Sequence[Value], move: _Advance,
                width: int) -> tuple[Signal, Signal]:
        """By how many words and banks the addresses move on after the beat that they stand at.

        ``ends`` are those of the beat that the stages take next, ``counters`` may be beyond it.
        """
        geometry = self._geometry
        # Of the first cycle, in which the stages move without a beat, addresses know nothing.
        words = Signal(width, name="word_delta")
        turns = Signal(range(geometry.banks), name="turn_delta")

        def choose(deltas: Moves) -> None:
            for level, delta in reversed(list(enumerate(deltas))):
                # Later assignments win, so the innermost level that goes on decides.
                with m.If(~ends[level] if level < len(ends) else 1):
                    m.d.sync += [words.eq(delta // geometry.lanes % (1 << width)),
                                 turns.eq(delta % geometry.lanes // geometry.unit)]

        if geometry.gathers:
            counters = [_kept(m, f"count_{level}", counter, move.counters)
                        for level, counter in enumerate(counters)]
        with m.If(move.stages):
            if geometry.gathers:
                for deltas in each_tap(m, geometry, counters, geometry.moves):
                    choose(deltas)
            else:
                choose(geometry.deltas)
        return words, turns

    def _address(self, m: Module, row: int, word_delta: Signal, turn_delta: Signal, enable: Value
                 ) -> tuple[Signal, Value]:
        """The word, and the bank in it, at which a row copy's next read but one begins."""
        geometry = self._geometry
        banks, width = geometry.banks, len(word_delta)
        start = geometry.start + row * geometry.row_step
        word = Signal(width, init=start // geometry.lanes % (1 << width), name=f"ahead_word_{row}")
        if banks == 1:
            with m.If(enable):
                m.d.sync += word.eq(word + word_delta)
            return word, Const(0, 0)
        turn = Signal(range(banks), init=start % geometry.lanes // geometry.unit,
                      name=f"ahead_turn_{row}")
        sum_ = turn + turn_delta
        carry = sum_ >= banks
        with m.If(enable):
            m.d.sync += [turn.eq(Mux(carry, sum_ - banks, sum_)),
                         word.eq(word + word_delta + carry)]
        return word, turn

    def _read_at(self, m: Module, row: int, word: Value, turn: Value, enable: Value) -> _Read:
        """The read that waits: what stood at ``word`` and ``turn`` a beat ago."""
        address_bits, banks = ceil_log2(self._depth), self._geometry.banks
        now = _held(m, f"word_{row}", word, enable)
        if banks == 1:
            return _Read(now, turn, (now[:address_bits],))
        # The banks that the turn has left hold their elements in the next word.
        next_ = _held(m, f"next_word_{row}", (word + 1)[:address_bits], enable)
        left = [_held(m, f"left_{row}_{bank}", bank < turn, enable) for bank in range(banks)]
        return _Read(now, _held(m, f"turn_{row}", turn, enable),
                     tuple(Mux(bit, next_, now[:address_bits]) for bit in left))

    def _spare_lanes(self, ends: Sequence[Value]) -> Value:
        """The largest rotation with which this beat's needed lanes stay within one word."""
        geometry = self._geometry
        group = geometry.size[2] if geometry.per_channel else geometry.run
        end = ends[2] if geometry.per_channel else ends[0]
        spare = -group % geometry.lanes
        return Mux(end, spare // geometry.unit, 0)

    def _read(self, m: Module, *, flow: Value, issue: Value, flags: _Flags, written: Value,
              write: Value, reads: Sequence[_Read]) -> None:
        """Memory with its register, then rotation and padding into the output register."""
        geometry = self._geometry
        layout = self.i.payload.shape()
        width, banks = layout.shape.width, geometry.banks
        address_bits = ceil_log2(self._depth)
        valid = _held(m, "valid_2", _held(m, "valid_1", issue, flow), flow)
        last = _held(m, "last_1", flags.last, flow, reset_less=True)
        last = _held(m, "last_2", last, flow, reset_less=True)
        payload = payload_register(m, self.o)
        with m.If(flow):
            m.d.sync += [self.o.valid.eq(valid), payload.last.eq(last)]
        arrived, read_out = Value.cast(self.i.p.data), payload.data
        fill = Const(self._fill, layout.shape)[:width]
        columns = Cat(flags.columns[geometry.different_columns.index(one)]
                      for one in geometry.lane_columns)
        for row, (read, row_ok) in enumerate(zip(reads, flags.rows, strict=True)):
            held = []
            for bank in range(banks):
                bank_width = width * geometry.unit
                ram = self._technology.ram(bank_width, self._depth, self._style, registered=True)
                m.submodules[f"row{row}_bank{bank}"] = ram
                m.d.comb += [
                    ram.write_address.eq(written[:address_bits]),
                    ram.write_data.eq(arrived.word_select(bank, bank_width)),
                    ram.write_enable.eq(write),
                    ram.read_address.eq(read.addresses[bank]),
                    ram.read_enable.eq(flow),
                ]
                held.append(ram.read_data)
            turn = read.turn
            keep: Value = row_ok.replicate(geometry.lanes) & columns
            if not any(geometry.padding):
                keep = Const(-1, geometry.lanes)
            for stage in (1, 2):
                turn = _held(m, f"turn_{row}_{stage}", turn, flow, reset_less=True)
                keep = _held(m, f"keep_{row}_{stage}", keep, flow, reset_less=True)
            # A bit of the turn after the other, each of which chooses between two places.
            turned: Value = Cat(held)
            for step, moves in enumerate(turn):
                rotated = Signal(len(turned), name=f"turned_{row}_{step}")
                m.d.comb += rotated.eq(Mux(moves, turned.rotate_right(bank_width << step), turned))
                turned = rotated
            for lane in range(geometry.lanes):
                value = Mux(keep[lane], turned.word_select(lane, width), fill)
                with m.If(flow):
                    m.d.sync += read_out[row * geometry.lanes + lane].eq(value)


def _kept(m: Module, name: str, value: Value, fresh: Value) -> Value:
    """``value``, which the counters give, or what it was before they moved if it is not ``fresh``:
    then the stages have not taken that yet."""
    if isinstance(value, Const):
        return value
    kept = _held(m, f"kept_{name}", value, fresh, reset_less=True)
    following = Signal(value.shape(), name=f"next_{name}")
    m.d.comb += following.eq(Mux(fresh, value, kept))
    return following


def _held(m: Module, name: str, value: Value, enable: Value, *, reset_less: bool = False) -> Value:
    """``value`` in a register that moves on with ``enable``; constants need none."""
    if isinstance(value, Const):
        return value
    register = Signal(value.shape(), name=name, reset_less=reset_less)
    with m.If(enable):
        m.d.sync += register.eq(value)
    return register
