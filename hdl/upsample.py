"""Nearest upsampling: every element of a map several times down and across."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .stream import Beat
from .tech import MemoryStyle, Technology
from .window import Window
from .window_geometry import WindowGeometry

__all__ = ["Upsampler", "upsampler_window"]


def upsampler_window(size: tuple[int, int, int], factors: tuple[int, int], lanes: int
                     ) -> WindowGeometry:
    """The window of one tap that an `Upsampler` reads; see there for the parameters.

    Each pixel is read x times, and each row in y passes.
    """
    y, x = factors
    return WindowGeometry(size, (1, 1), (1, 1), (0, 0, 0, 0), lanes, repeat=x, passes=y)


class Upsampler(Block):
    """``o[y * row + r, x * column + c] = i[row, column]``: a window of one tap, whose pixels are
    read x times and whose rows y times, while its buffer takes the next row in.

    Latency 4 from the beat that completes an output beat; one output beat a cycle.

    Parameters
    ----------
    shape : element shape.
    size : (height, width, channels) of a frame that comes in.
    factors : (y, x), copies of each row and of each column.
    lanes : elements a beat, at most the channels.
    depth : words of the buffer, a power of two; a row must fit, and what is on its way.
    style : where the buffer lives.
    technology : supplies the memory.

    Members
    -------
    i : stream of ``Beat(shape, lanes)``; the frame is one group.
    o : stream of ``Beat(shape, lanes)``; a group is the channels.
    """

    def __init__(self, shape: ShapeLike, size: tuple[int, int, int], factors: tuple[int, int], *,
                 lanes: int, depth: int, style: MemoryStyle, technology: Technology) -> None:
        self._window = Window(shape, upsampler_window(size, factors, lanes), depth=depth,
                              style=style, technology=technology)
        layout = Beat(shape, lanes)
        super().__init__({"i": In(stream.Signature(layout)), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.window = window = self._window
        wiring.connect(m, wiring.flipped(self.i), window.i)
        wiring.connect(m, window.o, wiring.flipped(self.o))
        return m
