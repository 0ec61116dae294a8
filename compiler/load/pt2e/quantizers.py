"""The operators of `quantized_decomposed`: from reals to integers, and back."""

from __future__ import annotations

import numpy as np

from ..aten.graph import refuse
from ..onnx.model import Array, ElementType
from ..pt2 import ElementKind
from .rewriting import TYPES, Call

_FLOAT = TYPES["float32"]


def quantize_per_tensor(call: Call) -> None:
    """``clamp(round(x * (1 / scale)) + zero_point, quant_min, quant_max)``, halves to even."""
    kind, low, high = _range(call)
    source = call.tensor("input")
    if source in call.graph.constants:
        _fold(call, source, np.float32(1.0 / _scale(call)), _zero(call), kind)
        return
    least, most = kind.range
    zero = _zero(call)
    if not least <= zero <= most:
        refuse(call.node, f"its zero point {zero} is outside of {least} to {most}",
               "quantize the network again")
    # A part of a type's range that no narrower type is takes a clamp of its own.
    narrow = (least, most) != (low, high)
    whole = call.make(call.between() if narrow else call.output, "QuantizeLinear", source,
                      *_parameters(call, kind))
    if narrow:
        call.add("Clip", whole, min=float(low), max=float(high))


def quantize_per_channel(call: Call) -> None:
    """The same of a constant, with a scale and a zero point for each index of an axis."""
    kind, _, _ = _range(call)
    source = call.tensor("input")
    if source not in call.graph.constants:
        refuse(call.node, "it quantizes an activation by channel", "quantize activations by tensor")
    rank, axis = call.graph.constants[source].values.ndim, call.arguments.integer("axis")
    scales, zeros = call.known("scales"), call.known("zero_points")
    size = call.graph.constants[source].values.shape[axis:axis + 1]
    if not 0 <= axis < rank or scales.shape != size or zeros.shape != size:
        refuse(call.node, f"its scales and zero points do not fit a constant of {rank} axes along "
                          f"axis {axis}", "quantize the network again")
    shape = [1] * rank
    shape[axis] = -1
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / scales.astype(np.float32)
    _fold(call, source, inverse.reshape(shape), zeros.reshape(shape), kind)


def dequantize_per_tensor(call: Call) -> None:
    """``(q - zero_point) * scale``."""
    _require_float(call)
    call.add("DequantizeLinear", call.tensor("input"), *_parameters(call, _kind(call)))


def dequantize_per_channel(call: Call) -> None:
    """The same with a scale for each index of an axis."""
    _require_float(call)
    zeros = () if call.arguments.get("zero_points") is None else (call.tensor("zero_points"),)
    call.add("DequantizeLinear", call.tensor("input"), call.tensor("scales"), *zeros,
             axis=call.arguments.integer("axis"))


def _fold(call: Call, source: str, inverse: np.float32 | Array, zero: int | Array,
          kind: ElementType) -> None:
    """Quantize the constant ``source`` as torch does, to the range that the call gives."""
    values = call.graph.constants[source].values
    call.graph.spend(call.node, values.size)
    if not np.isfinite(values).all() or not np.isfinite(inverse).all():
        refuse(call.node, "it quantizes NaN or infinite values", "repair the network")
    _, low, high = _range(call)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(values.astype(np.float32) * inverse) + zero
    call.graph.store(call.output, np.clip(steps, low, high).astype(kind.dtype), kind)


def _parameters(call: Call, kind: ElementType) -> tuple[str, str]:
    """The constants that are the scale and the zero point of one tensor of a ``kind``."""
    scale = np.array(_scale(call), np.float32)
    return call.graph.constant(scale, _FLOAT), call.graph.constant(np.array(_zero(call)), kind)


def _scale(call: Call) -> float:
    """The scale: a number, or a tensor of one."""
    if isinstance(call.arguments.get("scale"), float):
        scale = call.arguments.number("scale") or 0.0
    else:
        scale = float(_one(call, "scale"))
    # The float32 that stands for it must be a number.
    if not np.finfo(np.float32).smallest_subnormal <= scale <= np.finfo(np.float32).max:
        refuse(call.node, f"its scale {scale:g} is not positive, or out of the range of float32",
               "quantize the network again")
    return scale


def _zero(call: Call) -> int:
    """The zero point: a number, or a tensor of one."""
    value = call.arguments.get("zero_point")
    zero = value if type(value) is int else int(_one(call, "zero_point"))
    if not abs(zero) < 1 << 31:
        refuse(call.node, f"its zero point {zero} is absurd", "quantize the network again")
    return zero


def _one(call: Call, name: str) -> np.generic:
    """The one entry of a constant."""
    values = call.known(name).reshape(-1)
    if values.size != 1 or not np.isfinite(values).all():
        refuse(call.node, f"its {name} is not one number", "quantize activations by tensor")
    one: np.generic = values[0]
    return one


def _kind(call: Call) -> ElementType:
    """The type of elements that the call names."""
    dtype = call.arguments.get("dtype")
    kind = TYPES.get(dtype.name) if isinstance(dtype, ElementKind) else None
    if kind is None or not kind.integer:
        refuse(call.node, "its integers are of a type that is not read",
               "quantize to int8 or uint8")
    return kind


def _range(call: Call) -> tuple[ElementType, int, int]:
    """The narrowest type that holds what a quantizer puts out, and the range of that."""
    kind = _kind(call)
    low, high = (call.arguments.integer(name) for name in ("quant_min", "quant_max"))
    least, most = kind.range
    if not least <= low < high <= most:
        refuse(call.node, f"its range, {low} to {high}, is no part of {kind.name}",
               "quantize the network again")
    bits = max(high.bit_length(), (~low).bit_length()) + 1 if kind.signed else high.bit_length()
    if bits < kind.bits:
        kind = ElementType(f"{kind.name[:-len(str(kind.bits))]}{bits}", kind.dtype, bits, "")
    return kind, low, high


def _require_float(call: Call) -> None:
    out = call.arguments.get("out_dtype")
    if out is not None and out != ElementKind("float32"):
        refuse(call.node, "it makes other reals than float32", "export the model in float32")
