"""The engine of weights of three values: it adds and subtracts, and multiplies what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ....hdl.select_array import SelectShape
from ....hdl.sequencer import Sequencer
from ....hdl.tech import Selection, Technology
from ... import ir
from ...cost import memories
from ..fold import Fold
from ..port import Port
from ..site import Site
from .ask import Ask
from .engine import multiplies
from .flat import fills_lanes, is_grouped
from .kind import Stages, shape_of, style
from .selecting import Selecting, taken
from .words import select_words


@dataclass(frozen=True, kw_only=True)
class Ternary(Selecting):
    """``pe`` sums of ``simd`` terms that codes add, subtract or leave out."""

    title: ClassVar[str] = "ternary"

    @classmethod
    def suits(cls, site: Site) -> bool:
        """Whether the weights have three values."""
        return multiplies(site).weights.ternary is not None and super().suits(site)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``.

        One bit a weight is enough where none is 0, nor any lane spare, and both scales are equal.
        """
        layer, shape, source = multiplies(site), site.geometry, taken(site)
        scales = layer.weights.ternary
        assert scales is not None
        zeros = is_grouped(layer) or not layer.weights.full or not fills_lanes(site, fold)
        _, beats = fold.steps(1, shape.kernel[0], shape.run)
        element = shape_of(source)
        array = SelectShape.ternary(
            fold.simd, beats, element.width, signed=element.signed, positive=scales[0],
            negative=scales[1], zeros=zeros, accumulator_bits=site.result.bits,
            bipolar=isinstance(source, ir.Bipolar))
        frame = cls.framed(site, fold, array)
        return cls(inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
                   array=array, storage=memories.rom_storage(
                       ask.fabric, frame.words, fold.products * array.weight_bits))

    def weight_bits(self, site: Site) -> int:
        """Codes of one weight."""
        return self.array.weight_bits

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        # Spare outputs are never looked at; a 0 among them would cost a bit a weight.
        spare = int(self.array.selection is Selection.SIGN)
        words = select_words(np.sign(self.weights(site, spare=spare)), self.array)
        weights = Sequencer(words, self.fold.products * self.array.weight_bits,
                            style=style(self.storage), technology=technology)
        return self.assembled(site, words, weights, technology)
