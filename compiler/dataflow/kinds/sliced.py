"""The engine of depthwise convolutions, and of those in groups: slice by slice, tap by tap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.depthwise import Depthwise
from ....hdl.sliding import Sliding
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, memories
from .. import timing
from ..fold import Fold, quotients
from ..port import Port
from ..site import Site
from .engine import Engine, channel_groups, dsp_blocks, multiplies, output_lanes, pad_code
from .kind import Ask, Stages, shape_of
from .products import DOT_LATENCY, product_cells
from .window import drained, sliced_window


@dataclass(frozen=True, kw_only=True)
class Sliced(Engine):
    """Takes whole groups of channels with all their outputs, and no product is idle.

    ``terms`` channels make a group; ``dsps`` of the multipliers are DSP blocks.
    """

    terms: int

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
        layer, shape = multiplies(site), site.geometry
        terms, _ = channel_groups(site)
        words = -(-shape.size[2] // fold.lanes) * shape.taps
        bits = layer.weights.bits
        return cls(
            inputs=ask.inputs, folds=fold, terms=terms,
            o=Port(output_lanes(fold.products // terms, shape.taps), site.result.shape[2]),
            storage=memories.rom_storage(ask.fabric, words, fold.products * bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, bits, fold.products))

    @property
    def slice_outputs(self) -> int:
        """Outputs of a slice, which are ready together: to the drain, they are one run."""
        return self.folds.products // self.terms

    def window(self, site: Site) -> Sliding:
        """The window that is read tap by tap."""
        return sliced_window(site, self.folds.lanes)

    def outputs(self, site: Site) -> timing.Outputs:
        """Slice by slice."""
        return drained(self.o, self.slice_outputs, site.geometry.taps,
                       DOT_LATENCY + (self.terms - 1).bit_length())

    def slices(self, site: Site) -> int:
        """Slices of a position."""
        return -(-site.geometry.size[2] // self.folds.lanes)

    def weight_words(self, site: Site) -> int:
        """One for each tap of each slice."""
        return self.slices(site) * site.geometry.taps

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight."""
        return multiplies(site).weights.bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Outputs of a few terms each, and what all engines have."""
        (source,) = self.carried(site)
        spread = Resources(ffs=2 * (self.folds.lanes - self.terms) * source.bits)
        return super().cells(site, fabric) + spread + product_cells(
            fabric, pe=self.slice_outputs, simd=self.terms, multipliers=self.folds.products,
            dsps=self.dsps, a_bits=source.bits, b_bits=multiplies(site).weights.bits,
            total_bits=site.result.bits, o_lanes=self.o.lanes, runs=self.slices(site))

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.folds.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        (source,) = self.carried(site)
        engine = Depthwise(
            shape_of(source), lanes=self.folds.lanes, weights=self._weights(site),
            weight_bits=multiplies(site).weights.bits, dsp_multipliers=self.dsps,
            **self.frame(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, source)),
                ("depthwise", engine)]

    def _weights(self, site: Site) -> list[list[list[int]]]:
        """Weights in the order of the reads: ``[slice * taps + tap][output][term]``."""
        layer, outputs = multiplies(site), self.slice_outputs
        values = layer.weights.values.reshape(len(layer.bias), -1, self.terms)
        padded = np.pad(values, ((0, -len(values) % outputs), (0, 0), (0, 0)))
        slices = padded.reshape(-1, outputs, values.shape[1], self.terms).transpose(0, 2, 1, 3)
        beats: list[list[list[int]]] = slices.reshape(-1, outputs, self.terms).tolist()
        return beats
