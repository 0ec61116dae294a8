"""What layers may become, and what is known of it: each worked out once, however often asked."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .. import ir
from ..cost import Fabric, Resources
from .depths import INPUT, Node, depths
from .fold import Fold
from .kinds import Ask, Kind, Weighted, candidates, engines_of
from .kinds.ask import Span
from .plan import LayerPlan
from .port import Port
from .site import Site
from .timing import Stage, Windowed
from .traits import site_traits

OUTPUT_LANE_LUTS = 80
"""What the layer behind pays for a lane more: about a requantizer's."""

DEAR_BLOCK = 8
"""How many times its worth a block RAM is worth to layers that are to spare them."""

CAPACITY = 4096
"""Layers that a catalogue knows at once."""


@dataclass(frozen=True)
class Scarce:
    """What a layer is to spare beyond its worth.

    ``multipliers``: one of look-up tables is worth a DSP block, too. ``blocks``: a block RAM is
    worth `DEAR_BLOCK` times as much.
    """

    multipliers: bool = False
    blocks: bool = False


PLENTY = Scarce()


class Option:
    """A ``kind`` that the layer at a ``site`` may become, and what is known of it."""

    def __init__(self, site: Site, fabric: Fabric, kind: Kind) -> None:
        self.site = site
        self.kind = kind
        self._fabric = fabric
        self.multipliers = kind.work().get("multipliers", 0)
        self.finished: dict[Hashable, LayerPlan] = {}

    @cached_property
    def cycles(self) -> int:
        """Its initiation interval alone, in cycles a frame."""
        return self.kind.cycles(self.site)

    @cached_property
    def cells(self) -> Resources:
        """Predicted cells, the least buffers counted."""
        return self.kind.cells(self.site, self._fabric)

    @cached_property
    def price(self) -> int:
        """Their worth, and what its lanes cost the layer behind."""
        return self._fabric.price(self.cells + Resources(
            luts=OUTPUT_LANE_LUTS * self.kind.o.lanes))

    @cached_property
    def least(self) -> Resources:
        """The cells, as the device counts them."""
        return self._fabric.placed(self.cells)

    def price_where(self, scarce: Scarce) -> int:
        """Their worth where something is ``scarce``."""
        price = self.price
        if scarce.multipliers:
            price += self._fabric.price(Resources(dsps=self.multipliers - self.kind.dsps))
        if scarce.blocks:
            price += (DEAR_BLOCK - 1) * self._fabric.price(Resources(brams=self.cells.brams))
        return price

    def stage(self) -> Stage | None:
        """When its beats move; None where it is only wiring."""
        return self.kind.stage(self.site)

    @cached_property
    def lone_words(self) -> int:
        """Words of its window buffer where the layer stands alone, at its own pace."""
        stage = self.stage()
        assert isinstance(stage, Windowed)
        alone, = depths([Node(stage, (INPUT,))], self.kind.i.beats(stage.elements), self.cycles)
        return alone.words


class Options:
    """What the layer at a ``site`` may become on a ``fabric``."""

    def __init__(self, site: Site, fabric: Fabric) -> None:
        self.site = site
        self.fabric = fabric
        self._known: dict[Kind, Option] = {}
        self._found: dict[Hashable, _Answers] = {}

    def of(self, kind: Kind) -> Option:
        """What is known of the ``kind``."""
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = Option(self.site, self.fabric, kind)
        return found

    def cheapest(self, inputs: tuple[Port, ...], cycles: int, dsps: int, fold: Fold | None = None,
                 scarce: Scarce = PLENTY) -> Option | None:
        """The cheapest that takes a frame in so many ``cycles``; None where none is so fast.

        Of equal price, it is the first. See `Ask` for what else is asked.
        """
        key = inputs, fold, scarce.multipliers, scarce.blocks
        answers = self._found.get(key)
        if answers is None:
            answers = self._found[key] = _Answers()
        known = answers.find(cycles, dsps)
        if known is None:
            ask = Ask(self.fabric, inputs, cycles, dsps, fold)
            known = answers.add(ask.span, self._cheapest(ask, scarce))
        return known.best

    def _cheapest(self, ask: Ask, scarce: Scarce) -> Option | None:
        best: tuple[int, Option] | None = None
        for option in self._candidates(ask, spares=scarce.blocks):
            if ask.fold is None and not ask.allows(option.cycles):
                continue
            price = option.price_where(scarce)
            if best is None or price < best[0]:
                best = price, option
        return best[1] if best else None

    def _candidates(self, ask: Ask, *, spares: bool) -> Iterator[Option]:
        """What the layer may become; if it ``spares`` block RAMs, with fewer of them, too."""
        for kind in candidates(self.site.layer, self.site, ask):
            yield self.of(kind)
            if spares:
                yield from map(self.of, kind.sparing(self.site, ask.fabric))

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
        if isinstance(layer, ir.MultiplyAccumulate):
            return max(self._elements, self.reads(engines_of(layer)[0].least(site)))
        return self._elements

    @property
    def _elements(self) -> int:
        """Those that it reads or makes, whichever are more."""
        return max(self.site.source.elements, self.site.result.elements)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The ``best`` for all that a ``span`` holds; None where nothing is fast enough."""

    span: Span
    best: Option | None


class _Answers:
    """Answers to one question at several paces.

    While there are DSP blocks for all that may be built, spans of cycles do not overlap. With fewer
    of them, answers hold for that number alone.
    """

    def __init__(self) -> None:
        self._least: list[int] = []
        self._plentiful: list[_Answer] = []
        self._few: dict[int, _Answers] = {}

    def find(self, cycles: int, dsps: int) -> _Answer | None:
        """The answer for so many ``cycles`` and ``dsps``, if it is known."""
        place = bisect_right(self._least, cycles) - 1
        if place >= 0 and self._plentiful[place].span.holds(cycles, dsps):
            return self._plentiful[place]
        few = self._few.get(dsps)
        return few.find(cycles, dsps) if few else None

    def add(self, span: Span, best: Option | None) -> _Answer:
        """Keep an answer."""
        if span.least_dsps == span.most_dsps:
            few = self._few.setdefault(span.least_dsps, _Answers())
            return few._put(span, best)
        return self._put(span, best)

    def _put(self, span: Span, best: Option | None) -> _Answer:
        answer = _Answer(span, best)
        place = bisect_right(self._least, span.least_cycles)
        self._least.insert(place, span.least_cycles)
        self._plentiful.insert(place, answer)
        return answer


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
