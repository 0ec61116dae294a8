"""Network and board budget to a plan: the cheapest kinds of all layers at the best speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .. import ir
from ..cost import Fabric, Resources
from ..ir import Network, PenjingError
from .budget import BLOCK_RAMS, Budget, Shortage, TooSmall, require, shortages
from .buffers import Finished, finish
from .fold import Fold
from .kinds import Ask, Kind, Weighted, candidates, engines_of
from .plan import Plan
from .port import Port
from .site import Site, sites

ROUTABLE = 0.75
"""The share of a board's logic that is spent on speed; beyond it, place-and-route may not end. A
network whose slowest plan needs more, or a goal that does, may have all of it."""

OUTPUT_LANE_LUTS = 80
"""What the layer behind pays for a lane more: about a requantizer's."""

MANY_BLOCKS = 1 << 31
"""More block RAMs than any design takes."""

DEAR_BLOCK = 8
"""How many times its worth a block RAM is worth to layers that are to spare them."""

STEP = 1.1
"""From one pace to the next where block RAMs run out: fewer cycles may take fewer of them."""

FASTER = 1.3
"""From one pace to the next where the slowest plan has too few block RAMs."""


@dataclass(frozen=True)
class Goal:
    """What to optimize for.

    ``cycles`` asks for the least hardware that takes a frame in at most so many cycles; without it,
    the budget is spent on speed. ``folds`` fixes layers by hand.
    """

    cycles: int | None = None
    folds: Mapping[str, Fold] = field(default_factory=dict)


def check_fold(site: Site, fold: Fold) -> None:
    """Refuse a fold that the layer cannot have."""
    engine = engines_of(site.layer)[0]
    for what, value, (least, most) in zip(("pe", "rows", "lanes"),
                                          (fold.pe, fold.rows, fold.lanes), engine.limits(site),
                                          strict=True):
        if not least <= value <= most:
            wanted = f"from {least} to {most}" if least < most else str(least)
            raise PenjingError(f"layer {site.name}: fold {what} must be {wanted}, not {value}")
    engine.check(site, fold)


def wider(site: Site, fold: Fold) -> Fold:
    """``fold``, or the next of more lanes that the layer can have."""
    return engines_of(site.layer)[0].wider(site, fold)


def fold_of_simd(network: Network, layer: ir.Layer, pe: int, simd: int) -> Fold:
    """The fold of ``pe`` with the best use of at most ``simd`` inputs a cycle."""
    site, engines = sites(network)[layer.name], engines_of(layer)
    folds = engines[0].of_simd(site, pe, simd)
    for engine in engines:
        folds = engine.suited(site, folds)
    if not folds:
        least = wider(site, Fold(pe, 1, 1)).lanes
        raise PenjingError(f"layer {layer.name}: {simd} inputs a cycle are less than a group in "
                           f"which its weights are stored; take {least}")
    # The fewest beats, then the fewest rows, then the most lanes.
    shape = site.geometry
    best = min(folds, key=lambda f: (
        f.steps(1, shape.kernel[0], shape.run)[1], f.rows, -f.lanes))
    check_fold(site, best)
    return best


@dataclass(frozen=True)
class Scarce:
    """What is to be spared beyond its worth.

    ``multipliers``: one of look-up tables is worth a DSP block, too. ``blocks``: to the layers
    named, a block RAM is worth `DEAR_BLOCK` times as much.
    """

    multipliers: bool = False
    blocks: frozenset[str] = frozenset()


PLENTY = Scarce()


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan without its latency, and what it takes to tell when frames end."""

    plan: Plan
    finished: Finished

    def timed(self) -> Plan:
        """The plan with its latency."""
        return replace(self.plan, latency_cycles=self.finished.frame_ends(1)[0])


@dataclass(frozen=True)
class Search:
    """A search for the plan of ``network`` that meets the ``goal`` within the ``budget``.

    ``cells`` are those of the kinds that were seen of each layer, ``finished`` what became of the
    last two choices of kinds.
    """

    network: Network
    sites: Mapping[str, Site]
    budget: Budget
    goal: Goal
    board: str
    clock_mhz: float
    cells: Mapping[str, dict[Kind, Resources]]
    finished: dict[tuple[Kind, ...], Finished] = field(default_factory=dict)

    def kinds(self, cycles: int, scarce: Scarce = PLENTY) -> dict[str, Kind] | None:
        """Every layer at no more than ``cycles`` cycles a frame, or None where one cannot."""
        ports = {self.network.input: input_port(self.network.input_type, cycles)}
        found = {}
        dsps = self.budget.resources.dsps
        for site in self.sites.values():
            fold = self.goal.folds.get(site.name)
            inputs = tuple(ports[name] for name in site.layer.inputs)
            kind = cheapest(site, Ask(self.budget.fabric, inputs, cycles, dsps, fold),
                            self.cells[site.name], scarce)
            if kind is None:
                return None
            dsps -= kind.dsps
            ports[site.name] = kind.o
            found[site.name] = kind
        return found

    def fitting(self, cycles: int, within: Budget) -> Candidate | None:
        """The plan at no more than ``cycles`` that fits ``within``, or None."""
        # Where DSP blocks are all that there may be, any other multiplier is one too many.
        none_soft = self.budget.multipliers <= self.budget.resources.dsps
        for multipliers in (True,) if none_soft else (False, True):
            kinds = self.kinds(cycles, Scarce(multipliers))
            if kinds is None:
                break
            if self.multipliers(kinds) <= self.budget.multipliers:
                planned = self.sparing(kinds, cycles, within, multipliers)
                return None if any(shortages(within, planned.plan)) else planned
        return None

    def sparing(self, kinds: Mapping[str, Kind], cycles: int, within: Budget,
                multipliers: bool = False) -> Candidate:
        """The plan of these ``kinds``, or of some that spare block RAMs if only those run out.

        As few layers as will do are to spare them, those first to whom one costs the least.
        """
        def short(candidate: Candidate) -> list[str]:
            return [one.what for one in shortages(within, candidate.plan)]

        def with_sparing(layers: Iterable[str]) -> Candidate:
            some = self.kinds(cycles, Scarce(multipliers, frozenset(layers)))
            assert some is not None
            return self.planned(some)

        planned = plain = self.planned(kinds)
        if short(plain) != [BLOCK_RAMS]:
            return plain
        lacking = next(shortages(within, planned.plan))
        spared = self.kinds(cycles, Scarce(multipliers, frozenset(kinds)))
        assert spared is not None  # a price rules out nothing
        price = self.budget.fabric.price
        saved, costs = {}, {}
        for name, cells in self.cells.items():
            usual, spare = cells[kinds[name]], cells[spared[name]]
            if spare.brams < usual.brams:
                saved[name] = usual.brams - spare.brams
                costs[name] = (price(spare) - price(usual)) / saved[name]
        order = sorted(costs, key=costs.__getitem__)
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
        # What lacks something else for it is no help.
        return plain if short(planned) else planned

    def fastest(self, best: Candidate, low: int, high: int, within: Budget) -> Candidate:
        """The plan of the fewest cycles from ``low`` on that fits; ``best`` at ``high`` or more."""
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
            spared = self.kinds(cycles, Scarce(True, frozenset(self.sites)))
            if spared is None or self.multipliers(spared) > self.budget.multipliers:
                break
            # Buffers between layers come on top.
            if sum(self.cells[name][kind].brams for name, kind in spared.items()
                   ) <= self.budget.resources.brams:
                found = self.fitting(cycles, self.budget)
                if found is not None:
                    return found
        return best

    def planned(self, kinds: Mapping[str, Kind]) -> Candidate:
        """The plan of these ``kinds``."""
        key = tuple(kinds.values())
        if key not in self.finished:
            for old in list(self.finished)[:-1]:
                del self.finished[old]
            self.finished[key] = finish(self.network, self.sites, kinds, self.budget.fabric)
        done = self.finished[key]
        return Candidate(Plan(self.board, self.clock_mhz, done.layers, done.interval, 0), done)

    def least(self) -> tuple[int, Candidate]:
        """Cycles a frame that every layer can keep to, or the goal's, and the plan at that pace.

        `PenjingError` if that does not fit the budget: nothing does.
        """
        network, cycles = self.network, self.goal.cycles
        high = max(self.slowest(), 1) if cycles is None else cycles
        kinds = self.kinds(high)
        if kinds is None:
            raise TooSmall(
                f"network {network.name}: no fold reaches {cycles} cycles a frame; ask for "
                "fewer frames a second or a faster clock")
        needed, available = self.multipliers(kinds), self.budget.multipliers
        if needed > available:  # whatever else it takes
            require(network, self.board, [Shortage("multipliers", needed, 0, available)])
        planned = self.sparing(kinds, high, self.budget)
        if {one.what for one in shortages(self.budget, planned.plan)} == {BLOCK_RAMS}:
            planned = self.sparest(planned, high)
        require(network, self.board, shortages(self.budget, planned.plan))
        return high, planned

    def multipliers(self, kinds: Mapping[str, Kind]) -> int:
        """The multipliers of ``kinds``."""
        return sum(kind.work().get("multipliers", 0) for kind in kinds.values())

    def slowest(self) -> int:
        """Cycles a frame at which one multiplier a layer is enough."""
        cycles = [self.network.input_type.elements]
        for site in self.sites.values():
            layer = site.layer
            cycles += [site.source.elements, site.result.elements]
            if isinstance(layer, ir.MultiplyAccumulate):
                cycles.append(self.cycles_of(site, self.goal.folds.get(
                    site.name, engines_of(layer)[0].least(site))))
            elif isinstance(layer, ir.PoolLayer):
                cycles.append(site.result.elements * site.geometry.taps)
        return max(cycles)

    def cycles_of(self, site: Site, fold: Fold | None) -> int:
        """Cycles that a layer with weights takes for its reads under ``fold``, if it has any."""
        port = Port(site.source.elements, site.source.elements)
        least = 0 if fold else site.source.elements
        kind = cheapest(site, Ask(self.budget.fabric, (port,), least, 0, fold), {})
        assert isinstance(kind, Weighted)
        return kind.reads(site)


def cheapest(site: Site, ask: Ask, cells: dict[Kind, Resources], scarce: Scarce = PLENTY
             ) -> Kind | None:
    """The cheapest kind that does what ``ask`` says; None where none is so fast.

    Of equal price, it is the first. ``cells`` remembers those of kinds that were seen before.
    """
    best: tuple[int, Kind] | None = None
    for kind in _candidates(site, ask, spares=site.name in scarce.blocks):
        if ask.fold is None and kind.cycles(site) > ask.cycles:
            continue
        if kind not in cells:
            cells[kind] = kind.cells(site, ask.fabric) + (
                Resources(luts=OUTPUT_LANE_LUTS) * kind.o.lanes)
        price = ask.fabric.price(cells[kind])
        if scarce.multipliers:
            soft = kind.work().get("multipliers", 0) - kind.dsps
            price += ask.fabric.price(Resources(dsps=soft))
        if site.name in scarce.blocks:
            price += (DEAR_BLOCK - 1) * ask.fabric.price(Resources(brams=cells[kind].brams))
        if best is None or price < best[0]:
            best = price, kind
    return best[1] if best else None


def _candidates(site: Site, ask: Ask, *, spares: bool) -> Iterator[Kind]:
    """What the layer may become; if it ``spares`` block RAMs, with fewer of them, too."""
    for kind in candidates(site.layer, site, ask):
        yield kind
        if spares:
            yield from kind.sparing(site, ask.fabric)


def schedule(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
             clock_mhz: float = 100.0) -> Plan:
    """Choose folds and memories for ``network``.

    Raises `PenjingError` that names the resource, what is needed and what there is, where nothing
    fits.
    """
    return search(network, budget, goal, board=board, clock_mhz=clock_mhz).timed()


def search(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
           clock_mhz: float = 100.0) -> Candidate:
    """What `schedule` finds.

    The slowest layer sets the pace, so the search is for the fewest cycles a frame at which the
    cheapest kinds of all layers fit the budget together.
    """
    goal = goal or Goal()
    found = sites(network)
    searching = Search(network, found, budget, goal, board, clock_mhz, {name: {} for name in found})
    for name, fold in goal.folds.items():
        if name not in searching.sites:
            raise PenjingError(f"layer {name}: it has a fold, but the network has no such layer")
        check_fold(searching.sites[name], fold)
    _check_graph(network)
    high, best = searching.least()
    if goal.cycles is not None:
        return best
    # Folds given by hand set a pace that no other layer, nor the input, need surpass.
    low = max((searching.cycles_of(searching.sites[name], fold)
               for name, fold in goal.folds.items()), default=1)
    if budget.speed_luts is not None and not any(
            isinstance(layer, ir.MultiplyAccumulate) for layer in network.layers):
        # Without weights and without end of logic, speed is that of a port of one position a beat.
        low = max(low, min(high, network.input_type.shape[0] * network.input_type.shape[1]))
    available = budget.resources
    luts = (int(ROUTABLE * available.luts) if budget.speed_luts is None
            else best.plan.resources.luts + budget.speed_luts)
    routable = replace(budget, resources=replace(
        available, luts=luts, ffs=int(ROUTABLE * available.ffs)))
    unbounded = replace(routable, resources=replace(routable.resources, brams=MANY_BLOCKS))
    ideal = searching.fastest(best, low, high, unbounded)
    if not any(shortages(routable, ideal.plan)):
        return ideal
    # Block RAMs do not grow with speed as all else does: memories of other widths fill them more
    # or less well. So the paces between are tried one by one.
    pace = ideal.plan.cycles_per_frame
    while pace < best.plan.cycles_per_frame:
        attempt = searching.fitting(pace, routable)
        if attempt is not None:
            return searching.fastest(attempt, int(pace / STEP), attempt.plan.cycles_per_frame,
                                     routable)
        pace = int(pace * STEP) + 1
    return best


def first_fit(network: Network, offers: Iterable[tuple[str, float, Budget]]
              ) -> tuple[str | None, dict[str, str]]:
    """The first of the ``offers`` that `schedule` accepts, and what stands against those before it.

    Each is a board, its clock in MHz and its budget.
    """
    found = sites(network)
    searches: dict[Fabric, Search] = {}
    against: dict[str, str] = {}
    for board, clock_mhz, budget in offers:
        seen = searches.setdefault(budget.fabric, Search(
            network, found, budget, Goal(), board, clock_mhz, {name: {} for name in found}))
        try:
            _check_graph(network)
            replace(seen, budget=budget, board=board, clock_mhz=clock_mhz).least()
        except PenjingError as error:
            against[board] = str(error)
        else:
            return board, against
    return None, against


def _check_graph(network: Network) -> None:
    """Refuse a tensor that nobody reads: its stream would come to a standstill."""
    read = {name for layer in network.layers for name in layer.inputs}
    for name in (network.input, *(layer.name for layer in network.layers[:-1])):
        if name not in read:
            raise PenjingError(f"layer {name}: no layer reads it, and it is not the output; remove "
                               "it")


def input_port(kind: ir.TensorType, cycles: int) -> Port:
    """The fewest lanes at which a frame comes in within so many ``cycles``.

    Beats are of one position, unless there are more positions than cycles.
    """
    height, width, channels = kind.shape
    steps = cycles // (height * width)
    if steps < 1:
        return Port(-(-kind.elements // cycles), kind.elements)
    return Port(-(-channels // min(steps, channels)), channels)
