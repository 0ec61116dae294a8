# amaranth: UnusedElaboratable=no
"""Lattice iCE40 UltraPlus: SB_MAC16 multipliers, SB_RAM40_4K memories."""

from __future__ import annotations

from amaranth.hdl import *
from amaranth.lib import wiring

from .generic import Generic
from .multiply import RowMultiplier, TwoCycle
from .technology import MemoryStyle

__all__ = ["Ice40"]


class Ice40(Generic):
    """iCE40 UP: operands of up to 16 bits fit a DSP block; there is no distributed RAM."""

    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        return all(Shape.cast(shape).width <= 16 for shape in (a, b))

    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        if dsp and self.fits_dsp(a, b):
            return Mac16Multiplier(a, b)
        return RowMultiplier(a, b)

    def ram(self, width: int, depth: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        if style is MemoryStyle.DISTRIBUTED:
            style = MemoryStyle.LOGIC
        return super().ram(width, depth, style, registered=registered)


class Mac16Multiplier(TwoCycle):
    """``p = a * b``, latency 2, one product a cycle: SB_MAC16 with its A, B and H registers.

    Parameters
    ----------
    a, b : shapes of the operands, up to 16 bits each.

    Members
    -------
    a, b : operands.
    p : product.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal(Shape(16, self.a.shape().signed))
        b = Signal(Shape(16, self.b.shape().signed))
        product = Signal(32)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.p.eq(product)]
        low = {f"i_{name}": Const(0) for name in (
            "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT",
            "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT",
            "CI", "ACCUMCI", "SIGNEXTIN")}
        m.submodules.mac = Instance(
            "SB_MAC16",
            p_A_REG=Const(1, 1), p_B_REG=Const(1, 1),
            p_PIPELINE_16x16_MULT_REG2=Const(1, 1),
            p_TOPOUTPUT_SELECT=Const(3, 2), p_BOTOUTPUT_SELECT=Const(3, 2),
            p_A_SIGNED=Const(self.a.shape().signed, 1), p_B_SIGNED=Const(self.b.shape().signed, 1),
            i_CLK=ClockSignal(), i_CE=Const(1),
            i_A=a, i_B=b, i_C=Const(0, 16), i_D=Const(0, 16), o_O=product, **low)
        return m
