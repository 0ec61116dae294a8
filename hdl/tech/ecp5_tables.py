"""Constants in the look-up tables of an ECP5, and in the multiplexers that lie beside these."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.utils import ceil_log2

from .memory import BankedRom, banks_of, held

__all__ = ["TableRom"]

_TABLE_BITS, _GROUP_BITS = 4, 7
"""Address bits of a LUT4, and of the tables that PFUMX and L6MUX21 choose among without another."""
_SECOND_IF_THIRD = sum((n >> 1 if n & 4 else n) % 2 << n for n in range(16))


class TableRom(BankedRom):
    """`BankedRom` whose tables are instantiated: 128 words of a column are 8 of them, no more.

    Left to synthesis (abc9 of Yosys 0.70), random columns take a fifth more of them. Same
    parameters, members and latency.
    """

    def _bank(self, m: Module, name: str, words: Sequence[int], address: Value) -> Signal:
        groups = banks_of(words, 1 << _GROUP_BITS)
        word = Signal(len(self.data), name=f"{name}_word")
        for bit, place in enumerate(word):
            columns = [_column(m, f"{name}_{bit}_{n}", [one >> bit & 1 for one in group], address)
                       for n, group in enumerate(groups)]
            m.d.comb += place.eq(_choice(m, f"{name}_{bit}", columns, address[_GROUP_BITS:]))
        return held(m, word, self.enable, name)


def _column(m: Module, name: str, bits: Sequence[int], address: Value) -> Value:
    """The bit at the lowest bits of ``address`` among ``bits``, up to 128; beyond them is 0."""
    if len(set(bits)) == 1:
        return Const(bits[0], 1)
    depth = max(_TABLE_BITS, ceil_log2(len(bits)))
    bits = [*bits, *[0] * ((1 << depth) - len(bits))]
    tables = [_table(m, f"{name}_{n}", sum(bit << k for k, bit in enumerate(some)), address)
              for n, some in enumerate(banks_of(bits, 1 << _TABLE_BITS))]
    return _joined(m, name, tables, address[_TABLE_BITS:depth])


def _choice(m: Module, name: str, columns: Sequence[Value], address: Value) -> Value:
    """The one at ``address`` of up to eight ``columns``."""
    if len(columns) == 1:
        return columns[0]
    depth = ceil_log2(len(columns))
    columns = [*columns, *[columns[-1]] * ((1 << depth) - len(columns))]
    tables = [_table(m, f"{name}_choice_{n}", _SECOND_IF_THIRD, Cat(*pair, address[0], Const(0, 1)))
              for n, pair in enumerate(banks_of(columns, 2))]
    return _joined(m, f"{name}_choice", tables, address[1:depth])


def _table(m: Module, name: str, contents: int, inputs: Value) -> Signal:
    """A LUT4 of the lowest four ``inputs``, never less: a PFUMX behind it takes nothing else."""
    chosen = Signal(name=name)
    m.submodules[name] = Instance(
        "LUT4", p_INIT=Const(contents, 16), o_Z=chosen,
        **{f"i_{port}": bit for port, bit in zip("ABCD", inputs[:_TABLE_BITS], strict=True)})
    return chosen


def _joined(m: Module, name: str, tables: Sequence[Signal], address: Value) -> Signal:
    """The output at ``address`` of the LUT4s ``tables``, a power of two, by multiplexers."""
    if len(tables) == 1:
        return tables[0]
    last = address[-1]
    low, high = (_joined(m, f"{name}_{n}_of_{len(tables)}", half, address[:-1])
                 for n, half in enumerate(banks_of(tables, len(tables) // 2)))
    chosen = Signal(name=f"{name}_joined")
    m.submodules[f"{name}_joined"] = (
        Instance("PFUMX", i_BLUT=low, i_ALUT=high, i_C0=last, o_Z=chosen) if len(tables) == 2 else
        Instance("L6MUX21", i_D0=low, i_D1=high, i_SD=last, o_Z=chosen))
    return chosen
