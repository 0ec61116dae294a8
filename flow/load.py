"""A file that the user calls MODEL to an integer network."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..compiler import file
from ..compiler.compress.fixed_point import Mode, quantize
from ..compiler.compress.inputs import input_code
from ..compiler.ir import Network, PenjingError
from ..compiler.load import aten
from . import data
from .progress import Progress, silent
from .project import Settings

__all__ = ["Model", "Quantization", "load"]


@dataclass(frozen=True)
class Quantization:
    """How a float network becomes integers; None is the default of `quantize`.

    ``calibration`` is an ``.npz`` file with images ``x`` like those that the network will see.
    """

    calibration: Path | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    input_bits: int | None = None
    input_scale: float | None = None
    mode: Mode | None = None


@dataclass(frozen=True)
class Model:
    """An integer network, and what is known of the float network behind it."""

    network: Network
    settings: Settings
    program: Path | None = None


def load(path: str | Path, quantization: Quantization | None = None, name: str | None = None,
         progress: Progress = silent) -> Model:
    """The integer network of a ``.penjing`` file, or of a ``.pt2`` program that is quantized.

    ``name`` becomes the network's and its Verilog's name; by default it is the file's, or the one
    that the ``.penjing`` file holds. `PenjingError` if the file is neither, or anything is unfit.
    """
    path = Path(path)
    options = quantization or Quantization()
    if path.suffix in (".tflite", ".onnx"):
        raise PenjingError(f"{path}: this version reads no {path.suffix} files; give a .pt2 file "
                           f"of torch.export.save or a .penjing file")
    if path.suffix == ".pt2" or (path.suffix != file.SUFFIX and _is_zip(path)):
        return _quantized(path, options, _identifier(name or path.stem), progress)
    if options != Quantization():
        raise PenjingError(f"{path}: calibration and widths are for float networks, this one is of "
                           f"integers; leave them away")
    network = file.load(path)
    if name is not None:
        network = replace(network, name=_identifier(name))
    return Model(network, Settings(2.0 ** -network.input_type.fraction))


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(2) == b"PK"
    except OSError:
        return False  # the reader of the file says why


def _identifier(name: str) -> str:
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60]
    return text if text[:1].isalpha() else f"network_{text}".rstrip("_")


def _quantized(path: Path, options: Quantization, name: str, progress: Progress) -> Model:
    program = aten.load(path)
    if options.calibration is None:
        raise PenjingError(f"{path}: a float network needs calibration data; give --calibration "
                           f"X.npz with images x")
    images = data.read(options.calibration)
    settings = {key: value for key, value in vars(options).items()
                if value is not None and key != "calibration"}
    with data.naming(images.path):
        code = input_code(images.x, program.input_shape, settings.get("input_bits", 8),
                          settings.get("input_scale"))
        network = quantize(program, images.x, name=name, **settings,
                           progress=lambda done, total, layer: progress("quantize", done, total))
    return Model(network, Settings(code.scale, "pytorch"), path)
