"""Quantized ONNX networks to integer networks: QDQ, QLinear and Integer operators, and QONNX.

A file is read into checked plain data (`wire`, `file`), and each of its nodes becomes layers
(`operators`, `pools`, `resize`, `linear`, `transposed`, `arithmetic`) of a network in the making
(`graph`), or a note on where its elements lie (`shapes`). Accumulators are those of ONNX Runtime.
Where ONNX rounds a float product, the network multiplies exactly by a fixed-point number and rounds
halves to even as well: a layer's results differ, by one step, only where the float is not exact.
Networks with the quantizers of QONNX are of another dialect (`qonnx`, `quantizers`), whose
activations are thresholds, exact at ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ... import ir
from ...ir import PenjingError
from ..pt2 import one_line
from . import qonnx
from .entry import entry_layout
from .file import Graph, Node, parse, read
from .graph import Builder, Convert, Operands, Refused
from .linear import nearest
from .operators import ARITHMETIC
from .pools import POOLS
from .probe import probe
from .resize import RESIZING
from .shapes import LAYOUT
from .transposed import TRANSPOSED
from .values import Curve, Integers, Known, Layout, Real

__all__ = ["SUPPORTED", "Import", "convert", "load", "open_model", "parse", "read"]

_BYTE = 8
_OPERATORS = {**ARITHMETIC, **POOLS, **LAYOUT, **RESIZING, **TRANSPOSED}
SUPPORTED = ", ".join(sorted({name for _, name in _OPERATORS}))
_ADVICE = {
    "DynamicQuantizeLinear": "its scale depends on the input: quantize statically, with "
                             "onnxruntime.quantization.quantize_static",
    "DynamicQuantizeMatMul": "its scale depends on the input: quantize statically, with "
                             "onnxruntime.quantization.quantize_static",
}


@dataclass(frozen=True)
class Import:
    """An integer network, and how its ends lie in the ONNX graph.

    ``input`` and ``output`` are the layouts of the graph's input and of the tensor ``result``,
    which is what the network puts out; where that is a float tensor, its integers are
    ``result / output_scale + output_zero``. ``float_input`` tells that the graph takes reals.
    """

    network: ir.Network
    input: Layout
    float_input: bool
    output: Layout
    result: str
    output_scale: float | None
    output_zero: int


def load(path: str | Path, name: str,
         rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> ir.Network:
    """The integer network of the file ``path``, called ``name``.

    A Softmax at the end is left to the host, the network puts out logits. `PenjingError` tells in
    one line what is wrong with the file, or which node cannot be imported.
    """
    return _read(path, name, rounding)[0].network


def open_model(path: str | Path, name: str = "net",
               rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> tuple[Import, bytes]:
    """What `load` makes of the file, and the bytes of a model that puts out its ``result``."""
    imported, data = _read(path, name, rounding)
    try:
        return imported, probe(data, imported.result)
    except PenjingError as error:
        raise PenjingError(f"{path}: {one_line(error)}") from None


def _read(path: str | Path, name: str, rounding: ir.ScaleRounding) -> tuple[Import, bytes]:
    data = read(path)
    try:
        return convert(parse(data), name, rounding), data
    except PenjingError as error:
        raise PenjingError(f"{path}: {one_line(error)}") from None


def convert(graph: Graph, name: str,
            rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> Import:
    """The integer network that ``graph`` computes."""
    builder = Builder(graph, rounding)
    builder.start(entry_layout(graph))
    dialect = qonnx.is_qonnx(graph)
    for node in graph.nodes:
        _add(builder, node, qonnx.OPERATORS if dialect else _OPERATORS)
        if builder.end is not None:
            break
    return _finish(builder, name)


def _add(builder: Builder, node: Node, operators: Mapping[tuple[str, str], Convert]) -> None:
    convert_node = operators.get((node.domain, node.operator))
    if convert_node is None:
        names = ", ".join(sorted({name for _, name in operators}))
        advice = _ADVICE.get(node.operator, f"replace it, or cut the network there (supported: "
                                            f"{names})")
        raise Refused(node, "this operator is not supported", advice)
    if not node.outputs or not node.outputs[0] or any(
            name in builder.values or name in builder.graph.constants
            for name in node.outputs if name):
        raise Refused(node, "its output has no name, or one that is taken", "export it again")
    try:
        made = convert_node(Operands(builder, node))
    except Refused:
        raise
    except PenjingError as error:
        raise PenjingError(f"{node}: {error}") from None
    for name, value in zip(node.outputs, made if isinstance(made, tuple) else (made,),
                           strict=False):
        if isinstance(value, Curve) and not value.steps:
            builder.values[name] = replace(value, origin=name)
        else:
            builder.values[name] = value


def _finish(builder: Builder, name: str) -> Import:
    graph = builder.graph
    result, value = _result(builder)
    scale, zero = None, 0
    if isinstance(value, Real):
        if value.clamped or value.scale.size != 1:
            raise PenjingError(f"its output {result:.80} has "
                               f"{'bounds' if value.clamped else 'a scale for each channel'} that "
                               f"nothing has quantized; end the network with QuantizeLinear")
        value = nearest(builder, value)
        scale, zero = float(value.scale[0]), value.zero
    if value.name == builder.input:
        raise PenjingError("nothing is computed between its input and its output; export a network "
                           "that has layers")
    network = builder.network(name, value.name)
    return Import(network, builder.layout, not graph.input.type.integer, value.layout, result,
                  scale, zero)


def _result(builder: Builder) -> tuple[str, Integers | Real]:
    """The tensor of integers that the graph's output stands for, and its name in the graph.

    Behind the integers that a QuantizeLinear makes, DequantizeLinear and what only moves elements
    need not be run.
    """
    graph = builder.graph
    result = graph.output if builder.end is None else builder.end
    curve = builder.values.get(result)
    if isinstance(curve, Curve) and isinstance(builder.values.get(curve.origin), Curve):
        return curve.origin, qonnx.final(curve, builder.values.get(curve.origin))
    made_by = {node.outputs[0]: node for node in graph.nodes if node.outputs}
    for _ in graph.nodes:
        value = builder.values.get(result)
        node = made_by.get(result)
        if not isinstance(value, Real) or value.clamped or node is None:
            break
        before = builder.values.get(node.inputs[0]) if node.inputs else None
        if not isinstance(before, Integers | Real) or before.name != value.name:
            break
        if isinstance(before, Integers) and builder.types[before.name].bits < _BYTE:
            break  # ONNX Runtime hands out no integers of half a byte
        result = node.inputs[0]
    value = builder.values.get(result)
    if isinstance(value, Integers | Real):
        return result, value
    kind = ("a constant" if isinstance(value, Known) else "made by no node" if value is None
            else "a tensor of reals that nothing has quantized")
    raise PenjingError(f"its output {result:.80} is {kind}; end the network with QuantizeLinear")
