"""What counts the frames on their way, and lets no more in when something is about to change."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .block import Block

__all__ = ["Gate"]

FRAMES_BITS = 8
"""Of the number of frames that are on their way at once."""


class Gate(Block):
    """Lets whole frames through, latency 0, a beat a cycle, and tells when none is left behind it.

    Parameters
    ----------
    layout : payload of both streams, with ``last``.

    Members
    -------
    i, o : streams of ``layout``.
    permit : In(1), a frame may begin.
    left : In(1), a frame's last result leaves.
    quiet : Out(1), no frame is on its way.
    """

    def __init__(self, layout: ShapeLike) -> None:
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout)),
                          "permit": In(1), "left": In(1), "quiet": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        frames, started, begin, admit = Signal(FRAMES_BITS), Signal(), Signal(), Signal()
        m.d.comb += [
            # What was offered stays on offer.
            admit.eq(started | (self.permit & ~frames.all())),
            begin.eq(self.i.valid & admit & ~started),
            self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid & admit),
            self.i.ready.eq(self.o.ready & admit), self.quiet.eq((frames == 0) & ~started),
        ]
        m.d.sync += frames.eq(frames + begin - self.left)
        with m.If(self.i.valid & admit):
            m.d.sync += started.eq(~(self.o.ready & self.i.p.last))
        return m
