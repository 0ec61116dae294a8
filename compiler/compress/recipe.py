"""Recipes: what is done to a network to make it small, step by step, in a TOML file.

A file holds what its steps share, and a table for each of them::

    seed = 1
    batch = 128

    [[step]]
    do = "prune"
    ratio = 0.9
    epochs = 10

    [[step]]
    do = "share"
    codes = 16
    epochs = 2
    distil = 0.9

The keys of a step are the fields of its class, and of `Step`. One that stands at the top of the
file is the default of all steps that have it.
"""

from __future__ import annotations

import enum
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from ..ir import PenjingError
from .codebooks import Start
from .low_rank import Method

__all__ = ["ChannelRanking", "Channels", "Inputs", "LowRank", "Prune", "Ranking", "Recipe",
           "Share", "Step", "Timing", "Train", "names", "parse", "read"]

UNITS = ("weight", "vector", "kernel", "channel", "layer")
MAX_BYTES = 1 << 20
"""The longest file that is read."""
_WAY_OUT = "see docs/compress.md"


class Ranking(enum.Enum):
    """What says which weights matter least."""

    MAGNITUDE = "magnitude"
    SQUARE = "square"
    DEVIATIONS = "deviations"
    LAYER_ADAPTIVE = "layer-adaptive"
    OPTIMAL_BRAIN_DAMAGE = "optimal-brain-damage"


class Timing(enum.Enum):
    """When weights are pruned."""

    ONCE = "once"
    ITERATIVE = "iterative"
    GRADUAL = "gradual"


class ChannelRanking(enum.Enum):
    """What says which channels matter least."""

    L1 = "l1"
    L2 = "l2"
    BATCH_NORM = "batch-norm"
    ACTIVITY = "activity"
    OPTIMAL_BRAIN_DAMAGE = "optimal-brain-damage"


@dataclass(frozen=True, kw_only=True)
class Step:
    """How a network is trained on behind what is done to it: ``epochs``, 0 for not at all.

    ``distil`` is the share of the uncompressed network's answers in the loss, against the labels,
    at ``temperature`` (Hinton 2015).
    """

    do: ClassVar[str]
    epochs: int = 0
    batch: int = 128
    learning_rate: float = 1e-3
    distil: float = 0.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        _within(self, "epochs", 0, 1 << 20)
        _within(self, "batch", 1, 1 << 20)
        _within(self, "distil", 0, 1)
        if not (0 < self.learning_rate < math.inf and 0 < self.temperature < math.inf):
            raise PenjingError("learning_rate and temperature must be positive")


@dataclass(frozen=True, kw_only=True)
class Prune(Step):
    """Set the weights that matter least to 0.

    ``ratio`` of each layer's, or what ``layers`` says of some by name, 0 for none; ``together``
    ranks all layers' weights together. ``below`` takes what is worth less than that instead (Han's
    q, with "deviations"). ``unit`` is what goes together: "weight", "vector", "kernel", "channel",
    "layer", or n of m channels such as "2:4", which says itself how many go. ``timing``
    "iterative" takes ``rounds`` with all epochs behind each; "gradual" ranks anew every ``every``
    training steps, over the share ``ramp`` of all.
    """

    do = "prune"
    ratio: float = 0.9
    layers: Mapping[str, float] = field(default_factory=dict)
    together: bool = False
    below: float | None = None
    criterion: Ranking = Ranking.MAGNITUDE
    unit: str = "weight"
    timing: Timing = Timing.ONCE
    rounds: int = 3
    every: int = 100
    ramp: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)
        _within(self, "rounds", 1, 1000)
        _within(self, "every", 1, 1 << 20)
        if not 0 < self.ramp <= 1:
            raise PenjingError(f"ramp must be above 0 and at most 1, not {self.ramp:g}")
        if self.unit not in UNITS and self.n_of_m is None:
            raise PenjingError(f"unit must be one of {', '.join(UNITS)}, or n of m channels such as"
                               f" 2:4, not {self.unit!r:.40}")
        if self.timing is not Timing.ONCE and not self.epochs:
            raise PenjingError(f"timing {self.timing.value} prunes while it trains; give epochs")
        if self.timing is not Timing.ONCE and (self.n_of_m or self.below is not None):
            raise PenjingError(f"timing {self.timing.value} lets a ratio grow; n of m weights, and "
                               f"those below a bound, go at once")
        if self.together and self.layers:
            raise PenjingError("layers have no ratios of their own where they are ranked together")

    @property
    def is_plain(self) -> bool:
        """Whether each layer loses its weights of least magnitude, one by one, by a ratio."""
        return (self.criterion is Ranking.MAGNITUDE and self.unit == "weight"
                and not self.together and self.below is None)

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many of how many channels are kept, if that is the unit."""
        found = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,2})", self.unit)
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, kw_only=True)
class Channels(Step):
    """Take out whole channels, and whatever belongs to them: a smaller dense network is left.

    ``ratio`` of each layer's, or, ``together``, of all layers' ranked together; ``layers`` names
    the only ones, each with its ratio. What is left is a multiple of ``round_to``. ``penalty``
    weighs the sum of all batch norms' scales in ``before`` epochs of training that come first,
    which criterion "batch-norm" wants (Liu 2017).
    """

    do = "channels"
    ratio: float = 0.5
    layers: Mapping[str, float] = field(default_factory=dict)
    together: bool = False
    criterion: ChannelRanking = ChannelRanking.L1
    round_to: int = 1
    before: int = 0
    penalty: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)
        _within(self, "round_to", 1, 1024)
        _within(self, "before", 0, 1 << 20)
        _within(self, "penalty", 0, 1e6)
        if self.together and self.layers:
            raise PenjingError("layers have no ratios of their own where they are ranked together")


@dataclass(frozen=True, kw_only=True)
class Inputs(Step):
    """Let layers read fewer channels, which LASSO selects, and fit their weights anew (He 2017).

    ``ratio`` of each layer's but the first, or what ``layers`` says of the only ones. Channels that
    nobody reads any more are taken out when the network is compiled.
    """

    do = "inputs"
    ratio: float = 0.5
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)


@dataclass(frozen=True, kw_only=True)
class LowRank(Step):
    """Make chains of smaller layers out of layers, which hardware runs one behind the other.

    ``ratio`` is the share of the multiply-accumulates that goes: of the network, by Zhang's methods
    "linear", "nonlinear" and "asymmetric", which look at ``samples`` images; of each layer but the
    first, by "tucker", "cp" and "singular"; or what ``layers`` says of the only ones. ``automatic``
    lets "tucker" choose (Kim 2016).
    """

    do = "low-rank"
    ratio: float = 0.5
    layers: Mapping[str, float] = field(default_factory=dict)
    method: Method = Method.ASYMMETRIC
    automatic: bool = False
    samples: int = 3000

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)
        _within(self, "samples", 1, 1 << 20)
        if self.automatic and (self.method is not Method.TUCKER or self.layers):
            raise PenjingError("only tucker, and of all layers, chooses its ranks automatically; "
                               "give a ratio")


@dataclass(frozen=True, kw_only=True)
class Share(Step):
    """Let a layer's weights take few different values: ``codes``, or what ``layers`` says."""

    do = "share"
    codes: int = 16
    layers: Mapping[str, int] = field(default_factory=dict)
    start: Start = Start.LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        for codes in (self.codes, *self.layers.values()):
            if not 2 <= codes <= 256:
                raise PenjingError(f"codes must be 2 to 256, not {codes}")


@dataclass(frozen=True, kw_only=True)
class Train(Step):
    """Train on, and change nothing else: zeros stay, and shared weights."""

    do = "train"


@dataclass(frozen=True)
class Recipe:
    """Some ``steps``, one behind the other; all that is drawn at random depends on ``seed``.

    `PenjingError` where weights are to be removed that are shared already: `Share` comes last.
    """

    steps: tuple[Step, ...]
    seed: int = 1
    about: str = ""

    def __post_init__(self) -> None:
        shared = False
        for number, step in enumerate(self.steps, 1):
            if shared and not isinstance(step, Train):
                raise PenjingError(f"step {number}: {step.do} comes behind share; only train can, "
                                   f"since shared weights move together")
            shared |= isinstance(step, Share)


STEPS: Mapping[str, type[Step]] = {one.do: one for one in (
    Prune, Channels, Inputs, LowRank, Share, Train)}


def names() -> list[str]:
    """The recipes that come with Penjing."""
    return sorted(one.name.removesuffix(".toml") for one in _folder().iterdir()
                  if one.name.endswith(".toml"))


def read(name: str | Path) -> Recipe:
    """The recipe in a file, or one that comes with Penjing, by its name.

    `PenjingError` says in one line what is wrong with it.
    """
    path = Path(name)
    if path.suffix != ".toml" and str(name) in names():
        return parse((_folder() / f"{name}.toml").read_text(), str(name))
    try:
        text = path.read_bytes()[:MAX_BYTES].decode()
    except (OSError, ValueError) as error:
        raise PenjingError(f"{path}: no recipe can be read ({error.__class__.__name__}); give a "
                           f"TOML file, or one of {', '.join(names())}") from None
    return parse(text, str(path))


def _folder() -> Any:
    return resources.files(__package__) / "recipes"


def parse(text: str, origin: str) -> Recipe:
    """The recipe ``text``, which errors call ``origin``."""
    try:
        held = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PenjingError(f"{origin}: no TOML ({error}); {_WAY_OUT}") from None
    tables = held.pop("step", None)
    if not isinstance(tables, list) or not tables or not all(
            isinstance(table, dict) for table in tables):
        raise PenjingError(f"{origin}: a recipe has a table [[step]] for each step; {_WAY_OUT}")
    own = {name: held.pop(name) for name in ("seed", "about") if name in held}
    shared = {one.name for kind in STEPS.values() for one in fields(kind)}
    for key in held:
        if key not in shared:
            raise PenjingError(f"{origin}: {key!r:.40} is no key of a recipe; there are seed, "
                               f"about, step, and defaults: {', '.join(sorted(shared))}")
    if type(own.get("seed", 1)) is not int or not 0 <= own.get("seed", 1) < 1 << 31:
        raise PenjingError(f"{origin}: seed must be an integer of at least 0, not "
                           f"{own['seed']!r:.40}")
    if not isinstance(own.get("about", ""), str):
        raise PenjingError(f"{origin}: about must be text, not {own['about']!r:.40}")
    steps = tuple(_step(table, held, f"{origin}: step {number}")
                  for number, table in enumerate(tables, 1))
    try:
        return Recipe(steps, **own)
    except PenjingError as error:
        raise PenjingError(f"{origin}: {error}") from None


def _step(table: dict[str, Any], shared: Mapping[str, Any], where: str) -> Step:
    """The step that ``table`` describes."""
    do = table.pop("do", None)
    if not isinstance(do, str) or do not in STEPS:
        raise PenjingError(f"{where}: do must be one of {', '.join(STEPS)}, not {do!r:.40}")
    kind = STEPS[do]
    known = {one.name: one for one in fields(kind)}
    for key in table:
        if key not in known:
            raise PenjingError(f"{where}: {key!r:.40} is no key of {do}; there are "
                               f"{', '.join(known)}")
    hints = typing.get_type_hints(kind)
    given = {**{key: value for key, value in shared.items() if key in known}, **table}
    try:
        return kind(**{key: _value(known[key], hints[key], value) for key, value in given.items()})
    except PenjingError as error:
        raise PenjingError(f"{where}: {error}") from None


def _value(one: Field[Any], hint: Any, value: Any) -> Any:
    """``value`` as the field ``one`` of type ``hint`` takes it."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        choices = {choice.value: choice for choice in hint}
        if not isinstance(value, str) or value not in choices:
            raise PenjingError(f"{one.name} must be one of {', '.join(choices)}, not {value!r:.40}")
        return choices[value]
    if isinstance(hint, types.UnionType):
        (hint,) = (of for of in typing.get_args(hint) if of is not types.NoneType)
    if typing.get_origin(hint) is not None:
        (_, of) = typing.get_args(hint)
        if not isinstance(value, dict):
            raise PenjingError(f"{one.name} must be a table of layers, not {value!r:.40}")
        return {name: _scalar(f"{one.name}.{name}", of, number) for name, number in value.items()}
    return _scalar(one.name, hint, value)


def _scalar(name: str, kind: type, value: Any) -> Any:
    """``value`` as ``kind``; an integer is a float, too, but no boolean is a number."""
    fits = type(value) is kind or (kind is float and type(value) is int)
    if not fits or (kind is float and not math.isfinite(value)):
        what = {int: "an integer", float: "a number", bool: "true or false", str: "text"}[kind]
        raise PenjingError(f"{name} must be {what}, not {value!r:.40}")
    return kind(value)


def _require_ratios(ratio: float, layers: Mapping[str, float]) -> None:
    for one in (ratio, *layers.values()):
        if not 0 <= one < 1:
            raise PenjingError(f"ratio must be at least 0 and below 1, not {one:g}: it is the "
                               f"share of what goes")


def _within(step: Step, name: str, low: float, high: float) -> None:
    value = getattr(step, name)
    if not low <= value <= high:
        raise PenjingError(f"{name} must be {low:g} to {high:g}, not {value:g}")
