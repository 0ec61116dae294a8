"""Read an ``.onnx`` file, which may be damaged or hostile, into plain checked data.

The parser of the ``onnx`` package sees only bytes whose size was bounded and whose messages were
counted (`wire`). References to other files are followed within the file's folder only (`external`).
What leaves this module holds no protocol buffer any more, and no array that the bytes do not fill.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from ...ir import PenjingError
from ..outputs import chosen, needed
from ..refusal import naming
from . import external, wire
from .model import (
    MAX_NODES,
    TYPES,
    Array,
    Attribute,
    Constant,
    ElementType,
    Graph,
    Node,
    Port,
)

MAX_FILE_BYTES = 64 << 20
"""The largest file that is read."""

_MAX_RANK = 8
_MAX_DIMENSION = 1 << 31
_OLDEST, _NEWEST = 9, 30
_WAY_OUT = "export the network again"

T = TypeVar("T")


def read(path: str | Path) -> bytes:
    """The model in the file ``path``, of a size that is believed.

    Constants that lie in other files of its folder are within.
    """
    data = _bytes(path)
    if b"location" not in data:  # by which all that lies elsewhere is named
        return data
    with naming(path):
        model = _model(data)
        external.embed(model.graph, Path(path).parent, {
            number: kind.bits for number, kind in TYPES.items()}, MAX_FILE_BYTES - len(data))
        whole: bytes = model.SerializeToString()
        return whole


def _bytes(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PenjingError(f"{path}: no regular file; check the path")
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, PenjingError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "no valid name"
        raise PenjingError(f"{path}: cannot be read ({reason}); check the path") from None
    if len(data) > MAX_FILE_BYTES:
        raise PenjingError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; no network of that "
                           f"size fits an FPGA, so check the path")
    return data


def parse(data: bytes, result: str | None = None) -> Graph:
    """The graph in the bytes of a file; of several outputs, its is that called ``result``."""
    return _checked(lambda: _graph(_model(data), result))


def _model(data: bytes) -> onnx.ModelProto:
    def load() -> onnx.ModelProto:
        wire.check(data)
        return onnx.load_model_from_string(data)

    return _checked(load)


def _checked(work: Callable[[], T]) -> T:
    """What ``work`` makes of a model; `PenjingError` if it stumbles."""
    try:
        return work()
    except PenjingError:
        raise
    except Exception as error:  # the parser's own exceptions share no base class
        if isinstance(error, MemoryError):
            raise PenjingError(f"too large for the memory at hand; {_WAY_OUT}") from None
        raise wire.damaged() from None


def _graph(model: onnx.ModelProto, result: str | None) -> Graph:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not _OLDEST <= entry.version <= _NEWEST:
            raise PenjingError(f"its operators are those of opset {entry.version}; export it with "
                               f"one from {_OLDEST} to {_NEWEST}")
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise PenjingError(f"it has {len(graph.node)} nodes, more than {MAX_NODES}; no network of "
                           f"that size fits an FPGA")
    if not graph.node:
        raise PenjingError(f"it has no nodes, or is no ONNX model; {_WAY_OUT}")
    if graph.sparse_initializer:
        raise PenjingError("it stores sparse constants; save them dense")
    constants = {_text(tensor.name): constant for tensor in graph.initializer
                 if (constant := _constant(tensor)) is not None}
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise PenjingError(f"the graph has {len(inputs)} inputs; export a network that takes one "
                           f"tensor")
    outputs = [_text(port.name) for port in graph.output]
    output = outputs[chosen(outputs, result)]
    nodes = tuple(_node(index, node) for index, node in enumerate(graph.node))
    if len(outputs) > 1:
        kept = needed([(node.inputs, node.outputs) for node in nodes], output)
        nodes = tuple(itertools.compress(nodes, kept))
    return Graph(nodes, constants, _port(inputs[0]), output, {
        _text(value.name): _dims(value.type.tensor_type) for value in graph.value_info
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")})


def _text(value: str | bytes) -> str:
    """A name; the parser hands out as bytes what is no valid text."""
    if not isinstance(value, str):
        raise wire.damaged()
    return value


def _node(index: int, node: onnx.NodeProto) -> Node:
    domain = "" if node.domain == "ai.onnx" else _text(node.domain)
    attributes = {_text(attribute.name): _attribute(attribute) for attribute in node.attribute}
    return Node(index, _text(node.op_type), domain, _text(node.name),
                tuple(map(_text, node.input)), tuple(map(_text, node.output)), attributes)


def _attribute(attribute: onnx.AttributeProto) -> Attribute | Constant:
    kinds = onnx.AttributeProto
    if attribute.ref_attr_name:
        return None
    if attribute.type == kinds.INT:
        return int(attribute.i)
    if attribute.type == kinds.FLOAT:
        return float(attribute.f)
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type == kinds.INTS:
        return tuple(map(int, attribute.ints))
    if attribute.type == kinds.FLOATS:
        return tuple(map(float, attribute.floats))
    return _constant(attribute.t) if attribute.type == kinds.TENSOR else None


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor, name = value.type.tensor_type, _text(value.name)
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise PenjingError(f"its input {name:.80} has no shape; {_WAY_OUT} with one of which "
                           f"only the batch is dynamic")
    if tensor.elem_type not in TYPES:
        raise PenjingError(f"its input {name:.80} holds elements of type "
                           f"{tensor.elem_type}; export one of float32, uint8 or int8")
    return Port(name, TYPES[tensor.elem_type], _dims(tensor))


def _dims(tensor: onnx.TypeProto.Tensor) -> tuple[int | None, ...]:
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else None
                 for dim in tensor.shape.dim)


def _constant(tensor: onnx.TensorProto) -> Constant | None:
    """The values of ``tensor``; None where its elements are of a kind that is never needed."""
    kind = TYPES.get(tensor.data_type)
    if kind is None:
        return None
    name = f"constant {_text(tensor.name):.80}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise PenjingError(f"{name}: its values lie in another file and are no initializer; save "
                           f"the model as one file, with onnx.save(onnx.load(path), new_path)")
    dims = tuple(map(int, tensor.dims))
    if len(dims) > _MAX_RANK or any(not 0 <= dim < _MAX_DIMENSION for dim in dims):
        raise PenjingError(f"{name}: its shape {dims[:_MAX_RANK + 1]} is absurd; {_WAY_OUT}")
    count = math.prod(dims)
    values = (_raw(tensor.raw_data, kind, count) if tensor.HasField("raw_data")
              else _typed(getattr(tensor, kind.field), kind, count))
    if values.size != count:
        raise PenjingError(f"{name}: it claims {count} values and holds {values.size}; {_WAY_OUT}")
    return Constant(values.reshape(dims), kind)


def _raw(data: bytes, kind: ElementType, count: int) -> Array:
    """At most ``count`` elements of ``data``, or as many as it holds, if these are others."""
    if kind.bits < 8:
        return _packed(np.frombuffer(data, np.uint8), kind, count)
    dtype = _dtype(kind)
    if len(data) % dtype.itemsize:
        raise wire.damaged()
    return np.frombuffer(data, dtype)


def _typed(numbers: Collection[int | float], kind: ElementType, count: int) -> Array:
    """The same of a list of numbers; a float16 is the number of its bits."""
    dtype = _dtype(kind)
    if not kind.integer and kind.dtype[1] == "f":
        if kind.bits == 16:
            return np.fromiter(numbers, np.int64, len(numbers)).astype("<u2").view("<f2")
        return np.fromiter(numbers, dtype, len(numbers))
    values = np.fromiter(numbers, np.int64, len(numbers))
    if kind.bits < 8:
        return _packed(values.astype(np.uint8), kind, count)
    return values.astype(dtype)


def _dtype(kind: ElementType) -> np.dtype[Any]:
    return np.dtype(np.bool_) if kind.name == "bool" else np.dtype(kind.dtype)


def _packed(data: NDArray[np.uint8], kind: ElementType, count: int) -> Array:
    """The ``count`` elements of bytes that hold several each, the lowest bits first.

    More or fewer than that where the bytes are as many as more or fewer need.
    """
    places = range(0, 8, kind.bits)
    values = np.stack([data >> place & (1 << kind.bits) - 1 for place in places], 1).reshape(-1)
    half = 1 << kind.bits - 1
    values = (values ^ half).astype(np.int8) - half if kind.signed else values
    exact = data.size == -(-count // len(places))
    return values.astype(kind.dtype)[:count if exact else None]
