"""ConvTranspose of reals by constant weights."""

from __future__ import annotations

import math

import numpy as np

from ...ir import Integers
from ..affine import fold_zero_point
from ..dilation import dilated, dilated_shape
from ..entries import entries
from .arithmetic import multiplicand, real
from .graph import Operands, Operators, positive
from .linear import (
    as_map,
    bias_steps,
    map_of,
    narrowest,
    require_accumulators,
    spatial,
    weight_scales,
    window,
)
from .values import Known, Real

_MOST = 4096


def conv_transpose(operands: Operands) -> Real:
    """The accumulators of a transposed convolution, and what they stand for."""
    x, weights = as_map(operands, real(operands)), operands.known(1, "weights")
    bias = operands.known(2, "bias") if operands.has(2) else None
    axes, values = spatial(x.layout), weights.values
    channels, groups = x.layout.shape[2], operands.integer("group", 1)
    if values.ndim != axes + 2 or groups < 1 or values.shape[0] != channels or channels % groups:
        operands.refuse(f"weights {values.shape} in {groups} groups do not fit an input of "
                        f"{channels} channels and {axes} dimensions")
    taps = values.shape[2:]
    if window(operands, "kernel_shape", axes, taps) != ((1, *taps) if axes == 1 else taps):
        operands.refuse("its kernel_shape is not that of its weights")
    scales = weight_scales(operands, weights, 1)
    if scales.size > 1:
        scales = np.tile(scales, groups)  # one for each output of a group, the same in all of them
    with np.errstate(over="ignore", under="ignore"):
        scale = positive(operands, multiplicand(operands, x) * scales)
    kernel = _kernel(operands, weights, axes, groups)
    stride, crop = _crop(operands, x.layout.shape[:2], kernel.shape[1:3], axes)
    builder = operands.builder
    steps, rest = bias_steps(operands, bias, scale, len(kernel))
    wide = fold_zero_point(kernel, steps, x.zero)
    name = builder.add_transposed(builder.name(operands.node), x.name, narrowest(operands, kernel),
                                  wide, stride, crop, x.zero, groups)
    layout = map_of(operands, require_accumulators(operands, name), axes)
    return Real(name, layout, scale, rest=rest)


def _kernel(operands: Operands, weights: Known, axes: int, groups: int) -> Integers:
    """(outputs, height, width, inputs / groups), with zeros between dilated taps."""
    inputs, outputs, *taps = weights.values.shape
    rows, columns = taps if axes == 2 else (1, taps[0])
    dilation = window(operands, "dilations", axes)
    shape = outputs * groups, rows, columns, inputs // groups
    operands.builder.spend_weights(operands.node, math.prod(dilated_shape(shape, dilation)))
    split = weights.integers().reshape(groups, inputs // groups, outputs, rows, columns)
    return dilated(split.transpose(0, 2, 3, 4, 1).reshape(shape), dilation)


def _crop(operands: Operands, size: tuple[int, int], kernel: tuple[int, ...], axes: int
          ) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The stride, and (top, bottom, left, right) of what is left off, of which more may be put on.
    """
    stride = window(operands, "strides", axes)
    whole = [step * (length - 1) + taps
             for step, length, taps in zip(stride, size, kernel, strict=True)]
    more = _numbers(operands, "output_padding", axes, 0)
    _require_below(operands, "output_padding", more, stride)
    mode = operands.text("auto_pad", "NOTSET")
    if operands.ints("output_shape") is not None:
        sizes = _numbers(operands, "output_shape", axes, 1)
        _require_below(operands, "output_shape", [
            length - rows for length, rows in zip(sizes, whole, strict=True)], stride)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [min(step * length, rows + extra) for step, length, rows, extra in
                 zip(stride, size, whole, more, strict=True)]
    elif mode in ("NOTSET", "VALID"):
        top, left, bottom, right = (
            _numbers(operands, "pads", axes, 0, 2) if mode == "NOTSET" else [0] * 4)
        return stride, (top, bottom - more[0], left, right - more[1])
    else:
        operands.refuse(f"its auto_pad {mode:.20} is unknown")
    crop: list[int] = []
    for rows, extra, length in zip(whole, more, sizes, strict=True):
        total = max(0, rows + extra - length)
        first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        crop += [first, rows - first - length]
    return stride, (crop[0], crop[1], crop[2], crop[3])


def _require_below(operands: Operands, name: str, more: list[int], stride: tuple[int, int]) -> None:
    """Refuse an attribute that puts as many rows or columns behind the last input as a stride."""
    if any(rows >= step for rows, step in zip(more, stride, strict=True)):
        operands.refuse(f"its {name} puts {tuple(more)} rows and columns on, which ONNX Runtime "
                        f"has below its strides {stride}", f"give a smaller {name}")


def _numbers(operands: Operands, name: str, axes: int, least: int, times: int = 1) -> list[int]:
    """(vertical, horizontal) of an attribute, so many ``times``; ``least`` where it is left out."""
    given = operands.ints(name)
    if given is None:
        given = (least,) * (axes * times)
    if len(given) != axes * times or any(not least <= value <= _MOST for value in given):
        operands.refuse(f"its {name} {given[:8]} are not {axes * times} numbers from {least} to "
                        f"{_MOST}")
    return list(given) if axes == 2 else [value for one in given for value in (least, one)]


TRANSPOSED: Operators = entries(
    "one or two dimensions; any kernel, stride, padding, dilation, groups, `output_padding` and "
    "`output_shape`", "make its weights constants", {("", "ConvTranspose"): conv_transpose})
"""The operators that convolve the other way round, by domain and name."""
