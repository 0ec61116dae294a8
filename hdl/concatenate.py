"""The channels of several streams in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .checks import at_least
from .counter import counter_end
from .stream import Beat, PassesReady, beats

__all__ = ["Concatenator", "ConcatenatorShape"]


@dataclass(frozen=True)
class ConcatenatorShape:
    """Structure of a `Concatenator`; see there for its parameters."""

    channels: tuple[int, ...]
    lanes: int

    def __post_init__(self) -> None:
        at_least(1, lanes=self.lanes, **{f"channels_{n}": c for n, c in enumerate(self.channels)})
        if not self.channels:
            raise ValueError("channels must not be empty")
        if not self.is_whole and any(count % self.lanes for count in self.channels[:-1]):
            raise ValueError(f"lanes must be all channels, or divide those of every input but the "
                             f"last, not {self.lanes!r} for {self.channels!r}")

    @property
    def is_whole(self) -> bool:
        """Whether a beat has all channels of a pixel."""
        return self.lanes == sum(self.channels)

    @property
    def i_lanes(self) -> tuple[int, ...]:
        """Elements of a beat of each input."""
        return self.channels if self.is_whole else (self.lanes,) * len(self.channels)

    @property
    def turns(self) -> tuple[int, ...]:
        """Beats that a pixel has of each input."""
        return tuple(beats(count, lanes)
                     for count, lanes in zip(self.channels, self.i_lanes, strict=True))

    @property
    def latency(self) -> int:
        """Cycles from the last beat that an output beat is made of to that."""
        return 1


class Concatenator(PassesReady):
    """``o = i_0, i_1, ...``, channel behind channel; latency 1, one output beat a cycle.

    An output beat has all channels of a pixel, and takes a beat of every input at once; or as many
    as the inputs' beats have, which go out by turns: all that a pixel has of ``i_0``, then all that
    it has of ``i_1``, and so on.

    Parameters
    ----------
    i_shapes, o_shape : element shapes; ``o_shape`` holds the values of each of the others.
    channels : those of each input; of every one, a group.
    lanes : elements of an output beat: all channels, or as many as divide the channels of every
        input but the last.

    Members
    -------
    i_0, i_1, ... : streams of ``Beat(i_shapes[k], lanes)``, or of ``Beat(i_shapes[k],
        channels[k])`` where an output beat has all channels. Frames are of equally many pixels.
    o : stream of ``Beat(o_shape, lanes)``.
    """

    def __init__(self, i_shapes: Sequence[ShapeLike], o_shape: ShapeLike, *,
                 channels: Sequence[int], lanes: int) -> None:
        self._shape = ConcatenatorShape(tuple(channels), lanes)
        if len(i_shapes) != len(channels):
            raise ValueError(f"i_shapes and channels must be equally many, not {len(i_shapes)} and "
                             f"{len(channels)}")
        members = {f"i_{n}": In(stream.Signature(Beat(shape, count))) for n, (shape, count) in
                   enumerate(zip(i_shapes, self._shape.i_lanes, strict=True))}
        super().__init__({**members, "o": Out(stream.Signature(Beat(o_shape, lanes)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        inputs = [getattr(self, f"i_{n}") for n in range(len(shape.channels))]
        payload = Signal(self.o.payload.shape(), reset_less=True)
        flow, valid, last = Signal(), Signal(), Signal()
        valids = Cat(i.valid for i in inputs)
        if shape.is_whole:
            m.d.comb += [valid.eq(valids.all()), last.eq(inputs[-1].p.last)]
            # An input is ready for its own beat when those of the others are there.
            m.d.comb += [i.ready.eq(flow & (valids | 1 << n).all()) for n, i in enumerate(inputs)]
            elements = [i.p.data[lane] for n, i in enumerate(inputs)
                        for lane in range(shape.channels[n])]
        else:
            turn = self._turn(m, inputs)
            m.d.comb += [valid.eq((valids & turn).any()), last.eq(inputs[-1].p.last & turn[-1])]
            m.d.comb += [i.ready.eq(flow & turn[n]) for n, i in enumerate(inputs)]
            elements = []
            for lane in range(shape.lanes):
                element = inputs[-1].p.data[lane]
                for n, i in enumerate(inputs[:-1]):
                    element = Mux(turn[n], i.p.data[lane], element)
                elements.append(element)
        m.d.comb += [flow.eq(self.o.ready | ~self.o.valid), self.o.payload.eq(payload)]
        with m.If(flow):
            m.d.sync += [self.o.valid.eq(valid), payload.last.eq(last)]
            m.d.sync += [payload.data[lane].eq(element) for lane, element in enumerate(elements)]
        return m

    def _turn(self, m: Module, inputs: Sequence[Any]) -> Value:
        """Whose beat is next, one-hot."""
        turn = Signal(len(inputs), init=1)
        ends = []
        for n, (i, count) in enumerate(zip(inputs, self._shape.turns, strict=True)):
            take = i.valid & i.ready
            ends.append(take & counter_end(m, f"i_{n}", take, count))
        with m.If(Cat(ends).any()):
            m.d.sync += turn.eq(turn.rotate_left(1))
        return turn
