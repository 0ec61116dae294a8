"""Functions of single elements, as PyTorch defines them."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping

import numpy as np

from .float_kernels import Floats


class Unary(enum.Enum):
    """A function of each element; some take a parameter, one for all or one a channel."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    SILU = "silu"
    HARD_SIGMOID = "hardsigmoid"
    HARD_SWISH = "hardswish"
    GELU = "gelu"
    GELU_TANH = "gelu by tanh"
    SOFTPLUS = "softplus"
    ELU = "elu"
    CELU = "celu"
    SELU = "selu"
    LEAKY_RELU = "leaky relu"
    MISH = "mish"
    LOG_SIGMOID = "logsigmoid"
    SOFTSIGN = "softsign"
    HARD_SHRINK = "hardshrink"
    SOFT_SHRINK = "softshrink"
    THRESHOLD = "threshold"
    ABS = "abs"
    SQUARE = "square"
    EXP = "exp"

    @property
    def takes_parameter(self) -> bool:
        """Whether it has one: a slope below zero, what it is scaled by, or where it begins."""
        return self in _WITH_PARAMETER

    @property
    def is_positive(self) -> bool:
        """Whether no value of it is negative."""
        return self in (Unary.SIGMOID, Unary.HARD_SIGMOID, Unary.SOFTPLUS, Unary.ABS, Unary.SQUARE,
                        Unary.EXP)

    def __call__(self, x: Floats, parameter: Floats | None) -> Floats:
        """The function of ``x`` (..., C)."""
        with np.errstate(over="ignore"):
            if parameter is not None:
                return _WITH_PARAMETER[self](x, parameter)
            return _ALONE[self](x)


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _softplus(x: Floats, beta: Floats | float = 1.0) -> Floats:
    return np.logaddexp(0, beta * x) / beta


def _elu(x: Floats, alpha: Floats | float) -> Floats:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Floats, alpha: Floats) -> Floats:
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha))


def _gelu(x: Floats) -> Floats:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805

_ALONE: Mapping[Unary, Callable[[Floats], Floats]] = {
    Unary.SIGMOID: _sigmoid,
    Unary.TANH: np.tanh,
    Unary.SILU: lambda x: x * _sigmoid(x),
    Unary.HARD_SIGMOID: lambda x: np.clip(x + 3, 0, 6) / 6,
    Unary.HARD_SWISH: lambda x: x * np.clip(x + 3, 0, 6) / 6,
    Unary.GELU: _gelu,
    Unary.GELU_TANH: lambda x: x * 0.5 * (1 + np.tanh(
        math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    Unary.SELU: lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    Unary.MISH: lambda x: x * np.tanh(_softplus(x)),
    Unary.LOG_SIGMOID: lambda x: -_softplus(-x),
    Unary.SOFTSIGN: lambda x: x / (1 + np.abs(x)),
    Unary.ABS: np.abs,
    Unary.SQUARE: np.square,
    Unary.EXP: np.exp,
}
_WITH_PARAMETER: Mapping[Unary, Callable[[Floats, Floats], Floats]] = {
    Unary.LEAKY_RELU: lambda x, slope: np.where(x >= 0, x, slope * x),
    Unary.ELU: _elu,
    Unary.CELU: _celu,
    Unary.SOFTPLUS: _softplus,
    Unary.HARD_SHRINK: lambda x, least: np.where(np.abs(x) > least, x, 0.0),
    Unary.SOFT_SHRINK: lambda x, less: x - np.clip(x, -less, less),
    Unary.THRESHOLD: lambda x, least: np.where(x > least, x, 0.0),
}
