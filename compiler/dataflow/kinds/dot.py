"""The engine that multiplies: any weights, all channels at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ....hdl.dot import Dot as DotBlock
from ....hdl.tech import Technology
from ...cost import Fabric, Resources, memories
from ..fold import Fold
from ..site import Site
from .engine import dsp_blocks, multiplies, pad_code
from .flat import Flat
from .kind import Ask, Stages, shape_of
from .products import DOT_LATENCY, product_cells


@dataclass(frozen=True, kw_only=True)
class Dot(Flat):
    """``pe`` dot products of ``simd`` terms; ``dsps`` of the multipliers are DSP blocks.

    A convolution in groups is a dense one with zeros here.
    """

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        bits, shape = multiplies(site).weights.bits, site.geometry
        runs, beats = fold.steps(site.result.shape[2], shape.kernel[0], shape.run)
        return cls(
            inputs=ask.inputs, o=cls.port(site, fold), folds=fold,
            storage=memories.rom_storage(ask.fabric, runs * beats, fold.products * bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, bits, fold.products))

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a run to its first output beat."""
        return DOT_LATENCY + (self.folds.simd - 1).bit_length()

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight."""
        return multiplies(site).weights.bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Multipliers, adder trees and accumulators, and what all engines have."""
        (source,), fold = self.carried(site), self.folds
        return super().cells(site, fabric) + product_cells(
            fabric, pe=fold.pe, simd=fold.simd, multipliers=fold.products, dsps=self.dsps,
            a_bits=source.bits, b_bits=multiplies(site).weights.bits, total_bits=site.result.bits,
            o_lanes=self.o.lanes, runs=self.passes(site)[0])

    def work(self) -> Mapping[str, int]:
        """Its multipliers."""
        return {"multipliers": self.folds.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        (source,) = self.carried(site)
        engine = DotBlock(
            shape_of(source), weights=self.weights(site),
            weight_bits=multiplies(site).weights.bits, dsp_multipliers=self.dsps,
            **self.frame(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, source)), ("dot", engine)]
