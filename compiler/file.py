"""Save an integer network to one file without pickle, and load it with full checks.

The file is a safetensors file: the arrays of the layers, each in the narrowest integer type that
holds it, and in the metadata one JSON object that describes the rest. How a layer is written
follows from its dataclass alone, so a new kind of layer needs one entry in `LAYERS`. The bytes
depend on the network only.
"""

from __future__ import annotations

import dataclasses
import enum
import gzip
import hashlib
import itertools
import json
import os
import stat
import types
import typing
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from . import ir
from .ir import Network, PenjingError

FORMAT = "penjing"
VERSION = 1
SUFFIX = ".penjing"
MAX_FILE_BYTES = 256 << 20
"""The largest file that is read."""
MAX_HEADER_BYTES = 16 << 20
"""The largest description of layers and tensors."""
MAX_ELEMENTS = 1 << 26
"""The most integers that all arrays of a network may hold."""

LAYERS: tuple[type[ir.Layer], ...] = (
    ir.Convolution, ir.Depthwise, ir.Dense, ir.MaxPool, ir.AveragePool, ir.SumPool, ir.Pad, ir.Add,
    ir.ShiftRequantize, ir.ScaleRequantize, ir.SlopeRequantize, ir.Threshold, ir.Table, ir.Clamp,
    ir.Repeat, ir.Flatten, ir.Reshape, ir.ArgMax, ir.Concatenation,
    ir.Slice, ir.Crop, ir.Subtract, ir.Upsample, ir.Permutation, ir.TransposedConvolution,
    ir.Multiply, ir.WinogradInput, ir.WinogradProducts, ir.WinogradOutput)
"""The layers that a file may hold; each is written under its `kind`."""
ENCODINGS: tuple[type[ir.Encoding], ...] = (
    ir.Plain, ir.Codebook, ir.RelativeIndex, ir.Bitmap, ir.KernelList, ir.NofM, ir.Constant,
    ir.Columns, ir.Sums)
"""The encodings of weights that a file may hold, written in the same way."""

_KINDS: Mapping[type, tuple[str, Mapping[str, type]]] = {
    ir.Layer: ("layer", {cls.__name__.lower(): cls for cls in LAYERS}),
    ir.Encoding: ("weight encoding", {cls.__name__.lower(): cls for cls in ENCODINGS}),
    ir.ValueEncoding: ("value encoding", {cls.__name__.lower(): cls for cls in ENCODINGS
                                          if issubclass(cls, ir.ValueEncoding)})}
"""What is of one of several kinds: how errors call it, and the class of each kind."""
_ADDED: Mapping[type, Mapping[str, object]] = {
    ir.Weights: {"encoding": ir.Plain(), "loadable": False},
    ir.ScaleRequantize: {"addends": None},
    Network: {"tail": None}}
"""Attributes that older files lack, and what they mean there: so they are left out again."""
_TYPES = ("int8", "int16", "int32", "int64")
_CODES = ("I8", "I16", "I32", "I64")
_WAY_OUT = "compile the network again"
_GZIP = b"\x1f\x8b"
"""What a compressed file starts with; any other starts with the length of its header, which is a
multiple of 8."""

_Tensors = dict[str, NDArray[np.signedinteger[Any]]]


class _Invalid(Exception):
    """What is wrong with a file's content."""


def save(network: Network, path: str | Path, *, compressed: bool = False) -> None:
    """Write ``network`` to the file ``path``, whole or not at all.

    A ``compressed`` file, which pays where many weights are 0, goes through gzip, and is read like
    any other. `PenjingError` if the folder cannot be written or a layer is of a kind that files do
    not know.
    """
    data = to_bytes(network)
    write_atomically(path, gzip.compress(data, mtime=0) if compressed else data)


def load(path: str | Path) -> Network:
    """The network in the file ``path``; `PenjingError` says what is wrong with the file."""
    data = _read(path)
    try:
        return _from_bytes(_unfolded(data))
    except RecursionError:
        raise PenjingError(f"{path}: its header is nested too deep; {_WAY_OUT}") from None
    except (_Invalid, PenjingError) as error:
        # Names in a hostile file may hold line breaks or half characters, at any length.
        text = str(error).encode("ascii", "backslashreplace").decode()
        reason = " ".join(text.split())
        if len(reason) > 400:
            reason = f"{reason[:200]} ... {reason[-200:]}"
        way_out = "" if ";" in reason else f"; {_WAY_OUT}"
        raise PenjingError(f"{path}: {reason}{way_out}") from None


def to_bytes(network: Network) -> bytes:
    """The content of a file that holds ``network``."""
    tensors: _Tensors = {}
    description = _encode(network, "", tensors)
    header = {"format": FORMAT, "version": VERSION, "sha256": _digest(description, tensors),
              "network": description}
    # One key only: safetensors writes several in an order that changes from run to run.
    return save_tensors(tensors, {FORMAT: _dump(header)})


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write ``data`` to the file ``path``: it then holds all of it, or what it held before."""
    path = Path(path)
    for attempt in itertools.count():
        temporary = path.parent / f".{FORMAT}-{os.getpid()}-{attempt}.tmp"
        try:
            with open(temporary, "xb") as file:
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(temporary, path)
                except BaseException:
                    # It may be in its place by then.
                    temporary.unlink(missing_ok=True)
                    raise
            return
        except FileExistsError:
            continue
        except OSError as error:
            raise PenjingError(f"{path}: cannot be written ({error.strerror}); choose a folder "
                               f"that exists and that you may write to") from None


def leftovers(folder: Path) -> set[Path]:
    """The files in ``folder`` that `write_atomically` left when it was killed."""
    return {*folder.glob(f".{FORMAT}-*.tmp")}


def _read(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PenjingError(f"{path}: not a regular file; give a {SUFFIX} file")
            if status.st_size > MAX_FILE_BYTES:
                raise PenjingError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; give a "
                                   f"{SUFFIX} file")
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _unfolded(data: bytes) -> bytes:
    """``data``, uncompressed if gzip has compressed it; no more of it than a file may have."""
    if not data.startswith(_GZIP):
        return data
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        result = stream.decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error:
        raise _Invalid("damaged: what is compressed cannot be read") from None
    if len(result) > MAX_FILE_BYTES:
        raise _Invalid(f"larger than {MAX_FILE_BYTES >> 20} MiB once it is uncompressed")
    if not stream.eof or stream.unused_data:
        raise _Invalid("cut off, or something follows what is compressed")
    return result


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(description: object, tensors: _Tensors) -> str:
    """SHA-256 of the description and the arrays, so that damage never goes unnoticed."""
    digest = hashlib.sha256(_dump(description).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _encode(value: object, path: str, tensors: _Tensors) -> object:
    """``value`` as JSON; arrays go to ``tensors`` under ``path``, which takes their place."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(item, path, tensors) for item in value]
    if isinstance(value, np.ndarray):
        tensors[path] = _narrow(value)
        return path
    if isinstance(value, ir.Layer):
        if type(value) not in LAYERS:
            raise PenjingError(f"layer {value.name}: files do not know {value.kind}; use another "
                               f"layer")
        return {"kind": value.kind, **_encode_fields(value, value.name, tensors)}
    if isinstance(value, ir.Encoding):
        return {"kind": value.kind, **_encode_fields(value, path, tensors)}
    if dataclasses.is_dataclass(value):
        return _encode_fields(value, path, tensors)
    raise TypeError(f"cannot write {type(value).__name__} at {path}")


def _encode_fields(value: object, path: str, tensors: _Tensors) -> dict[str, object]:
    added = _ADDED.get(type(value), {})
    return {name: _encode(getattr(value, name), f"{path}.{name}".lstrip("."), tensors)
            for name in _fields(type(value))
            if name not in added or not _is(getattr(value, name), added[name])}


def _is(value: object, default: object) -> bool:
    """Whether an attribute, which may be an array, has its default value."""
    return type(value) is type(default) and bool(value == default)


def _narrow(array: NDArray[Any]) -> NDArray[np.signedinteger[Any]]:
    # In C order: safetensors writes the memory of an array as it lies, whatever its strides.
    for name in _TYPES[:-1]:
        limits = np.iinfo(name)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(name, order="C")
    return array.astype(np.int64, order="C")


def _fields(cls: type) -> Mapping[str, Any]:
    """The types of a dataclass's constructor arguments, by name."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _from_bytes(data: bytes) -> Network:
    if len(data) < 8:
        raise _Invalid("not a network file, or cut off")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise _Invalid(f"not a network file, or cut off: its header claims {length} bytes, the "
                       f"file holds {len(data)} and a header may have {MAX_HEADER_BYTES}")
    header = _header(data[8:8 + length])
    tensors = _tensors(data)
    if header["sha256"] != _digest(header["network"], tensors):
        raise _Invalid("damaged: its checksum does not match its content")
    left = dict(tensors)
    network = _decode(Network, header["network"], "network", left)
    assert isinstance(network, Network)
    if left:
        raise _Invalid(f"it holds arrays that no layer uses, such as {min(left)!r}")
    return network


def _header(text: bytes) -> dict[str, Any]:
    try:
        outer = json.loads(text)
        metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get(FORMAT), str):
            raise _Invalid("not a network file of Penjing")
        header = json.loads(metadata[FORMAT])
    except (ValueError, RecursionError):
        raise _Invalid("not a network file, or damaged: its header is no JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _Invalid("not a network file of Penjing")
    version = header.get("version")
    if type(version) is not int or version != VERSION:
        raise _Invalid(f"its format version is {version!r:.20}, this program reads {VERSION}; use "
                       f"the version of Penjing that wrote it or {_WAY_OUT}")
    if header.keys() != {"format", "version", "sha256", "network"}:
        raise _Invalid("its header lacks an entry or has one too many")
    return header


def _tensors(data: bytes) -> _Tensors:
    try:
        records = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise _Invalid(f"damaged or cut off ({error})") from None
    total, tensors = 0, {}
    for name, record in records:
        if record["dtype"] not in _CODES:
            raise _Invalid(f"array {name!r} has type {record['dtype']}, not a signed integer")
        kind = np.dtype(_TYPES[_CODES.index(record["dtype"])]).newbyteorder("<")
        total += len(record["data"]) // kind.itemsize
        if total > MAX_ELEMENTS:
            raise _Invalid(f"its arrays hold more than {MAX_ELEMENTS} values")
        if not record["data"] or not record["shape"]:
            raise _Invalid(f"array {name!r} is empty")
        try:
            tensors[name] = np.frombuffer(record["data"], kind).reshape(record["shape"])
        except (ValueError, OverflowError):  # more than 64 dimensions
            raise _Invalid(f"array {name!r} has a shape that cannot be") from None
    return tensors


def _decode(hint: Any, value: object, path: str, tensors: _Tensors) -> object:
    """The object of type ``hint`` that ``value`` encodes; its arrays leave ``tensors``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):  # only of None and one other type
        return None if value is None else _decode(arguments[0], value, path, tensors)
    if origin is tuple:
        return _decode_tuple(arguments, value, path, tensors)
    if origin is np.ndarray:
        if not isinstance(value, str) or value != path or value not in tensors:
            raise _Invalid(f"the array {path} is missing")
        return tensors.pop(value)
    if hint in _KINDS:
        return _decode_kind(hint, value, path, tensors)
    if dataclasses.is_dataclass(hint):
        return _decode_fields(typing.cast(type, hint), value, path, tensors)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [member.value for member in hint]:
            raise _Invalid(f"{path} must be one of {', '.join(member.value for member in hint)}, "
                           f"not {value!r:.40}")
        return hint(value)
    if type(value) is not hint:
        raise _Invalid(f"{path} must be {hint.__name__}, not {value!r:.40}")
    return value


def _decode_tuple(arguments: tuple[Any, ...], value: object, path: str,
                  tensors: _Tensors) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _Invalid(f"{path} must be a list, not {value!r:.40}")
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(hints) != len(value):
        raise _Invalid(f"{path} must have {len(hints)} entries, not {len(value)}")
    return tuple(_decode(hint, item, path, tensors)
                 for hint, item in zip(hints, value, strict=True))


def _decode_kind(hint: type, value: object, path: str, tensors: _Tensors) -> object:
    """The object that ``value`` encodes, of the kind that it names; a layer lends it its name."""
    what, classes = _KINDS[hint]
    if not isinstance(value, dict):
        raise _Invalid(f"{path}: a {what} must be an object, not {value!r:.40}")
    kind, name = value.get("kind"), value.get("name", path)
    if not isinstance(kind, str) or kind not in classes:
        raise _Invalid(f"{what} {name!r:.80} is of the unknown kind {kind!r:.40}; use a newer "
                       f"Penjing or {_WAY_OUT}")
    attributes = {key: item for key, item in value.items() if key != "kind"}
    return _decode_fields(classes[kind], attributes, str(name), tensors)


def _decode_fields(cls: type, value: object, path: str, tensors: _Tensors) -> object:
    fields = _fields(cls)
    if isinstance(value, dict):
        fields = {name: hint for name, hint in fields.items()
                  if name in value or name not in _ADDED.get(cls, {})}
    if not isinstance(value, dict) or value.keys() != fields.keys():
        keys = set(value) if isinstance(value, dict) else set()
        wrong = ", ".join(sorted(keys ^ fields.keys())) or repr(value)
        raise _Invalid(f"{path:.80} must have the attributes {', '.join(fields)}; wrong are "
                       f"{wrong:.100}")
    prefix = "" if cls is Network else f"{path}."
    return cls(**{name: _decode(hint, value[name], f"{prefix}{name}", tensors)
                  for name, hint in fields.items()})
