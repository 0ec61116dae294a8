"""Layers that compute nothing: they move, repeat, select or surround elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .layers import Layer, require_value
from .tensor import MAX_ELEMENTS, TensorType, is_int, require, require_ints

MAX_STEP = 64
"""The largest step of the rows and columns of a `Crop`."""
MAX_FACTOR = 1024
"""The most copies of a row or a column that an `Upsample` makes."""


@dataclass(frozen=True)
class Pad(Layer):
    """The map with ``padding`` (top, bottom, left, right) elements of ``value`` around it.

    (H, W, C) becomes (top + H + bottom, left + W + right, C).
    """

    padding: tuple[int, int, int, int]
    value: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "padding", self.padding, 4, 0, 4096)
        require(is_int(self.value),
                f"layer {self.name}: value must be an integer, not {self.value!r}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, widened where that is bipolar and ``value`` is 0."""
        (source,) = sources
        require_value(self, "value", self.value, source)
        source = source if self.value else source.widened
        height, width, channels = source.shape
        top, bottom, left, right = self.padding
        return replace(source, shape=(height + top + bottom, width + left + right, channels))


@dataclass(frozen=True)
class Repeat(Layer):
    """Each channel ``times`` times, next to each other: (H, W, C) becomes (H, W, times * C)."""

    times: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.times) and 1 <= self.times <= MAX_ELEMENTS,
                f"layer {self.name}: times must be an integer of at least 1, not {self.times!r}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, of more channels."""
        (source,) = sources
        height, width, channels = source.shape
        return replace(source, shape=(height, width, channels * self.times))


@dataclass(frozen=True)
class Upsample(Layer):
    """Each element ``factors`` (y, x) times: rows y times, and in each row every element x times.

    (H, W, C) becomes (y * H, x * W, C). Of all elements, the nearest one is repeated.
    """

    factors: tuple[int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ints(f"layer {self.name}", "factors", self.factors, 2, 1, MAX_FACTOR)

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, of more rows and columns."""
        (source,) = sources
        height, width, channels = source.shape
        y, x = self.factors
        return replace(source, shape=(height * y, width * x, channels))


@dataclass(frozen=True)
class Slice(Layer):
    """The channels ``start`` to ``stop``, that one not included; counted from 0.

    (H, W, C) becomes (H, W, stop - start). Several of one tensor split it.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_int(self.start) and is_int(self.stop)
                and 0 <= self.start < self.stop <= MAX_ELEMENTS,
                f"layer {self.name}: start and stop must be integers, 0 <= start < stop, not "
                f"{self.start!r} and {self.stop!r}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, of these channels."""
        (source,) = sources
        height, width, channels = source.shape
        require(self.stop <= channels,
                f"layer {self.name}: stop must be at most the {channels} channels of its input, "
                f"not {self.stop}")
        return replace(source, shape=(height, width, self.stop - self.start))


@dataclass(frozen=True)
class Permutation(Layer):
    """The channels in another ``order``: channel ``order[n]`` of the input becomes channel n.

    ``order`` holds each of the numbers from 0 to C - 1 once. A channel shuffle is one.
    """

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        require(isinstance(self.order, tuple) and len(self.order) <= MAX_ELEMENTS
                and all(map(is_int, self.order))
                and sorted(self.order) == list(range(len(self.order))),
                f"layer {self.name}: order must be a tuple that holds each of the numbers from 0 "
                f"on once, not {self.order!s:.60}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input."""
        (source,) = sources
        require(len(self.order) == source.shape[2],
                f"layer {self.name}: order has {len(self.order)} channels, its input has "
                f"{source.shape[2]}")
        return source


@dataclass(frozen=True)
class Crop(Layer):
    """Some rows and columns: (start, stop, step) of each, ``stop`` not included, counted from 0.

    (H, W, C) becomes (rows, columns, C); steps are 1 to `MAX_STEP`. A `Slice` takes channels.
    """

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, taken in (("rows", self.rows), ("columns", self.columns)):
            require_ints(f"layer {self.name}", what, taken, 3, 0, MAX_ELEMENTS)
            start, stop, step = taken
            require(start < stop and 1 <= step <= MAX_STEP,
                    f"layer {self.name}: {what} must be (start, stop, step), start < stop and "
                    f"1 <= step <= {MAX_STEP}, not {taken}")

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, of these rows and columns."""
        (source,) = sources
        height, width, channels = source.shape
        for what, size, (_, stop, _) in (("rows", height, self.rows),
                                         ("columns", width, self.columns)):
            require(stop <= size, f"layer {self.name}: {what} must stop at or before the {size} "
                                  f"of its input, not at {stop}")
        return replace(source, shape=(len(range(*self.rows)), len(range(*self.columns)), channels))


@dataclass(frozen=True)
class Rewiring(Layer):
    """What gives the elements another shape in the same raster order: only wiring in hardware."""

    def new_shape(self, source: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of the output for an input of the shape ``source``."""
        raise NotImplementedError

    def output_type(self, *sources: TensorType) -> TensorType:
        """The type of its input, of another shape."""
        (source,) = sources
        return replace(source, shape=self.new_shape(source.shape))


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
