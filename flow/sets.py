"""Images with labels: what a network is trained with, and what it is judged by."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..compiler import file
from ..compiler.ir import PenjingError
from . import data
from .data import Data
from .load import Quantization

if TYPE_CHECKING:
    from torch import Tensor

    from ..compiler.compress.trainable import Trainable
    from ..compiler.compress.training import Data as Tensors

__all__ = ["Sets", "data_digest", "labelled", "require_classes"]

HELD_OUT = 10
"""One image in so many is held out, if there are no others to judge by."""
CALIBRATION = 256
"""Training images that fraction lengths are chosen by."""
_TOGETHER = 1000
"""Images that become floats at a time."""


@dataclass(frozen=True)
class Sets:
    """What a network is trained with, and what it is judged by."""

    training: Data
    test: Data

    @classmethod
    def read(cls, images: str | Path, test: str | Path | None) -> Sets:
        """Those of the files, or every tenth image for the test."""
        held = labelled(images)
        if test is not None:
            return cls(held, labelled(test))
        if len(held.x) < 2 * HELD_OUT:
            raise data.BadData(f"{images}: {len(held.x)} images are too few to hold every tenth "
                               f"out; give more, or others with --test")
        out = np.arange(len(held.x)) % HELD_OUT == HELD_OUT - 1
        return cls(Data(held.path, held.x[~out], held.labels[~out]),
                   Data(held.path, held.x[out], held.labels[out]))

    def tensors(self, images: Data, network: Trainable, options: Quantization) -> Tensors:
        """``images`` as ``network`` takes them: what the integers of the input are worth."""
        import torch

        from ..compiler.compress.inputs import input_code, shaped
        from ..compiler.compress.training import Data as Tensors

        channels, *places = network.dims
        height, width = (1, 1, *places)[-2:]
        with data.naming(self.training.path):
            code = input_code(self.training.x, (height, width, channels), options.input_bits or 8,
                              options.input_scale)
        made = torch.empty(len(images.x), channels, height, width)
        with data.naming(images.path):
            shaped(images.x, code.type.shape)
            for start in range(0, len(images.x), _TOGETHER):  # all would take many times the room
                real = code.real(images.x[start:start + _TOGETHER]).transpose(0, 3, 1, 2)
                made[start:start + len(real)] = torch.from_numpy(real)
        made = made.reshape(len(made), *network.dims)
        return Tensors(made, torch.from_numpy(images.labels), _as_they_are)

    def calibration(self, folder: Path, options: Quantization) -> Quantization:
        """How floats become integers, by the first training images unless ``options`` name others.

        Those are then in a file in ``folder``.
        """
        if options.calibration is not None:
            return options
        path, held = folder / "calibration.npz", io.BytesIO()
        np.savez(held, x=self.training.x[:CALIBRATION])
        file.write_atomically(path, held.getvalue())
        return replace(options, calibration=path)


def _as_they_are(images: Tensor, _: object) -> Tensor:
    """No preparation, under a name, by which another process knows it."""
    return images


def labelled(path: str | Path) -> Data:
    """The images of a file, with class numbers of two classes at least."""
    held = data.read(path)
    if held.labels.ndim != 1 or len(np.unique(held.labels)) < 2:
        raise data.BadData(f"{path}: y has shape {held.labels.shape} and "
                           f"{len(np.unique(held.labels))} different values; it must be class "
                           f"numbers (N,), at least two different ones")
    return held


def require_classes(path: Path, network: Trainable, *sets: Data) -> None:
    """`PenjingError` where the network in ``path`` does not tell the classes of ``sets`` apart."""
    outputs = tuple(network.module(network.example()).shape[1:])
    if len(outputs) != 1 or outputs[0] < 2:
        raise PenjingError(f"{path}: it puts out {' × '.join(map(str, outputs))} numbers; what is "
                           f"compressed tells classes apart, by a number for each of them")
    for images in sets:
        if not 0 <= images.labels.min() <= images.labels.max() < outputs[0]:
            raise data.BadData(f"{images.path}: y holds labels from {images.labels.min()} to "
                               f"{images.labels.max()}, the network tells {outputs[0]} classes "
                               f"apart; number them from 0")


def data_digest(images: Data) -> str:
    """Tells ``images`` and labels from others."""
    found = hashlib.sha256()
    for array in (images.x, images.labels):
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]
