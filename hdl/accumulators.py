"""Sums that are added to in any order."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .steady import delay, join
from .tech import MemoryStyle, Technology

__all__ = ["SUM_LATENCY", "Accumulators"]

SUM_LATENCY = 1
"""Cycles from an addend to the edge that stores its sum."""


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
        take = _delays(m, "take", self.take, reset_less=False)
        clear = _delays(m, "clear", self.clear, reset_less=False)
        bank, row = _delays(m, "bank", self.bank), _delays(m, "row", self.row)
        drained, slot = _delays(m, "drained", self.drained), _delays(m, "slot", self.slot)
        m.d.comb += bias.address.eq(slot[1])
        words = []
        found, sum_ = Signal(signed(bits)), Signal(signed(bits), reset_less=True)
        for n in range(self._banks):
            ram = self._technology.ram(bits, rows, MemoryStyle.DISTRIBUTED)
            m.submodules[f"bank_{n}"] = ram
            words.append(ram.read_data)
            # A bank is either added to or read.
            adds = take[2] & (bank[2] == n)
            m.d.comb += [
                ram.read_address.eq(Mux(self.take & (self.bank == n), self.row, self.slot)),
                ram.write_enable.eq(adds | (clear[2] & (drained[2] == n))),
                ram.write_address.eq(Mux(adds, row[2], slot[2])),
                ram.write_data.eq(Mux(adds, sum_, bias.data)),
            ]
        # A sum that was read too early, one or two cycles after the one before, is on its way.
        is_next, is_again, before = Signal(), Signal(), Signal(signed(bits), reset_less=True)
        m.d.sync += [
            is_next.eq(take[1] & (row[0] == row[1]) & (bank[0] == bank[1])),
            is_again.eq(take[2] & (row[0] == row[2]) & (bank[0] == bank[2])),
            sum_.eq(found + self.addend), before.eq(sum_),
        ]
        m.d.comb += [
            found.eq(Mux(is_next, sum_,
                         Mux(is_again, before, Cat(words).word_select(bank[1], bits)))),
            self.total.eq(Cat(words).word_select(drained[1], bits)),
        ]
        return m


def _delays(m: Module, name: str, value: Value, *, reset_less: bool = True) -> list[Value]:
    """``value``, now, a cycle later, and two."""
    late = delay(m, f"{name}_late", value, 1, reset_less=reset_less)
    return [value, late, delay(m, f"{name}_later", late, 1, reset_less=reset_less)]
