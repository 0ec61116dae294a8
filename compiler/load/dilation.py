"""Dilated kernels: the integer network has no dilation, so zeros lie between the taps.

They cost the hardware cycles, but no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


def dilated_shape(shape: Sequence[int], dilation: tuple[int, int]) -> tuple[int, ...]:
    """What ``shape`` (outputs, height, width, ...) of a kernel becomes."""
    outputs, height, width, *rest = shape
    return (outputs, (height - 1) * dilation[0] + 1, (width - 1) * dilation[1] + 1, *rest)


def dilated(kernel: NDArray[Number], dilation: tuple[int, int]) -> NDArray[Number]:
    """``kernel`` (outputs, height, width, ...) with zeros between its taps."""
    if dilation == (1, 1):
        return kernel
    spread = np.zeros(dilated_shape(kernel.shape, dilation), kernel.dtype)
    spread[:, ::dilation[0], ::dilation[1]] = kernel
    return spread
