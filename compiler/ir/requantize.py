"""Layers that bring accumulators back to few bits, each element by itself: the shape stays."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np

from .layers import Layer, equal_fields
from .tensor import (
    MAX_BITS,
    MAX_FRACTION,
    Bipolar,
    Integers,
    TensorType,
    frozen_array,
    is_int,
    require,
    signed_bits,
    unsigned_bits,
)

MULTIPLIER_BITS = 31
"""Bits of the multiplier of a scale requantization, a fixed-point number below 1."""
REFERENCE_BITS = 32
"""What a scale requantization multiplies must fit: the reference arithmetic is that of int32."""
SLOPE_BITS = 18
"""Bits of the multiplier of a slope requantization, its sign included: what a DSP block takes."""
MAX_THRESHOLDS = 255
"""The most thresholds of a channel: those of 8 bits."""
TABLE_BITS = 8
"""Bits of the widest input of a table."""


@dataclass(frozen=True)
class ShiftRequantize(Layer):
    """``clamp((x + 2**(shift-1)) >> shift, low, high)``; a shift of 0 or less is exact, leftwards.

    ``bits``, ``signed`` give the output type; ``low`` and ``high`` default to its limits. A ReLU is
    the case ``low = 0``, a ReLU6 also bounds ``high``.
    """

    shift: int
    bits: int
    signed: bool
    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.shift) and abs(self.shift) <= MAX_FRACTION,
                f"layer {self.name}: shift must be an integer within ±{MAX_FRACTION}, "
                f"not {self.shift!r}")
        _bound(self, TensorType((1, 1, 1), self.bits, self.signed))

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type that it names, its fraction length the input's less ``shift``."""
        (source,) = sources
        require(source.bits - min(self.shift, 0) <= 2 * MAX_BITS,
                f"layer {self.name}: {source.bits} bits shifted left by {-self.shift} are too "
                "wide; raise the shift")
        return TensorType(source.shape, self.bits, self.signed, source.fraction - self.shift)


class ScaleRounding(enum.Enum):
    """How a scale requantization rounds.

    DOUBLE is TensorFlow Lite's reference arithmetic: the doubled high half of the product is
    rounded, halves up, and shifted with halves away from zero. SINGLE rounds once, halves up; EVEN
    once, halves to even, which is ONNX's arithmetic, ODD halves to odd: halves are to even if an
    odd zero point is added before, as ONNX Runtime's QLinearAdd does it.
    """

    DOUBLE = "double"
    SINGLE = "single"
    EVEN = "even"
    ODD = "odd"


@dataclass(frozen=True, eq=False)
class ScaleRequantize(Layer):
    """``clamp(zero_point + round(((x - offset) * m + a) * 2**(pre_shift - 31 + s)), low, high)``.

    ``multipliers`` m (31 bits, unsigned) and ``shifts`` s (-31 to 30, negative to the right) are
    (C,), one a channel, or (1,). ``offset`` is the zero point of the input; ``pre_shift`` a left
    shift before all else, which gives a residual addition its spare bits. ``bits``, ``signed`` are
    the output's, of which ``scale`` (for people) is the worth of one step. ``addends`` a (31 bits,
    unsigned, as many as m; None for zeros) are what biases have below a step of the input.
    """

    multipliers: Integers
    shifts: Integers
    bits: int
    signed: bool
    offset: int = 0
    pre_shift: int = 0
    zero_point: int = 0
    low: int | None = None
    high: int | None = None
    rounding: ScaleRounding = ScaleRounding.DOUBLE
    scale: float | None = None
    addends: Integers | None = None

    __eq__ = equal_fields

    def __post_init__(self) -> None:
        super().__post_init__()
        who = f"layer {self.name}"
        most = (1 << MULTIPLIER_BITS) - 1
        for what, low, high in (("multipliers", 0, most), ("shifts", -31, 30),
                                ("addends", 0, most)):
            if what == "addends" and self.addends is None:
                continue
            values = frozen_array(f"{who}: {what}", getattr(self, what), low, high)
            require(values.ndim == 1, f"{who}: {what} must be one-dimensional")
            object.__setattr__(self, what, values)
            require(values.shape == self.multipliers.shape,
                    f"{who}: it must have as many {what} as multipliers, not {values.size} and "
                    f"{self.multipliers.size}")
        limit = 1 << REFERENCE_BITS - 1
        require(is_int(self.offset) and abs(self.offset) < limit,
                f"{who}: offset must be an integer of {REFERENCE_BITS} bits, not {self.offset!r}")
        require(is_int(self.pre_shift) and 0 <= self.pre_shift < REFERENCE_BITS,
                f"{who}: pre_shift must be an integer from 0 to {REFERENCE_BITS - 1}, "
                f"not {self.pre_shift!r}")
        require(isinstance(self.rounding, ScaleRounding),
                f"{who}: rounding must be a ScaleRounding, not {self.rounding!r}")
        limits = TensorType((1, 1, 1), self.bits, self.signed, 0, self.zero_point, self.scale)
        _bound(self, limits)

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type that it names."""
        (source,) = sources
        channels = source.shape[2]
        require(self.multipliers.size in (1, channels),
                f"layer {self.name}: it must have 1 multiplier or {channels}, one a channel, not "
                f"{self.multipliers.size}")
        shift = self.pre_shift + max(0, int(self.shifts.max()))
        # What is added to a product is less than a whole step of what is multiplied.
        above = int(self.addends is not None)
        bits = signed_bits((source.low - self.offset) << shift,
                           (source.high - self.offset + above) << shift)
        require(bits <= REFERENCE_BITS,
                f"layer {self.name}: what it multiplies may need {bits} bits, more than the "
                f"{REFERENCE_BITS} of the reference arithmetic; narrow the weights or the "
                f"activations")
        return TensorType(source.shape, self.bits, self.signed, 0, self.zero_point, self.scale)


@dataclass(frozen=True, eq=False)
class SlopeRequantize(Layer):
    """``clamp((m * x + c + 2**(shift-1)) >> shift, low, high)``, a line on each side of a point.

    ``multipliers`` m (18 bits, signed) and ``offsets`` c are (C, 2) or (1, 2): of a channel, those
    where ``x < t`` and those where ``x >= t``, with t of ``breakpoints`` (C,) or (1,). A ``shift``
    of 0 to 31 rounds halves up, one of 0 not at all. A batch norm is the case of equal sides, a
    PReLU that of two slopes. ``bits``, ``signed``, ``fraction`` give the output type; ``low`` and
    ``high`` default to its limits.
    """

    multipliers: Integers
    offsets: Integers
    breakpoints: Integers
    shift: int
    bits: int
    signed: bool
    low: int | None = None
    high: int | None = None
    fraction: int = 0

    __eq__ = equal_fields

    def __post_init__(self) -> None:
        super().__post_init__()
        who = f"layer {self.name}"
        limit, most = 1 << MAX_BITS - 2, 1 << SLOPE_BITS - 1
        for what, low, high, axes in (("multipliers", -most, most - 1, 2),
                                      ("offsets", -limit, limit, 2),
                                      ("breakpoints", -limit, limit, 1)):
            values = frozen_array(f"{who}: {what}", getattr(self, what), low, high)
            require(values.ndim == axes, f"{who}: {what} must have {axes} axes, not {values.ndim}")
            object.__setattr__(self, what, values)
        rows = len(self.breakpoints)
        for what in ("multipliers", "offsets"):
            shape = getattr(self, what).shape
            require(shape == (rows, 2), f"{who}: {what} must have shape ({rows}, 2), not {shape}")
        require(is_int(self.shift) and 0 <= self.shift <= MULTIPLIER_BITS,
                f"{who}: shift must be an integer from 0 to {MULTIPLIER_BITS}, not {self.shift!r}")
        _bound(self, TensorType((1, 1, 1), self.bits, self.signed, self.fraction))

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    @property
    def is_bent(self) -> bool:
        """Whether the two sides differ in any channel."""
        return bool((np.diff(self.multipliers) != 0).any() or (np.diff(self.offsets) != 0).any())

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type that it names."""
        (source,) = sources
        _require_rows(self, "slopes", len(self.breakpoints), source)
        multipliers = self.multipliers.astype(object)  # a product may need more than 64 bits
        ends = [multipliers * end + self.offsets for end in (source.low, source.high)]
        bits = signed_bits(min(end.min() for end in ends),
                           max(end.max() for end in ends) + (1 << self.shift >> 1))
        require(bits <= MAX_BITS, f"layer {self.name}: its sums may need {bits} bits, more than "
                                  f"{MAX_BITS}; narrow its input or its offsets")
        return TensorType(source.shape, self.bits, self.signed, self.fraction)


@dataclass(frozen=True, eq=False)
class Threshold(Layer):
    """``base + step * count``, where a channel counts its thresholds t with ``x >= t``.

    ``thresholds`` is (C, T), one row a channel, or (1, T), each row in ascending order; T is 1 to
    255. ``falling`` (C,) or (1,) is 1 for channels that count those with ``x < t`` instead. A
    threshold beyond the input's values is always or never reached. ``bits``, ``signed`` are the
    output's, unless that `is_sign`; ``fraction``, ``zero_point`` and ``scale`` say what it stands
    for, as in `TensorType`.
    """

    thresholds: Integers
    falling: Integers
    bits: int
    signed: bool
    base: int = 0
    step: int = 1
    fraction: int = 0
    zero_point: int = 0
    scale: float | None = None

    __eq__ = equal_fields

    def __post_init__(self) -> None:
        super().__post_init__()
        who = f"layer {self.name}"
        limit = 1 << MAX_BITS - 1
        for what, low, high, axes in (("thresholds", -limit, limit, 2), ("falling", 0, 1, 1)):
            values = frozen_array(f"{who}: {what}", getattr(self, what), low, high)
            require(values.ndim == axes, f"{who}: {what} must have {axes} axes, not {values.ndim}")
            object.__setattr__(self, what, values)
        rows, count = self.thresholds.shape
        require(self.falling.shape == (rows,),
                f"{who}: falling must have shape ({rows},), not {self.falling.shape}")
        require(1 <= count <= MAX_THRESHOLDS,
                f"{who}: a channel must have 1 to {MAX_THRESHOLDS} thresholds, not {count}")
        require((np.diff(self.thresholds, axis=1) >= 0).all(),
                f"{who}: the thresholds of a channel must ascend")
        require(is_int(self.step) and self.step >= 1,
                f"{who}: step must be an integer of at least 1, not {self.step!r}")
        kind = _named_type(self, (1, 1, 1))
        require(is_int(self.base), f"{who}: base must be an integer, not {self.base!r}")
        _check_bounds(self.name, self.base, self.base + self.step * count, kind.low, kind.high)

    @property
    def is_sign(self) -> bool:
        """Whether it makes -1 and +1, which travel as one bit within a network."""
        return ((self.base, self.step, self.thresholds.shape[1]) == (-1, 2, 1)
                and abs(self.zero_point) <= 1)

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type that it names, or a bipolar one if it is a sign."""
        (source,) = sources
        _require_rows(self, "thresholds", len(self.thresholds), source)
        if self.is_sign:
            return Bipolar(source.shape, fraction=self.fraction, zero_point=self.zero_point,
                           scale=self.scale)
        return _named_type(self, source.shape)


@dataclass(frozen=True, eq=False)
class Table(Layer):
    """``values[c, x - low]`` in channel c: any function of an input of up to 8 bits.

    ``values`` is (C, N), one row a channel, or (1, N) for all; entry n of a row is what becomes of
    the input ``low + n``, and N is at most 256. The entries reach over all values of the input, so
    a signed one of 8 bits takes 256 from ``low = -128`` on. A bipolar input has the values -1 and
    +1: three entries from ``low = -1`` do, and no input meets the middle one. ``bits``, ``signed``
    are the output's, which is never bipolar; ``fraction``, ``zero_point`` and ``scale`` say what it
    stands for, as in `TensorType`.
    """

    values: Integers
    bits: int
    signed: bool
    low: int = 0
    fraction: int = 0
    zero_point: int = 0
    scale: float | None = None

    __eq__ = equal_fields

    def __post_init__(self) -> None:
        super().__post_init__()
        who = f"layer {self.name}"
        kind = _named_type(self, (1, 1, 1))
        values = frozen_array(who, self.values, kind.low, kind.high)
        require(values.ndim == 2, f"{who}: values must have 2 axes, not {values.ndim}")
        require(values.shape[1] <= 1 << TABLE_BITS,
                f"{who}: a channel must have 1 to {1 << TABLE_BITS} values, not {values.shape[1]}")
        object.__setattr__(self, "values", values)
        require(is_int(self.low), f"{who}: low must be an integer, not {self.low!r}")

    @property
    def high(self) -> int:
        """The input of the last entry."""
        return self.low + self.values.shape[1] - 1

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type that it names."""
        (source,) = sources
        who = f"layer {self.name}"
        require(source.bits <= TABLE_BITS,
                f"{who}: its input has {source.bits} bits, a table takes up to {TABLE_BITS}; "
                f"requantize it before")
        require(self.low <= source.low and source.high <= self.high,
                f"{who}: its entries are those of {self.low} to {self.high}, but its input has "
                f"values from {source.low} to {source.high}; give it an entry for each")
        _require_rows(self, "values", len(self.values), source)
        return _named_type(self, source.shape)


@dataclass(frozen=True)
class Clamp(Layer):
    """``min(max(x, low), high)``, in the narrowest type that holds both bounds."""

    low: int
    high: int

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = 1 << MAX_BITS - 1
        _check_bounds(self.name, self.low, self.high, -limit, limit - 1)

    @property
    def bounds(self) -> tuple[int, int]:
        """The clamp's (low, high)."""
        return self.low, self.high

    def output_type(self, *sources: TensorType) -> TensorType:
        """The narrowest type that holds both bounds, of the input's meaning."""
        (source,) = sources
        low, high = self.bounds
        signed = low < 0
        bits = signed_bits(low, high) if signed else unsigned_bits(high)
        kind = replace(source.widened, bits=bits, signed=signed, zero_point=0)
        fits = kind.low <= source.zero_point <= kind.high
        return replace(kind, zero_point=source.zero_point) if fits else kind


def _named_type(layer: Threshold | Table, shape: tuple[int, int, int]) -> TensorType:
    """The output type that a layer names, for its ``shape``."""
    return TensorType(shape, layer.bits, layer.signed, layer.fraction, layer.zero_point,
                      layer.scale)


def _require_rows(layer: Layer, what: str, rows: int, source: TensorType) -> None:
    """A layer's constants are one row for all channels, or one row a channel."""
    channels = source.shape[2]
    require(rows in (1, channels),
            f"layer {layer.name}: it must have {what} for 1 or {channels} channels, not {rows}")


def _bound(layer: ShiftRequantize | ScaleRequantize | SlopeRequantize, limits: TensorType) -> None:
    """Default the clamp to the limits of the output type, and check it."""
    low = limits.low if layer.low is None else layer.low
    high = limits.high if layer.high is None else layer.high
    _check_bounds(layer.name, low, high, limits.low, limits.high)
    object.__setattr__(layer, "low", low)
    object.__setattr__(layer, "high", high)


def _check_bounds(name: str, low: object, high: object, least: int, most: int) -> None:
    require(is_int(low) and is_int(high), f"layer {name}: bounds must be integers")
    assert isinstance(low, int) and isinstance(high, int)
    require(least <= low <= high <= most,
            f"layer {name}: bounds ({low}, {high}) must be ordered and within ({least}, {most})")
