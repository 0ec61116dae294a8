"""A processing element that multiplies the columns of its rows by activations."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .accumulators import Accumulators
from .block import Block
from .column_reader import ColumnReader
from .column_shape import Entry, PeShape
from .dot_product import WAY_LATENCY, Product
from .steady import delay, join, style_of
from .tech import (
    MEMORY_LATENCY,
    MULTIPLIER_LATENCY,
    REGISTERED_LATENCY,
    MemoryStyle,
    Technology,
)

__all__ = ["ColumnPe"]


class ColumnPe(Block):
    """Add the columns of its rows, times their activations, to sums; only stored weights cost time.

    A `ColumnReader` reads an entry each cycle, ``shape.depth`` cycles later its product is in the
    sum. An entry's row is ``gap`` behind the row that follows the entry before; where a gap is
    longer than its bits can tell, the caller puts entries of the weight 0 in between.

    Parameters
    ----------
    element : shape of an activation.
    shape : structure.
    columns : the entries of each of ``shape.places`` columns.
    bias : of each of ``shape.rows`` sums.
    dsp : whether the multiplier is a DSP block.
    style : where pointers and entries live.
    technology : supplies memories and the multiplier.

    Members
    -------
    place, move, value, bank, offer, blocks, idle : see `ColumnReader`.
    drained, slot, clear, total : see `penjing.hdl.accumulators.Accumulators`.
    """

    def __init__(self, element: ShapeLike, shape: PeShape, columns: Sequence[Sequence[Entry]], *,
                 bias: Sequence[int], dsp: bool, style: MemoryStyle, technology: Technology
                 ) -> None:
        if len(columns) != shape.places or len(bias) != shape.rows:
            raise ValueError(f"there must be {shape.places} columns and {shape.rows} biases, "
                             f"not {len(columns)} and {len(bias)}")
        weighing = shape.weighing
        half = 1 << weighing.weight_bits - 1
        codes = range(len(weighing.codebook)) if weighing.codebook else range(-half, half)
        for place, column in enumerate(columns):
            if sum(gap + 1 for gap, _ in column) > shape.rows or not all(
                    0 <= gap < 1 << shape.gap_bits and code in codes for gap, code in column):
                raise ValueError(f"column {place} must lie within {shape.rows} rows, its gaps "
                                 f"within {shape.gap_bits} bits and its codes within {codes}")
        self._shape = shape
        self._reader = ColumnReader(
            element, [len(column) for column in columns], queue=shape.queue, banks=shape.banks,
            style=style, technology=technology)
        self._words = [join((gap,), shape.gap_bits) | join((code,), weighing.bits)
                       << shape.gap_bits for column in columns for gap, code in column] or [0]
        self._bias = [*bias]
        self._dsp = dsp
        self._style = style
        self._technology = technology
        bank, row = range(shape.banks), range(shape.rows)
        super().__init__({
            "place": In(range(shape.places)), "move": In(1), "value": In(element), "bank": In(bank),
            "offer": In(1), "blocks": Out(1), "drained": In(bank), "slot": In(row), "clear": In(1),
            "total": Out(signed(shape.sum_bits)), "idle": Out(1)})

    @property
    def weight_bits(self) -> int:
        """Bits of all that stands for its weights: pointers, entries and codebook."""
        shape, weighing = self._shape, self._shape.weighing
        return (self._reader.pointer_bits + shape.entry_bits * len(self._words)
                + weighing.weight_bits * len(weighing.codebook))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, reader = self._shape, self._reader
        m.submodules.reader = reader
        width = shape.entry_bits
        m.submodules.entries = entries = self._technology.rom(
            self._words, width, style_of(self._style, width * len(self._words)), registered=True)
        m.d.comb += [
            reader.place.eq(self.place), reader.move.eq(self.move), reader.value.eq(self.value),
            reader.bank.eq(self.bank), reader.offer.eq(self.offer),
            reader.drained.eq(self.drained), self.blocks.eq(reader.blocks),
            self.idle.eq(reader.idle), entries.address.eq(reader.address),
        ]
        behind = REGISTERED_LATENCY
        take = delay(m, "take", reader.step, behind, reset_less=False)
        first = delay(m, "first", reader.first, behind)
        gap, code = entries.data[: shape.gap_bits], entries.data[shape.gap_bits :]
        row = Signal(range(shape.rows), reset_less=True)
        with m.If(take):
            m.d.sync += row.eq(Mux(first, 0, row + 1) + gap)
        weight, late = shape.weighing.weight(m, "weight", code, self._technology), MEMORY_LATENCY
        m.submodules.product = product = Product(
            self.value.shape(), signed(shape.weighing.weight_bits), dsp=self._dsp,
            technology=self._technology)
        m.submodules.sums = sums = Accumulators(
            bits=shape.sum_bits, bias=self._bias, banks=shape.banks,
            addend_bits=len(product.p), technology=self._technology)
        # The sums want to know the row a cycle before the product, and so does the row the entry.
        ahead = late + MULTIPLIER_LATENCY + WAY_LATENCY - 1
        late += behind + (1 if self._dsp else WAY_LATENCY)
        m.d.comb += [
            product.a.eq(delay(m, "value", reader.factor, late)),
            product.b.eq(weight.as_signed()),
            sums.take.eq(delay(m, "adds", take, ahead, reset_less=False)),
            sums.bank.eq(delay(m, "bank", reader.factor_bank, behind + ahead)),
            sums.row.eq(delay(m, "row", row, ahead - 1)),
            sums.addend.eq(product.p),
            sums.drained.eq(self.drained), sums.slot.eq(self.slot), sums.clear.eq(self.clear),
            self.total.eq(sums.total),
        ]
        return m
