"""VGG-16 for CIFAR-10 with 98 % zeros: from sparse arrays to an integer network of shared weights.

The file holds what a PyTorch state dict would, but of each layer's weights ``NAME.weight.index``
(flat, ascending), ``NAME.weight.value`` and ``NAME.weight.shape``, (outputs, inputs, kernel height,
kernel width): see `parameters`. Batch norms are folded into the convolutions before them; then each
layer's weights are shared, and weights and maps become fixed point of 8 bits::

    network = integers(network(path), calibration images, codes=16)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from penjing.compiler import ir
from penjing.compiler.compress.fixed_point import Mode, quantize
from penjing.compiler.compress.sharing import share
from penjing.compiler.ir import PenjingError
from penjing.compiler.load.floats import (
    FloatClamp,
    FloatConvolution,
    FloatDense,
    FloatFlatten,
    FloatLayer,
    FloatMaxPool,
    FloatNetwork,
    Floats,
)
from penjing.flow import data

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Outputs of the convolutions of each stage, behind which a pool halves the map."""
CLASSES = 10
INPUT = (32, 32, 3)
MEAN = np.array([0.4914, 0.4822, 0.4465])
DEVIATION = np.array([0.2470, 0.2435, 0.2616])
EPSILON = 1e-5
"""What PyTorch adds to a variance."""
SEARCH_IMAGES = 64
_NORM = ("weight", "bias", "running_mean", "running_var")
_MOST = 64 << 20
"""Bytes of the largest array that is read."""
_WAY_OUT = "get the file again"


def network(path: Path) -> FloatNetwork:
    """The float network whose sparse parameters ``path`` holds, for pixels from 0 to 1."""
    return _network(parameters(path))


def dense(paths: Sequence[Path]) -> FloatNetwork:
    """The same of dense parameters, which lie in several files."""
    shapes = {f"{name}.weight": shape for name, shape in _weights().items()} | _others()
    found: dict[str, Floats] = {}
    for path in paths:
        for name, array in data.arrays(path, (), optional=shapes, most=_MOST,
                                       way_out=_WAY_OUT).items():
            found[name] = _numbers(path, name, array, shapes[name])
    missing = shapes.keys() - found.keys()
    if missing:
        raise PenjingError(f"{', '.join(map(str, paths))}: they hold no array {min(missing)}; name "
                           f"all files of the network")
    return _network(found)


def _network(held: dict[str, Floats]) -> FloatNetwork:
    """The layers whose arrays are ``held``."""
    layers: list[FloatLayer] = [FloatConvolution(
        "normalize", (1 / DEVIATION).reshape(3, 1, 1, 1), -MEAN / DEVIATION, groups=3)]
    convolutions = iter(_convolutions())
    for number, stage in enumerate(STAGES, 1):
        for position in range(len(stage)):
            name, _ = next(convolutions)
            which = f"{number}_{position + 1}"
            weights, bias = _folded(held, name)
            layers += [FloatConvolution(f"conv{which}", weights.transpose(0, 2, 3, 1), bias,
                                        padding=(1, 1, 1, 1)), FloatClamp(f"relu{which}", 0.0)]
        layers.append(FloatMaxPool(f"pool{number}", (2, 2), (2, 2)))
    layers += [FloatFlatten("flatten"),
               FloatDense("classifier", held["classifier.weight"], held["classifier.bias"])]
    return FloatNetwork(INPUT, tuple(layers))


def integers(floats: FloatNetwork, calibration: NDArray[np.uint8], codes: int) -> ir.Network:
    """The network with ``codes`` different weights a layer, by pixels like ``calibration``."""
    return quantize(share(floats, codes), calibration, name="vgg16", mode=Mode.DYNAMIC,
                    images=SEARCH_IMAGES)


def parameters(path: Path) -> dict[str, Floats]:
    """The arrays of the state dict by their names, zeros filled in.

    Sizes follow from the network; what the file claims is compared with them before memory is set
    aside. `PenjingError` says in one line what is wrong with a file.
    """
    weights, others = _weights(), _others()
    held = data.arrays(path, [*(f"{name}.weight.{part}" for name in weights
                                for part in ("index", "value", "shape")), *others],
                       most=_MOST, way_out=_WAY_OUT)
    found = {name: _numbers(path, name, held[name], shape) for name, shape in others.items()}
    for name, array in found.items():
        if name.endswith("running_var") and array.min() < 0:
            raise PenjingError(f"{path}: {name} holds a negative variance; {_WAY_OUT}")
    for name, shape in weights.items():
        entries = [held[f"{name}.weight.{part}"] for part in ("index", "value", "shape")]
        found[f"{name}.weight"] = _dense(path, f"{name}.weight", *entries, wanted=shape)
    return found


def _weights() -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of all layers that have some."""
    return dict([*_convolutions(), ("classifier", (CLASSES, STAGES[-1][-1]))])


def _others() -> dict[str, tuple[int, ...]]:
    """Shapes of all other parameters."""
    return {f"{_norm(name)}.{part}": shape[:1] for name, shape in _convolutions()
            for part in _NORM} | {"classifier.bias": (CLASSES,)}


def _convolutions() -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each convolution: behind each come a batch norm, a ReLU, maybe a pool."""
    found: list[tuple[str, tuple[int, ...]]] = []
    index, inputs = 0, INPUT[2]
    for stage in STAGES:
        for outputs in stage:
            found.append((f"features.{index}", (outputs, inputs, 3, 3)))
            index, inputs = index + 3, outputs
        index += 1
    return found


def _norm(convolution: str) -> str:
    """The batch norm behind a convolution."""
    module, _, index = convolution.partition(".")
    return f"{module}.{int(index) + 1}"


def _folded(held: dict[str, Floats], name: str) -> tuple[Floats, Floats]:
    """Weights and bias of a convolution together with the batch norm behind it."""
    scale, shift, mean, variance = (held[f"{_norm(name)}.{part}"] for part in _NORM)
    factor = scale / np.sqrt(variance + EPSILON)
    return held[f"{name}.weight"] * factor[:, None, None, None], shift - mean * factor


def _numbers(path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    if array.dtype.kind != "f" or array.shape != shape or not np.isfinite(array).all():
        raise PenjingError(f"{path}: {name} must be {' × '.join(map(str, shape))} finite floats, "
                           f"not {array.dtype} of shape {array.shape}; {_WAY_OUT}")
    return array.astype(np.float64)


def _dense(path: Path, name: str, index: NDArray[Any], value: NDArray[Any], shape: NDArray[Any],
           *, wanted: tuple[int, ...]) -> Floats:
    """The tensor of shape ``wanted`` that is ``value`` at the places ``index``, else 0."""
    if shape.dtype.kind not in "iu" or shape.tolist() != list(wanted):
        raise PenjingError(f"{path}: {name}.shape must be {list(wanted)}, not "
                           f"{shape.tolist()!s:.60}; {_WAY_OUT}")
    size = math.prod(wanted)
    values = _numbers(path, f"{name}.value", value, (value.size,))
    if index.dtype.kind not in "iu" or index.shape != value.shape:
        raise PenjingError(f"{path}: {name}.index must be {value.size} integers, one a value, not "
                           f"{index.dtype} of shape {index.shape}; {_WAY_OUT}")
    if index.size and not (index.min() >= 0 and index.max() < size
                           and (index[1:] > index[:-1]).all()):
        raise PenjingError(f"{path}: {name}.index must ascend within 0 and {size - 1}; {_WAY_OUT}")
    result = np.zeros(size)
    result[index.astype(np.int64)] = values
    return result.reshape(wanted)
