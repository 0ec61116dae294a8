"""Sums that are added to in any order."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .steady import delay, join
from .tech import MemoryStyle, Technology

__all__ = ["Accumulators"]


class Accumulators(Block):
    """``sum[bank][row] += addend``, one a cycle, any ``row`` at any time: a memory with a bypass.

    ``take``, ``bank`` and ``row`` are wanted a cycle before the addend. The sums of one bank can be
    read while another is added to: ``total`` is ``sum[drained][slot]`` a cycle later, and where
    ``clear`` is set, that sum begins again with its bias. After reset, all sums are undefined until
    they are cleared.

    Parameters
    ----------
    bits : width of a sum, which is signed.
    bias : where each sum of a bank begins.
    banks : how many sets of sums there are.
    addend_bits : width of an addend, which is signed.
    technology : supplies memory.

    Members
    -------
    take, bank, row, addend : what is added, and where.
    drained, slot, clear : what is read.
    total : Out(signed(bits)).
    """

    def __init__(self, *, bits: int, bias: Sequence[int], banks: int, addend_bits: int,
                 technology: Technology) -> None:
        at_least(1, bits=bits, rows=len(bias), banks=banks, addend_bits=addend_bits)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        if not all(low <= value <= high for value in bias):
            raise ValueError(f"bias must lie within {low} and {high}")
        self._bits = bits
        self._bias = [join([value], bits) for value in bias]
        self._banks = banks
        self._technology = technology
        rows = len(self._bias)
        super().__init__({
            "take": In(1), "bank": In(range(banks)), "row": In(range(rows)),
            "addend": In(signed(addend_bits)), "drained": In(range(banks)), "slot": In(range(rows)),
            "clear": In(1), "total": Out(signed(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, bits = len(self._bias), self._bits
        m.submodules.bias = bias = self._technology.rom(self._bias, bits, MemoryStyle.LOGIC)
        m.d.comb += bias.address.eq(self.slot)
        take = delay(m, "take", self.take, 1, reset_less=False)
        bank, row = delay(m, "bank", self.bank, 1), delay(m, "row", self.row, 1)
        clear = delay(m, "clear", self.clear, 1, reset_less=False)
        drained, slot = delay(m, "drained", self.drained, 1), delay(m, "slot", self.slot, 1)
        words = []
        total, sum_ = Signal(signed(bits), name="found"), Signal(signed(bits))
        for n in range(self._banks):
            ram = self._technology.ram(bits, rows, MemoryStyle.DISTRIBUTED)
            m.submodules[f"bank_{n}"] = ram
            words.append(ram.read_data)
            # A bank is either added to or read.
            adds = take & (bank == n)
            m.d.comb += [
                ram.read_address.eq(Mux(self.take & (self.bank == n), self.row, self.slot)),
                ram.write_enable.eq(adds | (clear & (drained == n))),
                ram.write_address.eq(Mux(adds, row, slot)),
                ram.write_data.eq(Mux(adds, sum_, bias.data)),
            ]
        # A sum that is read while it is written is still on its way.
        is_again, before = Signal(), Signal(signed(bits), reset_less=True)
        m.d.sync += [
            is_again.eq(take & (self.row == row) & (self.bank == bank)),
            before.eq(sum_),
        ]
        m.d.comb += [
            total.eq(Mux(is_again, before, Cat(words).word_select(bank, bits))),
            sum_.eq(total + self.addend),
            self.total.eq(Cat(words).word_select(drained, bits)),
        ]
        return m
