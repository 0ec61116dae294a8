"""A convolution of 3 rows and columns in Winograd's form: three layers that multiply less.

Tiles of 2 outputs along an axis are made by 4 products in place of 6. The kernel's transform is
doubled along each such axis, so that all are integers, and the sums are divided without remainder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .layers import (
    Layer,
    SlidingLayer,
    equal_fields,
    holding,
    positions,
    require_sliding,
    require_value,
)
from .tensor import MAX_BITS, Integers, TensorType, frozen_array, is_int, require

WINOGRAD_TILES = ((2, 2), (1, 2))
"""Outputs (rows, columns) that a tile may have."""


def _require_tile(layer: Layer, tile: object) -> None:
    require(tile in WINOGRAD_TILES, f"layer {layer.name}: tile must be one of "
                                    f"{', '.join(map(str, WINOGRAD_TILES))}, not {tile!r:.40}")


def _products(tile: tuple[int, int]) -> int:
    """Products of a tile, of each channel."""
    return 4 ** sum(outputs == 2 for outputs in tile)


@dataclass(frozen=True)
class WinogradInput(Layer):
    """The transform of each window that a ``tile`` of outputs reads: its products, side by side.

    Along an axis of 2 outputs, a window has 4 elements d and becomes d0 - d2, d1 + d2, d2 - d1,
    d1 - d3; along one of 1 output, it has one, which stays. All are counted from ``zero``.
    ``padding`` is (top, bottom, left, right) elements of ``pad_value``. (H, W, C) becomes
    (tiles down, tiles across * products, C), the products of a tile row by row.
    """

    tile: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    zero: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_tile(self, self.tile)
        require_sliding(self.name, self.kernel, self.tile, self.padding)
        for what, value in (("pad value", self.pad_value), ("zero", self.zero)):
            require(is_int(value), f"layer {self.name}: {what} must be an integer, not {value!r}")

    @property
    def kernel(self) -> tuple[int, int]:
        """(height, width) of a window."""
        return 4 if self.tile[0] == 2 else 1, 4

    @property
    def products(self) -> int:
        """Products of a tile, of each channel."""
        return _products(self.tile)

    def output_type(self, *sources: TensorType) -> TensorType:
        """The narrowest signed type of the sums of 2 or 4 elements."""
        (source,) = sources
        require_value(self, "zero", self.zero, source)
        if any(self.padding):
            require_value(self, "pad value", self.pad_value, source)
        height, width = positions(self, source.shape, self.kernel, self.tile, self.padding)
        low, high, terms = source.low, source.high, 2 if self.tile[0] == 1 else 4
        spread = (high - low) * terms // 2
        return holding(self, (height, width * self.products, source.shape[2]),
                       min(-spread, terms * (low - self.zero)),
                       max(spread, terms * (high - self.zero)), source.fraction)


@dataclass(frozen=True, eq=False)
class WinogradProducts(SlidingLayer):
    """A convolution of one column whose weights take ``turns``: column x has those of x % turns.

    ``weights.values`` is (turns * outputs, kernel height, 1, inputs), ``bias`` (turns * outputs,);
    (H, W, inputs) becomes (H', W, outputs), W a multiple of ``turns``.
    """

    turns: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weights.values.shape[2] == 1 and self.stride == (1, 1),
                f"layer {self.name}: its kernel must have one column and the stride (1, 1)")
        require(is_int(self.turns) and self.turns >= 1 and len(self.bias) % self.turns == 0,
                f"layer {self.name}: turns must be an integer that divides its {len(self.bias)} "
                f"rows of weights, not {self.turns!r}")
        require(not self.weights.loadable,
                f"layer {self.name}: its weights cannot be loadable; keep the convolution")

    @property
    def _dimensions(self) -> tuple[str, ...]:
        return "turns * outputs", "height", "1", "inputs"

    def output_type(self, *sources: TensorType) -> TensorType:
        """Exact accumulators, a channel for each output."""
        (source,) = sources
        require(self.weights.values.shape[3] == source.shape[2],
                f"layer {self.name}: weights take {self.weights.values.shape[3]} channels, its "
                f"input has {source.shape[2]}")
        require(source.shape[1] % self.turns == 0,
                f"layer {self.name}: its input has {source.shape[1]} columns, which must be a "
                f"multiple of the {self.turns} turns")
        kind = self._slid(source)
        height, width, rows = kind.shape
        return replace(kind, shape=(height, width, rows // self.turns))

    def macs(self, result: TensorType) -> int:
        """One for each weight of its column at each position."""
        return super().macs(result) // self.turns


@dataclass(frozen=True, eq=False)
class WinogradOutput(Layer):
    """The ``tile`` of outputs of each tile's products m, divided by 2 along each axis of 2 outputs,
    and a ``bias`` (C,).

    Along such an axis the outputs are m0 + m1 + m2 and m1 - m2 - m3. (h, w * products, C) becomes
    (tile height * h, tile width * w, C). The results must fit so many ``bits``, signed, and the
    division must leave no remainder: as products of a `WinogradInput` by transformed kernels do.
    """

    tile: tuple[int, int]
    bits: int
    bias: Integers

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_tile(self, self.tile)
        require(is_int(self.bits) and 2 <= self.bits <= MAX_BITS,
                f"layer {self.name}: bits must be an integer from 2 to {MAX_BITS}, "
                f"not {self.bits!r}")
        limit = 1 << self.bits - 1
        object.__setattr__(self, "bias", frozen_array(f"layer {self.name}: bias", self.bias, -limit,
                                                      limit - 1))

    __eq__ = equal_fields

    @property
    def products(self) -> int:
        """Products of a tile, of each channel."""
        return _products(self.tile)

    @property
    def halvings(self) -> int:
        """How often sums are divided by 2."""
        return sum(outputs == 2 for outputs in self.tile)

    def output_type(self, *sources: TensorType) -> TensorType:
        """Signed integers of its bits."""
        (source,) = sources
        height, width, channels = source.shape
        require(self.bias.shape == (channels,),
                f"layer {self.name}: bias must have shape ({channels},), not {self.bias.shape}")
        require(width % self.products == 0,
                f"layer {self.name}: its input has {width} columns, which must be a multiple of "
                f"the {self.products} products of a tile")
        return TensorType((self.tile[0] * height, self.tile[1] * width // self.products, channels),
                          self.bits, True, source.fraction - self.halvings)
