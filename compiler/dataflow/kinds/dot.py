"""The engine that multiplies: any weights, all channels at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from ....hdl.dot_array import DotShape
from ....hdl.tech import Technology
from ... import ir
from ..fold import Fold
from ..site import Site
from .ask import Ask
from .engine import Multiplying, dsp_blocks, multiplies, output_port, pad_code
from .flat import Flat, fills_lanes, is_grouped
from .kind import Stages
from .pairs import pairs_of
from .stores import store_of


@dataclass(frozen=True, kw_only=True)
class Dot(Multiplying, Flat):
    """``pe`` dot products of ``simd`` terms. A convolution in groups is a dense one with zeros."""

    @classmethod
    def forms(cls, site: Site, ask: Ask, fold: Fold) -> Iterator[Self]:
        """One multiplier for each product, and DSP blocks for two where there are two outputs."""
        plain = cls.made(site, ask, fold)
        yield plain
        found = pairs_of(ask, fold, site.source.widened.bits, plain.store.value_bits)
        if found:
            yield replace(plain, pairs=found[0], dsps=found[1])

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        layer = multiplies(site)
        spare = not fills_lanes(site, fold) or site.outputs % fold.pe > 0
        store = store_of(layer.weights, zeros=is_grouped(layer) or spare or _has_gaps(layer))
        frame = cls.framed(site, fold, DotShape(fold.simd), store.latency)
        return cls(
            inputs=ask.inputs, o=output_port(site, frame), fold=fold, frame=frame, store=store,
            storage=store.storage(ask.fabric, frame.words, fold.products * store.bits),
            dsps=dsp_blocks(ask, site.source.widened.bits, store.value_bits, fold.products))

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        fill = pad_code(site, self.carried(site)[0])
        return [*self.window_blocks(site, technology, fill),
                ("dot", self.assembled(site, self.weights(site), technology))]


def _has_gaps(layer: ir.Layer) -> bool:
    """Whether some outputs of a transposed ``layer`` are reached by fewer weights than others."""
    return isinstance(layer, ir.TransposedConvolution) and any(
        taps % stride for taps, stride in zip(layer.kernel, layer.stride, strict=True))
