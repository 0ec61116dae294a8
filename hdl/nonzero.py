"""The elements of a vector that are not zero, one by one."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .checks import at_least
from .stream import Beat, PassesReady, beats, payload_register

__all__ = ["NONZERO_LATENCY", "Activation", "NonZeros", "difference", "place", "places"]

NONZERO_LATENCY = 3
"""Cycles from a beat's transfer to its first element."""


def place(column: int, lanes: int) -> int:
    """How the element ``column`` of a vector is named that comes ``lanes`` a beat.

    Its lane is in the low bits, the beat above them, so that no multiplication finds it.
    """
    return column // lanes << ceil_log2(lanes) | column % lanes


def places(columns: int, lanes: int) -> int:
    """How many names there are, those of lanes that no element comes by among them."""
    return beats(columns, lanes) << ceil_log2(lanes)


def difference(element: ShapeLike, zero: int) -> Shape:
    """The shape of an ``element`` less ``zero``, which is one itself.

    Raises `ValueError` if it is none.
    """
    shape = Shape.cast(element)
    low = -(1 << shape.width - 1) if shape.signed else 0
    values = range(low, low + (1 << shape.width))
    if zero not in values:
        raise ValueError(f"zero must be within {values}, not {zero!r}")
    return Shape.cast(range(values[0] - zero, values[-1] + 1 - zero))


def _like(bits: Value, element: Value) -> Value:
    """``bits`` as an integer of the sign that ``element`` has."""
    return bits.as_signed() if element.shape().signed else bits.as_unsigned()


class Activation(data.StructLayout):
    """An element of a vector: its ``value`` and its `place`.

    ``last`` marks the end of the vector, where there may be ``some`` element or none.
    """

    def __init__(self, element: ShapeLike, columns: int, lanes: int) -> None:
        super().__init__({"value": Shape.cast(element),
                          "place": Shape.cast(range(places(columns, lanes))),
                          "some": 1, "last": 1})


class NonZeros(PassesReady):
    """Give the elements of each vector that are not ``zero``, in order: leading non-zero detection.

    What is given is by how much they differ from it.

    Latency 3, one element a cycle. Meanwhile the beats behind come in, one a cycle, as long as they
    are all zeros. A final beat of zeros gives an item without an element.

    Parameters
    ----------
    element : shape of an element.
    lanes : elements a beat.
    columns : elements of a vector.
    zero : the element that counts for nothing, one of ``element``.

    Members
    -------
    i : stream of ``Beat(element, lanes)``, one or more vectors a frame, each from a fresh beat on.
    o : stream of ``Activation(difference(element, zero), columns, lanes)``.
    """

    def __init__(self, element: ShapeLike, *, lanes: int, columns: int, zero: int = 0) -> None:
        at_least(1, lanes=lanes, columns=columns)
        self._lanes = lanes
        self._columns = columns
        self._zero = zero
        given = Activation(difference(element, zero), columns, lanes)
        super().__init__({"i": In(stream.Signature(Beat(element, lanes))),
                          "o": Out(stream.Signature(given))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, count = self._lanes, beats(self._columns, self._lanes)
        payload = payload_register(m, self.o)
        layout = data.StructLayout({"data": self.i.p.data.shape(), "some": lanes, "last": 1,
                                    "beat": range(count)})
        # The next beat that is not all zeros, and the one whose elements are given.
        following = Signal(layout, reset_less=True)
        held = Signal(layout, reset_less=True)
        is_next, is_there, flow, free = Signal(), Signal(), Signal(), Signal()
        beat, rest, ending = Signal(range(count)), Signal(lanes), Signal()
        m.d.comb += [
            flow.eq(self.o.ready | ~self.o.valid),
            rest.eq(held.some & (held.some - 1)),
            ending.eq(rest == 0),
            free.eq(~is_there | (flow & ending)),
            self.i.ready.eq(~is_next | free),
        ]
        is_last = Signal()
        m.d.comb += is_last.eq(beat == count - 1)
        # What the spare lanes of the final beat hold is undefined.
        spare = self._columns - lanes * (count - 1)
        some = Cat((self.i.p.data[n] != self._zero) & (~is_last if n >= spare else 1)
                   for n in range(lanes))
        with m.If(self.i.ready):
            m.d.sync += [
                is_next.eq(self.i.valid & (some.any() | is_last)),
                following.data.eq(self.i.p.data), following.some.eq(some),
                following.last.eq(is_last), following.beat.eq(beat),
            ]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += beat.eq(Mux(is_last, 0, beat + 1))
        with m.If(free):
            m.d.sync += [is_there.eq(is_next), held.eq(following)]
        with m.Elif(flow):
            m.d.sync += held.some.eq(rest)

        first = Signal(lanes)
        m.d.comb += first.eq(held.some & ~rest)
        # One lane at most is chosen: an OR of all is no chain of choices.
        elements = [Cat(Value.cast(held.data[n]), Const(n, range(lanes))) for n in range(lanes)]
        chosen = reduce(or_, (element & first[n].replicate(len(element))
                              for n, element in enumerate(elements)))
        width = len(Value.cast(held.data[0]))
        with m.If(flow):
            m.d.sync += [
                self.o.valid.eq(is_there),
                payload.value.eq(_like(chosen[:width], held.data[0]) - self._zero),
                payload.place.eq(Cat(chosen[width:], held.beat)),
                payload.some.eq(held.some.any()), payload.last.eq(held.last & ending),
            ]
        return m
