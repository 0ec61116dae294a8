"""Save a plan as JSON that a person can read, and load it with full checks."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np

from .. import ir
from ..file import to_bytes, write_atomically
from ..ir import Network, PenjingError
from .kinds import KINDS
from .kinds.kind import Kind
from .kinds.stores import STORES, Store
from .plan import Plan

MAX_BYTES = 16 << 20
"""The largest plan file that is read."""

_WAY_OUT = "compile the network again"


def to_json(value: object) -> Any:
    """``value``, of dataclasses, enums, tuples and scalars, as JSON takes it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Kind | Store):
        return {"hardware": type(value).__name__, **_fields(value)}
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}


def save(plan: Plan, network: Network, path: str | Path) -> None:
    """Write ``plan``, which schedules ``network``, to the file ``path``, whole or not at all."""
    document = {"sha256": digest(plan, network), "plan": to_json(plan)}
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


def load(path: str | Path, network: Network) -> Plan:
    """The plan in ``path``; `PenjingError` unless it is whole and schedules ``network``."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); {_WAY_OUT}") from None
    try:
        document = json.loads(data)
        body = document["plan"]
        if document["sha256"] != _digest(body, network):
            raise ValueError
        return typing.cast(Plan, _decode(Plan, body))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise PenjingError(f"{path}: damaged, edited, or the plan of another network; {_WAY_OUT}"
                           ) from None


def digest(plan: Plan, network: Network) -> str:
    """By what this ``plan`` of this ``network`` is known from others."""
    return _digest(to_json(plan), network)


def shape_digest(plan: Plan, network: Network) -> bytes:
    """By what a ``plan`` is known for all networks that its hardware may be filled with.

    These are as ``network``, but for the values of loadable weights and their biases, its name and
    its tail.
    """
    return bytes.fromhex(_digest(to_json(plan), shape_of_network(network)))


def first_of_another_shape(one: Network, other: Network) -> str | None:
    """The layer from which on the hardware of one network cannot be filled with the other; None
    where all of it can."""
    shapes = [shape_of_network(network) for network in (one, other)]
    longest = max((network.layers for network in shapes), key=len)
    for count, layer in enumerate(longest, 1):
        begun, wanted = (to_bytes(dataclasses.replace(network, layers=network.layers[:count]))
                         for network in shapes)
        if begun != wanted:
            return layer.name
    return None


def encoded_as(network: Network, other: Network) -> Network:
    """``network`` with its loadable weights encoded as those of the layers of ``other`` that are
    called so, where these encodings say which weights have a place in memory.

    `PenjingError` where an encoding cannot hold the weights.
    """
    encodings = {layer.name: layer.weights.encoding for layer in other.layers
                 if isinstance(layer, ir.MultiplyAccumulate) and layer.weights.loadable}
    layers = list(network.layers)
    for n, layer in enumerate(layers):
        encoding = encodings.get(layer.name, ir.Plain())
        if isinstance(encoding, ir.ValueEncoding) or not isinstance(layer, ir.MultiplyAccumulate):
            continue
        try:
            weights = dataclasses.replace(layer.weights, encoding=encoding)
        except PenjingError as error:
            raise PenjingError(f"layer {layer.name}: {error}") from None
        layers[n] = dataclasses.replace(layer, weights=weights)
    return dataclasses.replace(network, layers=tuple(layers))


def shape_of_network(network: Network) -> Network:
    """``network`` with zeros for all that is loaded.

    How values lie in memory is the plan's; which of them have a place there is the encoding's.
    """
    layers = []
    for layer in network.layers:
        if isinstance(layer, ir.MultiplyAccumulate) and layer.weights.loadable:
            encoding = layer.weights.encoding
            weights = dataclasses.replace(
                layer.weights, values=np.zeros_like(layer.weights.values),
                encoding=ir.Plain() if isinstance(encoding, ir.ValueEncoding) else encoding)
            layer = dataclasses.replace(layer, weights=weights, bias=np.zeros_like(layer.bias))
        layers.append(layer)
    return dataclasses.replace(network, name="shape", layers=tuple(layers), tail=None)


def _digest(body: object, network: Network) -> str:
    digest = hashlib.sha256(to_bytes(network))
    digest.update(json.dumps(body, sort_keys=True).encode())
    return digest.hexdigest()


def _decode(hint: Any, value: Any) -> Any:
    """The object of type ``hint`` that ``value`` stands for; the checksum vouches for its sense."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # only of None and one other type
        return None if value is None else _decode(arguments[0], value)
    if origin is tuple:
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(one, item) for one, item in zip(hints, value, strict=True))
    if hint in (Kind, Store):
        named = {one.__name__: one for one in (*KINDS, *STORES)}
        fields = {name: item for name, item in value.items() if name != "hardware"}
        return _decode(named[value["hardware"]], fields)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        hints_by_name = typing.get_type_hints(hint)
        return hint(**{name: _decode(hints_by_name[name], item) for name, item in value.items()})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    return value
