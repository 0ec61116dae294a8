"""Which tensors of a file are the network's ends, and what the host adds to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import compress

from ...ir import PenjingError, Tail, TailFunction
from ..outputs import chosen, needed
from .file import Model, Operator, Tensor

LEAST_SOFTMAX_STEP = 2.0 ** -26
"""What a step of a softmax's input, times beta, must exceed; else the reference kernel aborts."""

OF_REALS: Mapping[str, TailFunction] = {
    "SOFTMAX": TailFunction.SOFTMAX, "LOG_SOFTMAX": TailFunction.LOG_SOFTMAX,
    "LOGISTIC": TailFunction.SIGMOID, "TANH": TailFunction.TANH}
"""What may follow the last DEQUANTIZE."""


@dataclass(frozen=True)
class Ending:
    """How a file ends: the network puts out the tensor ``logits``, the host makes of it ``answer``.

    It does so as ``tail`` says; where that is None, both are the same. ``left`` are the indices of
    operators which compute with reals, so that the host must.
    """

    logits: int
    answer: int
    tail: Tail | None = None
    left: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ends:
    """The tensor at which the integer network begins, and its end.

    ``input`` is worth ``scale * (q - zero_point)``.
    """

    input: int
    scale: float
    zero_point: int
    ending: Ending


def choose(model: Model, result: str | None = None) -> Model:
    """``model`` with one output: that called ``result``, or the only one.

    Operators that it does not need are left away.
    """
    output = model.outputs[chosen([model.tensors[index].name if index >= 0 else "?"
                                   for index in model.outputs], result)]
    if output < 0:
        raise PenjingError("its output is no tensor; convert the network again")
    if len(model.outputs) == 1:
        return model
    kept = needed([(operator.inputs, operator.outputs) for operator in model.operators], output)
    return replace(model, operators=tuple(compress(model.operators, kept)), outputs=(output,))


def ends(model: Model) -> Ends:
    """The ends of ``model``, which `convert` has accepted."""
    if len(model.inputs) != 1:
        raise PenjingError("it must have one input")
    model = choose(model)
    entry = model.tensors[model.inputs[0]]
    if entry.kind == "FLOAT32":
        reader = next((operator for operator in model.operators if operator.kind == "QUANTIZE"
                       and operator.inputs[:1] == model.inputs), None)
        if reader is None:
            raise PenjingError("its input is real and is quantized by nothing")
        entry = model.tensors[reader.outputs[0]]
    if not _is_quantized(entry):
        raise PenjingError("its input is not quantized")
    return Ends(entry.index, float(entry.scales[0]), int(entry.zero_points[0]), ending(model))


def ending(model: Model) -> Ending:
    """How ``model``, of one output, ends."""
    made_by = {operator.outputs[0]: operator for operator in model.operators
               if operator.outputs and operator.inputs and operator.inputs[0] >= 0}
    for index, last_step in list(made_by.items()):  # probabilities in other steps are left away
        before = made_by.get(last_step.inputs[0])
        if last_step.kind == "QUANTIZE" and before is not None and before.kind == "SOFTMAX":
            made_by[index] = before
    answer = last = model.outputs[0]
    function, beta, left = TailFunction.NONE, 1.0, []
    operator = made_by.get(last)
    if operator is not None and operator.kind in OF_REALS and (
            model.tensors[last].kind == "FLOAT32"):
        function, beta = OF_REALS[operator.kind], _beta(operator)
        left.append(operator.index)
        last = operator.inputs[0]
        operator = made_by.get(last)
        if operator is not None and operator.kind == "DEQUANTIZE":
            left.append(operator.index)
    if operator is not None and operator.kind == "DEQUANTIZE" and (
            _is_quantized(model.tensors[operator.inputs[0]])):
        last = operator.inputs[0]
        softmax = made_by.get(last)
        if left or softmax is None or softmax.kind != "SOFTMAX":
            return Ending(last, answer, _tail(model.tensors[last], beta, function), tuple(left))
        operator = softmax
    if not left and operator is not None and operator.kind == "SOFTMAX":
        logits = model.tensors[operator.inputs[0]]
        if _is_quantized(logits):
            # That of int16 goes by tables of its own, of which the host's is the exact function.
            function = (TailFunction.SOFTMAX if logits.kind == "INT16" else
                        TailFunction.INT8_SOFTMAX)
            return Ending(logits.index, operator.outputs[0], Tail(
                (_beta(operator) * float(logits.scales[0]),), function=function))
    return Ending(model.outputs[0], answer)


def _beta(operator: Operator) -> float:
    beta = float(operator.options.get("beta", 1.0))
    if not 0 < beta < math.inf:
        raise PenjingError(f"{operator}: its beta {beta:g} is no positive number; convert the "
                           f"network again")
    return beta


def _tail(tensor: Tensor, factor: float, function: TailFunction) -> Tail:
    step = factor * float(tensor.scales[0])
    return Tail((step,), (-step * int(tensor.zero_points[0]),), function)


def _is_quantized(tensor: Tensor) -> bool:
    """Whether it has one scale, and that is a number."""
    return (len(tensor.scales) == 1 and len(tensor.zero_points) == 1
            and 0 < float(tensor.scales[0]) < math.inf)
