"""Counters of beats, and counts that wrap around."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from amaranth.hdl import *

__all__ = ["ahead_of", "counter", "counter_end", "each_case"]

T = TypeVar("T")


def counter_end(m: Module, name: str, step: ValueLike, length: int) -> ValueLike:
    """A counter of ``length`` that moves with ``step``; returns whether it is at its end.

    That is a register, since what beats are made of depends on it.
    """
    if length == 1:
        return Const(1)
    counter = Signal(range(length), name=f"{name}_count")
    end = Signal(name=f"{name}_end")
    with m.If(step):
        m.d.sync += [counter.eq(Mux(end, 0, counter + 1)), end.eq(counter == length - 2)]
    return end


def counter(m: Module, name: str, step: Value, length: int, clear: Value | None = None
            ) -> tuple[Value, Value]:
    """A counter of ``length`` that moves with ``step`` and begins again with ``clear``, and whether
    it moves to its beginning by itself."""
    if length == 1:
        return Const(0, 0), step
    count = Signal(range(length), name=name)
    end = step & (count == length - 1)
    with m.If(end if clear is None else end | clear):
        m.d.sync += count.eq(0)
    with m.Elif(step):
        m.d.sync += count.eq(count + 1)
    return count, end


def each_case(m: Module, counters: Sequence[Value],
              values: Iterable[tuple[tuple[int, ...], T]]) -> Iterator[T]:
    """Each value in turn, for the case that the ``counters`` stand at what is beside it."""
    with m.Switch(Cat(counters)):
        for key, value in values:
            case, low = 0, 0
            for place, counter in zip(key, counters, strict=True):
                case |= place << low
                low += len(counter)
            with m.Case(case):
                yield value


def ahead_of(a: Value, b: Value) -> Value:
    """By how much the count ``a`` is ahead of ``b``; negative where it is behind. Both wrap around.
    """
    return (a - b)[: len(a)].as_signed()
