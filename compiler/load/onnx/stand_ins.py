"""What stands for the outputs of nodes that are refused, so that the nodes behind can be read."""

from __future__ import annotations

from collections.abc import Mapping

from ... import ir
from ...ir import PenjingError
from .entry import layout_of
from .graph import Builder, Operands
from .model import Node
from .operators import quantized
from .qonnx import DOMAINS
from .quantizers import assumed
from .values import Integers, Known, Value

_QUANTIZERS: Mapping[str, tuple[int, int]] = {
    "QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7)}
"""The inputs that are the scale and the zero point of the output."""


def stand_in(builder: Builder, node: Node) -> None:
    """Let the outputs of ``node`` that nothing has made be what is told of them, or missing."""
    for name in node.outputs:
        if name and name not in builder.values and name not in builder.graph.constants:
            value = _assumed(builder, node, name)
            if value is None:
                builder.missing.add(name)
            else:
                builder.values[name] = value


def _assumed(builder: Builder, node: Node, name: str) -> Value | None:
    """What a quantizer puts out, whatever it reads; None unless the shape of that is told."""
    source, told = "".join(node.inputs[:1]), builder.graph.dims
    known = source in builder.graph.constants or isinstance(builder.values.get(source), Known)
    same = node.operator.endswith(("QuantizeLinear", "Quant"))
    layout = layout_of(told.get(name, told.get(source, ()) if same else ()))
    if layout is None or known or not builder.missing.isdisjoint(node.inputs[1:]):
        return None
    operands = Operands(builder, node)
    try:
        if node.operator in _QUANTIZERS:
            made = quantized(operands, *_QUANTIZERS[node.operator])
            return Integers(builder.assume("missing", ir.TensorType(
                layout.shape, made.type.bits, made.type.signed, 0, made.zero,
                float(made.scale))), layout)
        if node.operator in ("Quant", "IntQuant", "BipolarQuant") and node.domain in DOMAINS:
            return assumed(operands, layout)
    except PenjingError:
        pass  # it is refused for more than what it reads
    return None
