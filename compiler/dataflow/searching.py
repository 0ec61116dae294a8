"""The cheapest kinds of all layers together at a pace, and the fewest cycles at which they fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from .. import ir
from ..cost import Resources
from ..ir import Network
from .budget import BLOCK_RAMS, Budget, Shortage, TooSmall, linked, require, shortages
from .buffers import Finished, finish
from .fold import Fold
from .options import Catalogue, Option, Options, Scarce
from .plan import Plan
from .port import Port
from .site import sites

FASTER = 1.3
"""From one pace to the next where the slowest plan has too few block RAMs."""
STEADY_FRAMES = 8
"""Frames of which the last two come as all others behind them."""


@dataclass(frozen=True)
class Goal:
    """What to optimize for.

    ``cycles`` asks for the least hardware that takes a frame in at most so many cycles; without it,
    the budget is spent on speed. ``folds`` fixes layers by hand.
    """

    cycles: int | None = None
    folds: Mapping[str, Fold] = field(default_factory=dict)


@dataclass(frozen=True)
class Spared:
    """What layers are to spare, see `Scarce`: all of them ``multipliers``, if it is said, those
    that are named ``blocks`` and ``dsps``."""

    multipliers: bool = False
    blocks: Collection[str] = ()
    dsps: Collection[str] = ()

    def scarce(self, layer: str) -> Scarce:
        """What one of them is to spare."""
        return Scarce(self.multipliers, layer in self.blocks, layer in self.dsps)


NOTHING = Spared()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan without its latency, and what it takes to tell when frames end."""

    plan: Plan
    finished: Finished

    def timed(self) -> Plan:
        """The plan with its latency, and with more cycles a frame where its layers wait for each
        other."""
        finished = self.finished
        if not finished.may_wait:
            return replace(self.plan, latency_cycles=finished.frame_ends(1)[0])
        first, *_, before, last = finished.frame_ends(STEADY_FRAMES)
        return replace(self.plan, latency_cycles=first, cycles_per_frame=max(
            self.plan.cycles_per_frame, last - before))


@dataclass(frozen=True, eq=False)
class Search:
    """A search for the plan of ``network`` that meets the ``goal`` within the ``budget``.

    ``options`` are those of its layers, by name, in order, ``finished`` what became of the last two
    choices of them.
    """

    network: Network
    options: Mapping[str, Options]
    budget: Budget
    goal: Goal
    board: str
    clock_mhz: float
    finished: dict[tuple[Option, ...], Finished] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, budget: Budget, goal: Goal, board: str, clock_mhz: float,
           catalogue: Catalogue) -> Self:
        """The search among what the ``catalogue`` has."""
        options = {name: catalogue.options(site) for name, site in sites(network).items()}
        return cls(network, options, budget, goal, board, clock_mhz)

    def chosen(self, cycles: int, spared: Spared = NOTHING, most: int | None = None
               ) -> dict[str, Option] | None:
        """Every layer at no more than ``cycles`` cycles a frame, or None where one cannot.

        None, too, where they would have more than ``most`` multipliers.
        """
        ports = {self.network.input: input_port(self.network.input_type, cycles)}
        found = {}
        dsps, needed = self.budget.resources.dsps, 0
        for layer in self.network.layers:
            name, inputs = layer.name, tuple([ports[name] for name in layer.inputs])
            option = self.options[name].cheapest(inputs, cycles, dsps, self.goal.folds.get(name),
                                                 spared.scarce(name))
            if option is None:
                return None
            needed += option.multipliers
            if most is not None and needed > most:
                return None
            dsps -= option.kind.dsps
            ports[name] = option.kind.o
            found[name] = option
        return found

    def affordable(self, cycles: int) -> tuple[dict[str, Option], Spared] | None:
        """Every layer at no more than ``cycles``, with multipliers enough; None where there is not.

        And what they spare for that.
        """
        for multipliers in (True,) if self.none_soft else (False, True):
            spared = Spared(multipliers)
            chosen = self.chosen(cycles, spared, self.budget.multipliers)
            if chosen is not None:
                return self.sharing(chosen, cycles, spared)
        return None

    @property
    def none_soft(self) -> bool:
        """Whether DSP blocks are all that there may be: any other multiplier is one too many."""
        return self.budget.multipliers <= self.budget.resources.dsps

    def sharing(self, chosen: dict[str, Option], cycles: int, spared: Spared = NOTHING
                ) -> tuple[dict[str, Option], Spared]:
        """What is ``chosen``, or with DSP blocks that make two products where they run out.

        As few layers as will do are to have those, the first ones. And what is spared then.
        """
        if self.none_soft or not _soft(chosen):
            return chosen, spared

        def with_sharing(layers: int) -> tuple[dict[str, Option], Spared]:
            more = replace(spared, dsps=frozenset([*chosen][:layers]))
            found = self.chosen(cycles, more)
            assert found is not None  # a price rules out nothing
            return found, more

        enough = len(chosen)
        shared = with_sharing(enough)
        few = enough if _soft(shared[0]) else 1
        while few < enough:
            middle = (few + enough) // 2
            attempt = with_sharing(middle)
            if _soft(attempt[0]):
                few = middle + 1
            else:
                shared, enough = attempt, middle
        return shared

    def fitting(self, cycles: int, within: Budget) -> Candidate | None:
        """The plan at no more than ``cycles`` that fits ``within``, or None."""
        found = self.affordable(cycles)
        if found is None:
            return None
        planned = self.sparing(found[0], cycles, within, found[1])
        return None if self._shortages(planned, within) else planned

    def sparing(self, chosen: Mapping[str, Option], cycles: int, within: Budget,
                spared: Spared = NOTHING) -> Candidate:
        """The plan of what is ``chosen``, or one that spares block RAMs if only those run out.

        As few layers as will do are to spare them, those first to whom one costs the least.
        """
        def short(candidate: Candidate) -> list[str]:
            return [one.what for one in self._shortages(candidate, within)]

        def with_sparing(layers: Iterable[str]) -> Candidate:
            some = self.chosen(cycles, replace(spared, blocks=frozenset(layers)))
            assert some is not None
            return self.planned(some)

        planned = plain = self.planned(chosen)
        if short(plain) != [BLOCK_RAMS]:
            return plain
        lacking, = self._shortages(plain, within)
        sparing = self.chosen(cycles, replace(spared, blocks=chosen.keys()))
        assert sparing is not None  # a price rules out nothing
        saved, prices = {}, {}
        for name, usual in chosen.items():
            spare = sparing[name]
            if spare.cells.brams < usual.cells.brams:
                saved[name] = usual.cells.brams - spare.cells.brams
                prices[name] = spare.price - usual.price
        order = sorted(saved, key=lambda name: prices[name] / saved[name])
        # Where all that can be spared seems too little, that is tried first.
        if lacking.needed - sum(saved.values()) > lacking.available and (
                BLOCK_RAMS in short(with_sparing(order))):
            return plain
        few, enough = 0, len(order)
        while few < enough:
            middle = (few + enough) // 2
            attempt = with_sparing(order[:middle + 1])
            if BLOCK_RAMS in short(attempt):
                few = middle + 1
            else:
                planned, enough = attempt, middle
        # The last one may spare so many that some of those before it need not, the dearest first.
        kept = order[:enough + 1] if planned is not plain else []
        for name in sorted(kept, key=prices.__getitem__, reverse=True):
            fewer = [one for one in kept if one != name]
            attempt = with_sparing(fewer)
            if BLOCK_RAMS not in short(attempt):
                planned, kept = attempt, fewer
        # What lacks something else for it is no help.
        return plain if short(planned) else planned

    def fastest(self, low: int, high: int, within: Budget) -> Candidate | None:
        """The plan of the fewest cycles from ``low`` on, and below ``high``, that fits ``within``.

        None where none does. Block RAMs have no end. What buffers take beyond the least is not
        known before there is a plan; so paces are told apart by what the last plan had of that,
        and a plan is made of the best of them, until one fits. As slower plans have less of it,
        those between that one and the last that did not fit are tried then.
        """
        beyond, limits, begin = Resources(), within.resources, low
        while True:
            pace, first, end = high, low, high
            while first < end:
                middle = (first + end) // 2
                found = self.affordable(middle)
                if found is not None and _fits(_cells(found[0]) + beyond, limits):
                    pace = middle
                    end = min(middle, max(option.cycles for option in found[0].values()))
                else:
                    first = middle + 1
            if pace == high:
                return None
            best = self.fitting(pace, within)
            if best is not None:
                return self.faster(best, low, within) if low > begin else best
            found = self.affordable(pace)
            assert found is not None
            plan, least = self.planned(found[0]).plan, _cells(found[0])
            used = plan.resources + linked(within, self.network, plan)
            beyond = Resources(used.luts - least.luts, used.ffs - least.ffs)
            low = pace + 1

    def faster(self, best: Candidate, low: int, within: Budget) -> Candidate:
        """The plan of the fewest cycles from ``low`` on that fits ``within``, or ``best``."""
        high = best.plan.cycles_per_frame
        while low < high:
            middle = (low + high) // 2
            attempt = self.fitting(middle, within)
            if attempt is not None:
                best, high = attempt, min(middle, attempt.plan.cycles_per_frame)
            else:
                low = middle + 1
        return best

    def sparest(self, best: Candidate, cycles: int) -> Candidate:
        """A faster plan than ``best``, at ``cycles``, with block RAMs enough; else ``best``.

        Wide words are shallow, and what is shallow needs no block RAM.
        """
        while (cycles := int(cycles / FASTER)) > 0:
            spared = self.chosen(cycles, Spared(True, self.options.keys()),
                                 self.budget.multipliers)
            if spared is None:
                break
            # Buffers between layers come on top.
            if sum(option.cells.brams for option in spared.values()
                   ) <= self.budget.resources.brams:
                found = self.fitting(cycles, self.budget)
                if found is not None:
                    return found
        return best

    def planned(self, chosen: Mapping[str, Option]) -> Candidate:
        """The plan of what is ``chosen``."""
        key = tuple(chosen.values())
        if key not in self.finished:
            for old in list(self.finished)[:-1]:
                del self.finished[old]
            self.finished[key] = finish(self.network, chosen, self.budget.fabric)
        done = self.finished[key]
        return Candidate(Plan(self.board, self.clock_mhz, done.layers, done.interval, 0), done)

    def least(self) -> Candidate:
        """The plan at the pace that every layer can keep to, or the goal's.

        `PenjingError` if that does not fit the budget: nothing does.
        """
        network, pace = self.network, self.pace()
        if self.goal.cycles is not None and not self.none_soft:
            # Speed has no use for the DSP blocks that are left: a plan of fewer is less hardware.
            spared = Spared(dsps=self.options.keys())
            chosen = self.chosen(pace, spared)
            assert chosen is not None
            planned = self.sparing(chosen, pace, self.budget, spared)
            if not self._shortages(planned, self.budget):
                return planned
        chosen = self.chosen(pace)
        assert chosen is not None
        shared, spared = self.sharing(chosen, pace)
        planned = self.sparing(shared, pace, self.budget, spared)
        if [one.what for one in self._shortages(planned, self.budget)] == [BLOCK_RAMS]:
            planned = self.sparest(planned, pace)
        require(network, self.board, self._shortages(planned, self.budget))
        return planned

    def pace(self) -> int:
        """Cycles a frame that every layer can keep to, or the goal's.

        `PenjingError` where no layers do, or not with the multipliers that there are.
        """
        network, cycles = self.network, self.goal.cycles
        pace = self.slowest() if cycles is None else cycles
        chosen = self.chosen(pace)
        if chosen is None:
            raise TooSmall(
                f"network {network.name}: no fold reaches {cycles} cycles a frame; ask for "
                "fewer frames a second or a faster clock")
        needed, available = _multipliers(chosen), self.budget.multipliers
        if needed > available:  # whatever else it takes
            require(network, self.board, [Shortage("multipliers", needed, 0, available)])
        return pace

    def slowest(self) -> int:
        """Cycles a frame at which one multiplier a layer is enough."""
        return max(self.network.input_type.elements, *(
            options.slowest(self.goal.folds.get(name)) for name, options in self.options.items()))

    def _shortages(self, candidate: Candidate, within: Budget) -> list[Shortage]:
        return [*shortages(within, self.network, candidate.plan)]


def _multipliers(chosen: Mapping[str, Option]) -> int:
    return sum([option.multipliers for option in chosen.values()])


def _soft(chosen: Mapping[str, Option]) -> int:
    """Multipliers of look-up tables."""
    return sum([option.multipliers - option.kind.dsps for option in chosen.values()])


def _cells(chosen: Mapping[str, Option]) -> Resources:
    """Those of layers with the least buffers."""
    return sum((option.least for option in chosen.values()), Resources())


def _fits(cells: Resources, limits: Resources) -> bool:
    """Whether there is logic enough."""
    return cells.luts <= limits.luts and cells.ffs <= limits.ffs


def input_port(kind: ir.TensorType, cycles: int) -> Port:
    """The fewest lanes at which a frame comes in within so many ``cycles``.

    Beats are of one position, unless there are more positions than cycles.
    """
    height, width, channels = kind.shape
    steps = cycles // (height * width)
    if steps < 1:
        return Port(-(-kind.elements // cycles), kind.elements)
    return Port(-(-channels // min(steps, channels)), channels)
