"""How memories are filled: symbols pass from one to the next, and each takes its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least

__all__ = ["FILL", "Filler", "Spelling", "chain", "fill_members", "is_filled"]

SYMBOL_BITS = 8

Filling = data.StructLayout({"symbol": SYMBOL_BITS, "restart": 1})
"""A symbol; or, with ``restart``, none: from then on all memories are filled anew."""

FILL = stream.Signature(Filling, always_ready=True)
"""What passes along the memories that are filled; it never waits."""


@dataclass(frozen=True)
class Spelling:
    """A word of so many ``elements`` of ``bits`` each, and so many bits ``beside`` them, as symbols
    of up to eight bits.

    A symbol has as many whole elements as fit; an element wider than a symbol has several, as
    equally wide as can be. The first elements, and the lowest bits, come first; what is beside
    comes last, in symbols of its own. Bits to spare are 0.
    """

    elements: int
    bits: int
    beside: int = 0

    def __post_init__(self) -> None:
        at_least(1, elements=self.elements, bits=self.bits)
        at_least(0, beside=self.beside)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.elements * self.bits + self.beside

    @cached_property
    def pieces(self) -> tuple[int, ...]:
        """Bits of the word that each of its symbols has, in their order."""
        if self.bits > SYMBOL_BITS:
            elements = _parted(self.bits, -(-self.bits // -(-self.bits // SYMBOL_BITS)))
            found = elements * self.elements
        else:
            found = _parted(self.elements * self.bits, SYMBOL_BITS // self.bits * self.bits)
        return found + _parted(self.beside, SYMBOL_BITS)

    @property
    def symbol_bits(self) -> int:
        """Bits that a symbol has."""
        return max(self.pieces)

    @property
    def symbols(self) -> int:
        """Symbols of a word."""
        return len(self.pieces)

    def spelled(self, words: Iterable[int]) -> bytes:
        """The symbols of ``words``, in their order."""
        symbols = bytearray()
        for word in words:
            for bits in self.pieces:
                symbols.append(word & (1 << bits) - 1)
                word >>= bits
        return bytes(symbols)


def _parted(bits: int, most: int) -> tuple[int, ...]:
    """So many ``bits`` in parts of ``most``, the last one of what is left."""
    return tuple(min(most, bits - low) for low in range(0, bits, most))


class Filler(Block):
    """Fills a memory: it takes the symbols of ``words`` words, and passes all further ones on.

    A word is written in the cycle behind that of its last symbol. What is passed on, restarts too,
    takes a cycle.

    Parameters
    ----------
    words : of the memory.
    spelling : how symbols make a word.

    Members
    -------
    load : In, a stream `FILL`.
    loaded : Out, the same, of what is for others.
    address : Out(range(words)).
    word : Out(spelling.width).
    write : Out(1).
    """

    def __init__(self, words: int, spelling: Spelling) -> None:
        at_least(1, words=words)
        self._words = words
        self._spelling = spelling
        super().__init__({"load": In(FILL), "loaded": Out(FILL), "address": Out(range(words)),
                          "word": Out(spelling.width), "write": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spelling = self._spelling
        size, symbols = spelling.symbol_bits, spelling.symbols
        row = Signal(size * symbols, reset_less=True)
        place, index, full = Signal(range(symbols)), Signal(range(self._words)), Signal()
        take, ends = Signal(), Signal()
        m.d.comb += [
            take.eq(self.load.valid & ~self.load.p.restart & ~full),
            ends.eq(take & (place == symbols - 1)),
            self.word.eq(Cat(row[n * size : n * size + bits]
                             for n, bits in enumerate(spelling.pieces))),
        ]
        m.d.sync += [self.write.eq(ends), self.address.eq(index),
                     self.loaded.valid.eq(self.load.valid & ~take),
                     self.loaded.payload.eq(self.load.payload)]
        with m.If(take):
            m.d.sync += [row.eq(Cat(row, self.load.p.symbol[:size])[size:]),
                         place.eq(Mux(ends, 0, place + 1))]
        with m.If(ends):
            m.d.sync += [index.eq(index + 1), full.eq(index == self._words - 1)]
        with m.If(self.load.valid & self.load.p.restart):
            m.d.sync += [place.eq(0), index.eq(0), full.eq(0)]
        return m


def is_filled(component: wiring.Component) -> bool:
    """Whether ``component`` has memories that are filled: members ``load`` and ``loaded``."""
    return "load" in component.signature.members


def fill_members(components: Iterable[wiring.Component]) -> Mapping[str, Any]:
    """The members of what has ``components``: those of a link of the chain, if any is filled."""
    return {"load": In(FILL), "loaded": Out(FILL)} if any(map(is_filled, components)) else {}


def chain(m: Module, whole: wiring.Component, components: Iterable[wiring.Component]) -> None:
    """Lead the symbols through those of ``components`` that are filled, in order, if any is."""
    if not is_filled(whole):
        return
    end: Any = wiring.flipped(whole).load
    for component in filter(is_filled, components):
        wiring.connect(m, end, component.load)
        end = component.loaded
    wiring.connect(m, end, wiring.flipped(whole).loaded)
