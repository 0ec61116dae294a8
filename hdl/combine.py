"""Sums and differences of a window's elements: the transforms of Winograd's form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amaranth.hdl import *

from .checks import at_least
from .counter import counter, each_case
from .pool import Reducer
from .steady import join
from .tech import MemoryStyle, Technology

__all__ = ["Combiner", "CombinerShape"]


@dataclass(frozen=True)
class CombinerShape:
    """Structure of a `Combiner`.

    Parameters
    ----------
    bits, signed : shape of an element.
    result_bits : width of a result, which is signed.
    below : low bits of a sum that are left off.
    signs : of each pass over a row, for each output of a position, whether each of its elements is
        subtracted; of all outputs equally many.
    constants : for each lane of each beat, what is added, until it begins again.
    slices : beats of an output, each of which has its elements one after the other.
    columns : positions of a row.
    """

    bits: int
    signed: bool
    result_bits: int
    below: int
    signs: tuple[tuple[tuple[bool, ...], ...], ...]
    constants: tuple[tuple[int, ...], ...]
    slices: int
    columns: int

    def __post_init__(self) -> None:
        at_least(1, bits=self.bits, result_bits=self.result_bits, slices=self.slices,
                 columns=self.columns)
        at_least(0, below=self.below)
        if len({tuple(map(len, each)) for each in self.signs}) != 1 or len(
                set(map(len, self.signs[0]))) != 1:
            raise ValueError("signs must be of equally many elements for each output")
        if any(one[0] for each in self.signs for one in each):
            raise ValueError("signs must begin with an element that is added")
        if self.slices * len(self.signs[0]) % len(self.constants):
            raise ValueError(f"constants must be of beats that begin again with the outputs, not "
                             f"{len(self.constants)}")

    @property
    def area(self) -> int:
        """Elements of an output."""
        return len(self.signs[0][0])

    @property
    def counts(self) -> tuple[int, ...]:
        """How far it counts: elements, slices, outputs, positions of a row, passes."""
        return (self.area, self.slices, len(self.signs[0]),
                *((self.columns, len(self.signs)) if len(self.signs) > 1 else ()))


class Combiner(Reducer):
    """``o = (constant + sum(±i)) >> below`` of every ``area`` beats, lane by lane; latency 1 after
    the last of them, one input beat a cycle. Sums are taken modulo what the results need.

    Parameters
    ----------
    shape : structure.
    technology : supplies memory.

    Members
    -------
    i : stream of beats of as many lanes as have constants; of each output slice after slice.
    o : stream of beats of as many results.
    """

    def __init__(self, shape: CombinerShape, *, technology: Technology) -> None:
        self._shape = shape
        self._technology = technology
        super().__init__(Shape(shape.bits, shape.signed), signed(shape.result_bits),
                         len(shape.constants[0]),
                         shape.area, shape.below)

    def _joins(self, m: Module, take: Value) -> Callable[[int, Value, Value, Value], Value]:
        shape, step = self._shape, take
        places: list[Value] = []
        ends: list[Value] = []
        for name, count in zip(("element", "slice", "output", "column", "pass"), shape.counts,
                               strict=False):
            place, step = counter(m, name, step, count)
            places.append(place)
            ends.append(step)
        element, _, output, *turn = places
        # Registers, so that no table stands in front of every bit of the sums.
        subtract, begins = Signal(), Signal(init=1)
        following = {(n, k, t): negative for n, outputs in enumerate(shape.signs)
                     for k, one in enumerate(outputs) for t, negative in enumerate(one[1:])}
        turned = turn[1] if turn else Const(0, 0)
        with m.If(take):
            m.d.sync += [subtract.eq(0), begins.eq(ends[0])]
            for negative in each_case(m, (turned, output, element), following.items()):
                m.d.sync += subtract.eq(negative)
        constants = self._constants(m, ends[0])

        def joined(lane: int, first: Value, held: Value, value: Value) -> Value:
            # A carry into the lowest bit makes the complement a negative.
            one = Mux(begins, constants[lane], held)
            bits = Cat(value, Const(0, not shape.signed))
            other = Cat(subtract, bits ^ subtract.replicate(len(bits)))
            return (Cat(Const(1), one).as_signed() + other.as_signed()) >> 1
        return joined

    def _constants(self, m: Module, step: Value) -> Sequence[Value]:
        """Those of the lanes of the beat that is summed up; the next ones after a ``step``."""
        shape = self._shape
        bits, count = shape.result_bits + shape.below, len(shape.constants)
        if len(set(sum(shape.constants, ()))) == 1:
            return [Const(shape.constants[0][0], signed(bits))] * len(shape.constants[0])
        m.submodules.constants = rom = self._technology.rom(
            [join(word, bits) for word in shape.constants], bits * len(shape.constants[0]),
            MemoryStyle.LOGIC, registered=False)
        beat = Signal(range(count))
        following = Mux(step, Mux(beat == count - 1, 0, beat + 1), beat)
        m.d.sync += beat.eq(following)
        m.d.comb += [rom.address.eq(following), rom.enable.eq(1)]
        return [rom.data.word_select(lane, bits).as_signed()
                for lane in range(len(shape.constants[0]))]
