"""What the layers of a float network compute, on maps (N, H, W, C) of float64.

All are exact on integers while the sums stay below 2**53, so quantizers use them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .padding import Padding

Floats: TypeAlias = NDArray[np.float64]
Pair: TypeAlias = tuple[int, int]

_COLUMNS = 1 << 23
"""Elements of unrolled windows held at once (64 MiB)."""


def convolution(x: Floats, weights: Floats, bias: Floats, stride: Pair, padding: Padding,
                groups: int = 1) -> Floats:
    """``bias + sum(w * x)`` over each window, each of ``groups`` runs of outputs by its inputs."""
    if groups == 1:
        return _convolution(x, weights, bias, stride, padding)
    if weights.shape[3] == 1:
        return _depthwise(x, weights, bias, stride, padding)
    inputs, outputs = x.shape[3] // groups, len(weights) // groups
    return np.concatenate([_convolution(
        x[..., n * inputs:(n + 1) * inputs], weights[n * outputs:(n + 1) * outputs],
        bias[n * outputs:(n + 1) * outputs], stride, padding) for n in range(groups)], -1)


def _depthwise(x: Floats, weights: Floats, bias: Floats, stride: Pair, padding: Padding) -> Floats:
    """Output n reads the one channel ``n // m``."""
    outputs, height, width, _ = weights.shape
    taps = _taps(_padded(x.repeat(outputs // x.shape[3], -1), padding, 0.0), (height, width),
                 stride)
    kernels = weights.reshape(outputs, -1).T
    return sum((tap * kernel for tap, kernel in zip(taps, kernels, strict=True)), bias)


def _convolution(x: Floats, weights: Floats, bias: Floats, stride: Pair, padding: Padding
                 ) -> Floats:
    outputs, height, width, _ = weights.shape
    kernel = np.ascontiguousarray(weights.transpose(3, 1, 2, 0).reshape(-1, outputs))
    parts = []
    step = max(1, _COLUMNS // (x[0].size * height * width))
    for start in range(0, len(x), step):
        padded = _padded(x[start:start + step], padding, 0.0)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        windows = windows[:, :: stride[0], :: stride[1]]
        columns = windows.reshape(-1, kernel.shape[0])
        parts.append((columns @ kernel + bias).reshape(*windows.shape[:3], outputs))
    return np.concatenate(parts)


def transposed(x: Floats, weights: Floats, bias: Floats, stride: Pair, crop: Padding,
               groups: int = 1) -> Floats:
    """``bias`` and, of each element, its products by its kernel, ``stride`` apart from those of its
    neighbours.

    ``crop`` is (top, bottom, left, right) of what is left off; of the bottom and the right,
    negative ones are put on.
    """
    outputs, height, width, inputs = weights.shape
    top, bottom, left, right = crop
    tall, wide = (size - 1 for size in x.shape[1:3])
    total = np.zeros((len(x), tall * stride[0] + height + max(0, -bottom),
                      wide * stride[1] + width + max(0, -right), outputs)) + bias
    kernels = weights.reshape(groups, outputs // groups, height, width, inputs)
    for y in range(height):
        for column in range(width):
            products = [x[..., n * inputs:(n + 1) * inputs] @ kernels[n, :, y, column].T
                        for n in range(groups)]
            total[:, y:y + tall * stride[0] + 1:stride[0],
                  column:column + wide * stride[1] + 1:stride[1]] += np.concatenate(products, -1)
    return total[:, top:total.shape[1] - max(0, bottom), left:total.shape[2] - max(0, right)]


def dense(x: Floats, weights: Floats, bias: Floats) -> Floats:
    """``bias + weights @ x`` for ``x`` (N, 1, 1, inputs)."""
    return (x.reshape(len(x), -1) @ weights.T + bias).reshape(len(x), 1, 1, -1)


def max_pool(x: Floats, kernel: Pair, stride: Pair, padding: Padding) -> Floats:
    """Maximum over each window; padding never wins."""
    steps = _taps(_padded(x, padding, -np.inf), kernel, stride)
    best = next(steps).copy()
    for tap in steps:
        np.maximum(best, tap, out=best)
    return best


def window_sum(x: Floats, kernel: Pair, stride: Pair, padding: Padding) -> Floats:
    """Sum over each window of the zero-padded map."""
    steps = _taps(_padded(x, padding, 0.0), kernel, stride)
    total = next(steps).copy()
    for tap in steps:
        total += tap
    return total


def _padded(x: Floats, padding: Padding, fill: float) -> Floats:
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)


def _taps(padded: Floats, kernel: Pair, stride: Pair) -> Iterator[Floats]:
    """The map as each position of the kernel sees it."""
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            yield padded[:, y:padded.shape[1] - kernel[0] + y + 1:stride[0],
                         x:padded.shape[2] - kernel[1] + x + 1:stride[1]]
