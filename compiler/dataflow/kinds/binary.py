"""The engine of binary weights and activations: it counts the products that are -1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.binary import Binary as BinaryBlock
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.arithmetic import Counter
from ...ir import TensorType
from ..fold import Fold
from ..site import Site
from .engine import multiplies, output_frame, pad_code
from .flat import Flat, fills_lanes, pads_zeros
from .kind import Ask, Stages

BINARY_LATENCY = 5
"""Cycles from the last input beat of a run to its first output beat, without the counters."""


@dataclass(frozen=True, kw_only=True)
class Binary(Flat):
    """``pe`` counters of ``simd`` XORs, under a fold that leaves no lane to spare."""

    @classmethod
    def counts(cls, site: Site) -> bool:
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
        return cls.counts(site) and fills_lanes(site, fold)

    @classmethod
    def lanes(cls, run: int, steps: int, *, spare: bool) -> int:
        """The fewest lanes that divide the ``run`` and take it in ``steps`` cycles; 0 for none."""
        lanes = 0 if spare else super().lanes(run, steps, spare=spare)
        while lanes and run % lanes:
            lanes += 1
        return lanes

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        shape = site.geometry
        runs, beats = fold.steps(site.result.shape[2], shape.kernel[0], shape.run)
        return cls(inputs=ask.inputs, o=cls.port(site, fold), folds=fold,
                   storage=memories.rom_storage(ask.fabric, runs * beats, fold.products))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Signs as they come."""
        return site.sources

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a run to its first output beat."""
        return BINARY_LATENCY + counter_latency(self.folds.simd)

    def weight_bits(self, site: Site) -> int:
        """A sign."""
        return 1

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Counters, what makes results of counts, and what all engines have."""
        fold, total_bits, o_lanes = self.folds, site.result.bits, self.o.lanes
        beats = self.passes(site)[1]
        count_bits = (beats * fold.simd).bit_length()
        counter = Counter.of(fold.simd, count_bits)
        depth = 1 + counter_latency(fold.simd)
        # Where all biases are equal, so is what makes sums of all counts.
        equal = len(np.unique(multiplies(site).bias)) == 1
        offsets = 1 if equal else self.o.beats(self.o.group)
        table = memories.rom(fabric, Storage.LOGIC, offsets, o_lanes * total_bits)
        # Each output: counter and shift register. Each of a beat: what makes a result of the count.
        shift = count_bits * fabric.mux_bit if o_lanes < fold.pe else 0.0
        luts = (fold.pe * (counter.luts(fabric) + shift) + o_lanes * total_bits * fabric.adder_bit)
        # Inputs are held back once for all counters, and so are weights that are always equal.
        words = self.weight_words(site)
        held = counter.held + min(fold.pe * counter.held, depth << min(words, 30))
        ffs = fold.pe * (counter.ffs + count_bits) + held + 2 * fold.simd
        return (super().cells(site, fabric) + table + Resources(luts=round(luts), ffs=ffs)
                + output_frame(fabric, depth=depth, total_bits=total_bits, o_lanes=o_lanes))

    def work(self) -> Mapping[str, int]:
        """Its products of signs."""
        return {"xors": self.folds.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        engine = BinaryBlock(weights=self.weights(site, spare=1), **self.frame(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, site.source)),
                ("binary", engine)]


def counter_latency(terms: int) -> int:
    """Cycles from signs to the edge that adds how many of so many ``terms`` differ.

    Three are counted at once, two counts and a sign in each level of adders behind; a last sign
    enters with the accumulation.
    """
    return 2 + max(0, (terms - 1).bit_length() - 2) if terms > 1 else 1
