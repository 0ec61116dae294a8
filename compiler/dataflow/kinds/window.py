"""What all kinds share that read their input through a window buffer."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from ....hdl.tech import Technology
from ....hdl.window import Window
from ....hdl.window_geometry import WindowGeometry
from ...cost import Fabric, Memory, Resources, Storage, memories, streams
from .. import control, geometry, timing, window_control
from ..gears import Gear, gears
from ..site import Site
from .kind import Kind, Stages, shape_of, style


@dataclass(frozen=True)
class Buffer:
    """The window's memory: ``words`` words, and where they are."""

    words: int
    storage: Storage


@dataclass(frozen=True, kw_only=True)
class Windowed(Kind):
    """A kind behind a window buffer, which has no size before the whole network has a plan."""

    buffer: Buffer | None = None

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
        if window.per_channel:
            need = geometry.needed_words_per_channel(shape, window.lanes)
        else:
            need = geometry.needed_words(shape, window.lanes, window.rows)
        return timing.Windowed(
            window.elements, self.i, window.lanes,
            sum(gear.shape.latency for gear in self.gears(site)), need,
            geometry.freed_words(shape, window.lanes), window.repeat, self.outputs(site),
            self.reader(site), tuple(gear.flow for gear in self.gears(site)),
            self.behind(site))

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
        """The window, and what makes its words.

        As long as it has no buffer, the least counts that its kernel can do with.
        """
        window, (source,) = self.window(site), self.carried(site)
        reach = (window.kernel[0] - 1) * window.row_step + window.kernel[1] * window.size[2]
        buffer = self.buffer or self._of_depth(site, fabric, -(-reach // window.lanes))
        gears = (gear.cells(fabric, source.bits) for gear in self.gears(site))
        return sum(gears, streams.window(
            fabric, bits=source.bits, lanes=window.lanes, rows=window.rows, banks=window.banks,
            depth=buffer.words, storage=buffer.storage,
            address_bits=(4 * (window.words + buffer.words)).bit_length(),
            padded=any(window.padding)))

    def window_blocks(self, site: Site, technology: Technology, fill: int = 0) -> Stages:
        """The window, behind what makes its words; ``fill`` is what lies beyond the edges."""
        window, shape = self.window(site), shape_of(self.carried(site)[0])
        assert self.buffer is not None
        return [*(gear.block(shape) for gear in self.gears(site)),
                ("window", Window(shape, window, depth=self.buffer.words, fill=fill,
                                  style=style(self.buffer.storage), technology=technology))]


def sliced_window(site: Site, lanes: int) -> WindowGeometry:
    """The window that is read channel slice by channel slice, tap by tap."""
    shape = site.geometry
    return WindowGeometry(shape.size, shape.kernel, shape.stride, shape.padding, lanes=lanes,
                   per_channel=True)
