"""The engine of weights of which ``n`` of ``m`` are stored: it multiplies by no other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ....hdl.dot_array import WAY_LATENCY
from ....hdl.engine import Engine as EngineBlock
from ....hdl.n_of_m_array import CHOICE_LATENCY, NofMArray, NofMShape
from ....hdl.sequencer import SEQUENCER_LATENCY
from ....hdl.tech import Technology
from ... import ir
from ...cost import Fabric, Resources, arithmetic
from ...ir import Integers
from ..fold import Fold
from ..site import Site
from .ask import Ask
from .engine import Multiplying, dsp_blocks, multiplies, output_port, pad_code
from .flat import Flat
from .kind import Stages, shape_of, style
from .stores import store_of
from .words import Beside, packed


@dataclass(frozen=True, kw_only=True)
class NofM(Multiplying, Flat):
    """``pe`` dot products, each of ``n`` products for every ``m`` of ``simd`` inputs.

    Groups of ``m`` are those of the encoding, channels of one tap. So beats bring whole taps, or
    whole groups if these never end with a tap within a kernel row.
    """

    encodings: ClassVar[tuple[type[ir.Encoding], ...]] = (ir.NofM,)
    choice: NofMShape

    @classmethod
    def accepts(cls, site: Site, fold: Fold) -> bool:
        """Whether beats bring whole groups of weights."""
        return _span(site, fold.lanes) is not None

    @classmethod
    def check(cls, site: Site, fold: Fold) -> None:
        """Refuse one that parts groups of weights."""
        if not cls.accepts(site, fold):
            raise ir.PenjingError(f"layer {site.name}: {fold.lanes} lanes part the groups in which "
                                  f"its weights are stored; take {cls.wider(site, fold).lanes}")

    @classmethod
    def suited(cls, site: Site, folds: list[Fold]) -> list[Fold]:
        """Those that part no groups."""
        return [fold for fold in folds if cls.accepts(site, fold)]

    @classmethod
    def wider(cls, site: Site, fold: Fold) -> Fold:
        """The next that parts no groups."""
        while not cls.accepts(site, fold):
            fold = replace(fold, lanes=fold.lanes + 1)  # a whole row parts none
        return fold

    @classmethod
    def lanes(cls, site: Site, ask: Ask, each: int, *, spare: bool) -> int:
        """The fewest lanes of whole groups that are fast enough; 0 for none."""
        lanes = super().lanes(site, ask, each, spare=spare)
        while lanes and _span(site, lanes) is None:
            lanes += 1  # a whole row brings whole taps
        return lanes

    @classmethod
    def made(cls, site: Site, ask: Ask, fold: Fold) -> Self:
        """The engine under ``fold``."""
        weights, span = multiplies(site).weights, _span(site, fold.lanes)
        assert isinstance(weights.encoding, ir.NofM) and span is not None
        choice = NofMShape(fold.simd, weights.encoding.n, weights.encoding.m, span)
        products, shape = fold.pe * choice.terms, site.geometry
        runs, beats = fold.steps(site.outputs, shape.kernel[0], shape.run)
        # Lanes to spare within a group need no weights: it stores n of them in any case.
        store = store_of(weights, zeros=runs * beats * products > weights.stored.count)
        frame = cls.framed(site, fold, choice, store.latency)
        return cls(
            inputs=ask.inputs, o=output_port(site, frame), fold=fold, frame=frame, store=store,
            choice=choice, storage=store.storage(
                ask.fabric, frame.words, products * (store.bits + choice.select_bits)),
            dsps=dsp_blocks(ask, site.source.widened.bits, store.value_bits, products))

    def weight_bits(self, site: Site) -> int:
        """Bits of a weight and its select."""
        return self.store.bits + self.choice.select_bits

    @property
    def stored(self) -> int:
        """Weights in a word of their memory, each of which has a multiplier."""
        return self.fold.pe * self.choice.terms

    @property
    def products(self) -> int:
        """Those of weights that are stored."""
        return self.stored

    def macs(self, site: Site) -> int:
        """Those of weights that are stored."""
        return multiplies(site).weights.stored.count * site.geometry.positions

    def own_cells(self, site: Site, fabric: Fabric) -> Resources:
        """Multiplexers, registers in front of them, and what all engines with multipliers have."""
        (source,), choice = self.carried(site), self.choice
        choosing = sum(arithmetic.choice(fabric, len(inputs)) for inputs in choice.choices)
        # A table takes its cycle, in which the select waits.
        waiting = self.store.latency - SEQUENCER_LATENCY
        held = (self.store.value_bits + choice.select_bits) * CHOICE_LATENCY
        return super().own_cells(site, fabric) + Resources(
            luts=round(self.fold.pe * source.bits * choosing),
            ffs=(self.stored * (held + waiting * choice.select_bits)
                 + CHOICE_LATENCY * self.frame.lanes * source.bits))

    def held(self, soft: int) -> int:
        """Registers of inputs behind the multiplexers."""
        return self.stored + (WAY_LATENCY - 1) * soft

    def blocks(self, site: Site, technology: Technology) -> Stages:
        """The window and the engine."""
        values, beside = self._groups(site)
        array = NofMArray(
            self.frame, self.choice, shape_of(self.carried(site)[0]),
            weight_bits=self.store.value_bits, bias=self.given_biases(site),
            accumulator_bits=site.result.bits, dsp_multipliers=self.dsps, technology=technology)
        source = self.store.source(values, style(self.storage), technology, beside=beside)
        fill = pad_code(site, self.carried(site)[0])
        return [*self.window_blocks(site, technology, fill),
                ("n_of_m", EngineBlock(self.frame, array, source, technology=technology))]

    def weight_fillings(self, site: Site) -> tuple[bytes, ...]:
        """Those of the weights and their selects."""
        return self.store.fillings(*self._groups(site))

    def _groups(self, site: Site) -> tuple[Integers, Beside]:
        """Weights in the order of the reads (beats, outputs, products), and their selects."""
        encoding = multiplies(site).weights.encoding
        assert isinstance(encoding, ir.NofM)
        weights = self.weights(site)
        spans = weights.reshape(*weights.shape[:2], -1, self.choice.span)
        values, selects = (one.reshape(*weights.shape[:2], -1) for one in encoding.groups(spans))
        bits = self.choice.select_bits
        return values, Beside(packed(selects, bits), self.stored * bits)


def _span(site: Site, lanes: int) -> int | None:
    """How many of so many ``lanes`` side by side are parted into groups of weights: those of a tap,
    or all; None where beats would part groups."""
    encoding = multiplies(site).weights.encoding
    assert isinstance(encoding, ir.NofM)
    shape = site.geometry
    if lanes % shape.size[2] == 0:
        return shape.size[2]
    aligned = shape.kernel[1] == 1 or shape.size[2] % encoding.m == 0
    return lanes if aligned and lanes % encoding.m == 0 else None
