"""What is known of a tensor of an ONNX graph while it becomes an integer network.

ONNX computes with reals where it means integers: a quantized network is drawn with
``DequantizeLinear`` in front of each operator and ``QuantizeLinear`` behind it. So a tensor is
either integers that some layer puts out, or reals that stand in a known relation to such integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...ir import MaxPool, Tail
from .model import Array, ElementType

Shape = tuple[int, int, int]
Scales: TypeAlias = NDArray[np.float32]
Floats32: TypeAlias = NDArray[np.float32]

NCHW: Shape = (2, 0, 1)
"""The order of ONNX's axes (channels, height, width) among (height, width, channels)."""


@dataclass(frozen=True)
class Layout:
    """How ONNX sees a map (H, W, C), the batch left out.

    Its axes are transposed to ``order``, then reshaped to ``dims``. ``order`` starts as that of
    ONNX's maps, ``dims`` as (C, H, W).
    """

    shape: Shape
    order: Shape = NCHW
    dims: tuple[int, ...] = ()

    @property
    def split(self) -> tuple[int, ...]:
        """The sizes of the transposed axes."""
        return tuple(self.shape[axis] for axis in self.order)

    def in_order(self, order: Shape) -> bool:
        """Whether the elements come in the order of axes ``order``; axes of size 1 do not count."""
        mine, wanted = ([axis for axis in axes if self.shape[axis] > 1]
                        for axes in (self.order, order))
        return mine == wanted

    def map_dims(self) -> bool:
        """Whether ONNX sees a map (C, H, W), or (C, W) of height 1."""
        height, width, channels = self.shape
        dims = self.dims if len(self.dims) != 2 else (self.dims[0], 1, self.dims[1])
        return dims == (channels, height, width) and self.in_order(NCHW)

    def as_map(self) -> Layout | None:
        """The map (C, H, W) or (C, W) that ONNX sees; None if it is none in raster order.

        It has other axes than this one where a Reshape has divided or joined some, but the same
        elements in the same order.
        """
        if self.map_dims():
            return self
        if not 2 <= len(self.dims) <= 3:
            return None
        channels, *_, width = self.dims
        height = self.dims[1] if len(self.dims) == 3 else 1
        made = Layout((height, width, channels), NCHW, self.dims)
        return made if made.loops == self.loops else None

    @property
    def loops(self) -> list[tuple[int, int]]:
        """How ONNX's order walks the raster order: (count, step) of each loop, the inner last.

        Layouts of as many elements have the same ones if the elements are in the same places.
        """
        _, width, channels = self.shape
        steps = width * channels, channels, 1
        loops: list[tuple[int, int]] = []
        for axis in self.order:
            count, step = self.shape[axis], steps[axis]
            if loops and loops[-1][1] == count * step:  # it goes on where the inner one ends
                count *= loops.pop()[0]
            if count > 1:
                loops.append((count, step))
        return loops

    def channel_axis(self) -> int | None:
        """The axis of ``dims`` that is the channels, if one is."""
        place = self.order.index(2)
        before = math.prod(self.split[:place])
        for axis, size in enumerate(self.dims):
            if size == self.shape[2] and math.prod(self.dims[:axis]) == before:
                return axis
        return None

    def positions(self) -> NDArray[np.int64]:
        """For each element as ONNX counts them, its place in raster order (H, W, C)."""
        raster = np.arange(math.prod(self.shape)).reshape(self.shape)
        return raster.transpose(self.order).reshape(-1)


@dataclass(frozen=True)
class Integers:
    """The integers that the layer ``name`` (or the network's input) puts out."""

    name: str
    layout: Layout


@dataclass(frozen=True, eq=False)
class Real:
    """``scale * (q - zero + rest)`` for the integers q of ``name``, clamped to ``low``, ``high``.

    ``scale`` is (1,) or one a channel, in float32, the precision in which ONNX Runtime keeps it.
    ``rest``, (1,) or one a channel and within [0, 1), is what biases have below a step of q.
    """

    name: str
    layout: Layout
    scale: Scales
    zero: int = 0
    low: float = -math.inf
    high: float = math.inf
    rest: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    @property
    def tail(self) -> Tail:
        """What the host makes of the integers; it knows nothing of the clamp."""
        scale = self.scale.astype(np.float64)
        return Tail(tuple(scale.tolist()), tuple((scale * (self.rest - self.zero)).tolist()))

    @property
    def is_comparable(self) -> bool:
        """Whether of the integers of two channels the greater is that of the greater real."""
        return bool((self.scale == self.scale[0]).all() and (self.rest == self.rest[0]).all())

    @property
    def clamped(self) -> bool:
        """Whether the clamp may change anything."""
        return (self.low, self.high) != (-math.inf, math.inf)

    @property
    def rows(self) -> int:
        """1, or the number of channels if they differ."""
        return max(self.scale.size, self.rest.size)


@dataclass(frozen=True, eq=False)
class Sum:
    """The sum of two tensors of reals, then clamped to ``low`` and ``high``.

    It is their difference if it ``subtracts``.
    """

    terms: tuple[Part, Part]
    layout: Layout
    low: float = -math.inf
    high: float = math.inf
    subtracts: bool = False

    @property
    def count(self) -> int:
        """How many tensors are added, those that inner sums add each time."""
        return sum(term.count if isinstance(term, Sum) else 1 for term in self.terms)


@dataclass(frozen=True, eq=False)
class Joined:
    """The channels of several tensors of reals, one tensor after the other."""

    parts: tuple[Part, ...]
    layout: Layout


@dataclass(frozen=True, eq=False)
class Largest:
    """The greatest reals of ``part`` in windows, which are found behind the next quantizer.

    That never puts the greater of two reals below the other. ``pool`` is the layer that finds them,
    but for what it reads.
    """

    part: Part | Joined
    layout: Layout
    pool: MaxPool

    def behind(self, name: str) -> MaxPool:
        """The layer that finds them among the integers ``name``."""
        return replace(self.pool, input=name)


@dataclass(frozen=True)
class FloatInput:
    """The graph's input x as ``factor * x + addend``, reals that nothing has quantized yet."""

    layout: Layout
    factor: float = 1.0
    addend: float = 0.0


@dataclass(frozen=True, eq=False)
class Known:
    """A constant: ``values``, or ``scale * (values - zero)`` where it has a scale.

    ``scale`` and ``zero`` have one entry, or one for each index along ``axis``. ``type`` is how the
    file stores it, None for what was computed from constants.
    """

    values: Array
    type: ElementType | None = None
    scale: Scales | None = None
    zero: NDArray[np.int64] | None = None
    axis: int = 0

    def along(self, numbers: Array) -> Array:
        """``numbers``, one or one an index of the axis, in a shape that meets ``values``."""
        if numbers.size == 1:
            return numbers.reshape(())
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        return numbers.reshape(shape)

    def integers(self) -> NDArray[np.int64]:
        """``values - zero``."""
        whole = self.values.astype(np.int64)
        return whole if self.zero is None else whole - self.along(self.zero)

    def reals(self) -> NDArray[np.float64]:
        """What the constant stands for."""
        if self.scale is None:
            return self.values.astype(np.float64)
        return self.integers().astype(np.float64) * self.along(self.scale)


@dataclass(frozen=True, eq=False)
class Step:
    """One float32 function of x (C, n), or of (1, n) for all channels alike.

    ``falls`` (1,), or (C,) if the function differs among channels, tells where a larger x gives
    less. One that is not ``monotone`` falls and rises. ``count`` operations compute it. ``line`` is
    its (factor, addend), each (1,) or (C,), where it is one.
    """

    function: Callable[[Floats32], Floats32]
    falls: NDArray[np.bool_]
    monotone: bool = True
    count: int = 1
    line: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


def rising(function: Callable[[Floats32], Floats32], rows: int = 1) -> Step:
    """The step of a ``function`` of ``rows`` channels that never falls."""
    return Step(function, np.zeros(rows, np.bool_))


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of integers: ``steps``, one after the other, on ``scale * (q - zero)``.

    q are the integers of ``name``, ``scale`` (float64, (1,) or one a channel) is what one of them
    is worth, exactly; ``origin`` is the tensor of the graph that ``scale * (q - zero)`` is, ""
    where none is but nearly.
    """

    name: str
    layout: Layout
    scale: NDArray[np.float64]
    origin: str
    zero: int = 0
    steps: tuple[Step, ...] = ()

    @property
    def rows(self) -> int:
        """1, or the number of channels if they differ."""
        return max(self.scale.size, *(step.falls.size for step in self.steps), 1)

    @property
    def count(self) -> int:
        """How many operations its steps are."""
        return sum(step.count for step in self.steps)

    @property
    def monotone(self) -> bool:
        """Whether each step is, and so the whole."""
        return all(step.monotone for step in self.steps)

    @property
    def rises(self) -> bool:
        """Whether a larger integer never gives a lesser value, in any channel."""
        return self.monotone and not self.falls.any()

    @property
    def falls(self) -> NDArray[np.bool_]:
        """(rows,) whether a larger integer gives a lesser value, if the function is `monotone`."""
        falls = np.zeros(self.rows, np.bool_)
        for step in self.steps:
            falls = falls ^ step.falls
        return falls

    @property
    def tail(self) -> Tail | None:
        """What the host makes of the integers, if it is a line in each channel."""
        scale, offset = self.scale, -self.scale * self.zero
        for step in self.steps:
            if step.line is None:
                return None
            factor, addend = step.line
            scale, offset = scale * factor, offset * factor + addend
        return Tail(tuple(scale.tolist()), tuple(offset.tolist()))

    def __call__(self, q: NDArray[np.int64]) -> Floats32:
        """The values at the integers q (rows, n) or (1, n), in float32 as the graph computes."""
        return self.of_reals(((q - self.zero) * self.scale[:, None]).astype(np.float32))

    def of_reals(self, x: Floats32) -> Floats32:
        """The same for the reals x that integers stand for."""
        with np.errstate(all="ignore"):
            for step in self.steps:
                x = step.function(x)
        return x

    def same_reals(self, other: Curve) -> bool:
        """Whether both are functions of the same reals, element by element."""
        return ((self.name, self.layout, self.zero) == (other.name, other.layout, other.zero)
                and np.array_equal(self.scale, other.scale))


Part: TypeAlias = Real | Sum | Curve
Activation: TypeAlias = Integers | Real | Sum | Joined | Largest | FloatInput | Curve
Value: TypeAlias = Activation | Known
