"""The data set's own files, which the benchmarks that need all its images read."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from penjing.compiler.ir import PenjingError


def read_split(folder: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (N, 28, 28, 1) and labels (N,) of one split ("train" or "t10k")."""
    images = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = _read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise PenjingError(f"{prefix}: {len(images)} images, but {len(labels)} labels; get the "
                           "data set again")
    return images[..., np.newaxis], labels.astype(np.int64)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    try:
        raw = gzip.decompress(path.read_bytes())
    except OSError as error:
        raise PenjingError(f"{path}: {error.strerror or error}; give the folder of the four .gz "
                           "files with --data") from None
    zeros, kind, rank = struct.unpack_from(">HBB", raw)
    shape = struct.unpack_from(f">{rank}I", raw, 4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if zeros or kind != 8 or values.size != math.prod(shape):
        raise PenjingError(f"{path}: no IDX file of bytes; get the data set again")
    return values.reshape(shape)
