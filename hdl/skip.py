"""The buffer that one branch of a residual network waits in."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .stream import QUEUE_LATENCY, Queue
from .tech import REGISTERED_LATENCY, MemoryStyle, Technology

__all__ = ["SKIP_LATENCY", "SKIP_QUEUE_DEPTH", "SkipBuffer"]

SKIP_LATENCY = 2 + REGISTERED_LATENCY + QUEUE_LATENCY
"""Cycles from a beat's transfer into an empty buffer to the beat that it gives: a word is counted
two cycles late, and passes the memory and the queue behind it."""
SKIP_QUEUE_DEPTH = REGISTERED_LATENCY + 3
"""Beats between the issue of a read and their way out of the queue behind the memory, at one a
cycle."""


class SkipBuffer(Block):
    """First in, first out through a memory of any size: ``o = i``, latency 6, one beat a cycle.

    No combinational path joins the two sides. A small queue behind the memory takes the beats that
    are on their way, so that the memory's registers never stall.

    Parameters
    ----------
    layout : payload of both streams.
    depth : beats that the memory holds, at least 4.
    style : where the memory lives.
    technology : supplies it.

    Members
    -------
    i, o : streams of ``layout``.
    """

    def __init__(self, layout: ShapeLike, depth: int, *, style: MemoryStyle,
                 technology: Technology) -> None:
        if depth < 4:
            raise ValueError(f"depth must be at least 4, not {depth!r}")
        self._depth = depth
        self._style = style
        self._technology = technology
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = self.i.payload.shape()
        width = Shape.cast(layout).width
        m.submodules.queue = queue = Queue(layout, SKIP_QUEUE_DEPTH)
        m.submodules.ram = ram = self._technology.ram(width, self._depth, self._style,
                                                      registered=True)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        write, read, written = Signal(), Signal(), Signal()
        arriving = Signal(REGISTERED_LATENCY)
        m.d.sync += [written.eq(write), arriving.eq(Cat(read, arriving))]
        m.d.comb += [
            write.eq(self.i.valid & self.i.ready),
            ram.write_address.eq(self._pointer(m, "write", write)),
            ram.write_data.eq(self.i.payload),
            ram.write_enable.eq(write),
            ram.read_address.eq(self._pointer(m, "read", read)),
            ram.read_enable.eq(1),
            Value.cast(queue.i.payload).eq(ram.read_data),
            queue.i.valid.eq(arriving[-1]),
        ]
        has_word, has_credit, has_space = Signal(), Signal(init=1), Signal(init=1)
        self._count(m, "words", 0, self._depth, more=written, less=read, flag=has_word)
        self._count(m, "credits", queue.depth, queue.depth, more=self.o.valid & self.o.ready,
                    less=read, flag=has_credit)
        self._count(m, "space", self._depth, self._depth, more=read, less=write, flag=has_space)
        m.d.comb += [read.eq(has_word & has_credit), self.i.ready.eq(has_space)]
        return m

    def _pointer(self, m: Module, name: str, step: Value) -> Signal:
        pointer = Signal(range(self._depth), name=f"{name}_pointer")
        with m.If(step):
            m.d.sync += pointer.eq(Mux(pointer == self._depth - 1, 0, pointer + 1))
        return pointer

    @staticmethod
    def _count(m: Module, name: str, init: int, most: int, *, more: Value, less: Value,
               flag: Signal) -> None:
        """Count up and down; ``flag`` is a register that says whether there is one."""
        count = Signal(range(most + 1), init=init, name=name)
        following = Signal.like(count, name=f"next_{name}")
        m.d.comb += following.eq(count + more - less)
        m.d.sync += [count.eq(following), flag.eq(following.any())]
