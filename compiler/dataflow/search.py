"""Network and board budget to a plan: the cheapest kinds of all layers at the best speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from .. import ir
from ..cost import Fabric
from ..ir import Network, PenjingError
from .budget import Budget, shortages
from .fold import Fold
from .kinds import engines_of
from .options import Catalogue
from .plan import Plan
from .searching import Candidate, Goal, Search
from .site import Site, sites

__all__ = ["ROUTABLE", "Candidate", "Goal", "check_fold", "first_fit", "fold_of_simd", "schedule",
           "search", "wider"]

ROUTABLE = 0.75
"""The share of a board's logic that is spent on speed; beyond it, place-and-route may not end. A
network whose slowest plan needs more, or a goal that does, may have all of it."""

STEP = 1.1
"""From one pace to the next where block RAMs run out: fewer cycles may take fewer of them."""

MANY_BLOCKS = 1 << 31
"""More block RAMs than any design takes."""


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


def schedule(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
             clock_mhz: float = 100.0) -> Plan:
    """Choose folds and memories for ``network``.

    Raises `PenjingError` that names the resource, what is needed and what there is, where nothing
    fits.
    """
    goal = goal or Goal()
    find = partial(search, network, budget, board=board, clock_mhz=clock_mhz,
                   catalogue=Catalogue(budget.fabric))
    plan = find(goal).timed()
    if goal.cycles is None:
        return plan
    asked = goal.cycles
    # Where layers wait for each other, each of them is to be the faster.
    while asked > 1 and plan.cycles_per_frame > goal.cycles:
        asked = max(1, asked * goal.cycles // plan.cycles_per_frame)
        plan = find(replace(goal, cycles=asked)).timed()
    return plan


def search(network: Network, budget: Budget, goal: Goal | None = None, *, board: str = "generic",
           clock_mhz: float = 100.0, catalogue: Catalogue | None = None) -> Candidate:
    """What `schedule` finds, among what the ``catalogue`` of the budget's fabric has.

    The slowest layer sets the pace, so the search is for the fewest cycles a frame at which the
    cheapest kinds of all layers fit the budget together.
    """
    goal = goal or Goal()
    searching = Search.of(network, budget, goal, board, clock_mhz,
                          catalogue or Catalogue(budget.fabric))
    for name, fold in goal.folds.items():
        if name not in searching.options:
            raise PenjingError(f"layer {name}: it has a fold, but the network has no such layer")
        check_fold(searching.options[name].site, fold)
    _check_graph(network)
    high = searching.pace()
    if goal.cycles is not None:
        return searching.least()
    # Folds given by hand set a pace that no other layer, nor the input, need surpass.
    low = max((searching.options[name].reads(fold) for name, fold in goal.folds.items()),
              default=1)
    if budget.speed_luts is not None and not any(
            isinstance(layer, ir.MultiplyAccumulate) for layer in network.layers):
        # Without weights and without end of logic, speed is that of a port of one position a beat.
        low = max(low, min(high, network.input_type.shape[0] * network.input_type.shape[1]))
    available = budget.resources
    luts = (int(ROUTABLE * available.luts) if budget.speed_luts is None
            else searching.least().plan.resources.luts + budget.speed_luts)
    routable = replace(budget, resources=replace(
        available, luts=luts, ffs=int(ROUTABLE * available.ffs)))
    unbounded = replace(routable, resources=replace(routable.resources, brams=MANY_BLOCKS))
    ideal = searching.fastest(low, high, unbounded)
    if ideal is not None and not any(shortages(routable, network, ideal.plan)):
        return ideal
    best = searching.least()
    if ideal is None:
        return best
    # Block RAMs do not grow with speed as all else does: memories of other widths fill them more
    # or less well. So the paces between are tried one by one.
    pace = ideal.plan.cycles_per_frame
    while pace < best.plan.cycles_per_frame:
        attempt = searching.fitting(pace, routable)
        if attempt is not None:
            return searching.faster(attempt, int(pace / STEP), routable)
        pace = int(pace * STEP) + 1
    return best


def first_fit(network: Network, offers: Iterable[tuple[str, float, Budget]]
              ) -> tuple[str | None, dict[str, str]]:
    """The first of the ``offers`` that `schedule` accepts, and what stands against those before it.

    Each is a board, its clock in MHz and its budget.
    """
    searches: dict[Fabric, Search] = {}
    against: dict[str, str] = {}
    for board, clock_mhz, budget in offers:
        try:
            _check_graph(network)
            if budget.fabric not in searches:
                searches[budget.fabric] = Search.of(network, budget, Goal(), board, clock_mhz,
                                                    Catalogue(budget.fabric))
            replace(searches[budget.fabric], budget=budget, board=board,
                    clock_mhz=clock_mhz).least()
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
