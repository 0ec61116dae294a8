"""Matrix times vector where neither zeros of the matrix nor of the vector cost time."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .checks import at_least
from .column_pe import ColumnPe
from .column_reader import POINTER_LATENCY
from .column_shape import Entry, PeShape
from .drain import Drain, DrainShape
from .nonzero import NonZeros, difference, places
from .stream import Beat, SkidBuffer, connect
from .tech import MemoryStyle, Technology

__all__ = ["BroadcastEngine"]


class BroadcastEngine(Block):
    """``o[n] = bias[n] + sum(w[n][k] * (x[k] - zero))``, only where neither factor is 0.

    As EIE does (Han 2016): each activation that is not ``zero``, one a cycle, is given to all
    processing elements, which hold the rows of the matrix by turns, column by column. Queues in
    front of them even out that they have different numbers of weights in a column; while one is
    full that is wanted, no further activation comes. With two banks of sums, a vector's results
    leave while the next one is worked on. Cycles depend on the data;
    `penjing.compiler.dataflow.broadcast` counts them.

    Parameters
    ----------
    element : shape of an activation.
    pe : structure of the processing elements.
    drain : structure of the way out; its ``settle`` is the depth of ``pe``.
    lanes : activations of an input beat.
    inputs : activations of a vector.
    zero : the activation that is skipped.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    columns : for each processing element, the entries of each column.
    order : for each slot, the elements that have its rows, see `penjing.hdl.drain.Drain`.
    bias : of each output.
    style : where pointers and entries live.
    technology : supplies memories and multipliers.

    Members
    -------
    i : stream of ``Beat(element, lanes)``, ``drain.vectors`` a frame, each from a fresh beat on.
    o : stream of ``Beat(signed(pe.sum_bits), drain.o_lanes)``.
    """

    def __init__(self, element: ShapeLike, pe: PeShape, drain: DrainShape, *, lanes: int,
                 inputs: int, zero: int, dsp_multipliers: int,
                 columns: Sequence[Sequence[Sequence[Entry]]], order: Sequence[Sequence[int]],
                 bias: Sequence[int], style: MemoryStyle, technology: Technology) -> None:
        wanted = (drain.slots, drain.banks, places(inputs, lanes), drain.settle)
        given = (pe.rows, pe.banks, pe.places, pe.depth)
        if wanted != given:
            raise ValueError(f"pe must have the rows, banks, places and depth {wanted}, "
                             f"not {given}")
        if len(columns) != drain.pes or len(bias) != drain.outputs:
            raise ValueError(f"there must be columns for {drain.pes} elements and {drain.outputs} "
                             f"biases, not {len(columns)} and {len(bias)}")
        self._shape = drain
        self._nonzeros = NonZeros(element, lanes=lanes, columns=inputs, zero=zero)
        self._drain = Drain(pe.sum_bits, drain, order, technology=technology)
        spread = [[0] * pe.rows for _ in range(drain.pes)]
        for n, value in enumerate(bias):
            spread[order[n // drain.pes][n % drain.pes]][n // drain.pes] = value
        at_least(0, dsp_multipliers=dsp_multipliers)
        self._pes = [ColumnPe(difference(element, zero), pe, own, bias=start,
                              dsp=n < dsp_multipliers, style=style, technology=technology)
                     for n, (own, start) in enumerate(zip(columns, spread, strict=True))]
        super().__init__({
            "i": In(stream.Signature(Beat(element, lanes))),
            "o": Out(stream.Signature(Beat(signed(pe.sum_bits), drain.o_lanes)))})

    @property
    def drain_shape(self) -> DrainShape:
        """Structure of the way out."""
        return self._shape

    @property
    def weight_bits(self) -> int:
        """Bits of all that stands for weights, in all elements."""
        return sum(pe.weight_bits for pe in self._pes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.nonzeros = nonzeros = self._nonzeros
        m.submodules.drain = drain = self._drain
        m.submodules.skid = skid = SkidBuffer(nonzeros.o.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), nonzeros.i)
        connect(m, nonzeros, skid)
        wiring.connect(m, wiring.flipped(self.o), drain.o)
        # What is looked up moves on all at once, or waits.
        move, there, item = Signal(), skid.o.valid, skid.o.payload
        for n in range(POINTER_LATENCY):
            held = Signal(item.shape(), name=f"item_{n}", reset_less=True)
            is_there = Signal(name=f"is_there_{n}")
            with m.If(move):
                m.d.sync += [held.eq(item), is_there.eq(there)]
            there, item = is_there, held
        # A bank whose vector is complete takes no more until it is drained, nor does one after
        # reset.
        bank, closed = Signal(range(self._shape.banks)), Signal(self._shape.banks,
                                                          init=(1 << self._shape.banks) - 1)
        m.d.comb += [
            move.eq(~(there & (closed.bit_select(bank, 1)
                               | (item.some & Cat(pe.blocks for pe in self._pes).any())))),
            skid.o.ready.eq(move),
            drain.quiet.eq(closed.bit_select(drain.drained, 1)
                           & Cat(pe.idle for pe in self._pes).all()),
        ]
        with m.If(there & item.last & move):
            m.d.sync += bank.eq(Mux(bank == self._shape.banks - 1, 0, bank + 1))
        for n in range(self._shape.banks):
            with m.If(drain.end & (drain.drained == n)):
                m.d.sync += closed[n].eq(0)
            with m.If(there & item.last & move & (bank == n)):
                m.d.sync += closed[n].eq(1)
        for n, pe in enumerate(self._pes):
            m.submodules[f"pe_{n}"] = pe
            m.d.comb += [
                pe.place.eq(skid.o.p.place), pe.move.eq(move), pe.value.eq(item.value),
                pe.bank.eq(bank), pe.offer.eq(there & item.some), pe.drained.eq(drain.drained),
                pe.slot.eq(drain.slot), pe.clear.eq(drain.clear), drain.totals[n].eq(pe.total),
            ]
        return m
