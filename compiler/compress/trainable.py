"""A network that was read from PyTorch, to be trained and made smaller, and back to its file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from ..file import write_atomically
from ..ir import PenjingError
from ..load import aten
from ..load import torch as pytorch
from .modules import graph_module

__all__ = ["Trainable", "read"]


@dataclass(frozen=True, eq=False)
class Trainable:
    """A network: ``module`` takes (N, *``dims``), of any N, and is in eval mode when it is new.

    Its submodules are called as the importer calls their layers.
    """

    module: fx.GraphModule
    dims: tuple[int, ...]

    @property
    def layers(self) -> Mapping[str, nn.Module]:
        """The convolutions, transposed or not, and the linear layers, by name."""
        return {name: part for name, part in self.module.named_modules()
                if isinstance(part, nn.modules.conv._ConvNd | nn.Linear)}

    def example(self, batch: int = 1) -> Tensor:
        """Zeros of the shape that ``module`` takes."""
        return torch.zeros(batch, *self.dims)

    def copied(self) -> Trainable:
        """Another network that is equal to this one."""
        return Trainable(copy.deepcopy(self.module), self.dims)

    def save(self, path: str | Path) -> None:
        """Write the network in eval mode to ``path``, a ``.pt2`` file which the importer reads.

        The file then holds all of it, or what it held before. `PenjingError` for a network that the
        importer would not read, such as one whose weights are no numbers.
        """
        program = pytorch.traced(copy.deepcopy(self.module).cpu().eval(), self.example())
        pytorch.from_program(program)
        write_atomically(path, pytorch.stored(program))


def read(source: str | Path | ExportedProgram | nn.Module,
         input_shape: tuple[int, ...] | None = None, result: str | None = None) -> Trainable:
    """The network in a ``.pt2`` file, or that of a program or module.

    A module is in eval mode, and needs ``input_shape``: (H, W, C), (L, C) or (F,). Of several
    outputs of a program, the one called ``result`` counts. Nothing in a file is executed but
    operators that the importer accepts; `PenjingError` for what it refuses.
    """
    origin = "program"
    if isinstance(source, nn.Module):
        if input_shape is None:
            raise PenjingError("model: its input shape is missing; give (H, W, C), (L, C) or (F,)")
        source, origin = pytorch.exported(source, input_shape), "model"
    elif not isinstance(source, ExportedProgram):
        origin = str(source)
    accepted = aten.accept(pytorch.parse(source, result), origin)
    with pytorch.running(origin):
        model = Trainable(graph_module(accepted), accepted.seen[accepted.program.input].dims)
        model.module(model.example())
    return model
