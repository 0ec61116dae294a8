"""The model that an oracle runs in place of a file: the same arithmetic, the tensor that counts."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_WEIGHTS = {"QLinearConv": (3, 5, 7), "QLinearMatMul": (3, 5, 7), "QGemm": (3, 5, 8),
            "ConvInteger": (1, 3, None), "MatMulInteger": (1, 3, None)}
"""Where an operator has its weights, their zero points, and the zero point of its output."""
_RESULTS = {"QuantizeLinear": 2, "QLinearAdd": 7, "QLinearAveragePool": 4,
            "QLinearGlobalAveragePool": 4}
"""Where others have the zero point of their output."""
_BYTES = (TensorProto.INT8, TensorProto.UINT8)


def probe(data: bytes, output: str) -> bytes:
    """The model ``data`` with its tensor ``output`` as the only output.

    Weights get the type of the activations that they multiply, and so do their zero points: where
    one is int8, the other uint8, ONNX Runtime's kernels saturate on processors without VNNI.
    """
    model = onnx.load_model_from_string(data)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=output))
    _unify(model.graph)
    whole: bytes = model.SerializeToString()
    return whole


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
