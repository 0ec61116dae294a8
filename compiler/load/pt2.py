"""Read the archive that ``torch.export.save`` writes, without torch and without pickle.

torch's own reader unpickles sample inputs and opaque objects and evaluates symbolic expressions, so
it must never see a file from a stranger. A ``.pt2`` archive is a zip of stored entries: a graph of
ATen operators and a table of the weights, both JSON, and the raw bytes of the weights. This module
reads those and nothing else; it checks each size that the file claims before it believes it.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir import PenjingError
from .outputs import chosen, needed
from .refusal import one_line

MAX_FILE_BYTES = 512 << 20
"""The largest archive that is read."""
MAX_JSON_BYTES = 16 << 20
"""The largest graph or table of weights."""
MAX_ELEMENTS = 1 << 26
"""The most weights of one program."""
MAX_NODES = 10_000
"""The most calls of operators."""

_MAX_ENTRIES = 100_000
_SCHEMA_MAJOR = 8
_EXPORT = ("save it with torch.export.save(torch.export.export(model.eval(), (example,)), path) "
           "of torch 2.13")


@dataclass(frozen=True)
class Reference:
    """An argument that is the tensor ``name``."""

    name: str


@dataclass(frozen=True)
class Unknown:
    """An argument of a kind that no supported operator takes, or a symbolic size."""

    kind: str


@dataclass(frozen=True)
class ElementKind:
    """An argument that is a type of elements, by its name in torch: ``int8``."""

    name: str


Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | Reference | Unknown | ElementKind | tuple["Value", ...]


@dataclass(frozen=True)
class Argument:
    """One argument of a node: its name in the operator's schema, and how it is passed."""

    name: str
    value: Value
    keyword: bool


@dataclass(frozen=True)
class Node:
    """One call of an ATen operator, such as ``aten.conv2d.default``.

    ``module`` is the path of the module that made the call ("" at the top), ``leaf`` says that it
    is one of PyTorch's own layers, which makes one call only. ``outputs`` names its tensors.
    """

    name: str
    target: str
    arguments: tuple[Argument, ...]
    outputs: tuple[str, ...]
    module: str
    leaf: bool


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer: its path in the module, such as ``conv1.weight``, and its values.

    They are float64, or integers of the type in which they are stored.
    """

    path: str
    values: NDArray[Any]


@dataclass(frozen=True)
class Program:
    """The graph of an exported program, in order of execution.

    ``sizes`` are the dimensions of each tensor by name, None where they are symbolic; ``weights``
    are by tensor name.
    """

    nodes: tuple[Node, ...]
    input: str
    output: str
    sizes: Mapping[str, tuple[int | None, ...]]
    weights: Mapping[str, Weight]


def read(path: str | Path, result: str | None = None) -> Program:
    """The program in the file ``path``; of several outputs, its is that called ``result``.

    `PenjingError` where the file is damaged or something else.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if len(data) > MAX_FILE_BYTES:
        raise PenjingError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; no network of that "
                           f"size fits an FPGA, so check the path")
    return parse(data, str(path), result)


def parse(data: bytes, origin: str, result: str | None = None) -> Program:
    """The program in the bytes of an archive, as `read` has it; ``origin`` names it in errors."""
    try:
        return _program(_Archive(data), result)
    except PenjingError as error:
        raise PenjingError(f"{origin}: {one_line(error)}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error):
        raise PenjingError(f"{origin}: damaged, or not a PyTorch program; {_EXPORT}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise PenjingError(f"{origin}: its graph or weights are damaged; {_EXPORT}") from None


class _Archive:
    """The stored entries of a zip file, read by their name below the archive's one folder."""

    def __init__(self, data: bytes) -> None:
        if data.count(b"PK\x01\x02") > _MAX_ENTRIES:  # before each costs an object
            raise PenjingError(f"it has more than {_MAX_ENTRIES} entries; {_EXPORT}")
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        entries = self._zip.infolist()
        if not entries or min(entry.header_offset for entry in entries) != 0:
            # Cut off, an archive ends with the directory of one that it holds.
            raise zipfile.BadZipFile
        # Stored entries cannot grow when read, and together they cannot exceed the file unless
        # they overlap.
        if any(e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size
               for e in entries) or sum(e.file_size for e in entries) > len(data):
            raise PenjingError(f"it has compressed or overlapping entries, which torch never "
                               f"writes; {_EXPORT}")
        roots = {entry.filename.partition("/")[0] for entry in entries}
        self._entries = {e.filename.partition("/")[2]: e for e in entries}
        if len(roots) != 1 or "archive_format" not in self._entries:
            _refuse_other_formats(self._entries, roots)
        if self.bytes("archive_format", 16) != b"pt2":
            raise PenjingError(f"not a PyTorch program; {_EXPORT}")

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def bytes(self, name: str, most: int) -> bytes:
        if name not in self._entries:
            raise PenjingError(f"it holds no entry {name!r:.100}; {_EXPORT}")
        if self._entries[name].file_size > most:
            raise PenjingError(f"its entry {name!r:.100} is larger than {most} bytes; {_EXPORT}")
        return self._zip.read(self._entries[name])

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.bytes(name, MAX_JSON_BYTES))
        except RecursionError:
            raise ValueError("too deep") from None


def _refuse_other_formats(entries: Mapping[str, object], roots: set[str]) -> None:
    if "serialized_exported_program.json" in roots:
        raise PenjingError(f"written by an old torch, in a format that needs pickle; {_EXPORT}")
    if "data.pkl" in entries:
        raise PenjingError(f"it comes from torch.save or TorchScript, whose files can run code; "
                           f"{_EXPORT}")
    raise PenjingError(f"not a PyTorch program; {_EXPORT}")


def _program(archive: _Archive, result: str | None) -> Program:
    models = [name for name in archive.names
              if name.startswith("models/") and name.endswith(".json")]
    if len(models) != 1:
        raise PenjingError(f"it holds {len(models)} programs, not one; {_EXPORT}")
    model = archive.json(models[0])
    major = model["schema_version"]["major"]
    if major != _SCHEMA_MAJOR:
        raise PenjingError(f"its schema version is {major!r:.20}, not {_SCHEMA_MAJOR}; {_EXPORT}")
    name = models[0].removeprefix("models/").removesuffix(".json")
    graph, signature = (model["graph_module"][key] for key in ("graph", "signature"))
    if len(graph["nodes"]) > MAX_NODES:
        raise PenjingError(f"it has {len(graph['nodes'])} nodes, more than {MAX_NODES}; no network "
                           f"of that size fits an FPGA")
    sizes = {str(key): tuple(size.get("as_int") for size in meta["sizes"])
             for key, meta in graph["tensor_values"].items()}
    inputs, parameters, constants = _inputs(signature["input_specs"])
    outputs = [spec["user_output"]["arg"]["as_tensor"]["name"]
               for spec in signature["output_specs"] if "user_output" in spec]
    if len(inputs) != 1:
        raise PenjingError(f"the program has {len(inputs)} inputs; export one that takes one "
                           f"tensor")
    output = outputs[chosen(outputs, result)]
    nodes = tuple(map(_node, graph["nodes"]))
    if len(outputs) > 1:
        kept = needed([(_names(node), node.outputs) for node in nodes], output)
        nodes = tuple(itertools.compress(nodes, kept))
    weights: dict[str, Weight] = {}
    for folder, paths in (("weights", parameters), ("constants", constants)):
        _add_weights(archive, folder, name, paths, weights)
    return Program(nodes, inputs[0], output, sizes, weights)


def _names(node: Node) -> Iterator[str]:
    """The tensors that ``node`` reads."""
    values = [argument.value for argument in node.arguments]
    while values:
        value = values.pop()
        if isinstance(value, Reference):
            yield value.name
        elif isinstance(value, tuple):
            values += value


def _inputs(specs: list[dict[str, Any]]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """The user's inputs, and the paths of parameters and of constants by the names of tensors."""
    inputs: list[str] = []
    parameters: dict[str, str] = {}
    constants: dict[str, str] = {}
    for spec in specs:
        (kind, body), = spec.items()
        if kind == "user_input":
            inputs.append(body["arg"]["as_tensor"]["name"])
        elif kind == "parameter":
            parameters[body["arg"]["name"]] = body["parameter_name"]
        elif kind == "buffer":
            paths = parameters if body["persistent"] else constants
            paths[body["arg"]["name"]] = body["buffer_name"]
        elif kind == "tensor_constant":
            constants[body["arg"]["name"]] = body["tensor_constant_name"]
    return inputs, parameters, constants


def _node(record: dict[str, Any]) -> Node:
    stack = record["metadata"].get("nn_module_stack", "").split(";")[-1].split(",")
    _, module, kind = stack if len(stack) == 3 else ("", "", "")
    leaf = kind.startswith("torch.nn.modules.") and ".container." not in kind
    arguments = tuple(Argument(entry["name"], _value(entry["arg"]), entry.get("kind") == 2)
                      for entry in record["inputs"])
    outputs = tuple(tensor["name"] for entry in record["outputs"] for tensor in
                    ([entry["as_tensor"]] if "as_tensor" in entry else entry.get("as_tensors", [])))
    name = record.get("name") or (outputs[0] if outputs else "")
    target = record["target"].removeprefix("torch.ops.")
    if not all(isinstance(text, str) for text in (name, target, module, *outputs,
                                                   *(a.name for a in arguments))):
        raise TypeError("names must be text")
    return Node(name, target, arguments, outputs, "" if module.startswith("_empty") else module,
                leaf)


def _value(record: dict[str, Any]) -> Value:
    (kind, body), = record.items()
    decode = _VALUES.get(kind)
    return Unknown(kind) if decode is None else decode(body)


def _scalar(*kinds: type) -> Callable[[Any], Value]:
    def decode(body: Any) -> Value:
        if type(body) not in kinds:
            raise TypeError(f"not {kinds}")
        value: Value = body
        return value
    return decode


def _float(body: Any) -> Value:
    return float(_scalar(int, float, str)(body))  # type: ignore[arg-type]  # "Infinity" is text


def _none(_: Any) -> Value:
    return None


def _reference(body: Any) -> Value:
    return Reference(str(body["name"]))


def _element_kind(body: Any) -> Value:
    return ElementKind(KINDS[body]) if body in KINDS else Unknown("as_scalar_type")


def _sym_int(body: Any) -> Value:
    return _integer(body["as_int"]) if "as_int" in body else Unknown("as_sym_int")


def _many(decode: Callable[[Any], Value]) -> Callable[[Any], Value]:
    return lambda body: tuple(decode(item) for item in body)


_integer = _scalar(int)
_VALUES: Mapping[str, Callable[[Any], Value]] = {
    "as_none": _none, "as_tensor": _reference, "as_tensors": _many(_reference),
    "as_bool": _scalar(bool), "as_int": _integer, "as_ints": _many(_integer),
    "as_float": _float, "as_floats": _many(_float), "as_string": _scalar(str),
    "as_sym_int": _sym_int, "as_sym_ints": _many(_sym_int), "as_scalar_type": _element_kind,
    "as_optional_tensor": lambda body: _value(body),
}


KINDS: Mapping[int, str] = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 13: "bfloat16"}
"""Names of the types of elements that are read, by the number that stands for them."""


def _decoded(raw: bytes, kind: str) -> NDArray[Any]:
    if kind == "bfloat16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(raw, np.dtype(kind).newbyteorder("<"))


def _width(kind: str) -> int:
    """Bytes of an element."""
    return 2 if kind == "bfloat16" else np.dtype(kind).itemsize


def _add_weights(archive: _Archive, folder: str, model: str, paths: dict[str, str],
                 weights: dict[str, Weight]) -> None:
    """Add what lies in ``folder`` under ``paths`` to ``weights``, by the names of tensors."""
    if not paths:
        return
    table = archive.json(f"data/{folder}/{model}_{folder}_config.json")["config"]
    budget = MAX_ELEMENTS - sum(weight.values.size for weight in weights.values())
    for name, path in paths.items():
        record = table[path]
        if record["use_pickle"]:
            raise PenjingError(f"its weight {path:.100} is pickled, which can run code; {_EXPORT}")
        if record["tensor_meta"]["dtype"] not in KINDS:
            continue  # masks and the like, which no supported operator takes
        values = _tensor(archive, f"data/{folder}/{record['path_name']}", path, record, budget)
        budget -= values.size
        weights[name] = Weight(path, values)


def _tensor(archive: _Archive, entry: str, path: str, record: dict[str, Any],
            budget: int) -> NDArray[Any]:
    meta = record["tensor_meta"]
    sizes, strides = ([int(item["as_int"]) for item in meta[key]] for key in ("sizes", "strides"))
    offset = int(meta["storage_offset"]["as_int"])
    if not len(sizes) == len(strides) <= 8 or min([offset, *sizes, *strides]) < 0:
        raise ValueError("bad tensor")
    if math.prod(sizes) > budget:
        raise PenjingError(f"its weights claim more than {MAX_ELEMENTS} values at {path:.100}; no "
                           f"network of that size fits an FPGA")
    if 0 in sizes:
        raise PenjingError(f"its weight {path:.100} is empty; {_EXPORT}")
    kind = KINDS[meta["dtype"]]
    width = _width(kind)
    raw = archive.bytes(entry, MAX_FILE_BYTES)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if len(raw) % width or last >= len(raw) // width:
        raise PenjingError(f"its weight {path:.100} claims {last + 1} values, its entry holds "
                           f"{len(raw) // width}; {_EXPORT}")
    flat = _decoded(raw, kind)
    view = np.lib.stride_tricks.as_strided(flat[offset:], sizes,
                                           [stride * flat.itemsize for stride in strides])
    return view.astype(np.float64 if view.dtype.kind == "f" else np.dtype(kind))
