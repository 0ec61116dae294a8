# amaranth: UnusedElaboratable=no
"""Any family: what a synthesis tool infers, with the attributes that Vivado and Yosys know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import *
from amaranth.lib import wiring

from .count import DifferenceCounter
from .memory import BANK_WORDS, BankedRom, Ram, Rom
from .multiply import Multiplier
from .select import SelectedSum, Selection
from .technology import MemoryStyle, Technology

__all__ = ["Generic"]


class Generic(Technology):
    """Plain Verilog: ``*`` between registers, and arrays."""

    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        return True

    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        return Multiplier(a, b, {"use_dsp": "yes" if dsp else "no"})

    def low_product(self, bits: int) -> wiring.Component:
        return Multiplier(bits, bits, {"use_dsp": "no"}, bits=bits)

    def difference_counter(self, terms: int, total_bits: int) -> DifferenceCounter:
        return DifferenceCounter(terms, total_bits)

    def selected_sum(self, terms: int, bits: int, selection: Selection, total_bits: int
                     ) -> SelectedSum:
        return SelectedSum(terms, bits, selection, total_bits)

    def rom(self, words: Sequence[int], width: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        if style is MemoryStyle.BLOCK:
            attributes = {"rom_style": "block"}
        else:
            # Yosys looks at ram_style first and has no distributed ROM; Vivado has no other.
            attributes = {"ram_style": "registers", "rom_style": "distributed"}
            if registered and len(words) > BANK_WORDS:
                return self._banked(words, width, attributes)
        return Rom(words, width, registered=registered, attributes=attributes)

    def _banked(self, words: Sequence[int], width: int, attributes: Mapping[str, str]
                ) -> wiring.Component:
        """The `rom` of more words than a bank of look-up tables has."""
        return BankedRom(words, width, attributes=attributes)

    def ram(self, width: int, depth: int, style: MemoryStyle, *, granularity: int | None = None,
            registered: bool = False) -> wiring.Component:
        name = "registers" if style is MemoryStyle.LOGIC else style.value
        # Without no_rw_check, Yosys spends two words of flip-flops and a comparator on collisions.
        return Ram(width, depth, granularity=granularity, registered=registered,
                   attributes={"ram_style": name, "no_rw_check": 1})
