"""Read the user's images and labels from an ``.npz`` file, which may be damaged or hostile."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..compiler.ir import PenjingError

__all__ = ["MAX_BYTES", "BadData", "Data", "arrays", "naming", "read"]

MAX_BYTES = 2 << 30
"""The most bytes that one array of a file may hold."""

_WAY_OUT = "write it with numpy.savez_compressed(path, x=images, y=labels)"


class BadData(PenjingError):
    """Images or labels that are missing, or unfit."""

    page = "docs/features.md"


@dataclass(frozen=True, eq=False)
class Data:
    """Images and, where the file has them, labels.

    ``x`` are integers or finite floats, images first; ``y`` (N,) or (N, H, W) are integers.
    """

    path: Path
    x: NDArray[Any]
    y: NDArray[np.int64] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels; `PenjingError` if the file has none."""
        if self.y is None:
            raise BadData(f"{self.path}: it holds no labels y; {_WAY_OUT}")
        return self.y


def read(path: str | Path) -> Data:
    """The images ``x`` and labels ``y`` (optional) in the file ``path``.

    Every size that the file claims is checked before memory is set aside, and nothing in it is
    executed. `PenjingError` says what is wrong with the file.
    """
    path = Path(path)
    held = arrays(path, ("x",), optional=("y",))
    x, y = held["x"], held.get("y")
    _check_numbers(path, "x", x)
    if x.ndim < 2 or len(x) == 0:
        raise BadData(f"{path}: x has shape {x.shape}, but N×H×W×C or N×F with at least one "
                           f"image is needed; {_WAY_OUT}")
    return Data(path, x, None if y is None else _labels(path, y, len(x)))


def arrays(path: Path, names: Collection[str], *, optional: Collection[str] = (),
           most: int = MAX_BYTES, way_out: str = _WAY_OUT) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` in the ``.npz`` file ``path``, and those ``optional`` that it has.

    None may have more than ``most`` bytes, which is checked before memory is set aside. Nothing is
    executed. `PenjingError` says what is wrong with the file, and ``way_out``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.namelist()
            return {name: _array(archive, name, path, most, way_out)
                    for name in (*names, *(one for one in optional if f"{one}.npy" in held))}
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror or error}); check the path"
                           ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise BadData(f"{path}: no .npz file, or damaged; {way_out}") from None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors about ``data`` name the file ``path``, which those who raise them do not know."""
    try:
        yield
    except PenjingError as error:
        text = str(error)
        if not text.startswith("data: "):
            raise
        raise BadData(f"{path}: {text.removeprefix('data: ')}") from None


def _labels(path: Path, y: NDArray[Any], images: int) -> NDArray[np.int64]:
    if y.dtype.kind not in "iu" or y.dtype == np.uint64:
        raise BadData(f"{path}: y has type {y.dtype}; labels are class numbers (integers)")
    if y.ndim == 0 or len(y) != images:
        raise BadData(f"{path}: y has shape {y.shape}, but x holds {images} images; give one "
                           f"label for each image")
    return y.astype(np.int64)


def _check_numbers(path: Path, name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise BadData(f"{path}: {name} has type {array.dtype}; give integers or floats of at "
                           f"most 64 bits")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadData(f"{path}: {name} holds NaN or infinite values; remove them")


def _array(archive: zipfile.ZipFile, name: str, path: Path, most: int, way_out: str
           ) -> NDArray[Any]:
    """The array ``name`` of ``archive``, its claimed sizes checked before they are believed."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(sorted(archive.namelist()))[:80] or "nothing"
        raise BadData(f"{path}: it holds no array {name} (but {held!a}); {way_out}") from None
    if info.file_size > most:
        raise BadData(f"{path}: {name} claims {info.file_size} bytes, more than {most}; "
                           f"make it smaller")
    with archive.open(info) as stream:
        # What zipfile hands out is limited to file_size, whatever the compressed data unfold to.
        shape, fortran, dtype = _header(stream, name, path, way_out)
        size = math.prod(shape)
        left = info.file_size - stream.tell()
        if dtype.hasobject or dtype.itemsize == 0 or size * dtype.itemsize != left:
            raise BadData(f"{path}: {name} claims shape {shape} and type {dtype}, which its "
                               f"{left} bytes are not; {way_out}")
        flat = np.frombuffer(stream.read(), dtype)
        if flat.size != size:
            raise BadData(f"{path}: {name} is cut off; {way_out}")
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: Any, name: str, path: Path, way_out: str
            ) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file: BinaryIO = stream
    try:
        version = npy.read_magic(file)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise BadData(f"{path}: {name} is no numpy array, or damaged; {way_out}") from None
    if any(size < 0 for size in shape) or len(shape) > 8:
        raise BadData(f"{path}: {name} has the shape {shape!s:.80}; {way_out}")
    return shape, fortran, dtype
