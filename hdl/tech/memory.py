"""Memories of one or two cycles, as arrays that a synthesis tool maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import TypeVar

from amaranth.hdl import *
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..block import Block
from ..checks import at_least

__all__ = ["BANK_WORDS", "MEMORY_LATENCY", "REGISTERED_LATENCY", "BankedRom", "Ram", "Rom",
           "banks_of", "chosen_bank", "held"]

_T = TypeVar("_T")
MEMORY_LATENCY = 1
"""Cycles from an address to its word."""
REGISTERED_LATENCY = 2
"""The same with an output register."""
BANK_WORDS = 1024
"""Of look-up tables, those that are read and chosen within a cycle."""


class RomPorts(Block):
    """Members and checks that all read-only memories share.

    Parameters
    ----------
    words : contents, each within ``range(2**width)``.
    width : bits a word.
    registered : whether there is a second register.
    """

    def __init__(self, words: Sequence[int], width: int, *, registered: bool) -> None:
        at_least(1, width=width, words=len(words))
        self._words = tuple(index(word) for word in words)
        for address, word in enumerate(self._words):
            if not 0 <= word < 1 << width:
                raise ValueError(f"word {address} must be within range(2**{width}), not {word!r}")
        self._registered = registered
        super().__init__({
            "address": In(range(len(words))), "enable": In(1, init=1), "data": Out(width)})


class RamPorts(Block):
    """Members and checks that all writable memories share.

    Parameters
    ----------
    width : bits a word.
    depth : words.
    granularity : bits that are written together, a divisor of the width; None for all.
    registered : whether an output register follows.
    """

    def __init__(self, width: int, depth: int, *, granularity: int | None, registered: bool
                 ) -> None:
        at_least(1, width=width, depth=depth)
        self._granularity = width if granularity is None else granularity
        at_least(1, granularity=self._granularity)
        if width % self._granularity:
            raise ValueError(f"granularity must divide the width, {width}, not {granularity!r}")
        self._width = width
        self._depth = depth
        self._registered = registered
        super().__init__({
            "write_address": In(range(depth)), "write_data": In(width),
            "write_enable": In(width // self._granularity),
            "read_address": In(range(depth)), "read_enable": In(1, init=1),
            "read_data": Out(width)})


class Rom(RomPorts):
    """``data = words[address]``, latency 1, or 2 if registered; one word a cycle.

    Parameters
    ----------
    words, width, registered : see `RomPorts`.
    attributes : of the array, for the synthesis tool.

    Members
    -------
    address, enable, data : see `Technology.rom`.
    """

    def __init__(self, words: Sequence[int], width: int, *, registered: bool = False,
                 attributes: Mapping[str, str] | None = None) -> None:
        super().__init__(words, width, registered=registered)
        self._attributes = dict(attributes or {})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, depth = len(self.data), len(self._words)
        if depth == 1:
            m.d.comb += self.data.eq(Const(self._words[0], width))
            return m
        m.submodules.memory = memory = Memory(
            shape=unsigned(width), depth=depth, init=self._words, attrs=self._attributes)
        port = memory.read_port()
        m.d.comb += [
            port.addr.eq(self.address),
            port.en.eq(self.enable),
            self.data.eq(held(m, port.data, self.enable) if self._registered else port.data),
        ]
        return m


class BankedRom(RomPorts):
    """``data = words[address]``, latency 2, one word a cycle: banks of tables, then a choice.

    A column of thousands of words is many tables, and too long a way through what chooses between
    them. The first register is behind banks of ``BANK_WORDS``, the second behind their choice.

    Parameters
    ----------
    words, width : see `RomPorts`.
    attributes : of the arrays, for the synthesis tool.

    Members
    -------
    address, enable, data : see `Technology.rom`.
    """

    def __init__(self, words: Sequence[int], width: int, *,
                 attributes: Mapping[str, str] | None = None) -> None:
        super().__init__(words, width, registered=True)
        self._attributes = attributes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = ceil_log2(BANK_WORDS)
        banks = [self._bank(m, f"bank_{n}", words, self.address[:low])
                 for n, words in enumerate(banks_of(self._words, BANK_WORDS))]
        chosen = chosen_bank(m, banks, self.address[low:], self.enable, MEMORY_LATENCY)
        m.d.comb += self.data.eq(held(m, chosen, self.enable))
        return m

    def _bank(self, m: Module, name: str, words: Sequence[int], address: Value) -> Signal:
        """The word at ``address`` among ``words``, behind a register."""
        bank = Rom(words, len(self.data), attributes=self._attributes)
        m.submodules[name] = bank
        m.d.comb += [bank.address.eq(address), bank.enable.eq(self.enable)]
        return bank.data


def banks_of(words: Sequence[_T], depth: int) -> list[Sequence[_T]]:
    """The ``words`` in parts of ``depth``, the last of which may have less."""
    return [words[start : start + depth] for start in range(0, len(words), depth)]


def chosen_bank(m: Module, banks: Sequence[Signal], bank: Value, enable: Value, latency: int
                ) -> Signal:
    """What of the ``banks`` was read where ``bank`` was the address that many enabled cycles ago.
    """
    for cycle in range(latency if len(banks) > 1 else 0):
        late = Signal.like(bank, name=f"bank_late_{cycle}", reset_less=True)
        with m.If(enable):
            m.d.sync += late.eq(bank)
        bank = late
    chosen = Signal.like(banks[0], name="chosen")
    with m.Switch(bank):
        for n, data in enumerate(banks):
            with m.Default() if n == len(banks) - 1 else m.Case(n):
                m.d.comb += chosen.eq(data)
    return chosen


class Ram(RamPorts):
    """``read_data = words[read_address]``, latency 1, or 2 if registered; one word a cycle.

    Parameters
    ----------
    width, depth, granularity, registered : see `RamPorts`.
    attributes : of the array, for the synthesis tool.

    Members
    -------
    write_address, write_data, write_enable, read_address, read_enable, read_data : see
        `Technology.ram`.
    """

    def __init__(self, width: int, depth: int, *, granularity: int | None = None,
                 registered: bool = False, attributes: Mapping[str, str | int] | None = None
                 ) -> None:
        super().__init__(width, depth, granularity=granularity, registered=registered)
        self._attributes = dict(attributes or {})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._depth == 1:
            word = Signal(self._width, reset_less=True)
            for n, enable in enumerate(self.write_enable):
                part = slice(n * self._granularity, (n + 1) * self._granularity)
                with m.If(enable):
                    m.d.sync += word[part].eq(self.write_data[part])
            data: Value = held(m, word, self.read_enable, name="read")
        else:
            m.submodules.memory = memory = Memory(
                shape=unsigned(self._width), depth=self._depth, init=[], attrs=self._attributes)
            write = memory.write_port(granularity=self._granularity)
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data),
                write.en.eq(self.write_enable),
                read.addr.eq(self.read_address),
                read.en.eq(self.read_enable),
            ]
            data = read.data
        m.d.comb += self.read_data.eq(
            held(m, data, self.read_enable) if self._registered else data)
        return m


def held(m: Module, data: Value, enable: Value, name: str = "held") -> Signal:
    """A register of ``data`` that keeps what it has where it is not enabled."""
    register = Signal(len(data), name=name, reset_less=True)
    with m.If(enable):
        m.d.sync += register.eq(data)
    return register
