"""Another network of the same shape into hardware that is there: its image, and the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import boards
from ..compiler import file, ir
from ..compiler.dataflow.report import Table, table_of
from ..compiler.encode import encode
from ..compiler.image import image
from ..compiler.ir import PenjingError
from ..host import Link
from .load import Quantization, load
from .progress import Progress, silent
from .project import Project

__all__ = ["Loading", "load_weights"]


@dataclass(frozen=True)
class Loading:
    """An image in the file ``path``: its ``size``, that of the ``symbols`` in it, and the ``port``
    of the board that has taken it."""

    path: Path
    size: int
    symbols: int
    port: str | None

    def json(self) -> dict[str, Any]:
        """What ``penjing load --json`` prints."""
        return {"image": str(self.path), "bytes": self.size, "symbols": self.symbols,
                "port": self.port}

    def table(self) -> Table:
        """The same for people."""
        return table_of("Image", ("", ""), (
            ("image", self.path), ("bytes", self.size), ("symbols in it", self.symbols),
            ("taken by", self.port)))


def load_weights(folder: str | Path, model: str | Path, *, output: str | Path | None = None,
                 port: str | None = None, baud: int | None = None,
                 quantization: Quantization | None = None, progress: Progress = silent) -> Loading:
    """Make the image of the network in ``model`` for the project in ``folder``.

    It goes to the file ``output``, by default ``<network>.image`` in the folder, and to the board
    at ``port``, if there is one. `PenjingError` where the project's weights stay, the network is of
    another shape, or the board refuses it.
    """
    opened = Project.open(folder)
    design = opened.design
    if design.filling() is None:
        raise PenjingError(f"{folder}: its weights are not loaded; compile it with --loadable")
    progress("load", 0, 0)
    given = load(model, quantization, progress=progress).network
    # The memories are there: how its file has weights encoded does not matter.
    plain = {layer.name: "plain" for layer in given.layers
             if isinstance(layer, ir.MultiplyAccumulate)}
    network = ir.with_loadable_weights(encode(given, plain))
    filling = design.filling(network)
    assert filling is not None
    octets = image(filling)
    path = Path(output) if output is not None else opened.path / f"{network.name}.image"
    try:
        file.write_atomically(path, octets)
    except OSError as error:
        raise PenjingError(f"{path}: cannot be written ({error.strerror}); choose another name "
                           "with -o") from None
    if port is not None:
        board = boards.find(opened.plan.board)
        progress("send", 0, 0)
        with Link(port, baud=baud or board.baud, expected=opened.identity) as link:
            link.load(octets)
    return Loading(path, len(octets), filling.symbols, port)
