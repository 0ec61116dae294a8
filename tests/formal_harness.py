"""Formal harness for stream blocks: a free environment around one block, and what must hold.

One beat's element, freely chosen, is followed from the input to the output; everything else is
counted. There is no bound on time: the counts are of what is inside the block.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In


@dataclass(frozen=True)
class Traffic:
    """How elements travel on one side: ``lanes`` a beat, a fresh beat every ``group`` elements."""

    lanes: int = 1
    group: int = 1

    @property
    def tail(self) -> int:
        """Elements in the last beat of a group."""
        return (self.group - 1) % self.lanes + 1

    @property
    def beats(self) -> int:
        """Beats of a group."""
        return -(-self.group // self.lanes)


class Harness(wiring.Component):
    """A stream block between a source and a sink that do whatever the rules of streams allow.

    Asserted, in every reachable state:

    - hold: while ``o.valid`` and not ``o.ready``, the next cycle has the same valid and payload;
    - order: the followed element comes out at its place, unchanged;
    - count: a beat comes out only if its elements went in, and at most ``capacity`` are inside;
    - progress: ``latency`` cycles after its last element was taken, a beat is at ``o``;
    - last: if there is a ``frame``, ``o``'s ``last`` stands in each frame's final beat alone.

    Parameters
    ----------
    dut : block with streams ``i`` and ``o``; without a ``frame``, the payload is one element.
    i, o : how elements travel on either side.
    capacity : elements that fit the block.
    latency : cycles from a transfer at ``i`` to the ``o.valid`` that it completes.
    frame : elements a frame, for blocks that make ``last`` anew.

    Members
    -------
    clk : the only clock.
    i_valid, i_payload, o_ready : free; a solver chooses them.
    follow, lane : free; when and which element of a beat is followed.
    """

    def __init__(self, dut: wiring.Component, *, i: Traffic, o: Traffic, capacity: int,
                 latency: int, frame: int | None = None) -> None:
        self._dut = dut
        self._traffic = i, o
        self._capacity = capacity
        self._latency = latency
        self._frame = frame
        super().__init__({
            "clk": In(1), "i_valid": In(1), "i_payload": In(len(Value.cast(dut.i.payload))),
            "o_ready": In(1), "follow": In(1), "lane": In(range(max(2, i.lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # No reset: registers start from their initial values, and stay clocked.
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.dut = dut = self._dut
        i, o = self._traffic
        i_bits, o_bits = Value.cast(dut.i.payload), Value.cast(dut.o.payload)
        m.d.comb += [i_bits.eq(self.i_payload), dut.i.valid.eq(self.i_valid),
                     dut.o.ready.eq(self.o_ready)]
        take, give = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready

        m.d.comb += Assume(self._holds(m, "i", dut.i.valid, dut.i.ready, i_bits))
        m.d.comb += Assert(self._holds(m, "o", dut.o.valid, dut.o.ready, o_bits))

        taken, _ = self._step(m, "i", take, i)
        given, o_end = self._step(m, "o", give, o)
        stored = Signal(range(self._capacity + 1 + i.lanes))
        m.d.sync += stored.eq(stored + Mux(take, taken, 0) - Mux(give, given, 0))
        m.d.comb += [Assert(stored <= self._capacity), Assert(~dut.o.valid | (stored >= given))]
        self._progress(m, stored >= given, give, dut.o.valid)
        self._follow(m, take, taken, give, given, stored, self._elements(i_bits, i),
                     self._elements(o_bits, o))
        if self._frame is not None:
            groups = Signal(range(self._frame // o.group))
            frame_end = groups == self._frame // o.group - 1
            with m.If(give & o_end):
                m.d.sync += groups.eq(Mux(frame_end, 0, groups + 1))
            m.d.comb += Assert(~dut.o.valid | (dut.o.payload.last == (o_end & frame_end)))
        return m

    def _elements(self, payload: Value, traffic: Traffic) -> list[Value]:
        if self._frame is None:
            return [payload]
        width = (len(payload) - 1) // traffic.lanes
        return [payload.word_select(lane, width) for lane in range(traffic.lanes)]

    @staticmethod
    def _holds(m: Module, name: str, valid: Value, ready: Value, payload: Value) -> Value:
        """Whether what waited in the previous cycle waits still."""
        waited = Signal(name=f"{name}_waited")
        before = Signal(len(payload), name=f"{name}_before")
        m.d.sync += [waited.eq(valid & ~ready), before.eq(payload)]
        return ~waited | (valid & (payload == before))

    @staticmethod
    def _step(m: Module, name: str, move: Value, traffic: Traffic) -> tuple[Value, Value]:
        """Elements of the beat at hand, and whether it ends a group."""
        beat = Signal(range(traffic.beats), name=f"{name}_beat")
        end = Signal(name=f"{name}_end")
        m.d.comb += end.eq(beat == traffic.beats - 1)
        with m.If(move):
            m.d.sync += beat.eq(Mux(end, 0, beat + 1))
        return Mux(end, traffic.tail, traffic.lanes), end

    def _progress(self, m: Module, enough: Value, give: Value, valid: Value) -> None:
        # ``enough`` itself comes one cycle after the transfer.
        waiting = Signal(range(self._latency))
        late = waiting == self._latency - 1
        m.d.sync += waiting.eq(Mux(~enough | give, 0, Mux(late, waiting, waiting + 1)))
        m.d.comb += Assert(~(late & enough) | valid)

    def _follow(self, m: Module, take: Value, taken: Value, give: Value, given: Value,
                stored: Value, arriving: list[Value], leaving: list[Value]) -> None:
        """Follow one element: its value, and how many elements leave before it."""
        following, ahead = Signal(), Signal(range(self._capacity + 1 + len(arriving)))
        value = Signal(len(arriving[0]))
        left = Mux(give, given, 0)
        here = following & give & (ahead < given)
        with m.If(~following & self.follow & take & (self.lane < taken)):
            m.d.sync += [following.eq(1), value.eq(Array(arriving)[self.lane]),
                         ahead.eq(stored - left + self.lane)]
        with m.Elif(here):
            m.d.sync += following.eq(0)
            m.d.comb += [Assert(Array(leaving)[ahead] == value), Cover(Const(1))]
        with m.Elif(following):
            m.d.sync += ahead.eq(ahead - left)


class ForkHarness(wiring.Component):
    """A fork between a source and readers that do whatever the rules of streams allow.

    Asserted, in every reachable state, for each reader:

    - hold: while ``valid`` and not ``ready``, the next cycle has the same valid and payload;
    - same: what it gets is the beat that is at the input;
    - once: it gets no beat twice, and none leaves the input before it was had;
    - progress: a beat is there as soon as it is at the input, whatever the others do, and leaves
      that in the cycle in which the last reader takes it.

    Parameters
    ----------
    dut : block with streams ``i`` and ``o_0``, ``o_1``, ...
    readers : how many.

    Members
    -------
    clk : the only clock.
    i_valid, i_payload, ready : free; a solver chooses them.
    """

    def __init__(self, dut: wiring.Component, readers: int) -> None:
        self._dut = dut
        self._readers = readers
        super().__init__({"clk": In(1), "i_valid": In(1), "ready": In(readers),
                          "i_payload": In(len(Value.cast(dut.i.payload)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal().eq(self.clk)
        m.submodules.dut = dut = self._dut
        source = Value.cast(dut.i.payload)
        m.d.comb += [source.eq(self.i_payload), dut.i.valid.eq(self.i_valid)]
        m.d.comb += Assume(Harness._holds(m, "i", dut.i.valid, dut.i.ready, source))
        take = dut.i.valid & dut.i.ready
        had, having = Signal(self._readers), Signal(self._readers)
        m.d.comb += Assert(take == (dut.i.valid & having.all()))
        m.d.sync += had.eq(Mux(take, 0, having))
        for n in range(self._readers):
            o = getattr(dut, f"o_{n}")
            sink = Value.cast(o.payload)
            m.d.comb += [
                o.ready.eq(self.ready[n]), having[n].eq(had[n] | (o.valid & o.ready)),
                Assert(Harness._holds(m, f"o_{n}", o.valid, o.ready, sink)),
                Assert(o.valid == (dut.i.valid & ~had[n])),
                Assert(~o.valid | (sink == source)),
            ]
        # Readers that take a beat in different cycles.
        m.d.comb += Cover(take & had.any() & ~had.all())
        return m
