"""Mutants of ``.onnx`` files: bytes changed at random, and models that lie in their structure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fuzzing
import numpy as np
import onnx
import onnx_files
from onnx import TensorProto, helper
from penjing.compiler.load import onnx as importer

Generator = np.random.Generator
Change = Callable[[Generator, onnx.GraphProto], None]

_EXTREMES = (-2**63, -2**31, -4097, -1, 0, 1, 2, 3, 7, 4096, 65537, 2**24, 2**31 - 1, 2**40,
             2**63 - 1)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 3e-39, 1e-30, 1e30)


def read(path: Path) -> None:
    """What is fuzzed."""
    importer.load(path, "net")


def original(rng: Generator) -> onnx.ModelProto:
    """A good model."""
    return onnx.load_model_from_string(_content(rng))


def _content(rng: Generator) -> bytes:
    style = onnx_files.STYLES[rng.integers(len(onnx_files.STYLES))]
    if rng.integers(3) == 0:
        return onnx_files.residual_network(rng, style, 1, bool(rng.integers(2)))
    return onnx_files.random_layer(rng, style, str(rng.choice(onnx_files.LAYERS)))


# --- lies in the structure of a model
def _extreme(rng: Generator) -> int:
    return _EXTREMES[rng.integers(len(_EXTREMES))]


def _node(rng: Generator, graph: onnx.GraphProto) -> onnx.NodeProto:
    return graph.node[rng.integers(len(graph.node))]


def _tensor(rng: Generator, graph: onnx.GraphProto) -> onnx.TensorProto:
    if not graph.initializer:
        graph.initializer.add(name="empty", data_type=1)
    return graph.initializer[rng.integers(len(graph.initializer))]


def rewire(rng: Generator, graph: onnx.GraphProto) -> None:
    """Read another tensor, a later one, too, or itself, or nothing."""
    node = _node(rng, graph)
    names = [name for other in graph.node for name in other.output]
    names += [tensor.name for tensor in graph.initializer] + ["x", "", "nowhere"]
    if node.input:
        node.input[rng.integers(len(node.input))] = str(rng.choice(names))


def reverse(rng: Generator, graph: onnx.GraphProto) -> None:
    nodes = list(graph.node)
    rng.shuffle(nodes)  # type: ignore[arg-type]
    del graph.node[:]
    graph.node.extend(nodes)


def drop_constant(rng: Generator, graph: onnx.GraphProto) -> None:
    if graph.initializer:
        del graph.initializer[rng.integers(len(graph.initializer))]


def drop_node(rng: Generator, graph: onnx.GraphProto) -> None:
    if len(graph.node) > 1:
        del graph.node[rng.integers(len(graph.node))]


def repeat_node(rng: Generator, graph: onnx.GraphProto) -> None:
    graph.node.extend([_node(rng, graph)] * int(rng.choice([1, 2, 500])))


def other_operator(rng: Generator, graph: onnx.GraphProto) -> None:
    node = _node(rng, graph)
    node.op_type = str(rng.choice([*importer.SUPPORTED.split(", "), "If", "Loop", "Einsum", ""]))


def misshape(rng: Generator, graph: onnx.GraphProto) -> None:
    tensor = _tensor(rng, graph)
    way = rng.integers(4)
    if way == 0 and tensor.dims:
        tensor.dims[rng.integers(len(tensor.dims))] = _extreme(rng)
    elif way == 1:
        tensor.dims.append(_extreme(rng))
    elif way == 2:
        tensor.dims.extend([1] * int(rng.choice([1, 9, 1000])))
    else:
        dims = list(tensor.dims)
        rng.shuffle(dims)
        del tensor.dims[:]
        tensor.dims.extend(dims)


def retype(rng: Generator, graph: onnx.GraphProto) -> None:
    _tensor(rng, graph).data_type = int(rng.integers(0, 30))


def refill(rng: Generator, graph: onnx.GraphProto) -> None:
    """Other numbers, extreme ones, in a scale, a zero point, a bias or a shape."""
    tensor = _tensor(rng, graph)
    size = max(1, int(np.prod(tensor.dims[:4], dtype=np.float64) % 4096))
    dtype = onnx_files.DTYPES.get(tensor.data_type, np.uint8)
    with np.errstate(all="ignore"):
        if dtype == np.float32:
            values = rng.choice(_FLOATS, size).astype(np.float32)
        else:
            values = np.array([_extreme(rng) for _ in range(size)]).astype(dtype)
    tensor.raw_data = values.tobytes()


def reattribute(rng: Generator, graph: onnx.GraphProto) -> None:
    node = _node(rng, graph)
    if not node.attribute or rng.integers(3) == 0:
        name = str(rng.choice(["axis", "group", "pads", "strides", "dilations", "perm", "to",
                               "axes", "kernel_shape", "alpha", "block_size", "ceil_mode"]))
        count = int(rng.integers(1, 9))
        value = _extreme(rng) if rng.integers(2) else [_extreme(rng) for _ in range(count)]
        node.attribute.append(helper.make_attribute(name, value))
        return
    attribute = node.attribute[rng.integers(len(node.attribute))]
    if attribute.ints:
        attribute.ints[rng.integers(len(attribute.ints))] = _extreme(rng)
    elif rng.integers(2):
        attribute.i = _extreme(rng)
    else:
        attribute.type = int(rng.integers(0, 15))


def resize_input(rng: Generator, graph: onnx.GraphProto) -> None:
    dims = graph.input[0].type.tensor_type.shape.dim
    way = rng.integers(3)
    if way == 0:
        dims[rng.integers(len(dims))].dim_value = _extreme(rng)
    elif way == 1:
        dims.add().dim_value = _extreme(rng)
    else:
        dims[rng.integers(len(dims))].dim_param = "w"


def retype_input(rng: Generator, graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 26))


def rename(rng: Generator, graph: onnx.GraphProto) -> None:
    node = _node(rng, graph)
    node.name = str(rng.choice(["", "a\nb", "x" * 5000, "\x00", "网络", "\u202e", "input"]))
    if rng.integers(3) == 0 and node.output:
        node.output[0] = str(rng.choice(["x", "", node.output[0] + "'"]))


def external(rng: Generator, graph: onnx.GraphProto) -> None:
    tensor = _tensor(rng, graph)
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", str(rng.choice(["/dev/zero", "../../etc/passwd"]))


def ends(rng: Generator, graph: onnx.GraphProto) -> None:
    ports = graph.input if rng.integers(2) else graph.output
    if rng.integers(2):
        ports.append(ports[0])
    else:
        ports[0].name = str(rng.choice(["", "nowhere", "c0", _node(rng, graph).output[0]]))


CHANGES: tuple[Change, ...] = (
    rewire, rewire, reverse, drop_constant, drop_node, repeat_node, other_operator, other_operator,
    misshape, misshape, retype, refill, refill, reattribute, reattribute, resize_input,
    retype_input, rename, external, ends)


# --- models that a program could drown in
def _length(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, body: bytes) -> bytes:
    return _length(number << 3 | 2) + _length(len(body)) + body


def nested(rng: Generator) -> bytes:
    """Graphs within graphs."""
    body = b""
    for _ in range(int(rng.choice([20, 200, 3000]))):
        body = _field(1, _field(5, _field(6, body)))
    return _field(7, body)


def many_nodes(rng: Generator) -> bytes:
    """Empty nodes at two bytes each."""
    return _field(7, _field(int(rng.choice([1, 5, 11, 13])), b"") * int(rng.choice([3 * 10**5,
                                                                                   5 * 10**6])))


def many_numbers(rng: Generator) -> bytes:
    """Numbers at a byte each, which take eight in memory."""
    packed = _field(int(rng.choice([1, 5, 7])), b"\x01" * (30 << 20))
    return _field(7, _field(5, packed))


def many_names(rng: Generator) -> bytes:
    """A node of empty names."""
    return _field(7, _field(1, _field(1, b"") * 3_000_000))


def claimed(rng: Generator) -> bytes:
    """A tensor that claims to be huge."""
    model = onnx_files.Model((1, 4))
    model.constants.append(TensorProto(name="w", data_type=1, dims=(1 << 20, 1 << 20),
                                       raw_data=b"1234"))
    return model.bytes(model.node("MatMul", "x", "w"))


def wide_dilation(rng: Generator) -> bytes:
    """A small kernel that zeros make huge."""
    model = onnx_files.Model((1, 1, 4000, 4000), onnx_files.INT8)
    w = model.constant(np.ones((64, 1, 2, 2)), onnx_files.INT8)
    return model.bytes(model.node("ConvInteger", "x", w, dilations=(3900, 3900)))


def large_tensor(rng: Generator) -> bytes:
    """A real tensor of many values, read by many nodes."""
    model = onnx_files.Model((1, 4096), onnx_files.INT8)
    w = model.constant(np.ones((4096, 2048), np.int8), onnx_files.INT8)
    for _ in range(40):
        last = model.node("MatMulInteger", "x", w)
    return model.bytes(last)


def folding(rng: Generator) -> bytes:
    """Constants that are quantized and copied over and over."""
    model = onnx_files.Model((1, 4))
    w = model.constant(np.ones((1024, 1024), np.float32), onnx_files.FLOAT)
    scale = model.constant(0.1, onnx_files.FLOAT)
    for _ in range(300):
        w = model.node("DequantizeLinear", model.node("QuantizeLinear", w, scale), scale)
        w = model.node("Cast", model.node("Transpose", w), to=1)
    return model.bytes(w)


def doubling(rng: Generator) -> bytes:
    """A shape that doubles with each node."""
    model = onnx_files.Model((1, 4))
    w = model.constant([1, 2, 3], onnx_files.INT64)
    for _ in range(60):
        w = model.node("Concat", w, w, axis=0)
    return model.bytes(w)


def deep_sums(rng: Generator) -> bytes:
    """Sums of sums of sums, each term of which is read twice."""
    model = onnx_files.Model((1, 4), onnx_files.INT8)
    scale = model.constant(0.1, onnx_files.FLOAT)
    x = model.node("DequantizeLinear", "x", scale, model.constant(0, onnx_files.INT8))
    for _ in range(int(rng.choice([40, 3000]))):
        x = model.node("Add", x, x)
    return model.bytes(model.node("QuantizeLinear", x, scale))


HOSTILE = (nested, many_nodes, many_numbers, many_names, claimed, wide_dilation, large_tensor,
           folding, doubling, deep_sums)


def _change(rng: Generator, model: onnx.ModelProto) -> None:
    CHANGES[rng.integers(len(CHANGES))](rng, model.graph)


mutant = fuzzing.Mutations(original, onnx.ModelProto.SerializeToString, _change,
                           hostile=HOSTILE).mutant
