"""The engine of few different weights: it adds what they have in common, and multiplies last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ....hdl.select_array import SelectShape
from ....hdl.tech import Selection, Technology
from ... import ir
from ...cost import Fabric, Resources
from ...ir import Integers
from ..fold import Fold
from ..port import Port
from ..site import Site
from ..summands import Summands, divided
from .ask import Ask
from .engine import multiplies
from .flat import fills_lanes, is_grouped
from .kind import Stages, shape_of, style
from .selecting import Selecting, taken
from .stores import CodebookStore, PlainStore, Store
from .words import packed


@dataclass(frozen=True, kw_only=True)
class Additive(Selecting):
    """``pe`` outputs, each with a sum of ``simd`` terms for every one of few summands that make up
    all weights; a multiplication for each summand then makes a result.

    Inputs whose weights have the same code are in the same sums. In its memory a weight is the
    choice of its summands, or an index, with a table of choices behind it.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.Codebook, ir.Sums)
    title: ClassVar[str] = "additive"
    store: Store

    @classmethod
    def suits(cls, site: Site) -> bool:
        """Where sums are asked for, any layer."""
        return _asked(site) or super().suits(site)

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whatever else takes ``fold``, where sums are asked for."""
        return _asked(site) or super().accepts(site, fold)

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The cheapest of its forms."""
        return min(cls.forms(site, ask, fold),
                   key=lambda one: ask.fabric.price(one.cells(site, ask.fabric)))

    @classmethod
    def forms(cls, site: Site, ask: Ask, fold: Fold) -> Iterator[Self]:
        """An engine for each way to make the weights, and to store which summands they have."""
        layer, shape, source = multiplies(site), site.geometry, taken(site)
        zeros = is_grouped(layer) or not fills_lanes(site, fold)
        values = tuple(sorted({*layer.weights.codebook, *((0,) if zeros else ())}))
        _, beats = fold.steps(1, shape.kernel[0], shape.run)
        element = shape_of(source)
        for summands in divided(values):
            array = SelectShape(
                fold.simd, beats, element.width, element.signed, summands.addends, Selection.GATE,
                site.result.bits, summands.common, isinstance(source, ir.Bipolar))
            for store in _stores(summands, values):
                frame = cls.framed(site, fold, array, store.latency)
                yield cls(
                    inputs=ask.inputs, o=Port(frame.o_lanes, frame.outputs), fold=fold, frame=frame,
                    array=array, store=store, storage=store.storage(
                        ask.fabric, frame.words, fold.products * store.bits))

    @property
    def latency(self) -> int:
        """The memory's, and the table's."""
        return self.store.latency

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight in its memory."""
        return self.store.bits

    def all_weight_bits(self, site: Site) -> int:
        """Those of all weights, and of the table."""
        table = len(self.store.codebook) if isinstance(self.store, CodebookStore) else 0
        return super().all_weight_bits(site) + table * self.store.value_bits

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """The tables, sums, and what multiplies them."""
        return super().own_cells(site, fabric) + self.store.cells(fabric) * self.fold.products

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        choices = self._choices(site)
        source = self.store.source(choices, style(self.storage), technology)
        return self.assembled(site, packed(choices, self.store.value_bits), source, technology)

    def _choices(self, site: Site) -> Integers:
        """The choices of all weights in the order of the reads (beats, outputs, terms)."""
        codebook = multiplies(site).weights.codebook
        # Spare lanes are of weight 0, and then 0 can be made; spare outputs are never looked at.
        spare = 0 if is_grouped(site.layer) or not fills_lanes(site, self.fold) else codebook[0]
        weights = self.weights(site, spare=spare)
        different = np.unique(weights)
        summands = Summands(self.array.scales, self.array.common)
        choices = np.array(_signed(summands, tuple(different.tolist())))
        found: Integers = choices[np.searchsorted(different, weights)]
        return found


def _stores(summands: Summands, values: tuple[int, ...]) -> Iterator[Store]:
    """Of each weight its choice, or an index where that has fewer bits."""
    sums = len(summands.addends)
    yield PlainStore(sums)
    choices = tuple(sorted({*_signed(summands, values)}))
    if len(choices) > 1 and (len(choices) - 1).bit_length() < sums:
        yield CodebookStore(sums, choices)


def _signed(summands: Summands, values: tuple[int, ...]) -> tuple[int, ...]:
    """The choices of ``values`` as two's complement."""
    sums = len(summands.addends)
    return tuple(choice - (choice >> sums - 1 << sums) for choice in summands.choices(values))


def _asked(site: Site) -> bool:
    weights = multiplies(site).weights
    return isinstance(weights.encoding, ir.Sums) and not weights.loadable
