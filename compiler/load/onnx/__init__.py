"""Quantized ONNX networks to integer networks: QDQ, QLinear and Integer operators, and QONNX.

A file is read into checked plain data (`wire`, `file`, `external`, `model`), as is a program of
PyTorch whose operators are written as ONNX's (`pt2e`), and each of its nodes becomes layers
(`operators`, `elementwise`, `functions`, `joins`, `pools`, `resize`, `linear`, `transposed`,
`arithmetic`) of a network in the making (`graph`), or a note on where its elements lie (`shapes`).
Accumulators are those of ONNX Runtime. Where ONNX rounds a float product, the network multiplies
exactly by a fixed-point number and rounds halves to even as well: a layer's results differ, by one
step, only where the float is not exact. Networks with the quantizers of QONNX are of another
dialect (`qonnx`, `quantizers`), whose activations are `thresholds`, exact at ties. What an oracle
runs in place of a file, `probe` makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ... import ir
from ...ir import PenjingError, Tail
from .. import refusal
from ..refusal import naming
from . import qonnx
from .entry import entry_layout
from .graph import Builder, Operands, Operators, Refused
from .model import Graph, Node
from .operators import ARITHMETIC
from .pools import POOLS
from .resize import RESIZING
from .shapes import LAYOUT
from .stand_ins import stand_in
from .transposed import TRANSPOSED
from .values import Curve, Integers, Known, Layout, Real

__all__ = ["ADVICE", "OPERATORS", "SUPPORTED", "Import", "Layout", "convert", "load", "open_model",
           "parse", "read"]

OPERATORS: Operators = {**ARITHMETIC, **POOLS, **LAYOUT, **RESIZING, **TRANSPOSED}
SUPPORTED = ", ".join(sorted({name for _, name in OPERATORS}))
ADVICE = {
    "DynamicQuantizeLinear": "its scale depends on the input: quantize statically, with "
                             "onnxruntime.quantization.quantize_static",
    "DynamicQuantizeMatMul": "its scale depends on the input: quantize statically, with "
                             "onnxruntime.quantization.quantize_static",
    "DepthToSpace": "make room with a nearest Resize or a ConvTranspose",
    "SpaceToDepth": "use a Conv with strides, or begin with the channels that it makes",
}
"""The ways out of operators that are not read."""


@dataclass(frozen=True)
class Import:
    """An integer network, and how its ends lie in the ONNX graph.

    ``input`` and ``output`` are the layouts of the graph's input and of the tensor ``result``,
    which is what the network puts out; where that is a float tensor, ``worth`` tells what its
    integers are worth in it. ``answer`` is the tensor that the host makes of them, and its layout;
    None where there is no tail, and the logits where a softmax of a map is left away. ``inner`` are
    the tensors that layers of the network put out, by the names of these, and what their integers
    are worth in those that are of floats.
    ``float_input`` tells that the graph takes reals.
    """

    network: ir.Network
    input: Layout
    float_input: bool
    output: Layout
    result: str
    worth: Tail | None
    answer: tuple[str, Layout] | None
    inner: Mapping[str, tuple[str, Layout, Tail | None]]

    @property
    def tensors(self) -> Mapping[str, bool]:
        """All tensors of the graph that are named here, and whether each is of integers."""
        others = [] if self.answer is None else [self.answer[0]]
        return {self.result: self.worth is None, **dict.fromkeys(others, False),
                **{name: worth is None for name, _, worth in self.inner.values()}}


def load(path: str | Path, name: str, rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN,
         result: str | None = None) -> ir.Network:
    """The integer network of the file ``path``, called ``name``.

    What is real at the end is left to the host, as the network's tail: it puts out the integers
    that stand for them. Of several outputs, that called ``result`` is taken. `PenjingError` tells
    in one line what is wrong with the file, or which node cannot be imported.
    """
    return _read(path, name, rounding, result)[0].network


def open_model(path: str | Path, result: str | None = None) -> tuple[Import, bytes]:
    """What `load` makes of the file, and the bytes of a model that puts out its ``tensors``."""
    from .probe import probe

    imported, data = _read(path, "net", ir.ScaleRounding.EVEN, result)
    with naming(path):
        return imported, probe(data, imported.tensors)


def read(path: str | Path) -> bytes:
    """The model in the file ``path``, with the constants that lie in other files of its folder."""
    from . import file  # deferred, as those below: the package onnx is needed for files only

    return file.read(path)


def parse(data: bytes, result: str | None = None) -> Graph:
    """The graph in the bytes of a file; of several outputs, its is that called ``result``."""
    from . import file

    return file.parse(data, result)


def _read(path: str | Path, name: str, rounding: ir.ScaleRounding, result: str | None
          ) -> tuple[Import, bytes]:
    data = read(path)
    with naming(path):
        return convert(parse(data, result), name, rounding), data


def convert(graph: Graph, name: str,
            rounding: ir.ScaleRounding = ir.ScaleRounding.EVEN) -> Import:
    """The integer network that ``graph`` computes."""
    builder = Builder(graph, rounding)
    builder.start(entry_layout(graph))
    dialect = qonnx.is_qonnx(graph)
    for node in graph.nodes:
        with builder.refusals.noted():
            _add(builder, node, qonnx.OPERATORS if dialect else OPERATORS)
        if builder.end is not None:
            break
        stand_in(builder, node)
    builder.refusals.settle()
    return _finish(builder, name)


def _add(builder: Builder, node: Node, operators: Operators) -> None:
    entry = operators.get((node.domain, node.operator))
    if entry is None:
        names = ", ".join(sorted({name for _, name in operators}))
        advice = ADVICE.get(node.operator, "replace it, or cut the network there")
        raise Refused(node, "this operator is not supported", advice, told=(
            "" if node.operator in ADVICE else f"{advice} (supported: {names})"))
    if not node.outputs or not node.outputs[0] or any(
            name in builder.values or name in builder.graph.constants
            for name in node.outputs if name):
        raise Refused(node, "its output has no name, or one that is taken", "export it again")
    if not builder.missing.isdisjoint(node.inputs):
        return
    try:
        made = entry.convert(Operands(builder, node))
    except refusal.Refused:
        raise
    except PenjingError as error:
        raise Refused(node, str(error), "") from None
    for name, value in zip(node.outputs, made if isinstance(made, tuple) else (made,),
                           strict=False):
        if isinstance(value, Curve) and not value.steps:
            builder.values[name] = replace(value, origin=name)
        else:
            builder.values[name] = value


def _finish(builder: Builder, name: str) -> Import:
    graph, end = builder.graph, builder.end
    result, value = _result(builder)
    if value.name == builder.input:
        raise PenjingError("nothing is computed between its input and its output; export a network "
                           "that has layers")
    last = builder.values[graph.output if end is None else end.input]
    tail, answer = None, None
    if isinstance(last, Real) or (isinstance(last, Curve) and last.tail is not None):
        assert last.tail is not None
        tail = last.tail if end is None else replace(last.tail, function=end.function)
        if end is None:
            answer = graph.output, last.layout
        elif end.function is ir.TailFunction.NONE:  # of a map's softmax: what it reads
            answer = end.input, last.layout
        else:
            answer = end.answer, end.layout
    network = builder.network(name, value.name, tail)
    layers = {layer.name for layer in network.layers}
    inner = {found.name: (tensor, found.layout, found.tail if isinstance(found, Curve) else None)
             for tensor, found in builder.values.items()
             if isinstance(found, Integers | Curve) and found.name in layers
             and (isinstance(found, Integers) or _is_exact(builder, tensor, found))}
    return Import(network, builder.layout, not graph.input.type.integer, value.layout, result,
                  None if isinstance(value, Integers) else value.tail, answer, inner)


_WIDEST_TOLD = 16
"""The most bits of integers that a sum of float32 tells apart, whatever its order."""


def _is_exact(builder: Builder, tensor: str, curve: Curve) -> bool:
    """Whether the ``tensor`` of floats is ``curve`` and tells its integers."""
    return not curve.steps and curve.origin == tensor and (
        builder.types[curve.name].bits <= _WIDEST_TOLD)


def _result(builder: Builder) -> tuple[str, Integers | Real | Curve]:
    """The tensor of integers that the graph's output stands for, and its name in the graph.

    Behind the integers that a QuantizeLinear makes, DequantizeLinear and what only moves elements
    need not be run.
    """
    graph = builder.graph
    result = graph.output if builder.end is None else builder.end.input
    curve = builder.values.get(result)
    if isinstance(curve, Curve) and isinstance(builder.values.get(curve.origin), Curve):
        final = qonnx.final(curve, builder.values.get(curve.origin))
        return result if final is curve else curve.origin, final
    made_by = {node.outputs[0]: node for node in graph.nodes if node.outputs}
    for _ in graph.nodes:
        value = builder.values.get(result)
        node = made_by.get(result)
        if not isinstance(value, Real) or value.clamped or node is None:
            break
        before = builder.values.get(node.inputs[0]) if node.inputs else None
        if not isinstance(before, Integers | Real) or before.name != value.name:
            break
        result = node.inputs[0]
    value = builder.values.get(result)
    if isinstance(value, Real) and value.clamped:
        raise PenjingError(f"its output {result:.80} has bounds that nothing has quantized; end "
                           f"the network with QuantizeLinear")
    if isinstance(value, Integers | Real):
        return result, value
    kind = ("a constant" if isinstance(value, Known) else "made by no node" if value is None
            else "a tensor of reals that nothing has quantized")
    raise PenjingError(f"its output {result:.80} is {kind}; end the network with QuantizeLinear")
