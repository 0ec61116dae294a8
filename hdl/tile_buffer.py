"""The buffer of an engine that walks entries: which rows of the map it holds, and what is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .counter import ahead_of, counter
from .steady import delay
from .stream import Beat
from .tech import MemoryStyle, Technology
from .tile_reader import TileReader
from .tile_shape import TileShape
from .window_edges import lies_inside

__all__ = ["TileBuffer"]


@dataclass(frozen=True)
class _Write:
    """A word on its way into the banks; ``columns`` says which one takes it in which of them."""

    address: Signal
    data: Signal
    columns: Signal


@dataclass(frozen=True)
class _Tile:
    """What all entries of a tile share: the ``top`` row of its windows, counted on and on, its
    number ``x`` in its row, and which kernel rows are no padding, and which lanes of each kernel
    column."""

    top: Signal
    x: Signal
    rows: Signal
    columns: Sequence[Signal]


class TileBuffer(Block):
    """Rows of the map, of which every processing element reads ``shape.lanes`` columns a cycle.

    Every element has a copy of them, of which a `TileReader` takes its inputs. Rows are freed when
    the windows of a row of positions are done with. A tile is ``complete`` 2 cycles after the last
    column that it needs is in; each ``start`` moves on to the next one. An input comes
    ``READ_STAGES`` cycles after its place, one a cycle.

    Parameters
    ----------
    element : shape of an element.
    shape : the engine's structure.
    fill : value of padded elements.
    style : where the banks live.
    technology : supplies memories.

    Members
    -------
    i : stream of ``Beat(element, shape.word)``; a pixel is one group.
    complete : Out(1); it tells of the next tile from 2 cycles after a start.
    start : In(1).
    places : In(pe * place_bits).
    end : In(1), with the last places of a tile.
    x : Out, an array of ``pe * lanes`` elements, those of a processing element together.
    """

    def __init__(self, element: ShapeLike, shape: TileShape, *, fill: int, style: MemoryStyle,
                 technology: Technology) -> None:
        self._element = Shape.cast(element)
        self._shape = shape
        self._fill = fill
        self._style = style
        self._technology = technology
        super().__init__({
            "i": In(stream.Signature(Beat(element, shape.word))), "complete": Out(1),
            "start": In(1), "places": In(shape.pe * shape.place_bits), "end": In(1),
            "x": Out(data.ArrayLayout(self._element, shape.pe * shape.lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free = Signal(self._shape.count_bits)
        row, column, write = self._write(m, free)
        self._gate(m, row, column)
        tile = self._tile(m, free)
        shape = self._shape
        for n in range(shape.pe):
            m.submodules[f"pe_{n}"] = reader = TileReader(
                self._element, shape, fill=self._fill, style=self._style,
                technology=self._technology)
            m.d.comb += [
                reader.write_address.eq(write.address), reader.write_data.eq(write.data),
                reader.write_columns.eq(write.columns),
                reader.place.eq(self.places.word_select(n, shape.place_bits)),
                reader.top.eq(tile.top), reader.tile.eq(tile.x), reader.rows.eq(tile.rows),
                reader.columns.eq(Cat(tile.columns)),
                *(Value.cast(self.x[n * shape.lanes + lane]).eq(Value.cast(reader.x[lane]))
                  for lane in range(shape.lanes))]
        return m

    def _write(self, m: Module, free: Signal) -> tuple[Signal, Value, _Write]:
        """Let words in while there is room; the row and the column that are coming in."""
        shape = self._shape
        row, room, next_row = Signal.like(free), Signal(init=1), Signal.like(free)
        take = self.i.valid & self.i.ready
        word, pixel_end = counter(m, "channel_word", take, shape.pixel_words)
        column, row_end = counter(m, "column", pixel_end, shape.size[1])
        phase, phase_end = counter(m, "phase", pixel_end, shape.stride[1], row_end)
        bank, bank_end = counter(m, "bank", phase_end, shape.lanes, row_end)
        place, _ = counter(m, "column_word", bank_end, shape.column_words, row_end)
        # Of words in two memories, the lowest bit tells which.
        parity, place = place[:shape.parity_bits], place[shape.parity_bits:]
        m.d.comb += [self.i.ready.eq(room), next_row.eq(row + row_end)]
        m.d.sync += [row.eq(next_row), room.eq(ahead_of(next_row, free) < shape.rows)]
        write = _Write(Signal(range(shape.bank_words), reset_less=True),
                       Signal(self._element.width * shape.word, reset_less=True),
                       Signal(shape.lanes << shape.parity_bits))
        m.d.sync += [
            write.address.eq(Cat(word, phase, place, row[:ceil_log2(shape.rows)])),
            write.data.eq(self.i.p.data),
            write.columns.eq(Cat(take & (parity == odd) & (bank == n) for odd in
                                 range(1 << shape.parity_bits) for n in range(shape.lanes))),
        ]
        return row, column, write

    def _gate(self, m: Module, row: Signal, column: Value) -> None:
        """Say whether all that the next tile reads is in."""
        shape = self._shape
        wrap, height = 1 << len(row), shape.size[0]
        step, first = shape.stride[0], shape.kernel[0] - 1 - shape.padding[0]
        row_step, first_column = shape.lanes * shape.stride[1], (
            (shape.lanes - 1) * shape.stride[1] + shape.kernel[1] - 1 - shape.padding[2])
        bottom = Signal(len(row), init=first % wrap)
        frame_end = Signal(len(row), init=height)
        right = Signal(range(first_column + row_step * shape.row_tiles + 1), init=first_column)
        _, row_end = counter(m, "next_x", self.start, shape.row_tiles)
        _, frame_ends = counter(m, "next_y", row_end, shape.positions[0])
        with m.If(self.start):
            m.d.sync += right.eq(Mux(row_end, first_column, right + row_step))
        with m.If(row_end):
            to_next = height - step * (shape.positions[0] - 1)
            m.d.sync += bottom.eq(bottom + Mux(frame_ends, to_next, step))
        with m.If(frame_ends):
            m.d.sync += frame_end.eq(frame_end + height)
        below = ahead_of(row, bottom)
        m.d.sync += self.complete.eq((below > 0) | (ahead_of(row, frame_end) >= 0)
                                     | ((below == 0) & (column > right)))

    def _tile(self, m: Module, free: Signal) -> _Tile:
        """The tile that the places belong to, a cycle after them; rows are freed behind it."""
        shape = self._shape
        wrap, padding = 1 << len(free), shape.padding[0]
        top = Signal(len(free), init=-padding % wrap)
        x, row_end = counter(m, "x", self.end, shape.row_tiles)
        y, frame_ends = counter(m, "y", row_end, shape.positions[0])
        with m.If(row_end):
            to_next = shape.size[0] - shape.stride[0] * (shape.positions[0] - 1)
            m.d.sync += top.eq(top + Mux(frame_ends, to_next, shape.stride[0]))
        # The last places are read only a cycle later than what follows them is known.
        with m.If(delay(m, "row_end", row_end, 1, reset_less=False)):
            with m.If(y == 0):
                m.d.sync += free.eq(top + padding)
            with m.Elif(y >= -(-padding // shape.stride[0])):
                m.d.sync += free.eq(top)
        rows = [lies_inside(y, shape.positions[0], padding - row, shape.stride[0], shape.size[0])
                for row in range(shape.kernel[0])]
        columns = [[lies_inside(x, shape.row_tiles,
                                shape.padding[2] - column - lane * shape.stride[1],
                                shape.lanes * shape.stride[1], shape.size[1])
                    for lane in range(shape.lanes)] for column in range(shape.kernel[1])]
        tile = _Tile(Signal.like(top, name="top_now"), Signal.like(x, name="x_now"),
                     Signal(shape.kernel[0], name="rows_inside"),
                     [Signal(shape.lanes, name=f"inside_{n}") for n in range(shape.kernel[1])])
        m.d.sync += [tile.top.eq(top), tile.x.eq(x), tile.rows.eq(Cat(rows)),
                     *(held.eq(Cat(lanes)) for held, lanes in
                       zip(tile.columns, columns, strict=True))]
        return tile
