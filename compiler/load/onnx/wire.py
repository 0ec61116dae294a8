"""A look at the raw bytes of an ONNX file, before a parser believes them.

Protocol buffers let two bytes stand for a message that costs hundreds in memory, and messages nest
without end. This walk along the fields counts them, message by message, and refuses what is nested
too deep, holds too many, or is cut off. It keeps nothing and costs a microsecond a field.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import PenjingError

MAX_FIELDS = 400_000
"""The most fields of one file, those of its nested messages included."""
MAX_PACKED_BYTES = 16 << 20
"""The most bytes of numbers in a form that grows when it is read."""

_MAX_DEPTH = 16
_WAY_OUT = "export the network again"

_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "text", 14: "text", 20: "training", 25: "function", 26: "text"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "annotation",
              15: "sparse", 16: "text"},
    "node": {5: "attribute", 9: "text", 10: "device"},
    "attribute": {5: "tensor", 6: "graph", 8: "packed", 10: "tensor", 11: "graph", 14: "type",
                  15: "type", 22: "sparse", 23: "sparse"},
    "tensor": {1: "packed", 3: "text", 5: "packed", 7: "packed", 11: "packed", 13: "text",
               16: "text"},
    "sparse": {1: "tensor", 2: "tensor", 3: "packed"},
    "value": {2: "type", 4: "text"},
    "type": {1: "shaped", 4: "nested", 5: "map", 8: "shaped", 9: "nested", 7: "text"},
    "nested": {1: "type"},
    "map": {2: "type"},
    "shaped": {2: "shape"},
    "shape": {1: "text"},
    "annotation": {2: "text"},
    "function": {7: "node", 9: "text", 11: "attribute", 12: "value", 14: "text"},
    "device": {2: "sharding"},
    "sharding": {3: "text", 4: "sharded"},
    "sharded": {2: "text"},
    "training": {1: "graph", 2: "graph", 3: "text", 4: "text"},
    "text": {},
}
"""The fields of each message that hold messages of their own, by number, from onnx.proto."""


def check(data: bytes) -> None:
    """`PenjingError` unless ``data`` is well formed, as far as its size in memory depends on it."""
    todo = [(0, len(data), "model", 0)]
    fields = packed = 0
    while todo:
        place, end, kind, depth = todo.pop()
        if depth > _MAX_DEPTH:
            raise PenjingError(f"its messages nest deeper than {_MAX_DEPTH}; {_WAY_OUT}")
        children = _MESSAGES[kind]
        while place < end:
            fields += 1
            if fields > MAX_FIELDS:
                raise PenjingError(f"it has more than {MAX_FIELDS} entries; no network that fits "
                                   f"an FPGA has, so check the path")
            tag, place = _varint(data, place, end)
            wire = tag & 7
            if wire == 0:
                _, place = _varint(data, place, end)
            elif wire in (1, 5):
                place += 8 if wire == 1 else 4
            elif wire == 2:
                size, place = _varint(data, place, end)
                child = children.get(tag >> 3)
                if child == "packed":
                    packed += size
                elif child is not None:
                    todo.append((place, place + size, child, depth + 1))
                place += size
            else:
                raise damaged()
            if place > end:
                raise damaged()
    if packed > MAX_PACKED_BYTES:
        raise PenjingError(f"it holds {packed >> 20} MiB of numbers in a form other than raw "
                           f"data, more than {MAX_PACKED_BYTES >> 20}; save it with a current "
                           f"version of onnx")


def damaged() -> PenjingError:
    """What is said of bytes that are no ONNX model."""
    return PenjingError(f"damaged, or not an ONNX model; {_WAY_OUT}")


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise damaged()
