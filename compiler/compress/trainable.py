"""A network that was read from PyTorch, to be trained and made smaller, and back to its file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.node import Argument, Target

from ..file import write_atomically
from ..ir import PenjingError
from ..load import aten
from ..load import torch as pytorch
from .modules import graph_module

__all__ = ["Trainable", "in_order_of_calls", "read"]

_SOFTMAX = (torch.ops.aten.softmax.int, torch.ops.aten.log_softmax.int)


class _Call(NamedTuple):
    """A call of ``target`` with what comes before it, and some ``arguments``."""

    target: Target
    arguments: tuple[Argument, ...]
    named: dict[str, Argument]

    @classmethod
    def cut(cls, module: fx.GraphModule) -> _Call | None:
        """The softmax that ends ``module``, which is without it then; None if there is none."""
        end = module.graph.output_node()
        (last,) = end.args
        if not isinstance(last, fx.Node) or last.target not in _SOFTMAX:
            return None
        end.args = last.args[:1]
        module.graph.erase_node(last)
        module.recompile()
        return cls(last.target, last.args[1:], dict(last.kwargs))

    def append(self, module: fx.GraphModule) -> None:
        """Let ``module`` end in this call."""
        end = module.graph.output_node()
        with module.graph.inserting_before(end):
            last = module.graph.create_node("call_function", self.target,
                                            (*end.args, *self.arguments), self.named)
        end.args = (last,)
        module.recompile()


@dataclass(frozen=True, eq=False)
class Trainable:
    """A network: ``module`` takes (N, *``dims``), of any N, and is in eval mode when it is new.

    Its submodules are called as the importer calls their layers. ``softmax`` is the call that ends
    the network, if it has one: losses take logits, so ``module`` puts these out.
    """

    module: fx.GraphModule
    dims: tuple[int, ...]
    softmax: _Call | None = None

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
        return replace(self, module=copy.deepcopy(self.module))

    def save(self, path: str | Path) -> None:
        """Write the network in eval mode to ``path``, a ``.pt2`` file which the importer reads.

        It ends in its ``softmax`` again.

        The file then holds all of it, or what it held before. `PenjingError` for a network that the
        importer would not read, such as one whose weights are no numbers.
        """
        whole = copy.deepcopy(self.module).cpu().eval()
        if self.softmax is not None:
            self.softmax.append(whole)
        program = pytorch.traced(whole, self.example())
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
        module = graph_module(accepted)
        model = Trainable(module, accepted.seen[accepted.program.input].dims, _Call.cut(module))
        model.module(model.example())
    return model


def in_order_of_calls(module: fx.GraphModule) -> None:
    """Let the parts of ``module`` be told in the order of their first calls, as `read` has them."""
    for target in dict.fromkeys(str(node.target) for node in module.graph.nodes
                                if node.op == "call_module"):
        part = module.get_submodule(target)
        module.delete_submodule(target)
        module.add_submodule(target, part)
