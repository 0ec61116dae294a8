"""Padding: a border of constants around a map."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .stream import Beat
from .tech import MemoryStyle, Technology
from .window import Window
from .window_geometry import WindowGeometry

__all__ = ["Padder"]


class Padder(Block):
    """``o = i`` with a border of ``fill``: a window of one tap, whose buffer holds what comes in
    while the border goes out.

    Latency 3, one beat a cycle. The border above a frame waits for the frame's first word.

    Parameters
    ----------
    shape : element shape.
    size : (height, width, channels) of a frame.
    padding : (top, bottom, left, right).
    fill : value of the border.
    lanes : elements a beat.
    depth : words of the buffer, a power of two.
    style : where the buffer lives.
    technology : supplies the memory.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``; the frame is one group.
    o : stream of ``Beat(shape, lanes)``; a group is the channels.
    """

    def __init__(self, shape: ShapeLike, size: tuple[int, int, int],
                 padding: tuple[int, int, int, int], *, fill: int, lanes: int, depth: int,
                 style: MemoryStyle, technology: Technology) -> None:
        self._window = Window(shape, WindowGeometry(size, (1, 1), (1, 1), padding, lanes,
                                             per_channel=True),
                              depth=depth, fill=fill, style=style, technology=technology)
        layout = Beat(shape, lanes)
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.window = window = self._window
        wiring.connect(m, wiring.flipped(self.i), window.i)
        # The window knows the border before the frame comes, but what may never come must not
        # begin. Counted are the frames that have begun, less those that are out: buffer and
        # pipeline may hold many.
        begins = Signal(init=1)
        begun = Signal(range(self._window.depth + 16))
        take, ended = Signal(), Signal()
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            self.o.payload.eq(window.o.payload),
            self.o.valid.eq(window.o.valid & (begun != 0)),
            window.o.ready.eq(self.o.ready & (begun != 0)),
            ended.eq(self.o.valid & self.o.ready & self.o.p.last),
        ]
        with m.If(take):
            m.d.sync += begins.eq(self.i.p.last)
        m.d.sync += begun.eq(begun + (take & begins) - ended)
        return m
