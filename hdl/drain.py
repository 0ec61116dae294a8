"""Results of several processing elements, in the order of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .steady import SteadyShape, delay, has_credit, join
from .stream import Beat, Queue, beats
from .tech import MemoryStyle, Technology

__all__ = ["Drain", "DrainShape"]


@dataclass(frozen=True)
class DrainShape(SteadyShape):
    """Structure of a `Drain`.

    Parameters
    ----------
    pes : processing elements.
    outputs : results of a vector; each element has one of ``pes`` outputs that follow each other.
    o_lanes : results a beat, a divisor of ``pes``.
    banks : sets of sums, each of which is cleared once after reset.
    settle : cycles to wait for sums that are on their way.
    vectors : of a frame.
    """

    pes: int
    outputs: int
    o_lanes: int
    banks: int
    settle: int
    vectors: int = 1

    def __post_init__(self) -> None:
        at_least(1, **vars(self))
        if self.pes % self.o_lanes:
            raise ValueError(f"o_lanes must divide {self.pes}, not {self.o_lanes!r}")

    @property
    def slots(self) -> int:
        """Sums of a processing element."""
        return beats(self.outputs, self.pes)

    @property
    def slot_beats(self) -> int:
        """Output beats of a slot."""
        return self.pes // self.o_lanes

    @property
    def frame_beats(self) -> int:
        """Output beats of a vector."""
        return beats(self.outputs, self.o_lanes)

    @property
    def tail_beats(self) -> int:
        """Output beats of the last slot."""
        return self.frame_beats - (self.slots - 1) * self.slot_beats

    @property
    def depth(self) -> int:
        """Cycles from a slot's address to the results in front of the queue."""
        return 2


class Drain(Block):
    """Read the sums of ``pes`` processing elements, slot by slot, and give them in order.

    The output n is in the slot ``n // pes``, in the element ``order[n // pes][n % pes]``. One beat
    a cycle, from ``settle`` cycles after ``quiet`` on; what a slot's final beat has read is
    cleared. After reset, all banks are cleared, slot by slot, and nothing leaves.

    Parameters
    ----------
    bits : width of a result, which is signed.
    shape : structure.
    order : for each slot, the processing elements of its ``pes`` outputs.
    technology : supplies memory.

    Members
    -------
    quiet : In(1), nothing is to be added to this vector's sums but what is on its way; until
        ``end``.
    drained : Out, the bank that is read.
    slot, clear : Out, what is read of each processing element, and whether it is cleared.
    totals : In, an array of ``pes``, the sums a cycle later.
    end : Out(1), the bank was read.
    o : stream of ``Beat(signed(bits), o_lanes)``.
    """

    def __init__(self, bits: int, shape: DrainShape, order: Sequence[Sequence[int]], *,
                 technology: Technology) -> None:
        at_least(1, bits=bits)
        for places in order:
            if sorted(places) != [*range(shape.pes)]:
                raise ValueError(f"order must name {shape.pes} elements once each, not {places!r}")
        if len(order) != shape.slots:
            raise ValueError(f"order must have {shape.slots} slots, not {len(order)}")
        self._bits = bits
        self._shape = shape
        self._order = [[*places] for places in order]
        self._technology = technology
        super().__init__({
            "quiet": In(1), "drained": Out(range(shape.banks)), "slot": Out(range(shape.slots)),
            "clear": Out(1), "totals": In(data.ArrayLayout(signed(bits), shape.pes)),
            "end": Out(1), "o": Out(stream.Signature(Beat(signed(bits), shape.o_lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        m.submodules.queue = queue = Queue(self.o.payload.shape(), shape.queue_depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        is_quiet, settled = Signal(), Signal(range(shape.settle))
        beat, uncleared = Signal(range(shape.slot_beats)), Signal(range(shape.banks + 1),
                                                                 init=shape.banks)
        is_fresh, issue, give, slot_end, last_slot = (
            Signal(name=name) for name in ("is_fresh", "issue", "give", "slot_end", "last_slot"))
        m.d.comb += [
            is_fresh.eq(uncleared != 0),
            give.eq(issue & ~is_fresh),
            issue.eq(is_quiet & (settled == shape.settle - 1)
                     & (is_fresh | has_credit(m, self.o, give, shape.queue_depth - 1))),
            last_slot.eq(self.slot == shape.slots - 1),
            slot_end.eq(is_fresh
                        | (beat == Mux(last_slot, shape.tail_beats, shape.slot_beats) - 1)),
            self.clear.eq(issue & slot_end),
            self.end.eq(self.clear & last_slot),
        ]
        m.d.sync += is_quiet.eq(self.quiet & ~self.end)
        with m.If(self.end):
            m.d.sync += [
                settled.eq(0), uncleared.eq(uncleared - is_fresh),
                self.drained.eq(Mux(self.drained == shape.banks - 1, 0, self.drained + 1)),
            ]
        with m.Elif(is_quiet & (settled != shape.settle - 1)):
            m.d.sync += settled.eq(settled + 1)
        with m.If(issue):
            m.d.sync += beat.eq(Mux(slot_end, 0, beat + 1))
        with m.If(self.clear):
            m.d.sync += self.slot.eq(Mux(last_slot, 0, self.slot + 1))
        vector, is_last = Signal(range(shape.vectors)), Signal()
        m.d.comb += is_last.eq(self.end & (vector == shape.vectors - 1))
        with m.If(self.end & ~is_fresh):
            m.d.sync += vector.eq(Mux(is_last, 0, vector + 1))
        self._arrange(m, queue, issue)
        m.d.comb += [queue.i.valid.eq(delay(m, "gives", give, shape.depth, reset_less=False)),
                     queue.i.p.last.eq(delay(m, "ends", is_last, shape.depth))]
        return m

    def _arrange(self, m: Module, queue: Queue, issue: Value) -> None:
        """Choose the sums of each beat, and put them in front of the queue."""
        shape, bits = self._shape, self._bits
        index_bits = ceil_log2(shape.pes)
        alike = all(places == self._order[0] for places in self._order)
        words = [join(places[n : n + shape.o_lanes], index_bits)
                 for places in (self._order[:1] if alike else self._order)
                 for n in range(0, shape.pes, shape.o_lanes)]
        m.submodules.order = order = self._technology.rom(
            words, max(1, index_bits * shape.o_lanes), MemoryStyle.LOGIC)
        word = Signal(range(len(words)))
        with m.If(issue):
            at_end = self.end | (word == len(words) - 1)
            m.d.sync += word.eq(Mux(at_end, 0, word + 1))
        m.d.comb += order.address.eq(word)
        for n in range(shape.o_lanes):
            chosen = Signal(bits, name=f"chosen_{n}", reset_less=True)
            index = order.data.word_select(n, index_bits) if index_bits else Const(0)
            m.d.sync += chosen.eq(Value.cast(self.totals).word_select(index, bits))
            m.d.comb += queue.i.p.data[n].eq(chosen)
