"""The operations of an integer network, each validated on construction."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

import numpy as np

from .tensor import (
    MAX_BITS,
    MAX_ELEMENTS,
    MAX_FRACTION,
    Integers,
    TensorType,
    Weights,
    frozen_array,
    is_int,
    require,
    require_ints,
)

MULTIPLIER_BITS = 31
"""Bits of the multiplier of a scale requantization, a fixed-point number below 1."""
REFERENCE_BITS = 32
"""What a scale requantization multiplies must fit: the reference arithmetic is that of int32."""
SLOPE_BITS = 18
"""Bits of the multiplier of a slope requantization, its sign included: what a DSP block takes."""
MAX_SPARE = 16
"""The most bits that a mean may have below those of its input."""
MAX_THRESHOLDS = 255
"""The most thresholds of a channel: those of 8 bits."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""What layers and tensors may be called, and so instances in the Verilog."""


@dataclass(frozen=True)
class Layer:
    """One operation: ``name`` is the instance name in the Verilog, ``input`` names its source."""

    name: str
    input: str

    def __post_init__(self) -> None:
        for what, value in (("name", self.name), ("input", self.input)):
            require(isinstance(value, str) and NAME.fullmatch(value),
                    f"layer {self.name!r}: {what} must be letters, digits and underscores, start "
                    f"with a letter and have at most 64 characters, not {value!r}")

    @property
    def kind(self) -> str:
        """The operation's name in files and reports."""
        return type(self).__name__.lower()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all tensors that it reads, `input` first."""
        return (self.input,)


def _equal(a: object, b: object) -> bool:
    """Equality of two layers, whose fields may be arrays."""
    return type(a) is type(b) and all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@dataclass(frozen=True, eq=False)
class MultiplyAccumulate(Layer):
    """What has ``weights`` and, for each output, a ``bias``; puts out exact accumulators."""

    weights: Weights
    bias: Integers

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.weights, Weights), f"layer {self.name}: weights must be Weights")
        require(self.weights.values.ndim > 0, f"layer {self.name}: weights must be an array")
        limit = 1 << MAX_BITS - 2
        bias = frozen_array(f"layer {self.name}: bias", self.bias, -limit, limit)
        object.__setattr__(self, "bias", bias)
        outputs = self.weights.values.shape[0]
        require(bias.shape == (outputs,),
                f"layer {self.name}: bias must have shape ({outputs},), not {bias.shape}")

    __eq__ = _equal


@dataclass(frozen=True, eq=False)
class SlidingLayer(MultiplyAccumulate):
    """What slides weights over a map."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        dimensions = self._dimensions
        require(self.weights.values.ndim == len(dimensions),
                f"layer {self.name}: weights must be ({', '.join(dimensions)}), "
                f"not {self.weights.values.shape}")
        _check_sliding(self.name, self.kernel, self.stride, self.padding)
        require(is_int(self.pad_value),
                f"layer {self.name}: pad value must be an integer, not {self.pad_value!r}")

    @property
    def _dimensions(self) -> tuple[str, ...]:
        """What the axes of the weights are."""
        raise NotImplementedError

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel (height, width)."""
        shape = self.weights.values.shape
        return shape[1], shape[2]


@dataclass(frozen=True, eq=False)
class Convolution(SlidingLayer):
    """Two-dimensional convolution to exact accumulators.

    ``weights.values`` is (outputs, kernel height, kernel width, inputs / groups), ``bias``
    (outputs,) at the accumulator's fraction length, ``stride`` (y, x), ``padding`` (top, bottom,
    left, right) elements of ``pad_value``, the zero point of the input. A dilated kernel is one
    with zeros between its taps. Each of ``groups`` equal runs of outputs reads its own run of
    inputs.
    """

    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.groups) and self.groups >= 1
                and len(self.bias) % self.groups == 0,
                f"layer {self.name}: groups must be an integer that divides its {len(self.bias)} "
                f"outputs, not {self.groups!r}")

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return "outputs", "height", "width", "inputs"


@dataclass(frozen=True, eq=False)
class Depthwise(SlidingLayer):
    """Convolution of each channel by itself to exact accumulators.

    ``weights.values`` is (outputs, kernel height, kernel width); with m outputs a channel, output n
    reads channel ``n // m``. Stride, padding and ``pad_value`` are those of `Convolution`.
    """

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return "outputs", "height", "width"


@dataclass(frozen=True, eq=False)
class Dense(MultiplyAccumulate):
    """Matrix times vector to exact accumulators; ``weights.values`` is (outputs, inputs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weights.values.ndim == 2,
                f"layer {self.name}: weights must be (outputs, inputs), "
                f"not {self.weights.values.shape}")


@dataclass(frozen=True)
class PoolLayer(Layer):
    """What reduces each window of a channel to one value."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "kernel", self.kernel, 2, 1, 4096)
        _check_sliding(self.name, self.kernel, self.stride, self.padding)


@dataclass(frozen=True)
class MaxPool(PoolLayer):
    """Maximum over each window; padding never wins."""


class Rounding(enum.Enum):
    """Where halves go; both names are of the exact quotient."""

    HALF_UP = "half_up"
    HALF_AWAY = "half_away"


@dataclass(frozen=True)
class AveragePool(PoolLayer):
    """``sum * 2**spare / count``, rounded, over each window.

    All of a window counts, padding as zeros, or without ``count_padding`` only what lies within the
    map. A mean lies between the values of its window, so the type is that of the input, with
    ``spare`` (0 to 16) more bits below. A global average is the case in which the kernel is the
    map. TensorFlow Lite's reference kernels round halves away from zero.
    """

    rounding: Rounding = Rounding.HALF_UP
    count_padding: bool = True
    spare: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.rounding, Rounding),
                f"layer {self.name}: rounding must be a Rounding, not {self.rounding!r}")
        require(isinstance(self.count_padding, bool),
                f"layer {self.name}: count_padding must be a bool, not {self.count_padding!r}")
        require(is_int(self.spare) and 0 <= self.spare <= MAX_SPARE,
                f"layer {self.name}: spare must be an integer from 0 to {MAX_SPARE}, "
                f"not {self.spare!r}")


@dataclass(frozen=True)
class SumPool(PoolLayer):
    """Exact sum over each window; padding counts as zeros."""


@dataclass(frozen=True)
class Pad(Layer):
    """The map with ``padding`` (top, bottom, left, right) elements of ``value`` around it."""

    padding: tuple[int, int, int, int]
    value: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "padding", self.padding, 4, 0, 4096)
        require(is_int(self.value),
                f"layer {self.name}: value must be an integer, not {self.value!r}")


@dataclass(frozen=True)
class Add(Layer):
    """``input + other``, exactly; both have one shape, and are brought to one scale before."""

    other: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.other, str),
                f"layer {self.name}: other must be a name, not {self.other!r}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of both tensors that it reads."""
        return (self.input, self.other)


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
    """``clamp(zero_point + round((x - offset) * 2**(pre_shift - 31 + s) * m), low, high)``.

    ``multipliers`` m (31 bits, unsigned) and ``shifts`` s (-31 to 30, negative to the right) are
    (C,), one a channel, or (1,). ``offset`` is the zero point of the input; ``pre_shift`` a left
    shift before all else, which gives a residual addition its spare bits. ``bits``, ``signed`` are
    the output's, of which ``scale`` (for people) is the worth of one step.
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

    __eq__ = _equal

    def __post_init__(self) -> None:
        super().__post_init__()
        who = f"layer {self.name}"
        for what, low, high in (("multipliers", 0, (1 << MULTIPLIER_BITS) - 1),
                                ("shifts", -31, 30)):
            values = frozen_array(f"{who}: {what}", getattr(self, what), low, high)
            require(values.ndim == 1, f"{who}: {what} must be one-dimensional")
            object.__setattr__(self, what, values)
        require(self.multipliers.shape == self.shifts.shape,
                f"{who}: it must have as many shifts as multipliers, not {self.shifts.size} and "
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

    __eq__ = _equal

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

    __eq__ = _equal

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
        kind = TensorType((1, 1, 1), self.bits, self.signed, self.fraction, self.zero_point,
                          self.scale)
        require(is_int(self.base), f"{who}: base must be an integer, not {self.base!r}")
        _check_bounds(self.name, self.base, self.base + self.step * count, kind.low, kind.high)

    @property
    def is_sign(self) -> bool:
        """Whether it makes -1 and +1, which travel as one bit within a network."""
        return ((self.base, self.step, self.thresholds.shape[1]) == (-1, 2, 1)
                and abs(self.zero_point) <= 1)


def _bound(layer: ShiftRequantize | ScaleRequantize | SlopeRequantize, limits: TensorType) -> None:
    """Default the clamp to the limits of the output type, and check it."""
    low = limits.low if layer.low is None else layer.low
    high = limits.high if layer.high is None else layer.high
    _check_bounds(layer.name, low, high, limits.low, limits.high)
    object.__setattr__(layer, "low", low)
    object.__setattr__(layer, "high", high)


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


@dataclass(frozen=True)
class Repeat(Layer):
    """Each channel ``times`` times, next to each other: (H, W, C) to (H, W, times * C)."""

    times: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.times) and 1 <= self.times <= MAX_ELEMENTS,
                f"layer {self.name}: times must be an integer of at least 1, not {self.times!r}")


@dataclass(frozen=True)
class Rewiring(Layer):
    """What gives the elements another shape in the same raster order: only wiring in hardware."""

    def new_shape(self, source: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of the output for an input of the shape ``source``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Reshape(Rewiring):
    """(H, W, C) to any ``shape`` of as many elements, in the same raster order."""

    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "shape", self.shape, 3, 1, MAX_ELEMENTS)

    def new_shape(self, source: tuple[int, int, int]) -> tuple[int, int, int]:
        """`shape`, which must have as many elements as ``source``."""
        require(math.prod(self.shape) == math.prod(source),
                f"layer {self.name}: its shape {self.shape} has {math.prod(self.shape)} elements, "
                f"its input {source} has {math.prod(source)}")
        return self.shape


@dataclass(frozen=True)
class Flatten(Rewiring):
    """(H, W, C) to (1, 1, H·W·C), in the same raster order."""

    def new_shape(self, source: tuple[int, int, int]) -> tuple[int, int, int]:
        """All elements as the channels of one position."""
        return 1, 1, math.prod(source)


def rewired(name: str, source: str, shape: tuple[int, int, int]) -> Rewiring:
    """The layer that gives ``source`` the ``shape``: a `Flatten` where that is a vector."""
    return Flatten(name, source) if shape[:2] == (1, 1) else Reshape(name, source, shape)


@dataclass(frozen=True)
class ArgMax(Layer):
    """Index of the largest channel at each position; the lowest index wins a tie."""


def _check_sliding(name: str, kernel: tuple[int, int], stride: object, padding: object) -> None:
    require_ints(f"layer {name}", "stride", stride, 2, 1, 4096)
    require_ints(f"layer {name}", "padding", padding, 4, 0, 4096)
    assert isinstance(padding, tuple)
    top, bottom, left, right = padding
    require(max(top, bottom) < kernel[0] and max(left, right) < kernel[1],
            f"layer {name}: padding {padding} must be smaller than the kernel {kernel}")


def _check_bounds(name: str, low: object, high: object, least: int, most: int) -> None:
    require(is_int(low) and is_int(high), f"layer {name}: bounds must be integers")
    assert isinstance(low, int) and isinstance(high, int)
    require(least <= low <= high <= most,
            f"layer {name}: bounds ({low}, {high}) must be ordered and within ({least}, {most})")
