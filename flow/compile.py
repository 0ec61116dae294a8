"""A model to a project folder: load, schedule, emit, write."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from .. import boards
from ..boards import Board
from ..boards.board import UNLIMITED
from ..boards.link_cost import planned_link
from ..boards.top import made_clock_mhz
from ..boards.uart import divider
from ..compiler import ir
from ..compiler.cost import Resources
from ..compiler.dataflow import report
from ..compiler.dataflow.budget import Budget
from ..compiler.dataflow.design import Design
from ..compiler.dataflow.plan import Fold, Plan
from ..compiler.dataflow.pricing import CostOracle
from ..compiler.dataflow.search import Goal, first_fit, fold_of_simd, schedule
from ..compiler.encode import LOADABLE, encode
from ..compiler.ir import Network, PenjingError
from ..compiler.winograd import Tile, improved, rewritten
from ..hdl.emit import emit
from ..hdl.tech import Generic
from . import project
from .json_file import read_object
from .load import Quantization, load
from .progress import Progress, silent
from .project import Project

__all__ = ["Multipliers", "Target", "board_json", "compile_model", "in_winograd_form",
           "parse_budget", "parse_encodings", "parse_winograd", "plan", "smallest"]

GENERIC_MULTIPLIERS = 64
"""The multipliers of a target without a device, unless the user says how many."""
GENERIC_LUTS = 320
"""The LUTs that such a target spends on speed for each of them, unless the user or a frame rate
says how many: a network without multipliers would be unrolled whole."""

_SLOWEST = 1 << 48  # cycles a frame that every network can keep to
TILES: Mapping[str, Tile] = {"2x2": (2, 2), "1x2": (1, 2)}
"""Tiles of Winograd's form as users name them; first, the one of layers without a name of theirs.
"""
Winograd: TypeAlias = Mapping[str, Tile] | None
"""The tiles of layers in Winograd's form by name, or None where the plan decides."""
NOWHERE: Winograd = {}
LIMITS = ("multipliers", "luts", "ffs", "dsps", "brams")


class Multipliers(StrEnum):
    """What multipliers are made of: the board's DSP blocks alone, or what its LUTs give as well."""

    DSP = "dsp"
    ANY = "any"


@dataclass(frozen=True)
class Target:
    """Where the network goes and how fast it must be.

    ``fps`` asks for the least hardware that is so fast; ``budget`` bounds ``multipliers``,
    ``luts``, ``ffs``, ``dsps`` and ``brams``, the last four below what the board has and with its
    serial link counted; ``folds`` is a JSON file with folds by hand:
    ``{"conv1": {"pe": 4, "simd": 9}}``. ``multipliers`` says what they are made of: LUTs take what
    exceeds the DSP blocks unless there are to be these alone.
    """

    board: str
    clock_mhz: float | None = None
    fps: float | None = None
    budget: Mapping[str, int] = field(default_factory=dict)
    folds: str | Path | None = None
    multipliers: Multipliers | None = None

    def __post_init__(self) -> None:
        for what, value in (("clock", self.clock_mhz), ("frames per second", self.fps)):
            if value is not None and type(value) not in (int, float):
                raise PenjingError(f"{what}: it must be a number, not {value!r:.40}")
        if not isinstance(self.budget, Mapping) or any(
                type(value) is not int for value in self.budget.values()):
            raise PenjingError(f"budget: it must be a mapping of limits such as "
                               f"{{'multipliers': 64}}, not {self.budget!r:.60}")
        if not isinstance(self.folds, str | Path | None):
            raise PenjingError(f"folds: it must be the path of a JSON file, not {self.folds!r:.60}")
        if not isinstance(self.multipliers, Multipliers | None):
            raise PenjingError(f"multipliers: it must be a penjing.flow.Multipliers, not "
                               f"{self.multipliers!r:.40}")


def board_json(board: Board) -> dict[str, Any]:
    """What ``penjing boards --json`` prints of ``board``; None where there is no limit."""
    limits = {name: getattr(board.budget, name) for name in ("luts", "dsps", "brams")}
    return {"name": board.name, "family": board.family.name, "device": board.device,
            "budget": {**{name: None if value >= UNLIMITED else value
                          for name, value in limits.items()}, "clock": board.clock_mhz}}


def parse_budget(text: str) -> dict[str, int]:
    """The limits in ``text``: ``64`` (multipliers) or ``multipliers=64,luts=20000``."""
    limits: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().rpartition("=")
        if not re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
            raise PenjingError(f"budget: {part!r} is no limit; write 64 or "
                               f"multipliers=64,luts=20000")
        limits[name.strip() or "multipliers"] = int(value)
    return limits


def parse_encodings(texts: Iterable[str]) -> dict[str, str]:
    """The encodings in ``texts`` such as ``conv1=bitmap``, by layer."""
    chosen: dict[str, str] = {}
    for text in texts:
        layer, equals, name = (part.strip() for part in text.partition("="))
        if not (layer and equals and name):
            raise PenjingError(f"encoding: {text!r:.80} does not name a layer and an encoding; "
                               "write conv1=bitmap")
        if chosen.setdefault(layer, name) != name:
            raise PenjingError(f"encoding: {layer} is to be both {chosen[layer]} and {name}; "
                               "give one of them")
    return chosen


def parse_winograd(text: str) -> Winograd:
    """What ``text`` asks for: ``auto``, ``off``, or layers such as ``conv1,conv2=1x2``."""
    if text in ("auto", "off"):
        return None if text == "auto" else {}
    chosen: dict[str, Tile] = {}
    for part in text.split(","):
        layer, equals, name = (one.strip() for one in part.partition("="))
        tile = TILES.get(name if equals else next(iter(TILES)))
        if not layer or tile is None:
            raise PenjingError(f"winograd: {part!r:.80} does not name a layer, and maybe one of "
                               f"the tiles {', '.join(TILES)}; write conv1, conv1=1x2, auto or off")
        if chosen.setdefault(layer, tile) != tile:
            raise PenjingError(f"winograd: {layer} is to have two tiles; give one of them")
    return chosen


def in_winograd_form(network: Network, target: Target, chosen: Winograd) -> Network:
    """``network`` with the ``chosen`` layers in Winograd's form; what it computes stays the same.

    None lets the plan for the ``target`` decide: the fewest cycles of a frame, or, where the
    target says how many there are, the cheapest; layers with folds by hand stay as they are.
    """
    if chosen is not None:
        return rewritten(network, chosen)
    oracle, goal = cost_oracle(network, target)

    def worth(network: Network) -> tuple[int, ...] | None:
        try:
            cost = oracle.cost(network, goal)
        except PenjingError:
            return None
        return cost.cycles if goal.cycles is None else 0, cost.price

    return improved(network, worth, goal.folds)


def plan(network: Network, target: Target) -> Plan:
    """The schedule of ``network``; `PenjingError` if it does not fit ``target`` or is too slow."""
    budget, goal, board, clock_mhz = _asked(network, target)
    return schedule(network, budget, goal, board=board, clock_mhz=clock_mhz)


def cost_oracle(network: Network, target: Target) -> tuple[CostOracle, Goal]:
    """What prices ``network``, and others like it, as `plan` would for the ``target``, and the goal
    to ask it for."""
    budget, goal, board, clock_mhz = _asked(network, target)
    return CostOracle(budget, board, clock_mhz), goal


def smallest(network: Network, names: Iterable[str]) -> tuple[str | None, dict[str, str]]:
    """The first of the boards ``names`` for which `plan` finds a schedule.

    And what stands against those before it, by name.
    """
    offers = (_asked(network, Target(name)) for name in names)
    return first_fit(network, ((board, clock_mhz, budget)
                               for budget, _, board, clock_mhz in offers))


def _asked(network: Network, target: Target) -> tuple[Budget, Goal, str, float]:
    """What ``target`` means for ``network``: budget, goal, the board's name, the clock in MHz."""
    board = boards.find(target.board)
    clock_mhz = _clock(board, target.clock_mhz)
    cycles = None
    if target.fps is not None:
        if target.budget.get("multipliers") is not None:
            raise PenjingError("--fps and a budget of multipliers: the one follows from the other; "
                               "give one of them")
        if not 0 < target.fps < math.inf:
            raise PenjingError(f"frames per second: it must be above 0, not {target.fps:g}")
        cycles = int(min(clock_mhz * 1e6 / target.fps, _SLOWEST))
        if cycles < 1:
            raise PenjingError(f"frames per second: {target.fps:g} leave less than one cycle of "
                               f"{clock_mhz:g} MHz for a frame; ask for fewer")
    goal = Goal(cycles, _folds(network, Path(target.folds)) if target.folds else {})
    # Where the user or the frame rate settles every fold, nothing is left to be divided.
    settled = cycles is not None or all(layer.name in goal.folds for layer in network.layers
                                        if isinstance(layer, ir.MultiplyAccumulate))
    return _budget(board, target, settled), goal, board.name, clock_mhz


def _clock(board: Board, clock_mhz: float | None) -> float:
    if clock_mhz is not None and not 0 < clock_mhz <= 1000:
        raise PenjingError(f"clock: it must be above 0 and at most 1000 MHz, not {clock_mhz:g}")
    made = made_clock_mhz(board, board.clock_mhz if clock_mhz is None else clock_mhz)
    if board.platform is not None:
        divider(made, board.baud)  # refuses a clock that the serial link cannot be made from
    return made


def _budget(board: Board, target: Target, settled: bool) -> Budget:
    limits = {name: getattr(board.budget, name) for name in LIMITS[1:]}
    limits["multipliers"] = UNLIMITED
    if (board.budget.dsps >= UNLIMITED and not settled
            and target.multipliers is not Multipliers.ANY):
        limits["multipliers"] = GENERIC_MULTIPLIERS
    for name, value in target.budget.items():
        if name not in LIMITS:
            raise PenjingError(f"budget: {name!r} is no resource; name {', '.join(LIMITS)}")
        least = 1 if name == "multipliers" else 0
        if value < least:
            raise PenjingError(f"budget: {name} must be at least {least}, not {value}")
        limits[name] = value if name == "multipliers" else min(value, limits[name])
    if target.multipliers is Multipliers.DSP:
        limits["multipliers"] = min(limits["multipliers"], limits["dsps"])
    elif limits["multipliers"] >= UNLIMITED and board.budget.luts >= UNLIMITED and not settled:
        raise PenjingError(f"multipliers: {board.name} has no end of them; say how many with "
                           "--budget")
    multipliers = limits.pop("multipliers")
    link = partial(_link, board) if board.platform else None
    speed_luts = (GENERIC_LUTS * target.budget.get("multipliers", GENERIC_MULTIPLIERS)
                  if limits["luts"] >= UNLIMITED else None)
    return Budget(board.family.fabric, Resources(**limits), multipliers, link, speed_luts)


def _link(board: Board, network: Network, made: Plan) -> Resources:
    return planned_link(board, Design(network, made))


def _folds(network: Network, path: Path) -> dict[str, Fold]:
    """The folds in the JSON file ``path``, each checked against its layer."""
    example = '{"layer": {"pe": 4, "simd": 9}}'
    value = read_object(path, f"folds like {example}")
    layers = {layer.name: layer for layer in network.layers
              if isinstance(layer, ir.MultiplyAccumulate)}
    folds = {}
    for name, entry in value.items():
        if name not in layers:
            raise PenjingError(f"{path}: {name!r} is no layer with weights; name one of "
                               f"{', '.join(layers)}")
        keys = set(entry) if isinstance(entry, dict) else set()
        if keys not in ({"pe", "simd"}, {"pe", "rows", "lanes"}) or any(
                type(number) is not int or not 1 <= number <= 1 << 20
                for number in entry.values()):
            raise PenjingError(f"{path}: the fold of {name} must have positive integers pe and "
                               f"simd (or pe, rows and lanes); write {example}")
        folds[name] = (fold_of_simd(network, layers[name], entry["pe"], entry["simd"])
                       if "simd" in keys else Fold(**entry))
    return folds


def compile_model(model: str | Path, folder: str | Path, target: Target,
                  quantization: Quantization | None = None, name: str | None = None,
                  progress: Progress = silent,
                  rounding: ir.ScaleRounding | None = None,
                  inline_memories: bool = False, result: str | None = None,
                  encodings: Mapping[str, str] | None = None, loadable: bool = False,
                  winograd: Winograd = NOWHERE) -> Project:
    """Compile the file ``model`` for ``target`` into ``folder``; see `load`, `encode`,
    `in_winograd_form`, `plan` and `emit`. ``encodings`` names those of some layers, ``winograd``
    the tiles of some.

    Channels that nobody reads, or that are constant, are taken out first, see `Project.removed`.
    If ``loadable``, weights and biases come in by a stream, and others of the same bits can: then
    all channels stay, and weights that are not encoded become plain or get a codebook, unless
    ``encodings`` says otherwise. Others with more weights than there is room for do not fit.
    """
    board = boards.find(target.board)
    project.check_target(folder)
    progress("load", 0, 0)
    loaded = load(model, quantization, name, progress, rounding, result)
    if loadable:
        # Another network may need the channels, and have other zeros.
        network = ir.with_loadable_weights(encode(loaded.network, encodings or {}, LOADABLE))
    else:
        loaded = loaded.reduced
        network = encode(loaded.network, encodings or {})
    progress("schedule", 0, 0)
    network = in_winograd_form(network, target, winograd)
    schedule_ = plan(network, target)
    design = Design(network, schedule_)
    link = planned_link(board, design) if board.platform else None
    progress("emit", 0, 0)
    verilog = emit(design.whole(Generic()).component(), network.name,
                   inline_memories=inline_memories)
    told = report.plan_json(schedule_, link, network, project.removed(network, loaded.settings))
    return project.create(folder, network, schedule_, loaded.settings, verilog, told,
                          loaded.source)
