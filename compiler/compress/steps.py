"""The steps of a recipe, and what each of them asks for.

Their fields are the keys of the TOML file; see `recipe`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir import PenjingError
from ..ir.n_of_m import MOST_CHANNELS
from .codebooks import Start
from .low_rank import Method

__all__ = ["STEPS", "Blocks", "ChannelRanking", "Channels", "Inputs", "LowRank", "Operate", "Prune",
           "Ranking", "Rounding", "Share", "Step", "Timing", "Train"]

UNITS = ("weight", "vector", "kernel", "channel", "layer")


class Ranking(enum.Enum):
    """What says which weights matter least."""

    MAGNITUDE = "magnitude"
    SQUARE = "square"
    DEVIATIONS = "deviations"
    LAYER_ADAPTIVE = "layer-adaptive"
    OPTIMAL_BRAIN_DAMAGE = "optimal-brain-damage"

    @property
    def ranks_layers(self) -> bool:
        """Whether it compares weights of different layers."""
        return self not in (Ranking.MAGNITUDE, Ranking.SQUARE)


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


class Rounding(enum.Enum):
    """Which of the shared values a weight takes."""

    NEAREST = "nearest"
    SURGEON = "surgeon"


@dataclass(frozen=True, kw_only=True)
class Step:
    """How a network is trained on behind what is done to it: ``epochs``, 0 for not at all.

    ``distil`` is the share of the uncompressed network's answers in the loss, against the labels,
    at ``temperature`` (Hinton 2015); ``maps`` the weight of what feature maps miss of its own.
    ``blend`` is the share of the images that are mixed with others (`blending`); since labels say
    nothing of those, they want a ``distil`` of 1.
    """

    do: ClassVar[str]
    renames: ClassVar[bool] = False
    """Whether it gives layers other names."""
    zeros: ClassVar[bool] = False
    """Whether it sets weights to 0 that should stay so."""
    fits_anew: ClassVar[bool] = False
    """Whether what was 0 does not stay so."""
    epochs: int = 0
    batch: int = 128
    learning_rate: float = 1e-3
    distil: float = 0.0
    temperature: float = 4.0
    maps: float = 0.0
    blend: float = 0.0

    def __post_init__(self) -> None:
        _within(self, "epochs", 0, 1 << 20)
        _within(self, "batch", 1, 1 << 20)
        _within(self, "distil", 0, 1)
        _within(self, "maps", 0, 1e6)
        _within(self, "blend", 0, 1)
        if self.blend and self.distil < 1:
            raise PenjingError("labels say nothing of images that are mixed; where they blend, all "
                               "is learned from the teacher: say distil = 1")
        _within(self, "learning_rate", 1e-12, 1e3)
        _within(self, "temperature", 1e-3, 1e6)


@dataclass(frozen=True, kw_only=True)
class Prune(Step):
    """Set the weights that matter least to 0.

    ``ratio`` of each layer's, or what ``layers`` says of some by name, 0 for none; ``together``
    ranks all layers' weights together. ``below`` takes what is worth less than that instead (Han's
    q, with "deviations"). ``unit`` is what goes together: "weight", "vector", "kernel", "channel",
    "layer", which wants ``together``, or n of m channels such as "2:4". Where n of m, or a bound,
    say how many go, or all are ranked together, ``layers`` name those that stay whole, with 0.
    ``timing`` "iterative" takes ``rounds`` with all epochs behind each; "gradual" ranks anew every
    ``every`` training steps, and ten times at least, over the share ``ramp`` of all.
    """

    do = "prune"
    zeros = True
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
        self._check_unit()
        if self.timing is not Timing.ONCE and not self.epochs:
            raise PenjingError(f"timing {self.timing.value} prunes while it trains; give epochs")
        if self.timing is not Timing.ONCE and self.counts_itself:
            raise PenjingError(f"timing {self.timing.value} lets a ratio grow; n of m weights, and "
                               f"those below a bound, go at once")
        _require_whole(self)
        if self.together and not self.criterion.ranks_layers:
            raise PenjingError(f"{self.criterion.value} cannot rank weights of different layers "
                               f"together; take layer-adaptive, or give each layer its ratio")
        if self.together and self.counts_itself:
            raise PenjingError("together ranks by a ratio; n of m weights, and those below a "
                               "bound, are each layer's own")
        if self.counts_itself and any(self.layers.values()):
            raise PenjingError("layers take no ratio where n of m weights, or those below a bound, "
                               "go; give 0 to those that stay whole")

    def _check_unit(self) -> None:
        """Refuse units that are none, and amounts that cannot be."""
        if self.unit not in UNITS and self.n_of_m is None:
            raise PenjingError(f"unit must be one of {', '.join(UNITS)}, or n of m channels such as"
                               f" 2:4, not {self.unit!r:.40}")
        if self.n_of_m and not 1 <= self.n_of_m[0] < self.n_of_m[1] <= MOST_CHANNELS:
            raise PenjingError(f"unit must be n of m channels with 1 <= n < m <= {MOST_CHANNELS}, "
                               f"not {self.unit}")
        if self.unit == "layer" and not self.together:
            raise PenjingError("unit layer takes whole layers, which are ranked together; say "
                               "together = true")
        if self.below is not None and self.below < 0:
            raise PenjingError(f"below must be at least 0, not {self.below:g}")

    @property
    def counts_itself(self) -> bool:
        """Whether something other than a ratio says how many weights go."""
        return self.n_of_m is not None or self.below is not None

    @property
    def names_whole_layers(self) -> bool:
        """Whether ``layers`` are those that stay as they are."""
        return self.counts_itself or self.together

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
            raise PenjingError("layers have no ratios of their own where they are ranked together; "
                               "take away layers, or together")


@dataclass(frozen=True, kw_only=True)
class Inputs(Step):
    """Let layers read fewer channels, which LASSO selects, and fit their weights anew (He 2017).

    ``ratio`` of each layer's but the first, or what ``layers`` says of the only ones. Channels that
    nobody reads any more are taken out when the network is compiled.
    """

    do = "inputs"
    fits_anew = True
    ratio: float = 0.5
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)


@dataclass(frozen=True, kw_only=True)
class Operate(Step):
    """Take weights out by Optimal Brain Surgeon: those that are left make up for them (`surgery`).

    ``ratio`` of each layer's, or what ``layers`` says of some by name, 0 for those that stay whole;
    weights that are 0 count. ``together`` shares out what is left among all layers by what fewer of
    each cost the network's answers; ``layers`` name those that stay whole then, with 0. Layers are
    fitted by errors in ``samples`` images.
    """

    do = "operate"
    zeros = True
    ratio: float = 0.8
    layers: Mapping[str, float] = field(default_factory=dict)
    together: bool = False
    samples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_ratios(self.ratio, self.layers)
        _within(self, "samples", 1, 1 << 20)
        _require_whole(self)


@dataclass(frozen=True, kw_only=True)
class Blocks(Step):
    """Take out residual blocks whose shortcut is their input itself, which then remains.

    ``names`` are those of their sums; if there are none, the ``count`` blocks go, one by one, that
    cost least: of those left, the one without which the mean loss of ``images`` of the training
    data is lowest.
    """

    do = "blocks"
    names: tuple[str, ...] = ()
    count: int = 1
    images: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(self, "count", 1, 1000)
        _within(self, "images", 1, 1 << 20)
        if len(set(self.names)) < len(self.names):
            raise PenjingError("names must be different blocks")


@dataclass(frozen=True, kw_only=True)
class LowRank(Step):
    """Make chains of smaller layers out of layers, which hardware runs one behind the other.

    ``ratio`` is the share of the multiply-accumulates that goes: of the network, by Zhang's methods
    "linear", "nonlinear" and "asymmetric", which look at ``samples`` images; of each layer but the
    first, by "tucker", "cp" and "singular"; or what ``layers`` says of the only ones. ``automatic``
    lets "tucker" choose (Kim 2016).
    """

    do = "low-rank"
    renames = fits_anew = True
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
    """Let a layer's weights take few different values: ``codes``, or what ``layers`` says.

    Each takes the nearest or, by the "surgeon", one that makes up for others' errors in ``samples``
    images.
    """

    do = "share"
    codes: int = 16
    layers: Mapping[str, int] = field(default_factory=dict)
    start: Start = Start.LINEAR
    rounding: Rounding = Rounding.NEAREST
    samples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(self, "samples", 1, 1 << 20)
        for codes in (self.codes, *self.layers.values()):
            if not 2 <= codes <= 256:
                raise PenjingError(f"codes must be 2 to 256, not {codes}")

    @property
    def is_plain(self) -> bool:
        """Whether weights take the nearest of the values that k-means finds by itself."""
        return (self.rounding is Rounding.NEAREST
                and self.start in (Start.LINEAR, Start.EXACT))


@dataclass(frozen=True, kw_only=True)
class Train(Step):
    """Train on, and change nothing else: zeros stay, and shared weights."""

    do = "train"


STEPS: Mapping[str, type[Step]] = {one.do: one for one in (
    Prune, Operate, Channels, Blocks, Inputs, LowRank, Share, Train)}


def _require_ratios(ratio: float, layers: Mapping[str, float]) -> None:
    for one in (ratio, *layers.values()):
        if not 0 <= one < 1:
            raise PenjingError(f"ratio must be at least 0 and below 1, not {one:g}: it is the "
                               f"share of what goes")


def _require_whole(step: Prune | Operate) -> None:
    if step.together and any(step.layers.values()):
        raise PenjingError("layers have no ratios of their own where they are pruned together; "
                           "give 0 to those that stay whole, or take away together")


def _within(step: Step, name: str, low: float, high: float) -> None:
    value = getattr(step, name)
    if not low <= value <= high:
        raise PenjingError(f"{name} must be {low:.12g} to {high:.12g}, not {value:.12g}")
