"""The engine that walks the non-zeros of its weights: neighbouring positions share each of them."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .block import Block
from .dot_product import WAY_LATENCY, DotProduct
from .entries import EntrySource
from .fill import chain, fill_members
from .sequencer import SEQUENCER_LATENCY
from .slots import LoadableSlots, in_slots
from .steady import delay, join
from .stream import Beat
from .tech import MULTIPLIER_LATENCY, MemoryStyle, Technology
from .tile_buffer import TileBuffer
from .tile_results import TileResults
from .tile_shape import READ_STAGES, TileShape

__all__ = ["TileEngine"]


class TileEngine(Block):
    """Sparse convolution: ``o[y, x, n] = bias[n] + sum(w * i[tap of (y, x), channel])``.

    The sum is over the entries that ``entries`` gives for the output n; a weight that it does not
    give takes neither memory nor time. ``shape.lanes`` neighbouring positions of a row, a tile,
    share an entry, so that they are busy together whatever its place; ``shape.pe`` outputs are
    made at once, each processing element walking entries of its own. A tile takes ``shape.steps``
    cycles and is begun when all that it reads is in and there is room for its results; nothing
    stalls within. The dense layer is the case of one position.

    Parameters
    ----------
    element : shape of an input element.
    shape : structure.
    entries : gives the entries of ``shape.pe`` processing elements.
    weight_bits : width of a weight, two's complement.
    bias : one integer an output; None if a stream brings them, which ``shape`` says, too.
    accumulator_bits : width of the results; the caller's interval analysis proves it wide enough.
    dsp_multipliers : how many of the multipliers are DSP blocks; the others are logic.
    fill : value of padded elements.
    buffer, results : where the rows of the map live, and results that wait for their turn.
    technology : supplies multipliers and memories.

    Members
    -------
    i : stream of ``Beat(element, shape.word)``; a pixel is a group.
    o : stream of ``Beat(signed(accumulator_bits), shape.o_lanes)``; a pixel is a group.
    load, loaded : see `penjing.hdl.fill.Filler`; if a stream brings entries, biases and, where the
        shape is ``dealt``, the order of the outputs, one after the other.
    """

    def __init__(self, element: ShapeLike, shape: TileShape, entries: EntrySource, *,
                 weight_bits: int, bias: Sequence[int] | None, accumulator_bits: int,
                 dsp_multipliers: int, fill: int, buffer: MemoryStyle, results: MemoryStyle,
                 technology: Technology) -> None:
        limit = 1 << accumulator_bits - 1
        if (bias is None) is not shape.loaded:
            raise ValueError("bias must be None where a stream brings it, and only there")
        if bias is not None and (len(bias) != shape.channels
                                 or not all(-limit <= b < limit for b in bias)):
            raise ValueError(f"bias must be {shape.channels} integers that fit "
                             f"{accumulator_bits} bits")
        if entries.latency != shape.entry_latency:
            raise ValueError(f"shape must have the entries' latency, {entries.latency}, "
                             f"not {shape.entry_latency}")
        self._shape = shape
        self._entries = entries
        self._weight_bits = weight_bits
        self._bits = accumulator_bits
        self._biases = (
            LoadableSlots(shape.slots, shape.pe, accumulator_bits, technology=technology)
            if bias is None else [[join([bias[output]], accumulator_bits) for output in outputs]
                                  for outputs in shape.outputs])
        self._dsps = dsp_multipliers
        self._technology = technology
        self._buffer = TileBuffer(element, shape, fill=fill, style=buffer, technology=technology)
        self._results = TileResults(shape, accumulator_bits, style=results, technology=technology)
        super().__init__({
            "i": In(stream.Signature(Beat(element, shape.word))),
            "o": Out(stream.Signature(Beat(signed(accumulator_bits), shape.o_lanes))),
            **fill_members(self._parts)})

    @property
    def _parts(self) -> tuple[wiring.Component, ...]:
        """What may have memories that are filled, in the order in which they are."""
        assert isinstance(self._entries, wiring.Component)
        biases = (self._biases,) if isinstance(self._biases, LoadableSlots) else ()
        return (self._entries, *biases, self._results)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, entries, buffer, results = self._shape, self._entries, self._buffer, self._results
        m.submodules.entries = entries
        m.submodules.buffer = buffer
        m.submodules.results = results
        wiring.connect(m, wiring.flipped(self.i), buffer.i)
        wiring.connect(m, wiring.flipped(self.o), results.o)
        start, step, end = self._steps(m)
        behind = shape.entry_latency
        m.d.comb += [
            buffer.start.eq(start), results.start.eq(start), entries.step.eq(step),
            buffer.places.eq(entries.places),
            buffer.end.eq(delay(m, "end", end, behind, reset_less=False)),
            results.end.eq(delay(m, "end", end, shape.sum_latency, reset_less=False)),
        ]
        self._sum(m)
        chain(m, self, self._parts)
        return m

    def _steps(self, m: Module) -> tuple[Value, Value, Value]:
        """A tile begins; it takes an entry; it ends."""
        shape = self._shape
        start, running, final = Signal(), Signal(), Signal()
        count = Signal(range(shape.steps))
        m.d.comb += [
            start.eq((~running | final) & self._buffer.complete & self._results.room),
            final.eq(running & (count == shape.steps - 1)),
        ]
        m.d.sync += running.eq(start | (running & ~final))
        with m.If(running):
            m.d.sync += count.eq(Mux(final, 0, count + 1))
        most = max(shape.lengths)
        step = running if most == shape.steps else running & (count < most)
        return start, step, final

    def _sum(self, m: Module) -> None:
        """Multiply and add: each element's entry with the inputs of all positions."""
        entries, lanes = self._entries, self._shape.lanes
        element = self._buffer.x.shape().elem_shape
        # Weights are wanted a cycle before the inputs, those of DSP blocks two.
        weights = delay(m, "weight", entries.weights, READ_STAGES - 1)
        near = Value.cast(self._buffer.x)
        far = delay(m, "far", near, 1)
        latency = MULTIPLIER_LATENCY + WAY_LATENCY
        until = READ_STAGES - 1 + latency
        take = delay(m, "take", entries.takes, until, reset_less=False)
        first = delay(m, "first", entries.firsts, until)
        lasts = entries.takes & entries.lasts
        m.d.comb += self._results.writes.eq(delay(m, "last", lasts, until + 1, reset_less=False))
        known = delay(m, "known", lasts, until - SEQUENCER_LATENCY, reset_less=False)
        biases = in_slots(m, "bias", self._biases, self._bits, known, self._technology)
        for n, bias in enumerate(biases):
            for lane in range(lanes):
                k = n * lanes + lane
                product = DotProduct(element, terms=1, weight_bits=self._weight_bits,
                                     dsp_multipliers=int(k < self._dsps), total_bits=self._bits,
                                     technology=self._technology)
                m.submodules[f"sum_{n}_{lane}"] = product
                x = near if k < self._dsps else far
                m.d.comb += [
                    product.x.eq(x.word_select(k, element.width)),
                    product.weights.eq(weights.word_select(n, self._weight_bits)),
                    product.bias.eq(bias.as_signed()), product.first.eq(first[n]),
                    product.take.eq(take[n]),
                    self._results.totals.word_select(k, self._bits).eq(product.total)]
