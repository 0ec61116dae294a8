"""The engine of binary weights and activations: it counts the products that are -1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.count_array import CountArray, CountShape
from ....hdl.engine import Engine as EngineBlock
from ....hdl.sequencer import Sequencer
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.arithmetic import Counter
from ...ir import TensorType
from ..fold import Fold
from ..port import Port
from ..site import Site
from .ask import Ask
from .engine import drain_luts, multiplies, pad_code
from .flat import Flat, fills_lanes, pads_zeros
from .kind import Stages, style
from .words import count_words


@dataclass(frozen=True, kw_only=True)
class Binary(Flat):
    """``pe`` counters of ``simd`` XORs, under a fold that leaves no lane to spare."""

    @classmethod
    def suits(cls, site: Site) -> bool:
        """Whether the layer's products are of signs alone, under a suitable fold.

        A product with padding of 0 is none, nor is one with the zeros that stand for other groups.
        """
        layer = site.layer
        if not (isinstance(layer, ir.Convolution | ir.Dense) and layer.weights.bipolar
                and isinstance(site.source, ir.Bipolar)):
            return False
        return isinstance(layer, ir.Dense) or (layer.groups == 1 and not pads_zeros(layer))

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether all products are of signs."""
        return cls.suits(site) and fills_lanes(site, fold)

    @classmethod
    def suited(cls, site: Site, folds: list[Fold]) -> list[Fold]:
        """Signs are best counted: where they can be, those that leave no lane to spare."""
        return [fold for fold in folds if fills_lanes(site, fold)] if cls.suits(site) else folds

    @classmethod
    def lanes(cls, site: Site, ask: Ask, each: int, *, spare: bool) -> int:
        """The fewest lanes that divide a kernel row and are fast enough; 0 for none."""
        lanes = 0 if spare else super().lanes(site, ask, each, spare=spare)
        while lanes and site.geometry.run % lanes:
            lanes += 1
        return lanes

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        shape = site.geometry
        _, beats = fold.steps(1, shape.kernel[0], shape.run)
        frame = cls.framed(site, fold, CountShape(fold.simd, beats))
        return cls(inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
                   storage=memories.rom_storage(ask.fabric, frame.words, fold.products))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Signs as they come."""
        return site.sources

    def weight_bits(self, site: Site) -> int:
        """A sign."""
        return 1

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """Counters, what makes results of counts, and what all engines have."""
        frame, total_bits = self.frame, site.result.bits
        width = frame.o_lanes * total_bits
        count_bits = CountShape(frame.simd, frame.folds).total_bits
        counter = Counter.of(fabric, frame.simd, count_bits)
        # Where all biases are equal, so is what makes sums of all counts.
        equal = len(np.unique(multiplies(site).bias)) == 1
        table = memories.rom(fabric, Storage.LOGIC, 1 if equal else self.o.beats(self.o.group),
                             width)
        # Each output: counter and shift register. Each of a beat: what makes a result of the count.
        luts = (frame.pe * counter.luts(fabric) + drain_luts(fabric, frame, count_bits)
                + fabric.sums(total_bits, frame.o_lanes))
        # Inputs are held back once for all counters, and so are weights that are always equal.
        held = counter.held + min(frame.pe * counter.held, frame.depth << min(frame.words, 30))
        ffs = frame.pe * (counter.ffs + count_bits) + held + 2 * frame.simd
        return super().own_cells(site, fabric) + table + Resources(luts=round(luts), ffs=ffs)

    def work(self) -> Mapping[str, int]:
        """Its products of signs."""
        return {"xors": self.fold.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        layer, frame = multiplies(site), self.frame
        array = CountArray(frame, bias=layer.bias.tolist(), accumulator_bits=site.result.bits,
                           technology=technology)
        words = count_words(self.weights(site, spare=1))
        weights = Sequencer(words, self.fold.products, style=style(self.storage),
                            technology=technology)
        return [*self.window_blocks(site, technology, pad_code(site, site.source)),
                ("binary", EngineBlock(frame, array, weights, technology=technology))]
