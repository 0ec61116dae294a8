"""What a file computes of shapes and constants alone, done once: no operator of it is left.

Keras writes a Flatten as SHAPE, STRIDED_SLICE, PACK and RESHAPE, so that a batch may have any size.
Here it has one frame, and the shapes are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir import Integers, PenjingError
from .file import DYNAMIC, MAX_DIMENSIONS, Model, Operator, Tensor
from .graph import AGAIN, Refused

_MOST = 1 << 12
"""The most elements of a computed constant: of a shape, and more."""
_KINDS: Mapping[str, np.dtype[np.signedinteger[Any]]] = {
    "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8")}
_LIMITS = np.iinfo(np.int32)


def fold(model: Model) -> Model:
    """``model`` with all tensors of integers known that follow from constants and shapes.

    The operators that compute them are left out. `Refused` where one of them contradicts the shape
    that the file declares.
    """
    tensors, operators = list(model.tensors), []
    for operator in model.operators:
        if _is_known(operator, tensors):
            index = operator.outputs[0]
            tensors[index] = _computed(operator, tensors)
        else:
            operators.append(operator)
            if operator.kind == "RESHAPE":
                _give_shape(operator, tensors)
    return replace(model, tensors=tuple(tensors), operators=tuple(operators))


def _give_shape(operator: Operator, tensors: list[Tensor]) -> None:
    """Let the output of a RESHAPE have the shape that it reads, where the file left that open."""
    if len(operator.inputs) != 2 or len(operator.outputs) != 1 or (
            min(*operator.inputs, *operator.outputs) < 0):
        return
    source, wanted = (tensors[index] for index in operator.inputs)
    out = tensors[operator.outputs[0]]
    if out.odd != DYNAMIC or wanted.data is None or wanted.kind != "INT32" or (
            len(wanted.shape) != 1 or wanted.elements > MAX_DIMENSIONS):
        return
    sizes = _values(wanted).tolist()
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = source.elements // rest if rest > 0 else 0
    if min(sizes, default=0) > 0 and math.prod(sizes) == source.elements:
        tensors[out.index] = replace(out, shape=tuple(sizes), odd=None)


def _is_known(operator: Operator, tensors: Sequence[Tensor]) -> bool:
    """Whether ``operator`` can be computed now, and puts out integers as shapes are."""
    if operator.kind not in COMPUTED or len(operator.outputs) != 1 or not operator.inputs or (
            min(*operator.inputs, *operator.outputs, 0) < 0):
        return False
    out = tensors[operator.outputs[0]]
    if out.kind not in _KINDS or out.data is not None:
        return False
    given = [tensors[index] for index in operator.inputs]
    return operator.kind == "SHAPE" or all(
        tensor.data is not None and tensor.kind in _KINDS and tensor.elements <= _MOST
        for tensor in given)


def _computed(operator: Operator, tensors: Sequence[Tensor]) -> Tensor:
    """The output of ``operator``, with its values."""
    out = tensors[operator.outputs[0]]
    odd = next((tensors[index].odd for index in (*operator.inputs, out.index)
                if tensors[index].odd), None)
    if odd:
        raise Refused(operator, odd, "convert the network with a batch of 1")
    if out.elements > _MOST:
        raise Refused(operator, f"it computes a constant of more than {_MOST} elements", AGAIN)
    if operator.kind == "SHAPE":
        given = [np.array(tensors[operator.inputs[0]].shape, np.int64)]
    else:
        given = [_values(tensors[index]) for index in operator.inputs]
    try:
        values = np.asarray(COMPUTED[operator.kind](operator, *given), np.int64)
    except (IndexError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise Refused(operator, "its constant operands do not fit each other", AGAIN) from None
    if values.shape != out.shape:
        raise Refused(operator, f"it computes a constant of shape {values.shape}, the file "
                                f"declares {out.shape}", "convert the network with a batch of 1")
    if values.size and not _LIMITS.min <= values.min() <= values.max() <= _LIMITS.max:
        raise Refused(operator, "it computes a constant beyond 32 bits", AGAIN)
    data = np.frombuffer(values.astype(_KINDS[out.kind]).tobytes(), np.uint8)
    return replace(out, data=data)


def _values(tensor: Tensor) -> Integers:
    assert tensor.data is not None
    values = tensor.data.view(_KINDS[tensor.kind]).astype(np.int64)
    if values.size and not _LIMITS.min <= values.min() <= values.max() <= _LIMITS.max:
        raise PenjingError(f"tensor {tensor.index} ({tensor.name:.60}): a constant beyond 32 bits "
                           f"takes part in a shape; {AGAIN}")
    return values.reshape(tensor.shape)


# --- operators, as the reference kernels compute them
def _bit(mask: float, axis: int) -> bool:
    return bool(int(mask) >> axis & 1)


def _strided_slice(operator: Operator, x: Integers, begin: Integers, end: Integers,
                   strides: Integers) -> Integers:
    options = operator.options
    if options["ellipsis"] or options["new_axis"] or options["offset"]:
        raise ValueError
    index: list[int | slice] = []
    for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if _bit(options["shrink_axis"], axis):
            index.append(int(first))
            continue
        index.append(slice(None if _bit(options["begin"], axis) else int(first),
                           None if _bit(options["end"], axis) else int(last), int(step)))
    return np.asarray(x[tuple(index)])


def _slice(operator: Operator, x: Integers, begin: Integers, size: Integers) -> Integers:
    return x[tuple(slice(first, None if count == -1 else first + count)
                   for first, count in zip(begin.tolist(), size.tolist(), strict=True))]


def _gather(operator: Operator, x: Integers, indices: Integers) -> Integers:
    if operator.options["batch_dimensions"]:
        raise ValueError
    return np.take(x, indices, int(operator.options["axis"]))


def _filled(operator: Operator, sizes: Integers, value: Integers) -> Integers:
    return np.broadcast_to(value.reshape(()), tuple(_sizes(sizes)))


def _broadcast(operator: Operator, x: Integers, sizes: Integers) -> Integers:
    return np.broadcast_to(x, tuple(_sizes(sizes)))


def _tile(operator: Operator, x: Integers, times: Integers) -> Integers:
    if np.prod(_sizes(times), dtype=object) * x.size > _MOST:
        raise ValueError
    return np.tile(x, times.tolist())


def _range(operator: Operator, first: Integers, last: Integers, step: Integers) -> Integers:
    values = range(int(first.item()), int(last.item()), int(step.item()))
    if len(values) > _MOST:
        raise ValueError
    return np.array(values, np.int64)


def _sizes(sizes: Integers) -> list[int]:
    """Sizes of axes, none so large that the whole has more than `_MOST` elements."""
    if sizes.ndim != 1 or (sizes < 0).any() or np.prod(sizes.astype(object)) > _MOST:
        raise ValueError
    return [int(size) for size in sizes]


def _elementwise(function: Callable[[Integers, Integers], NDArray[np.int64]]
                 ) -> Callable[[Operator, Integers, Integers], Integers]:
    def compute(operator: Operator, a: Integers, b: Integers) -> Integers:
        if operator.options.get("activation", 0):
            raise ValueError
        if operator.kind.startswith("FLOOR") and (b == 0).any():
            raise ZeroDivisionError
        return function(a, b)
    return compute


def _reduced(function: Callable[..., NDArray[np.int64]]
             ) -> Callable[[Operator, Integers, Integers], Integers]:
    def compute(operator: Operator, x: Integers, axes: Integers) -> Integers:
        if not x.size:
            raise ValueError
        # As Python's integers, a product of many cannot overflow.
        return function(x.astype(object), axis=tuple(axes.reshape(-1).tolist()),
                        keepdims=bool(operator.options["keep_dimensions"]))
    return compute


COMPUTED: Mapping[str, Callable[..., Integers]] = {
    "SHAPE": lambda operator, shape: shape,
    "STRIDED_SLICE": _strided_slice, "SLICE": _slice, "GATHER": _gather,
    "PACK": lambda operator, *x: np.stack(x, int(operator.options["axis"])),
    "CONCATENATION": lambda operator, *x: np.concatenate(x, int(operator.options["axis"])),
    "RESHAPE": lambda operator, x, shape: x.reshape(shape.tolist()),
    "EXPAND_DIMS": lambda operator, x, axis: np.expand_dims(x, int(axis.item())),
    "TRANSPOSE": lambda operator, x, axes: x.transpose(axes.tolist()),
    "CAST": lambda operator, x: x, "NEG": lambda operator, x: -x,
    "FILL": _filled, "BROADCAST_TO": _broadcast, "TILE": _tile, "RANGE": _range,
    "ADD": _elementwise(np.add), "SUB": _elementwise(np.subtract),
    "MUL": _elementwise(np.multiply), "FLOOR_DIV": _elementwise(np.floor_divide),
    "FLOOR_MOD": _elementwise(np.mod), "MAXIMUM": _elementwise(np.maximum),
    "MINIMUM": _elementwise(np.minimum), "SUM": _reduced(np.sum),
    "REDUCE_PROD": _reduced(np.prod), "REDUCE_MAX": _reduced(np.max),
    "REDUCE_MIN": _reduced(np.min)}
"""What is done on reading: the value of each operator, of its inputs."""
