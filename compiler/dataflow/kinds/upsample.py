"""Rows and columns several times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.tech import Technology
from ....hdl.upsample import Upsampler, upsampler_window
from ....hdl.window import READ_LATENCY
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...ir import TensorType
from .. import timing, window_control
from ..site import Site
from .ask import Ask
from .kind import Stages, carried_as_is, shape_of, style
from .window import Windowed, sliced_port


@dataclass(frozen=True, kw_only=True)
class Enlargement(Windowed):
    """A window of one tap, whose buffer holds a row while that goes out several times."""

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """The fewest lanes that are fast enough, or a few more that need no gearbox."""
        height, width, _ = site.result.shape
        yield cls(inputs=ask.inputs, o=sliced_port(site, ask, height * width))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come."""
        return carried_as_is(site)

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read beat by beat."""
        return upsampler_window(site.source.shape, _factors(site), self.o.lanes)

    def outputs(self, site: Site) -> timing.Outputs:
        """A beat for each read."""
        reads = np.arange(self.window(site).reads)
        return timing.Outputs(reads, reads + READ_LATENCY)

    def reader(self, site: Site) -> window_control.Reader:
        """The way out."""
        return window_control.Passage()

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What makes words, and the window that is read several times."""
        (source,), buffer = self.carried(site), self.buffer
        assert buffer is not None
        shape = shape_of(source)
        upsampler = Upsampler(shape, source.shape, _factors(site), lanes=self.o.lanes,
                              depth=buffer.words, style=style(buffer.storage),
                              technology=technology)
        return [*(gear.block(shape) for gear in self.gears(site)), ("upsample", upsampler)]


def _factors(site: Site) -> tuple[int, int]:
    assert isinstance(site.layer, ir.Upsample)
    return site.layer.factors
