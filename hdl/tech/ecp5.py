# amaranth: UnusedElaboratable=no
"""Lattice ECP5: MULT18X18D multipliers, CCU2C carry chains, DP16KD memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import *
from amaranth.lib import wiring

from .count import DifferenceCounter
from .ecp5_memory import BlockRam, BlockRom
from .ecp5_tables import TableRom
from .generic import Generic
from .multiply import RowMultiplier, Term, TwoCycle
from .select import Selected, SelectedSum, Selection
from .technology import MemoryStyle

__all__ = ["Ecp5"]

_DSP_BITS = 18

Slot = tuple[int, Value, Value, Value, Value]
"""Half a CCU2C: its table, A, B, C and D."""
Run = tuple[Signal, Slot, list[Slot]]
"""A sum, what starts its carry, and its bits, the lowest first."""
_ENTER = sum((n & 1 ^ n >> 1 & 1) << n for n in range(4))
"""Starts a carry where A and B differ, for C = 1."""
_NO_CARRY: Slot = (0, Const(0), Const(0), Const(0), Const(0))
_LONGEST = 40
"""Slots of a chain that several sums share."""


class Ecp5(Generic):
    """ECP5: operands of up to 18 bits fit a DSP block."""

    def fits_dsp(self, a: ShapeLike, b: ShapeLike) -> bool:
        return max(Shape.cast(a).width, Shape.cast(b).width) <= _DSP_BITS

    def multiplier(self, a: ShapeLike, b: ShapeLike, *, dsp: bool) -> wiring.Component:
        return DspMultiplier(a, b) if dsp and self.fits_dsp(a, b) else CarryMultiplier(a, b)

    def low_product(self, bits: int) -> wiring.Component:
        return CarryMultiplier(bits, bits, bits=bits)

    def difference_counter(self, terms: int, total_bits: int) -> DifferenceCounter:
        return ChainCounter(terms, total_bits)

    def selected_sum(self, terms: int, bits: int, selection: Selection, total_bits: int
                     ) -> SelectedSum:
        return ChainSum(terms, bits, selection, total_bits)

    def rom(self, words: Sequence[int], width: int, style: MemoryStyle, *,
            registered: bool = False) -> wiring.Component:
        if registered and style is MemoryStyle.BLOCK:
            return BlockRom(words, width)
        return super().rom(words, width, style, registered=registered)

    def _banked(self, words: Sequence[int], width: int, attributes: Mapping[str, str]
                ) -> wiring.Component:
        return TableRom(words, width)  # nothing is left to synthesis

    def ram(self, width: int, depth: int, style: MemoryStyle, *, granularity: int | None = None,
            registered: bool = False) -> wiring.Component:
        if registered and style is MemoryStyle.BLOCK:
            return BlockRam(width, depth, granularity)
        return super().ram(width, depth, style, granularity=granularity, registered=registered)


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
        apart = high.shift - low.shift
        length = len(total) - apart
        # A bit generates a carry by what its table gives for C = D = 0, so the term that is
        # complemented goes to A and B.
        first, second = (high, low) if high.negative else (low, high)
        table = _table(high.negative)
        slots: list[Slot] = [(table, *self._bit(first, n + high.shift - first.shift),
                              *self._bit(second, n + high.shift - second.shift))
                             for n in range(length)]
        # A single bit, too: Yosys 0.70 may lose the driver of a kept bit that is a table of others.
        m.d.comb += total.eq(Cat(low.lowest(apart), self._chain(m, total.name, slots,
                                                                carry=high.negative)))

    @staticmethod
    def _bit(term: Term, n: int) -> tuple[Value, Value]:
        """Bit ``n`` of the term, extended by its sign, and its gate."""
        gate = Const(1) if term.gate is None else term.gate
        if n < len(term.value):
            return term.value[n], gate
        return (term.value[-1], gate) if term.value.shape().signed else (Const(0), Const(0))

    @staticmethod
    def _chain(m: Module, name: str, slots: list[Slot], *, carry: bool) -> Value:
        """Sum outputs of a carry chain of ``slots``, with a ``carry`` into the first or none."""
        if len(slots) % 2 == 0:
            return carry_chain(m, name, slots, Const(carry, 1))
        # The cell that would be half empty starts the carry, and needs no wire from a constant.
        start = (_ENTER, Const(1), Const(0), Const(1), Const(0)) if carry else _NO_CARRY
        return carry_chain(m, name, [start, *slots], None)[1:]


class ChainCounter(DifferenceCounter):
    """`DifferenceCounter` whose adders are carry chains that take the differences themselves.

    One bit of a CCU2C adds two differences and a carry: its table is ``a ^ b ^ c ^ d``, and of
    ``c = d = 0`` it gives the carry that two equal differences make. Same parameters, members and
    latency.
    """

    _SUM = sum((n.bit_count() & 1) << n for n in range(16))

    def __init__(self, terms: int, total_bits: int) -> None:
        super().__init__(terms, total_bits)
        self._runs: list[Run] = []

    def elaborate(self, platform: object) -> Module:
        self._runs.clear()
        m = super().elaborate(platform)
        add_runs(m, "counts", self._runs)
        return m

    def _leaf(self, m: Module, sum_: Signal, pairs: list[tuple[Value, Value]]) -> None:
        if len(pairs) < 3:
            super()._leaf(m, sum_, pairs)
            return
        self._add(sum_, pairs[2], [(self._SUM, *pairs[0], *pairs[1])])

    def _sum(self, m: Module, sum_: Signal, a: Value, b: Value, pair: tuple[Value, Value]) -> None:
        zero = Const(0)
        # The first count has at least as many bits as the second.
        self._add(sum_, pair, [(self._SUM, a[n], zero, b[n] if n < len(b) else zero, zero)
                               for n in range(len(a))])

    def _accumulate(self, m: Module, sum_: Signal, total: Value, count: Value,
                    pair: tuple[Value, Value]) -> None:
        self._add(sum_, pair, [
            (_table(False), total[n], self.keep, count[n] if n < len(count) else Const(0), Const(1))
            for n in range(len(sum_))])

    def _add(self, sum_: Signal, pair: tuple[Value, Value], slots: list[Slot]) -> None:
        """``sum_`` of the slots, the lowest first; the difference of a pair is carried in."""
        self._runs.append((sum_, (_ENTER, *pair, Const(1), Const(0)), slots))


class ChainSum(SelectedSum):
    """`SelectedSum` whose adders are carry chains that select their operands themselves.

    One bit of a CCU2C adds two bits, each selected by one bit of code, or one that is selected by
    two and one that is ready. Same parameters, members and latency.
    """

    _SIGNS = sum((n.bit_count() & 1) << n for n in range(16))
    """Two bits, each complemented or not: ``(A ^ B) ^ (C ^ D)``."""
    _SIGN = sum((((n & 3) == 3) ^ (n >> 2 & 1) ^ n >> 3) << n for n in range(16))
    """A gated bit and one that is complemented or not: ``(A & B) ^ (C ^ D)``."""
    _BOTH = sum((n & 1 ^ (n >> 2 & 1) & (n >> 1 & 1 ^ n >> 3)) << n for n in range(16))
    """A bit, and one that is both gated and complemented: ``A ^ ((B ^ D) & C)``."""

    def _sums(self, m: Module, name: str, sums: Sequence[tuple[Signal, Selected, Selected]]
              ) -> None:
        add_runs(m, name, [(sum_, _NO_CARRY, self._slots(m, f"{name}_{n}", a, b))
                           for n, (sum_, a, b) in enumerate(sums)])

    def _slots(self, m: Module, name: str, a: Selected, b: Selected) -> list[Slot]:
        """Each bit of the sum of two operands, but for the carry out."""
        bits = max(len(a.value), len(b.value))
        first, second = (
            [value[n] if n < len(value) else Const(0) for n in range(bits)]
            for value in (a.value, self._ready(m, name, b)))
        if a.code is None or a.selection is Selection.GATE:
            gates = [Const(1) if code is None else code for code in (a.code, b.code)]
            return [(_table(False), x, gates[0], y, gates[1])
                    for x, y in zip(first, second, strict=True)]
        assert b.code is not None
        if a.selection is Selection.SIGN:
            return [(self._SIGNS, x, a.code, y, b.code)
                    for x, y in zip(first, second, strict=True)]
        return [(self._BOTH, y, x, a.code[0], a.code[1])
                for x, y in zip(first, second, strict=True)]

    @staticmethod
    def _ready(m: Module, name: str, operand: Selected) -> Value:
        """The operand's bits, selected where a carry chain cannot do it."""
        if operand.code is None or operand.selection is not Selection.BOTH:
            return operand.value
        chosen = Signal.like(operand.value, name=f"{name}_chosen")
        m.d.comb += chosen.eq(operand.chosen)
        return chosen

    def _accumulate(self, m: Module, sum_: Signal, total: Value, operand: Selected) -> None:
        value, table = self._ready(m, "last", operand), _table(False)
        gate: Value = Const(1)
        if operand.code is not None and operand.selection is not Selection.BOTH:
            gate = operand.code
            table = self._SIGN if operand.selection is Selection.SIGN else table
        zero = Const(0)
        # Beyond the operand's bits nothing is to be added, nor complemented.
        slots: list[Slot] = [
            (table, total[n], self.keep, value[n], gate) if n < len(value)
            else (_table(False), total[n], self.keep, zero, zero) for n in range(len(sum_))]
        add_runs(m, "total", [(sum_, _NO_CARRY, slots)])


def add_runs(m: Module, name: str, runs: Sequence[Run]) -> None:
    """Make the sum of each run; several share a chain of CCU2C.

    What starts the carry of one run puts out the carry that the run before it has left: its table
    gives 0, so that its carry depends on A and B alone, and its sum is what is carried in.
    """
    chain: list[Slot] = []
    starts: list[tuple[Signal, int]] = []
    for n, (sum_, enter, slots) in enumerate(runs):
        chain += [enter, *slots]
        starts.append((sum_, len(chain) - len(slots)))
        if n + 1 == len(runs) or len(chain) + len(runs[n + 1][2]) > _LONGEST:
            if len(sum_) > len(slots):
                chain.append(_NO_CARRY)
            outputs = carry_chain(m, f"{name}_{n}", chain, None)
            m.d.comb += [part.eq(outputs[start:]) for part, start in starts]
            chain, starts = [], []


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
