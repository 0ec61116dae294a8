"""Sums and differences of a window's elements: the transforms of Winograd's form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import *

from .checks import at_least
from .counter import counter, each_case
from .pool import Reducer

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
    constants : of each output, what is added.
    slices : beats of an output, each of which has its elements one after the other.
    columns : positions of a row.
    """

    bits: int
    signed: bool
    result_bits: int
    below: int
    signs: tuple[tuple[tuple[bool, ...], ...], ...]
    constants: tuple[int, ...]
    slices: int
    columns: int

    def __post_init__(self) -> None:
        at_least(1, bits=self.bits, result_bits=self.result_bits, slices=self.slices,
                 columns=self.columns)
        at_least(0, below=self.below)
        outputs = {len(each) for each in self.signs}
        if outputs != {len(self.constants)} or len(
                {len(one) for each in self.signs for one in each}) != 1:
            raise ValueError("signs must be of equally many elements for each output that has a "
                             "constant")

    @property
    def area(self) -> int:
        """Elements of an output."""
        return len(self.signs[0][0])

    @property
    def counts(self) -> tuple[int, ...]:
        """How far it counts: elements, slices, outputs, positions of a row, passes."""
        return (self.area, self.slices, len(self.constants),
                *((self.columns, len(self.signs)) if len(self.signs) > 1 else ()))


class Combiner(Reducer):
    """``o = (constant + sum(±i)) >> below`` of every ``area`` beats, lane by lane; latency 1 after
    the last of them, one input beat a cycle. Sums are taken modulo what the results need.

    Parameters
    ----------
    shape : structure.
    lanes : elements a beat.

    Members
    -------
    i : stream of ``Beat(Shape(bits, signed), lanes)``; slice after slice of each output in turn.
    o : stream of ``Beat(signed(result_bits), lanes)``.
    """

    def __init__(self, shape: CombinerShape, *, lanes: int) -> None:
        self._shape = shape
        super().__init__(Shape(shape.bits, shape.signed), signed(shape.result_bits), lanes,
                         shape.area, shape.below)

    def _joins(self, m: Module, take: Value) -> Callable[[Value, Value, Value], Value]:
        shape, step = self._shape, take
        places: list[Value] = []
        for name, count in zip(("element", "slice", "output", "column", "pass"), shape.counts,
                               strict=False):
            place, step = counter(m, name, step, count)
            places.append(place)
        element, _, output, *turn = places
        subtract, constant = Signal(), Signal(signed(shape.result_bits + shape.below))
        signs = {(n, k, t): negative for n, outputs in enumerate(shape.signs)
                 for k, one in enumerate(outputs) for t, negative in enumerate(one)}
        for negative in each_case(m, (turn[1] if turn else Const(0, 0), output, element), signs):
            m.d.comb += subtract.eq(negative)
        for value in each_case(m, (output,), {(k,): one for k, one in enumerate(shape.constants)}):
            m.d.comb += constant.eq(value)

        def join(first: Value, held: Value, value: Value) -> Value:
            # A carry into the lowest bit makes the complement a negative.
            one, bits = Mux(first, constant, held), Cat(value, Const(0, not shape.signed))
            other = Cat(subtract, bits ^ subtract.replicate(len(bits)))
            return (Cat(Const(1), one).as_signed() + other.as_signed()) >> 1
        return join
