"""A copy of a map's rows, of which an engine that walks entries reads neighbouring windows."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .steady import delay
from .tech import REGISTERED_LATENCY, MemoryStyle, Technology
from .tile_shape import TileShape

__all__ = ["TileReader"]


class TileReader(Block):
    """The inputs of a processing element: the same element of ``shape.lanes`` windows a cycle.

    All lanes want the same tap and channel of neighbouring windows, so columns lie in banks, as
    many as lanes: those wanted are in different banks, at one of two addresses that follow each
    other, and which lane has which depends on the kernel's column alone. A bank is a memory, or
    all banks lie side by side in words of two memories: of two addresses that follow each other,
    one is even. An input comes ``READ_STAGES`` cycles after its place.

    Parameters
    ----------
    element : shape of an element.
    shape : the engine's structure.
    fill : value of padded elements.
    style : where the banks live.
    technology : supplies memories.

    Members
    -------
    write_address : In; channel word, phase, column word and row, of the words of a memory.
    write_data : In(word * bits).
    write_columns : In, which bank takes it; all of an even column word come before all of an odd.
    place : In(place_bits).
    top, tile, rows, columns : In, a cycle after the place: the row in which the tile's windows
        begin, counted on and on, its number in its row, which kernel rows are no padding, and which
        lanes of each kernel column.
    x : Out, an array of ``lanes`` elements.
    """

    def __init__(self, element: ShapeLike, shape: TileShape, *, fill: int, style: MemoryStyle,
                 technology: Technology) -> None:
        self._element = Shape.cast(element)
        self._shape = shape
        self._fill = fill
        self._style = style
        self._technology = technology
        super().__init__({
            "write_address": In(range(shape.bank_words)),
            "write_data": In(self._element.width * shape.word),
            "write_columns": In(shape.lanes << shape.parity_bits), "place": In(shape.place_bits),
            "top": In(shape.count_bits), "tile": In(range(shape.row_tiles)),
            "rows": In(shape.kernel[0]), "columns": In(shape.kernel[1] * shape.lanes),
            "x": Out(data.ArrayLayout(self._element, shape.lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        kernel_row, kernel_column = self._tap(m, self.place[shape.channel_bits:])
        row = Signal(ceil_log2(shape.rows), reset_less=True)
        word, next_word = (Signal(ceil_log2(shape.column_words), name=name, reset_less=True)
                           for name in ("word", "next_word"))
        phase = Signal(range(shape.stride[1]), reset_less=True)
        left, inside = (Signal(shape.lanes, name=name, reset_less=True)
                        for name in ("left", "inside"))
        m.d.sync += row.eq(self.top + kernel_row)
        row_inside = self.rows.bit_select(kernel_row, 1)
        with m.Switch(kernel_column):
            for column, offset in enumerate(shape.offsets):
                with m.Case(column):
                    m.d.sync += [
                        word.eq(self.tile + offset.word), next_word.eq(self.tile + offset.word + 1),
                        phase.eq(offset.phase), left.eq((1 << offset.turn) - 1),
                        inside.eq(self.columns.word_select(column, shape.lanes)
                                  & row_inside.replicate(shape.lanes))]
        channel = delay(m, "channel", self.place[:shape.channel_bits], 2)
        low = ceil_log2(shape.word)
        read = self._side_by_side if shape.wide else self._by_themselves
        found = read(m, word, next_word, left, Cat(channel[low:], phase), row)
        behind = delay(m, "lane", channel[:low], REGISTERED_LATENCY)
        self._choose(m, [one.word_select(behind, self._element.width) for one in found],
                     delay(m, "column", kernel_column, 1 + REGISTERED_LATENCY),
                     delay(m, "inside_now", inside, REGISTERED_LATENCY))
        return m

    def _tap(self, m: Module, tap: Value) -> tuple[Value, Value]:
        """Row and column in the kernel of a ``tap``, a cycle later."""
        height, width = self._shape.kernel
        low = ceil_log2(width)
        words = [row << low | column for row in range(height) for column in range(width)]
        rom = self._technology.rom(words, max(1, low + ceil_log2(height)), MemoryStyle.LOGIC)
        m.submodules.tap = rom
        m.d.comb += rom.address.eq(tap)
        return rom.data[low:low + ceil_log2(height)], rom.data[:low]

    def _by_themselves(self, m: Module, word: Signal, next_word: Signal, left: Signal,
                       below: Value, above: Value) -> list[Value]:
        """What each bank has, a memory of its own: the banks that the turn has ``left`` hold their
        columns in the next word."""
        return [self._memory(m, f"bank_{bank}", self.write_columns[bank],
                             Cat(below, Mux(left[bank], next_word, word), above))
                for bank in range(self._shape.lanes)]

    def _side_by_side(self, m: Module, word: Signal, next_word: Signal, left: Signal,
                      below: Value, above: Value) -> list[Value]:
        """The same of banks that share their memories: one of even words, one of odd ones."""
        shape, bits = self._shape, len(self.write_data)
        # An odd word's next one has half of its number, rounded up; an even one's its own half.
        words = [self._memory(m, f"bank_{odd}",
                              self.write_columns.word_select(odd, shape.lanes),
                              Cat(below, half[shape.parity_bits:], above))
                 for odd, half in zip(range(1 << shape.parity_bits), (next_word, word),
                                      strict=False)]
        if len(words) == 1:
            return [words[0].word_select(bank, bits) for bank in range(shape.lanes)]
        odd = delay(m, "odd", left ^ word[0].replicate(shape.lanes), REGISTERED_LATENCY)
        return [Mux(odd[bank], words[1].word_select(bank, bits), words[0].word_select(bank, bits))
                for bank in range(shape.lanes)]

    def _memory(self, m: Module, name: str, enables: Value, address: Value) -> Value:
        """What a memory of so many banks as ``enables`` has at an ``address``, two cycles later."""
        bits, count = len(self.write_data), len(enables)
        ram = self._technology.ram(bits * count, self._shape.bank_words, self._style,
                                   granularity=bits, registered=True)
        m.submodules[name] = ram
        m.d.comb += [
            ram.write_address.eq(self.write_address),
            ram.write_data.eq(self.write_data.replicate(count)), ram.write_enable.eq(enables),
            ram.read_address.eq(address)]
        return Value.cast(ram.read_data)

    def _choose(self, m: Module, found: Sequence[Value], column: Value, inside: Value) -> None:
        """Give each lane what its bank has, or padding."""
        lanes, fill = self._shape.lanes, Const(self._fill, self._element)
        for lane in range(lanes):
            chosen = Signal(self._element.width, name=f"chosen_{lane}")
            with m.Switch(column):
                for k, offset in enumerate(self._shape.offsets):
                    with m.Case(k):
                        m.d.comb += chosen.eq(found[(lane + offset.turn) % lanes])
            x = Signal(self._element.width, name=f"x_{lane}", reset_less=True)
            m.d.sync += x.eq(Mux(inside[lane], chosen, fill.as_unsigned()))
            m.d.comb += Value.cast(self.x[lane]).eq(x)
