"""The engine of weights of three values: it adds and subtracts, and multiplies what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ....hdl.engine import Engine as EngineBlock
from ....hdl.select_array import SelectArray, SelectShape, select_constants
from ....hdl.sequencer import Sequencer
from ....hdl.tech import Selection, Technology
from ... import ir
from ...cost import Fabric, Resources, Storage, memories
from ...cost.arithmetic import SelectedSum
from ...ir import TensorType
from ..fold import Fold
from ..port import Port
from ..site import Site
from .engine import drain_luts, multiplies, pad_code
from .flat import Flat, fills_lanes, is_grouped, pads_zeros
from .kind import Ask, Stages, shape_of, style
from .words import select_words


@dataclass(frozen=True, kw_only=True)
class Ternary(Flat):
    """``pe`` sums of ``simd`` terms that codes add, subtract or leave out, see `SelectShape`."""

    array: SelectShape

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether the weights have three values, and all outputs as many of them."""
        layer = multiplies(site)
        return (layer.weights.ternary is not None and super().accepts(site, fold)
                and not isinstance(layer, ir.TransposedConvolution))

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``.

        One bit a weight is enough where none is 0, nor any lane spare, and both scales are equal.
        """
        layer, shape, source = multiplies(site), site.geometry, _taken(site)
        scales = layer.weights.ternary
        assert scales is not None
        zeros = is_grouped(layer) or not layer.weights.full or not fills_lanes(site, fold)
        _, beats = fold.steps(1, shape.kernel[0], shape.run)
        element = shape_of(source)
        array = SelectShape(fold.simd, beats, element.width, element.signed, *scales, zeros,
                            site.result.bits, isinstance(source, ir.Bipolar))
        frame = cls.framed(site, fold, array)
        return cls(inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
                   array=array, storage=memories.rom_storage(
                       ask.fabric, frame.words, fold.products * array.weight_bits))

    def carried(self, site: Site) -> tuple[TensorType, ...]:
        """Bits of signs as they come, unless zeros are put around them."""
        return (_taken(site),)

    def weight_bits(self, site: Site) -> int:
        """Codes of one weight."""
        return self.array.weight_bits

    def cells(self, site: Site, fabric: Fabric) -> Resources:
        """Sums, what multiplies them, and what all engines have."""
        frame, array, width = self.frame, self.array, self.frame.o_lanes * site.result.bits
        sides = len(array.factors)
        sums = SelectedSum.of(fabric, frame.simd, array.bits, array.total_bits,
                              both=array.selection is Selection.BOTH)
        table = memories.rom(fabric, Storage.LOGIC, self.o.beats(self.o.group), width)
        # Each output: its sums and the drain's shift register. Each of a beat: what multiplies
        # them.
        shift = drain_luts(fabric, frame, sides * array.total_bits)
        cells = Resources(
            luts=round(frame.pe * sides * sums.luts + shift
                       + fabric.sums(site.result.bits, array.digits * frame.o_lanes)),
            ffs=(frame.pe * sides * (sums.ffs + array.total_bits) + 2 * frame.simd * array.bits
                 + width * _held(1 + array.digits)))
        return super().cells(site, fabric) + table + cells

    def work(self) -> Mapping[str, int]:
        """The terms that it adds, subtracts or leaves out."""
        return {"additions": self.fold.products}

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        select, frame = self.array, self.frame
        # Spare outputs are never looked at; a 0 among them would cost a bit a weight.
        signs = np.sign(self.weights(site, spare=int(select.selection is Selection.SIGN)))
        words = select_words(signs, select)
        constants = select_constants(frame, select, multiplies(site).bias.tolist(), words)
        array = SelectArray(frame, select, constants=constants, technology=technology)
        weights = Sequencer(words, self.fold.products * select.weight_bits,
                            style=style(self.storage), technology=technology)
        return [*self.window_blocks(site, technology, pad_code(site, _taken(site))),
                ("ternary", EngineBlock(frame, array, weights))]


def _held(terms: int) -> int:
    """Registers of the tree that adds so many ``terms``, one behind each sum or delayed term."""
    held = 0
    while terms > 1:
        terms = (terms + 1) // 2
        held += terms
    return held


def _taken(site: Site) -> TensorType:
    """The type in which terms come: bits of signs, unless zeros are put around them."""
    return site.source.widened if pads_zeros(site.layer) else site.source
