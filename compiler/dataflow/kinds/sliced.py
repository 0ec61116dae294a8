"""The engine of depthwise convolutions, and of those in groups: slice by slice, tap by tap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.depthwise import Depthwise
from ....hdl.dot_array import DotShape
from ....hdl.engine import EngineShape
from ....hdl.sequencer import SEQUENCER_LATENCY
from ....hdl.tech import Technology
from ....hdl.window_geometry import WindowGeometry
from ... import ir
from ...cost import Fabric, Resources, memories
from ..fold import Fold, quotients
from ..port import Port
from ..site import Site
from .engine import Engine, channel_groups, dsp_blocks, multiplies, output_lanes, pad_code
from .kind import Ask, Stages, shape_of
from .products import product_cells
from .window import sliced_window


@dataclass(frozen=True, kw_only=True)
class Sliced(Engine):
    """Takes whole groups of channels with all their outputs, and no product is idle.

    Its frame's ``simd`` are the channels of a group; ``dsps`` of the multipliers are DSP blocks.
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
    def proposals(cls, site: Site, cycles: int) -> Iterator[Fold]:
        """For each number of slices, the fewest lanes."""
        shape = site.geometry
        terms, outputs = channel_groups(site)
        if terms == shape.size[2] and not isinstance(site.layer, ir.Depthwise):
            return
        for slices in quotients(shape.size[2] // terms):
            if shape.positions * shape.taps * slices <= cycles:
                yield Fold(outputs, 1, -(-shape.size[2] // terms // slices) * terms)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        shape, bits = site.geometry, multiplies(site).weights.bits
        terms, _ = channel_groups(site)
        # The outputs of a slice are ready together: to the frame, they are one group.
        outputs = fold.products // terms
        frame = EngineShape(outputs, terms, shape.taps, site.result.shape[2],
                            output_lanes(outputs, shape.taps),
                            SEQUENCER_LATENCY + DotShape(terms).depth)
        return cls(
            inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
            storage=memories.rom_storage(ask.fabric, frame.words, fold.products * bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, bits, fold.products))

    def window(self, site: Site) -> WindowGeometry:
        """The window that is read tap by tap."""
        return sliced_window(site, self.fold.lanes)

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight."""
        return multiplies(site).weights.bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Outputs of a few terms each, and what all engines have."""
        (source,) = self.carried(site)
        spread = Resources(ffs=2 * (self.fold.lanes - self.frame.simd) * source.bits)
        return super().cells(site, fabric) + spread + product_cells(
            fabric, self.frame, multipliers=self.fold.products, dsps=self.dsps, a_bits=source.bits,
            b_bits=multiplies(site).weights.bits, total_bits=site.result.bits)

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.fold.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        (source,) = self.carried(site)
        engine = Depthwise(
            shape_of(source), lanes=self.fold.lanes, weights=self._weights(site),
            weight_bits=multiplies(site).weights.bits, dsp_multipliers=self.dsps,
            **self.block(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, source)),
                ("depthwise", engine)]

    def _weights(self, site: Site) -> list[list[list[int]]]:
        """Weights in the order of the reads: ``[slice * taps + tap][output][term]``."""
        layer, outputs, terms = multiplies(site), self.frame.pe, self.frame.simd
        values = layer.weights.values.reshape(len(layer.bias), -1, terms)
        padded = np.pad(values, ((0, -len(values) % outputs), (0, 0), (0, 0)))
        slices = padded.reshape(-1, outputs, values.shape[1], terms).transpose(0, 2, 1, 3)
        beats: list[list[list[int]]] = slices.reshape(-1, outputs, terms).tolist()
        return beats
