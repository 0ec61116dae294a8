"""Bytes in a ring, and for each of their bits where the next code begins if one begins there."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *

from .huffman_code import MAX_LENGTH, Code, chosen_of

__all__ = ["PLACES", "Steps", "picked"]

SLOTS = 8
"""Bytes of the ring, for each byte of a beat: as many as are on their way through `Steps`."""
PLACES = 8 * SLOTS
"""Their bits."""
AHEAD = 2
"""Bytes behind one that a code may reach into which begins in it."""


class Steps:
    """What a decoder knows of the bits that have come in, before it comes to them.

    A beat's bytes are worked on together: the bits behind each of theirs are compared with all
    limits of the ``code`` at once, and three cycles later it is known where the next code begins.
    That is so as soon as the bytes are there that a code may reach into; until then, and where none
    come, again and again with those that are there. A place whose code is not all there is its own
    step.

    Parameters
    ----------
    m : the module that it is part of.
    code : of the section.
    octets : bytes of a beat, 1 or 2.
    is_code : codes are what comes next; else all steps are forgotten.

    Members
    -------
    beat, taken : what comes in, if it does.
    room : for a beat.
    octets : the bytes; ``end`` is behind the last.
    place : of the next bit; what there is in front of it is free. ``following`` is the next place.
    step : where the code behind the one at ``place`` begins; the same place while it is not known.
    is_none : no code begins at ``place``. Both are so only where ``place`` is not at the end.
    front : the bits from ``place`` on that a code may have, the first one highest.
    """

    def __init__(self, m: Module, code: Code, octets: int, is_code: Value) -> None:
        slots = SLOTS * octets
        self._beat_octets = octets
        self.beat, self.taken, self.room = Signal(8 * octets), Signal(), Signal()
        self.octets = [Signal(8, name=f"octet_{n}", reset_less=True) for n in range(slots)]
        self.end = Signal(range(slots))
        self.place, self.following = Signal(range(8 * slots)), Signal(range(8 * slots))
        self._steps = [Signal(range(8 * slots), name=f"step_{n}", init=n, reset_less=True)
                       for n in range(8 * slots)]
        self._nones = Signal(8 * slots, reset_less=True)
        self.front = Signal(MAX_LENGTH)
        self._write(m, is_code)
        self._work(m, code, is_code)
        slot, bit = self.place[3:], self.place[:3]
        reach = Cat(*(picked(slot, _turned(self.octets, n)) for n in reversed(range(AHEAD + 1))))
        self.step = picked(self.place, self._steps)
        self.is_none = picked(self.place, [*self._nones])
        m.d.comb += self.front.eq(picked(bit, [
            reach[len(reach) - MAX_LENGTH - n:][:MAX_LENGTH] for n in range(8)]))

    def _write(self, m: Module, is_code: Value) -> None:
        """Take a beat, while less than all slots are in use."""
        octets, slots = self._beat_octets, len(self.octets)
        used = Signal(range(slots))
        m.d.comb += [used.eq(self.end - self.place[3:]), self.room.eq(used < slots - octets)]
        with m.If(self.taken):
            m.d.sync += self.end.eq(self.end + octets)
        for n, octet in enumerate(self.octets):
            with m.If(self.taken & (self.end[octets.bit_length() - 1:] == n // octets)):
                m.d.sync += octet.eq(self.beat.word_select(n % octets, 8))

    def _work(self, m: Module, code: Code, is_code: Value) -> None:
        """Go through the bytes, a beat's at a time, and find the steps of theirs."""
        octets, slots = self._beat_octets, len(self.octets)
        groups, ahead, low = slots // octets, AHEAD // octets, octets.bit_length() - 1
        at, turn, there = Signal(range(groups)), Signal(range(ahead)), Signal(range(groups))
        is_whole, chosen, behind = Signal(), Signal(range(groups)), Signal(range(ahead + 1))
        valid, group, known = Signal(2), [Signal.like(at) for _ in range(2)], Signal.like(behind)
        m.d.comb += [there.eq(self.end[low:] - at), is_whole.eq(there > ahead),
                     chosen.eq(Mux(is_whole, at, at + turn)),
                     behind.eq(Mux(is_whole, ahead, there - 1 - turn))]
        m.d.sync += [turn.eq(Mux(is_whole | (turn + 1 >= there), 0, turn + 1)),
                     at.eq(at + is_whole), valid.eq(Cat(is_whole | (turn < there), valid[0])),
                     group[0].eq(chosen), group[1].eq(group[0])]
        with m.If(~is_code):
            m.d.sync += [at.eq(self.following[3 + low:]), turn.eq(0), valid.eq(0)]

        # Those bytes, and zeros for what is not there; then for each bit what lengths go beyond.
        window = Signal(8 * octets * (ahead + 1), reset_less=True)
        beyond = Signal(8 * octets * MAX_LENGTH, reset_less=True)
        firsts = [Cat(*reversed(self.octets[n:n + octets])) for n in range(0, slots, octets)]
        last = Signal.like(behind)
        m.d.sync += [window.eq(Cat(*(
            picked(chosen, _turned(firsts, n)) & (behind >= n).replicate(8 * octets)
            for n in reversed(range(ahead + 1))))), last.eq(behind), known.eq(last)]
        m.d.sync += beyond.eq(Cat(*(
            code.beyond(window[len(window) - MAX_LENGTH - n:][:MAX_LENGTH])
            for n in range(8 * octets))))
        for n in range(8 * octets):
            longer = beyond.word_select(n, MAX_LENGTH)
            step, is_none = Signal.like(self.place), longer[-1]
            lengths = Cat(Const(1, 1), longer)[:MAX_LENGTH] & ~longer & self._there(n, known)
            m.d.comb += step.eq(Cat(Const(0, 3 + low), group[1]) + n + chosen_of(
                lengths, (Const(length, 4) for length in range(1, MAX_LENGTH + 1))))
            for g in range(groups):
                place = 8 * octets * g + n
                with m.If(valid[1] & (group[1] == g)):
                    m.d.sync += [self._steps[place].eq(step), self._nones[place].eq(is_none)]
                with m.If(~is_code | (self.taken & (self.end[low:] == g))):
                    m.d.sync += [self._steps[place].eq(place), self._nones[place].eq(0)]

    def _there(self, n: int, behind: Value) -> Value:
        """For each length whether a code of it at bit ``n`` is there with so many beats behind."""
        beat = 8 * self._beat_octets
        return Cat(behind >= max(0, -(-(n + length) // beat) - 1)
                   for length in range(1, MAX_LENGTH + 1))


def picked(index: Value, values: Sequence[Value]) -> Value:
    """The value of that number, of a power of two of them, as a tree."""
    values = list(values)
    for bit in index:
        values = [Mux(bit, high, low) for low, high in zip(values[::2], values[1::2], strict=True)]
    (value,) = values
    return value


def _turned(values: Sequence[Value], count: int) -> list[Value]:
    """Those from the number ``count`` on, and then those before."""
    return [*values[count:], *values[:count]]
