"""What pipelines that never stall share: whom they let in, delays, and constants of channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from math import lcm
from typing import Any

from amaranth.hdl import *
from amaranth.lib import wiring

from .stream import QUEUE_LATENCY, Queue, beats
from .tech import MemoryStyle

__all__ = ["BLOCK_BITS", "SteadyShape", "add_pairwise", "admit", "channel_beats", "channel_words",
           "delay", "has_credit", "in_front_of_queue", "join", "next_word", "signed_bits",
           "style_of", "within"]

BLOCK_BITS = 2400
"""Constants of fewer bits are not worth a block RAM."""


class SteadyShape(ABC):
    """Structure of a block whose stages never stall, as a queue behind them takes what they hold.
    """

    @property
    @abstractmethod
    def depth(self) -> int:
        """Cycles from a beat's transfer to its result in front of the queue."""

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer to its result."""
        return self.depth + QUEUE_LATENCY

    @property
    def queue_depth(self) -> int:
        """Of the output queue: all beats on the way, and those whose places are free but not yet
        known to be."""
        return self.latency + 2


def in_front_of_queue(m: Module, i: Any, o: Any, shape: SteadyShape) -> tuple[Value, Any]:
    """Let beats of the stream ``i`` in, and put a queue before the stream ``o``.

    What comes out is whether a beat comes in, and the data of the one that goes to the queue,
    ``shape.depth`` cycles later, which the caller drives.
    """
    m.submodules.queue = queue = Queue(o.payload.shape(), shape.queue_depth)
    wiring.connect(m, wiring.flipped(o), queue.o)
    take = admit(m, i, o, shape.queue_depth - 1)
    m.d.comb += [queue.i.valid.eq(delay(m, "valid", take, shape.depth, reset_less=False)),
                 queue.i.p.last.eq(delay(m, "last", i.p.last, shape.depth))]
    return take, queue.i.p.data


def admit(m: Module, i: Any, o: Any, capacity: int) -> Value:
    """Whether a beat of the stream ``i`` comes in, whose ``ready`` is driven.

    It does only while fewer than ``capacity`` are on the way, that is have not left by ``o``.
    """
    take = Signal()
    m.d.comb += [i.ready.eq(has_credit(m, o, take, capacity)), take.eq(i.valid & i.ready)]
    return take


def has_credit(m: Module, o: Any, take: Value, capacity: int) -> Signal:
    """Whether fewer than ``capacity`` beats are on the way; a register.

    They come in with ``take`` and leave by the stream ``o``.
    """
    credit = Signal(range(capacity + 1), init=capacity, name="credits")
    following = Signal.like(credit, name="next_credits")
    has_any = Signal(init=1, name="has_credit")
    m.d.comb += following.eq(credit - take + (o.valid & o.ready))
    m.d.sync += [credit.eq(following), has_any.eq(following.any())]
    return has_any


def delay(m: Module, name: str, value: Value, cycles: int, *, reset_less: bool = True) -> Value:
    """``value``, ``cycles`` later."""
    for cycle in range(cycles if len(value) else 0):
        held = Signal(value.shape(), name=f"{name}_delay{cycle + 1}", reset_less=reset_less)
        m.d.sync += held.eq(value)
        value = held
    return value


def add_pairwise(m: Module, name: str, terms: Sequence[Value]) -> Value:
    """Sum of ``terms``, registered after each pairwise level."""
    level = 0
    while len(terms) > 1:
        level += 1
        pairs = []
        for n in range(0, len(terms), 2):
            value = sum(terms[n + 1 : n + 2], terms[n])
            pair = Signal(value.shape(), name=f"{name}_{level}_{n // 2}", reset_less=True)
            m.d.sync += pair.eq(value)
            pairs.append(pair)
        terms = pairs
    return terms[0]


def channel_words(rows: int, group: int, lanes: int) -> list[list[int]]:
    """The row of constants of each lane, beat by beat, until it begins again.

    Elements take the ``rows`` in turn, endlessly, ``lanes`` of them a beat, and every ``group``
    elements a fresh beat starts.
    """
    if rows == 1:
        return [[0] * lanes]
    words = []
    for start in range(0, lcm(rows, group), group):
        for first in range(start, start + group, lanes):
            end = min(first + lanes, start + group)
            word = [n % rows for n in range(first, end)]
            words.append(word + [0] * (lanes - len(word)))
    return words


def channel_beats(rows: int, group: int, lanes: int) -> int:
    """How many `channel_words` there are."""
    return 1 if rows == 1 else lcm(rows, group) // group * beats(group, lanes)


def next_word(m: Module, take: Value, count: int) -> Value:
    """Which of ``count`` words the beat that comes in needs, if each has the next one."""
    if count == 1:
        return Const(0, 0)
    word = Signal(range(count))
    with m.If(take):
        m.d.sync += word.eq(Mux(word == count - 1, 0, word + 1))
    return word


def join(values: Sequence[int], bits: int) -> int:
    """``values`` side by side, ``bits`` of each."""
    return sum((value & (1 << bits) - 1) << n * bits for n, value in enumerate(values))


def signed_bits(values: Iterable[int]) -> int:
    """Width of the narrowest two's complement integers that hold all of ``values``."""
    return max((value if value >= 0 else ~value).bit_length() for value in values) + 1


def within(values: range, bounds: Iterable[int]) -> list[int]:
    """The ``bounds`` that divide ``values`` alike, none farther than next to them."""
    return [min(max(bound, values[0]), values[-1] + 1) for bound in bounds]


def style_of(style: MemoryStyle, bits: int) -> MemoryStyle:
    """Where so many ``bits`` of constants go if large ones go to ``style``."""
    small = style is MemoryStyle.BLOCK and bits <= BLOCK_BITS
    return MemoryStyle.LOGIC if small else style
