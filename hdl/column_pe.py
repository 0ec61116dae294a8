"""A processing element that multiplies the columns of its rows by activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .accumulators import SUM_LATENCY, Accumulators
from .block import Block
from .checks import at_least
from .column_reader import ColumnReader
from .dot_product import WAY_LATENCY, Product
from .steady import delay, join, style_of
from .tech import (
    MEMORY_LATENCY,
    MULTIPLIER_LATENCY,
    REGISTERED_LATENCY,
    MemoryStyle,
    Technology,
)

__all__ = ["ColumnPe", "Entry", "PeShape"]

MOST_CODES = 256

Entry = tuple[int, int]
"""How many rows lie between this entry and the one before in its column, and its code: a weight, or
the place of one in the codebook."""


@dataclass(frozen=True)
class PeShape:
    """Structure that all processing elements of an engine share.

    Parameters
    ----------
    rows : sums of an element.
    places : columns that can be named, see `penjing.hdl.nonzero.place`.
    queue : activations that wait in front.
    gap_bits : bits of a gap.
    weight_bits : width of a weight, two's complement.
    sum_bits : width of a sum, which is signed.
    banks : sets of sums.
    codebook : what codes stand for, up to 256 weights; none where they are weights.
    dsp : whether multipliers are DSP blocks.
    """

    rows: int
    places: int
    queue: int
    gap_bits: int
    weight_bits: int
    sum_bits: int
    banks: int = 2
    codebook: tuple[int, ...] = ()
    dsp: bool = True

    def __post_init__(self) -> None:
        at_least(1, rows=self.rows, places=self.places, queue=self.queue, gap_bits=self.gap_bits,
                 weight_bits=self.weight_bits, sum_bits=self.sum_bits, banks=self.banks)
        if len(self.codebook) > MOST_CODES:
            raise ValueError(f"codebook must have at most {MOST_CODES} weights, "
                             f"not {len(self.codebook)}")
        low, high = -(1 << self.weight_bits - 1), (1 << self.weight_bits - 1) - 1
        if not all(low <= weight <= high for weight in self.codebook):
            raise ValueError(f"codebook must lie within {low} and {high}")

    @property
    def code_bits(self) -> int:
        """Bits of a code."""
        return max(1, ceil_log2(len(self.codebook))) if self.codebook else self.weight_bits

    @property
    def entry_bits(self) -> int:
        """Bits of an entry in its memory."""
        return self.gap_bits + self.code_bits

    @property
    def weight_latency(self) -> int:
        """Cycles from a code to its weight."""
        return MEMORY_LATENCY if self.codebook else 0

    @property
    def depth(self) -> int:
        """Cycles from an entry's address to the edge that stores the sum with its product."""
        return (REGISTERED_LATENCY + self.weight_latency + MULTIPLIER_LATENCY + WAY_LATENCY
                + SUM_LATENCY)


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
    style : where pointers and entries live.
    technology : supplies memories and the multiplier.

    Members
    -------
    place, move, value, bank, offer, blocks, idle : see `ColumnReader`.
    drained, slot, clear, total : see `penjing.hdl.accumulators.Accumulators`.
    """

    def __init__(self, element: ShapeLike, shape: PeShape, columns: Sequence[Sequence[Entry]], *,
                 bias: Sequence[int], style: MemoryStyle, technology: Technology) -> None:
        if len(columns) != shape.places or len(bias) != shape.rows:
            raise ValueError(f"there must be {shape.places} columns and {shape.rows} biases, "
                             f"not {len(columns)} and {len(bias)}")
        codes = (range(len(shape.codebook)) if shape.codebook else
                 range(-(1 << shape.weight_bits - 1), 1 << shape.weight_bits - 1))
        for place, column in enumerate(columns):
            if sum(gap + 1 for gap, _ in column) > shape.rows or not all(
                    0 <= gap < 1 << shape.gap_bits and code in codes for gap, code in column):
                raise ValueError(f"column {place} must lie within {shape.rows} rows, its gaps "
                                 f"within {shape.gap_bits} bits and its codes within {codes}")
        self._shape = shape
        self._reader = ColumnReader(
            element, [len(column) for column in columns], queue=shape.queue, banks=shape.banks,
            style=style, technology=technology)
        self._words = [join((gap,), shape.gap_bits) | join((code,), shape.code_bits)
                       << shape.gap_bits for column in columns for gap, code in column] or [0]
        self._bias = [*bias]
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
        shape = self._shape
        return (self._reader.pointer_bits + shape.entry_bits * len(self._words)
                + shape.weight_bits * len(shape.codebook))

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
        weight, late = self._weight(m, code), shape.weight_latency
        m.submodules.product = product = Product(
            self.value.shape(), signed(shape.weight_bits), dsp=shape.dsp,
            technology=self._technology)
        m.submodules.sums = sums = Accumulators(
            bits=shape.sum_bits, bias=self._bias, banks=shape.banks,
            addend_bits=len(product.p), technology=self._technology)
        # The sums want to know the row a cycle before the product, and so does the row the entry.
        ahead = late + MULTIPLIER_LATENCY + WAY_LATENCY - 1
        late += behind + (1 if shape.dsp else WAY_LATENCY)
        m.d.comb += [
            product.a.eq(delay(m, "value", reader.factor, late)),
            product.b.eq(weight),
            sums.take.eq(delay(m, "adds", take, ahead, reset_less=False)),
            sums.bank.eq(delay(m, "bank", reader.factor_bank, behind + ahead)),
            sums.row.eq(delay(m, "row", row, ahead - 1)),
            sums.addend.eq(product.p),
            sums.drained.eq(self.drained), sums.slot.eq(self.slot), sums.clear.eq(self.clear),
            self.total.eq(sums.total),
        ]
        return m

    def _weight(self, m: Module, code: Value) -> Value:
        """The weight that the ``code`` stands for, ``weight_latency`` cycles later."""
        shape = self._shape
        if not shape.codebook:
            return code.as_signed()
        m.submodules.table = table = self._technology.rom(
            [join((weight,), shape.weight_bits) for weight in shape.codebook], shape.weight_bits,
            MemoryStyle.LOGIC)
        m.d.comb += table.address.eq(code)
        return table.data.as_signed()
