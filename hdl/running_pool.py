"""Maxima of windows that do not overlap, kept while their elements come by."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .stream import Beat, PassesReady, beats, payload_register
from .tech import MemoryStyle, Technology

__all__ = ["RUNNING_POOLER_LATENCY", "RunningMaxPooler", "RunningShape"]

RUNNING_POOLER_LATENCY = 1
"""Cycles from a window's last element to its maximum."""
_AHEAD = 2
"""Beats from the one whose maximum so far is looked up to the one that is taken."""
_FEWEST = _AHEAD + 2
"""Beats of a pixel, at least: what a beat leaves is in the memory two cycles later."""


@dataclass(frozen=True)
class RunningShape:
    """Structure of a `RunningMaxPooler`.

    Parameters
    ----------
    size : (height, width, channels) of the map.
    kernel : of windows that lie side by side, within the map: height and width, not both 1.
    lanes : channels a beat; a pixel has four beats or more.
    """

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    lanes: int

    def __post_init__(self) -> None:
        at_least(1, height=self.kernel[0], width=self.kernel[1])
        if self.kernel[0] * self.kernel[1] == 1 or min(self.windows) < 1:
            raise ValueError(f"kernel must have several elements and fit the map, "
                             f"not {self.kernel!r}")
        if self.slices < _FEWEST:
            raise ValueError(f"lanes must leave {_FEWEST} beats a pixel, not {self.lanes!r}")

    @property
    def slices(self) -> int:
        """Beats of a pixel."""
        return beats(self.size[2], self.lanes)

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return self.size[0] // self.kernel[0], self.size[1] // self.kernel[1]

    @property
    def words(self) -> int:
        """Maxima that are kept: those of a row of windows."""
        return self.windows[1] * self.slices


class RunningMaxPooler(PassesReady):
    """``o = max`` of every window; latency 1 after its last element, one input beat a cycle.

    Of each window of a row the maximum so far lies in a memory, where it is looked up two beats
    before the next element comes. It is written a cycle after that, from a register, since the
    memory may lie far away. Rows and columns that fill no window are dropped.

    Parameters
    ----------
    shape : element shape.
    structure : what windows lie in.
    style : where the memory lives.
    technology : supplies it.

    Members
    -------
    i, o : streams of ``Beat(shape, structure.lanes)``; a pixel is a group.
    """

    def __init__(self, shape: ShapeLike, structure: RunningShape, *, style: MemoryStyle,
                 technology: Technology) -> None:
        self._shape = structure
        self._style = style
        self._technology = technology
        signature = stream.Signature(Beat(Shape.cast(shape), structure.lanes))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload = payload_register(m, self.o)
        take = Signal()
        address, flags = self._ahead(m, take)
        word, (first, inside, end, last) = address, flags  # of this beat, in the end
        for beat in range(_AHEAD):
            # The first beats of a frame begin windows, and none of these ends with them.
            word = self._later(m, take, f"word_{beat}", word, _AHEAD - 1 - beat)
            first = self._later(m, take, f"first_{beat}", first, 1)
            inside = self._later(m, take, f"inside_{beat}", inside, 1)
            end = self._later(m, take, f"end_{beat}", end, 0)
            last = self._later(m, take, f"last_{beat}", last, 0)
        ram = self._technology.ram(len(Value.cast(self.i.p.data)), self._shape.words, self._style,
                                   registered=True)
        m.submodules.so_far = ram
        joined = Signal(self.i.p.data.shape())
        left = Signal.like(Value.cast(joined), name="left", reset_less=True)
        where = Signal.like(word, name="where", reset_less=True)
        written = Signal()
        m.d.sync += [left.eq(joined), where.eq(word), written.eq(take & inside)]
        m.d.comb += [
            self.i.ready.eq(~end | ~self.o.valid | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
            ram.read_address.eq(address), ram.read_enable.eq(take),
            ram.write_address.eq(where), ram.write_data.eq(left), ram.write_enable.eq(written),
        ]
        for lane, value in enumerate(self.i.p.data):
            so_far = Signal.like(value, name=f"so_far_{lane}")
            bits = len(so_far)
            m.d.comb += [so_far.eq(ram.read_data.word_select(lane, bits)),
                         joined[lane].eq(Mux(first | (value > so_far), value, so_far))]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take & end):
            m.d.sync += [self.o.valid.eq(1), payload.last.eq(last), payload.data.eq(joined)]
        return m

    @staticmethod
    def _later(m: Module, take: Value, name: str, value: Value, init: int) -> Signal:
        """``value`` as it was a beat before, ``init`` at first."""
        held = Signal(len(value), name=name, init=init)
        with m.If(take):
            m.d.sync += held.eq(value)
        return held

    def _ahead(self, m: Module, take: Value) -> tuple[Value, tuple[Value, Value, Value, Value]]:
        """The word of the beat that comes ``_AHEAD`` beats after this one, and whether it begins a
        window, is of one, ends one, and ends the frame's last one."""
        shape = self._shape
        (height, width, _), (rows, columns) = shape.size, shape.kernel
        used_rows, used_columns = (count * of for count, of in
                                   zip(shape.windows, shape.kernel, strict=True))
        piece = Signal(range(shape.slices), init=_AHEAD)
        x, y = Signal(range(width)), Signal(range(height))
        column, row = Signal(range(columns)), Signal(range(rows))
        word, pixel = Signal(range(shape.words), init=_AHEAD), Signal(range(shape.words))
        following = Signal.like(pixel)
        pixel_end, row_end = piece == shape.slices - 1, x == width - 1
        with m.If(row_end):
            m.d.comb += following.eq(0)
        with m.Elif((column == columns - 1) & (x < used_columns - 1)):
            m.d.comb += following.eq(pixel + shape.slices)
        with m.Else():
            m.d.comb += following.eq(pixel)
        with m.If(take):
            m.d.sync += [piece.eq(Mux(pixel_end, 0, piece + 1)),
                         word.eq(Mux(pixel_end, following, word + 1))]
            with m.If(pixel_end):
                m.d.sync += [
                    pixel.eq(following), x.eq(Mux(row_end, 0, x + 1)),
                    column.eq(Mux(row_end | (column == columns - 1), 0, column + 1))]
                with m.If(row_end):
                    m.d.sync += [
                        y.eq(Mux(y == height - 1, 0, y + 1)),
                        row.eq(Mux((y == height - 1) | (row == rows - 1), 0, row + 1))]
        inside: Value = Const(1, 1)
        if used_columns < width:
            inside &= x < used_columns
        if used_rows < height:
            inside &= y < used_rows
        end = inside & (column == columns - 1) & (row == rows - 1)
        last = end & pixel_end & (x == used_columns - 1) & (y == used_rows - 1)
        return word, ((column == 0) & (row == 0), inside, end, last)
