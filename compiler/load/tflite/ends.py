"""Which tensors of a file are the network's ends, and what the host adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import PenjingError
from .file import Model, Operator

LEAST_SOFTMAX_STEP = 2.0 ** -26
"""What a step of a softmax's input, times beta, must exceed; else the reference kernel aborts."""


@dataclass(frozen=True)
class Ends:
    """The tensors at which the integer network begins and ends.

    ``input`` is worth ``scale * (q - zero_point)``; where the file goes on with a SOFTMAX of
    ``beta``, ``probabilities`` is its output, and ``step`` what a step of a logit adds to its
    exponents.
    """

    input: int
    scale: float
    zero_point: int
    logits: int
    probabilities: int | None = None
    beta: float | None = None
    step: float | None = None


def ends(model: Model) -> Ends:
    """The ends of ``model``, which `convert` has accepted."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise PenjingError("it must have one input and one output")
    made_by: Mapping[int, Operator] = {operator.outputs[0]: operator
                                       for operator in model.operators if operator.outputs}
    entry = model.tensors[model.inputs[0]]
    if entry.kind == "FLOAT32":
        reader = next((operator for operator in model.operators if operator.kind == "QUANTIZE"
                       and operator.inputs[:1] == model.inputs), None)
        if reader is None:
            raise PenjingError("its input is real and is quantized by nothing")
        entry = model.tensors[reader.outputs[0]]
    if len(entry.scales) != 1 or len(entry.zero_points) != 1:
        raise PenjingError("its input is not quantized")
    scale, zero_point = float(entry.scales[0]), int(entry.zero_points[0])
    last = model.outputs[0]
    if last in made_by and made_by[last].kind == "DEQUANTIZE":
        last = made_by[last].inputs[0]
    if last in made_by and made_by[last].kind == "QUANTIZE":  # probabilities in other steps
        before = made_by.get(made_by[last].inputs[0])
        if before is not None and before.kind == "SOFTMAX":
            last = before.outputs[0]
    if last in made_by and made_by[last].kind == "SOFTMAX":
        softmax = made_by[last]
        beta, logits = float(softmax.options["beta"]), model.tensors[softmax.inputs[0]]
        return Ends(entry.index, scale, zero_point, logits.index, last, beta,
                    beta * float(logits.scales[0]))
    return Ends(entry.index, scale, zero_point, last)
