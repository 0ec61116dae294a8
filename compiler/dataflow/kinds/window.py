"""What all kinds share that read their input through a window buffer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import ClassVar, Self

from ....hdl.tech import Technology
from ....hdl.window import Window
from ....hdl.window_geometry import WindowGeometry
from ...cost import Fabric, Memory, Resources, Storage, memories, streams
from ...cost.memories import index_bits
from ...ir import PenjingError
from .. import control, geometry, timing, window_control
from ..gears import Gear, gears
from ..port import Port
from ..site import Site
from .ask import Ask
from .kind import Kind, Stages, shape_of, style

MAX_READS = 1 << 26
"""The most words that the windows of a frame read, each of which is looked at."""
WIDE_TURN = 3
"""Bits of a rotation that take a choice each; from the next one on there is one more in all."""


@dataclass(frozen=True)
class Buffer:
    """The window's memory: ``words`` words, and where they are."""

    words: int
    storage: Storage


@dataclass(frozen=True, kw_only=True)
class Buffered(Kind):
    """A kind behind a buffer, which has no size before the whole network has a plan."""

    buffer: Buffer | None = None

    @abstractmethod
    def buffered(self, site: Site, fabric: Fabric, depth: int) -> Self:
        """The same with a buffer that holds ``depth`` words."""


@dataclass(frozen=True, kw_only=True)
class Windowed(Buffered):
    """A kind behind a window; what ``borders`` begins with its frame, if no sooner."""

    borders: ClassVar[bool] = False

    @abstractmethod
    def window(self, site: Site) -> WindowGeometry:
        """The window's geometry and the order of its reads."""

    @abstractmethod
    def outputs(self, site: Site) -> timing.Outputs:
        """The output beats that each position makes."""

    @abstractmethod
    def reader(self, site: Site) -> window_control.Reader:
        """What takes the window's beats."""

    def behind(self, site: Site) -> tuple[control.Block, ...]:
        """What moves on what the reader makes."""
        return ()

    def gears(self, site: Site) -> tuple[Gear, ...]:
        """What makes buffer words of the beats that come in."""
        window = self.window(site)
        return gears(self.i, window.lanes, window.elements)

    def cycles(self, site: Site) -> int:
        """Reads, input beats or buffer words, whatever are most."""
        window = self.window(site)
        reads = site.geometry.positions * window.reads
        return max(reads, self.i.beats(window.elements), window.words)

    def stage(self, site: Site) -> timing.Windowed:
        """When words come in, are read, and are free again."""
        window, shape = self.window(site), site.geometry
        reads = shape.positions * window.reads * window.rows
        if reads > MAX_READS:
            raise PenjingError(f"layer {site.name}: its windows of {shape.kernel[0]}×"
                               f"{shape.kernel[1]} read {reads} words a frame, more than "
                               f"{MAX_READS}; give a smaller kernel or map")
        order = geometry.Order(shape, window.lanes, window.rows, window.per_channel)
        return timing.Sliding(
            window.elements, self.i, window.lanes,
            sum(gear.shape.latency for gear in self.gears(site)),
            geometry.waits_of(order, border=self.borders), order.beats,
            geometry.freed_words(shape, window.lanes), window.repeat, self.outputs(site),
            tuple(gear.flow for gear in self.gears(site)), self.behind(site),
            order=order, reader=partial(self.reader, site))

    def buffered(self, site: Site, fabric: Fabric, depth: int) -> Self:
        """The same with a buffer that holds ``depth`` words."""
        return replace(self, buffer=self._of_depth(site, fabric, depth))

    def _of_depth(self, site: Site, fabric: Fabric, depth: int) -> Buffer:
        """The buffer that holds ``depth`` words."""
        words = 1 << max(1, (depth - 1).bit_length())
        width = self._width(site) // self.window(site).banks
        return Buffer(words, memories.ram_storage(fabric, words, width))

    def _width(self, site: Site) -> int:
        """Bits of a buffer word."""
        return self.window(site).lanes * self.carried(site)[0].bits

    def memories(self, site: Site) -> tuple[Memory, ...]:
        """The buffer, a copy for each row that is read at once."""
        assert self.buffer is not None
        return (Memory("window", self.buffer.words, self._width(site), self.buffer.storage,
                       self.window(site).rows),)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """What makes the window's words, and all that does not depend on how its input comes."""
        return self.gear_cells(site, fabric) + self.own_cells(site, fabric)

    def gear_cells(self, site: Site, fabric: Fabric) -> Resources:
        """What makes the window's words."""
        (source,) = self.carried(site)
        return sum((gear.cells(fabric, source.bits) for gear in self.gears(site)), Resources())

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The window, whose words come as it takes them.

        As long as it has no buffer, the least counts that its kernel can do with.
        """
        window, (source,) = self.window(site), self.carried(site)
        rows = window.kernel[0] - 1 + (window.passes > 1)
        reach = rows * window.row_step + window.kernel[1] * window.size[2]
        buffer = self.buffer or self._of_depth(site, fabric, -(-reach // window.lanes))
        return _window_cells(fabric, window, buffer, source.bits)

    def window_blocks(self, site: Site, technology: Technology, fill: int = 0) -> Stages:
        """The window, behind what makes its words; ``fill`` is what lies beyond the edges."""
        window, shape = self.window(site), shape_of(self.carried(site)[0])
        assert self.buffer is not None
        return [*(gear.block(shape) for gear in self.gears(site)),
                ("window", Window(shape, window, depth=self.buffer.words, fill=fill,
                                  style=style(self.buffer.storage), technology=technology))]


def sliced_port(site: Site, ask: Ask, reads: int) -> Port:
    """The fewest lanes at which so many ``reads`` of a channel are fast enough.

    They are a few more where those need no gearbox.
    """
    i, channels = ask.inputs[0], site.source.shape[2]
    lanes = ask.port(channels, reads).lanes
    if (lanes < i.lanes < 2 * lanes and i.lanes <= channels
            and not gears(i, i.lanes, site.source.elements)):
        # A few lanes more cost less than a gearbox, which is slow besides.
        lanes = i.lanes
    return Port(lanes, channels)


@lru_cache(maxsize=8192)
def window_of(shape: geometry.Geometry, lanes: int, rows: int = 1, repeat: int = 1, *,
              per_channel: bool = False) -> WindowGeometry:
    """The window that slides over a ``shape``, read in words of so many ``lanes``."""
    return WindowGeometry(shape.size, shape.kernel, shape.stride, shape.padding, lanes, rows,
                          repeat, shape.passes, per_channel, shape.gathers)


@lru_cache(maxsize=8192)
def _window_cells(fabric: Fabric, window: WindowGeometry, buffer: Buffer, bits: int) -> Resources:
    """Cells of a window buffer, its addresses, rotation and padding; elements have ``bits``."""
    logic, rows, banks = fabric.logic, window.rows, window.banks
    turned, width, elements = banks > 1, window.count_bits(buffer.words), rows * window.lanes
    low, turn = index_bits(buffer.words), index_bits(banks)
    choices = turn + (turn > WIDE_TURN)
    changing = _changing([delta // window.lanes % (1 << width) for delta in window.changes])
    # Counts of frames end in the zeros that the words of one end in.
    frame = width - (window.words & -window.words).bit_length() + 1
    # Words that are written and in use, and whether the oldest is free; of each row, where it
    # reads next, and whether it must wait for that or still waits. Of frames, the next end, and
    # whether the words of this one and of the next are there.
    sums = 3 + 3 * rows + turned * (1 + 2 * rows)
    counts = [loop.count for loop in window.loops]
    luts = (fabric.sums(width, sums) + fabric.sums(frame, 3) + width * logic.mux
            + fabric.counters(sum(map(index_bits, counts)))
            + elements * bits * logic.mux * choices
            + elements * bits * logic.pad * any(window.padding))
    ffs = (3 * width + 3 * frame + rows * (2 * width + 1)
           + changing + streams.counter_ffs(*counts) + elements * bits)
    if turned:
        # The word after that which is read, and which banks need it; what turns goes all the way.
        luts += rows * (fabric.sums(low) + low * (banks - 1) * logic.mux)
        ffs += width + rows * (width + low + banks - 1 + 4 * turn) + _changing(
            [delta % window.lanes // window.unit for delta in window.changes])
    if window.gathers:
        # Each of these bits is told by which tap is read, of the way to the next tap, slice and
        # output; counters that end choose among these and the ways beyond.
        told = changing + any(window.padding[:2]) + any(window.padding[2:])
        tables = 3 * -(-len(window.moves) // fabric.silicon.table_words)
        luts += told * (tables + len(window.loops) * logic.mux)
    # What the counters say is kept where they have gone on, which a register tells them to do: who
    # of them ends, and what is padding.
    kept = sum(count > 1 for count in counts) + bool(window.gathers) * sum(map(index_bits, counts))
    if any(window.padding):
        # A comparison tells each row and column of padding from others.
        luts += sum(fabric.sums(index_bits(count), sum(pads)) for count, pads in
                    zip(window.positions, (window.padding[:2], window.padding[2:]), strict=True))
        columns = _flags(window)
        padded = any(window.padding[:2]) * rows + columns
        kept += padded
        ffs += 2 * padded + 2 * rows * max(1, columns)
    luts += kept * logic.mux
    ffs += kept + 1
    return (memories.ram(fabric, buffer.storage, buffer.words, bits * window.lanes // banks)
            * (rows * banks) + fabric.control.window.cells
            + Resources(luts=round(luts), ffs=ffs))


def _changing(values: Sequence[int]) -> int:
    """Bits of a register that takes ``values``: of equal ones one, of constant ones none."""
    columns = {tuple(value >> bit & 1 for value in values)
               for bit in range(max(values).bit_length())}
    return sum(len(set(column)) > 1 for column in columns)


def _flags(window: WindowGeometry) -> int:
    """Flags that say whether elements lie between the left and the right edge."""
    return len(window.different_columns) if any(window.padding[2:]) else 0
