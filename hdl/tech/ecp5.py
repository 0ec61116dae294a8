# amaranth: UnusedElaboratable=no
"""Lattice ECP5: MULT18X18D multipliers, CCU2C carry chains, DP16KD memories."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import wiring

from .count import DifferenceCounter
from .ecp5_memory import BlockRam, BlockRom, fits_block
from .generic import Generic
from .multiply import RowMultiplier, Term, TwoCycle
from .technology import MemoryStyle

__all__ = ["Ecp5"]

_DSP_BITS = 18

Slot = tuple[int, Value, Value, Value, Value]
"""Half a CCU2C: its table, A, B, C and D."""


class Ecp5(Generic):
    """ECP5: operands of up to 18 bits fit a DSP block."""

    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        return max(Shape.cast(a).width, Shape.cast(b).width) <= _DSP_BITS

    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        return DspMultiplier(a, b) if dsp and self.fits_dsp(a, b) else CarryMultiplier(a, b)

    def difference_counter(self, terms: int, total_bits: int) -> DifferenceCounter:
        return ChainCounter(terms, total_bits)

    def rom(self, words: Sequence[int], width: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        if registered and style is MemoryStyle.BLOCK and fits_block(len(words)):
            return BlockRom(words, width)
        return super().rom(words, width, style, registered=registered)

    def ram(self, width: int, depth: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        if registered and style is MemoryStyle.BLOCK and fits_block(depth):
            return BlockRam(width, depth)
        return super().ram(width, depth, style, registered=registered)


class DspMultiplier(TwoCycle):
    """``p = a * b``, latency 2, one product a cycle: MULT18X18D with input and output registers.

    Parameters
    ----------
    a, b : shapes of the operands.

    Members
    -------
    a, b : operands.
    p : product.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, product = Signal(_DSP_BITS), Signal(_DSP_BITS), Signal(2 * _DSP_BITS)
        above = [self._above(operand) for operand in (self.a, self.b)]
        m.d.comb += [a.eq(self.a << above[0]), b.eq(self.b << above[1]),
                     self.p.eq(product >> sum(above))]
        ports: dict[str, Value] = {}
        for name, value in (("i_A", a), ("i_B", b), ("i_C", Const(0, _DSP_BITS)), ("o_P", product)):
            ports |= {f"{name}{n}": bit for n, bit in enumerate(value)}
        m.submodules.dsp = Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK="CLK0", p_REG_INPUTA_CE="CE0", p_REG_INPUTA_RST="RST0",
            p_REG_INPUTB_CLK="CLK0", p_REG_INPUTB_CE="CE0", p_REG_INPUTB_RST="RST0",
            p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_CE="CE0", p_REG_OUTPUT_RST="RST0",
            p_GSR="DISABLED", p_RESETMODE="SYNC",
            i_CLK0=ClockSignal(), i_CE0=Const(1), i_RST0=Const(0),
            i_SIGNEDA=Const(self.a.shape().signed, 1), i_SIGNEDB=Const(self.b.shape().signed, 1),
            i_SOURCEA=Const(0), i_SOURCEB=Const(0), **ports)
        return m

    @staticmethod
    def _above(operand: Value) -> int:
        """How far up an operand lies in the block's: a signed one at the top.

        Each copy of a sign bit would be a wire into the block, and there are few; the zeros below
        are none.
        """
        return _DSP_BITS - len(operand) if operand.shape().signed else 0


class CarryMultiplier(RowMultiplier):
    """`RowMultiplier` whose rows take no look-up table but the carry chain's own.

    One bit of a CCU2C adds two partial products: its four inputs are ``a[i] & b[j]`` and
    ``a[i-1] & b[j+1]``. Same parameters, members and latency.
    """

    def _sum(self, m: Module, total: Signal, low: Term, high: Term) -> None:
        if low.gate is None and high.gate is None:
            super()._sum(m, total, low, high)
            return
        apart = high.shift - low.shift
        length = len(total) - apart
        # A bit generates a carry by what its table gives for C = D = 0, so the term that is
        # complemented goes to A and B.
        first, second = (high, low) if high.negative else (low, high)
        inputs = [(*self._bit(first, n + high.shift - first.shift),
                   *self._bit(second, n + high.shift - second.shift)) for n in range(length)]
        outputs = self._chain(m, total.name, inputs, subtract=high.negative)
        m.d.comb += total.eq(Cat(low.lowest(apart), outputs[:length]))

    @staticmethod
    def _bit(term: Term, n: int) -> tuple[Value, Value]:
        """Bit ``n`` of the term, extended by its sign, and its gate."""
        gate = Const(1) if term.gate is None else term.gate
        if n < len(term.value):
            return term.value[n], gate
        return (term.value[-1], gate) if term.value.shape().signed else (Const(0), Const(0))

    @staticmethod
    def _chain(m: Module, name: str, inputs: Sequence[tuple[Value, ...]], *,
               subtract: bool) -> Signal:
        """Sum outputs of a carry chain; ``inputs`` are A, B, C and D of each bit."""
        table = _table(subtract)
        return carry_chain(m, name, [(table, a, b, c, d) for a, b, c, d in inputs],
                           Const(subtract, 1))


class ChainCounter(DifferenceCounter):
    """`DifferenceCounter` whose adders are carry chains that take the differences themselves.

    One bit of a CCU2C adds two differences and a carry: its table is ``a ^ b ^ c ^ d``, and of
    ``c = d = 0`` it gives the carry that two equal differences make. Same parameters, members and
    latency.
    """

    _ENTER = sum((n & 1 ^ n >> 1 & 1) << n for n in range(4))
    """Starts a carry where A and B differ, for C = 1; its sum is of no use."""
    _SUM = sum((n.bit_count() & 1) << n for n in range(16))
    _LEAVE = 0
    """Its sum is the carry."""

    def _leaf(self, m: Module, sum_: Signal, pairs: list[tuple[Value, Value]]) -> None:
        if len(pairs) < 3:
            super()._leaf(m, sum_, pairs)
            return
        zero = Const(0)
        self._chain(m, sum_, pairs[2], [(self._SUM, *pairs[0], *pairs[1]),
                                        (self._LEAVE, zero, zero, zero, zero)])

    def _sum(self, m: Module, sum_: Signal, a: Value, b: Value, pair: tuple[Value, Value]) -> None:
        zero = Const(0)
        # The first count has at least as many bits as the second.
        slots: list[Slot] = [(self._SUM, a[n], zero, b[n] if n < len(b) else zero, zero)
                             for n in range(len(a))]
        if len(slots) < len(sum_):
            slots.append((self._LEAVE, zero, zero, zero, zero))
        self._chain(m, sum_, pair, slots)

    def _accumulate(self, m: Module, sum_: Signal, total: Value, count: Value,
                    pair: tuple[Value, Value]) -> None:
        self._chain(m, sum_, pair, [
            (_table(False), total[n], self.keep, count[n] if n < len(count) else Const(0), Const(1))
            for n in range(len(sum_))])

    def _chain(self, m: Module, sum_: Signal, pair: tuple[Value, Value], slots: list[Slot]) -> None:
        """``sum_`` of the slots, the lowest first; the difference of a pair is carried in."""
        enter: Slot = (self._ENTER, *pair, Const(1), Const(0))
        m.d.comb += sum_.eq(carry_chain(m, sum_.name, [enter, *slots], None)[1:])


def carry_chain(m: Module, name: str, slots: Sequence[Slot], carry: Value | None) -> Signal:
    """Sum outputs of a chain of CCU2C: each slot has its table and the values of A, B, C and D.

    Without a ``carry``, the first slot must make one that depends on nothing carried in.
    """
    padding: list[Slot] = [(0, *(Const(0),) * 4)] * (len(slots) % 2)
    halves = [*slots, *padding]
    outputs = Signal(len(halves), name=f"{name}_out")
    for n in range(0, len(halves), 2):
        ports = {f"i_{port}{half}": value for half in range(2)
                 for port, value in zip("ABCD", halves[n + half][1:], strict=True)}
        # nextpnr leads every carry that has a wire into or out of the chain by a cell of its own.
        if carry is not None:
            ports["i_CIN"] = carry
        if n + 2 < len(halves):
            carry = Signal(name=f"{name}_carry_{n}")
            ports["o_COUT"] = carry
        m.submodules[f"{name}_{n}"] = Instance(
            "CCU2C", p_INIT0=Const(halves[n][0], 16), p_INIT1=Const(halves[n + 1][0], 16),
            p_INJECT1_0="NO", p_INJECT1_1="NO", o_S0=outputs[n], o_S1=outputs[n + 1], **ports)
    return outputs


def _table(complement: bool) -> int:
    """Truth table of ``(A & B) ^ (C & D)``, the first term complemented or not."""
    return sum((((n & 3) == 3) ^ complement ^ ((n >> 2) == 3)) << n for n in range(16))
