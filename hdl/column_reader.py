"""The way from activations to the addresses of the weights that they are multiplied by."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from amaranth.hdl import *
from amaranth.lib import data, fifo
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .block import Block
from .checks import at_least
from .steady import style_of
from .tech import REGISTERED_LATENCY, MemoryStyle, Technology

__all__ = ["POINTER_LATENCY", "ColumnReader"]

POINTER_LATENCY = REGISTERED_LATENCY + 1
"""Moves from a column to where its entries are: the memory, and a register that tells whether there
are any, since whether all move depends on that."""


class ColumnReader(Block):
    """Give the addresses of the entries of each column that an activation is offered for.

    A column is looked up while its activation is on the way, which is offered ``POINTER_LATENCY``
    moves later, and waits in a queue if the column has any entry. Addresses follow each other each
    cycle, also from one activation to the next; the first is there two cycles after the offer at
    the earliest.

    Parameters
    ----------
    element : shape of an activation.
    lengths : how many entries each column has; they lie one behind the other.
    queue : activations that wait.
    banks : sets of sums that activations may be for.
    style : where the pointers live.
    technology : supplies memory.

    Members
    -------
    place, move : In, the column to be looked up, and whether what is looked up moves on.
    value, bank : In, the activation offered, and the set of sums that it is for.
    offer : In(1), there is one; taken if it moves.
    blocks : Out(1), it cannot be taken: the queue is full.
    drained : In, a bank.
    idle : Out(1), neither the queue nor what is read has anything for the bank ``drained``.
    step, address, first : Out, whether an entry is read, which, and whether it is a column's first.
    factor, factor_bank : Out, the activation that it is for.
    """

    def __init__(self, element: ShapeLike, lengths: Sequence[int], *, queue: int, banks: int,
                 style: MemoryStyle, technology: Technology) -> None:
        at_least(1, columns=len(lengths), queue=queue, banks=banks)
        starts = [0, *accumulate(lengths)]
        self._length_bits = max(1, max(lengths).bit_length())
        addresses = range(max(1, starts[-1]))
        # Where an empty column would start, there may be no entry.
        self._pointers = [length and length | start << self._length_bits
                          for start, length in zip(starts, lengths, strict=False)]
        self._width = self._length_bits + ceil_log2(len(addresses))
        self._queue = queue
        self._style = style
        self._technology = technology
        bank = range(banks)
        super().__init__({
            "place": In(range(len(lengths))), "move": In(1), "value": In(element), "bank": In(bank),
            "offer": In(1), "blocks": Out(1), "drained": In(bank), "idle": Out(1), "step": Out(1),
            "address": Out(addresses), "first": Out(1), "factor": Out(element),
            "factor_bank": Out(bank)})

    @property
    def pointer_bits(self) -> int:
        """Bits of the memory of pointers."""
        return self._width * len(self._pointers)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pointers = pointers = self._technology.rom(
            self._pointers, self._width, style_of(self._style, self.pointer_bits), registered=True)
        waiting = data.StructLayout({
            "length": self._length_bits, "start": self.address.shape(),
            "value": self.value.shape(), "bank": self.bank.shape()})
        m.submodules.queue = queue = fifo.SyncFIFO(width=waiting.size, depth=self._queue)
        head = Signal(waiting)
        found, has_any = Signal(self._width, reset_less=True), Signal(reset_less=True)
        left = Signal(self._length_bits)
        push, pop = Signal(), Signal()
        is_waiting, is_full = Signal(), Signal()
        address = Signal.like(self.address, name="held_address", reset_less=True)
        first = Signal(name="is_first", reset_less=True)
        factor = Signal.like(self.factor, name="held_factor", reset_less=True)
        bank = Signal.like(self.factor_bank, name="held_bank", reset_less=True)
        m.d.comb += [
            pointers.address.eq(self.place), pointers.enable.eq(self.move),
            self.blocks.eq(has_any & is_full),
            push.eq(self.offer & has_any & self.move),
            queue.w_en.eq(push),
            queue.w_data.eq(Cat(found, self.value, self.bank)),
            head.as_value().eq(queue.r_data),
            self.step.eq(left != 0),
            # The next column follows the one before without a pause.
            pop.eq(is_waiting & (left <= 1)),
            queue.r_en.eq(pop),
            self.idle.eq(~(is_waiting & (head.bank == self.drained))
                         & ~(self.step & (bank == self.drained))),
            self.address.eq(address), self.first.eq(first), self.factor.eq(factor),
            self.factor_bank.eq(bank),
        ]
        with m.If(self.move):
            m.d.sync += [found.eq(pointers.data),
                         has_any.eq(pointers.data[: self._length_bits].any())]
        # What the queue tells, from registers.
        with m.If(push & ~pop):
            m.d.sync += [is_waiting.eq(1), is_full.eq(queue.level == self._queue - 1)]
        with m.Elif(pop & ~push):
            m.d.sync += [is_waiting.eq(queue.level != 1), is_full.eq(0)]
        with m.If(pop):
            m.d.sync += [left.eq(head.length), address.eq(head.start), factor.eq(head.value),
                         bank.eq(head.bank)]
        with m.Elif(self.step):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        m.d.sync += first.eq(pop)
        return m
