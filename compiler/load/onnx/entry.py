"""How the input of an ONNX graph lies: channels first or last, and in which shape."""

from __future__ import annotations

import math

from ...ir import MAX_ELEMENTS, PenjingError
from .model import Graph, Node
from .values import NCHW, Layout

_PASSING = ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Dropout")


def entry_layout(graph: Graph) -> Layout:
    """The layout of the graph's input.

    It is (N, C, H, W), (N, C, W) or (N, C) unless a Transpose or Reshape comes first and says
    otherwise: then the input is a map of the shape that leaves it.
    """
    port = graph.input
    batch, *sizes = port.dims or (0,)
    dims = tuple(size for size in sizes if size is not None)
    if (batch not in (None, 1) or len(dims) != len(sizes) or not 1 <= len(dims) <= 7
            or any(size < 1 for size in dims) or math.prod(dims) > MAX_ELEMENTS):
        text = ", ".join("?" if size is None else str(size) for size in port.dims[:8])
        raise PenjingError(f"its input {port.name:.80} has shape ({text}); export it for (N, C, H, "
                           f"W), (N, C, W) or (N, C) of at most {MAX_ELEMENTS} elements, of which "
                           f"only N may be dynamic, or 1")
    first = _first_mover(graph)
    if first is not None and first.operator == "Transpose":
        order = first.attributes.get("perm")
        if order == (0, 3, 1, 2) and len(dims) == 3:
            return Layout((dims[0], dims[1], dims[2]), (0, 1, 2), dims)
        if order == (0, 2, 1) and len(dims) == 2:
            return Layout((1, dims[0], dims[1]), (0, 1, 2), dims)
    elif first is not None:
        target = _target(graph, first, dims)
        if target is not None:
            return Layout(_map(target), NCHW, dims)
    if len(dims) > 3:
        raise PenjingError(f"its input {port.name:.80} has {len(dims) + 1} dimensions; reshape it "
                           f"first to (N, C, H, W)")
    return Layout(_map(dims), NCHW, dims)


def layout_of(sizes: tuple[int | None, ...]) -> Layout | None:
    """How a map, a line or a vector lies that has these ``sizes`` in the file; None of others."""
    batch, *rest = sizes or (0,)
    dims = tuple(size for size in rest if size is not None and size > 0)
    if batch not in (None, 1) or len(dims) != len(rest) or not 1 <= len(dims) <= 3 or (
            math.prod(dims) > MAX_ELEMENTS):
        return None
    return Layout(_map(dims), NCHW, dims)


def _map(dims: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W, C) of a tensor with the ``dims`` (C, H, W), (C, W) or (C,)."""
    if len(dims) == 3:
        return dims[1], dims[2], dims[0]
    return (1, dims[1], dims[0]) if len(dims) == 2 else (1, 1, dims[0])


def _first_mover(graph: Graph) -> Node | None:
    """The first Transpose or Reshape, if nothing but it reads the input."""
    name = graph.input.name
    users: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for source in node.inputs[:1]:
            users.setdefault(source, []).append(node)
    for _ in graph.nodes:
        readers = users.get(name, [])
        if len(readers) != 1 or not readers[0].outputs:
            return None
        node = readers[0]
        if node.operator in ("Transpose", "Reshape"):
            return node
        if node.operator not in _PASSING:
            return None
        name = node.outputs[0]
    return None


def _target(graph: Graph, node: Node, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape, without the batch, to which a Reshape brings the input; None if it is unclear."""
    constant = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if constant is None:
        constant = next((value for other in graph.nodes if other.operator == "Constant"
                         and other.outputs[:1] == node.inputs[1:2]
                         and (value := other.attributes.get("value")) is not None
                         and hasattr(value, "values")), None)  # type: ignore[assignment]
    if constant is None or constant.values.dtype.kind not in "iu" or (
            not 2 <= constant.values.size <= 4):
        return None
    _, *sizes = (int(size) for size in constant.values.reshape(-1))
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(dims) // rest if rest > 0 else 0
    fits = all(size > 0 for size in sizes) and math.prod(sizes) == math.prod(dims)
    return tuple(sizes) if fits else None
