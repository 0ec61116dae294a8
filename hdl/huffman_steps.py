"""Bytes in a ring, and for each of their bits where the next code begins if one begins there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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
    limits of the ``code`` at once, and four cycles later it is known where the next code begins.
    That is so as soon as the bytes are there that a code may reach into; until then, and where none
    come, again and again with those that are there.

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
    step, is_known : where the code behind the one at ``place`` begins, and whether that is known.
    is_none : no code begins at ``place``. These are so only where ``place`` is not at the end.
    front : the bits from ``place`` on that a code may have, the first one highest.
    """

    def __init__(self, m: Module, code: Code, octets: int, is_code: Value) -> None:
        slots = SLOTS * octets
        self._beat_octets = octets
        self.beat, self.taken, self.room = Signal(8 * octets), Signal(), Signal()
        self.octets = [Signal(8, name=f"octet_{n}", reset_less=True) for n in range(slots)]
        self.end = Signal(range(slots))
        self.place, self.following = Signal(range(8 * slots)), Signal(range(8 * slots))
        self._steps = [Signal(range(8 * slots), name=f"step_{n}", reset_less=True)
                       for n in range(8 * slots)]
        self._known, self._nones = (Signal(8 * slots, name=name, reset_less=True)
                                    for name in ("known", "nones"))
        self.front = Signal(MAX_LENGTH)
        self._write(m, is_code)
        self._work(m, code, is_code)
        slot, bit = self.place[3:], self.place[:3]
        reach = Cat(*(picked(slot, _turned(self.octets, n)) for n in reversed(range(AHEAD + 1))))
        self.step = picked(self.place, self._steps)
        self.is_known, self.is_none = (picked(self.place, [*bits])
                                       for bits in (self._known, self._nones))
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
        """Go through the bytes, a beat's at a time, and find the steps of theirs.

        A cycle each to choose a beat, to take its bytes and those behind it, to compare, and to
        write down what is found.
        """
        octets, slots = self._beat_octets, len(self.octets)
        groups, ahead, low = slots // octets, AHEAD // octets, octets.bit_length() - 1
        valid = Signal(3)
        group, behind = ([Signal(range(size), name=f"{name}_{n}") for n in range(3)]
                         for name, size in (("group", groups), ("behind", ahead + 1)))
        is_valid = self._choose(m, is_code, group[0], behind[0])
        m.d.sync += valid.eq(Mux(is_code, Cat(is_valid, valid), 0))
        for row in (group, behind):
            m.d.sync += [after.eq(before) for before, after in pairwise(row)]

        # Those bytes, and zeros for what is not there; then for each bit what lengths go beyond.
        window = Signal(8 * octets * (ahead + 1), reset_less=True)
        beyond = Signal(8 * octets * MAX_LENGTH, reset_less=True)
        beats = [Cat(*reversed(self.octets[n:n + octets])) for n in range(0, slots, octets)]
        m.d.sync += [
            window.eq(Cat(*(picked(group[0], _turned(beats, n)) & (behind[0] >= n).replicate(
                8 * octets) for n in reversed(range(ahead + 1))))),
            beyond.eq(Cat(*(code.beyond(window[len(window) - MAX_LENGTH - n:][:MAX_LENGTH])
                            for n in range(8 * octets))))]
        for n in range(8 * octets):
            longer, step = beyond.word_select(n, MAX_LENGTH), Signal.like(self.place)
            lengths = (Cat(Const(1, 1), longer)[:MAX_LENGTH] & ~longer
                       & self._there(n, behind[-1]))
            ends = Signal(range(8 * octets + MAX_LENGTH))
            m.d.comb += [
                ends.eq(chosen_of(lengths, (Const(n + length, len(ends))
                                            for length in range(1, MAX_LENGTH + 1)))),
                step.eq(Cat(ends[:3 + low], ends[3 + low:] + group[-1]))]
            for g in range(groups):
                place = 8 * octets * g + n
                with m.If(valid[-1] & (group[-1] == g)):
                    m.d.sync += [self._steps[place].eq(step), self._known[place].eq(lengths.any()),
                                 self._nones[place].eq(longer[-1])]
                with m.If(~is_code | (self.taken & (self.end[low:] == g))):
                    m.d.sync += [self._known[place].eq(0), self._nones[place].eq(0)]

    def _choose(self, m: Module, is_code: Value, chosen: Signal, behind: Signal
                ) -> Value:
        """Which beat is next, and how many there are behind it: in registers; whether there is one.

        One that all beats are there for is done with.
        """
        octets, slots = self._beat_octets, len(self.octets)
        groups, ahead, low = slots // octets, AHEAD // octets, octets.bit_length() - 1
        at, turn, there = Signal(range(groups)), Signal(range(ahead)), Signal(range(groups))
        is_whole = Signal()
        m.d.comb += [there.eq(self.end[low:] - at), is_whole.eq(there > ahead)]
        m.d.sync += [turn.eq(Mux(is_whole | (turn + 1 >= there), 0, turn + 1)),
                     at.eq(at + is_whole), chosen.eq(Mux(is_whole, at, at + turn)),
                     behind.eq(Mux(is_whole, ahead, there - 1 - turn))]
        with m.If(~is_code):
            m.d.sync += [at.eq(self.following[3 + low:]), turn.eq(0)]
        return is_whole | (turn < there)

    def _there(self, n: int, behind: Value) -> Value:
        """For each length whether a code of it at bit ``n`` is there with so many beats behind."""
        beat = 8 * self._beat_octets
        return Cat(behind >= max(0, -(-(n + length) // beat) - 1)
                   for length in range(1, MAX_LENGTH + 1))


def picked(index: Value, values: Sequence[Value]) -> Value:
    """The value of that number, of a power of two of them, as a tree."""
    values = list(values)
    for n in range(len(index)):
        values = [Mux(index[n], high, low)
                  for low, high in zip(values[::2], values[1::2], strict=True)]
    (value,) = values
    return value


def _turned(values: Sequence[Value], count: int) -> list[Value]:
    """Those from the number ``count`` on, and then those before."""
    return [*values[count:], *values[:count]]
