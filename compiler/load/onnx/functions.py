"""ONNX's functions of single elements.

Each operation is rounded to float32 where ONNX Runtime rounds it. Of exp and its like, whose last
bit depends on the processor there, the float32 that is nearest stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .graph import Operands
from .linear import per_channel
from .values import Curve, Floats32, Known, Step, rising

_ONE, _HALF = np.float32(1), np.float32(0.5)


def _nearest(function: Callable[..., np.ndarray]) -> Callable[[Floats32], Floats32]:
    """A ``function`` of float64 whose values are rounded to float32."""
    def rounded(x: Floats32) -> Floats32:
        return np.asarray(function(x.astype(np.float64))).astype(np.float32)

    return rounded


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


_exp = _nearest(np.exp)
_tanh = _nearest(np.tanh)
_sigmoid = _nearest(_logistic)
_erf = _nearest(np.vectorize(math.erf, otypes=[np.float64]))
_softplus = _nearest(lambda x: np.logaddexp(0, x))


def _softsign(x: Floats32) -> Floats32:
    return np.divide(x, _ONE + np.abs(x), dtype=np.float32)


def _either_way(function: Callable[[Floats32], Floats32]) -> Step:
    """The step of a ``function`` that falls and rises."""
    return Step(function, np.zeros(1, np.bool_), monotone=False)


def _parameter(operands: Operands, name: str, default: float) -> np.float32:
    return np.float32(operands.number(name, default))


# --- those with parameters: monotone unless these are negative
def _leaky_relu(operands: Operands, curve: Curve) -> Step:
    return _leaky(np.full(1, _parameter(operands, "alpha", 0.01)))


def _prelu(operands: Operands, curve: Curve) -> Step:
    slope = operands.known(1, "slope").reals().astype(np.float32)
    if not np.isfinite(slope).all():
        operands.refuse("its slope is no number", "repair the network")
    return _leaky(per_channel(operands, Known(slope), curve.layout).values)


def _leaky(slope: Floats32) -> Step:
    return Step(lambda x: np.where(x >= 0, x, slope[:, None] * x), np.zeros(slope.size, np.bool_),
                bool((slope >= 0).all()))


def _elu(operands: Operands, curve: Curve) -> Step:
    alpha = _parameter(operands, "alpha", 1.0)
    return Step(lambda x: np.where(x >= 0, x, alpha * (_exp(x) - _ONE)), np.zeros(1, np.bool_),
                bool(alpha >= 0))


def _celu(operands: Operands, curve: Curve) -> Step:
    alpha = _parameter(operands, "alpha", 1.0)
    return Step(lambda x: np.where(x >= 0, x, alpha * (_exp(x / alpha) - _ONE)),
                np.zeros(1, np.bool_), bool(alpha > 0))


def _selu(operands: Operands, curve: Curve) -> Step:
    alpha = _parameter(operands, "alpha", 1.67326319217681884765625)
    gamma = _parameter(operands, "gamma", 1.05070102214813232421875)
    return Step(lambda x: gamma * np.where(x > 0, x, alpha * (_exp(x) - _ONE)),
                np.zeros(1, np.bool_), bool(alpha >= 0 and gamma >= 0))


def _hard_sigmoid(operands: Operands, curve: Curve) -> Step:
    alpha, beta = _parameter(operands, "alpha", 0.2), _parameter(operands, "beta", 0.5)
    return Step(lambda x: np.clip(alpha * x + beta, 0, _ONE), np.array([alpha < 0]))


def _thresholded_relu(operands: Operands, curve: Curve) -> Step:
    alpha = _parameter(operands, "alpha", 1.0)
    return Step(lambda x: np.where(x > alpha, x, np.float32(0)), np.zeros(1, np.bool_),
                bool(alpha >= 0))


def _shrink(operands: Operands, curve: Curve) -> Step:
    least, bias = _parameter(operands, "lambd", 0.5), _parameter(operands, "bias", 0.0)
    zero = np.float32(0)
    return Step(lambda x: np.where(x < -least, x + bias, np.where(x > least, x - bias, zero)),
                np.zeros(1, np.bool_), bool(0 <= bias <= least))


def _swish(operands: Operands, curve: Curve) -> Step:
    alpha = _parameter(operands, "alpha", 1.0)
    return _either_way(lambda x: x * _sigmoid(alpha * x))


def _gelu(operands: Operands, curve: Curve) -> Step:
    kind = operands.text("approximate", "none")
    if kind not in ("none", "tanh"):
        operands.refuse(f"its approximation {kind:.20} is unknown", "use none or tanh")
    if kind == "none":
        return _either_way(lambda x: _HALF * x * (_ONE + _erf(x * np.float32(math.sqrt(0.5)))))
    root, cubic = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
    return _either_way(lambda x: _HALF * x * (_ONE + _tanh(root * (x + cubic * x * x * x))))


def _always(step: Step) -> Callable[[Operands, Curve], Step]:
    return lambda operands, curve: step


FUNCTIONS: Mapping[str, Callable[[Operands, Curve], Step]] = {
    "Sigmoid": _always(rising(_sigmoid)), "Tanh": _always(rising(_tanh)),
    "Erf": _always(rising(_erf)), "Exp": _always(rising(_exp)),
    "Softplus": _always(rising(_softplus)),
    "Softsign": _always(rising(_softsign)),
    "Round": _always(rising(np.rint)), "Floor": _always(rising(np.floor)),
    "Ceil": _always(rising(np.ceil)), "Sign": _always(rising(np.sign)),
    "Neg": _always(Step(np.negative, np.ones(1, np.bool_))),
    "Abs": _always(_either_way(np.abs)),
    "HardSwish": _always(_either_way(
        lambda x: x * np.clip(x * np.float32(1 / 6) + _HALF, 0, _ONE))),
    "Mish": _always(_either_way(lambda x: x * _tanh(_softplus(x)))),
    "LeakyRelu": _leaky_relu, "PRelu": _prelu, "Elu": _elu, "Celu": _celu, "Selu": _selu,
    "HardSigmoid": _hard_sigmoid, "Shrink": _shrink, "ThresholdedRelu": _thresholded_relu,
    "Swish": _swish, "Gelu": _gelu,
}
"""The step that a node of each operator is behind a curve, by the operator's name."""
