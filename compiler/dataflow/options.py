"""What layers may become, and what is known of it: each worked out once, however often asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from .. import ir
from ..cost import Fabric, Resources
from . import timing
from .answers import Answer, Answers
from .depths import INPUT, Node, depths
from .fold import Fold
from .kinds import Ask, Kind, Weighted, candidates, engines_of
from .kinds.ask import Made, Span
from .kinds.window import Windowed
from .plan import LayerPlan
from .port import Port
from .site import Site
from .timing import Stage
from .traits import site_traits

OUTPUT_LANE_LUTS = 80
"""What the layer behind pays for a lane more: about a requantizer's."""

DEAR_BLOCK = 8
"""How many times its worth a block RAM is worth to layers that are to spare them."""

CAPACITY = 2048
"""Layers that a catalogue knows at once."""


@dataclass(frozen=True)
class Scarce:
    """What a layer is to spare beyond its worth.

    ``multipliers``: one of look-up tables is worth a DSP block, too. ``blocks``: a block RAM is
    worth `DEAR_BLOCK` times as much. ``dsps``: where a DSP block can make two products, look-up
    tables may part them.
    """

    multipliers: bool = False
    blocks: bool = False
    dsps: bool = False


PLENTY = Scarce()


class Draft:
    """A ``kind`` that the layer at a ``site`` may become, however its inputs come."""

    def __init__(self, site: Site, fabric: Fabric, kind: Kind) -> None:
        self.site = site
        self.fabric = fabric
        self.kind = kind
        self.multipliers = kind.work().get("multipliers", 0)
        self._options: dict[tuple[Port, ...], Option] = {}

    def option(self, inputs: tuple[Port, ...]) -> Option:
        """It with ``inputs`` that come so."""
        found = self._options.get(inputs)
        if found is None:
            kind = self.kind if inputs == self.kind.inputs else replace(self.kind, inputs=inputs)
            found = self._options[inputs] = Option(self, kind)
        return found

    @cached_property
    def own_cells(self) -> Resources | None:
        """Predicted cells, what repacks the input left out; None where these hang together."""
        if isinstance(self.kind, Windowed):
            return self.kind.own_cells(self.site, self.fabric)
        return None

    def least_price(self, scarce: Scarce) -> int:
        """What no `Option.price_where` is below."""
        dsps = self.multipliers if scarce.multipliers else self.kind.dsps
        return self.fabric.price(Resources(luts=OUTPUT_LANE_LUTS * self.kind.o.lanes, dsps=dsps))


class Option:
    """A ``kind`` that a layer may become, and what is known of it."""

    def __init__(self, draft: Draft, kind: Kind) -> None:
        self.draft = draft
        self.site = draft.site
        self.kind = kind
        self.multipliers = draft.multipliers
        self.finished: dict[Hashable, LayerPlan] = {}

    @cached_property
    def cycles(self) -> int:
        """Its initiation interval alone, in cycles a frame."""
        return self.kind.cycles(self.site)

    @cached_property
    def cells(self) -> Resources:
        """Predicted cells, the least buffers counted."""
        own, kind, fabric = self.draft.own_cells, self.kind, self.draft.fabric
        if own is None or not isinstance(kind, Windowed):
            return kind.cells(self.site, fabric)
        return kind.gear_cells(self.site, fabric) + own

    @cached_property
    def price(self) -> int:
        """Their worth, and what its lanes cost the layer behind."""
        return self.draft.fabric.price(self.cells + Resources(
            luts=OUTPUT_LANE_LUTS * self.kind.o.lanes))

    @cached_property
    def least(self) -> Resources:
        """The cells, as the device counts them."""
        return self.draft.fabric.placed(self.cells)

    def price_where(self, scarce: Scarce) -> int:
        """Their worth where something is ``scarce``."""
        price, fabric = self.price, self.draft.fabric
        if scarce.multipliers:
            price += fabric.price(Resources(dsps=self.multipliers - self.kind.dsps))
        if scarce.blocks:
            price += (DEAR_BLOCK - 1) * fabric.price(Resources(brams=self.cells.brams))
        return price

    def stage(self) -> Stage | None:
        """When its beats move; None where it is only wiring."""
        return _stage(self)

    @cached_property
    def lone_words(self) -> int:
        """Words of its window buffer where the layer stands alone, at its own pace."""
        stage = self.stage()
        assert isinstance(stage, timing.Windowed)
        alone, = depths([Node(stage, (INPUT,))], self.kind.i.beats(stage.elements), self.cycles)
        return alone.words


@lru_cache(maxsize=256)
def _stage(option: Option) -> Stage | None:
    """Stages have large arrays, so that only the last ones are kept."""
    return option.kind.stage(option.site)


class Options:
    """What the layer at a ``site`` may become on a ``fabric``."""

    def __init__(self, site: Site, fabric: Fabric) -> None:
        self.site = site
        self.fabric = fabric
        # What a layer with weights may become does not depend on how its input comes.
        self._any = (Port(site.source.elements, site.source.elements),) if isinstance(
            site.layer, ir.MultiplyAccumulate) else None
        self._made: dict[Hashable, dict[Hashable, tuple[Made, ...]]] = {}
        self._known: dict[Kind, Draft] = {}
        self._drafts: dict[Hashable, Answers[tuple[Draft, ...]]] = {}
        self._cheapest: dict[Hashable, Answers[Option | None]] = {}

    def of(self, kind: Kind) -> Option:
        """What is known of the ``kind``."""
        return self._draft(kind).option(kind.inputs)

    def _draft(self, kind: Kind) -> Draft:
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = Draft(self.site, self.fabric, kind)
        return found

    def cheapest(self, inputs: tuple[Port, ...], cycles: int, dsps: int, fold: Fold | None = None,
                 scarce: Scarce = PLENTY) -> Option | None:
        """The cheapest that takes a frame in so many ``cycles``; None where none is so fast.

        Of equal price, it is the first. See `Ask` for what else is asked.
        """
        key = inputs, fold, scarce.multipliers, scarce.blocks, scarce.dsps
        answers = self._cheapest.get(key)
        if answers is None:
            answers = self._cheapest[key] = Answers()
        known = answers.find(cycles, dsps)
        if known is None:
            known = answers.add(*self._best(
                Ask(self.fabric, inputs, cycles, dsps, fold, scarce.dsps), scarce))
        return known.value

    def _best(self, ask: Ask, scarce: Scarce) -> tuple[Span, Option | None]:
        """The cheapest, and for what it is that."""
        drafts = self._all(ask, spares=scarce.blocks)
        floors = [draft.least_price(scarce) for draft in drafts.value]
        best: tuple[int, int, Option] | None = None
        # The further a price may fall, the sooner it is looked at: most others need no look then.
        for n in sorted(range(len(floors)), key=floors.__getitem__):
            if best is not None and floors[n] > best[0]:
                break
            option = drafts.value[n].option(ask.inputs)
            if ask.fold is None and not ask.allows(option.cycles):
                continue
            price = option.price_where(scarce)
            if best is None or (price, n) < best[:2]:
                best = price, n, option
        return drafts.span.within(ask.span), best[2] if best else None

    def _all(self, ask: Ask, *, spares: bool) -> Answer[tuple[Draft, ...]]:
        """What the layer may become; if it ``spares`` block RAMs, with fewer of them, too."""
        inputs = self._any or ask.inputs
        answers = self._drafts.setdefault((inputs, ask.fold, ask.dear_dsps, spares), Answers())
        known = answers.find(ask.cycles, ask.dsps)
        if known is None:
            asked = Ask(self.fabric, inputs, ask.cycles, ask.dsps, ask.fold, ask.dear_dsps,
                        made=self._made.setdefault((inputs, ask.dear_dsps), {}))
            found = tuple(self._candidates(asked, spares=spares))
            known = answers.add(asked.span, found)
        return known

    def _candidates(self, ask: Ask, *, spares: bool) -> Iterator[Draft]:
        for kind in candidates(self.site.layer, self.site, ask):
            yield self._draft(kind)
            if spares:
                yield from map(self._draft, kind.sparing(self.site, ask.fabric))

    def reads(self, fold: Fold | None) -> int:
        """Cycles that a layer with weights takes for its reads under ``fold``, if it has any."""
        elements = self.site.source.elements
        found = self.cheapest((Port(elements, elements),), 0 if fold else elements, 0, fold)
        assert found is not None and isinstance(found.kind, Weighted)
        return found.kind.reads(self.site)

    def slowest(self, fold: Fold | None) -> int:
        """Cycles a frame at which one multiplier is enough, or what there is under ``fold``."""
        if fold is None:
            return self._slowest
        return max(self._elements, self.reads(fold))

    @cached_property
    def _slowest(self) -> int:
        site, layer = self.site, self.site.layer
        if isinstance(layer, ir.PoolLayer):
            return max(self._elements, site.result.elements * site.geometry.taps)
        if isinstance(layer, ir.WinogradInput | ir.WinogradOutput):
            return max(self._elements, site.result.elements * len(site.geometry.gathers[0][0]))
        if isinstance(layer, ir.MultiplyAccumulate):
            return max(self._elements, self.reads(engines_of(layer)[0].least(site)))
        return self._elements

    @property
    def _elements(self) -> int:
        """Those that it reads or makes, whichever are more."""
        return max(self.site.source.elements, self.site.result.elements)


class Catalogue:
    """The options of layers on a ``fabric``, whatever networks they are of.

    Of more than ``capacity`` layers, those go that were not asked for the longest.
    """

    def __init__(self, fabric: Fabric, capacity: int = CAPACITY) -> None:
        self.fabric = fabric
        self._capacity = capacity
        self._known: OrderedDict[Hashable, Options] = OrderedDict()

    def options(self, site: Site) -> Options:
        """Those of the layer at ``site``."""
        key = site.name, site_traits(site)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Options(site, self.fabric)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found
