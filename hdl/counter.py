"""Counters of beats."""

from __future__ import annotations

from amaranth.hdl import *

__all__ = ["counter_end"]


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
