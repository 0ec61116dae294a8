# amaranth: UnusedElaboratable=no
"""Lattice iCE40 UltraPlus: SB_MAC16 multipliers, SB_RAM40_4K memories."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import wiring

from .generic import Generic
from .multiply import Multiplier, RowMultiplier
from .technology import MemoryStyle

__all__ = ["Ice40"]


class Ice40(Generic):
    """iCE40 UP: operands of up to 16 bits fit a DSP block; there is no distributed RAM.

    DSP blocks are inferred by Yosys' ``synth_ice40 -dsp``, with the product's register in silicon,
    and those of the operands too if their signs are equal. Instances of SB_MAC16 would not do: that
    option drops their registers (Yosys 0.70).
    """

    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        # Yosys leaves products of up to 10 bits to look-up tables.
        widths = Shape.cast(a).width, Shape.cast(b).width
        return max(widths) <= 16 and min(widths) >= 2 and sum(widths) > 10

    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        if dsp and self.fits_dsp(a, b):
            # Kept, since Yosys 0.70 loses a register that follows the product's own.
            return Multiplier(a, b, {"keep": "true"})
        return RowMultiplier(a, b)

    def low_product(self, bits: int) -> wiring.Component:
        return RowMultiplier(bits, bits, bits=bits)

    def ram(self, width: int, depth: int, style: MemoryStyle, *, granularity: int | None = None,
            registered: bool = False) -> wiring.Component:
        if style is MemoryStyle.DISTRIBUTED:
            style = MemoryStyle.LOGIC
        return super().ram(width, depth, style, granularity=granularity, registered=registered)
