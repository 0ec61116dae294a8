"""The model that an oracle runs in place of a file: the same arithmetic, the tensor that counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from ...ir import PenjingError
from .graph import real_input, real_output

_WEIGHTS = {"QLinearConv": (3, 5, 7), "QLinearMatMul": (3, 5, 7), "QGemm": (3, 5, 8),
            "ConvInteger": (1, 3, None), "MatMulInteger": (1, 3, None)}
"""Where an operator has its weights, their zero points, and the zero point of its output."""
_RESULTS = {"QuantizeLinear": 2, "QLinearAdd": 7, "QLinearMul": 7, "QLinearAveragePool": 4,
            "QLinearGlobalAveragePool": 4, "QLinearConcat": 1, "QLinearSigmoid": 4,
            "QLinearLeakyRelu": 4, "QLinearSoftmax": 4}
"""Where others have the zero point of their output."""
_BYTES = (TensorProto.INT8, TensorProto.UINT8)


def probe(data: bytes, outputs: Mapping[str, bool]) -> bytes:
    """The model ``data`` with the tensors ``outputs`` as its outputs, in their order.

    True are those of integers, which it puts out as int32, under other names: ONNX Runtime does not
    hand out integers of 4 bits.

    Weights get the type of the activations that they multiply, and so do their zero points: where
    one is int8, the other uint8, ONNX Runtime's kernels saturate on processors without VNNI.
    """
    model = onnx.load_model_from_string(data)
    del model.graph.output[:]
    for name, is_integer in outputs.items():
        if is_integer:
            wide = as_int32(name)
            model.graph.node.append(onnx.helper.make_node("Cast", [name], [wide],
                                                          to=TensorProto.INT32))
            name = wide
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    _unify(model.graph)
    spell_out(model)
    _append_reals(model.graph)
    whole: bytes = model.SerializeToString()
    return whole


def as_int32(name: str) -> str:
    """What `probe` calls a tensor of integers."""
    return f"{name}_as_int32"


def _append_reals(graph: onnx.GraphProto) -> None:
    """Compute in reals as well what QLinear operators at the end compute, which the host does."""
    for node in list(graph.node):
        if node.op_type == "QLinearSoftmax":
            source = real_input(node.output[0])
            graph.node.append(onnx.helper.make_node("DequantizeLinear", node.input[:3], [source]))
            graph.node.append(onnx.helper.make_node(
                "Softmax", [source], [real_output(node.output[0])],
                **{entry.name: entry.i for entry in node.attribute if entry.name == "axis"}))


def _unify(graph: onnx.GraphProto) -> None:
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    kinds.update({name: tensor.data_type for name, tensor in stored.items()})
    for node in graph.node:
        zero = _WEIGHTS.get(node.op_type, (0, 0, _RESULTS.get(node.op_type)))[2]
        if node.op_type in _WEIGHTS:
            _unify_node(graph, node, stored, kinds)
        if zero is None:
            kind = kinds.get(node.input[0]) if node.input else None
            kind = TensorProto.INT32 if node.op_type in _WEIGHTS else kind
        elif zero < len(node.input) and node.input[zero]:
            kind = kinds.get(node.input[zero])
        else:
            kind = TensorProto.UINT8
        for name in node.output:
            kinds[name] = kind or 0


def _unify_node(graph: onnx.GraphProto, node: onnx.NodeProto, stored: dict[str, TensorProto],
                kinds: dict[str, int]) -> None:
    wanted = kinds.get(node.input[0])
    place, zero, _ = _WEIGHTS[node.op_type]
    weights = stored.get(node.input[place])
    given = node.input[zero] if zero < len(node.input) else ""
    if (weights is None or wanted not in _BYTES or weights.data_type not in _BYTES
            or wanted == weights.data_type or (given and given not in stored)):
        return
    points = numpy_helper.to_array(stored[given]) if given else np.zeros(
        (), np.int8 if weights.data_type == TensorProto.INT8 else np.uint8)
    while len(node.input) <= zero:
        node.input.append("")
    for position, values in ((place, numpy_helper.to_array(weights)), (zero, points)):
        name = f"{node.output[0]}_{position}_moved"
        node.input[position] = name
        # 128 more of both, or less: the highest bit the other way round.
        moved = np.ascontiguousarray(values).view(np.uint8) ^ 128
        graph.initializer.append(TensorProto(name=name, data_type=wanted, dims=values.shape,
                                             raw_data=moved.tobytes()))


_ROUNDINGS = {b"ROUND": "Round", b"HALF_EVEN": "Round", b"CEIL": "Ceil", b"FLOOR": "Floor"}
_BY_MAGNITUDE = {b"UP": (0.0, "Ceil"), b"DOWN": (0.0, "Floor"), b"HALF_UP": (0.5, "Floor"),
                 b"HALF_DOWN": (-0.5, "Ceil")}
"""What is added to the magnitude, and how that is rounded."""
_QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "Trunc")


def spell_out(model: onnx.ModelProto) -> None:
    """Write the quantizers of QONNX in ONNX's own operators, in place.

    A MultiThreshold stays, and what is to run the model refuses it.
    """
    graph = model.graph
    if not any(node.op_type in _QUANTIZERS for node in graph.node):
        return
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, 11)  # the first to round
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = node.attribute[0].t
        if node.op_type in _QUANTIZERS:
            nodes += _Speller(graph, node, stored).nodes
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


class _Speller:
    """The ``nodes`` that compute what a quantizer does."""

    def __init__(self, graph: onnx.GraphProto, node: onnx.NodeProto,
                 stored: dict[str, TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._node = graph, node
        self._numbers = {position: numpy_helper.to_array(stored[name]).astype(np.float32)
                         for position, name in enumerate(node.input) if name in stored}
        self._attributes = {entry.name: onnx.helper.get_attribute_value(entry)
                            for entry in node.attribute}
        value = self._append("Div", node.input[0], self._constant(1))
        bits = 1.0 if node.op_type == "BipolarQuant" else float(self._bits().reshape(-1)[0])
        zeros: list[str] = []
        if node.op_type != "BipolarQuant":
            zeros = [self._constant(2)] * 2
            value = self._append("Add", value, zeros[0])
        if node.op_type == "Trunc":
            value = self._append("Round", value)
            dropped = self._store(np.float32(2) ** self._dropped(bits))
            value = self._append("Div", value, dropped)
            if self._two:
                zeros[1] = self._append("Div", zeros[0], dropped)
        value = self._integers(value, bits)
        if zeros:
            value = self._append("Sub", value, zeros[1])
        self._append("Mul", value, self._constant(4 if self._two else 1), output=node.output[0])

    @property
    def _two(self) -> bool:
        """Whether it is a Trunc of operator set 2."""
        return self._node.op_type == "Trunc" and len(self._node.input) > 5

    def _bits(self) -> NDArray[np.float32]:
        place = 3 if self._node.op_type != "Trunc" else 5 if self._two else 4
        if place not in self._numbers:
            raise PenjingError(f"{self._node.op_type} {self._node.name:.80}: its bit width is "
                               f"computed; store it as a constant")
        return self._numbers[place]

    def _dropped(self, bits: float) -> NDArray[np.float32]:
        """How many bits a Trunc drops."""
        if not {1, 3, 4} <= self._numbers.keys():
            raise PenjingError(f"Trunc {self._node.name:.80}: its scale is computed; store it as a "
                               f"constant")
        return np.asarray(np.rint(np.log2(self._numbers[4] / self._numbers[1])) if self._two
                          else self._numbers[3] - bits, np.float32)

    def _integers(self, value: str, bits: float) -> str:
        node, attributes = self._node, self._attributes
        signed = attributes.get("signed", 1)
        if node.op_type == "BipolarQuant" or (node.op_type != "Trunc" and bits == 1 and signed):
            below = self._append("Less", value, self._number(0.0))
            return self._append("Where", below, self._number(-1.0), self._number(1.0))
        if node.op_type != "Trunc" or self._two:
            narrow = attributes.get("narrow", 0)
            low = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
            high = 2.0 ** (bits - 1) - 1 if signed else 2.0 ** bits - 1 - narrow
            value = self._append("Max", value, self._number(low))
            value = self._append("Min", value, self._number(high))
        default = b"FLOOR" if node.op_type == "Trunc" else b"ROUND"
        return self._rounded(value, attributes.get("rounding_mode", default).upper())

    def _rounded(self, value: str, mode: bytes) -> str:
        if mode in _ROUNDINGS:
            return self._append(_ROUNDINGS[mode], value)
        addend, operator = _BY_MAGNITUDE[mode]
        magnitude = self._append("Add", self._append("Abs", value), self._number(addend))
        return self._append("Mul", self._append("Sign", value),
                            self._append(operator, magnitude))

    def _append(self, operator: str, *inputs: str, output: str = "") -> str:
        output = output or f"{self._node.output[0]}_part{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [output]))
        return output

    def _constant(self, position: int) -> str:
        """An input of the node as float32; one that is computed is float32 already."""
        if position not in self._numbers:
            return str(self._node.input[position])
        return self._store(self._numbers[position])

    def _number(self, value: float) -> str:
        return self._store(np.array(value, np.float32))

    def _store(self, values: NDArray[np.float32]) -> str:
        name = f"{self._node.output[0]}_number{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(
            np.asarray(values, np.float32), name))
        return name
