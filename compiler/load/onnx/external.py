"""Constants that an ``.onnx`` file keeps in other files of its folder, read into the model.

Such a reference names a file, an offset and a length, and none of them is believed: the file must
lie in the folder or below it, links included, and hold what the constant's shape needs.
"""

from __future__ import annotations

import math
import stat
from pathlib import Path, PurePosixPath

import onnx

from ...ir import PenjingError

_KEYS = ("location", "offset", "length", "checksum")
_WAY_OUT = ("save the model as one file, with onnx.save(onnx.load(path), new_path), or lay its "
            "data beside it")


def embed(graph: onnx.GraphProto, folder: Path, kinds: dict[int, int], most: int) -> None:
    """Let constants of other files in ``folder`` be in ``graph`` itself, ``most`` bytes of them.

    ``kinds`` has the bits of an element of each type that is known. `PenjingError` names a constant
    whose data are not there.
    """
    for tensor in graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL or tensor.data_type not in kinds:
            continue
        data = _data(tensor, folder, kinds[tensor.data_type], most)
        most -= len(data)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = data


def _data(tensor: onnx.TensorProto, folder: Path, bits: int, most: int) -> bytes:
    """The bytes that ``tensor`` refers to."""
    given = {str(entry.key): str(entry.value) for entry in tensor.external_data
             if entry.key in _KEYS}
    path, size = _file(tensor, folder, given.get("location", ""))
    offset = _number(tensor, given.get("offset", "0"))
    needed = -(-math.prod(tensor.dims) * bits // 8)
    length = _number(tensor, given["length"]) if "length" in given else size - offset
    if min(tensor.dims, default=0) < 0 or length != needed or offset + length > size:
        raise _refused(tensor, f"it needs {needed} bytes and is said to be {length} from "
                               f"{offset} on of a file of {size}")
    if length > most:
        raise _refused(tensor, "its file and others of the model are too large")
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except OSError as error:
        raise _refused(tensor, f"its file cannot be read ({error.strerror})") from None
    if len(data) != length:
        raise _refused(tensor, "its file is cut off")
    return data


def _file(tensor: onnx.TensorProto, folder: Path, location: str) -> tuple[Path, int]:
    """The file ``location`` of the folder, without links, and its size."""
    parts = PurePosixPath(location).parts
    if not parts or ".." in parts or PurePosixPath(location).is_absolute() or "\\" in location:
        raise _refused(tensor, f"its values lie in {location[:80]!r}, which is no file of the "
                               f"model's folder")
    try:
        path = (folder / location).resolve(strict=True)
        status = path.stat()
    except (OSError, ValueError, RuntimeError):  # a loop of links is a RuntimeError
        raise _refused(tensor, f"its values lie in {location[:80]!r}, which is not there") from None
    if not path.is_relative_to(folder.resolve()) or not stat.S_ISREG(status.st_mode):
        raise _refused(tensor, f"its values lie in {location[:80]!r}, which is no file of the "
                               f"model's folder")
    return path, status.st_size


def _number(tensor: onnx.TensorProto, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _refused(tensor, f"its place {text[:20]!r} is no number")
    return int(text)


def _refused(tensor: onnx.TensorProto, reason: str) -> PenjingError:
    return PenjingError(f"constant {tensor.name:.80}: {reason}; {_WAY_OUT}")
