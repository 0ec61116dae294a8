"""Transposed convolution: what a strided convolution does, the other way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .encoding import ValueEncoding
from .layers import (
    MultiplyAccumulate,
    equal_fields,
    interval,
    require_encoding,
    require_groups,
    require_value,
)
from .tensor import MAX_ELEMENTS, Integers, TensorType, is_int, require, require_ints

Span: TypeAlias = tuple[int, int, int]
"""(start, stop, step) of rows or columns."""
_LIMIT = 4096


@dataclass(frozen=True, eq=False)
class TransposedConvolution(MultiplyAccumulate):
    """Each element of the map times its kernel, laid over those of its neighbours and added up.

    ``weights.values`` is (outputs, kernel height, kernel width, inputs / groups); element (i, j)
    adds its products by ``weights[n, y, x]`` to ``bias[n]`` at row ``stride[0] * i + y - top`` and
    column ``stride[1] * j + x - left``, where ``crop`` is (top, bottom, left, right): so many rows
    and columns are left off, of ``stride * (H - 1) + kernel``. A negative bottom or right puts on
    what no kernel reaches. What lies between the elements and around them has the ``pad_value``,
    the zero point of the input. Each of ``groups`` equal runs of outputs reads its own run of
    inputs.

    Only whole strides are left off: top and left, and the output's height and width, must be
    multiples of ``stride``; `whole_strides` tells what a `Crop` behind it has to do.
    """

    stride: tuple[int, int] = (1, 1)
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    pad_value: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        what = f"layer {self.name}"
        require(self.weights.values.ndim == 4,
                f"{what}: weights must be (outputs, height, width, inputs), "
                f"not {self.weights.values.shape}")
        require_encoding(self, "a transposed convolution", (ValueEncoding,))
        require_laid(self.name, self.stride, self.crop)
        require(is_int(self.pad_value),
                f"{what}: pad value must be an integer, not {self.pad_value!r}")
        require_groups(self, self.groups)
        for taps, stride, before, after in zip(self.kernel, self.stride, self.crop[::2],
                                               self.crop[1::2], strict=True):
            require(0 <= before < taps and after <= taps - stride,
                    f"{what}: crop {self.crop} must be below the kernel {self.kernel}, at the "
                    f"bottom and at the right by the stride {self.stride}, and not negative at the "
                    "top and at the left")
            require(before % stride == 0 and (taps - after) % stride == 0,
                    f"{what}: crop {self.crop} must leave whole strides {self.stride} of rows and "
                    f"columns, of a kernel {self.kernel}; leave the others off by a Crop behind it")

        outputs, _, _, inputs = self.weights.values.shape
        rows, columns = self.taps
        stored = outputs * inputs * rows * self.stride[0] * columns * self.stride[1]
        require(stored <= MAX_ELEMENTS,
                f"{what}: of a stride {self.stride} it has {stored} weights, more than "
                f"{MAX_ELEMENTS}; take a smaller stride")

    __eq__ = equal_fields

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel (height, width)."""
        shape = self.weights.values.shape
        return shape[1], shape[2]

    @property
    def taps(self) -> tuple[int, int]:
        """The most rows and columns of the map that reach one output."""
        (height, width), (y, x) = self.kernel, self.stride
        return -(-height // y), -(-width // x)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Rows and columns of pad values around the map (top, bottom, left, right), so that each
        window of `taps` makes one stride of outputs."""
        top, bottom, left, right = self.crop
        (rows, columns), (height, width), (y, x) = self.taps, self.kernel, self.stride
        return (rows - 1 - top // y, (height - bottom) // y - 1, columns - 1 - left // x,
                (width - right) // x - 1)

    def phases(self, weights: Integers) -> Integers:
        """The weights by which a window makes each output of its stride.

        ``weights`` are (outputs, kernel height, kernel width, inputs); what comes out is
        (stride y, stride x, outputs, taps y, taps x, inputs), 0 where the kernel has no weight.
        """
        outputs, height, width, inputs = weights.shape
        (rows, columns), (y, x) = self.taps, self.stride
        whole = np.pad(weights, ((0, 0), (0, rows * y - height), (0, columns * x - width), (0, 0)))
        # The last row of a window is the one whose kernel begins with it.
        split = whole.reshape(outputs, rows, y, columns, x, inputs)[:, ::-1, :, ::-1]
        return split.transpose(2, 4, 0, 1, 3, 5)

    @property
    def phase_bias(self) -> Integers:
        """(stride y, stride x, outputs): the bias, and the products with what lies between."""
        weights = self.weights.values
        reached = self.phases(weights).sum((3, 4, 5))
        return np.asarray(self.bias + self.pad_value * (weights.sum((1, 2, 3)) - reached))

    def output_type(self, *sources: TensorType) -> TensorType:
        """Exact accumulators, a channel for each output."""
        (source,) = sources
        height, width, channels = source.shape
        inputs = self.weights.values.shape[3] * self.groups
        require(inputs == channels, f"layer {self.name}: weights take {inputs} channels, its input "
                                    f"has {channels}")
        require_value(self, "pad value", self.pad_value, source)
        top, bottom, left, right = self.crop
        size = (self.stride[0] * (height - 1) + self.kernel[0] - top - bottom,
                self.stride[1] * (width - 1) + self.kernel[1] - left - right)
        require(min(size) > 0, f"layer {self.name}: crop {self.crop} leaves nothing of its output")
        if self.weights.loadable:
            return self._holding(source, size, self._reach(source))
        phases = self.phases(self.weights.values)
        return self._holding(source, size, interval(phases.reshape(self.phase_bias.size, -1),
                                                    self.phase_bias.reshape(-1), source))

    def macs(self, result: TensorType) -> int:
        """One for each weight at each stride of outputs."""
        height, width, _ = result.shape
        strides = height // self.stride[0] * (width // self.stride[1])
        return strides * int(self.weights.values.size)


def require_laid(name: str, stride: object, crop: object) -> None:
    """Require a ``stride`` (y, x) and a ``crop`` (top, bottom, left, right)."""
    require_ints(f"layer {name}", "stride", stride, 2, 1, _LIMIT)
    require_ints(f"layer {name}", "crop", crop, 4, -_LIMIT, _LIMIT)


def whole_strides(size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
                  crop: tuple[int, int, int, int]
                  ) -> tuple[tuple[int, int, int, int], tuple[Span, Span] | None]:
    """What a `TransposedConvolution` leaves off of ``crop``, and the rows and columns of its output
    that a `Crop` behind it has to keep; None for all.

    Its input is of ``size`` (height, width). Both ends of ``crop`` are free, but that the top and
    the left are not negative and that something must be left.
    """
    crops, spans, sizes = [], [], []
    for length, taps, step, before, after in zip(size, kernel, stride, crop[::2], crop[1::2],
                                                 strict=True):
        whole = step * (length - 1) + taps
        skipped = min(before // step, -(-taps // step) - 1)
        start = before - skipped * step
        kept = whole - before - after
        steps = max(-(-(start + kept) // step), length - skipped)
        crops += [skipped * step, whole - (skipped + steps) * step]
        spans.append((start, start + kept, 1))
        sizes.append(steps * step)
    top, bottom, left, right = crops
    rows, columns = spans
    is_whole = rows == (0, sizes[0], 1) and columns == (0, sizes[1], 1)
    return (top, bottom, left, right), None if is_whole else (rows, columns)
