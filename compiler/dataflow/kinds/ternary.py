"""The engine of weights of three values: it adds and subtracts, and multiplies what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.tech import Technology
from ....hdl.ternary import Ternary as TernaryBlock
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.arithmetic import SelectedSum
from ...ir import TensorType
from ..fold import Fold
from ..site import Site
from .engine import multiplies, output_frame, pad_code
from .flat import Flat, fills_lanes, pads_zeros
from .kind import Ask, Stages, shape_of

TERNARY_LATENCY = 6
"""Cycles from the last input beat of a run to its first output beat, without levels of adders."""


@dataclass(frozen=True, kw_only=True)
class Ternary(Flat):
    """``pe`` sums of ``simd`` terms that codes of ``code_bits`` add, subtract or leave out.

    ``scales`` are Wp and Wn, by which the sums are multiplied once for each lane that leaves.
    """

    code_bits: int
    scales: tuple[int, int]

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether the weights have three values."""
        return multiplies(site).weights.ternary is not None and super().accepts(site, fold)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``.

        One bit a weight is enough where none is 0, nor any lane spare, and both scales are equal.
        """
        layer, shape = multiplies(site), site.geometry
        scales = layer.weights.ternary
        assert scales is not None
        grouped = isinstance(layer, ir.Convolution) and layer.groups > 1
        signs = (scales[0] == scales[1] and not grouped and bool(layer.weights.values.all())
                 and fills_lanes(site, fold))
        bits = 1 if signs else 2
        runs, beats = fold.steps(site.result.shape[2], shape.kernel[0], shape.run)
        return cls(inputs=ask.inputs, o=cls.port(site, fold), folds=fold, code_bits=bits,
                   scales=scales,
                   storage=memories.rom_storage(ask.fabric, runs * beats, fold.products * bits))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, unless zeros are put around them."""
        return (site.source.widened if pads_zeros(site.layer) else site.source,)

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a run to its first output beat."""
        return (TERNARY_LATENCY + (self.folds.simd - 1).bit_length()
                + self._digits.bit_length())

    @property
    def _digits(self) -> int:
        """Shifted totals that a result is made of: those of both scales if they differ."""
        # The fewest powers of two, negative ones too, whose sum a number is.
        return sum((3 * scale ^ scale).bit_count() for scale in set(self.scales))

    def weight_bits(self, site: Site) -> int:
        """A code."""
        return self.code_bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Sums, what multiplies them, and what all engines have."""
        (source,), fold, o_lanes = self.carried(site), self.folds, self.o.lanes
        total_bits, digits = site.result.bits, self._digits
        apart = self.scales[0] != self.scales[1]
        sides = 2 if apart else 1
        terms = self.passes(site)[1] * fold.simd
        sum_bits = min(total_bits, (terms * ((1 << source.bits) - 1)).bit_length())
        sums = SelectedSum.of(fabric, fold.simd, source.bits, sum_bits,
                              both=self.code_bits == 2 and not apart)
        table = memories.rom(fabric, Storage.LOGIC, self.o.beats(self.o.group),
                             o_lanes * total_bits)
        # Each output: its sums and the drain's shift register. Each of a beat: what multiplies
        # them.
        shift = sum_bits * fabric.mux_bit if o_lanes < fold.pe else 0.0
        cells = Resources(
            luts=round(fold.pe * sides * (sums.luts + shift)
                       + o_lanes * digits * total_bits * fabric.adder_bit),
            ffs=(fold.pe * sides * (sums.ffs + sum_bits) + 2 * fold.simd * source.bits
                 + o_lanes * total_bits * (digits + digits.bit_length())))
        depth = 6 + (fold.simd - 1).bit_length() + digits.bit_length()
        return (super().cells(site, fabric) + table + cells
                + output_frame(fabric, depth=depth, total_bits=total_bits, o_lanes=o_lanes))

    def work(self) -> Mapping[str, int]:
        """The terms that it adds, subtracts or leaves out."""
        return {"additions": self.folds.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        (source,), (positive, negative) = self.carried(site), self.scales
        # Spare outputs are never looked at; a 0 among them would cost a bit a weight.
        weights = self.weights(site, spare=2 - self.code_bits)
        engine = TernaryBlock(
            shape_of(source), weights=np.sign(weights).tolist(), positive=positive,
            negative=negative, bipolar=isinstance(source, ir.Bipolar),
            **self.frame(site, technology))
        return [*self.window_blocks(site, technology, pad_code(site, source)),
                ("ternary", engine)]
