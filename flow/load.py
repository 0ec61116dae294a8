"""A file that the user calls MODEL to an integer network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..compiler import file
from ..compiler.compress.fixed_point import Mode, Precision, quantize
from ..compiler.encode import encode, grouped
from ..compiler.ir import (
    PORTS,
    MultiplyAccumulate,
    Network,
    NotInstalled,
    PenjingError,
    ScaleRounding,
    cleaned,
)
from ..compiler.load import aten, pt2, pt2e
from ..compiler.reduce import Reduction, reduce
from ..sim import golden
from . import data
from .json_file import read_object
from .progress import Progress, silent
from .project import Settings

__all__ = ["Model", "Quantization", "identifier", "is_floats", "load", "needing"]

FOREIGN = {".tflite": "tflite", ".onnx": "onnx"}
"""Integer networks that others write: the framework by suffix."""
EXTRAS = {"pytorch": "torch", "pt2e": "torch", "tflite": "tflite", "onnx": "onnx"}
"""What to install for each framework."""


_RANDOM = 2
"""How many random images there are."""


@dataclass(frozen=True)
class Quantization:
    """How a float network becomes integers; None is the default of `quantize`.

    ``calibration`` is an ``.npz`` file with images ``x`` like those that the network will see.
    ``random`` images from 0 to 1 do where no more is asked than what hardware it takes.
    ``precision`` are layers with widths of their own, or the JSON file of some:
    ``{"conv1": {"weights": 4, "maps": 6}, "fc": {"weights": 2}}``.
    """

    calibration: str | Path | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    input_bits: int | None = None
    input_scale: float | None = None
    mode: Mode | None = None
    random: bool = False
    precision: str | Path | Mapping[str, Precision] | None = None


@dataclass(frozen=True)
class Model:
    """An integer network, and the file of another framework that it came from."""

    network: Network
    settings: Settings
    source: Path | None = None

    @property
    def reduced(self) -> Model:
        """The same without channels that nobody reads or that are constant; where that takes fewer
        bits, n of m stays so."""
        found, held = reduce(self.network, golden.execute), grouped(self.network)
        if held is not self.network:
            found = min(found, reduce(held, golden.execute), key=_bits)
        return replace(self, network=found.network,
                       settings=replace(self.settings, removed=found.removed))


def _bits(found: Reduction) -> int:
    """What all weights take, each layer's in the encoding that it would get."""
    return sum(layer.weights.memory_bits for layer in encode(found.network, {}).layers
               if isinstance(layer, MultiplyAccumulate))


def load(path: str | Path, quantization: Quantization | None = None, name: str | None = None,
         progress: Progress = silent, rounding: ScaleRounding | None = None,
         result: str | None = None) -> Model:
    """The integer network of a file, which the suffix tells the kind of.

    A ``.penjing``, ``.tflite`` or ``.onnx`` file holds integers; a ``.pt2`` program is quantized,
    unless PT2E has done that.
    ``name`` becomes the network's and its Verilog's name; by default it is the file's, or the one
    that the ``.penjing`` file holds. ``rounding`` is for networks of another framework, which by
    default are rounded as there; ``result`` names the output that is to be taken of several.
    `PenjingError` if the file is none of these, or anything is unfit.
    """
    path = Path(path)
    options = quantization or Quantization()
    suffix = path.suffix.lower()
    if _is_program(path):
        program = pt2.read(path, result)
        if not pt2e.is_quantized(program):
            _refuse_rounding(path, rounding)
            return _quantized(path, program, options, identifier(name or path.stem), progress,
                              result)
        _refuse_options(path, options)
        network = pt2e.convert(program, str(path), identifier(name or path.stem),
                               rounding or ScaleRounding.EVEN).network
        return Model(network, Settings("pt2e", result), path)
    if suffix not in FOREIGN:
        _refuse_rounding(path, rounding)
    _refuse_options(path, options)
    if suffix in FOREIGN:
        return _foreign(path, FOREIGN[suffix], identifier(name or path.stem), rounding, result)
    if result is not None:
        raise PenjingError(f"{path}: --result is for networks of another framework, this one has "
                           f"one output; leave it away")
    network = file.load(path)
    if name is not None:
        network = replace(network, name=identifier(name))
    return Model(network, Settings())


def is_floats(path: Path, result: str | None = None) -> bool:
    """Whether the file ``path`` holds a PyTorch program of floats, which `load` quantizes."""
    return _is_program(path) and not pt2e.is_quantized(pt2.read(path, result))


def _is_program(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".pt2" or (suffix not in (file.SUFFIX, *FOREIGN) and _is_zip(path))


def _refuse_rounding(path: Path, rounding: ScaleRounding | None) -> None:
    if rounding is not None:
        raise PenjingError(f"{path}: --requantize is for networks that another framework has "
                           f"quantized; leave it away")


def _refuse_options(path: Path, options: Quantization) -> None:
    if replace(options, random=False) != Quantization():
        raise PenjingError(f"{path}: calibration and widths are for float networks, this one is of "
                           f"integers; leave them away")


def _foreign(path: Path, framework: str, name: str, rounding: ScaleRounding | None,
             result: str | None) -> Model:
    """The integer network of another framework's file, by the reader that its extra installs."""
    with needing(path, EXTRAS[framework]):
        if framework == "tflite":
            from ..compiler.load import tflite

            opened = tflite.open_model(path, name, rounding or ScaleRounding.DOUBLE, result)
            return Model(opened.network, Settings(framework, result, opened.axes), path)
        from ..compiler.load import onnx

        return Model(onnx.load(path, name, rounding or ScaleRounding.EVEN, result),
                     Settings(framework, result), path)


@contextlib.contextmanager
def needing(path: Path, extra: str) -> Iterator[None]:
    """Tell the user what to install where a package of the ``extra`` is missing."""
    try:
        yield
    except ImportError as error:
        raise NotInstalled(f"{path}: {error.name or 'a package'}", extra) from None


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(2) == b"PK"
    except OSError:
        return False  # the reader of the file says why


def identifier(name: str) -> str:
    """What a network, and its Verilog, may be called, from any ``name``."""
    text = cleaned(name, "network")[:60]
    return f"network_{text}" if text in PORTS else text


def _quantized(path: Path, program: pt2.Program, options: Quantization, name: str,
               progress: Progress, result: str | None) -> Model:
    floats = aten.convert(program, str(path))
    if options.calibration is not None:
        images = data.read(options.calibration)
    elif options.random:
        images = data.Data(path, np.random.default_rng(0).random((_RANDOM, *floats.input_shape)))
    else:
        raise data.BadData(f"{path}: a float network needs calibration data; give --calibration "
                           f"X.npz with images x")
    settings = {key: value for key, value in vars(options).items()
                if value is not None and key not in ("calibration", "random", "precision")}
    precisions = _precisions(options.precision or {})
    with data.naming(images.path):
        network = quantize(floats, images.x, name=name, **settings, precisions=precisions,
                           progress=lambda done, total, layer: progress("quantize", done, total))
    return Model(network, Settings("pytorch", result), path)


def _precisions(given: str | Path | Mapping[str, Precision]) -> Mapping[str, Precision]:
    """The widths of layers that are ``given``, or those in a JSON file."""
    if isinstance(given, Mapping):
        return given
    path, example = Path(given), '{"conv1": {"weights": 4, "maps": 6}}'
    precisions = {}
    for name, entry in read_object(path, f"widths like {example}").items():
        if not isinstance(entry, dict) or not {"weights", "maps"}.issuperset(entry) or not entry:
            raise PenjingError(f"{path}: {name!r:.80} must have weights, maps or both; write "
                               f"{example}")
        try:
            precisions[name] = Precision(**entry)
        except PenjingError as error:
            raise PenjingError(f"{path}: {name!r:.80}: {error}") from None
    return precisions
