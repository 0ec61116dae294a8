"""The engine that multiplies: any weights, all channels at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ....hdl.dot import Dot as DotBlock
from ....hdl.dot_array import DotShape
from ....hdl.tech import Technology
from ...cost import Fabric, Resources, memories
from ..fold import Fold
from ..port import Port
from ..site import Site
from .engine import dsp_blocks, multiplies, pad_code
from .flat import Flat
from .kind import Ask, Stages, shape_of
from .products import product_cells


@dataclass(frozen=True, kw_only=True)
class Dot(Flat):
    """``pe`` dot products of ``simd`` terms; ``dsps`` of the multipliers are DSP blocks.

    A convolution in groups is a dense one with zeros here.
    """

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        bits, frame = multiplies(site).weights.bits, cls.framed(site, fold, DotShape(fold.simd))
        return cls(
            inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
            storage=memories.rom_storage(ask.fabric, frame.words, fold.products * bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, bits, fold.products))

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight."""
        return multiplies(site).weights.bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Multipliers, adder trees and accumulators, and what all engines have."""
        (source,) = self.carried(site)
        return super().cells(site, fabric) + product_cells(
            fabric, self.frame, multipliers=self.fold.products, dsps=self.dsps, a_bits=source.bits,
            b_bits=multiplies(site).weights.bits, total_bits=site.result.bits)

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.fold.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        (source,) = self.carried(site)
        engine = DotBlock(
            shape_of(source), weights=self.weights(site),
            weight_bits=multiplies(site).weights.bits, dsp_multipliers=self.dsps,
            **self.block(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, source)), ("dot", engine)]
