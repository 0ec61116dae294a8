"""A network to all plans that a board can have of it and that no other surpasses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import boards
from ..boards.board import UNLIMITED
from ..compiler import file
from ..compiler.dataflow.budget import Budget, TooSmall
from ..compiler.dataflow.pricing import Cost, CostOracle
from ..compiler.dataflow.search import ROUTABLE
from ..compiler.dataflow.searching import Goal
from ..compiler.encode import encode
from ..compiler.ir import Network, PenjingError
from . import workers as pools
from .compile import Target, board_json, cost_oracle
from .front import Front, Point, unsurpassed
from .load import Quantization, load
from .plots import draw_front, require_plots
from .progress import Progress, silent

__all__ = ["explore"]

PACES = 24
"""How many are tried unless it is said."""
_MOST_PACES = 10_000
_PARTS = 2
"""Where look-up tables may multiply, each pace is tried with all parts of the DSP blocks, with one
less, and so on."""
_SLOWEST = 0.01
"""Frames a second that any network makes."""


def explore(model: str | Path, target: Target, *, output: str | Path | None = None,
            paces: int = PACES, plots: bool = False, quantization: Quantization | None = None,
            result: str | None = None, encodings: Mapping[str, str] | None = None,
            workers: int | None = None, scheduler: str | None = None, progress: Progress = silent
            ) -> Front:
    """The plans of the file ``model`` on the ``target`` that no other surpasses, of many.

    They are the cheapest at so many ``paces`` between the slowest plan, or that of the target's
    frames a second, and the fastest, which `plan` finds. Where look-up tables may multiply, each
    pace is tried with all DSP blocks, with half of them and with none. A float network without
    calibration gets random images, which changes what it computes, not what it takes. The front is
    written to ``output``, a ``.json`` file, and drawn to ``.svg`` if ``plots``.

    A plan takes tens of milliseconds, less than a process takes to start, so this one makes them
    all unless there are to be ``workers``, or those of a ``scheduler``: see `penjing.flow.workers`.
    `PenjingError` where nothing fits.
    """
    place = None if output is None else Path(output)
    _require(place, paces, plots, target)
    pools.check_workers(workers, scheduler)
    board = boards.find(target.board)
    progress("load", 0, 0)
    loaded = load(model, quantization or Quantization(random=True), None, progress, None, result)
    network = encode(loaded.reduced.network, encodings or {})
    _, floor = cost_oracle(network, Target(target.board, target.clock_mhz, target.fps or _SLOWEST))
    oracle, _ = cost_oracle(network, replace(target, fps=None))
    progress("fastest plan", 0, 0)
    assert floor.cycles is not None
    slow, fast = oracle.cost(network, floor), oracle.cost(network)
    asked = [*_asked(oracle.budget, slow.cycles, fast.cycles, paces)]
    done = 0

    def note(item: _Item, cost: Cost | None) -> None:
        nonlocal done
        done += 1
        progress("plans", done, len(asked))

    count = 0 if workers is None and scheduler is None else workers
    with pools.workers(count, scheduler) as some:
        costs = some.each(_cost, _Job(network, oracle), asked, note)
    found = [Point(dsps, cost) for (_, dsps), cost in zip(asked, costs, strict=True)
             if cost is not None and _is_routable(cost, slow, oracle.budget)]
    has = {name: value for name, value in board_json(board)["budget"].items() if name != "clock"}
    whole = oracle.budget.resources.dsps
    front = Front(network.name, board.name, oracle.clock_mhz, has, len(asked),
                  unsurpassed([Point(whole, slow), Point(whole, fast), *found]))
    if place is not None:
        file.write_atomically(place, (json.dumps(front.json(), indent=1) + "\n").encode())
        if plots:
            draw_front(front, place.with_suffix(".svg"))
    return front


def _require(place: Path | None, paces: int, plots: bool, target: Target) -> None:
    """Refuse before anything is done what cannot be."""
    if place is not None and (place.suffix != ".json" or place.is_dir()):
        raise PenjingError(f"{place}: a front is a .json file; call it so with -o")
    if plots and place is None:
        raise PenjingError("plots: they lie beside the .json file; name that with -o")
    if plots and place is not None:
        require_plots(place)
    if type(paces) is not int or not 2 <= paces <= _MOST_PACES:
        raise PenjingError(f"paces: it must be an integer from 2 to {_MOST_PACES:,}, not "
                           f"{paces!r:.40}")
    if target.folds is not None:
        raise PenjingError("folds: they settle the pace, and nothing is left to explore; leave "
                           "them out")


_Item = tuple[int, int]
"""The cycles that a frame may take, and the DSP blocks that there may be."""


@dataclass(frozen=True)
class _Job:
    """A ``network``, and what says what it costs."""

    network: Network
    oracle: CostOracle


def _cost(job: _Job, item: _Item) -> Cost | None:
    """That of the cheapest plan; None where none fits."""
    cycles, dsps = item
    try:
        return job.oracle.cost(job.network, Goal(cycles), dsps)
    except TooSmall:
        return None


def _asked(budget: Budget, slowest: int, fastest: int, paces: int) -> Iterator[_Item]:
    """So many ``paces``, each a fixed ratio from the next, with all parts of the DSP blocks."""
    whole = budget.resources.dsps
    parts = range(_PARTS, -1, -1) if whole < min(budget.multipliers, UNLIMITED) else (_PARTS,)
    limits = dict.fromkeys(whole * part // _PARTS for part in parts)
    ratio = fastest / slowest
    for cycles in dict.fromkeys(round(slowest * ratio ** (number / (paces - 1)))
                                for number in range(paces)):
        for dsps in limits:
            yield cycles, dsps


def _is_routable(cost: Cost, slow: Cost, budget: Budget) -> bool:
    """Whether it spends no more logic on speed than may be: see `ROUTABLE`."""
    if budget.speed_luts is not None:
        return True
    has = budget.resources
    return (cost.luts <= max(slow.luts, int(ROUTABLE * has.luts))
            and cost.ffs <= max(slow.ffs, int(ROUTABLE * has.ffs)))
