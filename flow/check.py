"""What stands in the way of a model, or what it would take: layers, and the smallest board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import boards
from ..compiler import ir
from ..compiler.dataflow.budget import TooSmall
from ..compiler.dataflow.report import Table, table_of
from ..compiler.encode import encode
from ..compiler.ir import Network, PenjingError, Tail, TailFunction
from ..compiler.load.refusal import Obstacle, Refused
from .compile import smallest
from .load import Model, Quantization, load
from .progress import Progress, silent

__all__ = ["Check", "check"]


@dataclass(frozen=True)
class Check:
    """What `check` finds.

    There are ``obstacles``, or a ``model`` and the smallest ``board`` that can hold it: the first
    that `compile_model` would take. ``too_small`` says of each smaller one what is missing.
    ``page`` is the page of the documents on what stands in the way, "" where none is.
    """

    path: Path
    obstacles: tuple[Obstacle, ...] = ()
    model: Model | None = None
    board: str | None = None
    too_small: tuple[tuple[str, str], ...] = ()
    page: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing stands in the way of the model, and a board can hold it."""
        return self.board is not None

    @property
    def floats(self) -> bool:
        """Whether the model is a float network, which needs calibration."""
        return self.model is not None and self.model.settings.framework == "pytorch"

    def json(self) -> dict[str, Any]:
        """What ``penjing check --json`` prints."""
        network = None if self.model is None else self.model.network
        return {
            "model": str(self.path),
            "framework": None if self.model is None else self.model.settings.framework,
            "obstacles": [{"operator": one.operator or None, "node": one.node or None,
                           "reason": one.reason, "way_out": one.way_out or None}
                          for one in self.obstacles],
            "layers": [] if network is None else [
                dict(zip(("name", "kind", "shape", "macs", "weights", "bits"), row, strict=True))
                for row in _layers(network)],
            "macs": None if network is None else network.macs,
            "host": None if self.model is None else _host_json(self.model),
            "board": self.board,
            "too_small": dict(self.too_small),
        }

    def tables(self) -> tuple[Table, ...]:
        """The same for people."""
        if self.model is None:
            return (table_of(
                f"In the way of {self.path}", ("operator", "node", "reason", "way out"),
                ((one.operator or None, one.node or None, one.reason, one.way_out or None)
                 for one in self.obstacles), text=4),)
        network = self.model.network
        layers = table_of("Layers", ("layer", "kind", "output", "MACs", "weights", "bits"), (
            (name, kind, "×".join(map(str, shape)), macs, weights, bits)
            for name, kind, shape, macs, weights, bits in _layers(network)), text=2)
        weights = [layer.weights for layer in network.layers
                   if isinstance(layer, ir.MultiplyAccumulate)]
        return layers, table_of(self.path.name, ("", ""), (
            ("MACs per frame", network.macs),
            ("weights", sum(one.values.size for one in weights)),
            ("bits of weights", sum(one.values.size * one.bits for one in weights)),
            ("left to the host", _host(self.model)),
            ("smallest board", self.board),
            *((f"not on {name}", reason) for name, reason in self.too_small if not self.board),
        ), text=2)


def check(path: str | Path, board: str | None = None, quantization: Quantization | None = None,
          result: str | None = None, progress: Progress = silent) -> Check:
    """What stands in the way of the file ``path``: all of it; else the smallest board for it.

    With a ``board``, that is the only one that is tried. A float network without calibration is
    quantized with random images, which changes what it computes but not what it takes. Of several
    outputs, that called ``result`` is taken. `PenjingError` if there is no such file.
    """
    path = Path(path)
    names = ([one.name for one in sorted(boards.boards(), key=lambda one: one.budget.luts)]
             if board is None else [boards.find(board).name])
    progress("load", 0, 0)
    try:
        model = load(path, quantization or Quantization(random=True), None, progress, None,
                     result).reduced
    except Refused as error:
        return Check(path, error.obstacles, page=error.page)
    except PenjingError as error:
        if not path.is_file():
            raise  # it is no network that something stands in the way of
        return Check(path, (Obstacle(str(error).removeprefix(f"{path}: ")),), page=error.page)
    progress("size", 0, 0)
    found, against = smallest(encode(model.network, {}), names)
    return Check(path, (), model, found, tuple(against.items()),
                 TooSmall.page if found is None else "")


def _layers(network: Network) -> Iterator[
        tuple[str, str, tuple[int, int, int], int, int | None, int | None]]:
    """Name, kind, output shape, multiply-accumulates, and the number and bits of weights."""
    for layer in network.layers:
        result = network.type_of(layer.name)
        weights = layer.weights if isinstance(layer, ir.MultiplyAccumulate) else None
        yield (layer.name, layer.kind, result.shape, layer.macs(result),
               None if weights is None else weights.values.size,
               None if weights is None else weights.bits)


def _host_json(model: Model) -> dict[str, Any]:
    tail = model.network.tail or Tail()
    return {"function": tail.function.value, "scales": list(tail.scales),
            "offsets": list(tail.offsets)}


def _host(model: Model) -> str | None:
    """What the host makes of the integers q that the network puts out."""
    tail, parts = model.network.tail, []
    if tail is not None:
        parts.append(f"{tail.scales[0]:g} × q + {tail.offsets[0]:g}"
                     if len(tail.scales) == len(tail.offsets) == 1
                     else "a scale and an offset for each channel")
        if tail.function is not TailFunction.NONE:
            parts.append(tail.function.value)
    return ", then ".join(parts) or None
