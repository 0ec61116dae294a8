"""Functions of single elements, as PyTorch defines them."""

from __future__ import annotations

import enum
import math

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
    LEAKY_RELU = "leaky relu"

    @property
    def takes_parameter(self) -> bool:
        """Whether it has one: the slope below zero, or what an ELU or a softplus is scaled by."""
        return self in (Unary.ELU, Unary.LEAKY_RELU, Unary.SOFTPLUS)

    def __call__(self, x: Floats, parameter: Floats | None) -> Floats:
        """The function of ``x`` (..., C)."""
        with np.errstate(over="ignore"):
            if parameter is not None:
                return _with_parameter(self, x, parameter)
            return _alone(self, x)


def _with_parameter(function: Unary, x: Floats, parameter: Floats) -> Floats:
    if function is Unary.LEAKY_RELU:
        return np.where(x >= 0, x, parameter * x)
    if function is Unary.ELU:
        return np.where(x > 0, x, parameter * np.expm1(np.minimum(x, 0)))
    return np.logaddexp(0, parameter * x) / parameter


def _alone(function: Unary, x: Floats) -> Floats:
    if function is Unary.SIGMOID:
        return _sigmoid(x)
    if function is Unary.TANH:
        return np.tanh(x)
    if function is Unary.SILU:
        return x * _sigmoid(x)
    if function is Unary.HARD_SIGMOID:
        return np.clip(x + 3, 0, 6) / 6
    if function is Unary.HARD_SWISH:
        return x * np.clip(x + 3, 0, 6) / 6
    if function is Unary.GELU:
        return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))
    assert function is Unary.GELU_TANH
    return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))
