"""Weights that are constants in logic: additions alone, a position a cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ....hdl.constant_matrix import ConstantMatrix
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources
from ...ir import PenjingError
from .. import control, timing
from ..fold import Fold
from ..gears import Gear, gears
from ..port import Port
from ..site import Site
from .ask import Ask
from .engine import multiplies
from .kind import Stages, shape_of
from .weighted import Limits, Weighted


@dataclass(frozen=True, kw_only=True)
class Constant(Weighted):
    """Additions of shifted inputs; all channels of a pixel come in one beat, and so go out."""

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Constant,)

    @classmethod
    def candidates(cls, site: Site, ask: Ask) -> Iterator[Self]:
        """One, behind what makes beats of whole pixels; none for weights of other `encodings`."""
        if not isinstance(multiplies(site).weights.encoding, cls.encodings):
            return
        outputs = len(site.adders.outputs)
        yield cls(inputs=ask.inputs, o=Port(outputs, outputs))

    @classmethod
    def limits(cls, site: Site) -> Limits:
        """It has no folds."""
        raise PenjingError(f"layer {site.name}: it makes all products at once, since its weights "
                           "are constants in logic; give it no fold")

    @classmethod
    def of_simd(cls, site: Site, pe: int, simd: int) -> list[Fold]:
        """It has no folds."""
        cls.limits(site)
        return []

    @classmethod
    def least(cls, site: Site) -> Fold | None:
        """None."""
        return None

    def reads(self, site: Site) -> int:
        """A cycle for each pixel."""
        return _pixels(site)

    def cycles(self, site: Site) -> int:
        """The beats that come in, or the pixels."""
        return max(self.i.beats(site.source.elements), self.reads(site))

    def stage(self, site: Site) -> timing.Passing:
        """Pixel by pixel."""
        channels, gears = site.source.shape[2], self.gears(site)
        ends = (np.arange(_pixels(site)) + 1) * channels - 1
        depth = site.adders.depth
        return timing.Passing(self.i.beat_of(ends),
                              depth + sum(gear.shape.latency for gear in gears),
                              stages=(*(gear.flow for gear in gears), control.Steps(depth)))

    def gears(self, site: Site) -> tuple[Gear, ...]:
        """What makes beats of whole pixels."""
        return gears(self.i, site.source.shape[2], site.source.elements)

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """A carry chain for each addition, and all registers; what repacks the input."""
        graph, (source,) = site.adders, self.carried(site)
        chains = sum(fabric.sums(addition.adder_bits) for addition in graph.additions)
        cells = fabric.control.register.cells * graph.depth + Resources(
            luts=round(chains), ffs=graph.register_bits)
        return sum((gear.cells(fabric, source.bits) for gear in self.gears(site)), cells)

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """What repacks the input, and the additions."""
        element = shape_of(self.carried(site)[0])
        return [*(gear.block(element) for gear in self.gears(site)),
                ("constant", ConstantMatrix(element, shape_of(site.result), site.adders))]


def _pixels(site: Site) -> int:
    height, width, _ = site.source.shape
    return height * width
