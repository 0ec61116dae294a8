"""Results of tiles in the order of the map: parts of a memory take turns."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .fill import Filler, Spelling, chain, fill_members
from .steady import delay, has_credit
from .stream import Beat, Queue
from .tech import MemoryStyle, Technology
from .tile_shape import TileShape

__all__ = ["TileResults"]


class TileResults(Block):
    """Put results in order, which come output by output for all positions of a tile at once.

    Each processing element has a memory of ``shape.parts`` parts: one is filled while another is
    read, position by position, all outputs of each. Its words are an output's results at all
    positions; or these wait in a register and come in one after the other, in ``shape.pieces``,
    none later than it is read, as positions are read in that order. A beat a cycle; the first of a
    tile leaves ``shape.results.latency`` cycles after the cycle that follows its end, where none is
    on its way.

    Parameters
    ----------
    shape : the engine's structure.
    total_bits : width of a result, which is signed.
    style : where the memories live.
    technology : supplies memories.

    Members
    -------
    start : In(1), a tile begins, which will need a part.
    room : Out(1), whether there is one for a further tile; a register.
    totals : In(pe * lanes * total_bits), those of a processing element together.
    writes : In(pe), whether those of an element are an output's results.
    end : In(1), with the last results of a tile.
    o : stream of ``Beat(signed(total_bits), o_lanes)``; a position is a group.
    load, loaded : see `penjing.hdl.fill.Filler`; where ``shape.dealt``: for each output of each
        beat, the element that makes it, and above that which of its outputs it is.
    """

    def __init__(self, shape: TileShape, total_bits: int, *, style: MemoryStyle,
                 technology: Technology) -> None:
        self._shape = shape
        self._bits = total_bits
        self._style = style
        self._technology = technology
        self._dealing = [Filler(shape.pixel_beats, Spelling(
            shape.o_lanes, shape.source_bits + shape.slot_bits))] if shape.dealt else []
        super().__init__({
            "start": In(1), "room": Out(1, init=1),
            "totals": In(shape.pe * shape.lanes * total_bits), "writes": In(shape.pe),
            "end": In(1), "o": Out(stream.Signature(Beat(signed(total_bits), shape.o_lanes))),
            **fill_members(self._dealing)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        issue, tile_end = Signal(), Signal()
        m.submodules.queue = queue = Queue(self.o.p.shape(), shape.results.queue_depth)
        wiring.connect(m, wiring.flipped(self.o), queue.o)
        filled = self._parts(m, tile_end)
        credit = has_credit(m, self.o, issue, shape.results.queue_depth - 1)
        m.d.comb += issue.eq(filled.any() & credit)
        beat, position, piece, frame_end = self._order(m, issue, tile_end)
        slots, sources = (self._loaded_order if shape.dealt else self._fixed_order)(m, beat)
        words = self._memories(m, slots, piece, tile_end)
        at = delay(m, "position", position, 3)
        chosen = [self._at(m, n, word, at) for n, word in enumerate(words)]
        source = delay(m, "source", sources, 3)
        bits = shape.source_bits
        for lane in range(shape.o_lanes):
            result = Signal(self._bits, name=f"result_{lane}", reset_less=True)
            with m.Switch(source[lane * bits:(lane + 1) * bits]):
                for n in range(shape.pe):
                    with m.Case(n) if bits else m.Default():
                        m.d.sync += result.eq(chosen[n])
            m.d.comb += queue.i.p.data[lane].eq(result.as_signed())
        depth = shape.results.depth
        m.d.comb += [queue.i.valid.eq(delay(m, "issued", issue, depth, reset_less=False)),
                     queue.i.p.last.eq(delay(m, "last", frame_end, depth))]
        return m

    def _parts(self, m: Module, tile_end: Value) -> Signal:
        """How many parts are full; those in use, too, are at most all."""
        parts = self._shape.parts
        used, filled, next_used = (Signal(range(parts + 1), name=name)
                                   for name in ("used", "filled", "next_used"))
        m.d.comb += next_used.eq(used + self.start - tile_end)
        m.d.sync += [used.eq(next_used), self.room.eq(next_used < parts),
                     filled.eq(filled + self.end - tile_end)]
        return filled

    def _order(self, m: Module, issue: Value, tile_end: Signal
               ) -> tuple[Value, Value, Value, Value]:
        """Which beat of which position of a piece is read, and whether it is the frame's last."""
        shape = self._shape
        ends: list[Value] = []
        counts: list[Value] = []
        step: Value = issue
        for name, length in (("beat", shape.pixel_beats), ("position", shape.piece_lanes),
                             ("piece", shape.pieces), ("tile", shape.tiles)):
            count = Signal(range(length), name=name)
            end = Signal(name=f"{name}_end")
            m.d.comb += end.eq(step & (count == length - 1))
            with m.If(step):
                m.d.sync += count.eq(Mux(end, 0, count + 1))
            counts.append(count)
            ends.append(end)
            step = end
        m.d.comb += tile_end.eq(ends[2])
        return counts[0], counts[1], counts[2], ends[3]

    def _memories(self, m: Module, slots: Sequence[Value], piece: Value, tile_end: Value
                  ) -> list[Value]:
        """The words of all elements in their ``slots``, two cycles later, for a ``piece`` of the
        cycle before these."""
        shape = self._shape
        width = shape.piece_lanes * self._bits
        written, read = (Signal(range(shape.parts), name=name) for name in ("written", "read"))
        m.d.sync += [written.eq(written + self.end), read.eq(read + tile_end)]
        part, piece = delay(m, "read_part", read, 1), delay(m, "read_piece", piece, 1)
        words: list[Value] = []
        for n, turns in enumerate(shape.turns):
            slot = Signal(range(shape.slots), name=f"slot_{n}")
            with m.If(self.writes[n]):
                m.d.sync += slot.eq(Mux(slot == turns - 1, 0, slot + 1))
            ram = self._technology.ram(width, shape.result_words, self._style, registered=True)
            m.submodules[f"memory_{n}"] = ram
            write, address, word = self._written(m, n, Cat(slot, written))
            m.d.comb += [
                ram.write_address.eq(address), ram.write_data.eq(word), ram.write_enable.eq(write),
                ram.read_address.eq(Cat(piece, slots[n], part))]
            words.append(ram.read_data)
        return words

    def _written(self, m: Module, n: int, place: Value) -> tuple[Value, Value, Value]:
        """Whether a word of an output's results is written, whose words are at ``place``, where and
        which."""
        shape, width = self._shape, self._shape.lanes * self._bits
        totals = self.totals.word_select(n, width)
        if shape.pieces == 1:
            return self.writes[n], place, totals
        rest = Signal(width, name=f"rest_{n}", reset_less=True)
        held = Signal(len(place), name=f"held_place_{n}", reset_less=True)
        piece = Signal(range(shape.pieces), name=f"held_piece_{n}", reset_less=True)
        busy = Signal(name=f"busy_{n}")
        word = rest[:width // shape.pieces]
        with m.If(self.writes[n]):
            m.d.sync += [rest.eq(totals), held.eq(place), piece.eq(0), busy.eq(1)]
        with m.Else():
            m.d.sync += [rest.eq(rest[len(word):]), piece.eq(piece + 1)]
            with m.If(piece == shape.pieces - 1):
                m.d.sync += busy.eq(0)
        return busy, Cat(piece, held), word

    def _loaded_order(self, m: Module, beat: Value) -> tuple[list[Value], Value]:
        """Which of its outputs each element has in a ``beat``, and the elements that this has its
        lanes from, side by side, a cycle later: as a stream says."""
        shape, (order,) = self._shape, self._dealing
        m.submodules.order = order
        chain(m, self, [order])
        width = shape.source_bits + shape.slot_bits
        ram = self._technology.ram(len(order.word), shape.pixel_beats, MemoryStyle.DISTRIBUTED)
        m.submodules.orders = ram
        m.d.comb += [ram.write_address.eq(order.address), ram.write_data.eq(order.word),
                     ram.write_enable.eq(order.write), ram.read_address.eq(beat),
                     ram.read_enable.eq(1)]
        lanes = [ram.read_data.word_select(lane, width) for lane in range(shape.o_lanes)]
        sources = [lane[:shape.source_bits] for lane in lanes]
        if len(lanes) == 1:
            return [lanes[0][shape.source_bits:]] * shape.pe, sources[0]
        # No two lanes come from one element, so at most one of them is it.
        slots = [Cat(Cat((source == n) & lane[shape.source_bits + bit]
                         for source, lane in zip(sources, lanes, strict=True)).any()
                     for bit in range(shape.slot_bits)) for n in range(shape.pe)]
        return slots, Cat(sources)

    def _fixed_order(self, m: Module, beat: Value) -> tuple[list[Value], Value]:
        """The same as the shape says."""
        slots = [self._slot(m, n, beat) for n in range(self._shape.pe)]
        return slots, self._sources(m, beat)

    def _slot(self, m: Module, n: int, beat: Value) -> Value:
        """Which of its outputs the element ``n`` has in a ``beat``, a cycle later."""
        shape, bits = self._shape, self._shape.slot_bits
        slots = [0] * shape.pixel_beats
        for slot, output in enumerate(shape.outputs[n]):
            slots[output // shape.o_lanes] = slot
        return self._table(m, f"slots_{n}", slots, bits, beat)

    def _sources(self, m: Module, beat: Value) -> Value:
        """The elements that a ``beat`` has its lanes from, side by side, a cycle later."""
        shape, bits = self._shape, self._shape.source_bits
        words = [0] * shape.pixel_beats
        for n, outputs in enumerate(shape.outputs):
            for output in outputs:
                beat_of, lane = divmod(output, shape.o_lanes)
                words[beat_of] |= n << lane * bits
        return self._table(m, "sources", words, shape.o_lanes * bits, beat)

    def _table(self, m: Module, name: str, words: Sequence[int], bits: int, beat: Value) -> Value:
        """What the table of ``words`` has for a ``beat``, a cycle later."""
        if bits == 0:
            return Const(0, 0)
        if list(words) == list(range(len(words))):
            return delay(m, name, beat, 1)
        rom = self._technology.rom(words, bits, MemoryStyle.LOGIC)
        m.submodules[name] = rom
        m.d.comb += rom.address.eq(beat)
        return rom.data

    def _at(self, m: Module, n: int, word: Value, position: Value) -> Signal:
        """The result at a ``position`` of an element's ``word``, a cycle later."""
        chosen = Signal(self._bits, name=f"chosen_{n}", reset_less=True)
        m.d.sync += chosen.eq(word.word_select(position, self._bits))
        return chosen
