"""The buffer of an engine that walks entries: the same element of neighbouring windows at once."""

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
from .tech import REGISTERED_LATENCY, MemoryStyle, Technology
from .tile_shape import TileShape
from .window_edges import lies_inside

__all__ = ["TileBuffer"]


@dataclass(frozen=True)
class _Write:
    """A word on its way into the banks; ``banks`` says which one takes it."""

    address: Signal
    data: Signal
    banks: Signal


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

    All lanes want the same tap and channel of neighbouring windows, so columns lie in banks, as
    many as lanes: those wanted are in different banks, at one of two addresses, and which lane has
    which depends on the kernel's column alone. Every element has a copy of the banks. Rows are
    freed when the windows of a row of positions are done with. A tile is ``complete`` 2 cycles
    after the last column that it needs is in; each ``start`` moves on to the next one. An input
    comes ``READ_STAGES`` cycles after its place, one a cycle.

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
        for n in range(self._shape.pe):
            self._read(m, n, tile, write)
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
        m.d.comb += [self.i.ready.eq(room), next_row.eq(row + row_end)]
        m.d.sync += [row.eq(next_row), room.eq(ahead_of(next_row, free) < shape.rows)]
        write = _Write(Signal(range(shape.bank_words), reset_less=True),
                       Signal(self._element.width * shape.word, reset_less=True),
                       Signal(shape.lanes))
        m.d.sync += [
            write.address.eq(Cat(word, phase, place, row[:ceil_log2(shape.rows)])),
            write.data.eq(self.i.p.data),
            write.banks.eq(Cat(take & (bank == n) for n in range(shape.lanes))),
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

    def _read(self, m: Module, n: int, tile: _Tile, write: _Write) -> None:
        """The inputs of a processing element."""
        shape, name = self._shape, f"pe_{n}"
        place = self.places.word_select(n, shape.place_bits)
        channel = place[:shape.channel_bits]
        kernel_row, kernel_column = self._tap(m, name, place[shape.channel_bits:])
        row = Signal(ceil_log2(shape.rows), name=f"{name}_row", reset_less=True)
        word, next_word = (Signal(ceil_log2(shape.column_words), name=f"{name}_{what}",
                                  reset_less=True) for what in ("word", "next_word"))
        phase = Signal(range(shape.stride[1]), name=f"{name}_phase", reset_less=True)
        left, inside = (Signal(shape.lanes, name=f"{name}_{what}", reset_less=True)
                        for what in ("left", "inside"))
        m.d.sync += row.eq(tile.top + kernel_row)
        row_inside = tile.rows.bit_select(kernel_row, 1)
        with m.Switch(kernel_column):
            for column, offset in enumerate(shape.offsets):
                with m.Case(column):
                    m.d.sync += [
                        word.eq(tile.x + offset.word), next_word.eq(tile.x + offset.word + 1),
                        phase.eq(offset.phase), left.eq((1 << offset.turn) - 1),
                        inside.eq(tile.columns[column] & row_inside.replicate(shape.lanes))]
        channel = delay(m, f"{name}_channel", channel, 2)
        low = ceil_log2(shape.word)
        found = []
        for bank in range(shape.lanes):
            ram = self._technology.ram(len(write.data), shape.bank_words, self._style,
                                       registered=True)
            m.submodules[f"{name}_bank_{bank}"] = ram
            m.d.comb += [
                ram.write_address.eq(write.address), ram.write_data.eq(write.data),
                ram.write_enable.eq(write.banks[bank]),
                # The banks that the turn has left hold their columns in the next word.
                ram.read_address.eq(Cat(channel[low:], phase,
                                        Mux(left[bank], next_word, word), row))]
            found.append(ram.read_data)
        behind = delay(m, f"{name}_lane", channel[:low], REGISTERED_LATENCY)
        self._choose(m, n, [word.word_select(behind, self._element.width) for word in found],
                     delay(m, f"{name}_column", kernel_column, 1 + REGISTERED_LATENCY),
                     delay(m, f"{name}_inside", inside, REGISTERED_LATENCY))

    def _tap(self, m: Module, name: str, tap: Value) -> tuple[Value, Value]:
        """Row and column in the kernel of a ``tap``, a cycle later."""
        height, width = self._shape.kernel
        low = ceil_log2(width)
        words = [row << low | column for row in range(height) for column in range(width)]
        rom = self._technology.rom(words, max(1, low + ceil_log2(height)), MemoryStyle.LOGIC)
        m.submodules[f"{name}_tap"] = rom
        m.d.comb += rom.address.eq(tap)
        return rom.data[low:low + ceil_log2(height)], rom.data[:low]

    def _choose(self, m: Module, n: int, found: Sequence[Value], column: Value, inside: Value
                ) -> None:
        """Give each lane what its bank has, or padding."""
        lanes, fill = self._shape.lanes, Const(self._fill, self._element)
        for lane in range(lanes):
            chosen = Signal(self._element.width, name=f"chosen_{n}_{lane}")
            with m.Switch(column):
                for k, offset in enumerate(self._shape.offsets):
                    with m.Case(k):
                        m.d.comb += chosen.eq(found[(lane + offset.turn) % lanes])
            x = Signal(self._element.width, name=f"x_{n}_{lane}", reset_less=True)
            m.d.sync += x.eq(Mux(inside[lane], chosen, fill.as_unsigned()))
            m.d.comb += Value.cast(self.x[n * lanes + lane]).eq(x)
