"""What processing elements have for each of the outputs that they make, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .fill import FILL, Filler, Spelling, chain
from .sequencer import Sequencer, SequencerShape, counted
from .tech import MemoryStyle, Technology

__all__ = ["LoadableSlots", "in_slots"]


class LoadableSlots(Block):
    """For each processing element a `Sequencer` of its own of ``slots`` words, which a stream
    brings.

    ``SEQUENCER_LATENCY`` cycles after a cycle, ``data`` has the words that the elements' ``step``
    had come to in it. A word of the stream has those of all elements in one slot.

    Parameters
    ----------
    slots : words of an element.
    elements : how many there are.
    bits : of a word of an element.
    technology : supplies memories.

    Members
    -------
    step : In(elements).
    data : Out(elements * bits).
    load, loaded : see `Filler`.
    """

    def __init__(self, slots: int, elements: int, bits: int, *, technology: Technology) -> None:
        at_least(1, slots=slots, elements=elements, bits=bits)
        self._shape = SequencerShape(slots, bits, False)
        self._filler = Filler(slots, Spelling(elements, bits))
        self._technology = technology
        super().__init__({"step": In(elements), "data": Out(elements * bits), "load": In(FILL),
                          "loaded": Out(FILL)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.filler = filler = self._filler
        chain(m, self, [filler])
        shape, stepped = self._shape, Signal.like(self.step)
        m.d.sync += stepped.eq(self.step)
        for n in range(len(stepped)):
            ram = self._technology.ram(shape.width, shape.words, MemoryStyle.DISTRIBUTED)
            m.submodules[f"ram_{n}"] = ram
            m.d.comb += [
                ram.write_address.eq(filler.address), ram.write_enable.eq(filler.write),
                ram.write_data.eq(filler.word.word_select(n, shape.width)),
                ram.read_address.eq(counted(m, f"slot_{n}", stepped[n], shape)),
                ram.read_enable.eq(1), self.data.word_select(n, shape.width).eq(ram.read_data)]
        return m


def in_slots(m: Module, name: str, words: Sequence[Sequence[int]] | LoadableSlots, bits: int,
             step: Value, technology: Technology) -> list[Value]:
    """The words of ``bits`` bits that the elements' ``step`` had come to SEQUENCER_LATENCY ago.

    ``words`` are those of each element, or what a stream brings them to.
    """
    if isinstance(words, LoadableSlots):
        m.submodules[name] = words
        m.d.comb += words.step.eq(step)
        return [words.data.word_select(n, bits) for n in range(len(words.step))]
    found: list[Value] = []
    for n, own in enumerate(words):
        sequencer = Sequencer(own, bits, style=MemoryStyle.LOGIC, technology=technology)
        m.submodules[f"{name}_{n}"] = sequencer
        m.d.comb += sequencer.step.eq(step[n])
        found.append(sequencer.data)
    return found
