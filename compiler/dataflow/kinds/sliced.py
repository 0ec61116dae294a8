"""The engine of depthwise convolutions, and of those in groups: slice by slice, tap by tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.dot_array import DotShape
from ....hdl.engine import EngineShape
from ....hdl.tech import Technology
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...ir import Integers
from ..fold import Fold, quotients
from ..port import Port
from ..site import Site
from .ask import Ask
from .engine import Multiplying, channel_groups, dsp_blocks, multiplies, output_lanes, pad_code
from .kind import Stages
from .stores import store_of
from .window import window_of


@dataclass(frozen=True, kw_only=True)
class Sliced(Multiplying):
    """Takes whole groups of channels with all their outputs, and no product is idle.

    Its frame's ``simd`` are the channels of a group.
    """

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether ``fold`` has all outputs of whole groups, and one tap of them."""
        layer = site.layer
        if isinstance(layer, ir.Depthwise):
            return True
        if not isinstance(layer, ir.Convolution) or layer.groups == 1:
            return False
        terms, outputs = channel_groups(site)
        return (fold.pe == outputs and fold.rows == 1 and fold.lanes % terms == 0
                and fold.lanes <= site.geometry.size[2])

    @classmethod
    def proposals(cls, site: Site, ask: Ask) -> Iterator[Fold]:
        """For each number of slices, the fewest lanes."""
        shape = site.geometry
        terms, outputs = channel_groups(site)
        if terms == shape.size[2] and not isinstance(site.layer, ir.Depthwise):
            return
        for slices in quotients(shape.size[2] // terms):
            if ask.allows(shape.positions * shape.taps * slices):
                yield Fold(outputs, 1, -(-shape.size[2] // terms // slices) * terms)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        layer, shape = multiplies(site), site.geometry
        terms, _ = channel_groups(site)
        # The outputs of a slice are ready together: to the frame, they are one group.
        outputs = fold.products // terms
        store = store_of(layer.weights, zeros=len(layer.bias) % outputs > 0)
        array = DotShape(terms)
        frame = EngineShape(outputs, terms, shape.taps, site.result.shape[2],
                            output_lanes(outputs, shape.taps), store.latency + array.depth,
                            array.results_latency, fold.lanes // terms)
        return cls(
            inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
            store=store,
            storage=store.storage(ask.fabric, frame.words, fold.products * store.bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, store.value_bits, fold.products))

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read tap by tap."""
        return window_of(site.geometry, self.fold.lanes, per_channel=True)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        fill = pad_code(site, self.carried(site)[0])
        return [*self.window_blocks(site, technology, fill),
                ("depthwise", self.assembled(site, self.weights(site), technology))]

    def weights(self, site: Site) -> Integers:
        """Weights in the order of the reads: (slices * taps, outputs, terms)."""
        layer, outputs, terms = multiplies(site), self.frame.pe, self.frame.simd
        values = layer.weights.values.reshape(len(layer.bias), -1, terms)
        padded = np.pad(values, ((0, -len(values) % outputs), (0, 0), (0, 0)))
        slices = padded.reshape(-1, outputs, values.shape[1], terms).transpose(0, 2, 1, 3)
        return slices.reshape(-1, outputs, terms)
