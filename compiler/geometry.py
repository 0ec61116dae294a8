"""What windows slide over, and what they have of it."""

from __future__ import annotations

from dataclasses import dataclass

from . import ir
from .ir import Network


@dataclass(frozen=True)
class Sliding:
    """What the window of a multiply-accumulate or pooling layer slides over."""

    size: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    positions: int

    @property
    def run(self) -> int:
        """Elements of one kernel row."""
        return self.kernel[1] * self.size[2]

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]


def sliding(network: Network, layer: ir.Layer) -> Sliding:
    """Geometry of a windowed layer; a dense layer is one window over a 1×1 map."""
    shape = network.source_type(layer).shape
    height, width, _ = network.type_of(layer.name).shape
    if isinstance(layer, ir.Dense):
        return Sliding(shape, (1, 1), (1, 1), (0, 0, 0, 0), 1)
    if isinstance(layer, ir.Pad):
        return Sliding(shape, (1, 1), (1, 1), layer.padding, height * width)
    assert isinstance(layer, ir.SlidingLayer | ir.PoolLayer)
    return Sliding(shape, layer.kernel, layer.stride, layer.padding, height * width)


def elements_inside(shape: Sliding) -> tuple[list[int], list[int]]:
    """How many elements of the map the windows of each row, and of each column, of positions have.
    """
    found = []
    for axis in range(2):
        size, kernel, stride = shape.size[axis], shape.kernel[axis], shape.stride[axis]
        before, after = shape.padding[2 * axis : 2 * axis + 2]
        starts = range(-before, size + after - kernel + 1, stride)
        found.append([min(size, start + kernel) - max(0, start) for start in starts])
    return found[0], found[1]


def slices_per_position(shape: Sliding, lanes: int) -> tuple[int, int]:
    """(slices of channels, beats of each slice) that one position takes, read by channel."""
    return -(-shape.size[2] // lanes), shape.taps
