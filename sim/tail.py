"""What the host computes behind a network, as its `Tail` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..compiler.ir import Integers, Tail, TailFunction
from .softmax import Softmax

__all__ = ["answers"]

_Reals: TypeAlias = NDArray[np.float64]


def answers(tail: Tail | None, outputs: Integers) -> NDArray[Any]:
    """The answers of a network that ends in ``tail`` and puts out the integers ``outputs`` (…, C).

    They are float64 (…, C); int64 (…, C) from -128 to 127 of a softmax of int8, and class numbers
    (…, 1) of an argmax. Without a tail, they are the outputs. `PenjingError` where a softmax of
    int8 has steps too small for it.
    """
    if tail is None:
        return outputs
    if tail.function is TailFunction.INT8_SOFTMAX:
        return Softmax.of(tail.scales[0])(outputs)
    return _FUNCTIONS[tail.function](tail.reals(outputs))


def _same(x: _Reals) -> _Reals:
    return x


def _log_softmax(x: _Reals) -> _Reals:
    below = x - x.max(-1, keepdims=True)
    logarithms: _Reals = below - np.log(np.exp(below).sum(-1, keepdims=True))
    return logarithms


def _softmax(x: _Reals) -> _Reals:
    return np.exp(_log_softmax(x))


def _sigmoid(x: _Reals) -> _Reals:
    return np.exp(-np.logaddexp(0.0, -x))


def _argmax(x: _Reals) -> Integers:
    return x.argmax(-1)[..., None].astype(np.int64)


_FUNCTIONS: Mapping[TailFunction, Callable[[_Reals], NDArray[Any]]] = {
    TailFunction.NONE: _same, TailFunction.SOFTMAX: _softmax,
    TailFunction.LOG_SOFTMAX: _log_softmax, TailFunction.SIGMOID: _sigmoid,
    TailFunction.TANH: np.tanh, TailFunction.ARGMAX: _argmax}
